//! Dropout for [`tch`](https://docs.rs/tch): any noise shape, a seed per layer, and on a CPU several
//! times as fast as libtorch's own.
//!
//! # The idea
//!
//! The basic layers are the same three steps:
//!
//! ```text
//! uniform(noise shape) >= p        draw the mask
//! x * mask                         broadcast it       (Dropout)
//! x * mask / (1 - p)               and rescale        (TrueDropout)
//! ```
//!
//! Only the *noise shape* differs: which elements of `x` share a draw, and so are dropped together. See
//! [`NoiseShape`] for the table.
//!
//! # Quick start
//!
//! ```
//! use tch::{nn, nn::ModuleT, Device, Kind, Tensor};
//! use tch_dropout::TrueDropout;
//!
//! let vs = nn::VarStore::new(Device::Cpu);
//! let model = nn::seq_t()
//!     .add(nn::linear(vs.root() / "hidden", 784, 512, Default::default()))
//!     .add_fn(|x| x.relu())
//!     .add(TrueDropout::elements(0.5)?)
//!     .add(nn::linear(vs.root() / "output", 512, 10, Default::default()));
//!
//! let images = Tensor::rand([64, 784], (Kind::Float, Device::Cpu));
//! let in_training = model.forward_t(&images, true);
//! let in_evaluation = model.forward_t(&images, false);
//! # assert_eq!((in_training.size(), in_evaluation.size()), (vec![64, 10], vec![64, 10]));
//! # Ok::<(), tch_dropout::Error>(())
//! ```
//!
//! If you forget the `?` after `elements(0.5)`, the compiler says that "the trait `Module` is not implemented for
//! `Result<DropoutLayer<true>, Error>`".
//!
//! This crate finds libtorch as `tch` does: through `LIBTORCH`, or by a download with the feature
//! `download-libtorch`. [`guide::building`] lists all the ways, and says what a program needs to find
//! libtorch at run time. If libtorch has CUDA, importing this crate keeps the linker from dropping the CUDA
//! part (on Linux).
//!
//! In a debug build, dropout of elements is 15 to 18 times as slow as in release, about as slow as libtorch's. Two
//! lines in your Cargo.toml (the workspace's, if there is one) bring it to 1.2 to 1.5 times the release build's time:
//!
//! ```toml
//! [profile.dev.package.tch-dropout]
//! opt-level = 3
//! ```
//!
//! # Which one do I want?
//!
//! - The usual dropout, `torch.nn.Dropout`: [`TrueDropout::elements`](DropoutLayer::elements); between
//!   convolutions, [`channels`](DropoutLayer::channels); around a residual branch,
//!   [`StochasticDepth`], or [`samples`](DropoutLayer::samples); for sequences `[N, T, C]`,
//!   [`shared(p, &[1])`](DropoutLayer::shared).
//! - One line in place of `x.dropout(p, train)`: [`dropout(&x, p, train)`](dropout()).
//! - One mask for several forward passes (a recurrent loop, recomputation, two branches):
//!   [`draw_mask`](DropoutLayer::draw_mask) once, then [`apply_mask`] each time.
//! - To measure a model's uncertainty: [`monte_carlo`] runs it many times with dropout on.
//! - Weights dropped instead of activations: [`drop_connect`].
//! - SELU networks: [`AlphaDropout`].
//! - Multiplicative Gaussian noise: [`GaussianDropout`].
//! - A `p` that is learned: [`concrete_dropout`].
//! - Blocks of a feature map: [`DropBlock`].
//! - Residual blocks that are skipped: [`StochasticDepth`].
//! - Tokens of a sequence: [`PatchDropout`].
//! - Transformers: [`Attention`] and [`multi_head_attention`].
//! - Recurrent networks: [`lstm`] and [`gru`].
//! - Activation checkpointing: [`checkpoint`](checkpoint()), and [`checkpoint_outputs`] for several outputs.
//! - A `p` that changes in the course of training: [`schedule`].
//! - The layers of the article that this crate began with, [Dropout is Drop-Dead Easy to Implement][article] (Nicolas
//!   Bertagnolli, 11 January 2022): [`Dropout`] and [`TrueDropout`] over [`columns`](DropoutLayer::columns).
//!   **`TrueDropout::new(p)` is the article's layer, and not `torch.nn.Dropout`:** it drops a column for the whole batch.
//! - Coming from PyTorch, torchvision, timm, Keras, Flax, fastai, candle or burn: [`migration`].
//!
//! # Guides
//!
//! - [`guide::building`]: libtorch, versions, machines, your own project, and what the usual errors mean.
//! - [`guide::comparison`]: what PyTorch, timm, Keras, Flax, burn and others have, and when to use theirs.
//! - [`guide::cost`]: time and memory, measured, and how this crate saves both.
//! - [`guide::experiments`]: does dropout help? The papers' experiments on a smaller scale, with commands and pictures.
//! - [`guide::masks`]: which mask a seed gives, as a specification with a reference in Python.
//! - [`guide::testing`]: how all this is tested.
//! - [`guide::changelog`], and [`migration`] from other libraries.
//!
//! # Seeds
//!
//! Without a seed, [`tch::manual_seed`] decides all masks, whatever the number of threads. A layer
//! [with a seed](DropoutLayer::with_seed) has a [`Stream`] of its own, whose k-th mask is the same on every
//! device, whatever other layers draw, and after a restart from a checkpoint. [`Streams`] gives each layer of
//! a model its stream, all from one seed: [the next one](DropoutLayer::with_streams), or [by number](Streams::stream), so that
//! layers keep their masks when the model changes.
//!
//! To resume a run with the masks that it would have had, save [`Streams::steps`] with the weights, or without seeds
//! [`generator_state`].
//!
//! # Cost
//!
//! On a CPU, dropping elements takes one pass from `x` to `x * mask`, on all of libtorch's threads (on Linux and
//! macOS; elsewhere on one). No mask is stored, and nothing is kept for the backward pass, which draws the mask
//! again. That is the default feature `recompute`, which compiles a little C++; without it, a mask is kept if
//! a gradient will need it. An element takes one random bit for `p = 0.5`, and little more than eight
//! otherwise; libtorch draws 53, one element after the other. Some builds of libtorch have a faster path on
//! Intel CPUs, through MKL, which leaves less to gain. `cargo bench --bench speed` compares the two, and
//! [`guide::cost`] has figures.
//!
//! On an NVIDIA GPU (on Linux), one kernel does the same, but **it has not run on a GPU yet**:
//! [what has](guide::cost#on-a-gpu). Without a seed, it takes its key from libtorch's generator for that GPU, so that
//! [`tch::Cuda::manual_seed_all`] decides, too. With a seed, masks are those of a CPU. You need only the driver. On other
//! GPUs, masks with a seed are drawn on the CPU and copied, and libtorch draws those without.
//!
//! # Limits
//!
//! - A process that forks after it has used layers must not use them in the child: libtorch's threads
//!   don't survive a fork. Its own operations have the same limit.
//! - A model that is traced in training ([`CModule::create_by_tracing`])
//!   draws new masks in each call of the trace, from libtorch's generator. A layer with a seed returns an
//!   error there.
//! - In `f16` and `bf16` the scale `1 / (1 - p)` is rounded to that kind, as in
//!   [`Tensor::dropout`]: beyond `p = 1 - 1/65520` it is infinite in `f16`.
//!
//! [article]: https://nbertagnolli.com/jekyll/update/2022/01/11/Dropout_is_Drop_Dead_Easy.html
//! [`CModule::create_by_tracing`]: https://docs.rs/tch/latest/tch/struct.CModule.html#method.create_by_tracing
//! [`Tensor::dropout`]: https://docs.rs/tch/latest/tch/struct.Tensor.html#method.dropout
//! [`tch::Cuda::manual_seed_all`]: https://docs.rs/tch/latest/tch/enum.Cuda.html#method.manual_seed_all
//! [`tch::manual_seed`]: https://docs.rs/tch/latest/tch/fn.manual_seed.html
#![deny(unsafe_code, reason = "the modules that need it say why")]
#![warn(missing_docs)]

