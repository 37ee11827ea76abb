//! Without dropout, the layers are tch's.

use tch::nn::{self, RNN, RNNConfig};
use tch::{Kind, Tensor};
use tch_dropout::{GruConfig, LstmConfig, RnnT, gru, lstm};

use crate::common::{assert_close, assert_same_bits, device, float};
use crate::layers::{
    CELLS, Cell, Dropouts, HIDDEN, IN, Run, all, configurations, fill, of_state, ours, state,
    theirs, zoneout,
};

fn input(rnn: RNNConfig, kind: Kind) -> Tensor {
    let x = Tensor::randn([3, 7, IN], (kind, device()));
    if rnn.batch_first { x } else { x.transpose(0, 1).contiguous() }
}

/// Two variable stores with a layer of each sort and the same values.
fn pair(cell: Cell, rnn: RNNConfig, dropouts: &Dropouts, kind: Kind) -> [Layer; 2] {
    let mut stores = [nn::VarStore::new(device()), nn::VarStore::new(device())];
    let ours = ours(cell, &stores[0].root(), rnn, dropouts);
    let theirs = theirs(cell, &stores[1].root(), rnn);
    fill(&stores[0]);
    let [from, to] = &mut stores;
    to.copy(from).unwrap();
    stores.iter_mut().for_each(|vs| vs.set_kind(kind));
    let [vs_of_ours, vs_of_theirs] = stores;
    let theirs = move |x: &Tensor, state: &[Tensor], _train: bool| theirs(x, state);
    [(vs_of_ours, Box::new(ours)), (vs_of_theirs, Box::new(theirs))]
}

type Layer = (nn::VarStore, Box<dyn Fn(&Tensor, &[Tensor], bool) -> Run>);

/// The outputs, the state, and the gradients of the input, the initial state and all variables by name.
fn everything(layer: &Layer, x: &Tensor, state: &[Tensor], train: bool) -> Vec<Tensor> {
    let (vs, run) = layer;
    let x = x.detach().set_requires_grad(true);
    let state: Vec<_> = state.iter().map(|t| t.detach().set_requires_grad(true)).collect();
    let (y, last) = run(&x, &state, train);
    // Weighted, so that a mix-up of elements changes the gradients.
    let weighted = |t: &Tensor| {
        let weights = Tensor::arange(t.numel() as i64, (t.kind(), t.device())) * 0.01;
        (t * weights.sin().reshape(t.size())).sum(t.kind())
    };
    let loss = last.iter().fold(weighted(&y), |loss, t| loss + weighted(t));
    let mut variables: Vec<_> = vs.variables().into_iter().collect();
    variables.sort_by(|(a, _), (b, _)| a.cmp(b));
    let variables = variables.into_iter().map(|(_, variable)| variable);
    let leaves: Vec<_> = std::iter::once(x).chain(state).chain(variables).collect();
    let gradients = Tensor::run_backward(&[loss], &leaves, false, false);
    std::iter::once(y).chain(last).chain(gradients).collect()
}

/// Asserts that tensors are no further apart than this, as a share of the largest element if that is above 1.
#[track_caller]
fn assert_close_for_its_size(actual: &Tensor, expected: &Tensor, share: f64) {
    let largest = expected.abs().max().double_value(&[]);
    assert_close(actual, expected, share * largest.max(1.0));
}

/// On a GPU with the same values but for the order of sums, which cuDNN does not promise.
#[test]
fn without_dropout_outputs_and_gradients_have_the_same_bits() {
    for (cell, rnn) in configurations() {
        for kind in [Kind::Float, Kind::Double] {
            let [ours, theirs] = pair(cell, rnn, &Dropouts::default(), kind);
            let (x, state) = (input(rnn, kind), state(cell, rnn, 3, kind));
            let expected = everything(&theirs, &x, &state, true);
            for train in [true, false] {
                let actual = everything(&ours, &x, &state, train);
                assert_eq!(actual.len(), expected.len());
                for (actual, expected) in actual.iter().zip(&expected) {
                    match kind {
                        _ if !device().is_cuda() => assert_same_bits(actual, expected),
                        Kind::Float => assert_close_for_its_size(actual, expected, 1e-5),
                        _ => assert_close_for_its_size(actual, expected, 1e-13),
                    }
                    assert_eq!(actual.stride(), expected.stride());
                }
            }
        }
    }
}

/// Dropped next to never, so the loop over time steps computes what libtorch's operation does, in training
/// and, for zoneout, in evaluation. On a GPU, cuDNN rounds the factors of single precision to 11 bits (TF32), as half
/// precision does; a CPU's loop in half precision is 0.0034 off.
#[test]
fn the_loop_over_time_steps_computes_what_libtorch_does() {
    const P: f64 = 1e-300;
    for (cell, rnn) in configurations() {
        let in_single = if device().is_cuda() { 2f64.powi(-8) } else { 1e-5 };
        for (kind, tolerance) in [(Kind::Float, in_single), (Kind::Double, 1e-13)] {
            for (dropouts, train) in
                [(zoneout(P), true), (zoneout(P), false), (of_state(P), true), (all(P), true)]
            {
                let [ours, theirs] = pair(cell, rnn, &dropouts, kind);
                let (x, state) = (input(rnn, kind), state(cell, rnn, 3, kind));
                let expected = everything(&theirs, &x, &state, true);
                let actual = everything(&ours, &x, &state, train);
                assert_eq!(actual.len(), expected.len());
                for (actual, expected) in actual.iter().zip(&expected) {
                    assert_eq!(actual.kind(), kind);
                    assert_close_for_its_size(actual, expected, tolerance);
                }
                assert_eq!(actual[0].stride()[2], 1);
            }
        }
    }
}

