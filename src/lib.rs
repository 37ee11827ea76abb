//! Dropout for [`tch`]: noise shapes, a seed per layer, and fast masks on a CPU.
//!
//! # The idea
//!
//! Every layer is the same three steps:
//!
//! ```text
//! uniform(noise shape) >= p        draw the mask
//! x * mask                         broadcast it       (Dropout)
//! x * mask / (1 - p)               and rescale        (TrueDropout)
//! ```
//!
//! Only the *noise shape* differs: which entries of `x` share a draw, and so are dropped together. For
//! `x` of shape `[N, C, ...]`:
//!
//! | noise shape | mask | known elsewhere as |
//! | --- | --- | --- |
//! | [`Columns`](NoiseShape::Columns), the default | `[1, C, 1, ...]` | Keras `noise_shape=(1, C)` |
//! | [`Elements`](NoiseShape::Elements) | `[N, C, ...]` | `torch.nn.Dropout`, [`Tensor::dropout`](tch::Tensor::dropout) |
//! | [`Channels`](NoiseShape::Channels) | `[N, C, 1, ...]` | `torch.nn.Dropout1d`, `2d` and `3d`, SpatialDropout |
//! | [`Samples`](NoiseShape::Samples) | `[N, 1, ...]` | stochastic depth, DropPath |
//! | [`Shared`](NoiseShape::Shared) over dimensions | 1 in these | Flax `broadcast_dims`, variational dropout |
//! | a weight's own: [`DropConnect`] | the weight's | DropConnect |
//!
//! **The default is not `torch.nn.Dropout`.** It drops a column for the whole batch, as the article does
//! that this crate began with, "Dropout is drop-dead easy to implement". `torch.nn.Dropout` is
//! `TrueDropout::new(p)?.noise_shape(NoiseShape::Elements)`.
//!
//! # Quick start
//!
//! ```
//! use tch::{nn, nn::ModuleT, Device, Kind, Tensor};
//! use tch_dropout::{NoiseShape, TrueDropout};
//!
//! let vs = nn::VarStore::new(Device::Cpu);
//! let model = nn::seq_t()
//!     .add(nn::linear(vs.root() / "hidden", 784, 512, Default::default()))
//!     .add(TrueDropout::new(0.5)?.noise_shape(NoiseShape::Elements))
//!     .add(nn::linear(vs.root() / "output", 512, 10, Default::default()));
//!
//! let images = Tensor::rand([64, 784], (Kind::Float, Device::Cpu));
//! let trained_on = model.forward_t(&images, true);
//! let evaluated = model.forward_t(&images, false);
//! # assert_eq!((trained_on.size(), evaluated.size()), (vec![64, 10], vec![64, 10]));
//! # Ok::<(), tch_dropout::Error>(())
//! ```
//!
//! libtorch is found as `tch` finds it: by `LIBTORCH`, or downloaded with the feature `download-libtorch`. The
//! repository's build.md has the ways, and what a program needs to find it when it runs. If it has CUDA,
//! importing this crate keeps the linker from dropping that.
//!
//! # Which one do I want?
//!
//! - The usual dropout: [`TrueDropout`] with [`NoiseShape::Elements`]; for images between convolutions,
//!   [`NoiseShape::Channels`]; around a residual branch, [`NoiseShape::Samples`].
//! - One mask for several forwards (a recurrent loop, a recomputed forward, two branches):
//!   [`draw_mask`](DropoutLayer::draw_mask) once, then [`apply_mask`] each time.
//! - How sure a trained model is: [`monte_carlo`] runs it many times with dropout on.
//! - Weights dropped in place of activations: [`drop_connect`].
//! - The article's layer, whose output is smaller in training than in evaluation: [`Dropout`].
//! - In place of a closure, a struct of your own, PyTorch's, Keras', Flax', candle's or burn's:
//!   [`coming_from`].
//!
//! # Seeds
//!
//! Without a seed [`tch::manual_seed`] decides all masks, whatever the number of threads. With
//! [`seed`](DropoutLayer::seed) a layer has a [`Stream`] of its own, whose k-th mask is the same on every
//! device, beside any other layers, and after a restart from a checkpoint
//! ([`set_step`](DropoutLayer::set_step)).
//!
//! # Speed
//!
//! On a CPU libtorch draws a 53-bit number for each element, one after the other. Here 16 bits decide an
//! element, more only where they leave a doubt, and all of libtorch's threads draw at once, in vector
//! registers. Where `x` needs no gradient, the product is written over the mask, so that nothing but the
//! output is allocated. `cargo bench --bench speed` compares; README has a table. Some builds of libtorch
//! have a faster path on Intel CPUs, through MKL; there is less to gain there. The columns' few draws are
//! cheap anywhere.
//!
//! On a GPU a layer without a seed draws with libtorch's generator there, and [`TrueDropout`] over elements
//! is libtorch's own fused kernel. One with a seed draws on the CPU and copies the mask, which is slower.
//!
//! # Limits
//!
//! - A process that forks after it has used layers must not use them in the child: libtorch's threads
//!   don't survive a fork. Its own operations have the same limit.
//! - A mask is made outside libtorch's graph. Trace a model
//!   ([`CModule::create_by_tracing`](tch::CModule::create_by_tracing)) in evaluation.
//! - In `f16` and `bf16` the scale `1 / (1 - p)` is rounded to that kind, as in
//!   [`Tensor::dropout`](tch::Tensor::dropout): beyond `p = 1 - 1/65504` it is infinite in `f16`.
#![warn(missing_docs)]

mod ambient;
pub mod coming_from;
#[cfg(libtorch_cuda)]
mod cuda;
mod drop_connect;
mod dropout;
mod error;
mod mask;
mod monte_carlo;
mod noise;
mod noise_shape;
mod prediction;
mod probability;
mod random;

pub use drop_connect::{drop_connect, DropConnect, DropConnectConfig};
pub use dropout::{Dropout, DropoutLayer, TrueDropout};
pub use error::Error;
pub use mask::{apply_mask, column_mask, element_mask};
pub use monte_carlo::{monte_carlo, MonteCarlo};
pub use noise_shape::NoiseShape;
pub use prediction::Prediction;
pub use probability::Probability;
pub use random::Stream;
