//! Layers that are wrong on purpose. Each must be caught by the check that is there for it.

use tch::Tensor;
use tch::nn::ModuleT;
use tch_dropout::{Dropout, NoiseShape, TrueDropout, apply_mask};

use crate::common::{float, unscaled_elements};
use crate::examination::{Claim, TILE};
use crate::{claim, seeded};

const SIZE: [i64; 3] = [64, 128, 128];

fn right(p: f64) -> Claim {
    claim::<false>(p, &NoiseShape::Elements, &SIZE)
}

#[track_caller]
fn assert_found(claim: &Claim, forward: impl Fn(&Tensor) -> Tensor, reason: &str) {
    let (_generator, seed) = seeded();
    let findings = claim.examine(forward);
    let found = findings.iter().any(|finding| finding.starts_with(reason));
    assert!(found, "seed {seed}: expected {reason}, found {findings:?}");
}

/// The neighbours of a mask in memory: in each tile, the element at `from` written over the one at `to`.
fn copied(mask: &Tensor, from: i64, to: i64) -> Tensor {
    let mask = mask.copy().reshape([-1]);
    let n = mask.numel() as i64 / TILE - 1;
    let every_tile = |start: i64| mask.narrow(0, start, TILE * n).slice(0, 0, None, TILE);
    every_tile(to).copy_(&every_tile(from).copy());
    mask.reshape(SIZE)
}

#[test]
fn p_that_is_half_a_percent_off() {
    for (p, off) in [(0.5, 0.5 * 1.005), (0.5, 0.5 / 1.005), (0.9, 0.9 * 1.005), (0.1, 0.105)] {
        assert_found(&right(p), |x| unscaled_elements(off).forward_t(x, true), "keep rate");
    }
}

#[test]
fn a_mask_used_again() {
    let mask = unscaled_elements(0.5).draw_mask(&Tensor::ones(SIZE, float()), true).unwrap();
    assert_found(
        &right(0.5),
        |x| apply_mask(x, &mask).unwrap(),
        "correlation over forwards, lag 1",
    );
    let layer = unscaled_elements(0.5).with_seed(1);
    let stuck = |x: &Tensor| {
        let y = layer.forward_t(x, true);
        let stream = layer.stream().unwrap();
        stream.set_step(stream.step() & 1).unwrap();
        y
    };
    assert_found(&right(0.5), stuck, "correlation over forwards, lag 2");
}

/// One column in twenty has its left neighbour's mask.
#[test]
fn correlated_columns() {
    let claim = claim::<false>(0.5, &NoiseShape::Columns, &[2, 1 << 20, 2]);
    let columns = Dropout::new(0.5).unwrap();
    let correlated = |x: &Tensor| {
        let mask = columns.draw_mask(x, true).unwrap();
        let copies = Tensor::rand(mask.size(), float()).lt(0.05);
        apply_mask(x, &mask.where_self(&copies.logical_not(), &mask.roll([1], [1]))).unwrap()
    };
    assert_found(&claim, correlated, "correlation over dimension 1, lag 1");
}

#[test]
fn off_by_one_at_the_edge_of_a_tile() {
    let forward = |from, to| {
        move |x: &Tensor| {
            let mask = unscaled_elements(0.5).draw_mask(x, true).unwrap();
            apply_mask(x, &copied(&mask, from, to)).unwrap()
        }
    };
    // The last element of a tile is its neighbour's, or the next tile's first one.
    assert_found(&right(0.5), forward(TILE - 2, TILE - 1), "neighbours by place in a tile, lag 1");
    assert_found(&right(0.5), forward(TILE, TILE - 1), "neighbours by place in a tile, lag 1");
    // Or it is the element's whose bit is beside its own, in the same word.
    assert_found(
        &right(0.5),
        forward(TILE - 65, TILE - 1),
        "neighbours by place in a tile, lag 64",
    );
}

#[test]
fn an_element_of_each_tile_that_is_never_dropped() {
    let first_is_kept = |x: &Tensor| {
        let mask = unscaled_elements(0.5).draw_mask(x, true).unwrap();
        let _ = mask.reshape([-1, TILE]).select(1, 0).fill_(1.0);
        apply_mask(x, &mask).unwrap()
    };
    assert_found(&right(0.5), first_is_kept, "rate by place in a tile");
    // Even if the others make up for it.
    let made_up_for = |x: &Tensor| {
        let mask =
            unscaled_elements(0.5 * TILE as f64 / (TILE - 1) as f64).draw_mask(x, true).unwrap();
        let _ = mask.reshape([-1, TILE]).select(1, 0).fill_(1.0);
        apply_mask(x, &mask).unwrap()
    };
    assert_found(&right(0.5), made_up_for, "rate by place in a tile");
}

#[test]
fn a_wrong_scale() {
    let elements = claim::<true>(0.1, &NoiseShape::Elements, &SIZE);
    let layer = TrueDropout::elements(0.1).unwrap();
    assert_found(&elements, |x| layer.forward_t(x, true) * 1.00001, "values");
    let wrong = Claim { kept: 1.0, ..elements };
    assert_found(&wrong, |x| layer.forward_t(x, true), "values");
    // Right on ones, where the other checks look, and wrong elsewhere.
    let biased = |x: &Tensor| layer.forward_t(x, true) + (x - 1.0).abs() * 0.05;
    assert_found(&claim::<true>(0.1, &NoiseShape::Elements, &SIZE), biased, "mean");
}

#[test]
fn another_noise_shape() {
    let layer = |shape| Dropout::new(0.5).unwrap().with_noise_shape(shape);
    let claim = |shape| claim::<false>(0.5, &shape, &[1024, 1024, 2]);
    let elements = layer(NoiseShape::Elements);
    let unequal = "groups that are not equal throughout";
    assert_found(&claim(NoiseShape::Channels), |x| elements.forward_t(x, true), unequal);
    let channels = layer(NoiseShape::Channels);
    let shared = "correlation over dimension 2, lag 1";
    assert_found(&claim(NoiseShape::Elements), |x| channels.forward_t(x, true), shared);
}
