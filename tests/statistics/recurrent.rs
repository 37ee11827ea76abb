//! The recurrent kit. An LSTM and a GRU whose gates are held open or shut bring out what each dropout did to
//! the elements that it saw.

use std::rc::Rc;

use tch::nn::{self, RNNConfig};
use tch::{Kind, Tensor};
use tch_dropout::{
    GruConfig, LstmConfig, NoiseShape, RecurrentDropout, RnnT, TrueDropout, WeightDrop, Zoneout,
    gru, lstm,
};

use crate::common::device;
use crate::examination::{Claim, Findings};
use crate::trial::{Forward, assert_verdicts, dropped, mutant, once, rounded, shared, unscaled};
use crate::{claim, seeded};

const ROWS: i64 = 64;
const STEPS: i64 = 32;
const HIDDEN: i64 = 32;

/// What `between` sees.
const SEQUENCE: [i64; 3] = [ROWS, STEPS, HIDDEN];

/// What happens in both directions of a layer.
const BOTH_WAYS: [i64; 4] = [2, ROWS, STEPS, HIDDEN];

const FORWARDS: i64 = 16;

const PROBABILITIES: [f64; 2] = [0.3, 0.8];

#[derive(Clone, Copy, Debug, PartialEq)]
enum Cell {
    Lstm,
    Gru,
}
use Cell::{Gru, Lstm};

impl Cell {
    /// The biases with which nothing stays of a state, and the candidate takes its place: in the order of the
    /// weights, `i, f, g, o` and `r, z, n`.
    fn forgetful(self) -> &'static [f64] {
        match self {
            Lstm => &[50.0, -50.0, 0.0, 50.0],
            Gru => &[50.0, -50.0, 0.0],
        }
    }

    /// What such a cell makes of what comes in.
    fn squashed(self, x: &Tensor) -> Tensor {
        if self == Lstm { x.tanh().tanh() } else { x.tanh() }
    }

    /// The inverse.
    fn unsquashed(self, y: &Tensor) -> Tensor {
        if self == Lstm { y.atanh().atanh() } else { y.atanh() }
    }

    /// A layer, as a function from a sequence and a value that fills the initial state to the outputs.
    fn layer(self, vs: &nn::Path, rnn: RNNConfig, dropout: &Kit) -> Run {
        let Kit { shared: dropout, cell: cell_zoneout } = dropout.clone();
        let depth = rnn.num_layers * if rnn.bidirectional { 2 } else { 1 };
        let filled = move |x: &Tensor, with: f64| {
            Tensor::full([depth, x.size()[0], HIDDEN], with, (Kind::Double, device()))
        };
        match self {
            Lstm => {
                let layer =
                    lstm(vs, HIDDEN, HIDDEN, LstmConfig { rnn, dropout, cell_zoneout }).unwrap();
                Rc::new(move |x, initial, train| {
                    let state = nn::LSTMState((filled(x, initial), filled(x, initial)));
                    layer.seq_init_t(x, &state, train).0
                })
            }
            Gru => {
                let layer = gru(vs, HIDDEN, HIDDEN, GruConfig { rnn, dropout }).unwrap();
                Rc::new(move |x, initial, train| {
                    layer.seq_init_t(x, &nn::GRUState(filled(x, initial)), train).0
                })
            }
        }
    }

    /// A layer whose gates are 1 or 0, as the biases have it, and whose candidate, where that is 0, is what comes
    /// in plus `recurrent * h`.
    fn transparent(self, rnn: RNNConfig, biases: &[f64], recurrent: f64, kit: &Kit) -> Run {
        let mut vs = nn::VarStore::new(device());
        let layer = self.layer(&vs.root(), rnn, kit);
        vs.double();
        let options = (Kind::Double, device());
        for (name, mut variable) in vs.variables() {
            let of_gate = |&bias: &f64| {
                let candidate = if bias == 0.0 { 1.0 } else { 0.0 };
                let identity = Tensor::eye(HIDDEN, options) * candidate;
                match &name[..9] {
                    "bias_ih_l" => Tensor::full([HIDDEN], bias, options),
                    "bias_hh_l" => Tensor::zeros([HIDDEN], options),
                    "weight_ih" => identity,
                    _ => identity * recurrent,
                }
            };
            let gates: Vec<Tensor> = biases.iter().map(of_gate).collect();
            tch::no_grad(|| variable.copy_(&Tensor::cat(&gates, 0)));
        }
        layer
    }
}

