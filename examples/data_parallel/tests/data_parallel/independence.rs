//! Masks of different ranks are independent, by the library's own examination of dropout.

use std::cell::Cell;

use data_parallel::model::{HIDDEN, Model};
use data_parallel::ranks::Ranks;
use data_parallel::replica::Replica;
use tch::Tensor;
use tch::nn::VarStore;
use tch_dropout::{NoiseShape, Streams};

use crate::common::float;
use crate::examination::{Claim, Findings};
use crate::mpirun::{SIZES, args, on_ranks};

/// 2²⁰ elements in each mask.
const SIZE: [i64; 2] = [2048, HIDDEN];
const MASKS: usize = 9;

/// What the examination finds in the masks of all ranks and layers, put one after the other as if one layer had
/// drawn them. `None` on all ranks but the first.
fn examine(ranks: &Ranks, model: &Model) -> Option<Findings> {
    let ones = Tensor::ones(SIZE, float());
    let mut masks = Vec::new();
    while masks.len() < MASKS {
        for layer in &model.dropouts {
            let mask: Vec<f32> =
                layer.draw_mask(&ones, true).unwrap().flatten(0, -1).try_into().unwrap();
            let all = Tensor::from_slice(&ranks.gather(&mask));
            masks.extend(
                (0..ranks.size() as i64).map(|rank| all.view([-1, SIZE[0], SIZE[1]]).get(rank)),
            );
        }
    }
    let next = Cell::new(0);
    let claim = Claim { p: 0.5, kept: 2.0, shape: NoiseShape::Elements, size: SIZE.to_vec() };
    ranks.is_first().then(|| {
        tch::manual_seed(3);
        claim.examine(|x| x * &masks[next.replace(next.get() + 1)])
    })
}

#[test]
fn masks_of_different_ranks_and_layers_are_independent() {
    on_ranks(&SIZES, |ranks| {
        let replica = Replica::new(ranks, &args(&["--seed", "5"]).config).unwrap();
        if let Some(findings) = examine(ranks, &replica.model) {
            assert_eq!(findings, Findings::new());
        }
    });
}

/// A stranger's mistake: each rank makes its layers as if it were the only one.
#[test]
fn ranks_that_are_all_worker_0_are_found() {
    on_ranks(&[2, 4], |ranks| {
        let vs = VarStore::new(tch::Device::Cpu);
        let model = Model::new(&vs.root(), &Streams::new(5), 0.5).unwrap();
        let Some(findings) = examine(ranks, &model) else { return };
        let reason = "correlation over forwards, lag 1";
        assert!(findings.iter().any(|finding| finding.starts_with(reason)), "{findings:?}");
    });
}
