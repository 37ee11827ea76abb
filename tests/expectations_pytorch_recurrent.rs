//! What PyTorch's `test/test_nn.py` expects of `nn.LSTM` and `nn.GRU` and of their dropout, checked on ours.
//!
//! | theirs | ours, or why not |
//! | --- | --- |
//! | `test_RNN_dropout`: where dropout sits, p of 0, 0.276, 0.731 and 1, in training and evaluation | `dropout_sits_between_the_layers`, for an LSTM and a GRU; there is no `nn.RNN` |
//! | `test_RNN_dropout_state`: calls differ in training only; a layer that was saved | `calls_differ_in_training_only_and_so_does_a_saved_layer` |
//! | `test_RNN_change_dropout` | `p_changes_from_call_to_call` |
//! | `test_RNN_cpu_vs_cudnn_no_dropout`: biases, directions, `batch_first`, gaps in memory | tests/recurrent/tchs.rs; `inputs_may_have_gaps` |
//! | `test_RNN_cpu_vs_cudnn_with_dropout`: p = 1 | `with_p_1_the_second_layer_sees_zeros` |
//! | the same and `test_variable_sequence`: packed sequences | not here, and not in tch |
//! | `nn.RNNBase`: a warning for dropout with one layer, an error for a p outside [0, 1] | `one_layer_has_nothing_in_between`: silent, since all dropouts are there in any layer; `TrueDropout::elements` refuses the p |
//! | `test_rnn_initial_hidden_state` | `no_state_is_a_state_of_zeros` |
//! | `test_LSTM_cell`, `test_RNN_cell`: steps with and without biases, and back | `steps_one_by_one_are_the_sequence` |
//! | `test_rnn_args_check`, `test_cudnn_forward_exception` | `sizes_that_do_not_fit_are_errors` |
//! | `test_RNN_cell_forward_zero_hidden_size` | not here: a size of 0 is an error, as in `nn.GRU`; next row |
//! | ModuleInfo's errors: sizes and numbers of layers of 0 and -1, another kind | `sizes_that_do_not_fit_are_errors` |
//! | ModuleInfo's samples: no batch dimension | an error; same test |
//! | `test_error_RNN_seq_len_zero`, `test_RNN_input_size_zero`: no steps, no rows | `no_steps_are_an_error_and_no_rows_are_not` |
//! | `test_rnn_retain_variables` | `a_graph_that_is_kept_gives_the_same_gradients_twice` |
//! | `test_LSTM_grad_and_gradgrad`, `test_GRU_grad_and_gradgrad` | `gradients_are_those_of_finite_differences`, with each dropout |
//! | `test_rnn_check_device`, `test_cudnn_weight_format`, `.._weight_tying`, `test_partial_flat_weights`, `test_cudnn_rnn_dropout_states_device` | GPUs: tests/cuda.rs |
//! | `test_projections_*`: `proj_size`; `test_RNN_cudnn_weight_norm`, `test_RNN_nonlinearity` | none here |

mod common;

use common::{
    assert_binomial, assert_close, assert_same_bits, count_kept, device, elements, gradient, seeded,
};
use tch::nn::{self, RNNConfig};
use tch::{Kind, Tensor};
use tch_dropout::{
    Error, Gru, GruConfig, Lstm, LstmConfig, RecurrentDropout, RnnT, Stream, TrueDropout,
    WeightDrop, Zoneout, gru, lstm,
};

/// The tensors of a state: h, and in an LSTM c.
type State = Vec<Tensor>;

/// An LSTM or a GRU in f64, with its variables.
struct Layer {
    vs: nn::VarStore,
    cell: Cell,
}

enum Cell {
    Lstm(Lstm),
    Gru(Gru),
}

const CELLS: [&str; 2] = ["Lstm", "Gru"];

impl Layer {
    fn f_new(
        name: &str,
        sizes: [i64; 2],
        rnn: RNNConfig,
        dropout: RecurrentDropout,
    ) -> Result<Layer, Error> {
        let mut vs = nn::VarStore::new(device());
        let [inputs, hidden] = sizes;
        let cell = match name {
            "Lstm" => {
                let config = LstmConfig { rnn, dropout, ..Default::default() };
                Cell::Lstm(lstm(vs.root(), inputs, hidden, config)?)
            }
            _ => Cell::Gru(gru(vs.root(), inputs, hidden, GruConfig { rnn, dropout })?),
        };
        vs.double();
        Ok(Layer { vs, cell })
    }

