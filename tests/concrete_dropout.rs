//! Concrete dropout: the paper's formula, and a p that finds how much the data leave open.

mod common;

use common::{assert_close, assert_same_bits, device, float, gradient, nonzero, seeded};
use tch::nn::{self, Module, ModuleT, OptimizerConfig};
use tch::{Kind, Tensor};
use tch_dropout::{
    ConcreteDropout, Error, GaussianDropout, NoiseShape, Stream, checkpoint, concrete_dropout,
    monte_carlo,
};

fn layer(vs: &nn::VarStore, p: f64) -> ConcreteDropout {
    concrete_dropout(vs.root(), p).unwrap()
}

/// The paper's equation, for the normal numbers that the layer's stream draws: those of Gaussian dropout with deviation 1.
fn by_formula(
    x: &Tensor,
    p_logit: &Tensor,
    shape: &NoiseShape,
    temperature: f64,
    stream: Stream,
) -> Tensor {
    let gaussian = GaussianDropout::elements(0.5).unwrap().with_noise_shape(shape.clone());
    let normal =
        gaussian.with_stream(stream).draw_mask(&x.to_kind(Kind::Double), true).unwrap() - 1.0;
    let u = (normal / -(2f64.sqrt())).erfc() / 2.0;
    let p = p_logit.to_kind(Kind::Double).sigmoid();
    let one_less = |t: &Tensor| t.rsub_scalar(1.0);
    let logit = p.log() - one_less(&p).log() + u.log() - one_less(&u).log();
    x * one_less(&(logit / temperature).sigmoid()) / one_less(&p)
}

#[test]
fn it_is_the_papers_formula_and_its_gradients() {
    let _generator = seeded();
    for p in [0.05, 0.5, 0.8] {
        for temperature in [0.1, 2.0 / 3.0] {
            for shape in [NoiseShape::Elements, NoiseShape::Channels, NoiseShape::Shared(vec![1])] {
                let mut vs = nn::VarStore::new(device());
                let layer = layer(&vs, p).with_temperature(temperature).unwrap();
                let layer = layer.with_noise_shape(shape.clone()).with_seed(5);
                vs.double();
                let x = nonzero(&[20, 7, 3]).to_kind(Kind::Double).set_requires_grad(true);
                let y = layer.forward_t(&x, true);
                let expected = by_formula(&x, &layer.p_logit, &shape, temperature, Stream::new(5));
                assert_close(&y, &expected, 1e-9);
                let of_y = y.rand_like();
                for input in [&x, &layer.p_logit] {
                    let of = |y: &Tensor| gradient(&(y * &of_y).sum(None), input);
                    assert_close(&of(&y), &of(&expected), 1e-7);
                }
            }
        }
    }
}

#[test]
fn the_output_has_the_inputs_kind() {
    let _generator = seeded();
    for kind in [Kind::Half, Kind::BFloat16, Kind::Float, Kind::Double] {
        let vs = nn::VarStore::new(device());
        let layer = layer(&vs, 0.3).with_seed(5);
        let x = nonzero(&[20, 7]).to_kind(kind);
        let y = layer.forward_t(&x, true);
        assert_eq!((y.kind(), layer.forward_t(&x, false).kind()), (kind, kind));
        assert_eq!(layer.stream().map(Stream::step), Some(1));
        let wide = x.to_kind(Kind::Float);
        layer.stream().unwrap().set_step(0).unwrap();
        let unit = if kind == Kind::BFloat16 { 0.02 } else { 0.003 };
        if kind != Kind::Double {
            assert_close(&y.to_kind(Kind::Float), &layer.forward_t(&wide, true), unit);
        }
    }
    let layer = layer(&nn::VarStore::new(device()), 0.3);
    for kind in [Kind::Int64, Kind::Bool, Kind::ComplexFloat] {
        let x = nonzero(&[3]).to_kind(kind);
        assert!(matches!(layer.f_forward_t(&x, true), Err(Error::Kind(_))));
    }
}

/// As in the authors' code: `weight_regularizer * sum(W²) / (1 - p)` and
/// `dropout_regularizer * input_dim * (p ln p + (1 - p) ln(1 - p))`.
#[test]
fn the_regularizer_is_the_authors() {
    let _generator = seeded();
    let vs = nn::VarStore::new(device());
    for (p, size) in [(0.1, &[4, 6][..]), (0.7, &[3, 5, 2, 2])] {
        let layer = concrete_dropout(vs.root() / size.len(), p).unwrap();
        let weight = nonzero(size).set_requires_grad(true);
        let inputs = size[1] as f64;
        let squares = weight.square().sum(Kind::Double).double_value(&[]);
        let entropy = |p: f64| p * p.ln() + (1.0 - p) * (1.0 - p).ln();
        let found = layer.regularizer(&weight, 0.3, 0.7);
        let expected = 0.3 * squares / (1.0 - p) + 0.7 * inputs * entropy(p);
        assert!((f64::try_from(&found).unwrap() - expected).abs() < 1e-5 * expected.abs());
        assert_close(&gradient(&found, &weight), &(&weight * (0.6 / (1.0 - p))), 1e-5);
        // d/dlogit = p (1 - p) d/dp
        let of_p = 0.3 * squares / (1.0 - p).powi(2) + 0.7 * inputs * (p / (1.0 - p)).ln();
        let of_logit = f64::try_from(gradient(&found, &layer.p_logit)).unwrap();
        assert!((of_logit - of_p * p * (1.0 - p)).abs() < 1e-4, "{of_logit}");
    }
    let layer = layer(&vs, 0.5);
    let error = layer.f_regularizer(&nonzero(&[3]), 1.0, 1.0).unwrap_err();
    assert_eq!(error.to_string(), "a weight must have a shape [out, in, ...], got [3]");
}