/// The outputs for a sequence, an initial state and `train`.
type Run = Rc<dyn Fn(&Tensor, f64, bool) -> Tensor>;

/// The dropouts of either cell; a GRU ignores `cell`.
#[derive(Clone)]
struct Kit {
    shared: RecurrentDropout,
    cell: Zoneout,
}

fn kit(shared: RecurrentDropout) -> Kit {
    Kit { shared, cell: Zoneout::new(0.0).unwrap() }
}

fn two_layers() -> RNNConfig {
    RNNConfig { num_layers: 2, ..Default::default() }
}

fn two_directions() -> RNNConfig {
    RNNConfig { bidirectional: true, ..Default::default() }
}

/// What `between` makes of `x`: of two layers, the first gives a tenth of it, and the second passes it on.
fn between(cell: Cell, dropout: TrueDropout) -> impl Fn(&Tensor) -> Tensor {
    let kit = kit(RecurrentDropout { between: dropout, ..Default::default() });
    let layers = cell.transparent(two_layers(), cell.forgetful(), 0.0, &kit);
    move |x| {
        let x = cell.unsquashed(&(x.to_kind(Kind::Double) * 0.1));
        rounded(&(cell.unsquashed(&layers(&x, 0.0, true)) * 10.0))
    }
}

/// What comes into each direction at each time step, in the order in which it comes.
fn both_ways(y: &Tensor) -> Tensor {
    let ways = y.chunk(2, -1);
    Tensor::stack(&[ways[0].shallow_clone(), ways[1].flip([1])], 0)
}

/// What each time step begins with.
fn before(states: &Tensor, initial: f64) -> Tensor {
    let first = states.narrow(2, 0, 1).full_like(initial);
    Tensor::cat(&[first, states.narrow(2, 0, STEPS - 1)], 2)
}

/// What the mask of the state, with which each time step multiplied its recurrent input, makes of `x`.
fn of_state(cell: Cell, dropout: TrueDropout) -> impl Fn(&Tensor) -> Tensor {
    const RECURRENT: f64 = 0.1;
    const INITIAL: f64 = 0.5;
    let kit = kit(RecurrentDropout { state: dropout, ..Default::default() });
    let layer = cell.transparent(two_directions(), cell.forgetful(), RECURRENT, &kit);
    move |x| {
        let x = x.to_kind(Kind::Double);
        let y = layer(&x.get(0), INITIAL, true);
        let from_input = both_ways(&Tensor::cat(&[x.get(0), x.get(0)], -1));
        let states = both_ways(&y);
        let masked = (cell.unsquashed(&states) - from_input) / RECURRENT;
        rounded(&(x * masked / before(&states, INITIAL)))
    }
}

/// What the updates that zoneout lets through make of `x`, from states that would be `new` after each step.
fn updates(x: &Tensor, states: &Tensor, new: &Tensor) -> Tensor {
    let before = before(states, OUTSIDE);
    rounded(&(x * (states - &before) / (new - before)))
}

/// An initial state that no cell reaches.
const OUTSIDE: f64 = 1.5;

/// Inputs that are others at each step.
fn rising(x: &Tensor) -> Tensor {
    let steps = Tensor::arange_start(1, STEPS + 1, (Kind::Double, device())) / STEPS as f64;
    x.get(0).to_kind(Kind::Double) * steps.unsqueeze(-1)
}

fn zoneout(cell: Cell, zoneout: Zoneout) -> impl Fn(&Tensor) -> Tensor {
    let kit = kit(RecurrentDropout { zoneout, ..Default::default() });
    let layer = cell.transparent(two_directions(), cell.forgetful(), 0.0, &kit);
    move |x| {
        let inputs = rising(x);
        let new = both_ways(&cell.squashed(&Tensor::cat(&[&inputs, &inputs], -1)));
        updates(x, &both_ways(&layer(&inputs, OUTSIDE, true)), &new)
    }
}

