//! Step by step, with the masks that a whole sequence has.

use tch::nn::{self, RNNConfig};
use tch::{Kind, Tensor};
use tch_dropout::{
    GruConfig, LstmConfig, RecurrentDropout, RecurrentMasks, RnnT, TrueDropout, WeightDrop,
    Zoneout, gru, lstm,
};

use crate::common::{assert_close, device, float, gradient};
use crate::layers::{HIDDEN, IN, fill};

const STEPS: i64 = 6;

/// A sequence is its steps: with one mask for all of them, and streams that are at the same steps.
#[test]
fn steps_with_one_mask_are_a_sequence() {
    for layers in [1, 3] {
        for dropouts in 0..8 {
            let p = |bit: u32| if dropouts >> bit & 1 == 1 { 0.4 } else { 0.0 };
            let rnn = RNNConfig { num_layers: layers, ..Default::default() };
            let mut config = LstmConfig { rnn, ..Default::default() };
            config.dropout.between = TrueDropout::shared(p(0), &[1]).unwrap().with_seed(1);
            config.dropout.weights = WeightDrop::new(p(1)).unwrap().with_seed(2);
            config.dropout.state = TrueDropout::elements(p(2)).unwrap().with_seed(3);
            let mut vs = nn::VarStore::new(device());
            let of_steps = gru(
                vs.root() / "gru",
                IN,
                HIDDEN,
                GruConfig { rnn, dropout: config.dropout.clone() },
            )
            .unwrap();
            let whole = gru(
                vs.root() / "other",
                IN,
                HIDDEN,
                GruConfig { rnn, dropout: config.dropout.clone() },
            )
            .unwrap();
            let long_of_steps = lstm(vs.root() / "lstm", IN, HIDDEN, config.clone()).unwrap();
            let long_whole = lstm(vs.root() / "other_lstm", IN, HIDDEN, config).unwrap();
            fill(&vs);
            vs.double();
            let variables = vs.variables();
            for (name, variable) in &variables {
                if let Some(rest) = name.strip_prefix("other_lstm.") {
                    tch::no_grad(|| {
                        variable.shallow_clone().copy_(&variables[&format!("lstm.{rest}")])
                    });
                } else if let Some(rest) = name.strip_prefix("other.") {
                    tch::no_grad(|| {
                        variable.shallow_clone().copy_(&variables[&format!("gru.{rest}")])
                    });
                }
            }
            let x = Tensor::randn([3, STEPS, IN], (Kind::Double, device())).set_requires_grad(true);
            for _ in 0..2 {
                let masks = of_steps.draw_masks(3, true);
                let mut state = of_steps.zero_state(3);
                for t in 0..STEPS {
                    state = of_steps.step_with_t(&x.select(1, t), &state, &masks, true);
                }
                let (_, expected) = whole.seq_t(&x, true);
                assert_close(&state.value(), &expected.value(), 1e-12);
                let of = |state: &nn::GRUState| gradient(&state.value().square().sum(None), &x);
                assert_close(&of(&state), &of(&expected), 1e-12);

                let masks = long_of_steps.draw_masks(3, true);
                let mut state = long_of_steps.zero_state(3);
                for t in 0..STEPS {
                    state = long_of_steps.step_with_t(&x.select(1, t), &state, &masks, true);
                }
                let (_, expected) = long_whole.seq_t(&x, true);
                assert_close(&state.h(), &expected.h(), 1e-12);
                assert_close(&state.c(), &expected.c(), 1e-12);
            }
        }
    }
}

