//! Both directions of a bidirectional layer.

use tch::nn::{self, RNNConfig};
use tch::{Kind, Tensor};
use tch_dropout::{RecurrentDropout, TrueDropout, WeightDrop, Zoneout};

use crate::common::{device, float};
use crate::layers::{CELLS, Dropouts, IN, fill, ours, state};

/// Of a sequence that is the same from both ends, by equal weights: the directions differ in nothing but their masks.
#[test]
fn each_direction_has_masks_of_its_own() {
    let rnn = RNNConfig { bidirectional: true, ..Default::default() };
    let of_state = TrueDropout::elements(0.5).unwrap().with_seed(1);
    let zoneout = Zoneout::new(0.5).unwrap().with_seed(1);
    let weights = WeightDrop::new(0.5).unwrap().with_seed(1);
    let shared = |shared| Dropouts { shared, ..Default::default() };
    let each = [
        shared(RecurrentDropout { state: of_state, ..Default::default() }),
        shared(RecurrentDropout { zoneout, ..Default::default() }),
        shared(RecurrentDropout { weights, ..Default::default() }),
    ];
    for cell in CELLS {
        for dropouts in &each {
            let vs = nn::VarStore::new(device());
            let layer = ours(cell, &vs.root(), rnn, dropouts);
            fill(&vs);
            let variables = vs.variables();
            for (name, reverse) in &variables {
                if let Some(name) = name.strip_suffix("_reverse") {
                    tch::no_grad(|| reverse.shallow_clone().copy_(&variables[name]));
                }
            }
            let initial = state(cell, rnn, 3, Kind::Float);
            let initial: Vec<_> = initial.iter().map(Tensor::zeros_like).collect();
            let half = Tensor::randn([3, 4, IN], float());
            let x = Tensor::cat(&[&half, &half.flip([1])], 1);
            let mirrored = |train| {
                let (y, _) = layer(&x, &initial, train);
                let both = y.chunk(2, -1);
                both[0].allclose(&both[1].flip([1]), 1e-5, 1e-6, false)
            };
            assert!(mirrored(false), "{cell:?}, {:?}", dropouts.shared);
            assert!(!mirrored(true), "{cell:?}, {:?}", dropouts.shared);
        }
    }
}
