//! Which tokens PatchDropout keeps.

use tch::nn::ModuleT;
use tch::{Kind, Tensor};
use tch_dropout::PatchDropout;

use crate::common::{device, float};
use crate::deviates::{largest, mean};
use crate::examination::{Findings, finding};
use crate::seeded;
use crate::trial::{Forward, assert_verdicts, mutant};

const SAMPLES: i64 = 4096;
const FORWARDS: i64 = 8;

/// What the layer claims: of `patches` tokens, `kept` stay, all choices being equally likely; those of the
/// prefix stay, too.
#[derive(Clone, Copy)]
struct Choice {
    prefix: i64,
    patches: i64,
    kept: i64,
}

impl Choice {
    fn tokens(self) -> i64 {
        self.prefix + self.patches
    }

    /// Each token is its own number, and none is that of another sample's.
    fn examine(self, forward: &Forward) -> Findings {
        let tokens = Tensor::arange(SAMPLES * self.tokens(), (Kind::Double, device()));
        let x = tokens.reshape([SAMPLES, self.tokens(), 1]);
        let first = x.narrow(1, 0, 1);
        let mut masks = Vec::new();
        for _ in 0..FORWARDS {
            let y = forward(&x);
            if y.size() != [SAMPLES, self.prefix + self.kept, 1] {
                return vec![format!("the output's shape: {:?}", y.size())];
            }
            let places = (y - &first).squeeze_dim(-1);
            match self.mask(&places) {
                Ok(mask) => masks.push(mask),
                Err(finding) => return vec![finding.to_owned()],
            }
        }
        self.chances(&Tensor::stack(&masks, 0))
    }

    /// Which patches are kept, `[SAMPLES, patches]`.
    fn mask(self, places: &Tensor) -> Result<Tensor, &'static str> {
        let all = |condition: Tensor| bool::try_from(condition.all()).unwrap();
        if !all(places.ge(0).logical_and(&places.lt(self.tokens()))) {
            return Err("tokens of another sample");
        }
        let steps =
            places.narrow(1, 1, places.size()[1] - 1) - places.narrow(1, 0, places.size()[1] - 1);
        if !all(steps.gt(0)) {
            return Err("tokens that are not in their order");
        }
        let mask = Tensor::zeros([SAMPLES, self.tokens()], (Kind::Double, device()));
        let mask = mask.scatter_value(1, &places.to_kind(Kind::Int64), 1.0);
        if !all(mask.narrow(1, 0, self.prefix).eq(1)) {
            return Err("a prefix that is not kept");
        }
        Ok(mask.narrow(1, self.prefix, self.patches))
    }

    /// Each token, and each pair of them, as often as another, and no sample like another, in space or time.
    fn chances(self, masks: &Tensor) -> Findings {
        let (kept, patches) = (self.kept as f64, self.patches as f64);
        let p = kept / patches;
        let covariance = -p * (1.0 - p) / (patches - 1.0);
        let both = p * p + covariance;
        let all = masks.flatten(0, 1);
        let n = all.size()[0] as f64;

        let together = all.tr().matmul(&all);
        let tokens = (together.diag(0) - n * p) / (n * p * (1.0 - p)).sqrt();
        let pairs = (&together - n * both) / (n * both * (1.0 - both)).sqrt();
        let pairs = pairs.triu(1);
        let mut deviates = vec![("tokens".to_owned(), largest(&tokens))];
        if self.kept > 1 {
            deviates.push(("pairs".to_owned(), largest(&pairs)));
        }
        for (dim, of) in [(0, "forwards"), (1, "samples")] {
            for lag in 1..4 {
                let shifted = masks.narrow(dim, lag, masks.size()[dim as usize] - lag);
                let common = (shifted * masks.narrow(dim, 0, masks.size()[dim as usize] - lag))
                    .sum_dim_intlist([2].as_slice(), false, None);
                deviates.push((
                    format!("tokens in common over {of}, lag {lag}"),
                    mean(&common, kept * p),
                ));
            }
        }
        deviates.into_iter().filter_map(|(what, z)| finding(&what, z)).collect()
    }
}

#[test]
fn patch_dropout_keeps_its_claim() {
    let (_generator, seed) = seeded();
    for (p, choice) in [
        (0.5, Choice { prefix: 1, patches: 16, kept: 8 }),
        (0.75, Choice { prefix: 0, patches: 49, kept: 12 }),
        (0.1, Choice { prefix: 2, patches: 10, kept: 9 }),
        (0.95, Choice { prefix: 1, patches: 16, kept: 1 }),
    ] {
        let new = || PatchDropout::new(p).unwrap().with_prefix_tokens(choice.prefix).unwrap();
        let layers = [new(), new().with_seed(seed as u64)].map(|layer| {
            let forward: Forward = Box::new(move |x| layer.forward_t(x, true));
            (format!("PatchDropout of {p}"), forward)
        });
        assert_verdicts(|forward| choice.examine(forward), layers, []);
    }
}

