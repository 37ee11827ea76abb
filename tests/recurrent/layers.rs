//! An LSTM and a GRU behind one face, ours and tch's.

use tch::nn::{self, RNN, RNNConfig};
use tch::{Kind, Tensor};
use tch_dropout::{
    Error, GruConfig, LstmConfig, RecurrentDropout, RnnT, TrueDropout, WeightDrop, Zoneout, gru,
    lstm,
};

use crate::common::device;

pub const IN: i64 = 5;
pub const HIDDEN: i64 = 6;

#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell {
    Lstm,
    Gru,
}

pub const CELLS: [Cell; 2] = [Cell::Lstm, Cell::Gru];

/// Stacks of one layer and of three, in all forms.
pub fn configurations() -> impl Iterator<Item = (Cell, RNNConfig)> {
    (0..32).map(|bits| {
        let is = |bit: u32| bits >> bit & 1 == 1;
        let rnn = RNNConfig {
            num_layers: if is(0) { 3 } else { 1 },
            bidirectional: is(1),
            batch_first: is(2),
            has_biases: is(3),
            ..Default::default()
        };
        (CELLS[bits >> 4], rnn)
    })
}

/// The dropouts of either cell; a GRU ignores the last.
#[derive(Clone, Default)]
pub struct Dropouts {
    pub shared: RecurrentDropout,
    pub cell_zoneout: Option<Zoneout>,
}

/// The outputs, and the tensors of the state.
pub type Run = (Tensor, Vec<Tensor>);

type Layer = Box<dyn Fn(&Tensor, &[Tensor], bool) -> Result<Run, Error>>;

type Theirs = Box<dyn Fn(&Tensor, &[Tensor]) -> Run>;

/// Ours. Its dropouts are clones, and so have streams of their own.
pub fn f_ours(
    cell: Cell,
    vs: &nn::Path,
    rnn: RNNConfig,
    dropouts: &Dropouts,
) -> Result<Layer, Error> {
    let Dropouts { shared: dropout, cell_zoneout } = dropouts.clone();
    match cell {
        Cell::Lstm => {
            let cell_zoneout = cell_zoneout.unwrap_or(Zoneout::new(0.0)?);
            let layer = lstm(vs, IN, HIDDEN, LstmConfig { rnn, dropout, cell_zoneout })?;
            Ok(Box::new(move |x, state, train| {
                let state = nn::LSTMState((state[0].shallow_clone(), state[1].shallow_clone()));
                let (y, nn::LSTMState((h, c))) = layer.f_seq_init_t(x, &state, train)?;
                Ok((y, vec![h, c]))
            }))
        }
        Cell::Gru => {
            let layer = gru(vs, IN, HIDDEN, GruConfig { rnn, dropout })?;
            Ok(Box::new(move |x, state, train| {
                let state = nn::GRUState(state[0].shallow_clone());
                let (y, nn::GRUState(h)) = layer.f_seq_init_t(x, &state, train)?;
                Ok((y, vec![h]))
            }))
        }
    }
}

pub fn ours(
    cell: Cell,
    vs: &nn::Path,
    rnn: RNNConfig,
    dropouts: &Dropouts,
) -> impl Fn(&Tensor, &[Tensor], bool) -> Run + use<> {
    let layer = f_ours(cell, vs, rnn, dropouts).unwrap();
    move |x, state, train| layer(x, state, train).unwrap()
}

pub fn theirs(cell: Cell, vs: &nn::Path, rnn: RNNConfig) -> Theirs {
    if !(rnn.has_biases || tch_has_layers_without_biases()) {
        return operation_without_biases(cell, vs, rnn);
    }
    match cell {
        Cell::Lstm => {
            let layer = nn::lstm(vs, IN, HIDDEN, rnn);
            Box::new(move |x, state| {
                let state = nn::LSTMState((state[0].shallow_clone(), state[1].shallow_clone()));
                let (y, nn::LSTMState((h, c))) = layer.seq_init(x, &state);
                (y, vec![h, c])
            })
        }
        Cell::Gru => {
            let layer = nn::gru(vs, IN, HIDDEN, rnn);
            Box::new(move |x, state| {
                let (y, nn::GRUState(h)) =
                    layer.seq_init(x, &nn::GRUState(state[0].shallow_clone()));
                (y, vec![h])
            })
        }
    }
}

