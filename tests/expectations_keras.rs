//! What Keras 3's tests expect of dropout, checked on ours.
//!
//! | theirs | ours, or why not |
//! | --- | --- |
//! | `dropout_test.py` | |
//! | `basics`: shape, no weights, one seed generator, masking, building | `a_layer_is_no_part_of_a_var_store`; the rest is Keras' own machinery |
//! | `rescaling` | `ones_become_0_or_2` |
//! | `partial_noise_shape_dynamic` and `_static` | `a_noise_shape_with_1_in_the_middle` |
//! | `negative_rate`, `rate_greater_than_one` | `a_rate_outside_0_and_1_is_an_error_that_names_it` |
//! | `validate_noise_shape_none`, `_integer_tuple`, `_none_values`, `_cast_to_a_tuple` | `noise_shapes_are_read_as_keras_reads_them`: ours names the 1s only |
//! | `validate_noise_shape_non_iterable`, `_invalid_type` | a compile error |
//! | `validate_noise_shape_negative_value`, `_zero_value` | not writable; `a_dimension_that_is_not_there_is_an_error` |
//! | `spatial_dropout_test.py` | |
//! | `1d`, `2d`, `3d`: shapes; `correctness`; both data formats | `spatial_dropout_drops_maps_channels_first_or_last` |
//! | `1D_dynamic`, `2D_dynamic`, `3D_dynamic` | symbolic inputs: there are none |
//! | `alpha_dropout_test.py`: `correctness`, `partial_noise_shape_dynamic`, `_static` | `alpha_dropout_shares_its_draws_too` |
//! | `gaussian_dropout_test.py`: `correctness` | `gaussian_noise_has_the_deviation_of_its_rate` |
//! | both: `negative_rate`, `rate_greater_than_one` | `a_rate_outside_0_and_1_is_an_error_that_names_it` |
//! | `random_test.py` | |
//! | `dropout` | `rate_0_is_the_identity_and_a_kept_element_grows` |
//! | `dropout_noise_shape` | in `noise_shapes_are_read_as_keras_reads_them` |
//! | `dropout_jax_jit_stateless` | a `Stream` is state that a layer owns, and no trace takes it: tests/tracing.rs |
//! | `seed_generator_test.py`, `layer_test.py` | |
//! | `seed_generator_next`, `rng_seed_tracking` | `a_seed_counts_its_draws_and_each_differs` |
//! | `seed_generator_serialization`; a saved generator goes on | `a_restored_layer_goes_on_where_it_was_saved` |
//! | `global_seed_generator`, `draw_seed_from_none` | libtorch's own: tests/generator.rs |
//! | `draw_seed_invalid`, unknown arguments | a compile error |
//! | `dropout_rnn_cell_test.py`: one mask for all time steps | `one_mask_serves_all_time_steps` |

mod common;

use common::{assert_binomial, assert_same_bits, count_kept, device, elements, float, nonzero};
use tch::nn::{self, ModuleT};
use tch::{Kind, Tensor};
use tch_dropout::{
    AlphaDropout, Error, GaussianDropout, NoiseShape, Stream, TrueDropout, apply_mask,
};

fn shared(rate: f64, dimensions: &[i64]) -> TrueDropout {
    TrueDropout::shared(rate, dimensions).unwrap()
}

#[test]
fn a_layer_is_no_part_of_a_var_store() {
    let vs = nn::VarStore::new(device());
    let model = nn::seq_t().add(elements(0.2).with_seed(1));
    assert_eq!(model.forward_t(&nonzero(&[2, 3]), true).size(), [2, 3]);
    assert!(vs.is_empty());
}

#[test]
fn ones_become_0_or_2() {
    let y = elements(0.5).with_seed(1337).forward_t(&Tensor::ones([20, 500], float()), true);
    assert_eq!(count_kept(&y.eq(2)), count_kept(&y));
    assert_binomial(count_kept(&y), 10_000.0, 0.5);
}

/// Keras' `(None, 1, None)` and `(20, 1, 10)` are both: shared over dimension 1.
#[test]
fn a_noise_shape_with_1_in_the_middle() {
    let y = shared(0.5, &[1]).forward_t(&Tensor::ones([20, 5, 10], float()), true);
    for step in 1..5 {
        assert_same_bits(&y.select(1, step), &y.select(1, 0));
    }
    assert_binomial(count_kept(&y.select(1, 0)), 200.0, 0.5);
}

/// Keras asks for a deviation of 1 from ones, to one decimal place: dropped elements differ enough from kept ones.
#[test]
fn alpha_dropout_shares_its_draws_too() {
    let layer = AlphaDropout::elements(0.3).unwrap().with_seed(1337);
    let y = layer.forward_t(&Tensor::ones([20, 500], float()), true);
    let deviation = y.std(true).double_value(&[]);
    assert!((deviation - 1.0).abs() < 0.15, "{deviation}");
    let shared = layer.with_noise_shape(NoiseShape::Shared(vec![1]));
    let y = shared.forward_t(&Tensor::ones([20, 5, 10], float()), true);
    assert_same_bits(&y, &y.narrow(1, 0, 1).expand_as(&y));
    assert!(y.select(1, 0).std(true).double_value(&[]) > 0.5);
}

#[test]
fn gaussian_noise_has_the_deviation_of_its_rate() {
    let layer = GaussianDropout::elements(0.3).unwrap().with_seed(1337);
    let y = layer.forward_t(&Tensor::ones([20, 500], float()), true);
    let expected = (0.3f64 / 0.7).sqrt();
    // Within 5 standard errors, where Keras allows 0.15.
    assert!((y.std(true).double_value(&[]) - expected).abs() < 5.0 * expected / 20_000f64.sqrt());
    assert!((y.mean(Kind::Float).double_value(&[]) - 1.0).abs() < 5.0 * expected / 100.0);
}

