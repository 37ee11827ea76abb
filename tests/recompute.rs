//! The backward pass that draws the mask again gives the same bits as a multiplication by the stored mask.

mod common;

use common::{assert_same_bits, device, seeded};
use tch::nn::{self, ModuleT};
use tch::{Kind, Tensor};
use tch_dropout::{Error, Stream, TrueDropout, drop_connect};

const KINDS: [Kind; 4] = [Kind::Float, Kind::Double, Kind::Half, Kind::BFloat16];

fn layer(p: f64) -> TrueDropout {
    TrueDropout::elements(p).unwrap().with_seed(7)
}

/// The mask of the layer's first forward.
fn mask(p: f64, x: &Tensor) -> Tensor {
    layer(p).draw_mask(x, true).unwrap()
}

fn leaf(size: &[i64], kind: Kind) -> Tensor {
    Tensor::randn(size, (Kind::Float, device())).to_kind(kind).set_requires_grad(true)
}

/// The gradient of `x` for an output's gradient.
fn gradient(y: &Tensor, x: &Tensor, of_y: &Tensor) -> Tensor {
    let loss = (y * of_y).sum(None);
    Tensor::run_backward(&[loss], &[x], true, false).remove(0)
}

#[test]
fn products_and_gradients_are_those_of_the_stored_mask() {
    let _generator = seeded();
    for kind in KINDS {
        for p in [0.1, 0.5, 1.0 / 3.0, 1.0] {
            let x = leaf(&[70, 101], kind);
            let of_y = Tensor::randn_like(&x.detach());
            let (mask, y) = (mask(p, &x), layer(p).forward_t(&x, true));
            assert_same_bits(&y, &(&x * &mask));
            assert_same_bits(&gradient(&y, &x, &of_y), &gradient(&(&x * &mask), &x, &of_y));
        }
    }
}

/// Infinities, NaN and the sign of zeros included.
#[test]
fn every_number_is_multiplied() {
    let _generator = seeded();
    for kind in KINDS {
        let special = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, -0.0, 0.0, 1e-8, -65504.0, 3.0];
        let x = Tensor::from_slice(&special).to_device(device()).to_kind(kind).repeat([300]);
        for x in [x.copy(), x.set_requires_grad(true)] {
            let (mask, y) = (mask(0.5, &x), layer(0.5).forward_t(&x, true));
            let product = &x * &mask;
            assert_eq!(y.isnan(), product.isnan());
            assert_same_bits(&y.nan_to_num(1.0, 2.0, 3.0), &product.nan_to_num(1.0, 2.0, 3.0));
        }
    }
}

/// Expanded, as a sum's is, transposed, sliced, and in another memory format than the output.
#[test]
fn gradients_in_any_layout() {
    let _generator = seeded();
    let x = leaf(&[8, 6, 5, 4], Kind::Float);
    let base = Tensor::randn([4, 5, 6, 8], (Kind::Float, device()));
    let layouts = [
        Tensor::ones([], (Kind::Float, device())).expand([8, 6, 5, 4], false),
        Tensor::randn([6, 1, 1], (Kind::Float, device())).expand([8, 6, 5, 4], false),
        base.permute([3, 2, 1, 0]),
        Tensor::randn([8, 6, 5, 9], (Kind::Float, device())).slice(3, 0, 8, 2),
        Tensor::randn([8, 5, 4, 6], (Kind::Float, device())).permute([0, 3, 1, 2]),
    ];
    let mask = mask(0.3, &x);
    for of_y in layouts {
        let y = layer(0.3).forward_t(&x, true);
        assert_same_bits(&gradient(&y, &x, &of_y), &(&of_y * &mask));
    }
    layer(0.3).forward_t(&x, true).sum(None).backward();
    assert_same_bits(&x.grad(), &mask);
}

#[test]
fn channels_last_stays_channels_last() {
    let _generator = seeded();
    let x = Tensor::randn([4, 9, 9, 6], (Kind::Float, device())).permute([0, 3, 1, 2]);
    let x = x.set_requires_grad(true);
    tch::manual_seed(3);
    let unseeded = TrueDropout::elements(0.5).unwrap();
    for layer in [unseeded, layer(0.5)] {
        let y = layer.forward_t(&x, true);
        assert_eq!(y.stride(), x.stride());
        let of_x = gradient(&y, &x, &Tensor::ones_like(&x.detach()));
        // What is kept is 2 in the gradient, and twice the input in the output.
        assert_same_bits(&y.detach(), &(x.detach() * &of_x));
        assert!(bool::try_from(of_x.eq(0).logical_or(&of_x.eq(2)).all()).unwrap());
    }
}