/// The tokens of the highest keys, in their order.
fn highest(x: &Tensor, kept: i64, keys: &Tensor) -> Tensor {
    let (_, places) = keys.topk(kept, 1, true, false);
    gathered(x, &places.sort(1, false).0)
}

fn gathered(x: &Tensor, places: &Tensor) -> Tensor {
    x.gather(1, &places.expand([x.size()[0], -1], false).unsqueeze(2), false)
}

#[test]
fn mutants_of_patch_dropout_do_not() {
    let (_generator, _) = seeded();
    // A class token, and p = 0.25.
    const RIGHT: Choice = Choice { prefix: 1, patches: 16, kept: 12 };
    const ALL: i64 = RIGHT.kept + 1;
    // Of one row or all, with the class token's first.
    let keys = |rows: i64| {
        let keys = Tensor::rand([rows, 17], float());
        let _ = keys.narrow(1, 0, 1).fill_(2.0);
        keys
    };
    let chosen = move |x: &Tensor| highest(x, ALL, &keys(SAMPLES));
    let same = keys(SAMPLES);
    let integers = |x: &Tensor| Tensor::arange(x.size()[1], (Kind::Int64, device()));
    let mutants = [
        mutant("p and 1 - p swapped", "the output's shape", move |x| highest(x, 5, &keys(SAMPLES))),
        mutant("the prefix counted as a patch", "the output's shape", move |x| {
            highest(x, ALL - 1, &keys(SAMPLES))
        }),
        mutant("tokens that are zeroed, not removed", "the output's shape", |x| {
            x * Tensor::rand([SAMPLES, 17, 1], float()).gt(0.25)
        }),
        mutant("the first tokens", "tokens", |x| x.narrow(1, 0, ALL)),
        mutant("a prefix that may be dropped", "a prefix", |x| {
            highest(x, ALL, &Tensor::rand([SAMPLES, 17], float()))
        }),
        mutant("tokens in the order of their keys", "tokens that are not in", move |x| {
            gathered(x, &keys(SAMPLES).argsort(1, true).narrow(1, 0, ALL))
        }),
        mutant("with replacement", "tokens that are not in", |x| {
            let places = Tensor::randint(17, [SAMPLES, ALL], (Kind::Int64, device()));
            gathered(x, &places.sort(1, false).0)
        }),
        mutant("the tokens of another sample", "tokens of another", move |x| {
            chosen(x).roll([1], [0])
        }),
        mutant("one choice for the batch", "tokens in common over samples, lag 1", move |x| {
            highest(x, ALL, &keys(1))
        }),
        mutant("one choice for two samples", "tokens in common over samples, lag 1", move |x| {
            highest(x, ALL, &keys(SAMPLES / 2).repeat_interleave_self_int(2, 0, None))
        }),
        mutant("one choice for all steps", "tokens in common over forwards, lag 1", move |x| {
            highest(x, ALL, &same)
        }),
        mutant("consecutive tokens", "pairs", move |x| {
            // The patches in a circle, cut at random.
            let start = Tensor::randint(16, [SAMPLES, 1], (Kind::Int64, device()));
            let around = (integers(x) - 1 - start).remainder(16);
            let order = (around * -1).to_kind(Kind::Float);
            let _ = order.narrow(1, 0, 1).fill_(1.0);
            highest(x, ALL, &order)
        }),
        mutant("keys of four bits, of which the first of equals wins", "tokens", move |x| {
            // A unit less for each place, so that the order among equals is plain.
            let order = (keys(SAMPLES) * 16.0).floor() * 17.0 - integers(x);
            highest(x, ALL, &order)
        }),
        mutant("one of two neighbours at least", "pairs", move |x| {
            // Four pairs of patches stay, and one token of each of the others.
            let pairs = Tensor::rand([SAMPLES, 8], float());
            let whole = pairs.gt_tensor(&pairs.kthvalue(4, 1, true).0).to_kind(Kind::Float);
            let left = Tensor::rand([SAMPLES, 8], float()).round() * 0.5;
            let both = Tensor::stack(&[&whole + &left, &whole + (0.5f64 - &left)], 2).flatten(1, 2);
            highest(x, ALL, &Tensor::cat(&[Tensor::full([SAMPLES, 1], 2.0, float()), both], 1))
        }),
    ];
    assert_verdicts(|forward| RIGHT.examine(forward), [], mutants);
}