/// That of an LSTM's `c`. As in the paper, `h` sees the new `c` of its own time step, and zoneout's of the one
/// before: here their sum with the candidate.
fn cell_zoneout(zoneout: Zoneout) -> impl Fn(&Tensor) -> Tensor {
    let kit = Kit { shared: Default::default(), cell: zoneout };
    let layer = Lstm.transparent(two_directions(), &[50.0, 50.0, 0.0, 50.0], 0.0, &kit);
    move |x| {
        // One step more, which shows the state after the last.
        let inputs = x.get(0).to_kind(Kind::Double) * 0.05;
        let inputs = Tensor::cat(&[&inputs, &inputs.narrow(1, 0, 1)], 1);
        let candidates = both_ways(&Tensor::cat(&[&inputs, &inputs], -1).tanh());
        let before = both_ways(&layer(&inputs, 0.0, true).atanh()) - &candidates;
        let updates = before.diff(1, 2, None::<&Tensor>, None::<&Tensor>);
        rounded(&(x * updates / candidates.narrow(2, 0, STEPS)))
    }
}

/// What weight drop makes of `x` in the place of the recurrent weights of two layers and two directions: their
/// gradient in training, against that in evaluation.
///
/// The weights are 0, so that the masks change nothing else.
fn weight_drop(cell: Cell, weights: WeightDrop) -> impl Fn(&Tensor) -> Tensor {
    let kit = kit(RecurrentDropout { weights, ..Default::default() });
    let mut vs = nn::VarStore::new(device());
    let rnn = RNNConfig { num_layers: 2, bidirectional: true, ..Default::default() };
    let layer = cell.layer(&vs.root(), rnn, &kit);
    vs.double();
    let mut recurrent = Vec::new();
    for (name, mut variable) in vs.variables() {
        let is_recurrent = name.starts_with("weight_hh");
        let _ = tch::no_grad(|| variable.fill_(if is_recurrent { 0.0 } else { 0.1 }));
        if is_recurrent {
            recurrent.push(variable);
        }
    }
    move |x| {
        let gradients = |train| {
            let input = Tensor::ones([1, 1, HIDDEN], (Kind::Double, device()));
            let y = layer(&input, 0.5, train).sum(None);
            Tensor::stack(&Tensor::run_backward(&[y], &recurrent, false, false), 0)
        };
        rounded(&(x * gradients(true) / gradients(false)))
    }
}

/// The sizes of the weights that it sees.
fn weights_size(cell: Cell) -> [i64; 3] {
    [4, HIDDEN * cell.forgetful().len() as i64, HIDDEN]
}

fn sequences(p: f64) -> Claim {
    claim::<true>(p, &NoiseShape::Elements, &SEQUENCE)
}

fn locked_sequences(p: f64) -> Claim {
    claim::<true>(p, &NoiseShape::Shared(vec![1]), &SEQUENCE)
}

fn weights(p: f64, cell: Cell) -> Claim {
    claim::<true>(p, &NoiseShape::Elements, &weights_size(cell))
}

fn states(p: f64) -> Claim {
    claim::<true>(p, &NoiseShape::Shared(vec![2]), &BOTH_WAYS)
}

fn updated(p: f64) -> Claim {
    claim::<false>(p, &NoiseShape::Elements, &BOTH_WAYS)
}

fn examine(claim: Claim) -> impl Fn(&Forward) -> Findings {
    move |forward| claim.examine_over(FORWARDS, forward)
}

fn named(name: &str, forward: impl Fn(&Tensor) -> Tensor + 'static) -> (String, Forward) {
    (name.to_owned(), Box::new(forward))
}

#[test]
fn recurrent_dropouts_keep_their_claims() {
    let (_generator, seed) = seeded();
    let seed = seed as u64;
    for cell in [Lstm, Gru] {
        for p in PROBABILITIES {
            let name = format!("{cell:?}, p = {p}");
            let fresh = || TrueDropout::elements(p).unwrap();
            let layers = [fresh(), fresh().with_seed(seed)];
            let layers = layers.map(|layer| named(&name, between(cell, layer)));
            assert_verdicts(examine(sequences(p)), layers, []);

            let locked = || TrueDropout::shared(p, &[1]).unwrap();
            let layers = [locked(), locked().with_seed(seed)];
            let layers = layers.map(|layer| named(&name, between(cell, layer)));
            assert_verdicts(examine(locked_sequences(p)), layers, []);

            let layers = [fresh(), fresh().with_seed(seed)];
            let layers = layers.map(|layer| named(&name, of_state(cell, layer)));
            assert_verdicts(examine(states(p)), layers, []);

            let new = || WeightDrop::new(p).unwrap();
            let layers = [new(), new().with_seed(seed)];
            let layers = layers.map(|layer| named(&name, weight_drop(cell, layer)));
            assert_verdicts(examine(weights(p, cell)), layers, []);

            let new = || Zoneout::new(p).unwrap();
            let layers = [new(), new().with_seed(seed)];
            let layers = layers.map(|layer| named(&name, zoneout(cell, layer)));
            assert_verdicts(examine(updated(p)), layers, []);

            if cell == Lstm {
                let layers = [new(), new().with_seed(seed)];
                let layers = layers.map(|layer| named(&name, cell_zoneout(layer)));
                assert_verdicts(examine(updated(p)), layers, []);
            }
        }
    }
}

