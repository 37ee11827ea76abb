//! Errors name what was wrong and what was expected, take no step, and add no variable.

use tch::nn::{self, RNNConfig};
use tch::{Kind, Tensor};
use tch_dropout::{
    GruConfig, LstmConfig, RecurrentDropout, RnnT, Streams, TrueDropout, WeightDrop, Zoneout, gru,
    lstm,
};

use crate::common::{device, elements, float, panic_text};
use crate::layers::{HIDDEN, IN};

#[test]
fn options_that_do_not_fit() {
    let default = RNNConfig::default();
    let wrong = [
        (
            RNNConfig { dropout: 0.3, ..default },
            "RNNConfig's dropout must be 0 (set RecurrentDropout's `between` instead), got 0.3",
        ),
        (RNNConfig { num_layers: 0, ..default }, "num_layers must be at least 1, got 0"),
        (
            RNNConfig { b_hh_init: None, ..default },
            "RNNConfig's b_ih_init and b_hh_init must be given if has_biases is true, got None",
        ),
    ];
    for (rnn, expected) in wrong {
        let vs = nn::VarStore::new(device());
        let config = LstmConfig { rnn, ..Default::default() };
        assert_eq!(lstm(vs.root(), IN, HIDDEN, config).unwrap_err().to_string(), expected);
        let config = GruConfig { rnn, ..Default::default() };
        assert_eq!(gru(vs.root(), IN, HIDDEN, config).unwrap_err().to_string(), expected);
        assert!(vs.is_empty());
    }
    let vs = nn::VarStore::new(device());
    for (inputs, hidden, expected) in [
        (0, 2, "in_dim must be at least 1, got 0"),
        (2, -1, "hidden_dim must be at least 1, got -1"),
    ] {
        let error = gru(vs.root(), inputs, hidden, Default::default()).unwrap_err();
        assert_eq!(error.to_string(), expected);
    }
    let rnn = RNNConfig { has_biases: false, b_ih_init: None, b_hh_init: None, ..default };
    assert!(gru(vs.root(), 2, 2, GruConfig { rnn, ..Default::default() }).is_ok());
    for error in [WeightDrop::new(1.5).unwrap_err(), Zoneout::new(1.5).unwrap_err()] {
        assert_eq!(error.to_string(), "p must be a probability in [0, 1], got 1.5");
    }
}

fn dropout(streams: &Streams) -> RecurrentDropout {
    let next = || streams.next_stream().unwrap();
    RecurrentDropout {
        between: elements(0.5).with_stream(next()),
        weights: WeightDrop::new(0.5).unwrap().with_stream(next()),
        state: elements(0.5).with_stream(next()),
        zoneout: Zoneout::new(0.5).unwrap().with_stream(next()),
    }
}

#[test]
fn tensors_that_do_not_fit() {
    for batch_first in [true, false] {
        let (vs, streams) = (nn::VarStore::new(device()), Streams::new(7));
        let rnn =
            RNNConfig { num_layers: 2, bidirectional: true, batch_first, ..Default::default() };
        let dropout = dropout(&streams);
        let config = LstmConfig { rnn, dropout, ..Default::default() };
        let layer = lstm(vs.root(), IN, HIDDEN, config).unwrap();
        let zeros = |size: &[i64]| Tensor::zeros(size, float());
        let state = layer.zero_state(3);
        let (x, layout) = match batch_first {
            true => ([3, 7, IN], "[N, T, 5]"),
            false => ([7, 3, IN], "[T, N, 5]"),
        };
        let no_steps = if batch_first { [3, 0, IN] } else { [0, 3, IN] };
        for size in [&[7, IN][..], &[3, 7, IN + 1], &[1, 3, 7, IN], &[], &no_steps] {
            let expected = format!("x must be of shape {layout} with T >= 1, got {size:?}");
            let error = layer.f_seq_init_t(&zeros(size), &state, true).unwrap_err();
            assert_eq!(error.to_string(), expected);
            assert_eq!(layer.f_seq_t(&zeros(size), true).unwrap_err().to_string(), expected);
        }
        for size in [&[IN][..], &[3, IN + 1], &[3, 1, IN]] {
            let error = layer.f_step_t(&zeros(size), &state, true).unwrap_err().to_string();
            assert_eq!(error, format!("x must be of shape [N, 5], got {size:?}"));
        }
        for size in [&[4, 3][..], &[2, 3, HIDDEN], &[4, 7, HIDDEN], &[4, 3, HIDDEN + 1]] {
            for wrong_c in [true, false] {
                let (wrong, right) = (zeros(size), zeros(&[4, 3, HIDDEN]));
                let tensors = if wrong_c { (right, wrong) } else { (wrong, right) };
                let error =
                    layer.f_seq_init_t(&zeros(&x), &nn::LSTMState(tensors), true).unwrap_err();
                let expected =
                    format!("each tensor of the state must be of shape [4, 3, 6], got {size:?}");
                assert_eq!(error.to_string(), expected);
            }
        }
        for kind in [Kind::Double, Kind::Int64] {
            assert!(layer.f_seq_init_t(&zeros(&x).to_kind(kind), &state, true).is_err());
            let (h, c) = (state.h().to_kind(kind), state.c());
            assert!(layer.f_seq_init_t(&zeros(&x), &nn::LSTMState((h, c)), true).is_err());
            let (h, c) = (state.h(), state.c().to_kind(kind));
            assert!(layer.f_seq_init_t(&zeros(&x), &nn::LSTMState((h, c)), true).is_err());
        }
        assert_eq!(streams.steps(), [0; 4]);
    }
}

