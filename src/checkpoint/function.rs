//! Checkpoints of functions.

use tch::Tensor;

#[cfg(recompute)]
use super::segment;
use crate::error::{Result, or_panic};

/// Runs a segment of a model, and again in the backward pass, in place of keeping what it computes for its
/// gradients: activation checkpointing (Chen et al., "Training Deep Nets with Sublinear Memory Cost", 2016),
/// as in `torch.utils.checkpoint`.
///
/// This crate's layers draw the same masks the second time, and take no step of their streams. So outputs,
/// gradients and all later masks are those of `segment(x)`, bit for bit. (Parameters that several segments share
/// may differ in the last bits, since their gradients are added in another order.) `x` and all parameters that
/// the segment uses have their gradients, even if `x` needs none, as in a model's first segment.
///
/// The graph stores `segment`, so the closure must own what it uses: without `move`, it "may outlive the current
/// function" (E0373). It may be called on another thread. Most modules
/// hold tensors, which are not `Sync`, so share them in an `Arc<Mutex<_>>`. [`Checkpoint`](crate::Checkpoint) does that
/// for a module. Here for a closure:
///
/// ```
/// use std::sync::{Arc, Mutex};
/// use tch::{nn, nn::{Module, ModuleT}, Device, Kind, Tensor};
/// use tch_dropout::{TrueDropout, checkpoint};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let linear = nn::linear(vs.root() / "linear", 8, 8, Default::default());
/// let block = Arc::new(Mutex::new((linear, TrueDropout::elements(0.1)?)));
///
/// let x = Tensor::randn([16, 8], (Kind::Float, Device::Cpu));
/// let y = checkpoint(
///     move |x| {
///         let (linear, dropout) = &*block.lock().unwrap();
///         dropout.forward_t(&linear.forward(x).gelu("none"), true)
///     },
///     &x,
/// );
/// y.sum(None).backward();
/// assert!(vs.variables()["linear.weight"].grad().defined());
/// # Ok::<(), tch_dropout::Error>(())
/// ```
///
/// # What the segment must do
///
/// - The same each time. If it draws another number of masks, uses other parameters or returns another shape, the
///   backward pass fails; other differences would go unnoticed, and give wrong gradients.
/// - Call its layers on the thread that it is called on.
/// - Get tensors that were computed from parameters as inputs ([`checkpoint_many`] has several). If it captures
///   one, the call fails. It may capture parameters, and tensors that need no gradient, such as an attention
///   mask.
///
/// # What else happens twice
///
/// - libtorch's own random numbers, as in [`Tensor::dropout`], are the same too: while the segment is run again,
///   libtorch's generators are set back. (Those are the CPU's and the ones of the inputs' devices, and only if the
///   segment moved them.) Threads that draw from them in that moment repeat numbers, so give layers a seed if
///   threads share them.
/// - Batch norm in training updates its running statistics twice.
///
/// # Limits
///
/// A checkpoint has no second derivative: a backward pass with `create_graph` fails. An input or parameter that is
/// modified in place before the backward pass is an error, as elsewhere in libtorch. The first run has a graph too, so
/// a segment's activations must fit in memory; they are freed when it returns. Where no gradient is needed,
/// under [`tch::no_grad`] and in a trace, the segment just runs once. Without the feature `recompute` it always does,
/// and its activations are kept.
///
/// # Panics
///
/// Where [`f_checkpoint`] returns an error.
///
/// [`Tensor::dropout`]: https://docs.rs/tch/latest/tch/struct.Tensor.html#method.dropout
/// [`tch::no_grad`]: https://docs.rs/tch/latest/tch/fn.no_grad.html
#[track_caller]
pub fn checkpoint<F>(segment: F, x: &Tensor) -> Tensor
where
    F: Fn(&Tensor) -> Tensor + Send + 'static,
{
    or_panic(f_checkpoint(move |x| Ok(segment(x)), x))
}

/// Like [`checkpoint`], but the segment returns a `Result`, and so does this.
///
/// ```
/// use tch::{Device, Kind, Tensor};
/// use tch_dropout::{TrueDropout, f_checkpoint};
///
/// let dropout = TrueDropout::columns(0.5)?;
/// let segment = move |x: &Tensor| dropout.f_forward_t(&x.f_tanh()?, true);
/// let x = Tensor::randn([8], (Kind::Float, Device::Cpu));
/// let error = f_checkpoint(segment, &x).unwrap_err().to_string();
/// assert_eq!(error, "noise shape `columns` needs an input with at least 2 dimensions, got shape [8]");
/// # Ok::<(), tch_dropout::Error>(())
/// ```
///
/// # Errors
///
/// The segment's; [`CheckpointError::Captured`](crate::CheckpointError::Captured) if it uses a tensor that was
/// computed from parameters, and is no input; [`CheckpointError::ModifiesInput`](crate::CheckpointError::ModifiesInput)
/// if it writes to its input. Errors and panics of the segment when it is run again become errors of the backward pass,
/// as do the other [`CheckpointError`](crate::CheckpointError)s.
pub fn f_checkpoint<F>(segment: F, x: &Tensor) -> Result<Tensor>
where
    F: Fn(&Tensor) -> Result<Tensor> + Send + 'static,
{
    f_checkpoint_many(move |[x]| segment(x), [x])
}

/// [`checkpoint`] of a segment with several inputs, such as a decoder's block, which also gets what the encoder
/// computed.
///
/// ```
/// use tch::{Device, Kind, Tensor};
/// use tch_dropout::checkpoint_many;
///
/// let x = Tensor::randn([16, 8], (Kind::Float, Device::Cpu)).set_requires_grad(true);
/// let memory = x.tanh();
/// let y = checkpoint_many(|[x, memory]| (x * memory).relu(), [&x, &memory]);
/// y.sum(None).backward();
/// assert!(x.grad().defined());
/// ```
///
/// # Panics
///
/// Where [`f_checkpoint_many`] returns an error.
#[track_caller]
pub fn checkpoint_many<const N: usize, F>(segment: F, inputs: [&Tensor; N]) -> Tensor
where
    F: Fn([&Tensor; N]) -> Tensor + Send + 'static,
{
    or_panic(f_checkpoint_many(move |inputs| Ok(segment(inputs)), inputs))
}

/// Like [`checkpoint_many`], but the segment returns a `Result`, and so does this.
///
/// ```
/// use tch::{Device, Kind, Tensor};
/// use tch_dropout::f_checkpoint_many;
///
/// let ones = |size: &[i64]| Tensor::ones(size, (Kind::Float, Device::Cpu));
/// let product = |[x, y]: [&Tensor; 2]| Ok(x.f_matmul(y)?);
/// assert!(f_checkpoint_many(product, [&ones(&[4, 8]), &ones(&[7, 2])]).is_err());
/// ```
///
/// # Errors
///
/// Those of [`f_checkpoint`].
pub fn f_checkpoint_many<const N: usize, F>(segment: F, inputs: [&Tensor; N]) -> Result<Tensor>
where
    F: Fn([&Tensor; N]) -> Result<Tensor> + Send + 'static,
{
    #[cfg(recompute)]
    return segment::run(segment, inputs);
    #[cfg(not(recompute))]
    segment(inputs)
}
