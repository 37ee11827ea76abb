//! This library in one build with rust-bert, under an interface like that of rust-bert's own dropout: a BERT
//! layer gives the same outputs in evaluation, agrees in statistics in training, and learns as much.
//!
//! Each row compares the means of two sets of independent numbers, which may differ by five standard errors.

mod dropout;
mod layer;

use rust_bert::bert::{BertConfig, BertLayer};
use tch::nn::{self, ModuleT, OptimizerConfig};
use tch::{Device, Kind, Tensor};

use crate::dropout::{Dropout, XDropout};
use crate::layer::Layer;

const STANDARD_ERRORS: f64 = 5.0;

/// A layer, its variables, and how it is called.
struct Model {
    vs: nn::VarStore,
    forward_t: Box<dyn Fn(&Tensor, bool) -> Tensor>,
}

fn config() -> BertConfig {
    BertConfig {
        hidden_size: 32,
        intermediate_size: 128,
        num_attention_heads: 4,
        hidden_dropout_prob: 0.2,
        attention_probs_dropout_prob: 0.3,
        ..Default::default()
    }
}

fn theirs() -> Model {
    let vs = nn::VarStore::new(Device::Cpu);
    let layer = BertLayer::new(vs.root(), &config());
    let forward_t =
        move |x: &Tensor, train| layer.forward_t(x, None, None, None, train).hidden_state;
    Model { vs, forward_t: Box::new(forward_t) }
}

fn ours<D: ModuleT + 'static>(dropout: fn(f64) -> D, weights: &nn::VarStore) -> Model {
    let mut vs = nn::VarStore::new(Device::Cpu);
    let layer = Layer::new(vs.root(), &config(), dropout);
    vs.copy(weights).expect("the same names and shapes as in rust-bert");
    Model { vs, forward_t: Box::new(move |x, train| layer.forward_t(x, train)) }
}

/// Of `[batch, tokens, hidden]`.
fn random_tokens(batch: i64) -> Tensor {
    Tensor::randn([batch, 8, config().hidden_size], (Kind::Float, Device::Cpu))
}

/// How far dropout takes each of many passes over `x` from the one in evaluation, and where to.
fn passes(model: &Model, x: &Tensor, direction: &Tensor) -> [Vec<f64>; 2] {
    let without = (model.forward_t)(x, false);
    let (distances, means) = (0..300)
        .map(|_| {
            let moved = (model.forward_t)(x, true) - &without;
            (moved.square().mean(Kind::Double), (moved * direction).mean(Kind::Double))
        })
        .map(|(distance, mean)| (distance.double_value(&[]), mean.double_value(&[])))
        .unzip();
    [distances, means]
}

/// The loss on other examples before and after some steps: is the first feature's sum over all tokens positive?
fn learn(model: &Model) -> (f64, f64) {
    let loss = |x: &Tensor, train| {
        let label = x.select(2, 0).sum_dim_intlist(1, false, None).gt(0.0).to_kind(Kind::Int64);
        let logits = (model.forward_t)(x, train).mean_dim(1, false, None).narrow(1, 0, 2);
        logits.cross_entropy_for_logits(&label)
    };
    let test = random_tokens(512);
    let before = loss(&test, false).double_value(&[]);
    let mut optimizer = nn::Adam::default().build(&model.vs, 3e-3).unwrap();
    for _ in 0..40 {
        optimizer.backward_step(&loss(&random_tokens(64), true));
    }
    (before, loss(&test, false).double_value(&[]))
}

/// The mean, and the square of its standard error.
fn mean(values: &[f64]) -> (f64, f64) {
    let n = values.len() as f64;
    let mean = values.iter().sum::<f64>() / n;
    (mean, values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0) / n)
}

fn compare(what: &str, theirs: &[f64], ours: &[f64]) {
    let ((their_mean, their_error), (our_mean, our_error)) = (mean(theirs), mean(ours));
    let z = (our_mean - their_mean) / (our_error + their_error).sqrt();
    println!("{what:30} {their_mean:10.5} {our_mean:10.5} {z:6.2}");
    assert!(z.abs() < STANDARD_ERRORS, "{what}: {z} standard errors apart");
}

fn compare_with<D: ModuleT + 'static>(name: &str, dropout: fn(f64) -> D) {
    let theirs = theirs();
    let ours = ours(dropout, &theirs.vs);
    let x = random_tokens(4);
    let outputs = [&theirs, &ours].map(|model| (model.forward_t)(&x, false));
    assert!(outputs[0].allclose(&outputs[1], 1e-5, 1e-5, false), "{name}: not equal in evaluation");

    let direction = x.randn_like();
    let [their_distances, their_means] = passes(&theirs, &x, &direction);
    let [our_distances, our_means] = passes(&ours, &x, &direction);
    compare(&format!("{name}: distance"), &their_distances, &our_distances);
    compare(&format!("{name}: direction"), &their_means, &our_means);

    let (their_losses, our_losses): (Vec<_>, Vec<_>) = (0..20)
        .map(|_| {
            let theirs = crate::theirs();
            let ours = crate::ours(dropout, &theirs.vs);
            (learn(&theirs), learn(&ours))
        })
        .map(|(theirs, ours)| {
            for (before, after) in [theirs, ours] {
                assert!(after < 0.8 * before, "{name}: the loss went from {before} to {after}");
            }
            (theirs.1, ours.1)
        })
        .unzip();
    compare(&format!("{name}: loss after 40 steps"), &their_losses, &our_losses);
}

fn main() {
    tch::manual_seed(0);
    println!("{:30} {:>10} {:>10} {:>6}", "", "rust-bert", "ours", "z");
    compare_with("Dropout", Dropout::new);
    compare_with("XDropout", XDropout::new);
}
