//! An LSTM and a GRU whose gates are held open or shut, so that their outputs show what a dropout did to the
//! elements that it saw: a function from those to what they became.

use std::rc::Rc;

use tch::nn::{self, RNNConfig};
use tch::{Kind, Tensor};
use tch_dropout::{
    GruConfig, LstmConfig, RecurrentDropout, RnnT, TrueDropout, WeightDrop, Zoneout, gru, lstm,
};

use super::{HIDDEN, STEPS};
use crate::common::device;
use crate::trial::rounded;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell {
    Lstm,
    Gru,
}
pub use Cell::{Gru, Lstm};

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

    /// A layer whose gates are 1 or 0, as the biases have it, and whose candidate, where that is 0, is what
    /// comes in plus `recurrent * h`.
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
pub fn between(cell: Cell, dropout: TrueDropout) -> impl Fn(&Tensor) -> Tensor {
    let kit = kit(RecurrentDropout { between: dropout, ..Default::default() });
    let layers = cell.transparent(two_layers(), cell.forgetful(), 0.0, &kit);
    move |x| {
        let x = cell.unsquashed(&(x.to_kind(Kind::Double) * 0.1));
        rounded(&(cell.unsquashed(&layers(&x, 0.0, true)) * 10.0))
    }
}

/// What comes into each direction at each time step, in the order in which it comes.
pub fn both_ways(y: &Tensor) -> Tensor {
    let ways = y.chunk(2, -1);
    Tensor::stack(&[ways[0].shallow_clone(), ways[1].flip([1])], 0)
}

/// What each time step begins with.
fn before(states: &Tensor, initial: f64) -> Tensor {
    let first = states.narrow(2, 0, 1).full_like(initial);
    Tensor::cat(&[first, states.narrow(2, 0, STEPS - 1)], 2)
}

/// What the mask of the state, with which each time step multiplied its recurrent input, makes of `x`.
pub fn of_state(cell: Cell, dropout: TrueDropout) -> impl Fn(&Tensor) -> Tensor {
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
pub fn updates(x: &Tensor, states: &Tensor, new: &Tensor) -> Tensor {
    let before = before(states, OUTSIDE);
    rounded(&(x * (states - &before) / (new - before)))
}

/// An initial state that no cell reaches.
pub const OUTSIDE: f64 = 1.5;

/// Inputs that are others at each step.
pub fn rising(x: &Tensor) -> Tensor {
    let steps = Tensor::arange_start(1, STEPS + 1, (Kind::Double, device())) / STEPS as f64;
    x.get(0).to_kind(Kind::Double) * steps.unsqueeze(-1)
}

pub fn zoneout(cell: Cell, zoneout: Zoneout) -> impl Fn(&Tensor) -> Tensor {
    let kit = kit(RecurrentDropout { zoneout, ..Default::default() });
    let layer = cell.transparent(two_directions(), cell.forgetful(), 0.0, &kit);
    move |x| {
        let inputs = rising(x);
        let new = both_ways(&cell.squashed(&Tensor::cat(&[&inputs, &inputs], -1)));
        updates(x, &both_ways(&layer(&inputs, OUTSIDE, true)), &new)
    }
}

/// That of an LSTM's `c`. As in the paper, `h` sees the new `c` of its own time step, and zoneout's of the
/// one before: here their sum with the candidate.
pub fn cell_zoneout(zoneout: Zoneout) -> impl Fn(&Tensor) -> Tensor {
    let kit = Kit { shared: Default::default(), cell: zoneout };
    let layer = Lstm.transparent(two_directions(), &[50.0, 50.0, 0.0, 50.0], 0.0, &kit);
    move |x| {
        // One step more, which shows the state after the last.
        let inputs = x.get(0).to_kind(Kind::Double) * 0.05;
        let inputs = Tensor::cat(&[&inputs, &inputs.narrow(1, 0, 1)], 1);
        let candidates = both_ways(&Tensor::cat(&[&inputs, &inputs], -1).tanh());
        let before = both_ways(&layer(&inputs, 0.0, true).atanh()) - &candidates;
        let updates = before.narrow(2, 1, STEPS) - before.narrow(2, 0, STEPS);
        rounded(&(x * updates / candidates.narrow(2, 0, STEPS)))
    }
}

/// What weight drop makes of `x` in the place of the recurrent weights of two layers and two directions:
/// their gradient in training, against that in evaluation.
///
/// The weights are 0, so that the masks change nothing else.
pub fn weight_drop(cell: Cell, weights: WeightDrop) -> impl Fn(&Tensor) -> Tensor {
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
pub fn weights_size(cell: Cell) -> [i64; 3] {
    [4, HIDDEN * cell.forgetful().len() as i64, HIDDEN]
}