#[test]
fn a_var_store_goes_both_ways() {
    for (cell, rnn) in configurations() {
        for from_ours in [true, false] {
            let file = tempfile::NamedTempFile::with_suffix(".safetensors").unwrap();
            let mut stores = [nn::VarStore::new(device()), nn::VarStore::new(device())];
            let ours = ours(cell, &stores[0].root(), rnn, &Dropouts::default());
            let theirs = theirs(cell, &stores[1].root(), rnn);
            let (from, to) = if from_ours { (0, 1) } else { (1, 0) };
            fill(&stores[from]);
            stores[from].save(file.path()).unwrap();
            stores[to].load(file.path()).unwrap();
            let (x, state) = (input(rnn, Kind::Float), state(cell, rnn, 3, Kind::Float));
            let (ours, theirs) = (ours(&x, &state, false).0, theirs(&x, &state).0);
            if device().is_cuda() {
                assert_close(&ours, &theirs, 1e-5);
            } else {
                assert_same_bits(&ours, &theirs);
            }
        }
    }
}

#[test]
fn a_sequence_begins_with_zeros_and_steps_go_through_it() {
    let vs = nn::VarStore::new(device());
    for batch_first in [true, false] {
        let rnn = RNNConfig { num_layers: 2, batch_first, ..Default::default() };
        let name = batch_first.to_string();
        let (lstm_path, gru_path) = (vs.root() / "lstm" / &name, vs.root() / "gru" / &name);
        let config = LstmConfig { rnn, ..Default::default() };
        let lstm = lstm(&lstm_path, IN, HIDDEN, config).unwrap();
        let gru = gru(&gru_path, IN, HIDDEN, GruConfig { rnn, ..Default::default() }).unwrap();
        fill(&vs);
        let x = input(rnn, Kind::Float);
        let time = if batch_first { 1 } else { 0 };

        let (y, last) = lstm.seq_t(&x, true);
        let mut state = lstm.zero_state(3);
        assert_eq!((state.h().size(), state.h().abs().sum(Kind::Float)), (vec![2, 3, 6], 0.into()));
        assert_same_bits(&lstm.seq_init_t(&x, &state, true).0, &y);
        for t in 0..7 {
            state = lstm.step_t(&x.select(time, t), &state, true);
            assert_close(&state.h().get(1), &y.select(time, t), 1e-6);
        }
        assert_close(&state.c(), &last.c(), 1e-6);

        let (y, last) = gru.seq_t(&x, true);
        let mut state = gru.zero_state(3);
        assert_same_bits(&gru.seq_init_t(&x, &state, true).0, &y);
        for t in 0..7 {
            state = gru.step_t(&x.select(time, t), &state, true);
            assert_close(&state.value().get(1), &y.select(time, t), 1e-6);
        }
        assert_close(&state.value(), &last.value(), 1e-6);
    }
}

/// tch's `train` is fixed when the layer is made. Ours does not look at it.
#[test]
fn train_comes_with_each_call() {
    for train in [true, false] {
        let vs = nn::VarStore::new(device());
        let rnn = RNNConfig { train, ..Default::default() };
        let layer = ours(Cell::Lstm, &vs.root(), rnn, &all(0.5));
        let (x, state) = (input(rnn, Kind::Float), state(Cell::Lstm, rnn, 3, Kind::Float));
        assert_ne!(layer(&x, &state, true).0, layer(&x, &state, true).0);
        assert_eq!(layer(&x, &state, false).0, layer(&x, &state, false).0);
    }
}

#[test]
fn zero_states_follow_the_weights_kind() {
    let mut vs = nn::VarStore::new(device());
    let ours = gru(vs.root(), IN, HIDDEN, Default::default()).unwrap();
    let theirs = nn::gru(vs.root() / "tch", IN, HIDDEN, Default::default());
    vs.double();
    assert_eq!(ours.zero_state(2).value(), theirs.zero_state(2).value());
    assert_eq!(ours.zero_state(2).value().kind(), Kind::Double);
    assert!(ours.f_zero_state(-1).is_err());
}

#[test]
fn half_precision_runs_with_all_dropouts() {
    for cell in CELLS {
        for kind in [Kind::BFloat16, Kind::Half] {
            let mut vs = nn::VarStore::new(device());
            let rnn = RNNConfig { num_layers: 2, bidirectional: true, ..Default::default() };
            let layer = ours(cell, &vs.root(), rnn, &all(0.3));
            vs.set_kind(kind);
            let x = Tensor::randn([3, 7, IN], float()).to_kind(kind);
            for train in [true, false] {
                let (y, last) = layer(&x, &state(cell, rnn, 3, kind), train);
                assert_eq!((y.kind(), last[0].kind()), (kind, kind));
                assert!(bool::try_from(y.isfinite().all()).unwrap());
            }
        }
    }
}