    fn new(name: &str, sizes: [i64; 2], rnn: RNNConfig, dropout: RecurrentDropout) -> Layer {
        Layer::f_new(name, sizes, rnn, dropout).unwrap()
    }

    fn dropout(&self) -> &RecurrentDropout {
        match &self.cell {
            Cell::Lstm(layer) => &layer.dropout,
            Cell::Gru(layer) => &layer.dropout,
        }
    }

    /// A random state whose tensors have this size.
    fn state(&self, size: &[i64]) -> State {
        let tensors = if matches!(self.cell, Cell::Lstm(_)) { 2 } else { 1 };
        (0..tensors).map(|_| random(size)).collect()
    }

    fn f_from(&self, x: &Tensor, state: &[Tensor], train: bool) -> Result<(Tensor, State), Error> {
        let clone = |i: usize| state[i].shallow_clone();
        match &self.cell {
            Cell::Lstm(layer) => {
                let state = nn::LSTMState((clone(0), clone(1)));
                let (y, nn::LSTMState((h, c))) = layer.f_seq_init_t(x, &state, train)?;
                Ok((y, vec![h, c]))
            }
            Cell::Gru(layer) => {
                let (y, nn::GRUState(h)) = layer.f_seq_init_t(x, &nn::GRUState(clone(0)), train)?;
                Ok((y, vec![h]))
            }
        }
    }

    fn from(&self, x: &Tensor, state: &[Tensor], train: bool) -> (Tensor, State) {
        self.f_from(x, state, train).unwrap()
    }

    fn f_run(&self, x: &Tensor, train: bool) -> Result<(Tensor, State), Error> {
        match &self.cell {
            Cell::Lstm(layer) => {
                let (y, nn::LSTMState((h, c))) = layer.f_seq_t(x, train)?;
                Ok((y, vec![h, c]))
            }
            Cell::Gru(layer) => {
                let (y, nn::GRUState(h)) = layer.f_seq_t(x, train)?;
                Ok((y, vec![h]))
            }
        }
    }

    fn run(&self, x: &Tensor, train: bool) -> (Tensor, State) {
        self.f_run(x, train).unwrap()
    }

    fn step(&self, x: &Tensor, state: &[Tensor], train: bool) -> State {
        let clone = |i: usize| state[i].shallow_clone();
        match &self.cell {
            Cell::Lstm(layer) => {
                let state = nn::LSTMState((clone(0), clone(1)));
                let nn::LSTMState((h, c)) = layer.step_t(x, &state, train);
                vec![h, c]
            }
            Cell::Gru(layer) => vec![layer.step_t(x, &nn::GRUState(clone(0)), train).0],
        }
    }

    /// Fills a variable with these numbers, repeated.
    fn set(&self, name: &str, value: &Tensor) {
        let mut variable = self.vs.variables()[name].shallow_clone();
        tch::no_grad(|| variable.copy_(&value.expand_as(&variable)));
    }
}

fn between(dropout: TrueDropout) -> RecurrentDropout {
    RecurrentDropout { between: dropout, ..Default::default() }
}

fn layers(num_layers: i64) -> RNNConfig {
    RNNConfig { num_layers, ..Default::default() }
}

fn random(size: &[i64]) -> Tensor {
    Tensor::randn(size, (Kind::Double, device()))
}

/// Asserts that two runs have the same bits, or that outputs and states differ.
#[track_caller]
fn assert_same(a: &(Tensor, State), b: &(Tensor, State), same: bool) {
    if !same {
        assert_ne!(a.0, b.0);
        assert_ne!(a.1[0], b.1[0]);
        return;
    }
    assert_same_bits(&a.0, &b.0);
    a.1.iter().zip(&b.1).for_each(|(a, b)| assert_same_bits(a, b));
}

