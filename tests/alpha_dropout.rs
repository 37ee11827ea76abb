//! Alpha dropout: libtorch's formula and the paper's, given the mask; what it keeps of SELU's activations.

mod common;

use common::{
    alone, assert_binomial, assert_close, assert_same_bits, channels_last, device, elements, float,
    gradient, seeded,
};
use tch::nn::ModuleT;
use tch::{Kind, Tensor};
use tch_dropout::{AlphaDropout, Error, NoiseShape, TrueDropout, monte_carlo};

const P: [f64; 4] = [0.05, 0.1, 0.5, 0.9];

/// libtorch's `_dropout_impl<feature, alpha>`, for a mask of zeros and ones.
fn libtorchs(x: &Tensor, mask: &Tensor, p: f64) -> Tensor {
    let alpha = 1.758_099_340_847_376_6;
    let a = 1.0 / ((alpha * alpha * p + 1.0) * (1.0 - p)).sqrt();
    let b = (mask - 1.0) * (alpha * a) + alpha * a * p;
    x * (mask * a) + b
}

/// The mask of zeros and ones that the layer with this seed draws first.
fn mask(x: &Tensor, shape: &NoiseShape, p: f64) -> Tensor {
    let layer = elements(p).with_noise_shape(shape.clone()).with_seed(7);
    layer.draw_mask(x, true).unwrap().ne(0).to_kind(x.kind())
}

fn layer(shape: &NoiseShape, p: f64) -> AlphaDropout {
    AlphaDropout::elements(p).unwrap().with_noise_shape(shape.clone()).with_seed(7)
}

#[test]
fn given_the_mask_it_is_libtorchs_formula() {
    let _generator = seeded();
    for shape in common::SHAPES.into_iter().chain([NoiseShape::Shared(vec![2])]) {
        for p in P {
            for (kind, unit) in [
                (Kind::Double, 1e-15),
                (Kind::Float, 2e-7),
                (Kind::Half, 2e-3),
                (Kind::BFloat16, 1.6e-2),
            ] {
                let x = Tensor::randn([30, 40, 5], float()).to_kind(kind);
                let expected = libtorchs(&x, &mask(&x, &shape, p), p);
                let y = layer(&shape, p).forward_t(&x, true);
                assert_eq!(y.kind(), kind);
                assert!(
                    y.allclose(&expected, 4.0 * unit, 4.0 * unit, false),
                    "{shape} {p} {kind:?}"
                );
            }
        }
    }
}

/// Klambauer et al. 2017, section 3: `a (x d + α' (1 - d)) + b`, with the paper's a and b.
#[test]
fn given_the_mask_it_is_the_papers_formula() {
    let _generator = seeded();
    let (lambda, alpha) = (1.050_700_987_355_480_5, 1.673_263_242_354_377_3);
    for p in P {
        let q = 1.0 - p;
        let saturation: f64 = -lambda * alpha;
        let a = (q + saturation * saturation * q * (1.0 - q)).powf(-0.5);
        let b = -a * (1.0 - q) * saturation;
        let x = Tensor::randn([100, 100], (Kind::Double, device()));
        let d = mask(&x, &NoiseShape::Elements, p);
        let expected = a * (&x * &d + saturation * (1.0 - &d)) + b;
        assert_close(&layer(&NoiseShape::Elements, p).forward_t(&x, true), &expected, 1e-12);
    }
}

/// The promise of the paper. Inverted dropout breaks it, which shows that the test can.
#[test]
fn mean_and_variance_stay() {
    let _generator = alone();
    tch::manual_seed(1);
    let x = Tensor::randn([1 << 22], float());
    let moments =
        |y: Tensor| (y.mean(Kind::Double).double_value(&[]), y.std(true).double_value(&[]));
    for p in P {
        for y in [
            AlphaDropout::elements(p).unwrap().forward_t(&x, true),
            AlphaDropout::elements(p).unwrap().with_seed(3).forward_t(&x, true),
        ] {
            let (mean, deviation) = moments(y);
            assert!(mean.abs() < 5e-3 && (deviation - 1.0).abs() < 5e-3, "{p}: {mean} {deviation}");
        }
        let (_, deviation) = moments(elements(p).forward_t(&x, true));
        assert!((deviation - 1.0).abs() > 2e-2, "inverted dropout, {p}: {deviation}");
    }
}

/// As libtorch's, in rate, in values and over channels.
#[test]
fn libtorchs_own_has_the_same_distribution() {
    let _generator = alone();
    tch::manual_seed(2);
    let x = Tensor::ones([200, 300, 4], float());
    for p in P {
        let pairs = [
            (AlphaDropout::elements(p).unwrap().forward_t(&x, true), x.alpha_dropout(p, true)),
            (
                AlphaDropout::channels(p).unwrap().forward_t(&x, true),
                x.feature_alpha_dropout(p, true),
            ),
        ];
        for (i, (ours, theirs)) in pairs.into_iter().enumerate() {
            let (smallest, largest) = (theirs.min(), theirs.max());
            assert!((ours.min() - &smallest).abs().double_value(&[]) < 1e-6);
            assert!((ours.max() - &largest).abs().double_value(&[]) < 1e-6);
            let draws = if i == 0 { ours } else { ours.select(2, 0) };
            let dropped = draws.lt_tensor(&((smallest + largest) / 2.0));
            let n = draws.numel() as f64;
            assert_binomial(dropped.sum(Kind::Int64).double_value(&[]), n, p);
        }
    }
}

