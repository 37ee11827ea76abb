//! `Lstm` and `Gru` follow `tch::manual_seed`: apart from their other tests, which draw at the same time.

mod common;
#[path = "recurrent/layers.rs"]
#[allow(dead_code, reason = "the other tests take the rest")]
mod layers;

use common::{alone, assert_same_bits, device, float};
use layers::{
    CELLS, Dropouts, IN, all, configurations, ours, state, tch_has_layers_without_biases, theirs,
};
use tch::nn::{self, RNNConfig};
use tch::{Kind, Tensor};

#[test]
fn without_a_seed_manual_seed_decides() {
    let _alone = alone();
    for cell in CELLS {
        let vs = nn::VarStore::new(device());
        let rnn = RNNConfig { num_layers: 2, ..Default::default() };
        let layer = ours(cell, &vs.root(), rnn, &all(0.5));
        let (x, state) = (Tensor::randn([3, 7, IN], float()), state(cell, rnn, 3, Kind::Float));
        let run = |seed| {
            tch::manual_seed(seed);
            layer(&x, &state, true).0
        };
        assert_same_bits(&run(1), &run(1));
        assert_ne!(run(1), run(2));
    }
}

fn sorted(vs: &nn::VarStore) -> Vec<(String, Tensor)> {
    let mut variables: Vec<_> = vs.variables().into_iter().collect();
    variables.sort_by(|(a, _), (b, _)| a.cmp(b));
    variables
}

#[test]
fn variables_are_named_and_initialised_as_tchs() {
    let _alone = alone();
    let own = |low| nn::Init::Uniform { lo: low, up: low + 1.0 };
    for (cell, rnn) in configurations() {
        if !(rnn.has_biases || tch_has_layers_without_biases()) {
            println!("skipped: {cell:?} without biases, which tch cannot make on a GPU");
            continue;
        }
        let (w_ih_init, w_hh_init) = (own(0.0), own(1.0));
        let (b_ih_init, b_hh_init) = (Some(own(2.0)), Some(own(3.0)));
        let rnn = RNNConfig { w_ih_init, w_hh_init, b_ih_init, b_hh_init, ..rnn };
        let stores = [true, false].map(|is_ours| {
            tch::manual_seed(5);
            let vs = nn::VarStore::new(device());
            let path = vs.root() / "rnn";
            if is_ours {
                drop(ours(cell, &path, rnn, &Dropouts::default()));
            } else {
                drop(theirs(cell, &path, rnn));
            }
            vs
        });
        let [ours, theirs] = stores.each_ref().map(sorted);
        assert_eq!(ours.len(), theirs.len());
        for ((our_name, ours), (name, theirs)) in ours.iter().zip(&theirs) {
            assert_eq!(our_name, name);
            assert_same_bits(ours, theirs);
        }
    }
}
