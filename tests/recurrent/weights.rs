//! Weight drop: DropConnect on the recurrent weights.

use std::process::Command;

use tch::nn::{self, RNNConfig};
use tch::{Kind, Tensor};
use tch_dropout::{RecurrentDropout, WeightDrop, checkpoint};

use crate::common::{assert_same_bits, device, elements, float};
use crate::layers::{CELLS, Dropouts, IN, configurations, fill, ours, state, theirs, weights};

/// A child process, whose standard error has what libtorch prints. On a GPU it would print that a layer's weights are
/// not in one chunk of memory, and that a checkpoint asks for autocast in an old way.
#[test]
fn libtorch_prints_nothing() {
    const CHILD: &str = "TCH_DROPOUT_TEST_CHILD";
    if std::env::var_os(CHILD).is_none() {
        let mut child = Command::new(std::env::current_exe().unwrap());
        child.args(["--exact", "weights::libtorch_prints_nothing", "--nocapture"]).env(CHILD, "1");
        let output = child.output().unwrap();
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        return;
    }
    for (cell, rnn) in configurations() {
        let vs = nn::VarStore::new(device());
        let layer = ours(cell, &vs.root(), rnn, &weights(0.5));
        let state = state(cell, rnn, 3, Kind::Float);
        let x = Tensor::randn([3, 3, IN], float()).set_requires_grad(true);
        let y = layer(&x, &state, true).0;
        checkpoint(|y| y.tanh(), &y).sum(Kind::Float).backward();
    }
}

fn seeded(p: f64) -> Dropouts {
    let weights = WeightDrop::new(p).unwrap().with_seed(7);
    Dropouts { shared: RecurrentDropout { weights, ..Default::default() }, ..Default::default() }
}

/// One mask for each layer and direction, in this order, drawn as the usual dropout's over the weight.
#[test]
fn it_is_tchs_layer_with_masked_recurrent_weights() {
    for cell in CELLS {
        let rnn = RNNConfig { num_layers: 2, bidirectional: true, ..Default::default() };
        let (vs, mut masked) = (nn::VarStore::new(device()), nn::VarStore::new(device()));
        let layer = ours(cell, &vs.root(), rnn, &seeded(0.5));
        let expected = theirs(cell, &masked.root(), rnn);
        let (x, state) = (Tensor::randn([3, 7, IN], float()), state(cell, rnn, 3, Kind::Float));
        fill(&vs);
        let masks = elements(0.5).with_seed(7);
        for _ in 0..3 {
            masked.copy(&vs).unwrap();
            let mut products = Vec::new();
            for name in ["l0", "l0_reverse", "l1", "l1_reverse"] {
                let name = format!("weight_hh_{name}");
                let weight = &masked.variables()[&name];
                let mask = masks.draw_mask(weight, true).unwrap();
                let _ = tch::no_grad(|| weight.shallow_clone().f_mul_(&mask)).unwrap();
                products.push((name, mask));
            }
            let (y, last) = layer(&x, &state, true);
            let (expected_y, expected_last) = expected(&x, &state);
            assert_same_bits(&y, &expected_y);
            last.iter().zip(&expected_last).for_each(|(a, b)| assert_same_bits(a, b));

            for (name, mask) in products {
                let gradient = |y: &Tensor, vs: &nn::VarStore| {
                    let weight = &vs.variables()[&name];
                    Tensor::run_backward(&[y.sum(Kind::Float)], &[weight], true, false).remove(0)
                };
                assert_same_bits(&gradient(&y, &vs), &(gradient(&expected_y, &masked) * mask));
            }
        }
    }
}

#[test]
fn without_any_recurrent_weight_nothing_passes_from_step_to_step() {
    for cell in CELLS {
        let vs = nn::VarStore::new(device());
        let rnn = RNNConfig::default();
        let (all, none) = (&weights(1.0), &Dropouts::default());
        let dropped = ours(cell, &vs.root(), rnn, all);
        let without = ours(cell, &(vs.root() / "zeros"), rnn, none);
        fill(&vs);
        let variables = vs.variables();
        for name in ["weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0"] {
            let from = &variables[name];
            let mut to = variables[&format!("zeros.{name}")].shallow_clone();
            let factor = if name == "weight_hh_l0" { 0.0 } else { 1.0 };
            tch::no_grad(|| to.copy_(&(from * factor)));
        }
        let (x, state) = (Tensor::randn([3, 7, IN], float()), state(cell, rnn, 3, Kind::Float));
        assert_same_bits(&dropped(&x, &state, true).0, &without(&x, &state, true).0);
        assert_ne!(dropped(&x, &state, false).0, dropped(&x, &state, true).0);
    }
}
