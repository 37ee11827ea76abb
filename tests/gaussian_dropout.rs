//! Gaussian dropout: its noise is normal and independent, and one pass is the multiplication by it.

mod common;

use common::{alone, assert_close, assert_same_bits, channels_last, device, float, gradient};
use tch::nn::ModuleT;
use tch::{Kind, Tensor};
use tch_dropout::{Error, GaussianDropout, NoiseShape, Stream, apply_mask, monte_carlo};

fn layer(p: f64) -> GaussianDropout {
    GaussianDropout::elements(p).unwrap()
}

/// 2²² standard normal numbers, as the layer draws them.
fn standard(seed: u64) -> Tensor {
    let ones = Tensor::ones([1 << 22], float());
    layer(0.5).with_seed(seed).forward_t(&ones, true).to_kind(Kind::Double) - 1.0
}

fn mean(x: &Tensor) -> f64 {
    x.mean(Kind::Double).double_value(&[])
}

/// Each power's mean is within 5 standard errors of a normal number's: 0, 1, 0, 3, 0, 15.
#[test]
fn moments_are_those_of_a_normal_number() {
    for seed in 0..4 {
        let z = standard(seed);
        let n = (z.numel() as f64).sqrt();
        // E z^k, and E z^2k for the standard error.
        for (k, moment, square) in
            [(1, 0.0f64, 1.0), (2, 1.0, 3.0), (3, 0.0, 15.0), (4, 3.0, 105.0), (6, 15.0, 10395.0)]
        {
            let found = mean(&z.pow_tensor_scalar(k));
            let error = (square - moment * moment).sqrt() / n;
            assert!((found - moment).abs() < 5.0 * error, "seed {seed}, power {k}: {found}");
        }
    }
}

/// Kolmogorov and Smirnov's test, over all and in the finest detail around zero and in the tails.
#[test]
fn the_distribution_is_normal() {
    let z = standard(11);
    let n = z.numel() as f64;
    let (sorted, _) = z.sort(0, false);
    let expected = (sorted / -(2f64.sqrt())).erfc() / 2.0;
    let place = Tensor::arange(n as i64, (Kind::Double, device())) / n;
    let distance = (expected - place).abs().max().double_value(&[]);
    // Beyond 2.3 only once in 50,000 times.
    assert!(distance * n.sqrt() < 2.3, "{}", distance * n.sqrt());

    for (name, inside, probability) in [
        ("within 0.001 of zero", z.abs().lt(1e-3), 7.978_844e-4),
        ("beyond 3", z.abs().gt(3.0), 2.699_796e-3),
        ("beyond 4", z.abs().gt(4.0), 6.334_248e-5),
        ("above 4.5", z.gt(4.5), 3.397_673e-6),
    ] {
        let count = inside.sum(Kind::Int64).double_value(&[]);
        let (expected, deviation) = (n * probability, (n * probability).sqrt());
        assert!((count - expected).abs() < 5.0 * deviation, "{name}: {count}, not {expected}");
    }
}

/// Among neighbours and the other coordinate of a pair (64 further on), of numbers and of their squares.
#[test]
fn numbers_are_independent() {
    let z = standard(5);
    let n = (z.numel() as f64).sqrt();
    for lag in [1, 2, 32, 63, 64, 65, 127, 128, 2047, 2048, 2049] {
        let other = z.roll([-lag], [0]);
        let plain = mean(&(&z * &other)) * n;
        let squares = mean(&((z.square() - 1.0) * (other.square() - 1.0))) / 2.0 * n;
        let mixed = mean(&(&z * (other.square() - 1.0))) / 2f64.sqrt() * n;
        for (what, deviate) in [("numbers", plain), ("squares", squares), ("mixed", mixed)] {
            assert!(deviate.abs() < 5.0, "lag {lag}, {what}: {deviate} standard deviations");
        }
    }
    let next = standard(6);
    assert!((mean(&(&z * &next)) * n).abs() < 5.0);
}

/// The variance is p / (1 - p), with and without a seed.
#[test]
fn p_decides_the_variance() {
    let _generator = alone();
    tch::manual_seed(1);
    let ones = Tensor::ones([1 << 20], float());
    for p in [0.01, 0.1, 0.5, 0.9] {
        for layer in [layer(p), layer(p).with_seed(1)] {
            let y = layer.forward_t(&ones, true);
            let variance = p / (1.0 - p);
            let error = (variance / (1 << 20) as f64).sqrt();
            assert!((mean(&y) - 1.0).abs() < 5.0 * error, "{p}: {}", mean(&y));
            let found = y.var(true).double_value(&[]) / variance;
            assert!((found - 1.0).abs() < 5.0 * (2.0 / (1 << 20) as f64).sqrt(), "{p}: {found}");
        }
    }
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