#[test]
fn gradients_of_gradients_to_the_third_order() {
    let _generator = seeded();
    let x = leaf(&[40, 50], Kind::Double);
    let (y, mask) = (layer(0.4).forward_t(&x, true), mask(0.4, &x));
    let cubes = |y: &Tensor| y.pow_tensor_scalar(3).sum(None);
    let derive = |f: &Tensor| Tensor::run_backward(&[f], &[&x], true, true).remove(0);
    let (mut ours, mut stored) = (cubes(&y), cubes(&(&x * &mask)));
    for _ in 0..3 {
        ours = derive(&ours);
        stored = derive(&stored);
        assert!(ours.allclose(&stored, 1e-13, 0.0, false));
        ours = ours.sum(None);
        stored = stored.sum(None);
    }
    assert!(ours.double_value(&[]).abs() > 1.0, "the third derivative is 6 m³");
}

/// The gradient of the backward with respect to the output's gradient is the mask too.
#[test]
fn the_backward_is_linear_in_the_gradient() {
    let _generator = seeded();
    let x = leaf(&[300], Kind::Double);
    let v = leaf(&[300], Kind::Double);
    let y = layer(0.5).forward_t(&x, true);
    let of_x = Tensor::run_backward(&[(&y * &v).sum(None)], &[&x], true, true).remove(0);
    let weights = Tensor::randn_like(&x.detach());
    let of_v = Tensor::run_backward(&[(of_x * &weights).sum(None)], &[&v], false, false).remove(0);
    assert_same_bits(&of_v, &(weights * mask(0.5, &x)));
}

#[test]
fn a_graph_can_be_kept_and_used_twice() {
    let _generator = seeded();
    let x = leaf(&[100], Kind::Float);
    let inner = &x * 3.0;
    let y = layer(0.5).forward_t(&inner, true);
    let of_y = Tensor::randn_like(&x.detach());
    let first = gradient(&y, &x, &of_y);
    assert_same_bits(&gradient(&y, &x, &of_y), &first);
    assert_same_bits(&first, &(of_y * mask(0.5, &x) * 3.0));
}

#[test]
fn a_graph_can_be_used_on_another_thread() {
    let _generator = seeded();
    let x = leaf(&[3000], Kind::Float);
    let loss = layer(0.5).forward_t(&x, true).sum(None);
    std::thread::spawn(move || loss.backward()).join().unwrap();
    assert_same_bits(&x.grad(), &mask(0.5, &x));
}

#[test]
fn without_recorded_gradients_there_is_no_graph() {
    let _generator = seeded();
    let x = leaf(&[100], Kind::Float);
    tch::no_grad(|| assert!(!layer(0.5).forward_t(&x, true).requires_grad()));
    assert!(!layer(0.5).forward_t(&x.detach(), true).requires_grad());
    assert!(layer(0.5).forward_t(&x, true).requires_grad());
}

#[test]
fn forward_add_is_the_residual_plus_the_dropout() {
    let _generator = seeded();
    for kind in KINDS {
        let (x, residual) = (leaf(&[30, 70], kind), leaf(&[30, 70], kind));
        let y = layer(0.3).forward_add(&x, &residual, true);
        let expected = &residual + layer(0.3).forward_t(&x, true);
        assert_same_bits(&y, &expected);
        let of_y = Tensor::randn_like(&x.detach());
        let gradients = |y: &Tensor| {
            Tensor::run_backward(&[(y * &of_y).sum(None)], &[&x, &residual], false, false)
        };
        for (found, expected) in gradients(&y).iter().zip(gradients(&expected)) {
            assert_same_bits(found, &expected);
        }
        assert_same_bits(&layer(0.3).forward_add(&x, &residual, false), &(&residual + &x));
    }
}