const P: f64 = 0.3;

const VALUES: &str = "values other than";

fn elements(p: f64) -> TrueDropout {
    TrueDropout::elements(p).unwrap()
}

fn all(p: f64) -> impl Fn(&Tensor) -> Tensor {
    dropped(p, NoiseShape::Elements)
}

#[test]
fn mutants_of_dropout_between_layers_do_not() {
    let (_generator, _) = seeded();
    let locked = || TrueDropout::shared(P, &[1]).unwrap();
    let unequal = "groups that are not equal throughout";
    let mutants = [
        mutant("p and 1 - p swapped", VALUES, between(Lstm, elements(1.0 - P))),
        mutant("rescaled twice", VALUES, |x| all(P)(x) / (1.0 - P)),
        mutant("locked", "correlation over dimension 1, lag 1", between(Gru, locked())),
        mutant("one mask for the batch", "correlation over dimension 0", shared(P, &[0])),
        mutant("whole time steps", "correlation over dimension 2", shared(P, &[2])),
        mutant("one mask for all passes", "correlation over forwards", once(all(P), &SEQUENCE)),
    ];
    assert_verdicts(examine(sequences(P)), [], mutants);

    let mutants = [
        mutant("p and 1 - p swapped", VALUES, shared(1.0 - P, &[1])),
        mutant("fresh at each step", unequal, between(Lstm, elements(P))),
        mutant("time and batch taken for each other", unequal, shared(P, &[0])),
        mutant("one mask for the batch", "correlation over dimension 0", shared(P, &[0, 1])),
        mutant("whole sequences", "correlation over dimension 2", shared(P, &[1, 2])),
        mutant("drawn anew half-way", unequal, |x| {
            let halves = x.chunk(2, 1);
            Tensor::cat(&[shared(P, &[1])(&halves[0]), shared(P, &[1])(&halves[1])], 1)
        }),
        mutant(
            "one mask for all passes",
            "correlation over forwards",
            once(shared(P, &[1]), &SEQUENCE),
        ),
    ];
    assert_verdicts(examine(locked_sequences(P)), [], mutants);
}

#[test]
fn mutants_of_weight_drop_do_not() {
    let (_generator, _) = seeded();
    let mutants = [
        mutant("p and 1 - p swapped", VALUES, weight_drop(Lstm, WeightDrop::new(1.0 - P).unwrap())),
        mutant("not rescaled", VALUES, unscaled(P, NoiseShape::Elements)),
        mutant(
            "whole units, as in dropout of the state",
            "correlation over dimension 1",
            shared(P, &[1]),
        ),
        mutant("whole gates of a unit", "correlation over dimension 2", shared(P, &[2])),
        mutant(
            "one mask for all layers and directions",
            "correlation over dimension 0, lag 1",
            shared(P, &[0]),
        ),
        mutant("one mask for both directions", "correlation over dimension 0, lag 1", |x| {
            let masks = all(P)(&x.narrow(0, 0, 2).ones_like());
            x * masks.repeat_interleave_self_int(2, 0, None)
        }),
        mutant("one mask for all gates", "correlation in memory", |x| {
            x * all(P)(&x.narrow(1, 0, HIDDEN).ones_like()).repeat([1, 4, 1])
        }),
        mutant(
            "one mask for all passes",
            "correlation over forwards",
            once(all(P), &weights_size(Lstm)),
        ),
        mutant("dropped for good, pass by pass", "keep rate", {
            let left =
                std::cell::RefCell::new(Tensor::ones(weights_size(Lstm), crate::common::float()));
            move |x: &Tensor| {
                let mask = &*left.borrow() * unscaled(P, NoiseShape::Elements)(&x.ones_like());
                *left.borrow_mut() = mask.shallow_clone();
                x * mask / (1.0 - P)
            }
        }),
    ];
    assert_verdicts(examine(weights(P, Lstm)), [], mutants);
}

