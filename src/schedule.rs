//! How `p` changes in the course of training: a function of the step, whose value goes to `set_p`.
//!
//! A schedule is any function from a step to a probability. The two of this page have names in the
//! literature; others are a closure or a line of code. Every layer has
//! [`set_p`](crate::DropoutLayer::set_p), which takes effect from the next forward pass on, and returns an
//! error for anything outside `[0, 1]`.
//!
//! Here `p` rises over the first 200 steps, in all layers of a model:
//!
//! ```
//! use tch::{nn, nn::{Module, ModuleT, OptimizerConfig}, Device, Kind, Tensor};
//! use tch_dropout::{schedule, DropBlock, StochasticDepth, TrueDropout};
//!
//! struct Model {
//!     conv: nn::Conv2D,
//!     block: DropBlock,
//!     depth: StochasticDepth,
//!     dropout: TrueDropout,
//!     output: nn::Linear,
//! }
//!
//! impl Model {
//!     fn set_p(&self, p: f64) -> Result<(), tch_dropout::Error> {
//!         self.block.set_p(p)?;
//!         self.depth.set_p(p / 2.0)?;
//!         self.dropout.set_p(p)
//!     }
//! #
//! #   fn forward_t(&self, x: &Tensor, train: bool) -> Tensor {
//! #       let x = self.block.forward_t(x, train);
//! #       let x = self.depth.forward(&x, |x| self.conv.forward(x).relu(), train);
//! #       self.output.forward(&self.dropout.forward_t(&x.flatten(1, -1), train))
//! #   }
//! }
//! # let vs = nn::VarStore::new(Device::Cpu);
//! # let same = nn::ConvConfig { padding: 1, ..Default::default() };
//! # let model = Model {
//! #     conv: nn::conv2d(vs.root() / "conv", 3, 3, 3, same),
//! #     block: DropBlock::new(0.0, 2)?,
//! #     depth: StochasticDepth::new(0.0)?,
//! #     dropout: TrueDropout::elements(0.0)?,
//! #     output: nn::linear(vs.root() / "output", 48, 2, Default::default()),
//! # };
//! # let mut optimizer = nn::Sgd::default().build(&vs, 0.01).unwrap();
//! # let batch = || {
//! #     let images = Tensor::randn([4, 3, 4, 4], (Kind::Float, Device::Cpu));
//! #     (images, Tensor::from_slice(&[0i64, 1, 1, 0]))
//! # };
//!
//! for step in 0..300 {
//!     model.set_p(schedule::linear(0.0, 0.3, 200, step))?;
//!     let (images, labels) = batch();
//!     let loss = model.forward_t(&images, true).cross_entropy_for_logits(&labels);
//!     optimizer.backward_step(&loss);
//! }
//! # assert_eq!((model.block.p(), model.depth.p(), model.dropout.p()), (0.3, 0.15, 0.3));
//! # Ok::<(), tch_dropout::Error>(())
//! ```
//!
//! Early and late dropout (Liu et al. 2023) of a model that underfits, and of one that overfits:
//!
//! ```
//! use tch_dropout::schedule;
//!
//! let early = |step| schedule::linear(0.1, 0.0, 500, step);
//! let late = |step| if step < 500 { 0.0 } else { 0.1 };
//! assert_eq!([early(0), early(500), early(900)], [0.1, 0.0, 0.0]);
//! assert_eq!([late(0), late(500), late(900)], [0.0, 0.1, 0.1]);
//! ```

/// From `from` in step 0 to `to` in step `steps`, in a straight line, and `to` from there on.
///
/// ```
/// use tch_dropout::schedule;
///
/// let p = |step| schedule::linear(0.0, 0.5, 10, step);
/// assert_eq!([p(0), p(5), p(10), p(11)], [0.0, 0.25, 0.5, 0.5]);
/// ```
pub fn linear(from: f64, to: f64, steps: u64, step: u64) -> f64 {
    if step >= steps { to } else { from + (to - from) * (step as f64 / steps as f64) }
}

/// Curriculum dropout (Morerio et al. 2017): `p · (1 - exp(-gamma · step))`, which is 0 in step 0, and rises to
/// `p`, fast at first.
///
/// The paper takes `gamma = 10 / steps` for a training of that many steps, so that the last steps are within 1e-4 of
/// `p`.
///
/// ```
/// use tch_dropout::schedule;
///
/// let p = |step| schedule::curriculum(0.5, 10.0 / 1_000.0, step);
/// assert_eq!(p(0), 0.0);
/// assert!((p(100) - 0.5 * (1.0 - 1.0 / std::f64::consts::E)).abs() < 1e-12);
/// assert!((p(1_000) - 0.5).abs() < 1e-4);
/// ```
pub fn curriculum(p: f64, gamma: f64, step: u64) -> f64 {
    -p * (-gamma * step as f64).exp_m1()
}
