//! Runs a segment, and again in the backward pass.

use std::sync::{Mutex, PoisonError};

use tch::{Kind, Tensor};

use super::replay::{self, Draws};
use crate::autograd::leaves::{Leaves, Moment};
use crate::autograd::setting::{self, Setting};
use crate::autograd::{with_gradient, with_inputs};
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
    let versions = versions(inputs)?;
    let mut setting = Setting::now(&inputs)?;
    let cut = cut_off(inputs)?;
    let start = Moment::now();
    let (y, draws) = replay::record(|| function(as_array(&cut)));
    let y = y?;
    if !y.requires_grad() {
        return Ok(y);
    }
    if self::versions(inputs)? != versions {
        return Err(CheckpointError::ModifiesInput.into());
    }
    setting.forget_unused()?;
    let leaves = Leaves::of(&y, &as_array::<N>(&cut), &start)?;
    let segment =
        Segment { function, leaves: leaves.ids(), draws, setting, kind: y.kind(), size: y.size() };
    // Without its graph, so that this is freed.
    let y = y.f_detach()?;
    let all: Vec<&Tensor> = inputs.into_iter().chain(leaves.tensors()).collect();
    let segment = Mutex::new(segment);
    with_inputs(&all, y, move |of_y, all, needed| {
        segment.lock().unwrap_or_else(PoisonError::into_inner).gradients(of_y, all, needed)
    })
}

/// What it takes to run a segment again, besides its inputs.
struct Segment<const N: usize, F> {
    function: F,
    /// The parameters that it uses.
    leaves: Vec<usize>,
    draws: Draws,
    setting: Setting,
    /// Those of its output.
    kind: Kind,
    size: Vec<i64>,
}

impl<const N: usize, F> Segment<N, F>
where
    F: Fn([&Tensor; N]) -> Result<Tensor>,
{
    /// The gradients of the inputs and the leaves, given that of the output.
    fn gradients(
        &self,
        of_y: &Tensor,
        all: &[Tensor],
        needed: &[bool],
    ) -> Result<Vec<Option<Tensor>>> {
        if setting::is_recorded() {
            return Err(CheckpointError::SecondDerivative.into());
        }
        let (inputs, leaves) = all.split_at(N);
        let inputs = cut_off(inputs)?;
        // Without `y`, which its graph need not keep.
        let root = with_gradient(self.run_again(&inputs)?, of_y)?;
        let all = inputs.iter().chain(leaves).zip(needed);
        let wanted: Vec<&Tensor> = all.filter_map(|(x, &needed)| needed.then_some(x)).collect();
        let mut found = Tensor::f_run_backward(&[root], &wanted, false, false)?.into_iter();
        Ok(needed.iter().map(|&needed| if needed { found.next() } else { None }).collect())
    }

    /// The output again, with its graph.
    fn run_again(&self, inputs: &[Tensor]) -> Result<Tensor> {
        let inputs = as_array(inputs);
        let start = Moment::now();
        let function = || tch::with_grad(|| (self.function)(inputs));
        let (y, is_complete) = self.setting.run(|| replay::replay(self.draws.clone(), function))?;
        let y = y?;
        let changed = if !is_complete {
            "it drew fewer masks"
        } else if y.kind() != self.kind || y.size() != self.size {
            "its output had another kind or shape"
        } else if Leaves::of(&y, &inputs, &start)?.ids() != self.leaves {
            "it used other parameters"
        } else {
            return Ok(y);
        };
        Err(CheckpointError::Changed(changed).into())
    }
}

/// Leaves that share the tensors' memory.
fn cut_off<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Result<Vec<Tensor>> {
    let cut = |x: &Tensor| Ok(x.f_detach()?.f_set_requires_grad(x.requires_grad())?);
    tensors.into_iter().map(cut).collect()
}

/// How often each tensor has been written to.
fn versions<'a>(tensors: impl IntoIterator<Item = &'a Tensor>) -> Result<Vec<i64>> {
    tensors.into_iter().map(|tensor| Ok(tensor.f_internal_version()?)).collect()
}

fn as_array<const N: usize>(tensors: &[Tensor]) -> [&Tensor; N] {
    std::array::from_fn(|i| &tensors[i])
}