#[test]
fn mutants_of_dropout_of_the_state_do_not() {
    let (_generator, _) = seeded();
    let unequal = "groups that are not equal throughout";
    let mask = |x: &Tensor| shared(P, &[2])(&x.ones_like());
    let mutants = [
        mutant("p and 1 - p swapped", VALUES, of_state(Gru, elements(1.0 - P))),
        mutant("not rescaled", VALUES, unscaled(P, NoiseShape::Shared(vec![2]))),
        mutant("fresh at each step", unequal, dropped(P, NoiseShape::Elements)),
        mutant("dropped from the state itself, step by step", VALUES, move |x| {
            x * mask(x).cumprod(2, None)
        }),
        mutant("not at the first step", VALUES, move |x| {
            Tensor::cat(&[x.narrow(2, 0, 1), (x * mask(x)).narrow(2, 1, STEPS - 1)], 2)
        }),
        mutant(
            "one mask for the batch",
            "correlation over dimension 1",
            of_state(Lstm, TrueDropout::shared(P, &[0]).unwrap()),
        ),
        mutant(
            "whole states",
            "correlation over dimension 3",
            of_state(Lstm, TrueDropout::shared(P, &[1]).unwrap()),
        ),
        mutant("one mask for both directions", "correlation over dimension 0", shared(P, &[0, 2])),
        mutant(
            "one mask for all passes",
            "correlation over forwards",
            once(shared(P, &[2]), &BOTH_WAYS),
        ),
    ];
    assert_verdicts(examine(states(P)), [], mutants);
}

/// A cell that has its own way from the former state and the new one to the next.
fn stepped(step: impl Fn(&Tensor, &Tensor) -> Tensor) -> impl Fn(&Tensor) -> Tensor {
    move |x| {
        let inputs = rising(x);
        let new = both_ways(&Tensor::cat(&[&inputs, &inputs], -1).tanh());
        let mut state = new.select(2, 0).full_like(OUTSIDE);
        let mut states = Vec::new();
        for new in new.unbind(2) {
            state = step(&state, &new);
            states.push(state.shallow_clone());
        }
        updates(x, &Tensor::stack(&states, 2), &new)
    }
}

#[test]
fn mutants_of_zoneout_do_not() {
    let (_generator, _) = seeded();
    let keeps = |p: f64, shape: NoiseShape| {
        move |former: &Tensor, new: &Tensor| {
            let updated = unscaled(p, shape.clone())(&new.ones_like());
            &updated * new + (1.0f64 - &updated) * former
        }
    };
    let mask = all(P)(&Tensor::ones([2, ROWS, HIDDEN], crate::common::float())).ne(0);
    let mutants = [
        mutant("p and 1 - p swapped", "keep rate", zoneout(Gru, Zoneout::new(1.0 - P).unwrap())),
        mutant(
            "drops in place of keeping the former state",
            VALUES,
            stepped(|_, new| unscaled(P, NoiseShape::Elements)(new)),
        ),
        mutant(
            "rescales the new state",
            VALUES,
            stepped(|former, new| {
                let updated = all(P)(&new.ones_like());
                former.where_self(&updated.eq(0), &(new * &updated))
            }),
        ),
        mutant(
            "the mean, as in evaluation",
            VALUES,
            stepped(|former, new| P * former + (1.0 - P) * new),
        ),
        mutant(
            "the difference dropped and rescaled",
            VALUES,
            stepped(|former, new| former + all(P)(&(new - former))),
        ),
        mutant(
            "the same mask at each step",
            "correlation over dimension 2, lag 1",
            stepped(move |former, new| new.where_self(&mask, former)),
        ),
        mutant(
            "whole states",
            "correlation over dimension 3",
            stepped(keeps(P, NoiseShape::Shared(vec![2]))),
        ),
        mutant(
            "one draw for the batch",
            "correlation over dimension 1",
            stepped(keeps(P, NoiseShape::Shared(vec![1]))),
        ),
        mutant(
            "one mask for both directions",
            "correlation over dimension 0",
            stepped(keeps(P, NoiseShape::Shared(vec![0]))),
        ),
        mutant(
            "one mask for all passes",
            "correlation over forwards",
            once(unscaled(P, NoiseShape::Elements), &BOTH_WAYS),
        ),
    ];
    assert_verdicts(examine(updated(P)), [], mutants);
}
