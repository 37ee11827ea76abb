//! A mask that broadcasts over a large tensor, whose product lies in memory of the crate's own: the same bits, the
//! same strides and the same gradients as libtorch's multiplication by that mask.

mod common;

use common::{assert_same_bits, channels_last, device};
use tch::nn::ModuleT;
use tch::{Kind, Tensor};
use tch_dropout::{AlphaDropout, Dropout, MonteCarlo, NoiseShape, TrueDropout};

fn layers() -> [TrueDropout; 5] {
    let shapes = [
        NoiseShape::Channels,
        NoiseShape::Columns,
        NoiseShape::Samples,
        NoiseShape::Batch,
        NoiseShape::Shared(vec![2]),
    ];
    shapes.map(|shape| TrueDropout::new(0.3).unwrap().with_noise_shape(shape).with_seed(7))
}

/// Of more than a mebibyte each, and in every layout that a model has.
fn inputs(kind: Kind) -> Vec<(&'static str, Tensor)> {
    let normal = |size: &[i64]| Tensor::randn(size, (Kind::Float, device())).to_kind(kind);
    let x = normal(&[8, 64, 33, 34]);
    let odd =
        normal(&[8 * 64 * 33 * 40]).as_strided([8, 1, 64 * 33, 34], [64 * 33 * 34, 5, 34, 1], None);
    vec![
        ("channels-last", channels_last(&x)),
        ("transposed", x.transpose(1, 3)),
        ("expanded", normal(&[8, 64, 1, 34]).expand([8, 64, 33, 34], false)),
        ("with gaps", normal(&[8, 64, 33, 40]).narrow(3, 0, 34)),
        ("one of odd stride", odd),
        ("with a dimension of size 1", normal(&[8, 64, 33 * 34, 1])),
        ("contiguous", x),
    ]
}

/// The mask of the layer's next forward pass, which is not used up.
fn next_mask(layer: &TrueDropout, x: &Tensor) -> Tensor {
    let stream = layer.stream().expect("a layer with a seed");
    let step = stream.step();
    let mask = layer.draw_mask(x, true).unwrap();
    stream.set_step(step).unwrap();
    mask
}

/// The gradients of `x` for this gradient of `y`, and of that for ones.
fn gradients(y: &Tensor, x: &Tensor, of_y: &Tensor) -> [Tensor; 2] {
    let of_y = of_y.detach().set_requires_grad(true);
    let first = Tensor::run_backward(&[(y * &of_y).sum(Kind::Float)], &[x], true, true).remove(0);
    let second =
        Tensor::run_backward(&[(&first * &first).sum(Kind::Float)], &[&of_y], false, false);
    [first, second.into_iter().next().expect("one gradient")]
}

#[test]
fn products_and_gradients_are_those_of_the_multiplication() {
    for kind in [Kind::Float, Kind::Double, Kind::BFloat16, Kind::Half] {
        for (name, x) in inputs(kind) {
            for layer in layers() {
                let mask = next_mask(&layer, &x);
                assert!(mask.numel() < x.numel());
                let y = layer.forward_t(&x, true);
                assert_eq!(y.stride(), (&x * &mask).stride(), "{name}, {layer}");
                assert_same_bits(&y, &(&x * &mask));

                let x = x.detach().set_requires_grad(true);
                let mask = next_mask(&layer, &x);
                let (y, product) = (layer.forward_t(&x, true), &x * &mask);
                assert_eq!(y.stride(), product.stride(), "{name}, {layer}, with a gradient");
                assert_same_bits(&y, &product);
                let of_y = Tensor::randn_like(&product.detach());
                for (ours, theirs) in
                    gradients(&y, &x, &of_y).iter().zip(&gradients(&product, &x, &of_y))
                {
                    assert_same_bits(ours, theirs);
                }
            }
        }
    }
}

/// Gradients in other layouts than the product's: expanded, as a sum's is, and in another memory format.
#[test]
fn gradients_in_any_layout() {
    for (name, x) in inputs(Kind::Float) {
        let x = x.detach().set_requires_grad(true);
        for layer in layers() {
            let mask = next_mask(&layer, &x);
            let (y, product) = (layer.forward_t(&x, true), &x * &mask);
            let last = x.dim() as i64 - 1;
            let losses = |y: &Tensor| {
                [
                    y.sum(None),
                    (y.transpose(0, last) * Tensor::arange(x.size()[0], (Kind::Float, device())))
                        .sum(None),
                ]
            };
            for (ours, theirs) in losses(&y).iter().zip(&losses(&product)) {
                let of = |loss| Tensor::run_backward(&[loss], &[&x], true, false).remove(0);
                assert_eq!(of(ours), of(theirs), "{name}, {layer}");
            }
        }
    }
}

/// What is not rescaled, and what has something added to it.
#[test]
fn other_layers() {
    for (name, x) in inputs(Kind::Float) {
        let x = x.detach().set_requires_grad(true);
        let plain = Dropout::channels(0.3).unwrap().with_seed(7);
        let alpha = AlphaDropout::channels(0.3).unwrap().with_seed(7);
        let kept = plain.draw_mask(&x, true).unwrap();
        let y = plain.with_seed(7).forward_t(&x, true);
        assert_same_bits(&y, &(&x * &kept));

        let z = alpha.forward_t(&x, true);
        let gradient = Tensor::run_backward(&[z.sum(None)], &[&x], false, false).remove(0);
        let scale = gradient.max();
        assert!(scale.double_value(&[]) > 0.5, "{name}");
        assert_eq!(gradient, (x.ones_like() * &kept * scale), "{name}");
        assert_eq!(z.size(), x.size());
    }
}

/// As any other result, it can be changed in place, before and after it is used.
#[test]
fn a_product_can_be_changed_in_place() {
    let x = Tensor::randn([8, 64, 33, 34], (Kind::Float, device())).set_requires_grad(true);
    let layer = TrueDropout::channels(0.5).unwrap().with_seed(7);
    let mask = next_mask(&layer, &x);
    let y = layer.forward_t(&x, true).relu_();
    assert_same_bits(&y, &(&x * &mask).relu());
    let gradient = Tensor::run_backward(&[y.sum(None)], &[&x], false, false).remove(0);
    assert_same_bits(&gradient, &(mask * x.detach().gt(0).to_kind(Kind::Float)));
}

/// In folded passes, each pass has one draw, which all its rows share; and passes have different ones.
#[test]
fn folded_passes_share_their_masks_rows() {
    let x = Tensor::ones([16, 3000, 8], (Kind::Float, device()));
    let layer = TrueDropout::batch(0.5).unwrap().with_seed(7);
    let run = MonteCarlo::new(12).unwrap().fold(4).unwrap();
    let found = run.regress(|x, train| layer.forward_t(x, train).flatten(1, -1), &x).unwrap();
    let of_first = found.mean.double_value(&[0, 0]);
    assert!(0.0 < of_first && of_first < 2.0, "{of_first}");
    assert_eq!(found.mean, found.mean.full_like(of_first));
}

/// Integers become floating-point numbers under this layer, which have no room in a tensor like `x`.
#[test]
fn integers_become_floating_point_numbers() {
    let x = Tensor::arange(8 * 64 * 33 * 34, (Kind::Int64, device())).reshape([8, 64, 33, 34]);
    for kind in [Kind::Int64, Kind::Int] {
        let x = x.to_kind(kind);
        for layer in layers() {
            let mask = next_mask(&layer, &x);
            let y = layer.forward_t(&x, true);
            assert_eq!(y.kind(), Kind::Float, "{layer}");
            assert_same_bits(&y, &(&x * mask));
        }
    }
}
