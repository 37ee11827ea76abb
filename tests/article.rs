//! The article's statements, one by one.

mod common;

use common::{count_kept, device, example, float, stdout};
use tch::nn::ModuleT;
use tch::{Kind, Tensor};
use tch_dropout::{Dropout, TrueDropout, apply_mask, column_mask, element_mask};

/// The article's 2×3 matrix of integers.
fn matrix() -> Tensor {
    Tensor::from_slice(&[1i64, 2, 3, 4, 5, 6]).reshape([2, 3]).to_device(device())
}

#[test]
fn a_column_mask_has_one_number_per_column_and_zeroes_whole_columns() {
    for _ in 0..100 {
        let mask = column_mask(&matrix(), 0.5).unwrap();
        assert_eq!((mask.size(), mask.kind()), (vec![1, 3], Kind::Int64));
        let dropped = apply_mask(&matrix(), &mask).unwrap();
        for column in 0..3 {
            let expected = match mask.int64_value(&[0, column]) {
                0 => [0, 0],
                1 => [column + 1, column + 4],
                other => panic!("a mask has zeros and ones, not {other}"),
            };
            assert_eq!(
                dropped.select(1, column),
                Tensor::from_slice(&expected).to_device(device())
            );
        }
    }
}

#[test]
fn drop_connect_zeroes_single_elements() {
    let mut seen_part_of_a_column = false;
    for _ in 0..100 {
        let mask = element_mask(&matrix(), 0.5).unwrap();
        assert_eq!((mask.size(), mask.kind()), (vec![2, 3], Kind::Int64));
        let dropped = apply_mask(&matrix(), &mask).unwrap();
        assert_eq!(dropped, matrix() * &mask);
        seen_part_of_a_column |= mask.get(0) != mask.get(1);
    }
    assert!(seen_part_of_a_column);
}

#[test]
fn p_is_the_probability_of_zero() {
    let x = Tensor::ones([2, 100_000], float());
    for p in [0.1, 0.3, 0.5, 0.9] {
        common::assert_binomial(count_kept(&column_mask(&x, p).unwrap()), 1e5, 1.0 - p);
        common::assert_binomial(count_kept(&element_mask(&x, p).unwrap()), 2e5, 1.0 - p);
    }
}

#[test]
fn dropout_zeroes_and_does_not_rescale() {
    let x = common::nonzero(&[8, 1000]);
    let y = Dropout::new(0.3).unwrap().forward_t(&x, true);
    let dropped = y.get(0).eq(0);
    assert_eq!(y, x.masked_fill(&dropped, 0));
    assert!(count_kept(&dropped) > 0.0 && count_kept(&dropped) < 1000.0);
}

#[test]
fn true_dropout_rescales_by_one_over_the_keep_probability() {
    let x = common::nonzero(&[8, 1000]);
    let y = TrueDropout::new(0.3).unwrap().forward_t(&x, true);
    let expected = (&x * (1.0 / 0.7)).masked_fill(&y.get(0).eq(0), 0);
    assert!(y.allclose(&expected, 1e-6, 0.0, false));
}

#[test]
fn evaluation_is_the_identity() {
    let x = common::nonzero(&[8, 10]);
    assert_eq!(Dropout::new(0.5).unwrap().forward_t(&x, false), x);
    assert_eq!(TrueDropout::new(0.5).unwrap().forward_t(&x, false), x);
}

#[test]
fn p_must_be_a_probability() {
    for p in [1.5, -0.1, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        let expected = format!("p must be a probability in [0, 1], got {p}");
        assert_eq!(Dropout::new(p).unwrap_err().to_string(), expected);
        assert_eq!(TrueDropout::new(p).unwrap_err().to_string(), expected);
        assert_eq!(column_mask(&matrix(), p).unwrap_err().to_string(), expected);
        assert_eq!(element_mask(&matrix(), p).unwrap_err().to_string(), expected);
    }
}

#[test]
fn integers_stay_integers_but_for_rescaling() {
    assert_eq!(Dropout::new(0.5).unwrap().forward_t(&matrix(), true).kind(), Kind::Int64);
    assert_eq!(TrueDropout::new(0.5).unwrap().forward_t(&matrix(), true).kind(), Kind::Float);
}

#[test]
fn all_dropped_is_zero_and_not_nan() {
    let x = common::nonzero(&[3, 4]);
    assert_eq!(Dropout::new(1.0).unwrap().forward_t(&x, true), x.zeros_like());
    assert_eq!(TrueDropout::new(1.0).unwrap().forward_t(&x, true), x.zeros_like());
}

#[test]
fn the_example_prints_what_it_always_printed() {
    let output = example("article").output().unwrap();
    assert!(output.status.success());
    assert_eq!(stdout(&output), include_str!("article.txt"));
}
