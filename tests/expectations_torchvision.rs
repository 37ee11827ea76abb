//! What torchvision's `test/test_ops.py` expects of stochastic depth and DropBlock, checked on ours.
//!
//! | theirs | ours, or why not |
//! | --- | --- |
//! | `TestStochasticDepth.test_stochastic_depth_random`, modes "row" and "batch" | `samples_and_batches_are_dropped_at_the_rate` |
//! | `test_stochastic_depth`, p of 0 and 1 | `all_or_nothing_is_dropped_at_0_and_1` |
//! | `TestDropBlock.test_drop_block`: p = 0, a block as large as the map | `a_block_as_large_as_the_map_drops_it_as_a_whole` |
//! | `test_drop_block_random`: the share that is dropped is within 15 % of p | `about_p_is_dropped_in_blocks` |
//! | both: `repr` | tests/stochastic_depth.rs, tests/drop_block.rs |
//! | both: `test_is_leaf_node`, `inplace=True` | torch.fx's; no layer writes to its input |
//! | both: an invalid `p`, mode or rank | tests/stochastic_depth.rs, tests/drop_block.rs; a mode is a constructor here |

mod common;

use common::{assert_binomial, float};
use tch::nn::ModuleT;
use tch::{Kind, Tensor};
use tch_dropout::{DropBlock, StochasticDepth, TrueDropout};

const P: [f64; 3] = [0.2, 0.5, 0.8];

fn images() -> Tensor {
    Tensor::ones([5, 3, 4, 4], float())
}

/// What is dropped of a branch: torchvision's layer gets the branch's output, `StochasticDepth` the branch.
fn dropped(y: &Tensor) -> f64 {
    y.flatten(1, -1).eq(0).all_dim(1, false).sum(Kind::Int64).double_value(&[])
}

#[test]
fn samples_and_batches_are_dropped_at_the_rate() {
    const TRIALS: usize = 250;
    let x = images();
    for p in P {
        let branch =
            |layer: &StochasticDepth| layer.forward(&x, |kept| kept.ones_like(), true) - &x;
        let rows = StochasticDepth::new(p).unwrap().with_seed(1);
        let batches = StochasticDepth::batch(p).unwrap().with_seed(1);
        let (plain_rows, plain_batches) = (
            TrueDropout::samples(p).unwrap().with_seed(2),
            TrueDropout::batch(p).unwrap().with_seed(2),
        );
        let count = |forward: &dyn Fn() -> Tensor| (0..TRIALS).map(|_| dropped(&forward())).sum();
        let n = TRIALS as f64;
        assert_binomial(count(&|| branch(&rows)), 5.0 * n, p);
        assert_binomial(count(&|| plain_rows.forward_t(&x, true)), 5.0 * n, p);
        // Five samples share a draw.
        assert_binomial(count(&|| branch(&batches)) / 5.0, n, p);
        assert_binomial(count(&|| plain_batches.forward_t(&x, true)) / 5.0, n, p);
    }
}

#[test]
fn all_or_nothing_is_dropped_at_0_and_1() {
    let x = images();
    for (p, expected) in [(0.0, &x + 1.0), (1.0, x.shallow_clone())] {
        for layer in [StochasticDepth::new(p).unwrap(), StochasticDepth::batch(p).unwrap()] {
            assert_eq!(layer.forward(&x, |kept| kept.ones_like(), true), expected, "{layer}");
        }
    }
}

#[test]
fn a_block_as_large_as_the_map_drops_it_as_a_whole() {
    for size in [&[5, 3, 11, 11][..], &[5, 3, 11, 11, 11]] {
        let x = Tensor::ones(size, float());
        for block in [5, 11] {
            assert_eq!(DropBlock::new(0.0, block).unwrap().forward_t(&x, true), x);
        }
        let y = DropBlock::new(0.5, 11).unwrap().with_seed(1).forward_t(&x, true).flatten(2, -1);
        let all = y.size()[2] as f64;
        let kept = Vec::<f64>::try_from(
            y.ne(0)
                .to_kind(Kind::Double)
                .sum_dim_intlist([2i64].as_slice(), false, Kind::Double)
                .flatten(0, -1),
        );
        let kept = kept.unwrap();
        assert!(kept.iter().all(|&n| n == 0.0 || n == all), "{kept:?}");
        assert!(kept.contains(&0.0) && kept.contains(&all));
    }
}

#[test]
fn about_p_is_dropped_in_blocks() {
    for size in [&[5, 3, 11, 11][..], &[5, 3, 11, 11, 11]] {
        let x = Tensor::ones(size, float());
        for p in [0.1, 0.2] {
            let layer = DropBlock::new(p, 3).unwrap().with_seed(1);
            let share = || layer.forward_t(&x, true).eq(0).to_kind(Kind::Float).mean(Kind::Double);
            let dropped = (0..250).map(|_| share().double_value(&[])).sum::<f64>() / 250.0;
            assert!((dropped - p).abs() / p < 0.15, "{layer}, {size:?}: {dropped}");
        }
    }
}