#[test]
fn evaluation_returns_the_input_and_monte_carlo_draws() {
    let _generator = seeded();
    let vs = nn::VarStore::new(device());
    let layer = layer(&vs, 0.4).with_seed(1);
    let x = nonzero(&[20, 3]);
    assert_same_bits(&layer.forward_t(&x, false), &x);
    assert_eq!(layer.forward_t(&nonzero(&[0, 3]), true).size(), [0, 3]);
    assert_eq!(layer.stream().map(Stream::step), Some(0));
    let found = monte_carlo(|x, train| layer.forward_t(x, train), &x, 20).unwrap();
    assert!(found.variance.min().double_value(&[]) > 0.0);
    assert_eq!(layer.stream().map(Stream::step), Some(20));
}

#[test]
fn a_checkpoint_gives_p_the_same_gradient() {
    let _generator = seeded();
    let vs = nn::VarStore::new(device());
    let layer = layer(&vs, 0.4);
    let p_logit = layer.p_logit.shallow_clone();
    let x = nonzero(&[20, 3]);
    let of = |y: Tensor| {
        Tensor::run_backward(&[y.square().sum(None)], &[&p_logit], false, false).remove(0)
    };
    tch::manual_seed(3);
    let plain = of(layer.forward_t(&x, true));
    tch::manual_seed(3);
    let again = of(checkpoint(move |x| layer.forward_t(x, true), &x));
    assert_same_bits(&again, &plain);
}

#[test]
fn p_is_between_0_and_1_and_saved_as_a_logit() {
    let _generator = seeded();
    let vs = nn::VarStore::new(device());
    for p in [0.0, 1.0, -0.1, 1.1, f64::NAN] {
        let error = concrete_dropout(vs.root(), p).unwrap_err();
        assert_eq!(
            error.to_string(),
            format!("a learned p must be above 0 and below 1, got {p:?}")
        );
    }
    assert!(vs.is_empty());
    let layer = layer(&vs, 1e-6);
    assert!((layer.p() / 1e-6 - 1.0).abs() < 1e-6);
    assert_eq!(vs.variables().into_keys().collect::<Vec<_>>(), ["p_logit"]);
    let _ = tch::no_grad(|| layer.p_logit.shallow_clone().fill_(0.0));
    assert_eq!(layer.p(), 0.5);
    assert_eq!(layer.to_string(), "ConcreteDropout(p=0.5, elements, temperature=0.1)");
    for temperature in [0.0, -1.0, f64::INFINITY, f64::NAN] {
        let error = concrete_dropout(vs.root() / "a", 0.5).unwrap().with_temperature(temperature);
        let text = format!("the temperature must be positive and finite, got {temperature:?}");
        assert_eq!(error.unwrap_err().to_string(), text);
    }
}

/// The paper's first figure: y = 2 x + 8 + noise. The fewer examples there are, the less is known about the weights, and
/// the larger is the p that is found.
#[test]
fn p_finds_how_much_the_data_leave_open() {
    let _generator = seeded();
    let learned = |n: i64| {
        let vs = nn::VarStore::new(device());
        let dropout = concrete_dropout(vs.root() / "dropout", 0.1).unwrap();
        let hidden = nn::linear(vs.root() / "hidden", 1, 32, Default::default());
        let output = nn::linear(vs.root() / "output", 32, 2, Default::default());
        let mut adam = nn::Adam::default().build(&vs, 1e-2).unwrap();
        let x = Tensor::randn([n, 1], float());
        let y = &x * 2.0 + 8.0 + Tensor::randn([n, 1], float());
        for _ in 0..800 {
            let found = output.forward(&dropout.forward_t(&hidden.forward(&x).relu(), true));
            let (mean, log_variance) = (found.narrow(1, 0, 1), found.narrow(1, 1, 1));
            let fit = ((&y - mean).square() * (-&log_variance).exp() + log_variance).mean(None);
            let n = n as f64;
            adam.backward_step(&(fit + dropout.regularizer(&output.ws, 1e-4 / n, 2.0 / n)));
        }
        dropout.p()
    };
    let found = [10, 1000].map(learned);
    assert!(found[0] > 2.0 * found[1], "{found:?}");
}
