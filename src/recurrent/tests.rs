//! What a stack makes of its cells, and hands over to libtorch.

use tch::{Device, Kind, Tensor, nn};

use super::call::Call;
use super::cell::Cell;
use super::dropout::RecurrentDropout;
use super::gru::Gru;
use super::lstm::Lstm;
use super::stack::Stack;
use super::weights::{Flat, Weights};
use crate::error::Result;

fn random(size: &[i64]) -> Tensor {
    Tensor::randn(size, (Kind::Double, Device::Cpu))
}

fn check_fused_step<C: Cell<S>, const S: usize>() {
    for biases in [true, false] {
        let bias = || random(&[C::GATES * 6]);
        let weights = Weights {
            ih: random(&[C::GATES * 6, 4]),
            hh: random(&[C::GATES * 6, 6]),
            biases: biases.then(|| (bias(), bias())),
        };
        let (x, state) = (random(&[3, 4]), std::array::from_fn(|_| random(&[3, 6])));
        let from_input = weights.input_gates(&x).unwrap();
        let from_state = weights.state_gates(&state[0]).unwrap();
        let expected = C::step(&from_input, &from_state, &state).unwrap();
        let fused = C::fused_step(&x, &state, &weights).unwrap();
        for (fused, expected) in fused.iter().zip(&expected) {
            assert!(fused.allclose(expected, 0.0, 1e-14, false), "{fused}\n{expected}");
        }
    }
}

#[test]
fn libtorchs_step_is_ours() {
    check_fused_step::<Lstm, 2>();
    check_fused_step::<Gru, 1>();
}

/// A cell that looks at what it gets in cuDNN's place.
struct Probe(RecurrentDropout);

impl Cell<1> for Probe {
    const GATES: i64 = 1;
    const CUDNN_MODE: i64 = 0;

    fn dropout(&self) -> &RecurrentDropout {
        &self.0
    }

    fn is_zoned(&self) -> Result<bool> {
        Ok(false)
    }

    fn layer(x: &Tensor, [h]: &[Tensor; 1], _: &Flat) -> Result<(Tensor, [Tensor; 1])> {
        assert!(h.is_contiguous());
        Ok((x.shallow_clone(), [h.shallow_clone()]))
    }

    fn packed_layer(
        x: &Tensor,
        _: &Tensor,
        state: &[Tensor; 1],
        weights: &Flat,
    ) -> Result<(Tensor, [Tensor; 1])> {
        Probe::layer(x, state, weights)
    }

    fn step(_: &Tensor, _: &Tensor, _: &[Tensor; 1]) -> Result<[Tensor; 1]> {
        unreachable!()
    }

    fn fused_step(_: &Tensor, _: &[Tensor; 1], _: &Weights) -> Result<[Tensor; 1]> {
        unreachable!()
    }

    fn zoned(&self, _: &[Tensor; 1], _: [Tensor; 1], _: bool) -> Result<[Tensor; 1]> {
        unreachable!()
    }
}

#[test]
fn libtorchs_operation_gets_a_state_without_gaps() {
    let vs = nn::VarStore::new(Device::Cpu);
    for bidirectional in [false, true] {
        let config = nn::RNNConfig { num_layers: 2, bidirectional, ..Default::default() };
        let path = vs.root() / bidirectional.to_string();
        let stack = Stack::new::<Probe, 1>(&path, 3, 3, &config).unwrap();
        let random = |size: &[i64]| random(size).to_kind(Kind::Float);
        let depth = if bidirectional { 4 } else { 2 };
        let state = random(&[depth, 3, 5]).transpose(1, 2);
        assert!(!state.is_contiguous());
        let cell = Probe(RecurrentDropout::default());
        for lengths in [None, Some(&[2, 1, 2, 2, 1][..])] {
            let call = Call { lengths, ..Call::new(true) };
            let run = stack.run(&cell, &random(&[5, 2, 3]), &[state.shallow_clone()], call);
            assert_eq!(run.unwrap().1[0], state);
        }
    }
}
