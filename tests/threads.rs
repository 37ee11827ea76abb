//! Layers and streams across threads: which are `Send` and `Sync`, and that no step is lost or taken twice.

mod common;

use std::collections::HashSet;
use std::fmt::Debug;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Barrier};
use std::thread;

use common::{assert_same_bits, elements, float, times};
use tch::Tensor;
use tch::nn::{ModuleT, SequentialT};
use tch_dropout::{
    AlphaDropout, Attention, Checkpoint, CheckpointError, DropBlock, DropConnect,
    DropConnectConfig, Dropout, Error, GaussianDropout, Gru, GruConfig, Lstm, LstmConfig,
    MonteCarlo, MonteCarloError, MultiHeadAttention, MultiHeadAttentionConfig, NoiseShape,
    PatchDropout, Prediction, RecurrentDropout, Regression, StochasticDepth, Stream, Streams,
    TrueDropout, WeightDrop, Zoneout,
};

#[test]
fn who_can_be_sent_and_shared() {
    fn sent<T: Send + Debug>() {}
    fn sent_and_shared<T: Send + Sync + Debug>() {}
    sent_and_shared::<Dropout>();
    sent_and_shared::<TrueDropout>();
    sent_and_shared::<AlphaDropout>();
    sent_and_shared::<GaussianDropout>();
    sent_and_shared::<DropBlock>();
    sent_and_shared::<StochasticDepth>();
    sent_and_shared::<PatchDropout>();
    sent_and_shared::<Attention>();
    sent_and_shared::<WeightDrop>();
    sent_and_shared::<Zoneout>();
    sent_and_shared::<RecurrentDropout>();
    sent_and_shared::<DropConnectConfig>();
    sent_and_shared::<MultiHeadAttentionConfig>();
    sent_and_shared::<LstmConfig>();
    sent_and_shared::<GruConfig>();
    sent_and_shared::<NoiseShape>();
    sent_and_shared::<Stream>();
    sent_and_shared::<Streams>();
    sent_and_shared::<MonteCarlo>();
    sent_and_shared::<Error>();
    sent_and_shared::<MonteCarloError>();
    sent_and_shared::<CheckpointError>();
    // It has a lock around a module that need only be `Send`.
    sent_and_shared::<Checkpoint<SequentialT>>();
    // These hold tensors, which are not `Sync`.
    sent::<DropConnect>();
    sent::<MultiHeadAttention>();
    sent::<Lstm>();
    sent::<Gru>();
    sent::<Prediction>();
    sent::<Regression>();
}

/// Runs `work` on eight threads that start together, and collects what they return.
fn on_eight_threads<T: Send>(work: impl Fn() -> T + Sync) -> Vec<T> {
    let start = Barrier::new(8);
    thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| {
                scope.spawn(|| {
                    start.wait();
                    work()
                })
            })
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    })
}

#[test]
fn threads_that_share_a_layer_take_distinct_steps() {
    const FORWARDS: usize = 40;
    let layer = Arc::new(elements(0.5).with_seed(1));
    let x = || Tensor::ones([64], float());
    let drawn = on_eight_threads(|| {
        let (layer, x) = (Arc::clone(&layer), x());
        let masks = (0..FORWARDS).map(|_| Vec::try_from(layer.forward_t(&x, true)).unwrap());
        masks.collect::<Vec<Vec<f32>>>()
    });
    let bits = |mask: &Vec<f32>| mask.iter().map(|&element| element > 0.0).collect::<Vec<bool>>();
    let drawn: HashSet<Vec<bool>> = drawn.iter().flatten().map(bits).collect();
    assert_eq!(layer.stream().map(Stream::step), Some(8 * FORWARDS as u64));
    // They are the masks of one thread.
    let alone = elements(0.5).with_seed(1);
    let alone = (0..8 * FORWARDS).map(|_| Vec::try_from(alone.forward_t(&x(), true)).unwrap());
    assert_eq!(drawn, alone.map(|mask| bits(&mask)).collect());
}

