//! `Streams`: one seed for all layers of a model, and the steps of all of them at once.

mod common;

use common::{assert_same_bits, device, elements, float, nonzero};
use tch::Tensor;
use tch::nn::{self, ModuleT};
use tch_dropout::{DropConnectConfig, Error, Stream, Streams, TrueDropout, drop_connect};

/// Three layers and a DropConnect, built into a sequence that no longer shows them.
fn model(vs: &nn::VarStore, streams: &Streams) -> nn::SequentialT {
    let next = || streams.next_stream().unwrap();
    let config = DropConnectConfig { p: 0.3, ..Default::default() };
    let dropping_weights = drop_connect(vs.root(), 8, 8, config).unwrap();
    nn::seq_t()
        .add(TrueDropout::elements(0.2).unwrap().with_stream(next()))
        .add(dropping_weights.with_stream(next()))
        .add(TrueDropout::columns(0.3).unwrap().with_stream(next()))
        .add(TrueDropout::samples(0.5).unwrap().with_stream(next()))
}

#[test]
fn layers_are_numbered_in_order() {
    let streams = Streams::new(42).with_worker(3);
    for layer in 0..10 {
        let stream = streams.next_stream().unwrap();
        let found = (stream.seed(), stream.worker(), stream.layer(), stream.step());
        assert_eq!(found, (42, 3, layer, 0));
        let by_hand = Stream::new(42).with_worker(3).with_layer(layer);
        let numbers = |stream: &Stream| stream.words().take(100).collect::<Vec<u32>>();
        assert_eq!(numbers(&stream), numbers(&by_hand));
    }
    assert_eq!(streams.steps(), [1; 10]);
}

#[test]
fn layers_of_one_seed_drop_other_places() {
    let streams = Streams::new(7);
    let x = Tensor::ones([256], float());
    let draw = || elements(0.5).with_stream(streams.next_stream().unwrap()).forward_t(&x, true);
    let masks: Vec<Tensor> = (0..20).map(|_| draw()).collect();
    for (i, mask) in masks.iter().enumerate() {
        assert!(masks[..i].iter().all(|earlier| earlier != mask), "layer {i}");
    }
}

#[test]
fn the_steps_of_a_model_are_saved_and_set_at_once() {
    let (vs, streams) = (nn::VarStore::new(device()), Streams::new(42));
    let model = model(&vs, &streams);
    let x = nonzero(&[4, 8]);
    assert_eq!(streams.steps(), [0; 4]);
    let _ = (model.forward_t(&x, true), model.forward_t(&x, true), model.forward_t(&x, false));
    let saved = streams.steps();
    assert_eq!(saved, [2; 4]);
    let (third, fourth) = (model.forward_t(&x, true), model.forward_t(&x, true));
    assert_ne!(third, fourth);
    streams.set_steps(&saved).unwrap();
    assert_same_bits(&model.forward_t(&x, true), &third);

    // A new process: another model, of the same seed and weights.
    let (mut other_vs, other_streams) = (nn::VarStore::new(device()), Streams::new(42));
    let other = self::model(&other_vs, &other_streams);
    other_vs.copy(&vs).unwrap();
    other_streams.set_steps(&streams.steps()).unwrap();
    assert_same_bits(&other.forward_t(&x, true), &fourth);
}

#[test]
fn each_layer_has_its_own_step() {
    let streams = Streams::new(1);
    let layers = [(); 3].map(|()| elements(0.5).with_stream(streams.next_stream().unwrap()));
    let x = nonzero(&[4]);
    let _ = (layers[2].forward_t(&x, true), layers[2].forward_t(&x, true));
    let _ = layers[0].forward_t(&x, true);
    assert_eq!(streams.steps(), [1, 0, 2]);
    streams.set_steps(&[9, 8, (1 << 48) - 1]).unwrap();
    let steps = layers.each_ref().map(|layer| layer.stream().unwrap().step());
    assert_eq!(steps, [9, 8, (1 << 48) - 1]);
    // The step after the last is the first again.
    let _ = layers[2].forward_t(&x, true);
    assert_eq!(streams.steps(), [9, 8, 0]);
}

