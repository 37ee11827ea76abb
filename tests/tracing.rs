//! Models that `CModule::create_by_tracing` records: in training, a trace draws a new mask in each call, from
//! libtorch's generator, for a batch of any size; in evaluation it is the identity.

mod common;

use common::{
    SHAPES, assert_binomial, assert_same_bits, count_kept, device, float, gradient, nonzero,
};
use tch::nn::{self, ModuleT};
use tch::{CModule, Kind, Tensor};
use tch_dropout::{
    DropConnectConfig, DropoutLayer, Error, MonteCarlo, MonteCarloError, NoiseShape, Stream,
    TrueDropout, apply_mask, column_mask, drop_connect, dropout, element_mask, feature_dropout,
};

/// Rescaled by 4, which every floating-point kind holds.
const P: f64 = 0.75;

fn trace(x: &Tensor, model: impl Fn(&Tensor) -> Tensor) -> CModule {
    let mut model = |inputs: &[Tensor]| vec![model(&inputs[0])];
    CModule::create_by_tracing("Model", "forward", &[x.shallow_clone()], &mut model).unwrap()
}

/// Asserts that the trace of a model drops as a layer over `shape` does, each group of elements by itself.
#[track_caller]
fn assert_drops(model: impl Fn(&Tensor) -> Tensor, shape: &NoiseShape, scale: f64) {
    // Sizes of 1 must not look like dimensions that share a draw.
    for size in [[4, 6, 5], [1, 6, 1], [4, 1, 1], [1, 1, 1]] {
        let traced = trace(&nonzero(&size), &model);
        for rows in [4, 1, 30] {
            let x = nonzero(&[rows, 6, 5]);
            let noise = shape.resolve(&x.size()).unwrap();
            let (mut draws, mut calls) = (Vec::new(), 0);
            while draws.iter().map(Tensor::numel).sum::<usize>() < 500 {
                let y = traced.forward_ts(&[&x]).unwrap();
                let mask = y.ne(0);
                assert_same_bits(&y, &(&x * &mask * scale));
                let dims = (0..).zip(&noise);
                let groups = dims
                    .fold(mask.shallow_clone(), |groups, (dim, &size)| groups.narrow(dim, 0, size));
                assert_eq!(groups.expand_as(&mask), mask, "{shape}: a group shares its draw");
                draws.push(groups.reshape([-1]));
                calls += 1;
            }
            let draws = Tensor::cat(&draws, 0);
            assert_binomial(count_kept(&draws), draws.numel() as f64, 1.0 - P);
            // Each call draws anew: neighbours are equal as often as independent ones.
            let per_call = draws.numel() as i64 / calls;
            let later = draws.narrow(0, per_call, draws.numel() as i64 - per_call);
            let earlier = draws.narrow(0, 0, later.numel() as i64);
            let equal = P * P + (1.0 - P) * (1.0 - P);
            assert_binomial(count_kept(&earlier.eq_tensor(&later)), later.numel() as f64, equal);
        }
    }
}

fn check_layers<const RESCALE: bool>() {
    let scale = if RESCALE { 4.0 } else { 1.0 };
    for shape in SHAPES.into_iter().chain([NoiseShape::Shared(vec![1]), NoiseShape::Shared(vec![])])
    {
        let layer = DropoutLayer::<RESCALE>::new(P).unwrap().with_noise_shape(shape.clone());
        assert_drops(|x| layer.forward_t(x, true), &shape, scale);
        let masked = |x: &Tensor| apply_mask(x, &layer.draw_mask(x, true).unwrap()).unwrap();
        assert_drops(masked, &shape, scale);
    }
}

#[test]
fn dropout_draws_anew_in_each_call() {
    check_layers::<false>();
}

#[test]
fn true_dropout_draws_anew_in_each_call() {
    check_layers::<true>();
}