/// A residual that is broadcast, only one of the two with a gradient, and other noise shapes.
#[test]
fn forward_add_in_every_way() {
    let _generator = seeded();
    let (x, row) = (leaf(&[4, 6], Kind::Float), leaf(&[6], Kind::Float));
    let y = layer(0.5).forward_add(&x, &row, true);
    assert_same_bits(&y, &(&row + &x * mask(0.5, &x)));
    y.sum(None).backward();
    assert_same_bits(&row.grad(), &Tensor::full([6], 4.0, (Kind::Float, device())));

    let residual = leaf(&[4, 6], Kind::Float);
    let y = layer(0.5).forward_add(&x.detach(), &residual, true);
    y.sum(None).backward();
    assert_same_bits(&residual.grad(), &Tensor::ones([4, 6], (Kind::Float, device())));

    let columns = || TrueDropout::columns(0.5).unwrap().with_seed(1);
    let expected = &residual + columns().forward_t(&x, true);
    assert_same_bits(&columns().forward_add(&x, &residual, true), &expected);

    let wrong = layer(0.5);
    assert!(wrong.f_forward_add(&x, &x.narrow(1, 0, 5), true).is_err());
    let sparse = x.detach().to_sparse_sparse_dim(2);
    assert!(matches!(wrong.f_forward_add(&x, &sparse, true), Err(Error::Layout)));
    assert_eq!(wrong.stream().map(Stream::step), Some(0), "an error takes no step");
}

#[test]
fn a_weight_is_dropped_the_same_way() {
    let _generator = seeded();
    let vs = nn::VarStore::new(device());
    let layer = drop_connect(vs.root(), 40, 30, Default::default()).unwrap().with_seed(7);
    let x = Tensor::randn([16, 40], (Kind::Float, device()));
    let y = layer.forward_t(&x, true);
    let (ws, bs) = (&layer.linear.ws, layer.linear.bs.as_ref());
    let expected = x.linear(&(ws * mask(0.5, ws)), bs);
    assert_same_bits(&y, &expected);
    let of_y = Tensor::randn_like(&y.detach());
    assert_same_bits(&gradient(&y, ws, &of_y), &gradient(&expected, ws, &of_y));
}

/// A view that negates has the opposite sign in memory.
#[test]
fn a_negated_view_is_multiplied_by_its_value() {
    let _generator = seeded();
    let complex = Tensor::randn([50], (Kind::ComplexFloat, device()));
    let x = complex.conj().imag();
    let ours = layer(0.5).forward_t(&x, true);
    assert_same_bits(&ours, &(&x * mask(0.5, &x)));
    let y = TrueDropout::elements(1e-20).unwrap().forward_t(&x, true);
    assert_eq!(y, -complex.imag());
}

/// Its memory is dense, and still not its value.
fn negated(x: &Tensor) -> Tensor {
    let minus_x = x.internal_neg_view();
    assert!(minus_x.is_neg() && minus_x.is_contiguous());
    minus_x
}

#[test]
fn a_negated_tensor_is_multiplied_by_its_value() {
    let _generator = seeded();
    let x = leaf(&[30, 70], Kind::Float).detach();
    assert_eq!(layer(0.5).forward_t(&negated(&x), true), -&x * mask(0.5, &x));
}

#[test]
fn a_negated_residual_is_added_by_its_value() {
    let _generator = seeded();
    let [x, residual] = [(); 2].map(|()| leaf(&[30, 70], Kind::Float).detach());
    let product = &x * mask(0.5, &x);
    assert_eq!(layer(0.5).forward_add(&x, &negated(&residual), true), &product - &residual);
    assert_eq!(layer(0.5).forward_add(&negated(&x), &residual, true), &residual - &product);
}

/// Without a seed, a mask lies in memory as `x` does, and what meets it may lie there in another order.
#[test]
fn a_residual_and_a_gradient_in_another_order_than_a_transposed_input() {
    let _generator = seeded();
    let x = (Tensor::rand([70, 30], (Kind::Float, device())) + 1.0).tr();
    let draw = |draw: &dyn Fn() -> Tensor| {
        tch::manual_seed(3);
        draw()
    };
    let layer = TrueDropout::elements(0.5).unwrap();
    let y = draw(&|| layer.forward_t(&x, true));
    let kept = y.ne(0).to_kind(Kind::Float);
    assert_same_bits(&y, &(&x * &kept * 2.0));
    for residual in [Tensor::randn([30, 70], (Kind::Float, device())), Tensor::randn_like(&x)] {
        let sum = draw(&|| layer.forward_add(&x, &residual, true));
        assert_same_bits(&sum, &(&residual + &y));
        let leaf = x.detach().set_requires_grad(true);
        let y = draw(&|| layer.forward_t(&leaf, true));
        assert_same_bits(&gradient(&y, &leaf, &residual), &(&residual * &kept * 2.0));
    }
}