#[test]
fn steps_that_do_not_fit_are_an_error_and_none_is_set() {
    let streams = Streams::new(1);
    let held = [(); 2].map(|()| streams.next_stream().unwrap());
    streams.set_steps(&[3, 4]).unwrap();
    for wrong in [&[][..], &[5], &[5, 6, 7]] {
        let error = streams.set_steps(wrong).unwrap_err();
        let steps = ["0 steps", "1 step", "", "3 steps"][wrong.len()];
        let text = format!(
            "the checkpoint has {steps}, but this model has taken 2 streams: is it the same model, and has each layer \
             taken its stream before the steps are set?"
        );
        assert_eq!(error.to_string(), text);
        assert!(matches!(error, Error::Steps { expected: 2, .. }));
    }
    let error = streams.set_steps(&[5, 1 << 48]).unwrap_err();
    assert_eq!(error.to_string(), "a stream's step must be below 2^48, got 281474976710656");
    assert_eq!(streams.steps(), [3, 4]);
    assert_eq!(held.each_ref().map(Stream::step), [3, 4]);
    Streams::new(1).set_steps(&[]).unwrap();
}

#[test]
fn one_seed_serves_65536_layers() {
    let streams = Streams::new(1);
    for layer in 0..=u16::MAX {
        assert_eq!(streams.next_stream().unwrap().layer(), layer);
    }
    for _ in 0..2 {
        let error = streams.next_stream().unwrap_err();
        assert!(matches!(error, Error::Layers));
        assert_eq!(error.to_string(), "this seed's 65536 layer streams have all been handed out");
    }
    assert_eq!(streams.steps(), vec![0; 1 << 16]);
}

/// `Streams` knows what it has handed out, and not the copies of it.
#[test]
fn a_clone_goes_on_by_itself() {
    let streams = Streams::new(1);
    let stream = streams.next_stream().unwrap();
    stream.set_step(5).unwrap();
    let clone = elements(0.5).with_stream(stream.clone());
    let original = elements(0.5).with_stream(stream);
    let x = Tensor::ones([256], float());
    let cloned_mask = clone.forward_t(&x, true);
    assert_eq!(streams.steps(), [5]);
    assert_same_bits(&original.forward_t(&x, true), &cloned_mask);
    assert_eq!(streams.steps(), [6]);

    // A layer's clone has a clone of its stream.
    let clone = original.clone();
    let cloned_mask = clone.forward_t(&x, true);
    assert_eq!((streams.steps(), clone.stream().map(Stream::step)), (vec![6], Some(7)));
    assert_same_bits(&original.forward_t(&x, true), &cloned_mask);
    assert_eq!(streams.steps(), [7]);
}

#[test]
fn another_worker_or_layer_is_still_held() {
    let streams = Streams::new(1);
    let stream = streams.next_stream().unwrap().with_worker(2).with_layer(9);
    stream.set_step(4).unwrap();
    assert_eq!(streams.steps(), [4]);
}

/// A layer that is added in front takes a number of its own, and the others keep their masks.
#[test]
fn a_stream_by_its_number_stays_when_the_model_changes() {
    let x = Tensor::ones([200], float());
    let masks = |layers: &[&TrueDropout]| -> Vec<Tensor> {
        layers.iter().map(|layer| layer.forward_t(&x, true)).collect()
    };
    let seeded = |stream| elements(0.5).with_stream(stream);
    let before = Streams::new(42);
    let old = [(); 2].map(|()| seeded(before.next_stream().unwrap()));
    let expected = masks(&[&old[0], &old[1]]);

    let streams = Streams::new(42);
    let added = seeded(streams.stream(2).unwrap());
    let second = seeded(streams.stream(1).unwrap());
    let first = seeded(streams.next_stream().unwrap());
    let found = masks(&[&first, &second, &added]);
    assert_eq!(found[..2], expected);
    assert!(!expected.contains(&found[2]));

    // Steps are in the order of the numbers, so that those of the model as it was still fit.
    streams.set_steps(&[before.steps(), vec![0]].concat()).unwrap();
    assert_eq!(masks(&[&first, &second]), masks(&[&old[0], &old[1]]));
    assert_eq!(streams.steps(), [2, 2, 0]);

    for taken in 0..3 {
        let error = streams.stream(taken).unwrap_err();
        assert!(matches!(error, Error::LayerTaken(layer) if layer == taken));
        let text = "has taken its stream already, and another layer's masks would be the same";
        assert_eq!(error.to_string(), format!("layer {taken} {text}"));
    }
    // The next one goes into the first gap.
    assert_eq!(streams.stream(4).unwrap().layer(), 4);
    assert_eq!([(); 2].map(|()| streams.next_stream().unwrap().layer()), [3, 5]);
    assert_eq!(streams.stream(u16::MAX).unwrap().layer(), u16::MAX);
    assert_eq!(streams.next_stream().unwrap().layer(), 6);
    assert_eq!(streams.steps().len(), 8);
}