#[test]
fn functions_draw_anew_in_each_call() {
    assert_drops(|x| dropout(x, P, true), &NoiseShape::Elements, 4.0);
    assert_drops(|x| feature_dropout(x, P, true), &NoiseShape::Channels, 4.0);
    let columns = |x: &Tensor| apply_mask(x, &column_mask(x, P).unwrap()).unwrap();
    assert_drops(columns, &NoiseShape::Columns, 1.0);
    let elements = |x: &Tensor| apply_mask(x, &element_mask(x, P).unwrap()).unwrap();
    assert_drops(elements, &NoiseShape::Elements, 1.0);
}

/// Rows of the identity show the weight, so that a call is a mask. (libtorch traces no weight that asks for
/// a gradient.)
#[test]
fn drop_connect_draws_anew_in_each_call() {
    for (rescale, scale) in [(true, 4.0), (false, 1.0)] {
        let mut vs = nn::VarStore::new(device());
        let linear = nn::LinearConfig { bias: false, ..Default::default() };
        let config = DropConnectConfig { p: P, rescale, linear };
        let layer = drop_connect(vs.root(), 30, 20, config).unwrap();
        vs.freeze();
        let traced = trace(&nonzero(&[3, 30]), |x| layer.forward_t(x, true));
        let call = || traced.forward_ts(&[Tensor::eye(30, float())]).unwrap();
        let calls: Vec<Tensor> = (0..10).map(|_| call()).collect();
        for (i, y) in calls.iter().enumerate() {
            assert_same_bits(&y.abs(), &(layer.linear.ws.tr() * scale * y.ne(0)).abs());
            assert!(calls[..i].iter().all(|earlier| earlier != y));
        }
        assert_binomial(count_kept(&Tensor::cat(&calls, 0)), 10.0 * 600.0, 1.0 - P);
    }
}

#[test]
fn every_kind_of_input() {
    use Kind::{BFloat16, Double, Float, Half, Int64};
    for shape in SHAPES {
        for kind in [Float, Double, Half, BFloat16, Int64] {
            let x = (nonzero(&[40, 30]) * 8).to_kind(kind);
            let plain = DropoutLayer::<false>::new(P).unwrap().with_noise_shape(shape.clone());
            let y = trace(&x, |x| plain.forward_t(x, true)).forward_ts(&[&x]).unwrap();
            assert_same_bits(&y, &(&x * y.ne(0)));
            let scaled = DropoutLayer::<true>::new(P).unwrap().with_noise_shape(shape.clone());
            let y = trace(&x, |x| scaled.forward_t(x, true)).forward_ts(&[&x]).unwrap();
            let expected = &x * y.ne(0) * 4;
            assert_same_bits(&y, &expected.to_kind(if kind == Int64 { Float } else { kind }));
        }
    }
}

#[test]
fn the_gradient_is_the_mask() {
    for shape in SHAPES {
        let layer = TrueDropout::new(P).unwrap().with_noise_shape(shape);
        for traced_with_gradient in [false, true] {
            let example = nonzero(&[3, 6]).set_requires_grad(traced_with_gradient);
            let traced = trace(&example, |x| layer.forward_t(x, true));
            let x = nonzero(&[5, 6]).set_requires_grad(true);
            let y = traced.forward_ts(&[&x]).unwrap();
            let expected = y.detach().ne(0) * 4;
            assert_same_bits(&gradient(&y.sum(Kind::Float), &x), &expected.to_kind(Kind::Float));
        }
    }
}

#[test]
fn all_dropped_and_nothing_dropped() {
    let x = nonzero(&[4, 6]);
    for shape in SHAPES {
        let layer = |p| TrueDropout::new(p).unwrap().with_noise_shape(shape.clone());
        let all = trace(&x, |x| layer(1.0).forward_t(x, true));
        assert_same_bits(&all.forward_ts(&[&x]).unwrap(), &x.zeros_like());
        let none = trace(&x, |x| layer(0.0).forward_t(x, true));
        let other = nonzero(&[7, 6]);
        assert_same_bits(&none.forward_ts(&[&other]).unwrap(), &other);
    }
}