/// PyTorch's test has ReLU units whose weights are all 1, so that an output counts the units that were kept. Here
/// the gates are held open or shut and the recurrent weights are 0, which leaves tanh, and in an LSTM tanh of tanh.
#[test]
fn dropout_sits_between_the_layers() {
    let _generator = seeded();
    const UNITS: i64 = 1000;
    for name in CELLS {
        // The biases that hold the gates, and which rows are the candidate's.
        let (gates, candidate): (&[f64], &[f64]) = match name {
            "Lstm" => (&[50.0, -50.0, 0.0, 50.0], &[0.0, 0.0, 1.0, 0.0]),
            _ => (&[0.0, -50.0, 0.0], &[0.0, 0.0, 1.0]),
        };
        let inverse = |h: f64| if name == "Lstm" { h.atanh().atanh() } else { h.atanh() };
        let rows = |of_gates: &[f64]| {
            let each = Tensor::from_slice(of_gates).to_device(device());
            each.repeat_interleave_self_int(UNITS, 0, None)
        };
        for p in [0.0, 0.276, 0.731, 1.0] {
            let dropout = between(elements(p).with_seed(1));
            let layer = Layer::new(name, [10, UNITS], layers(2), dropout);
            for (index, weight) in [("l0", 0.05), ("l1", 0.001)] {
                layer.set(&format!("weight_ih_{index}"), &(rows(candidate) * weight).unsqueeze(1));
                layer.set(&format!("weight_hh_{index}"), &Tensor::from(0.0));
                layer.set(&format!("bias_ih_{index}"), &rows(gates));
            }
            let x = Tensor::ones([1, 1, 10], (Kind::Double, device()));
            for train in [true, false] {
                let (y, state) = layer.run(&x, train);
                let h = &state[0];
                for t in [&y, &h.get(0), &h.get(1)] {
                    let spread = (t.max() - t.min()).double_value(&[]);
                    assert!(spread < 1e-14, "{name}: {spread}");
                }
                assert_same_bits(&y.flatten(0, -1), &h.get(1).flatten(0, -1));
                // The first layer's own state is not dropped: 10 inputs of weight 0.05.
                let passed = h.double_value(&[0, 0, 0]);
                assert!((inverse(passed) - 0.5).abs() < 1e-12, "{name}: {passed}");
                let sum = inverse(y.double_value(&[0, 0, 0])) / 0.001 / passed;
                if p == 0.0 || !train {
                    assert!((sum - UNITS as f64).abs() < 1e-6, "{name}: {sum}");
                } else if p == 1.0 {
                    assert_eq!(sum, 0.0);
                } else {
                    let kept = sum * (1.0 - p);
                    assert!((kept - kept.round()).abs() < 1e-6, "{name}: {kept} are kept");
                    assert_binomial(kept.round(), UNITS as f64, 1.0 - p);
                }
            }
        }
    }
}

/// PyTorch's saved layer goes on with other numbers. Ours has a stream, which says where it was.
#[test]
fn calls_differ_in_training_only_and_so_does_a_saved_layer() {
    let _generator = seeded();
    for name in CELLS {
        for p in [0.0, 0.1234] {
            for seed in [None, Some(7)] {
                let dropout = || {
                    let layer = elements(p);
                    between(seed.into_iter().fold(layer, TrueDropout::with_seed))
                };
                let layer = Layer::new(name, [100, 100], layers(2), dropout());
                let (x, state) = (random(&[1, 1, 100]), layer.state(&[2, 1, 100]));
                for train in [true, false] {
                    let same = p == 0.0 || !train;
                    let step = layer.dropout().between.stream().map(Stream::step);
                    let (first, second) =
                        (layer.from(&x, &state, train), layer.from(&x, &state, train));
                    assert_same(&first, &second, same);

                    let mut file = Vec::new();
                    layer.vs.save_to_stream(&mut file).unwrap();
                    let mut loaded = Layer::new(name, [100, 100], layers(2), dropout());
                    loaded.vs.load_from_stream(std::io::Cursor::new(file)).unwrap();
                    if let Some(stream) = loaded.dropout().between.stream() {
                        stream.set_step(step.unwrap()).unwrap();
                    }
                    let third = loaded.from(&x, &state, train);
                    assert_same(&first, &third, same || seed.is_some());
                    assert_same(&second, &loaded.from(&x, &state, train), same || seed.is_some());
                }
            }
        }
    }
}

#[test]
fn p_changes_from_call_to_call() {
    let _generator = seeded();
    for name in CELLS {
        for train in [true, false] {
            let layer = Layer::new(name, [100, 100], layers(2), between(elements(0.0)));
            let x = random(&[2, 3, 100]);
            let mut previous: Option<(Tensor, State)> = None;
            for p in [0.0, 0.5, 0.0, 0.7, 0.2, 1.0, 0.2, 0.0] {
                layer.dropout().between.set_p(p).unwrap();
                let (first, second) = (layer.run(&x, train), layer.run(&x, train));
                assert_same(&first, &second, p == 0.0 || p == 1.0 || !train);
                if let Some(previous) = previous {
                    assert_same(&first, &previous, !train);
                }
                previous = Some(second);
            }
        }
    }
}

