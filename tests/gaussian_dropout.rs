//! Gaussian dropout: one pass is the multiplication by its noise. That this is normal and independent is
//! examined in `tests/statistics`.

mod common;

use common::{assert_close, assert_same_bits, channels_last, device, float, gradient};
use tch::nn::ModuleT;
use tch::{Kind, Tensor};
use tch_dropout::{Error, GaussianDropout, NoiseShape, Stream, apply_mask, monte_carlo};

fn layer(p: f64) -> GaussianDropout {
    GaussianDropout::elements(p).unwrap()
}

/// Given the noise it is a multiplication, in every kind, noise shape and memory format.
#[test]
fn given_the_noise_it_is_a_multiplication() {
    for kind in [Kind::Float, Kind::Double, Kind::Half, Kind::BFloat16, Kind::ComplexFloat] {
        for shape in common::SHAPES.into_iter().chain([NoiseShape::Shared(vec![1])]) {
            let x = Tensor::randn([30, 40, 5], float()).to_kind(kind);
            let layer = layer(0.3).with_noise_shape(shape.clone()).with_seed(3);
            let mask = layer.clone().draw_mask(&x, true).unwrap();
            assert_eq!(mask.size(), shape.resolve(&x.size()).unwrap());
            assert_same_bits(&layer.forward_t(&x, true), &apply_mask(&x, &mask).unwrap());
        }
    }
    let x = channels_last(&Tensor::randn([2, 3, 8, 8], float()));
    let (seeded, unseeded) = (layer(0.5).with_seed(1), layer(0.5));
    assert_eq!(unseeded.forward_t(&x, true).stride(), x.stride());
    let y = seeded.clone().forward_t(&x, true);
    assert_same_bits(&y, &seeded.forward_t(&x.contiguous(), true));
}

/// The graph keeps no noise, so the backward's second draw must agree with the first.
#[test]
fn gradients_are_multiplied_by_the_same_noise() {
    for shape in [NoiseShape::Elements, NoiseShape::Channels] {
        let x = Tensor::randn([30, 40, 50], float()).set_requires_grad(true);
        let layer = layer(0.3).with_noise_shape(shape).with_seed(3);
        let mask = layer.clone().draw_mask(&x, true).unwrap();
        let y = layer.forward_t(&x, true);
        let weights = Tensor::randn(x.size(), float());
        let found = gradient(&(&y * &weights).sum(Kind::Float), &x);
        assert_close(&found, &(&weights * &mask), 1e-6);
        // The second derivative of y² is 2 mask².
        let first = gradient(&y.square().sum(Kind::Float), &x);
        assert_close(
            &gradient(&first.sum(Kind::Float), &x),
            &(mask.square() * 2.0).expand_as(&x),
            1e-5,
        );
    }
}

#[test]
fn edges() {
    let x = Tensor::randn([10, 10], float());
    assert_eq!(layer(0.5).forward_t(&x, false), x);
    assert_eq!(layer(0.0).forward_t(&x, true), x);
    let empty = Tensor::zeros([0, 10], float());
    assert_eq!(layer(0.5).forward_t(&empty, true).size(), [0, 10]);
    let integers = Tensor::ones([10, 10], (Kind::Int64, device()));
    assert_eq!(layer(0.5).forward_t(&integers, true).kind(), Kind::Float);
    let almost_one = layer(1.0 - f64::EPSILON).forward_t(&x, true);
    assert!(bool::try_from(almost_one.isfinite().all()).unwrap());
}

/// p = 1 would be infinite noise: Keras returns infinities and NaN.
#[test]
fn errors() {
    let expected = "p must be below 1 for Gaussian dropout (its variance is p / (1 - p)), got 1.0";
    assert_eq!(GaussianDropout::elements(1.0).unwrap_err().to_string(), expected);
    assert!(matches!(GaussianDropout::elements(1.5), Err(Error::Probability(p)) if p == 1.5));
    let layer = layer(0.5).with_seed(1);
    assert_eq!(layer.set_p(1.0).unwrap_err().to_string(), expected);
    assert_eq!((layer.p(), layer.stream().unwrap().step()), (0.5, 0));
}

#[test]
fn streams_and_monte_carlo_work_as_in_true_dropout() {
    let x = Tensor::randn([8, 10], float());
    let layer = layer(0.5).with_seed(7);
    let (first, second) = (layer.forward_t(&x, true), layer.forward_t(&x, true));
    assert_ne!(first, second);
    layer.stream().unwrap().set_step(0).unwrap();
    assert_same_bits(&layer.forward_t(&x, true), &first);

    let prediction = monte_carlo(|x, train| layer.forward_t(x, train), &x, 20).unwrap();
    assert!(prediction.variance.max().double_value(&[]) > 0.0);
}

/// Box and Muller's formula in double precision, from the words of the stream.
#[test]
fn a_second_implementation_finds_the_same_noise() {
    let noise = layer(0.2).with_seed(9).forward_t(&Tensor::ones([128], float()), true);
    let words: Vec<u32> = Stream::new(9).words().take(64).collect();
    for (i, &word) in words.iter().enumerate() {
        let radius = (-2.0 * ((f64::from(word >> 1) + 0.5) / 2f64.powi(31)).ln()).sqrt();
        let angle =
            f64::from(word.wrapping_mul(0x9E37_78C1)) / 2f64.powi(32) * std::f64::consts::TAU;
        for (place, number) in [(i, angle.cos()), (i + 64, angle.sin())] {
            let expected = 1.0 + 0.5 * radius * number; // sqrt(0.2 / 0.8)
            let found = noise.double_value(&[place as i64]);
            assert!((found - expected).abs() < 2e-6, "element {place}: {found}, not {expected}");
        }
    }
}

/// Bits that are pinned: the noise of a seed must not change between versions, machines or instruction sets.
#[test]
fn the_noise_of_a_seed_is_pinned() {
    let ones = Tensor::ones([2, 4], float());
    let noise = layer(0.5).with_seed(42).forward_t(&ones, true);
    let bits = Vec::<i32>::try_from(noise.view_dtype(Kind::Int).flatten(0, -1)).unwrap();
    assert_eq!(
        bits,
        [
            1061475867,
            1062796657,
            1061058668,
            1063636040,
            1061786082,
            1072743646,
            1071880062,
            -1093854824
        ]
    );
}
