//! What must hold for any input, tried on random ones.

mod common;

use common::{alone, assert_same_bits, assert_same_product, device, same_product};
use proptest::prelude::*;
use proptest::sample::select;
use tch::{Kind, Tensor};
use tch_dropout::{DropoutLayer, NoiseShape, apply_mask};

/// A tensor to be made: its elements are never 0, so that a 0 in an output is a dropped one.
#[derive(Clone, Debug)]
struct Input {
    size: Vec<i64>,
    kind: Kind,
    view: View,
}

/// How the elements lie in memory.
#[derive(Clone, Copy, Debug)]
enum View {
    Contiguous,
    Reversed,
    EverySecond,
    Repeated,
    ChannelsLast,
}

impl Input {
    fn make(&self) -> Tensor {
        let elements = |size: &[i64]| {
            let magnitudes = Tensor::rand(size, (Kind::Float, device())) * 8 + 1;
            let signs = Tensor::randint(2, size, (Kind::Float, device())) * 2 - 1;
            (magnitudes * signs).to_kind(self.kind)
        };
        match self.view {
            View::Contiguous => elements(&self.size),
            View::Reversed => {
                let order: Vec<i64> = (0..self.size.len() as i64).rev().collect();
                let reversed: Vec<i64> = self.size.iter().rev().copied().collect();
                elements(&reversed).permute(order)
            }
            View::EverySecond => match self.size.last() {
                None => elements(&[]),
                Some(&last) => {
                    let mut wide = self.size.clone();
                    *wide.last_mut().unwrap() = 2 * last;
                    elements(&wide).slice(-1, 1, None, 2)
                }
            },
            View::Repeated => {
                let mut narrow = self.size.clone();
                if let Some(first) = narrow.first_mut() {
                    *first = 1;
                }
                elements(&narrow).expand(&self.size, false)
            }
            View::ChannelsLast => {
                let x = elements(&self.size);
                if x.dim() != 4 {
                    return x;
                }
                x.permute([0, 2, 3, 1]).contiguous().permute([0, 3, 1, 2])
            }
        }
    }
}

fn inputs() -> impl Strategy<Value = Input> {
    use Kind::{BFloat16, Double, Float, Half};
    use View::*;
    let small = prop::collection::vec(0i64..10, 0..=6)
        .prop_filter("six times nine is too many", |size| size.iter().product::<i64>() <= 20_000);
    let large = select(vec![vec![70_001], vec![300, 257], vec![3, 2, 129, 130]]);
    let size = prop_oneof![12 => small, 1 => large];
    let view = select(vec![Contiguous, Reversed, EverySecond, Repeated, ChannelsLast]);
    (size, select(vec![Float, Double, Half, BFloat16]), view).prop_map(|(size, kind, view)| Input {
        size,
        kind,
        view,
    })
}

fn noise_shapes() -> impl Strategy<Value = NoiseShape> {
    use NoiseShape::*;
    prop_oneof![
        4 => select(vec![Columns, Elements, Channels, Samples, Batch]),
        1 => prop::collection::vec(-7i64..7, 0..3).prop_map(Shared),
    ]
}

/// Not so near 1 that half precision cannot hold the scale; tests/limits.rs goes there.
fn probabilities() -> impl Strategy<Value = f64> {
    prop_oneof![2 => 0.0..0.99f64, 1 => select(vec![0.0, 0.5, 1.0, 1e-9, 0.25])]
}

#[derive(Clone, Debug)]
struct Case {
    input: Input,
    p: f64,
    shape: NoiseShape,
    seed: Option<u64>,
    torch_seed: i64,
}

fn cases() -> impl Strategy<Value = Case> {
    (inputs(), probabilities(), noise_shapes(), any::<Option<u64>>(), any::<i64>())
        .prop_map(|(input, p, shape, seed, torch_seed)| Case { input, p, shape, seed, torch_seed })
}

fn layer<const RESCALE: bool>(case: &Case) -> DropoutLayer<RESCALE> {
    let layer = DropoutLayer::new(case.p).unwrap().with_noise_shape(case.shape.clone());
    match case.seed {
        Some(seed) => layer.with_seed(seed),
        None => {
            tch::manual_seed(case.torch_seed);
            layer
        }
    }
}