/// All forms of a layer, with some layers.
fn forms(num_layers: i64) -> impl Iterator<Item = RNNConfig> {
    (0..8).map(move |bits: i64| RNNConfig {
        num_layers,
        has_biases: bits & 1 == 0,
        bidirectional: bits & 2 == 0,
        batch_first: bits & 4 == 0,
        ..Default::default()
    })
}

fn directions(rnn: RNNConfig) -> i64 {
    if rnn.bidirectional { 2 } else { 1 }
}

/// PyTorch compares the CPU with a GPU at p = 1, as the draws differ otherwise. Here a layer of zeros is compared.
#[test]
fn with_p_1_the_second_layer_sees_zeros() {
    let _generator = seeded();
    for name in CELLS {
        for rnn in forms(2) {
            let width = directions(rnn);
            let both = Layer::new(name, [10, 6], rnn, between(elements(1.0)));
            let one = RNNConfig { num_layers: 1, ..rnn };
            let second = Layer::new(name, [6 * width, 6], one, Default::default());
            for (variable, value) in second.vs.variables() {
                let of_second = variable.replace("_l0", "_l1");
                tch::no_grad(|| value.shallow_clone().copy_(&both.vs.variables()[&of_second]));
            }
            let x = random(&[7, 4, 10]);
            let state = both.state(&[2 * width, if rnn.batch_first { 7 } else { 4 }, 6]);
            let of_second: State = state.iter().map(|t| t.narrow(0, width, width)).collect();
            let zeros = Tensor::zeros([7, 4, 6 * width], (Kind::Double, device()));
            let (y, last) = both.from(&x, &state, true);
            let (expected, expected_last) = second.from(&zeros, &of_second, true);
            assert_close(&y, &expected, 1e-15);
            assert_close(&last[0].narrow(0, width, width), &expected_last[0], 1e-15);
            assert_ne!(both.from(&x, &state, false).0, y);
        }
    }
}

#[test]
fn inputs_may_have_gaps() {
    let _generator = seeded();
    let with_gaps = |t: &Tensor| Tensor::stack(&[&t.zeros_like(), t], t.dim() as i64).select(-1, 1);
    for name in CELLS {
        for rnn in forms(2) {
            let dropout = || between(elements(0.5).with_seed(7));
            let layer = Layer::new(name, [10, 6], rnn, dropout());
            let x = random(&[7, 4, 10]);
            let rows = if rnn.batch_first { 7 } else { 4 };
            let state = layer.state(&[2 * directions(rnn), rows, 6]);
            let gaps: State = state.iter().map(with_gaps).collect();
            assert!(!with_gaps(&x).is_contiguous());
            let run = |x: &Tensor, state: &[Tensor]| {
                layer.dropout().between.stream().unwrap().set_step(0).unwrap();
                layer.from(x, state, true)
            };
            assert_same(&run(&x, &state), &run(&with_gaps(&x), &gaps), true);
        }
    }
}

#[test]
fn one_layer_has_nothing_in_between() {
    let _generator = seeded();
    for name in CELLS {
        let x = random(&[2, 3, 10]);
        let layer = Layer::new(name, [10, 6], layers(1), between(elements(0.9).with_seed(7)));
        assert_same(&layer.run(&x, true), &layer.run(&x, false), true);
        assert_eq!(layer.dropout().between.stream().map(Stream::step), Some(0));
    }
    for p in [-0.1, 1.1, f64::NAN] {
        assert!(matches!(TrueDropout::elements(p), Err(Error::Probability(_))));
    }
}

#[test]
fn no_state_is_a_state_of_zeros() {
    let _generator = seeded();
    for name in CELLS {
        for rnn in forms(2) {
            let layer = Layer::new(name, [30, 20], rnn, between(elements(0.5).with_seed(7)));
            let x = random(&[10, 32, 30]);
            let rows = if rnn.batch_first { 10 } else { 32 };
            let state = layer.state(&[2 * directions(rnn), rows, 20]);
            let zeros: State = state.iter().map(Tensor::zeros_like).collect();
            for train in [true, false] {
                let restart = || layer.dropout().between.stream().unwrap().set_step(0).unwrap();
                restart();
                let with_zeros = layer.from(&x, &zeros, train);
                restart();
                assert_same(&layer.run(&x, train), &with_zeros, true);
            }
        }
    }
}

