//! Variational dropout of the state: one mask of h for all time steps.

use tch::nn::{self, RNNConfig};
use tch::{Kind, Tensor};
use tch_dropout::{RecurrentDropout, TrueDropout};

use crate::common::{assert_close, assert_same_bits, device, elements, float};
use crate::layers::{CELLS, Cell, Dropouts, HIDDEN, IN, fill, of_state, ours, state};

fn seeded(state: TrueDropout) -> Dropouts {
    Dropouts { shared: RecurrentDropout { state, ..Default::default() }, ..Default::default() }
}

/// One time step as its paper writes it, with one matrix for each gate.
fn step(cell: Cell, vs: &nn::VarStore, x: &Tensor, state: &[Tensor], mask: &Tensor) -> Vec<Tensor> {
    let gate = |name: &str, index: i64, operand: &Tensor| {
        let rows = |prefix: &str| {
            vs.variables()[&format!("{prefix}_{name}_l0")].narrow(0, index * HIDDEN, HIDDEN)
        };
        operand.matmul(&rows("weight").transpose(0, 1)) + rows("bias")
    };
    let h = &state[0];
    let masked = h * mask;
    let (x_gate, h_gate) = (|i| gate("ih", i, x), |i| gate("hh", i, &masked));
    match cell {
        Cell::Lstm => {
            let sum = |i| x_gate(i) + h_gate(i);
            let c = sum(1).sigmoid() * &state[1] + sum(0).sigmoid() * sum(2).tanh();
            vec![sum(3).sigmoid() * c.tanh(), c]
        }
        Cell::Gru => {
            let sum = |i| x_gate(i) + h_gate(i);
            let (r, z) = (sum(0).sigmoid(), sum(1).sigmoid());
            let n: Tensor = (x_gate(2) + r * h_gate(2)).tanh();
            vec![(1.0f64 - &z) * n + z * h]
        }
    }
}

#[test]
fn it_is_a_loop_whose_recurrent_product_sees_one_mask() {
    for cell in CELLS {
        for dropout in [elements(0.5), TrueDropout::shared(0.5, &[0]).unwrap()] {
            let mut vs = nn::VarStore::new(device());
            let rnn = RNNConfig::default();
            let layer = ours(cell, &vs.root(), rnn, &seeded(dropout.clone().with_seed(7)));
            fill(&vs);
            vs.double();
            let masks = dropout.with_seed(7);
            let x = Tensor::randn([3, 7, IN], (Kind::Double, device()));
            let initial = state(cell, rnn, 3, Kind::Double);
            for _ in 0..2 {
                let mut state: Vec<_> = initial.iter().map(|t| t.get(0)).collect();
                let mask = masks.draw_mask(&state[0], true).unwrap();
                let (y, last) = layer(&x, &initial, true);
                for t in 0..7 {
                    state = step(cell, &vs, &x.select(1, t), &state, &mask);
                    assert_close(&y.select(1, t), &state[0], 1e-14);
                }
                last.iter().zip(&state).for_each(|(a, b)| assert_close(&a.get(0), b, 1e-14));
            }
        }
    }
}

/// A mask over the batch's rows, so that the noise shape is seen to be that of `[N, H]`.
#[test]
fn it_sees_rows_and_features() {
    for cell in CELLS {
        let vs = nn::VarStore::new(device());
        let rnn = RNNConfig::default();
        let equal_rows = |dropout: TrueDropout| {
            let layer = ours(cell, &vs.root(), rnn, &seeded(dropout));
            let x = Tensor::randn([1, 7, IN], float()).repeat([40, 1, 1]);
            let initial: Vec<_> =
                state(cell, rnn, 1, Kind::Float).iter().map(|t| t.repeat([1, 40, 1])).collect();
            let (y, _) = layer(&x, &initial, true);
            bool::try_from(y.isclose(&y.narrow(0, 0, 1), 1e-5, 1e-6, false).all()).unwrap()
        };
        assert!(equal_rows(TrueDropout::columns(0.5).unwrap()), "columns are shared by the batch");
        assert!(!equal_rows(elements(0.5)));
    }
}

/// One step, with the first mask: what is dropped are recurrent inputs, not the state.
#[test]
fn all_dropped_is_no_recurrent_product_but_the_state_stays() {
    for cell in CELLS {
        let mut vs = nn::VarStore::new(device());
        let rnn = RNNConfig::default();
        let layer = ours(cell, &vs.root(), rnn, &of_state(1.0));
        fill(&vs);
        vs.double();
        let x = Tensor::randn([3, 1, IN], (Kind::Double, device()));
        let initial = state(cell, rnn, 3, Kind::Double);
        let at_0: Vec<_> = initial.iter().map(|t| t.get(0)).collect();
        let expected = step(cell, &vs, &x.select(1, 0), &at_0, &Tensor::from(0.0));
        let (y, last) = layer(&x, &initial, true);
        assert_close(&y.select(1, 0), &expected[0], 1e-14);
        assert_same_bits(&y.select(1, 0), &last[0].get(0));
        assert_ne!(layer(&x, &initial, false).0, y);
    }
}