/// Every layer and direction of a step has the masks that a sequence of one time step gives it.
#[test]
fn each_direction_has_its_mask() {
    let mut vs = nn::VarStore::new(device());
    let rnn = RNNConfig { num_layers: 2, bidirectional: true, ..Default::default() };
    let mut config = GruConfig { rnn, ..Default::default() };
    config.dropout.between = TrueDropout::shared(0.4, &[1]).unwrap().with_seed(1);
    config.dropout.weights = WeightDrop::new(0.4).unwrap().with_seed(2);
    config.dropout.state = TrueDropout::elements(0.4).unwrap().with_seed(3);
    let layer = gru(vs.root(), IN, HIDDEN, config).unwrap();
    fill(&vs);
    vs.double();
    let double = (Kind::Double, device());
    let x = Tensor::randn([3, IN], double);
    // Masks show in a state that is not 0.
    let state = nn::GRUState(Tensor::randn([4, 3, HIDDEN], double));
    let found = layer.step_with_t(&x, &state, &layer.draw_masks(3, true), true);
    let RecurrentDropout { between, weights, state: of_state, .. } = &layer.dropout;
    for stream in [between.stream(), weights.stream(), of_state.stream()] {
        stream.unwrap().set_step(0).unwrap();
    }
    assert_close(&found.value(), &layer.step_t(&x, &state, true).value(), 1e-12);
}

/// Zoneout and dropout of elements between the layers draw in each step; evaluation draws nothing.
#[test]
fn what_each_step_draws_is_new() {
    let vs = nn::VarStore::new(device());
    let rnn = RNNConfig { num_layers: 2, ..Default::default() };
    let mut config = GruConfig { rnn, ..Default::default() };
    config.dropout.between = TrueDropout::elements(0.5).unwrap().with_seed(1);
    config.dropout.weights = WeightDrop::new(0.5).unwrap().with_seed(2);
    config.dropout.zoneout = Zoneout::new(0.5).unwrap().with_seed(3);
    let layer = gru(vs.root(), IN, HIDDEN, config).unwrap();
    let x = Tensor::randn([3, IN], float());
    let steps = || {
        let dropout = &layer.dropout;
        let streams =
            [dropout.between.stream(), dropout.weights.stream(), dropout.zoneout.stream()];
        streams.map(|stream| stream.unwrap().step())
    };
    let state = layer.zero_state(3);
    let masks = layer.draw_masks(3, true);
    assert_eq!(steps(), [0, 2, 0]);
    let first = layer.step_with_t(&x, &state, &masks, true);
    let second = layer.step_with_t(&x, &state, &masks, true);
    assert_ne!(first.value(), second.value());
    assert_eq!(steps(), [2, 2, 4]);
    let masks = layer.draw_masks(3, false);
    let evaluated = layer.step_with_t(&x, &state, &masks, false);
    assert_close(&evaluated.value(), &layer.step_t(&x, &state, false).value(), 0.0);
    assert_eq!(steps(), [2, 2, 4]);
}

#[test]
fn masks_of_another_layer_or_batch_are_an_error() {
    let vs = nn::VarStore::new(device());
    let new = |num_layers, name: &str| {
        let rnn = RNNConfig { num_layers, ..Default::default() };
        let mut config = GruConfig { rnn, ..Default::default() };
        config.dropout.state = TrueDropout::elements(0.5).unwrap();
        gru(vs.root() / name, IN, HIDDEN, config).unwrap()
    };
    let (layer, other) = (new(2, "a"), new(1, "b"));
    let x = Tensor::randn([3, IN], float());
    let step = |masks: RecurrentMasks| layer.f_step_with_t(&x, &layer.zero_state(3), &masks, true);
    let error = step(other.draw_masks(3, true)).unwrap_err();
    assert_eq!(error.to_string(), "the masks must be of this layer, got those of another");
    // Of the same size, so that nothing but its weights tells.
    assert!(step(new(2, "c").draw_masks(3, true)).is_err());
    for rows in [1, 4] {
        let error = step(layer.draw_masks(rows, true)).unwrap_err();
        assert_eq!(error.to_string(), format!("the masks must be for 3 sequences, got {rows}"));
    }
    assert!(step(layer.draw_masks(3, true)).is_ok());
}