// Modules in import order: each group imports only from the groups below it.

// Pages to read.
#[cfg(any(doc, doctest))]
pub mod guide;
pub mod migration;
// Layers made of layers.
mod multi_head;
mod recurrent;
// Layers and functions, side by side.
mod alpha_dropout;
mod attention;
mod concrete_dropout;
mod drop_block;
mod drop_connect;
mod dropout;
mod functional;
mod gaussian_dropout;
mod generator;
mod mask;
mod patch_dropout;
pub mod schedule;
mod stochastic_depth;
// What every layer holds: p, a noise shape, a stream.
mod noise;
// One draw: from an input to its mask, or to the product. Chooses the source of random numbers: a counter, or
// libtorch's generator (without a seed on a GPU, and in a trace).
mod draw;
// Segments of a model that are run again in the backward pass, and draw the same masks.
mod checkpoint;
// An input times a mask that is not stored.
mod product;
// A mask that is defined by a counter: asks its device to write it, or its product with x.
mod implicit_mask;
// Masks and products on an NVIDIA GPU: kernels, the driver.
mod cuda;
// Masks and products on the CPU: bits against a threshold, instruction sets, threads.
mod cpu;
// A backward pass that is a Rust closure.
#[cfg(recompute)]
mod autograd;
// Monte Carlo dropout: repeated passes, and the scope that makes layers draw.
mod monte_carlo;
// What defines a mask's numbers.
mod numbers;
// Random numbers: Philox, the layout of its counter, a layer's stream.
mod rng;
// Each layer's formula: what kept and dropped elements become.
mod effect;
// libtorch's attention, as each tch binds it, and the projections around ours.
mod fused_attention;
mod in_projection;
// Small helpers that import almost nothing.
mod kind;
mod layout;
#[cfg(libtorch_cuda)]
mod link_cuda;
mod noise_shape;
mod probability;
mod strided;
mod trace;
// Errors.
mod error;