/// Everything that must hold for one layer and one input.
fn check<const RESCALE: bool>(case: &Case) {
    tch::manual_seed(case.torch_seed);
    let x = case.input.make();
    let before = x.copy();
    let Ok(noise) = case.shape.resolve(&x.size()) else {
        layer::<RESCALE>(case).f_forward_t(&x, true).unwrap_err();
        layer::<RESCALE>(case).f_forward_t(&x, false).unwrap_err();
        return;
    };

    let y = layer::<RESCALE>(case).f_forward_t(&x, true).unwrap();
    assert_eq!((y.kind(), y.size()), (x.kind(), x.size()));
    assert_same_bits(&x, &before);
    assert!(bool::try_from(y.isfinite().all()).unwrap(), "NaN or infinite");
    assert_same_bits(&layer::<RESCALE>(case).f_forward_t(&x, true).unwrap(), &y);
    assert_same_bits(&layer::<RESCALE>(case).f_forward_t(&x, false).unwrap(), &x);
    if case.p == 0.0 || x.numel() == 0 {
        return assert_same_bits(&y, &x);
    }

    // It is x times a mask of the noise shape, with zeros and one other value.
    let mask = layer::<RESCALE>(case).draw_mask(&x, true).unwrap();
    assert_eq!((mask.kind(), mask.size()), (x.kind(), noise));
    let scale = if RESCALE && case.p < 1.0 { 1.0 / (1.0 - case.p) } else { 1.0 };
    let values = mask.eq(0).logical_or(&same_product(&mask, &mask.full_like(scale)));
    assert!(bool::try_from(values.all()).unwrap(), "{mask}");
    assert_same_product(&apply_mask(&x, &mask).unwrap(), &y);

    // Recording a gradient changes nothing, and the gradient is the mask.
    let tracked = x.detach().set_requires_grad(true);
    let z = layer::<RESCALE>(case).f_forward_t(&tracked, true).unwrap();
    assert_same_bits(&z.detach(), &y);
    let gradient = Tensor::run_backward(&[z.sum(x.kind())], &[&tracked], false, false).remove(0);
    assert_same_product(&gradient, &mask.expand_as(&x));
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    #[test]
    fn dropout_is_a_mask_of_the_noise_shape(case in cases()) {
        let _generator = alone();
        check::<false>(&case);
    }

    #[test]
    fn true_dropout_is_a_rescaled_mask_of_the_noise_shape(case in cases()) {
        let _generator = alone();
        check::<true>(&case);
    }

    #[test]
    fn any_probability_and_any_kind_is_a_result_or_an_error(
        p in prop_oneof![2 => 0.0..=1.0, 1 => any::<f64>(), 1 => select(vec![f64::NAN, -0.0, 1.0])],
        size in prop::collection::vec(0i64..5, 0..5),
        shape in noise_shapes(),
        kind in select(vec![Kind::Bool, Kind::Uint8, Kind::Int8, Kind::Int16, Kind::Int,
            Kind::Int64, Kind::ComplexFloat, Kind::ComplexDouble]),
        seed in any::<Option<u64>>(),
    ) {
        let _generator = alone();
        let x = Tensor::ones(&size, (kind, device()));
        let layer = match DropoutLayer::<true>::new(p) {
            Ok(layer) => layer.with_noise_shape(shape.clone()),
            Err(error) => {
                prop_assert!(!(0.0..=1.0).contains(&p));
                let expected = format!("p must be a probability in [0, 1], got {p:?}");
                prop_assert_eq!(error.to_string(), expected);
                return Ok(());
            }
        };
        let layer = match seed {
            Some(seed) => layer.with_seed(seed),
            None => layer,
        };
        prop_assert_eq!(layer.f_forward_t(&x, false).is_ok(), shape.resolve(&size).is_ok());
        match layer.f_forward_t(&x, true) {
            Ok(y) => {
                let complex = matches!(kind, Kind::ComplexFloat | Kind::ComplexDouble);
                prop_assert_eq!(y.kind(), if complex { kind } else { Kind::Float });
                prop_assert!(shape.resolve(&size).is_ok());
                let scale = if p < 1.0 { 1.0 / (1.0 - p) } else { 1.0 };
                let kept = y.real().isclose(&y.real().full_like(scale), 1e-6, 0.0, false);
                let right = y.eq(0).logical_or(&kept);
                prop_assert!(bool::try_from(right.all()).unwrap(), "{}", y);
            }
            Err(_) => prop_assert!(shape.resolve(&size).is_err()),
        }
    }
}
