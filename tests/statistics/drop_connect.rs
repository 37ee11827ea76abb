//! The weights that `DropConnect` drops, brought out of its output.

use tch::Tensor;
use tch::nn::{self, ModuleT};
use tch_dropout::{DropConnectConfig, NoiseShape, Stream, drop_connect};

use crate::common::{device, float};
use crate::examination::Claim;
use crate::trial::{Forward, assert_verdicts, dropped, mutant, once, shared};
use crate::{PROBABILITIES, claim, seeded};

/// `[N, out, in]`
const SIZE: [i64; 3] = [64, 128, 128];

fn of_samples(p: f64) -> Claim {
    claim::<true>(p, &NoiseShape::Elements, &SIZE)
}

fn layer(p: f64, per_sample: bool, stream: Option<Stream>, size: i64) -> nn::FuncT<'static> {
    let vs = nn::VarStore::new(device());
    let linear = nn::LinearConfig { bias: false, ..Default::default() };
    let config = DropConnectConfig { p, per_sample, linear, ..Default::default() };
    let mut layer = drop_connect(vs.root(), size, size, config).unwrap();
    if let Some(stream) = stream {
        layer = layer.with_stream(stream);
    }
    let _ = tch::no_grad(|| layer.linear.ws.shallow_clone().fill_(1.0));
    nn::func_t(move |x, train| tch::no_grad(|| layer.forward_t(x, train)))
}

/// The identity brings out what is left of weights of 1.
fn of_batch(layer: nn::FuncT<'static>) -> (String, Forward) {
    let identity = Tensor::eye(1024, float());
    ("DropConnect".into(), Box::new(move |x| layer.forward_t(&identity, true).tr() * x))
}

/// Each sample is the identity.
fn by_sample(layer: nn::FuncT<'static>) -> (String, Forward) {
    let identity = Tensor::eye(SIZE[2], float()).expand([SIZE[0], -1, -1], false);
    let forward = move |x: &Tensor| layer.forward_t(&identity, true).transpose(1, 2) * x;
    ("DropConnect, per sample".into(), Box::new(forward))
}

#[test]
fn drop_connect_keeps_its_claim() {
    let (_generator, seed) = seeded();
    let stream = || Some(Stream::new(seed as u64));
    for p in PROBABILITIES {
        let weights = claim::<true>(p, &NoiseShape::Elements, &[1024, 1024]);
        let layers = [None, stream()].map(|stream| of_batch(layer(p, false, stream, 1024)));
        assert_verdicts(|forward| weights.examine(forward), layers, []);
        let layers = [None, stream()].map(|stream| by_sample(layer(p, true, stream, SIZE[2])));
        assert_verdicts(|forward| of_samples(p).examine(forward), layers, []);
    }
}

#[test]
fn mutants_of_drop_connect_do_not() {
    const P: f64 = 0.3;
    let (_generator, _) = seeded();
    let elements = |p| dropped(p, NoiseShape::Elements);
    let values = "values other than";
    let batchs = by_sample(layer(P, false, None, SIZE[2])).1;
    let mutants = [
        mutant("p and 1 - p swapped", values, elements(1.0 - P)),
        mutant("not rescaled", values, move |x| elements(P)(x) * (1.0 - P)),
        mutant("one mask for the batch", "correlation over dimension 0", batchs),
        mutant("one mask for each half of the batch", "correlation over dimension 0", move |x| {
            let half = elements(P)(&x.narrow(0, 0, 32).ones_like());
            Tensor::stack(&[&half, &half], 1).flatten(0, 1) * x
        }),
        mutant("whole units", "correlation over dimension 2", shared(P, &[2])),
        mutant("whole features", "correlation over dimension 1", shared(P, &[1])),
        mutant("one mask for all steps", "correlation over forwards", once(elements(P), &SIZE)),
    ];
    assert_verdicts(|forward| of_samples(P).examine(forward), [], mutants);
}