pub use alpha_dropout::AlphaDropout;
pub use attention::Attention;
#[cfg(recompute)]
#[doc(hidden)]
pub use attention::in_blocks::job::BLOCK as WEIGHTS_OF_A_BLOCK;
pub use checkpoint::{
    Checkpoint, CheckpointGuard, checkpoint, checkpoint_many, checkpoint_outputs, f_checkpoint,
    f_checkpoint_many, f_checkpoint_outputs,
};
pub use concrete_dropout::{ConcreteDropout, concrete_dropout};
pub use drop_block::DropBlock;
pub use drop_connect::{DropConnect, DropConnectConfig, drop_connect};
pub use dropout::{Dropout, DropoutLayer, TrueDropout};
pub use error::{CheckpointError, Error, MonteCarloError, Result};
pub use functional::{dropout, f_dropout, f_feature_dropout, feature_dropout};
pub use gaussian_dropout::GaussianDropout;
pub use generator::{generator_state, set_generator_state};
pub use in_projection::InProjection;
pub use mask::{apply_mask, column_mask, element_mask};
pub use monte_carlo::{MonteCarlo, Prediction, Regression, f_monte_carlo, monte_carlo};
pub use multi_head::{MultiHeadAttention, MultiHeadAttentionConfig, multi_head_attention};
pub use noise_shape::NoiseShape;
pub use patch_dropout::{PatchDropout, gather_tokens};
pub use recurrent::{
    Gru, GruConfig, Lstm, LstmConfig, RecurrentDropout, RecurrentMasks, RnnT, WeightDrop, Zoneout,
    gru, lstm,
};
pub use rng::stream::Stream;
pub use rng::streams::Streams;
pub use stochastic_depth::{StochasticDepth, stochastic_depth_rates};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