#[test]
fn a_saved_trace_draws_too() {
    let file = tempfile::NamedTempFile::with_suffix(".pt").unwrap();
    let layer = TrueDropout::columns(P).unwrap();
    trace(&nonzero(&[3, 8]), |x| layer.forward_t(x, true)).save(file.path()).unwrap();
    let loaded = CModule::load_on_device(file.path(), device()).unwrap();
    let x = nonzero(&[5, 8]);
    let calls: Vec<Tensor> = (0..200).map(|_| loaded.forward_ts(&[&x]).unwrap()).collect();
    let mut columns = 0.0;
    for y in &calls {
        assert_same_bits(y, &(&x * y.get(0).ne(0) * 4));
        columns += count_kept(&y.get(0));
    }
    assert_binomial(columns, 200.0 * 8.0, 1.0 - P);
}

#[test]
fn a_layer_with_a_seed_is_an_error_and_takes_no_step() {
    let vs = nn::VarStore::new(device());
    let weights = drop_connect(vs.root(), 6, 6, Default::default()).unwrap().with_seed(1);
    let text = "a layer with a seed cannot be traced in training, since a trace cannot advance the \
                stream's step: trace it without a seed, or in evaluation";
    let check = |result: Result<Tensor, Error>| {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Traced));
        assert_eq!(error.to_string(), text);
    };
    for shape in SHAPES {
        let layer = TrueDropout::new(0.5).unwrap().with_noise_shape(shape).with_seed(1);
        trace(&nonzero(&[4, 6]), |x| {
            check(layer.f_forward_t(x, true));
            check(layer.draw_mask(x, true));
            check(weights.f_forward_t(x, true));
            x * 2
        });
        assert_eq!(layer.stream().map(Stream::step), Some(0));
        assert_eq!(weights.stream().map(Stream::step), Some(0));
        // When the trace ends the layer is as before.
        assert!(layer.f_forward_t(&nonzero(&[4, 6]), true).is_ok());
    }
}

/// The trace would draw one mask for all folded passes. By itself, a pass can be traced.
#[test]
fn folded_passes_cannot_be_traced() {
    let layer = TrueDropout::elements(0.5).unwrap();
    let mut folded = 0;
    let model = |x: &Tensor, train| {
        let mut draw = |x: &Tensor| match layer.f_forward_t(x, train) {
            Ok(y) => y,
            Err(error) => {
                assert!(matches!(error, Error::MonteCarlo(MonteCarloError::Traced)), "{error}");
                folded += 1;
                x * 2
            }
        };
        let mut traced = |inputs: &[Tensor]| vec![draw(&inputs[0])];
        let inputs = [x.shallow_clone()];
        CModule::create_by_tracing("Model", "forward", &inputs, &mut traced).unwrap();
        layer.forward_t(x, train)
    };
    let _ = MonteCarlo::new(3).unwrap().fold(2).unwrap().predict(model, &nonzero(&[4, 6]));
    assert_eq!(folded, 1);
}

#[test]
fn in_evaluation_a_trace_is_the_identity() {
    let mut vs = nn::VarStore::new(device());
    let weights = drop_connect(vs.root(), 6, 2, Default::default()).unwrap().with_seed(1);
    vs.freeze();
    for shape in SHAPES {
        let layer = TrueDropout::new(0.5).unwrap().with_noise_shape(shape);
        for layer in [layer.clone(), layer.with_seed(1)] {
            let traced = trace(&nonzero(&[4, 6]), |x| layer.forward_t(x, false));
            let masked = |x: &Tensor| apply_mask(x, &layer.draw_mask(x, false).unwrap()).unwrap();
            let masked = trace(&nonzero(&[4, 6]), masked);
            for rows in [4, 1, 9] {
                let x = nonzero(&[rows, 6]);
                assert_same_bits(&traced.forward_ts(&[&x]).unwrap(), &x);
                assert_same_bits(&masked.forward_ts(&[&x]).unwrap(), &x);
            }
        }
    }
    let traced = trace(&nonzero(&[4, 6]), |x| weights.forward_t(x, false));
    let x = nonzero(&[9, 6]);
    assert_same_bits(&traced.forward_ts(&[&x]).unwrap(), &weights.forward_t(&x, false));
}
