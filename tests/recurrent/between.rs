//! Dropout between layers: fresh for each time step, or locked.

use tch::nn::{self, RNNConfig};
use tch::{Kind, Tensor};
use tch_dropout::{TrueDropout, apply_mask};

use crate::common::{assert_same_bits, device, elements, float};
use crate::layers::{CELLS, Cell, Dropouts, HIDDEN, IN, between, fill, ours, state};

fn locked(p: f64) -> TrueDropout {
    TrueDropout::shared(p, &[1]).unwrap()
}

/// Copies a layer's variables to the first layer of another path.
fn copy_layer(vs: &nn::VarStore, from: &str, to: &str) {
    for name in ["weight_ih", "weight_hh", "bias_ih", "bias_hh"] {
        let from = vs.variables()[&format!("{name}_{from}")].shallow_clone();
        let mut to = vs.variables()[&format!("{to}.{name}_l0")].shallow_clone();
        tch::no_grad(|| to.copy_(&from));
    }
}

/// Two layers with dropout between are a layer, a dropout, and a layer.
#[test]
fn it_drops_from_what_the_next_layer_sees() {
    const { assert!(IN != HIDDEN, "the second layer has another size") };
    for cell in CELLS {
        for dropout in [elements(0.5).with_seed(7), locked(0.5).with_seed(7)] {
            let vs = nn::VarStore::new(device());
            let rnn = RNNConfig { num_layers: 2, ..Default::default() };
            let stack = ours(cell, &vs.root(), rnn, &between(dropout.clone()));
            let one = RNNConfig::default();
            let first = ours(cell, &(vs.root() / "first"), one, &Dropouts::default());
            fill(&vs);
            copy_layer(&vs, "l0", "first");

            let (x, state) = (Tensor::randn([3, 7, IN], float()), state(cell, rnn, 3, Kind::Float));
            let of_layer = |layer| state.iter().map(|t| t.narrow(0, layer, 1)).collect::<Vec<_>>();
            for _ in 0..2 {
                let (hidden, last) = first(&x, &of_layer(0), true);
                let mask = dropout.draw_mask(&hidden, true).unwrap();
                let y = second(cell, &vs, &apply_mask(&hidden, &mask).unwrap(), &of_layer(1));
                let (actual, actual_last) = stack(&x, &state, true);
                assert_same_bits(&actual, &y);
                assert_same_bits(&actual_last[0].narrow(0, 0, 1), &last[0]);
            }
        }
    }
}

/// The second layer, by libtorch.
fn second(cell: Cell, vs: &nn::VarStore, x: &Tensor, state: &[Tensor]) -> Tensor {
    let names = ["weight_ih_l1", "weight_hh_l1", "bias_ih_l1", "bias_hh_l1"];
    let weights = names.map(|name| vs.variables()[name].shallow_clone());
    match cell {
        Cell::Lstm => x.lstm(state, &weights, true, 1, 0.0, true, false, true).0,
        Cell::Gru => x.gru(&state[0], &weights, true, 1, 0.0, true, false, true).0,
    }
}

/// The second layer passes on what it sees, since its gates are open and it forgets at once.
#[test]
fn a_locked_mask_is_the_same_in_all_time_steps_and_a_fresh_one_is_not() {
    let masks_differ = |dropout: TrueDropout| {
        let vs = nn::VarStore::new(device());
        let rnn = RNNConfig { num_layers: 2, ..Default::default() };
        let stack = ours(Cell::Gru, &vs.root(), rnn, &between(dropout));
        let set = |name: &str, value: Tensor| {
            let mut variable = vs.variables()[name].shallow_clone();
            tch::no_grad(|| variable.copy_(&value.expand_as(&variable)));
        };
        let zeros = |rows| Tensor::zeros([rows, HIDDEN], float());
        set("weight_hh_l1", Tensor::from(0f32));
        set(
            "bias_ih_l1",
            Tensor::cat(
                &[
                    Tensor::zeros([6], float()),
                    Tensor::full([6], -50.0, float()),
                    Tensor::zeros([6], float()),
                ],
                0,
            ),
        );
        set("weight_ih_l1", Tensor::cat(&[zeros(12), Tensor::eye(HIDDEN, float())], 0));
        set("bias_ih_l0", Tensor::from(0.3f32));
        let (x, state) =
            (Tensor::rand([40, 7, IN], float()), state(Cell::Gru, rnn, 40, Kind::Float));
        let dropped = stack(&x, &state, true).0.abs().lt(1e-9);
        assert!(dropped.any().double_value(&[]) == 1.0 && dropped.all().double_value(&[]) == 0.0);
        dropped.ne_tensor(&dropped.narrow(1, 0, 1)).any().double_value(&[]) == 1.0
    };
    for _ in 0..10 {
        assert!(!masks_differ(locked(0.5)));
        assert!(masks_differ(elements(0.5)));
    }
}

/// The noise shape is that of `[N, T, C]` if time comes first in the input, too.
#[test]
fn batch_first_changes_no_mask() {
    for cell in CELLS {
        let vs = nn::VarStore::new(device());
        let batch_first = RNNConfig { num_layers: 3, bidirectional: true, ..Default::default() };
        let time_first = RNNConfig { batch_first: false, ..batch_first };
        let dropout = between(locked(0.5).with_seed(7));
        let a = ours(cell, &vs.root(), batch_first, &dropout);
        let mut other = nn::VarStore::new(device());
        let b = ours(cell, &other.root(), time_first, &dropout);
        other.copy(&vs).unwrap();
        let (x, state) =
            (Tensor::randn([3, 7, IN], float()), state(cell, batch_first, 3, Kind::Float));
        let (y, _) = a(&x, &state, true);
        assert_same_bits(&b(&x.transpose(0, 1), &state, true).0.transpose(0, 1), &y);
    }
}

/// As PyTorch's: with a single layer there is nothing between.
#[test]
fn the_last_layers_output_is_not_dropped() {
    for cell in CELLS {
        let vs = nn::VarStore::new(device());
        let rnn = RNNConfig::default();
        let layer = ours(cell, &vs.root(), rnn, &between(elements(0.9)));
        let (x, state) = (Tensor::randn([3, 7, IN], float()), state(cell, rnn, 3, Kind::Float));
        assert_same_bits(&layer(&x, &state, true).0, &layer(&x, &state, false).0);
    }
}
