//! Each dropout of a layer has a stream of its own, and takes as many steps as its documentation says.

use tch::nn::{self, RNNConfig};
use tch::{Kind, Tensor};
use tch_dropout::{
    GruConfig, Lstm, LstmConfig, RecurrentDropout, RnnT, Stream, Streams, TrueDropout, WeightDrop,
    Zoneout, gru, lstm,
};

use crate::common::{assert_same_bits, device, float};
use crate::layers::{CELLS, HIDDEN, IN, all, fill, ours, state};

const STEPS: i64 = 7;

fn rnn() -> RNNConfig {
    RNNConfig { num_layers: 3, bidirectional: true, ..Default::default() }
}

fn dropout() -> RecurrentDropout {
    RecurrentDropout {
        between: TrueDropout::elements(0.5).unwrap(),
        weights: WeightDrop::new(0.5).unwrap(),
        state: TrueDropout::elements(0.5).unwrap(),
        zoneout: Zoneout::new(0.5).unwrap(),
    }
}

fn layer(vs: &nn::VarStore, streams: &Streams) -> Lstm {
    let config =
        LstmConfig { rnn: rnn(), dropout: dropout(), cell_zoneout: Zoneout::new(0.5).unwrap() };
    lstm(vs.root(), IN, HIDDEN, config.with_streams(streams).unwrap()).unwrap()
}

#[test]
fn one_seed_gives_the_same_outputs_and_steps_are_restored() {
    let (vs, streams) = (nn::VarStore::new(device()), Streams::new(7));
    let first = layer(&vs, &streams);
    let x = Tensor::randn([3, STEPS, IN], float());
    let _ = first.seq_t(&x, true);
    // Between the layers; and once for each layer and direction; and that for each time step.
    assert_eq!(streams.steps(), [2, 6, 6, 6 * STEPS as u64, 6 * STEPS as u64]);
    let second_pass = first.seq_t(&x, true).0;

    let (mut other_vs, other_streams) = (nn::VarStore::new(device()), Streams::new(7));
    let other = layer(&other_vs, &other_streams);
    other_vs.copy(&vs).unwrap();
    other_streams.set_steps(&[2, 6, 6, 42, 42]).unwrap();
    assert_same_bits(&other.seq_t(&x, true).0, &second_pass);
    assert_ne!(other.seq_t(&x, true).0, second_pass);
}

#[test]
fn each_dropout_of_a_gru_has_its_stream_too() {
    let (vs, streams) = (nn::VarStore::new(device()), Streams::new(7));
    let config = GruConfig { rnn: rnn(), dropout: dropout() }.with_streams(&streams).unwrap();
    let layer = gru(vs.root(), IN, HIDDEN, config).unwrap();
    let _ = layer.seq_t(&Tensor::randn([3, STEPS, IN], float()), true);
    assert_eq!(streams.steps(), [2, 6, 6, 6 * STEPS as u64]);
    assert_eq!(vs.variables().len(), 24); // With the directions that its options have.
}

#[test]
fn evaluation_and_p_of_0_and_empty_batches_take_no_step() {
    let (vs, streams) = (nn::VarStore::new(device()), Streams::new(7));
    let layer = layer(&vs, &streams);
    let x = Tensor::randn([3, STEPS, IN], float());
    let _ = layer.seq_t(&x, false);
    layer.dropout.between.set_p(0.0).unwrap();
    layer.dropout.weights.set_p(0.0).unwrap();
    layer.dropout.state.set_p(0.0).unwrap();
    layer.dropout.zoneout.set_p(0.0).unwrap();
    layer.cell_zoneout.set_p(0.0).unwrap();
    assert_same_bits(&layer.seq_t(&x, true).0, &layer.seq_t(&x, false).0);
    for p in [0.0, 0.5] {
        layer.dropout.state.set_p(p).unwrap();
        layer.dropout.weights.set_p(p).unwrap();
        let empty = Tensor::zeros([0, STEPS, IN], float());
        assert_eq!(layer.seq_t(&empty, true).0.size(), [0, STEPS, 2 * HIDDEN]);
    }
    assert_eq!(streams.steps(), [0; 5]);
    assert_eq!(layer.dropout.state.stream().map(Stream::layer), Some(2));
}

#[test]
fn gradients_reach_every_variable_and_the_initial_state() {
    for cell in CELLS {
        let vs = nn::VarStore::new(device());
        let rnn = RNNConfig { num_layers: 3, bidirectional: true, ..Default::default() };
        let layer = ours(cell, &vs.root(), rnn, &all(0.3));
        fill(&vs);
        let x = Tensor::randn([8, STEPS, IN], float()).set_requires_grad(true);
        let state = state(cell, rnn, 8, Kind::Float);
        let state: Vec<_> = state.into_iter().map(|t| t.set_requires_grad(true)).collect();
        let (y, _) = layer(&x, &state, true);
        y.square().sum(Kind::Float).backward();
        for leaf in vs.trainable_variables().iter().chain(&state).chain([&x]) {
            let gradient = leaf.grad();
            assert!(gradient.defined() && bool::try_from(gradient.isfinite().all()).unwrap());
            assert!(gradient.abs().sum(Kind::Float).double_value(&[]) > 0.0, "{leaf:?}");
        }
    }
}

#[test]
fn a_layer_is_sent_to_another_thread() {
    let vs = nn::VarStore::new(device());
    let layer = layer(&vs, &Streams::new(7));
    let x = Tensor::randn([3, STEPS, IN], float());
    let size = std::thread::spawn(move || layer.seq_t(&x, true).0.size()).join().unwrap();
    assert_eq!(size, [3, STEPS, 2 * HIDDEN]);
}