#[test]
fn channels_share_a_draw() {
    let _generator = seeded();
    let x = Tensor::ones([20, 30, 4, 5], float());
    let y = AlphaDropout::channels(0.5).unwrap().forward_t(&x, true);
    assert_eq!(y, y.narrow(2, 0, 1).narrow(3, 0, 1).expand_as(&y));
    assert!(y.std(true).double_value(&[]) > 0.5);
}

/// `a` for a kept element, 0 for a dropped one; and the graph keeps no mask, so the second draw must agree.
#[test]
fn gradients_are_a_or_zero() {
    let _generator = seeded();
    for shape in [NoiseShape::Elements, NoiseShape::Channels] {
        let p = 0.3;
        let x = Tensor::randn([30, 40, 5], float()).set_requires_grad(true);
        let y = layer(&shape, p).forward_t(&x, true);
        let weights = Tensor::randn(x.size(), float());
        let kept = mask(&x, &shape, p).expand_as(&x);
        let a = 1.0 / ((1.758_099_340_847_376_6f64.powi(2) * p + 1.0) * (1.0 - p)).sqrt();
        let expected = &kept * a * &weights;
        let found = gradient(&(&y * &weights).sum(Kind::Float), &x);
        assert_close(&found, &expected, 1e-6);
    }
}

#[test]
fn memory_formats_stay() {
    let _generator = seeded();
    let x = channels_last(&Tensor::randn([2, 3, 8, 8], float()));
    let y = AlphaDropout::elements(0.5).unwrap().forward_t(&x, true);
    assert_eq!(y.stride(), x.stride());
    let strided = Tensor::randn([50, 60], float()).slice(1, 0, 60, 2);
    let seeded = layer(&NoiseShape::Elements, 0.5);
    let (a, b) = (seeded.clone(), seeded);
    assert_same_bits(&a.forward_t(&strided, true), &b.forward_t(&strided.contiguous(), true));
}

#[test]
fn edges() {
    let _generator = seeded();
    let x = Tensor::randn([10, 10], float());
    let layer = |p| AlphaDropout::elements(p).unwrap();
    assert_eq!(layer(0.5).forward_t(&x, false), x);
    assert_eq!(layer(0.0).forward_t(&x, true), x);
    assert_eq!(layer(1.0).forward_t(&x, true), x.zeros_like());
    assert_eq!(x.alpha_dropout(1.0, true), x.zeros_like());
    let empty = Tensor::zeros([0, 10], float());
    assert_eq!(layer(0.5).forward_t(&empty, true).size(), [0, 10]);
    let integers = Tensor::ones([10, 10], (Kind::Int64, device()));
    assert_eq!(layer(0.5).forward_t(&integers, true).kind(), Kind::Float);
    assert_eq!(layer(0.5).forward_t(&integers, false).kind(), Kind::Float);
}

#[test]
fn errors_take_no_step() {
    let _generator = seeded();
    assert!(matches!(AlphaDropout::elements(1.5), Err(Error::Probability(p)) if p == 1.5));
    let layer = AlphaDropout::channels(0.5).unwrap().with_seed(1);
    assert!(matches!(layer.set_p(-0.1), Err(Error::Probability(_))));
    assert_eq!(layer.p(), 0.5);
    let vector = Tensor::ones([3], float());
    let complex = Tensor::ones([3, 3], (Kind::ComplexFloat, device()));
    for train in [false, true] {
        assert!(matches!(layer.f_forward_t(&vector, train), Err(Error::TooFewDimensions { .. })));
        let error = layer.f_forward_t(&complex, train).unwrap_err().to_string();
        assert_eq!(error, "dropout is not defined for tensors of kind ComplexFloat");
    }
    assert_eq!(layer.stream().unwrap().step(), 0);
}

/// The mask of a seed is that of every other layer, so a model that changes its activation keeps its masks.
#[test]
fn streams_and_monte_carlo_work_as_in_true_dropout() {
    let _generator = seeded();
    let x = Tensor::randn([8, 10], float());
    let layer = layer(&NoiseShape::Elements, 0.5);
    let (first, second) = (layer.forward_t(&x, true), layer.forward_t(&x, true));
    assert_ne!(first, second);
    layer.stream().unwrap().set_step(0).unwrap();
    assert_same_bits(&layer.forward_t(&x, true), &first);
    let other = TrueDropout::elements(0.5).unwrap().with_seed(7).forward_t(&x, true);
    assert_eq!(other.eq(0), mask(&x, &NoiseShape::Elements, 0.5).eq(0));

    let prediction = monte_carlo(|x, train| layer.forward_t(x, train), &x, 20).unwrap();
    assert!(prediction.variance.max().double_value(&[]) > 0.0);
}
