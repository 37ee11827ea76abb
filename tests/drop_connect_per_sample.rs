//! `DropConnect` with a mask for each sample: the definition, without keeping a mask for each.

mod common;

use common::{assert_binomial, assert_close, assert_same_bits, device, gradient, nonzero, seeded};
use tch::nn::{self, Module, ModuleT};
use tch::{Kind, Tensor};
use tch_dropout::{
    DropConnect, DropConnectConfig, Dropout, MonteCarlo, Stream, checkpoint, drop_connect,
};

/// `(N, in, out)`: less than a block; several blocks that begin within a tile; a sample that is larger than a block, and
/// one that is no whole number of tiles.
const SIZES: [(i64, i64, i64); 4] = [(5, 6, 4), (40, 77, 64), (3, 300, 301), (300, 23, 29)];

fn layer((_, in_dim, out_dim): (i64, i64, i64), p: f64, kind: Kind) -> DropConnect {
    let mut vs = nn::VarStore::new(device());
    let config = DropConnectConfig { p, per_sample: true, ..Default::default() };
    let layer = drop_connect(vs.root(), in_dim, out_dim, config).unwrap().with_seed(1);
    vs.set_kind(kind);
    layer
}

/// The weights of all samples, as the layer's first pass masks them.
fn masked(layer: &DropConnect, samples: i64) -> Tensor {
    let weights = layer.linear.ws.expand([samples, -1, -1], false);
    let elements = Dropout::elements(layer.p()).unwrap().with_seed(1);
    &weights * elements.draw_mask(&weights, true).unwrap() / (1.0 - layer.p())
}

/// `[N, ..., in]`, by the formula.
fn expected(layer: &DropConnect, x: &Tensor) -> Tensor {
    let weights = masked(layer, x.size()[0]);
    let rows = x.reshape([x.size()[0], -1, *x.size().last().unwrap()]);
    let y = rows.matmul(&weights.transpose(1, 2)) + layer.linear.bs.as_ref().unwrap();
    y.reshape([&x.size()[..x.dim() - 1], &[layer.linear.ws.size()[0]]].concat())
}

/// The gradient without a graph of its own: that of the blocks, and not of the definition.
fn plain_gradient(y: &Tensor, x: &Tensor) -> Tensor {
    Tensor::run_backward(&[y], &[x], true, false).remove(0)
}

#[test]
fn each_sample_has_its_weights_and_gradients() {
    let _generator = seeded();
    for size @ (samples, in_dim, _) in SIZES {
        for inner in [&[][..], &[2], &[2, 3]] {
            let layer = layer(size, 0.3, Kind::Double);
            let shape = [&[samples], inner, &[in_dim]].concat();
            let x = nonzero(&shape).to_kind(Kind::Double).set_requires_grad(true);
            let y = layer.forward_t(&x, true);
            let expected = expected(&layer, &x);
            assert_close(&y, &expected, 1e-12);
            let of_y = y.rand_like();
            let nn::Linear { ws, bs } = &layer.linear;
            for input in [&x, ws, bs.as_ref().unwrap()] {
                let of = |y: &Tensor| plain_gradient(&(y * &of_y).sum(None), input);
                assert_close(&of(&y), &of(&expected), 1e-10);
            }
        }
    }
}

#[test]
fn a_vector_is_one_sample() {
    let _generator = seeded();
    let layer = layer((1, 6, 5), 0.5, Kind::Float);
    let x = nonzero(&[6]);
    let y = layer.forward_t(&x, true);
    layer.stream().unwrap().set_step(0).unwrap();
    assert_same_bits(&y.unsqueeze(0), &layer.forward_t(&x.unsqueeze(0), true));
}

#[test]
fn second_derivatives_are_those_of_the_definition() {
    let _generator = seeded();
    let layer = layer((40, 17, 13), 0.3, Kind::Double);
    let x = nonzero(&[40, 17]).to_kind(Kind::Double).set_requires_grad(true);
    let second = |y: &Tensor| {
        let first = gradient(&y.pow_tensor_scalar(3).sum(None), &x);
        let ws = gradient(&first.square().sum(None), &layer.linear.ws);
        (gradient(&first.square().sum(None), &x), ws)
    };
    let (of_x, of_weight) = second(&layer.forward_t(&x, true));
    let (expected_x, expected_weight) = second(&expected(&layer, &x));
    assert_close(&of_x, &expected_x, 1e-9);
    assert_close(&of_weight, &expected_weight, 1e-9);
}

/// In half precision all is computed in f32, and rounded once.
#[test]
fn in_half_precision() {
    let _generator = seeded();
    let size @ (samples, in_dim, _) = SIZES[1];
    for kind in [Kind::Half, Kind::BFloat16] {
        let layer = layer(size, 0.5, kind);
        let x = nonzero(&[samples, in_dim]).to_kind(kind);
        let weights = masked(&layer, samples).to_kind(Kind::Float);
        let product = weights.matmul(&x.to_kind(Kind::Float).unsqueeze(2)).squeeze_dim(2);
        let expected = product.to_kind(kind) + layer.linear.bs.as_ref().unwrap();
        let y = layer.forward_t(&x, true);
        assert_eq!(y.kind(), kind);
        // A product on the edge between two numbers may be rounded to either.
        let unit = if kind == Kind::Half { 2f64.powi(-9) } else { 2f64.powi(-6) };
        assert_close(&y.to_kind(Kind::Float), &expected.to_kind(Kind::Float), unit);
        // A sum of a thousand ones, which half precision would round a thousand times.
        let x = Tensor::ones([1_000, in_dim], (kind, device()));
        let layer = self::layer(size, 0.0, kind);
        layer.set_p(1e-20).unwrap();
        let y = layer.forward_t(&x, true).to_kind(Kind::Float);
        let of_weight = plain_gradient(&y.sum(None), &layer.linear.ws);
        assert_eq!(of_weight, of_weight.full_like(1_000.0));
        assert_eq!(of_weight.kind(), kind);
    }
}

