//! Sequences of different lengths in one batch: each as it would run by itself.

use tch::nn::{self, RNNConfig};
use tch::{Kind, Tensor};
use tch_dropout::{
    GruConfig, LstmConfig, RecurrentDropout, RnnT, TrueDropout, WeightDrop, Zoneout, gru, lstm,
};

use crate::common::{assert_close, device, gradient};
use crate::layers::{HIDDEN, IN, fill};

const LENGTHS: [i64; 5] = [4, 7, 1, 7, 3];
const STEPS: i64 = 9;

/// Sequences of these lengths against each by itself, for a layer that draws nothing (or the same for all rows).
fn assert_as_by_itself<R: RnnT>(
    layer: &R,
    rnn: RNNConfig,
    state: impl Fn(i64) -> R::State,
    row: impl Fn(&R::State, i64) -> R::State,
    tensors: impl Fn(&R::State) -> Vec<Tensor>,
    train: bool,
) {
    let in_order = |x: &Tensor| if rnn.batch_first { x.shallow_clone() } else { x.transpose(0, 1) };
    let x = Tensor::randn([5, STEPS, IN], (Kind::Double, device())).set_requires_grad(true);
    let all = state(5);
    let (y, last) = layer.seq_lengths_t(&in_order(&x), &LENGTHS, &all, train);
    let y = in_order(&y);
    let of_y = Tensor::randn_like(&y);
    let mut expected = Tensor::zeros([], (Kind::Double, device()));
    for (i, length) in (0..).zip(LENGTHS) {
        let alone = x.narrow(0, i, 1).narrow(1, 0, length);
        let (own, own_last) = layer.seq_init_t(&in_order(&alone), &row(&all, i), train);
        let own = in_order(&own);
        assert_close(&y.narrow(0, i, 1).narrow(1, 0, length), &own, 1e-12);
        assert_eq!(
            y.get(i).narrow(0, length, STEPS - length).count_nonzero(None).int64_value(&[]),
            0
        );
        for (last, own) in tensors(&last).iter().zip(tensors(&own_last)) {
            assert_close(&last.narrow(1, i, 1), &own, 1e-12);
        }
        expected += (own * of_y.narrow(0, i, 1).narrow(1, 0, length)).sum(None);
    }
    let found = gradient(&(y * of_y).sum(None), &x);
    assert_close(&found, &gradient(&expected, &x), 1e-12);
}

/// By libtorch's operation, and step by step, as zoneout's mean in evaluation is.
#[test]
fn each_sequence_runs_as_by_itself() {
    for bits in 0..16 {
        let is = |bit: u32| bits >> bit & 1 == 1;
        let rnn = RNNConfig {
            num_layers: if is(0) { 2 } else { 1 },
            bidirectional: is(1),
            batch_first: is(2),
            ..Default::default()
        };
        let depth = rnn.num_layers * if rnn.bidirectional { 2 } else { 1 };
        let random = |rows| Tensor::randn([depth, rows, HIDDEN], (Kind::Double, device())) * 0.5;
        let zoneout = || Zoneout::new(if is(3) { 0.2 } else { 0.0 }).unwrap();
        let dropout = || RecurrentDropout { zoneout: zoneout(), ..Default::default() };

        let mut vs = nn::VarStore::new(device());
        let config = LstmConfig { rnn, dropout: dropout(), cell_zoneout: zoneout() };
        let layer = lstm(vs.root(), IN, HIDDEN, config).unwrap();
        fill(&vs);
        vs.double();
        assert_as_by_itself(
            &layer,
            rnn,
            |rows| nn::LSTMState((random(rows), random(rows))),
            |nn::LSTMState((h, c)), i| nn::LSTMState((h.narrow(1, i, 1), c.narrow(1, i, 1))),
            |nn::LSTMState((h, c))| vec![h.shallow_clone(), c.shallow_clone()],
            false,
        );

        let mut vs = nn::VarStore::new(device());
        let layer = gru(vs.root(), IN, HIDDEN, GruConfig { rnn, dropout: dropout() }).unwrap();
        fill(&vs);
        vs.double();
        assert_as_by_itself(
            &layer,
            rnn,
            |rows| nn::GRUState(random(rows)),
            |nn::GRUState(h), i| nn::GRUState(h.narrow(1, i, 1)),
            |nn::GRUState(h)| vec![h.shallow_clone()],
            false,
        );
    }
}