/// Found before the first layer has drawn, although only the second would fail.
#[test]
fn a_noise_shape_that_does_not_fit() {
    let (vs, streams) = (nn::VarStore::new(device()), Streams::new(7));
    for (between, state, expected) in [
        (
            &[3][..],
            &[0][..],
            "dimension 3 of the noise shape is out of range for an input of shape [3, 7, 6]",
        ),
        (&[1], &[2], "dimension 2 of the noise shape is out of range for an input of shape [3, 6]"),
    ] {
        let shared = |dims| TrueDropout::shared(0.5, dims).unwrap();
        let dropout = RecurrentDropout {
            between: shared(between),
            state: shared(state),
            ..dropout(&streams)
        };
        let rnn = RNNConfig { num_layers: 2, ..Default::default() };
        let layer = gru(vs.root(), IN, HIDDEN, GruConfig { rnn, dropout }).unwrap();
        let error =
            layer.f_seq_t(&Tensor::zeros([3, 7, IN], float()), true).unwrap_err().to_string();
        assert_eq!(error, expected);
    }
    assert!(streams.steps().iter().all(|&step| step == 0), "{:?}", streams.steps());
}

#[test]
fn the_plain_methods_panic_with_the_errors_text() {
    let vs = nn::VarStore::new(device());
    let layer = gru(vs.root(), IN, HIDDEN, Default::default()).unwrap();
    let flat = Tensor::zeros([7, IN], float());
    let text = panic_text(std::panic::AssertUnwindSafe(|| drop(layer.seq_t(&flat, true))));
    assert_eq!(text, format!("{layer}: x must be of shape [N, T, 5] with T >= 1, got [7, 5]"));
}

#[test]
fn layers_print_themselves() {
    let vs = nn::VarStore::new(device());
    let dropout = RecurrentDropout {
        between: TrueDropout::shared(0.2, &[1]).unwrap(),
        weights: WeightDrop::new(0.5).unwrap(),
        ..Default::default()
    };
    let config = GruConfig { dropout: dropout.clone(), ..Default::default() };
    let layer = gru(vs.root() / "gru", 8, 16, config).unwrap();
    let expected = "Gru(8, 16, num_layers=1, batch_first=true, bidirectional=false, \
                    between=TrueDropout(p=0.2, shared over [1]), weights=WeightDrop(p=0.5))";
    assert_eq!((layer.to_string(), format!("{layer:?}")), (expected.into(), expected.into()));

    let cell_zoneout = Zoneout::new(0.1).unwrap();
    let config = LstmConfig { cell_zoneout, ..Default::default() };
    let layer = lstm(vs.root() / "lstm", 8, 16, config).unwrap();
    let expected = "Lstm(8, 16, num_layers=1, batch_first=true, bidirectional=false, \
                    cell_zoneout=Zoneout(p=0.1))";
    assert_eq!((layer.to_string(), format!("{layer:?}")), (expected.into(), expected.into()));
}