/// Nothing but steps, to have threads meet as often as can be: a lost one would be found.
#[test]
fn no_step_is_lost() {
    const STEPS: usize = 250_000;
    let stream = Stream::new(1);
    let first = || stream.words().take(2).fold(0, |all, word| all << 32 | u64::from(word));
    let firsts = on_eight_threads(|| (0..STEPS).map(|_| first()).collect::<Vec<u64>>());
    assert_eq!(stream.step(), 8 * STEPS as u64);
    let mut firsts = firsts.concat();
    firsts.sort_unstable();
    firsts.dedup();
    assert_eq!(firsts.len(), 8 * STEPS);
}

#[test]
fn tiny_tensors_on_many_threads_take_a_step_each() {
    let forwards = times(5_000) as u64;
    let layer = elements(0.5).with_seed(1);
    on_eight_threads(|| {
        let x = Tensor::ones([1], float());
        (0..forwards).for_each(|_| drop(layer.forward_t(&x, true)));
    });
    assert_eq!(layer.stream().map(Stream::step), Some(8 * forwards));
}

#[test]
fn streams_number_the_layers_of_all_threads() {
    let streams = Streams::new(1);
    let layers = on_eight_threads(|| {
        (0..1_000).map(|_| streams.next_stream().unwrap().layer()).collect::<Vec<u16>>()
    });
    let mut layers = layers.concat();
    layers.sort_unstable();
    assert_eq!(layers, (0..8_000).collect::<Vec<u16>>());
}

#[test]
fn a_probability_set_on_another_thread_holds_from_the_next_forward_on() {
    let (layer, x) = (Arc::new(elements(0.5)), Tensor::ones([10], float()));
    for p in [1.0, 0.0, 1.0] {
        let schedule = Arc::clone(&layer);
        thread::spawn(move || schedule.set_p(p).unwrap()).join().unwrap();
        assert_same_bits(&layer.forward_t(&x, true), &(&x * (1.0 - p)));
    }
}

/// A forward has the old probability or the new one, never the mask of one with the scale of the other.
#[test]
fn forwards_meanwhile_have_one_probability_throughout() {
    let (layer, done) = (elements(0.25).with_seed(1), AtomicBool::new(false));
    let x = Tensor::ones([64], float());
    let forwards = (0..times(200_000)).map(|_| layer.forward_t(&x, true));
    let torn = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                [0.75, 1.0, 0.0, 0.25].iter().for_each(|&p| layer.set_p(p).unwrap());
            }
        });
        let torn: Vec<Tensor> = forwards.filter(|y| !has_one_probability(y)).collect();
        done.store(true, Ordering::Relaxed);
        torn
    });
    assert!(torn.is_empty(), "{} forwards, of which the first is\n{}", torn.len(), torn[0]);
}

/// Whether as many of 64 ones are kept as the scale says: all, none, or about 16 or 48. More than 24 off
/// happens once in ten billion times.
fn has_one_probability(y: &Tensor) -> bool {
    let y = Vec::<f32>::try_from(y).unwrap();
    let scale = y.iter().copied().fold(0.0, f32::max);
    let kept = y.iter().filter(|&&element| element == scale).count();
    match scale {
        0.0 => true,
        1.0 => kept == 64,
        4.0 => kept < 40,
        _ => scale == 4.0 / 3.0 && kept > 24,
    }
}

/// A mask that is drawn is used: an output without one has taken no step.
#[test]
fn stochastic_depth_takes_a_step_for_each_forward_that_drops() {
    let (layer, done) = (StochasticDepth::new(0.5).unwrap().with_seed(1), AtomicBool::new(false));
    let x = Tensor::zeros([64], float());
    // Of the 64 samples, the kept ones are 2 if one is dropped, and 1 if none is.
    let drops = || layer.forward(&x, |x| x + 1, true).max().double_value(&[]) != 1.0;
    let dropping = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                [0.0, 0.5].iter().for_each(|&p| layer.set_p(p).unwrap());
            }
        });
        let dropping = (0..times(50_000)).filter(|_| drops()).count();
        done.store(true, Ordering::Relaxed);
        dropping
    });
    assert_eq!(layer.stream().map(Stream::step), Some(dropping as u64));
}
