//! Checkpoints of functions with several outputs.

use std::sync::{Arc, OnceLock};

use tch::{Kind, Tensor};

use super::function::f_checkpoint_many;
use crate::error::{CheckpointError, Error, Result, or_panic};

/// [`checkpoint_many`](crate::checkpoint_many) of a segment with several outputs, such as a recurrent layer's outputs and
/// state. (PyTorch issue 52415.)
///
/// ```
/// use tch::{Device, Kind, Tensor};
/// use tch_dropout::checkpoint_outputs;
///
/// let x = Tensor::randn([16, 8], (Kind::Float, Device::Cpu)).set_requires_grad(true);
/// let [mean, deviation] = checkpoint_outputs(|[x]| [x.tanh(), x.exp()], [&x]);
/// (mean + deviation).sum(None).backward();
/// assert!(x.grad().defined());
/// ```
///
/// The outputs lie in one tensor, into which they are copied. They may have different shapes and floating-point kinds. If
/// one needs a gradient, all do; what one that the segment has detached gets, goes nowhere.
///
/// # Panics
///
/// Where [`f_checkpoint_outputs`] returns an error.
#[track_caller]
pub fn checkpoint_outputs<const N: usize, const M: usize, F>(
    segment: F,
    inputs: [&Tensor; N],
) -> [Tensor; M]
where
    F: Fn([&Tensor; N]) -> [Tensor; M] + Send + 'static,
{
    or_panic(f_checkpoint_outputs(move |inputs| Ok(segment(inputs)), inputs))
}

/// Like [`checkpoint_outputs`], but the segment returns a `Result`, and so does this.
///
/// # Errors
///
/// Those of [`f_checkpoint`](crate::f_checkpoint), and [`Error::Kind`] for an output that is not floating-point.
pub fn f_checkpoint_outputs<const N: usize, const M: usize, F>(
    segment: F,
    inputs: [&Tensor; N],
) -> Result<[Tensor; M]>
where
    F: Fn([&Tensor; N]) -> Result<[Tensor; M]> + Send + 'static,
{
    let parts = Arc::new(OnceLock::new());
    let of_first_run = Arc::clone(&parts);
    let joined = move |inputs: [&Tensor; N]| {
        let outputs = segment(inputs)?;
        let parts = outputs.each_ref().map(Part::of);
        if *of_first_run.get_or_init(|| parts.clone()) != parts {
            return Err(CheckpointError::Changed("its outputs had other kinds or shapes").into());
        }
        join(&outputs)
    };
    let all = f_checkpoint_many(joined, inputs)?;
    let mut start = 0;
    let mut outputs = Vec::with_capacity(M);
    for part in parts.get().into_iter().flatten() {
        let length = part.size.iter().product();
        let output = all.f_narrow(0, start, length)?.f_view(&part.size[..])?;
        outputs.push(output.f_to_kind(part.kind)?);
        start += length;
    }
    Ok(outputs.try_into().expect("as many as the segment returned"))
}

/// What tells where an output is.
#[derive(Clone, Debug, PartialEq)]
struct Part {
    kind: Kind,
    size: Vec<i64>,
}

impl Part {
    fn of(output: &Tensor) -> Self {
        Part { kind: output.kind(), size: output.size() }
    }
}

/// One after the other, in the widest of their kinds.
fn join(outputs: &[Tensor]) -> Result<Tensor> {
    let flat = |output: &Tensor| match output.is_floating_point() {
        true => Ok(output.f_reshape([-1])?),
        false => Err(Error::Kind(output.kind())),
    };
    Ok(Tensor::f_cat(&outputs.iter().map(flat).collect::<Result<Vec<_>>>()?, 0)?)
}
