//! Zoneout, in the layers and by itself.

use tch::nn::{self, RNNConfig};
use tch::{Kind, Tensor};
use tch_dropout::{Dropout, Stream, Zoneout};

use crate::common::{
    assert_binomial, assert_close, assert_same_bits, count_kept, device, float, gradient,
};
use crate::layers::{CELLS, Cell, Dropouts, HIDDEN, IN, cell_zoneout, fill, ours, state, zoneout};

/// Outside the reach of any cell, so that an element that is still there has not been updated; and small
/// enough, in f64, that no gate rounds to 1, with which a GRU's update would change nothing.
const OUTSIDE: f64 = 1.5;

#[test]
fn in_training_an_element_keeps_its_value_with_probability_p() {
    const ROWS: i64 = 2000;
    for p in [0.1, 0.5, 0.9] {
        for (cell, dropouts, tensor) in [
            (Cell::Gru, zoneout(p), 0),
            (Cell::Lstm, zoneout(p), 0),
            (Cell::Lstm, cell_zoneout(p), 1),
        ] {
            let mut vs = nn::VarStore::new(device());
            let rnn = RNNConfig { num_layers: 2, bidirectional: true, ..Default::default() };
            let layer = ours(cell, &vs.root(), rnn, &dropouts);
            fill(&vs);
            vs.double();
            let x = Tensor::randn([ROWS, 3, IN], (Kind::Double, device()));
            let mut initial = state(cell, rnn, ROWS, Kind::Double);
            initial[tensor] = Tensor::full([4, ROWS, HIDDEN], OUTSIDE, (Kind::Double, device()));
            let (_, last) = layer(&x, &initial, true);
            // Never updated in three steps, in each layer and direction.
            for index in 0..4 {
                let stayed = count_kept(&last[tensor].get(index).eq(OUTSIDE));
                assert_binomial(stayed, (ROWS * HIDDEN) as f64, p.powi(3));
            }
            if cell == Cell::Lstm {
                let other = 1 - tensor;
                assert_eq!(count_kept(&last[other].eq_tensor(&initial[other])), 0.0);
            }
        }
    }
}

#[test]
fn with_probability_1_the_initial_state_stays() {
    for cell in CELLS {
        let vs = nn::VarStore::new(device());
        let rnn = RNNConfig { num_layers: 2, ..Default::default() };
        let dropouts = Dropouts { shared: zoneout(1.0).shared, ..cell_zoneout(1.0) };
        let layer = ours(cell, &vs.root(), rnn, &dropouts);
        let x = Tensor::randn([3, 7, IN], float());
        let initial = state(cell, rnn, 3, Kind::Float);
        for train in [true, false] {
            let (y, last) = layer(&x, &initial, train);
            last.iter().zip(&initial).for_each(|(a, b)| assert_same_bits(a, b));
            let h = initial[0].get(1).unsqueeze(1).expand([3, 7, HIDDEN], false);
            assert_same_bits(&y, &h.contiguous());
        }
    }
}

/// The cell's new state by libtorch.
fn step(cell: Cell, vs: &nn::VarStore, x: &Tensor, state: &[Tensor]) -> Vec<Tensor> {
    let [w_ih, w_hh, b_ih, b_hh] = ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"]
        .map(|name| vs.variables()[name].shallow_clone());
    match cell {
        Cell::Lstm => {
            let (h, c) = x.lstm_cell(state, &w_ih, &w_hh, Some(b_ih), Some(b_hh));
            vec![h, c]
        }
        Cell::Gru => vec![x.gru_cell(&state[0], &w_ih, &w_hh, Some(b_ih), Some(b_hh))],
    }
}

/// By `p * h_prev + (1 - p) * h_new` in evaluation, and by masks `d` in its place in training.
#[test]
fn it_is_the_papers_formula() {
    const P: [f64; 2] = [0.3, 0.6];
    let seeded = |index: usize| Zoneout::new(P[index]).unwrap().with_seed(index as u64);
    for cell in CELLS {
        let mut vs = nn::VarStore::new(device());
        let rnn = RNNConfig::default();
        let mut dropouts = Dropouts { cell_zoneout: Some(seeded(1)), ..Default::default() };
        dropouts.shared.zoneout = seeded(0);
        let layer = ours(cell, &vs.root(), rnn, &dropouts);
        fill(&vs);
        vs.double();
        let x = Tensor::randn([3, 7, IN], (Kind::Double, device()));
        let initial = state(cell, rnn, 3, Kind::Double);
        let updates = [0, 1].map(|i| Dropout::elements(P[i]).unwrap().with_seed(i as u64));
        for train in [true, false] {
            let (y, _) = layer(&x, &initial, train);
            let mut state: Vec<_> = initial.iter().map(|t| t.get(0)).collect();
            for t in 0..7 {
                let new = step(cell, &vs, &x.select(1, t), &state);
                for index in 0..state.len() {
                    let d = match train {
                        true => 1.0 - updates[index].draw_mask(&new[index], true).unwrap(),
                        false => Tensor::from(P[index]),
                    };
                    state[index] = &d * &state[index] + (1.0 - &d) * &new[index];
                }
                assert_close(&y.select(1, t), &state[0], 1e-14);
            }
        }
    }
}

#[test]
fn an_elements_gradient_goes_where_it_was_taken_from() {
    let options = (Kind::Double, device());
    let [previous, new] = [0, 1].map(|_| Tensor::randn([4, 9], options).set_requires_grad(true));
    let layer = Zoneout::new(0.5).unwrap().with_seed(1);
    let state = layer.apply(&previous, &new, true);
    let updated = Dropout::elements(0.5).unwrap().with_seed(1).draw_mask(&new, true).unwrap();
    let sum = state.sum(Kind::Double);
    assert_same_bits(&gradient(&sum, &new), &updated);
    assert_close(&gradient(&sum, &previous), &(1.0 - &updated), 0.0);

    let sum = layer.apply(&previous, &new, false).sum(Kind::Double);
    assert_close(&gradient(&sum, &new), &Tensor::full([4, 9], 0.5, options), 1e-15);
}

#[test]
fn an_infinite_update_that_is_dropped_leaves_no_nan() {
    let previous = Tensor::ones([100], float());
    let new = Tensor::full([100], f64::INFINITY, float());
    let state = Zoneout::new(0.5).unwrap().apply(&previous, &new, true);
    assert_eq!(count_kept(&state.isnan()), 0.0);
    assert_eq!(count_kept(&state.eq(1)) + count_kept(&state.isinf()), 100.0);
}

#[test]
fn errors_of_a_call_take_no_step() {
    let layer = Zoneout::new(0.5).unwrap().with_seed(1);
    let zeros = |size: &[i64], kind| Tensor::zeros(size, (kind, device()));
    let error = |previous: &Tensor, new: &Tensor| {
        layer.f_apply(previous, new, true).unwrap_err().to_string()
    };
    assert_eq!(
        error(&zeros(&[4], Kind::Float), &zeros(&[2, 4], Kind::Float)),
        "the previous state must be of shape [2, 4], got [4]"
    );
    assert_eq!(
        error(&zeros(&[4], Kind::Int64), &zeros(&[4], Kind::Int64)),
        "dropout is not defined for tensors of kind Int64"
    );
    assert_eq!(layer.stream().map(Stream::step), Some(0));
    assert_eq!(
        Zoneout::new(f64::NAN).unwrap_err().to_string(),
        "p must be a probability in [0, 1], got NaN"
    );
}