/// With each dropout that a single layer has; those that are drawn for a sequence have the same mask in its steps.
#[test]
fn steps_one_by_one_are_the_sequence() {
    let _generator = seeded();
    for name in CELLS {
        for has_biases in [true, false] {
            let rnn = RNNConfig { has_biases, ..Default::default() };
            let zoneout = Zoneout::new(0.5).unwrap().with_seed(1);
            let dropout = RecurrentDropout {
                weights: WeightDrop::new(0.5).unwrap().with_seed(2),
                state: elements(0.5).with_seed(3),
                zoneout,
                ..Default::default()
            };
            let layer = Layer::new(name, [10, 20], rnn, dropout);
            let x = random(&[3, 6, 10]);
            let initial = layer.state(&[1, 3, 20]);
            let RecurrentDropout { weights, state: of_state, zoneout, .. } = layer.dropout();
            for train in [true, false] {
                let mut state: State = initial.iter().map(Tensor::shallow_clone).collect();
                for t in 0..6 {
                    // A sequence draws these once.
                    weights.stream().unwrap().set_step(0).unwrap();
                    of_state.stream().unwrap().set_step(0).unwrap();
                    state = layer.step(&x.select(1, t), &state, train);
                }
                let loss = state.iter().map(|t| t.sum(Kind::Double)).reduce(|a, b| a + b).unwrap();
                let recurrent = &layer.vs.variables()["weight_hh_l0"];
                assert!(count_kept(&gradient(&loss, recurrent)) > 0.0);

                weights.stream().unwrap().set_step(0).unwrap();
                of_state.stream().unwrap().set_step(0).unwrap();
                zoneout.stream().unwrap().set_step(0).unwrap();
                let (_, last) = layer.from(&x, &initial, train);
                last.iter().zip(&state).for_each(|(a, b)| assert_close(a, b, 1e-14));
            }
        }
    }
}

/// With every dropout, none of which takes a step.
#[test]
fn sizes_that_do_not_fit_are_errors() {
    let _generator = seeded();
    let (inputs, hidden, rows, steps, bad) = (3, 5, 4, 6, 7);
    for name in CELLS {
        let rnn = RNNConfig { batch_first: false, ..layers(2) };
        let layer = Layer::new(name, [inputs, hidden], rnn, all(0.5));
        let (x, state) = (random(&[steps, rows, inputs]), layer.state(&[2, rows, hidden]));
        let fails = |x: &Tensor, state: &[Tensor]| {
            for train in [true, false] {
                let error = layer.f_from(x, state, train).unwrap_err();
                assert!(matches!(error, Error::Recurrent { .. }), "{error}");
            }
        };
        for size in [[steps, bad, inputs], [steps, rows, bad]] {
            fails(&random(&size), &state);
        }
        for size in [[2, bad, hidden], [2, rows, bad], [bad, rows, hidden]] {
            for wrong in 0..state.len() {
                let mut state: State = state.iter().map(Tensor::shallow_clone).collect();
                state[wrong] = random(&size);
                fails(&x, &state);
            }
        }
        fails(&x.select(1, 0), &state);
        assert!(layer.f_from(&x.to_kind(Kind::Float), &state, true).is_err());
        assert!(layer.f_run(&x.to_kind(Kind::Half), true).is_err());
        let RecurrentDropout { between, weights, state, zoneout } = layer.dropout();
        let streams = [between.stream(), weights.stream(), state.stream(), zoneout.stream()];
        assert_eq!(streams.map(|stream| stream.map(Stream::step)), [Some(0); 4]);

        for (sizes, num_layers) in [([10, 0], 1), ([10, 10], 0), ([0, 5], 1), ([-1, 5], 1)] {
            let made = Layer::f_new(name, sizes, layers(num_layers), Default::default());
            assert!(matches!(made.err(), Some(Error::Recurrent { .. })));
        }
    }
}

/// Every dropout with this p and a stream of its own.
fn all(p: f64) -> RecurrentDropout {
    RecurrentDropout {
        between: elements(p).with_seed(1),
        weights: WeightDrop::new(p).unwrap().with_seed(2),
        state: elements(p).with_seed(3),
        zoneout: Zoneout::new(p).unwrap().with_seed(4),
    }
}

fn restart(dropout: &RecurrentDropout) {
    let RecurrentDropout { between, weights, state, zoneout } = dropout;
    for stream in [between.stream(), weights.stream(), state.stream(), zoneout.stream()] {
        stream.into_iter().for_each(|stream| stream.set_step(0).unwrap());
    }
}