#[test]
fn a_pass_takes_one_step_and_evaluation_none() {
    let _generator = seeded();
    let size = (4, 6, 5);
    let layer = layer(size, 0.5, Kind::Float);
    let step = || layer.stream().map(Stream::step).unwrap();
    let x = nonzero(&[4, 6]);
    assert_same_bits(&layer.forward_t(&x, false), &layer.linear.forward(&x));
    for empty in [&[0, 6][..], &[0, 2, 6], &[3, 0, 6]] {
        let y = layer.forward_t(&nonzero(empty), true);
        assert_eq!(y.size(), [&empty[..empty.len() - 1], &[5]].concat());
    }
    for wrong in [nonzero(&[4, 7]), nonzero(&[4, 6]).to_kind(Kind::Double)] {
        assert!(layer.f_forward_t(&wrong, true).is_err());
    }
    layer.set_p(0.0).unwrap();
    assert_same_bits(&layer.forward_t(&x, true), &layer.linear.forward(&x));
    assert_eq!(step(), 0);

    layer.set_p(1.0).unwrap();
    let bias = layer.linear.bs.as_ref().unwrap();
    assert_same_bits(&layer.forward_t(&x, true), &bias.expand([4, 5], false).contiguous());
    layer.set_p(0.5).unwrap();
    let first = layer.forward_t(&x, true);
    assert_eq!(step(), 2);
    assert_ne!(layer.forward_t(&x, true), first);
    layer.stream().unwrap().set_step(1).unwrap();
    assert_same_bits(&layer.forward_t(&x, true), &first);
}

#[test]
fn without_a_bias_and_not_rescaled() {
    let _generator = seeded();
    let vs = nn::VarStore::new(device());
    let linear = nn::LinearConfig { bias: false, ..Default::default() };
    let config =
        DropConnectConfig { rescale: false, per_sample: true, linear, ..Default::default() };
    let layer = drop_connect(vs.root(), 6, 5, config).unwrap().with_seed(1);
    let x = nonzero(&[7, 6]);
    let expected = (masked(&layer, 7) / 2.0).matmul(&x.unsqueeze(2)).squeeze_dim(2);
    assert_close(&layer.forward_t(&x, true), &expected, 1e-6);
}

#[test]
fn a_manual_seed_repeats_it_and_so_does_a_checkpoint() {
    let _generator = seeded();
    let vs = nn::VarStore::new(device());
    let config = DropConnectConfig { per_sample: true, ..Default::default() };
    let new = |name| drop_connect(vs.root() / name, 8, 8, config).unwrap();
    let layer = new("a");
    let x = nonzero(&[30, 8]).set_requires_grad(true);
    let plain = || {
        tch::manual_seed(7);
        layer.forward_t(&x, true)
    };
    let first = plain();
    assert_same_bits(&plain(), &first);
    assert_ne!(layer.forward_t(&x, true), first);

    let same = new("b");
    tch::no_grad(|| same.linear.ws.shallow_clone().copy_(&layer.linear.ws));
    tch::no_grad(|| {
        same.linear.bs.as_ref().unwrap().shallow_clone().copy_(layer.linear.bs.as_ref().unwrap())
    });
    tch::manual_seed(7);
    let again = checkpoint(move |x| same.forward_t(x, true), &x);
    assert_same_bits(&again, &first);
    let of_x =
        |y: &Tensor| Tensor::run_backward(&[y.square().sum(None)], &[&x], true, false).remove(0);
    assert_same_bits(&of_x(&again), &of_x(&first));
}

/// Without gradients, all samples but one are dropped in other places, in folded passes too.
#[test]
fn monte_carlo_passes_have_a_mask_for_each_sample() {
    let _generator = seeded();
    let layer = layer((1, 1, 1), 0.25, Kind::Float);
    let _ = tch::no_grad(|| layer.linear.ws.shallow_clone().fill_(1.0));
    let _ = tch::no_grad(|| layer.linear.bs.as_ref().unwrap().shallow_clone().fill_(0.0));
    let x = Tensor::ones([1_000, 1], common::float());
    for fold in [1, 10] {
        let mut kept = Vec::new();
        let model = |x: &Tensor, train| {
            let y = layer.forward_t(x, train);
            kept.push(y.ne(0).to_kind(Kind::Float));
            y
        };
        MonteCarlo::new(21).unwrap().fold(fold).unwrap().regress(model, &x).unwrap();
        let drew: Vec<_> =
            kept.iter().filter(|kept| common::count_kept(&kept.rsub_scalar(1)) > 0.0).collect();
        let all = Tensor::cat(&drew, 0);
        assert_eq!(all.size(), [21_000, 1]);
        assert_binomial(common::count_kept(&all), 21_000.0, 0.75);
        // Those of any two passes agree as often as independent draws do.
        let passes = all.reshape([21, 1_000]);
        let agree = passes.narrow(0, 1, 20).eq_tensor(&passes.narrow(0, 0, 20));
        assert_binomial(common::count_kept(&agree), 20_000.0, 0.75 * 0.75 + 0.25 * 0.25);
    }
}
