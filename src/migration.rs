//! What to write in place of another dropout. A page to read; there is nothing to call.
//!
//! [`TrueDropout`](crate::TrueDropout) rescales what it keeps, as all the dropouts here do. Only the
//! [noise shape](crate::NoiseShape) differs, and whether a batch shares its draws: its default,
//! columns, does; of the others, none does by default.
//!
//! # A closure with `Tensor::dropout`
//!
//! `.add_fn_t(|x, train| x.dropout(0.5, train))` becomes the line with `TrueDropout`:
//!
//! ```
//! use tch::{nn, nn::ModuleT, Device, Kind, Tensor};
//! use tch_dropout::{NoiseShape, TrueDropout};
//!
//! let vs = nn::VarStore::new(Device::Cpu);
//! let model = nn::seq_t()
//!     .add(nn::linear(vs.root(), 8, 4, Default::default()))
//!     .add(TrueDropout::elements(0.5)?);
//! # let x = Tensor::randn([16, 8], (Kind::Float, Device::Cpu));
//! # assert_eq!(model.forward_t(&x, true).size(), [16, 4]);
//! # Ok::<(), tch_dropout::Error>(())
//! ```
//!
//! In the middle of a forward, `x.dropout(0.5, train)` becomes `x.apply_t(&layer, train)`, where the
//! layer is made once, not in each forward. `x.feature_dropout(p, train)` is the same with
//! [`NoiseShape::Channels`](crate::NoiseShape::Channels).
//!
//! # A `Dropout` or `XDropout` struct of your own
//!
//! Such a struct holds a probability, and its `ModuleT` calls `Tensor::dropout`, or fills in zeros
//! where a Bernoulli draw says so, as rust-bert's `XDropout` for DeBERTa does. Both are
//! `TrueDropout` over elements. So the structs and their `impl`s go, and a function keeps the line
//! where layers are made short. What calls them stays as it is:
//!
//! ```
//! use tch::{nn::ModuleT, Device, Kind, Tensor};
//! use tch_dropout::{Error, NoiseShape, TrueDropout};
//!
//! fn dropout(p: f64) -> Result<TrueDropout, Error> {
//!     Ok(TrueDropout::elements(p)?)
//! }
//!
//! struct SelfOutput {
//!     dropout: TrueDropout, // was: Dropout
//! }
//!
//! let layer = SelfOutput { dropout: dropout(0.1)? }; // was: Dropout::new(0.1)
//! let hidden = Tensor::randn([2, 128, 768], (Kind::Float, Device::Cpu));
//! let output = hidden.apply_t(&layer.dropout, true);
//! # assert_eq!(output.size(), hidden.size());
//! # assert_eq!(layer.dropout.draw_mask(&hidden, true)?.size(), [2, 128, 768]);
//! # Ok::<(), Error>(())
//! ```
//!
//! What changes: a `p` outside `[0, 1]` is an error when the layer is made, and `p = 1` gives zeros,
//! not NaN. An infinite entry that is dropped becomes NaN, as with `Tensor::dropout`; a struct that
//! fills in zeros hides it.
//!
//! # PyTorch
//!
//! | `torch` | here |
//! | --- | --- |
//! | `nn.Dropout(p)`, `F.dropout(x, p, training)` | `NoiseShape::Elements` |
//! | `nn.Dropout1d(p)`, `2d`, `3d` | `NoiseShape::Channels`; the batch is not optional |
//! | `torchvision.ops.StochasticDepth(p, "row")`, timm's `DropPath(p)` | `NoiseShape::Samples` |
//! | `torchvision.ops.StochasticDepth(p, "batch")` | `NoiseShape::Shared(vec![0, 1, 2, 3])`, all dimensions of a 4-d `x` |
//! | `nn.AlphaDropout(p)` | no: [`Tensor::alpha_dropout`](tch::Tensor::alpha_dropout) |
//! | `inplace=True` | no; for an input without gradient the mask's memory serves as the output |
//! | `model.train()`, `model.eval()` | `forward_t(&x, true)`, `forward_t(&x, false)` |
//!
//! ```
//! use tch_dropout::{NoiseShape, TrueDropout};
//!
//! let dropout = TrueDropout::elements(0.5)?;
//! let dropout_2d = TrueDropout::channels(0.5)?;
//! let drop_path = TrueDropout::samples(0.1)?;
//! let whole_batch = TrueDropout::new(0.1)?.with_noise_shape(NoiseShape::Shared(vec![0, 1, 2, 3]));
//! # use tch::{Device, Kind, Tensor};
//! # let x = Tensor::ones([2, 3, 4, 5], (Kind::Float, Device::Cpu));
//! # assert_eq!(dropout.draw_mask(&x, true)?.size(), [2, 3, 4, 5]);
//! # assert_eq!(dropout_2d.draw_mask(&x, true)?.size(), [2, 3, 1, 1]);
//! # assert_eq!(drop_path.draw_mask(&x, true)?.size(), [2, 1, 1, 1]);
//! # assert_eq!(whole_batch.draw_mask(&x, true)?.size(), [1, 1, 1, 1]);
//! # Ok::<(), tch_dropout::Error>(())
//! ```
//!
//! # Keras
//!
//! A 1 in Keras' `noise_shape` is a dimension whose entries share a draw: name these dimensions.
//! `rate` is `p`. Spatial dropout depends on where the channels are, at the end unless Keras was told
//! otherwise.
//!
//! | `keras.layers` | here |
//! | --- | --- |
//! | `Dropout(rate)` | `NoiseShape::Elements` |
//! | `Dropout(rate, noise_shape=(1, features))` | `NoiseShape::Columns`, the default |
//! | `Dropout(rate, noise_shape=(batch, 1, features))` | `NoiseShape::Shared(vec![1])` |
//! | `Dropout(rate, noise_shape=(batch, 1, 1))` | `NoiseShape::Samples` |
//! | `SpatialDropout1D(rate)` on `(batch, steps, channels)` | `NoiseShape::Shared(vec![1])` |
//! | `SpatialDropout2D(rate)` on `(batch, rows, cols, channels)` | `NoiseShape::Shared(vec![1, 2])` |
//! | the same with `data_format="channels_first"` | `NoiseShape::Channels` |
//! | `seed=7` | [`.with_seed(7)`](crate::DropoutLayer::seed), with other numbers |
//!
//! ```
//! use tch_dropout::{NoiseShape, TrueDropout};
//!
//! let columns = TrueDropout::new(0.5)?; // noise_shape=(1, features)
//! let over_time = TrueDropout::new(0.5)?.with_noise_shape(NoiseShape::Shared(vec![1]));
//! let spatial_2d = TrueDropout::new(0.5)?.with_noise_shape(NoiseShape::Shared(vec![1, 2]));
//! # use tch::{Device, Kind, Tensor};
//! # let ones = |size: &[i64]| Tensor::ones(size, (Kind::Float, Device::Cpu));
//! # assert_eq!(columns.draw_mask(&ones(&[32, 64]), true)?.size(), [1, 64]);
//! # assert_eq!(over_time.draw_mask(&ones(&[32, 10, 64]), true)?.size(), [32, 1, 64]);
//! # assert_eq!(spatial_2d.draw_mask(&ones(&[32, 8, 8, 64]), true)?.size(), [32, 1, 1, 64]);
//! # Ok::<(), tch_dropout::Error>(())
//! ```
//!
//! # Flax
//!
//! `broadcast_dims` are the shared dimensions, `deterministic` is `!train`, and in place of a key
//! there is [`tch::manual_seed`] or a [seed](crate::DropoutLayer::seed) per layer.
//!
//! | `flax.linen`, `flax.nnx` | here |
//! | --- | --- |
//! | `Dropout(rate)` | `NoiseShape::Elements` |
//! | `Dropout(rate, broadcast_dims=(1,))` | `NoiseShape::Shared(vec![1])` |
//! | `Dropout(rate, broadcast_dims=(0,))` on `[N, C]` | `NoiseShape::Columns`, the default |
//! | `rngs={'dropout': key}` | `.with_seed(7)`; one mask again: [`draw_mask`](crate::DropoutLayer::draw_mask) |
//!
//! ```
//! use tch::{nn::ModuleT, Device, Kind, Tensor};
//! use tch_dropout::{NoiseShape, TrueDropout};
//!
//! // nn.Dropout(0.5, broadcast_dims=(1,), deterministic=False)(x)
//! let layer = TrueDropout::new(0.5)?.with_noise_shape(NoiseShape::Shared(vec![1])).with_seed(7);
//! let x = Tensor::randn([32, 10, 64], (Kind::Float, Device::Cpu));
//! let y = layer.forward_t(&x, true);
//! # assert_eq!(y.size(), x.size());
//! # assert_eq!(layer.draw_mask(&x, true)?.size(), [32, 1, 64]);
//! # Ok::<(), tch_dropout::Error>(())
//! ```
//!
//! # candle and burn
//!
//! Both draw per element. candle's layer has a `train` flag as tch's have; burn's drops when its
//! backend records gradients, so here that is the flag too.
//!
//! ```
//! use tch::{nn::ModuleT, Device, Kind, Tensor};
//! use tch_dropout::{NoiseShape, TrueDropout};
//!
//! // candle: candle_nn::Dropout::new(0.5)
//! // burn: DropoutConfig::new(0.5).init()
//! let layer = TrueDropout::elements(0.5)?;
//!
//! let x = Tensor::randn([32, 64], (Kind::Float, Device::Cpu));
//! // candle: layer.forward(&x, true)?
//! // burn: layer.forward(x), with an autodiff backend
//! let y = layer.f_forward_t(&x, true)?;
//! // candle: layer.forward(&x, false)?
//! // burn: layer.forward(x), on model.valid()
//! let same = layer.f_forward_t(&x, false)?;
//! # assert_eq!(same, x);
//! # assert_eq!(layer.draw_mask(&x, true)?.size(), y.size());
//! # Ok::<(), tch_dropout::Error>(())
//! ```
