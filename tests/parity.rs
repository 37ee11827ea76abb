//! Against libtorch's own dropout.

mod common;

use common::{
    assert_binomial, assert_same_bits, assert_same_product, count_kept, device, elements, nonzero,
};
use tch::nn::ModuleT;
use tch::{Kind, Tensor};
use tch_dropout::{TrueDropout, apply_mask};

/// Runs `forward` on a leaf with this data, and gives the output and the leaf's gradient.
fn output_and_gradient(data: &Tensor, forward: impl Fn(&Tensor) -> Tensor) -> (Tensor, Tensor) {
    let x = data.detach().copy().set_requires_grad(true);
    let y = forward(&x);
    // A gradient that differs from element to element.
    (&y * data.flip([0])).sum(y.kind()).backward();
    (y.detach(), x.grad())
}

#[test]
fn the_same_mask_gives_the_same_bits_as_native_dropout() {
    for kind in [Kind::Float, Kind::Double] {
        for p in [0.1, 0.3, 0.5, 0.9] {
            let data = Tensor::randn([64, 512], (kind, device()));
            let mask = std::cell::RefCell::new(Tensor::new());
            let theirs = output_and_gradient(&data, |x| {
                let (y, drawn) = x.native_dropout(p, true);
                *mask.borrow_mut() = drawn;
                y
            });
            let mask = mask.into_inner().to_kind(kind) * (1.0 / (1.0 - p));
            let ours = output_and_gradient(&data, |x| apply_mask(x, &mask).unwrap());
            assert_same_product(&ours.0, &theirs.0);
            assert_same_product(&ours.1, &theirs.1);
        }
    }
}

#[test]
fn the_same_mask_gives_the_same_bits_as_tensor_dropout_in_every_float_kind() {
    for kind in [Kind::Float, Kind::Double, Kind::Half, Kind::BFloat16] {
        for p in [0.1, 0.3, 0.5, 0.9] {
            let data = nonzero(&[64, 512]).to_kind(kind);
            let theirs = output_and_gradient(&data, |x| x.dropout(p, true));
            let ours = output_and_gradient(&data, |x| {
                // Our own mask's kept element, where they kept one.
                let scale = elements(p).with_seed(1).draw_mask(&data, true).unwrap().max();
                apply_mask(x, &(theirs.0.ne(0).to_kind(kind) * scale)).unwrap()
            });
            assert_same_product(&ours.0, &theirs.0);
            assert_same_product(&ours.1, &theirs.1);
        }
    }
}

#[test]
fn the_same_keep_rate() {
    let x = nonzero(&[1000, 1000]);
    for p in [0.01, 0.1, 0.5, 0.9, 0.99] {
        assert_binomial(count_kept(&x.dropout(p, true)), 1e6, 1.0 - p);
        assert_binomial(count_kept(&elements(p).forward_t(&x, true)), 1e6, 1.0 - p);
    }
}

/// Over many draws the output of a 1 has mean 1 and variance p / (1 - p), for them and for us.
#[test]
fn the_same_mean_and_variance() {
    let (n, draws) = (1000.0, 1000);
    let x = Tensor::ones([n as i64], common::float());
    for p in [0.1, 0.5, 0.9] {
        let variance: f64 = p / (1.0 - p);
        // Of one element's square deviation: its values are known, and so its own variance is.
        let square_deviations = p * (1.0 - variance).powi(2) + {
            let kept = (1.0 / (1.0 - p) - 1.0f64).powi(2);
            (1.0 - p) * (kept - variance).powi(2)
        };
        let layer = elements(p);
        let theirs = |x: &Tensor| x.dropout(p, true);
        let ours = |x: &Tensor| layer.forward_t(x, true);
        for forward in [&theirs as &dyn Fn(&Tensor) -> Tensor, &ours] {
            let drawn: Vec<Tensor> = (0..draws).map(|_| forward(&x)).collect();
            let drawn = Tensor::stack(&drawn, 0).to_kind(Kind::Double);
            let samples = n * f64::from(draws);
            let mean = drawn.mean(Kind::Double).double_value(&[]);
            assert!((mean - 1.0).abs() < 6.0 * (variance / samples).sqrt(), "mean {mean}");
            let measured = (drawn - 1.0).square().mean(Kind::Double).double_value(&[]);
            let bound = 6.0 * (square_deviations / samples).sqrt() + 1e-6;
            assert!((measured - variance).abs() < bound, "variance {measured}, not {variance}");
        }
    }
}

#[test]
fn the_same_answers_at_the_edges() {
    let x = nonzero(&[4, 5]);
    let empty = Tensor::zeros([0, 5], common::float());
    for (p, train) in [(0.0, true), (1.0, true), (0.5, false)] {
        for x in [&x, &empty] {
            assert_same_bits(&elements(p).forward_t(x, train), &x.dropout(p, train));
        }
    }
    assert_same_bits(&elements(0.5).forward_t(&empty, true), &empty.dropout(0.5, true));
}

#[test]
fn a_nan_is_not_hidden_by_a_zero() {
    let x = Tensor::from_slice(&[f32::NAN, f32::INFINITY, 1.0]).to_device(device());
    let (ours, theirs) = (elements(1.0).forward_t(&x, true), x.dropout(1.0, true));
    assert_eq!(Vec::<bool>::try_from(ours.isnan()).unwrap(), [true, true, false]);
    assert_eq!(ours.isnan(), theirs.isnan());
}

/// For a batch of one, columns are libtorch's features.
#[test]
fn columns_have_the_statistics_of_feature_dropout() {
    let x = nonzero(&[1, 100_000, 3]);
    for p in [0.1, 0.5, 0.9] {
        let columns = TrueDropout::new(p).unwrap();
        for y in [x.feature_dropout(p, true), columns.forward_t(&x, true)] {
            let kept_features = y.count_nonzero_dim_intlist([2]);
            let whole = count_kept(&kept_features.eq(3));
            assert_eq!(
                whole,
                count_kept(&kept_features),
                "a feature is kept or dropped as a whole"
            );
            assert_binomial(whole, 1e5, 1.0 - p);
            let sum = (y / &x).sum(Kind::Double).double_value(&[]);
            assert!((sum - 3.0 * whole / (1.0 - p)).abs() < 1e-6 * sum, "kept ones are rescaled");
        }
    }
}