/// On a GPU, tch's layers without biases panic when they are made: it flattens as many weights as if there were some.
pub fn tch_has_layers_without_biases() -> bool {
    !device().is_cuda()
}

/// libtorch's operation as tch calls it, with variables of tch's names.
fn operation_without_biases(cell: Cell, vs: &nn::Path, rnn: RNNConfig) -> Theirs {
    let gates = if cell == Cell::Lstm { 4 } else { 3 };
    let suffixes: &[&str] = if rnn.bidirectional { &["", "_reverse"] } else { &[""] };
    let mut weights = Vec::new();
    for layer in 0..rnn.num_layers {
        let inputs = if layer == 0 { IN } else { HIDDEN * suffixes.len() as i64 };
        for suffix in suffixes {
            for (part, columns) in [("ih", inputs), ("hh", HIDDEN)] {
                let name = format!("weight_{part}_l{layer}{suffix}");
                weights.push(vs.var(&name, &[gates * HIDDEN, columns], rnn.w_ih_init));
            }
        }
    }
    let RNNConfig { num_layers, train, bidirectional, batch_first, .. } = rnn;
    Box::new(move |x, state| match cell {
        Cell::Lstm => {
            let (y, h, c) =
                x.lstm(state, &weights, false, num_layers, 0.0, train, bidirectional, batch_first);
            (y, vec![h, c])
        }
        Cell::Gru => {
            let h = &state[0];
            let (y, h) =
                x.gru(h, &weights, false, num_layers, 0.0, train, bidirectional, batch_first);
            (y, vec![h])
        }
    })
}

/// Weights and biases none of which is 0.
pub fn fill(vs: &nn::VarStore) {
    tch::no_grad(|| {
        for mut variable in vs.trainable_variables() {
            let signs = variable.bernoulli_p(0.5) * 2 - 1;
            variable.copy_(&(signs * (variable.rand_like() * 0.4 + 0.1)));
        }
    });
}

/// A random state for a configuration.
pub fn state(cell: Cell, rnn: RNNConfig, rows: i64, kind: Kind) -> Vec<Tensor> {
    let depth = rnn.num_layers * if rnn.bidirectional { 2 } else { 1 };
    let tensors = if cell == Cell::Lstm { 2 } else { 1 };
    let random = || Tensor::randn([depth, rows, HIDDEN], (kind, device())) * 0.5;
    (0..tensors).map(|_| random()).collect()
}

/// One dropout of each sort, all others 0.
pub fn between(between: TrueDropout) -> Dropouts {
    let shared = RecurrentDropout { between, ..Default::default() };
    Dropouts { shared, ..Default::default() }
}

pub fn weights(p: f64) -> Dropouts {
    let weights = WeightDrop::new(p).unwrap();
    Dropouts { shared: RecurrentDropout { weights, ..Default::default() }, ..Default::default() }
}

pub fn of_state(p: f64) -> Dropouts {
    let state = TrueDropout::elements(p).unwrap();
    Dropouts { shared: RecurrentDropout { state, ..Default::default() }, ..Default::default() }
}

pub fn zoneout(p: f64) -> Dropouts {
    let zoneout = Zoneout::new(p).unwrap();
    Dropouts { shared: RecurrentDropout { zoneout, ..Default::default() }, ..Default::default() }
}

pub fn cell_zoneout(p: f64) -> Dropouts {
    Dropouts { cell_zoneout: Some(Zoneout::new(p).unwrap()), ..Default::default() }
}

/// All of them at once.
pub fn all(p: f64) -> Dropouts {
    let shared = RecurrentDropout {
        between: TrueDropout::elements(p).unwrap(),
        weights: WeightDrop::new(p).unwrap(),
        state: TrueDropout::elements(p).unwrap(),
        zoneout: Zoneout::new(p).unwrap(),
    };
    Dropouts { shared, cell_zoneout: Some(Zoneout::new(p).unwrap()) }
}