/// With full lengths it is the usual call, with the same masks; and what is padded has no part in anything.
#[test]
fn with_dropout() {
    let vs = nn::VarStore::new(device());
    let rnn = RNNConfig { num_layers: 2, bidirectional: true, ..Default::default() };
    let new = |name: &str| {
        let dropout = RecurrentDropout {
            between: TrueDropout::shared(0.3, &[1]).unwrap().with_seed(1),
            weights: WeightDrop::new(0.3).unwrap().with_seed(2),
            state: TrueDropout::elements(0.3).unwrap().with_seed(3),
            zoneout: Zoneout::new(0.3).unwrap().with_seed(4),
        };
        let cell_zoneout = Zoneout::new(0.3).unwrap().with_seed(5);
        lstm(vs.root() / name, IN, HIDDEN, LstmConfig { rnn, dropout, cell_zoneout }).unwrap()
    };
    let layer = new("a");
    let x = Tensor::randn([5, STEPS, IN], crate::common::float());
    let restart = || {
        for stream in [
            layer.dropout.between.stream(),
            layer.dropout.weights.stream(),
            layer.dropout.state.stream(),
            layer.dropout.zoneout.stream(),
            layer.cell_zoneout.stream(),
        ] {
            stream.unwrap().set_step(0).unwrap();
        }
    };
    let zero = layer.zero_state(5);
    let (expected, _) = layer.seq_t(&x, true);
    restart();
    assert_close(&layer.seq_lengths_t(&x, &[STEPS; 5], &zero, true).0, &expected, 0.0);
    restart();
    let (y, nn::LSTMState((h, c))) = layer.seq_lengths_t(&x, &LENGTHS, &zero, true);
    let other = x.copy();
    for (i, length) in (0..).zip(LENGTHS) {
        let _ = other.get(i).narrow(0, length, STEPS - length).fill_(f64::NAN);
        assert_eq!(
            y.get(i).narrow(0, length, STEPS - length).count_nonzero(None).int64_value(&[]),
            0
        );
    }
    restart();
    let (same, nn::LSTMState((same_h, same_c))) =
        layer.seq_lengths_t(&other, &LENGTHS, &zero, true);
    for (a, b) in [(y, same), (h, same_h), (c, same_c)] {
        assert_close(&a, &b, 0.0);
    }
    // Nor does it reach a gradient.
    let other = other.set_requires_grad(true);
    restart();
    let y = layer.seq_lengths_t(&other, &LENGTHS, &zero, true).0;
    let gradient = &Tensor::run_backward(&[y.sum(None)], &[&other], false, false)[0];
    assert_eq!(gradient.isnan().any().int64_value(&[]), 0);
}

#[test]
fn lengths_that_do_not_fit_are_an_error_and_take_no_step() {
    let vs = nn::VarStore::new(device());
    let weights = WeightDrop::new(0.5).unwrap().with_seed(1);
    let dropout = RecurrentDropout { weights, ..Default::default() };
    let config = GruConfig { dropout, ..Default::default() };
    let layer = gru(vs.root(), IN, HIDDEN, config).unwrap();
    let x = Tensor::randn([2, STEPS, IN], crate::common::float());
    for lengths in [&[3][..], &[3, 4, 5], &[3, 0], &[3, STEPS + 1], &[-1, 3]] {
        let error = layer.f_seq_lengths_t(&x, lengths, &layer.zero_state(2), true).unwrap_err();
        let text = format!("lengths must be 2 numbers from 1 to 9, got {lengths:?}");
        assert_eq!(error.to_string(), text);
    }
    assert_eq!(layer.dropout.weights.stream().map(|stream| stream.step()), Some(0));
}
