//! Runs a segment, and again in the backward pass.

use std::sync::{Mutex, PoisonError};

use tch::{Kind, Tensor};

use super::replay::{self, Draws};
use crate::autograd::leaves::{Leaves, Moment};
use crate::autograd::setting::{self, Setting};
use crate::autograd::{with_backward, with_gradients};
use crate::error::{CheckpointError, Result};
use crate::trace;

/// The segment's output, in a graph that keeps the inputs, and nothing that was computed from them.
///
/// The first run records a graph too, to learn which parameters the segment uses. They become inputs of the node
/// that replaces this graph.
pub(super) fn run<const N: usize, F>(function: F, inputs: [&Tensor; N]) -> Result<Tensor>
where
    F: Fn([&Tensor; N]) -> Result<Tensor> + Send + 'static,
{
    if trace::is_tracing() {
        return function(inputs);
    }
    let mut versions = versions(inputs)?;
    let mut setting = Setting::now(&inputs)?;
    let cut_off = |x: &Tensor| Ok(x.f_detach()?.f_set_requires_grad(x.requires_grad())?);
    let cut = inputs.iter().map(|x| cut_off(x)).collect::<Result<Vec<_>>>()?;

    let start = Moment::now();
    let (y, draws) = replay::record(|| function(as_array(&cut)));
    let y = y?;
    if !y.requires_grad() {
        return Ok(y);
    }
    setting.forget_unused()?;
    let leaves = Leaves::of(&y, &as_array::<N>(&cut), &start)?;
    versions.extend(self::versions(leaves.tensors())?);
    let (kind, size) = (y.kind(), y.size());
    // Without its graph, so that this is freed.
    let y = y.f_detach()?;

    let of: Vec<Tensor> =
        inputs.into_iter().chain(leaves.tensors()).map(Tensor::shallow_clone).collect();
    let segment = Segment { function, inputs: cut, leaves, versions, draws, setting, kind, size };
    let segment = Mutex::new(segment);
    with_gradients(&of.iter().collect::<Vec<_>>(), y, move |gradient, needed| {
        segment.lock().unwrap_or_else(PoisonError::into_inner).gradients(gradient, needed)
    })
}

/// What it takes to run a segment again.
struct Segment<const N: usize, F> {
    function: F,
    /// Leaves that share the inputs' memory.
    inputs: Vec<Tensor>,
    /// The parameters that the segment uses.
    leaves: Leaves,
    /// How often the inputs and the leaves had been written to.
    versions: Vec<i64>,
    draws: Draws,
    setting: Setting,
    /// Those of the output.
    kind: Kind,
    size: Vec<i64>,
}

impl<const N: usize, F> Segment<N, F>
where
    F: Fn([&Tensor; N]) -> Result<Tensor>,
{
    /// The gradients of the inputs and the leaves, given that of the output.
    fn gradients(&self, of_y: &Tensor, needed: &[bool]) -> Result<Vec<Option<Tensor>>> {
        if setting::is_recorded() {
            return Err(CheckpointError::SecondDerivative.into());
        }
        // Without `y`, which the graph need not keep.
        let root = with_gradient(self.run_again()?, of_y)?;
        let all = self.tensors().zip(needed);
        let wanted: Vec<&Tensor> = all.filter_map(|(x, &needed)| needed.then_some(x)).collect();
        let mut found = Tensor::f_run_backward(&[root], &wanted, false, false)?.into_iter();
        Ok(needed.iter().map(|&needed| if needed { found.next() } else { None }).collect())
    }

    /// The output again, with its graph.
    fn run_again(&self) -> Result<Tensor> {
        if versions(self.tensors())? != self.versions {
            return Err(CheckpointError::Modified.into());
        }
        let inputs = as_array(&self.inputs);
        let start = Moment::now();
        let function = || tch::with_grad(|| (self.function)(inputs));
        let (y, is_complete) = self.setting.run(|| replay::replay(self.draws.clone(), function))?;
        let y = y?;
        if !is_complete {
            return Err(CheckpointError::Changed("it drew fewer masks").into());
        }
        if (y.kind(), y.size()) != (self.kind, self.size.clone()) {
            return Err(CheckpointError::Changed("its output had another kind or shape").into());
        }
        if !Leaves::of(&y, &inputs, &start)?.are(&self.leaves) {
            return Err(CheckpointError::Changed("it used other parameters").into());
        }
        Ok(y)
    }

    fn tensors(&self) -> impl Iterator<Item = &Tensor> {
        self.inputs.iter().chain(self.leaves.tensors())
    }
}

/// A scalar to begin a backward pass with, in which `y` has this gradient.
fn with_gradient(y: Tensor, gradient: &Tensor) -> Result<Tensor> {
    let scalar = Tensor::f_zeros([], (y.kind(), y.device()))?;
    let gradient = Mutex::new(gradient.shallow_clone());
    tch::with_grad(|| {
        with_backward([&y], scalar, move |_, _| {
            Ok(gradient.lock().unwrap_or_else(PoisonError::into_inner).shallow_clone())
        })
    })
}

/// How often each tensor has been written to.
fn versions<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Result<Vec<i64>> {
    tensors.into_iter().map(|tensor| Ok(tensor.f_internal_version()?)).collect()
}

fn as_array<const N: usize>(tensors: &[Tensor]) -> [&Tensor; N] {
    std::array::from_fn(|i| &tensors[i])
}