#[test]
fn no_steps_are_an_error_and_no_rows_are_not() {
    let _generator = seeded();
    for name in CELLS {
        for bidirectional in [true, false] {
            for dropout in [RecurrentDropout::default(), all(0.5)] {
                let rnn = RNNConfig { batch_first: false, bidirectional, ..layers(2) };
                let layer = Layer::new(name, [3, 4], rnn, dropout);
                let error = layer.f_run(&random(&[0, 10, 3]), true).unwrap_err();
                let text = "x must be of shape [T, N, 3] with T >= 1, got [0, 10, 3]";
                assert_eq!(error.to_string(), text);

                let (y, _) = layer.run(&random(&[5, 0, 3]), true);
                assert_eq!(y.size(), [5, 0, 4 * directions(rnn)]);
                y.sum(Kind::Double).backward();
            }
        }
    }
}

/// Masks that are drawn again in the backward pass are the same each time.
#[test]
fn a_graph_that_is_kept_gives_the_same_gradients_twice() {
    let _generator = seeded();
    for name in CELLS {
        for dropout in [between(elements(0.5)), all(0.5)] {
            let layer = Layer::new(name, [10, 20], layers(2), dropout);
            let x = random(&[5, 6, 10]).set_requires_grad(true);
            let loss = layer.run(&x, true).0.sum(Kind::Double);
            let variables = layer.vs.trainable_variables();
            let leaves: Vec<_> = std::iter::once(&x).chain(&variables).collect();
            let gradients = || Tensor::run_backward(&[&loss], &leaves, true, false);
            gradients().iter().zip(&gradients()).for_each(|(a, b)| assert_same_bits(a, b));
        }
    }
}

/// A directional derivative of the input, the state and all variables together, for each dropout by itself and all
/// together.
#[test]
fn gradients_are_those_of_finite_differences() {
    let _generator = seeded();
    const STEP: f64 = 1e-5;
    let single = |p: [f64; 4]| {
        let dropout = all(0.0);
        dropout.between.set_p(p[0]).unwrap();
        dropout.weights.set_p(p[1]).unwrap();
        dropout.state.set_p(p[2]).unwrap();
        dropout.zoneout.set_p(p[3]).unwrap();
        dropout
    };
    for name in CELLS {
        for which in 0..6 {
            // None, one after the other, and all.
            let p = std::array::from_fn(|i| if which == i + 1 || which == 5 { 0.4 } else { 0.0 });
            let rnn = RNNConfig { bidirectional: true, ..layers(2) };
            let layer = Layer::new(name, [3, 5], rnn, single(p));
            let (x, state) = (random(&[2, 4, 3]), layer.state(&[4, 2, 5]));
            let weight = random(&[2, 4, 10]);
            let variables = layer.vs.trainable_variables();
            let loss = |x: &Tensor, state: &[Tensor]| {
                restart(layer.dropout());
                let (y, last) = layer.from(x, state, true);
                last.iter()
                    .fold((y * &weight).sum(Kind::Double), |sum, t| sum + t.sum(Kind::Double))
            };
            let x = x.set_requires_grad(true);
            let state: State = state.into_iter().map(|t| t.set_requires_grad(true)).collect();
            let leaves: Vec<&Tensor> =
                std::iter::once(&x).chain(&state).chain(&variables).collect();
            let gradients = Tensor::run_backward(&[loss(&x, &state)], &leaves, false, false);
            let ways: Vec<Tensor> = leaves.iter().map(|t| t.randn_like()).collect();
            let expected = gradients
                .iter()
                .zip(&ways)
                .map(|(g, way)| (g * way).sum(Kind::Double).double_value(&[]))
                .sum::<f64>();
            let walked = |by: f64| {
                let walk = |by: f64| {
                    for (leaf, way) in leaves.iter().zip(&ways) {
                        let _ = leaf.detach().g_add_(&(way * by));
                    }
                };
                walk(by);
                let found = loss(&x, &state).double_value(&[]);
                walk(-by);
                found
            };
            let difference = (walked(STEP) - walked(-STEP)) / (2.0 * STEP);
            let error = (difference - expected).abs() / expected.abs().max(1.0);
            assert!(error < 1e-7, "{name}, {p:?}: {difference}, and the gradient says {expected}");
        }
    }
}