#[test]
fn a_rate_outside_0_and_1_is_an_error_that_names_it() {
    for rate in [-0.5, 1.5] {
        let others = [AlphaDropout::elements(rate).err(), GaussianDropout::elements(rate).err()];
        for error in others {
            assert!(matches!(error, Some(Error::Probability(refused)) if refused == rate));
        }
        let error = TrueDropout::new(rate).unwrap_err();
        assert!(matches!(error, Error::Probability(refused) if refused == rate));
        assert!(error.to_string().ends_with(&format!("got {rate}")), "{error}");
    }
}

/// `None` is the input's size. A number that is neither 1 nor that size would not broadcast: Keras finds
/// out in the multiplication, and here it cannot be written.
#[test]
fn noise_shapes_are_read_as_keras_reads_them() {
    for (shape, size, keras) in [
        (NoiseShape::Elements, &[20, 5, 10][..], &[20, 5, 10][..]),
        (NoiseShape::Shared(vec![1]), &[20, 5, 10], &[20, 1, 10]),
        (NoiseShape::Shared(vec![0, 1]), &[20, 5, 10], &[1, 1, 10]),
        (NoiseShape::Columns, &[20, 5], &[1, 5]),
        (NoiseShape::Shared(vec![]), &[2, 3, 5, 7], &[2, 3, 5, 7]),
    ] {
        let layer = TrueDropout::new(0.3).unwrap().with_noise_shape(shape);
        let x = nonzero(size);
        assert_eq!(layer.draw_mask(&x, true).unwrap().size(), keras);
        assert_eq!(layer.forward_t(&x, true).size(), size);
    }
}

#[test]
fn a_dimension_that_is_not_there_is_an_error() {
    for dimension in [3, -4] {
        let layer = shared(0.5, &[dimension]);
        let error = layer.f_forward_t(&nonzero(&[20, 5, 10]), true).unwrap_err();
        assert!(matches!(error, Error::DimensionOutOfRange { dimension: d, .. } if d == dimension));
    }
}

#[test]
fn spatial_dropout_drops_maps_channels_first_or_last() {
    for space in [&[3][..], &[3, 3], &[3, 3, 3]] {
        let size = [&[10, 100], space].concat();
        let rank = size.len() as i64;
        let first = TrueDropout::channels(0.5).unwrap();
        let last = shared(0.5, &(1..rank - 1).collect::<Vec<_>>());
        let ones = Tensor::ones(&size, float());
        let outputs = [
            first.forward_t(&ones, true),
            last.forward_t(&ones.movedim_int(1, -1), true).movedim_int(-1, 1),
        ];
        for y in outputs {
            assert_eq!(y.size(), size);
            let maps = y.flatten(2, -1);
            assert_same_bits(&maps, &maps.select(2, 0).unsqueeze(2).expand_as(&maps));
            assert_binomial(count_kept(&maps.select(2, 0)), 1000.0, 0.5);
        }
        assert_same_bits(&first.forward_t(&ones, false), &ones);
        assert_same_bits(&last.forward_t(&ones, false), &ones);
    }
}

#[test]
fn rate_0_is_the_identity_and_a_kept_element_grows() {
    let x = Tensor::ones([3, 5], float());
    assert_same_bits(&elements(0.0).with_seed(0).forward_t(&x, true), &x);
    let y = elements(0.8).with_seed(0).forward_t(&Tensor::ones([300, 500], float()), true);
    assert!((y.max().double_value(&[]) - 5.0).abs() < 1e-5);
    assert_binomial(count_kept(&y), 150_000.0, 0.2);
}

/// Keras' generator is the pair of seed and count, `[1337, 0]`, and a call makes it `[1337, 1]`.
#[test]
fn a_seed_counts_its_draws_and_each_differs() {
    let x = Tensor::ones([10, 40], float());
    let (first, second) = (elements(0.5).with_seed(1), elements(0.5).with_seed(10));
    assert_eq!(
        (first.stream().map(Stream::step), second.stream().map(Stream::step)),
        (Some(0), Some(0))
    );
    let (a, b) = (first.forward_t(&x, true), second.forward_t(&x, true));
    assert_eq!(
        (first.stream().map(Stream::step), second.stream().map(Stream::step)),
        (Some(1), Some(1))
    );
    assert_ne!(a, b);
    assert_ne!(first.forward_t(&x, true), a);
}

#[test]
fn a_restored_layer_goes_on_where_it_was_saved() {
    let x = Tensor::ones([10, 40], float());
    let layer = elements(0.5).with_seed(42);
    let _before = [layer.forward_t(&x, true), layer.forward_t(&x, true)];
    let saved = layer.stream().map(Stream::step).unwrap();
    let restored = elements(0.5).with_seed(42);
    restored.stream().unwrap().set_step(saved).unwrap();
    for _ in 0..3 {
        assert_same_bits(&restored.forward_t(&x, true), &layer.forward_t(&x, true));
    }
    assert_eq!(restored.stream().map(Stream::step), layer.stream().map(Stream::step));
}

/// A recurrent cell draws its mask once a sequence: dropout shared over time.
#[test]
fn one_mask_serves_all_time_steps() {
    let sequence = nonzero(&[3, 6, 4]);
    let expected = shared(0.5, &[1]).with_seed(1337).forward_t(&sequence, true);
    let cell = elements(0.5).with_seed(1337);
    let mask = cell.draw_mask(&sequence.select(1, 0), true).unwrap();
    for t in 0..6 {
        let dropped = apply_mask(&sequence.select(1, t), &mask).unwrap();
        assert_same_bits(&dropped, &expected.select(1, t));
    }
    assert_eq!(cell.stream().map(Stream::step), Some(1));
}
