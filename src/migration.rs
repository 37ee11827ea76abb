//! What to write in place of another library's dropout. This page is documentation only.
//!
//! Most dropouts on this page rescale what they keep, and so does [`TrueDropout`](crate::TrueDropout). They
//! differ in the [noise shape](crate::NoiseShape): which elements share a draw.
//!
//! # `x.dropout(p, train)`
//!
//! Search for `dropout(`, and replace:
//!
//! | tch | here |
//! | --- | --- |
//! | `x.dropout(p, train)` | [`dropout(&x, p, train)`](crate::dropout()) |
//! | `x.f_dropout(p, train)` | [`f_dropout(&x, p, train)`](crate::f_dropout) |
//! | `x.feature_dropout(p, train)` | [`feature_dropout(&x, p, train)`](crate::feature_dropout) |
//! | `x.f_feature_dropout(p, train)` | [`f_feature_dropout(&x, p, train)`](crate::f_feature_dropout) |
//! | `Tensor::scaled_dot_product_attention(.., p, ..)`, which drops in evaluation too | [`Attention::new(p)?`](crate::Attention), which does not |
//! | `nn::lstm`, `nn::gru` with `RNNConfig { dropout, .. }` | [`lstm`](crate::lstm), [`gru`](crate::gru), and [`seq_t(&x, train)`](crate::RnnT::seq_t) |
//! | `x.alpha_dropout(p, train)`, `x.feature_alpha_dropout(p, train)` | [`AlphaDropout::elements(p)?`](crate::AlphaDropout::elements), [`channels(p)?`](crate::AlphaDropout::channels) |
//! | `.add_fn_t(\|x, train\| x.dropout(p, train))` | [`.add(TrueDropout::elements(p)?)`](crate::DropoutLayer::elements) |
//!
//! ```
//! use tch::{nn, nn::ModuleT, Device, Kind, Tensor};
//! use tch_dropout::{dropout, TrueDropout};
//!
//! let vs = nn::VarStore::new(Device::Cpu);
//! let model = nn::seq_t()
//!     .add(nn::linear(vs.root(), 8, 4, Default::default()))
//!     .add(TrueDropout::elements(0.5)?); // was: .add_fn_t(|x, train| x.dropout(0.5, train))
//!
//! let x = Tensor::randn([16, 8], (Kind::Float, Device::Cpu));
//! let y = dropout(&model.forward_t(&x, true), 0.1, true); // was: model.forward_t(..).dropout(0.1, true)
//! # assert_eq!(y.size(), [16, 4]);
//! # Ok::<(), tch_dropout::Error>(())
//! ```
//!
//! `x` may be any expression: `x.relu().dropout(p, train)` becomes `dropout(&x.relu(), p, train)`. Where a variable
//! is called `dropout`, write `tch_dropout::dropout`. `f_dropout` has an error type of its own; in a function that
//! returns [`TchError`], `Ok(f_dropout(&x, p, train)?)` converts it. After [`tch::manual_seed`], the
//! masks repeat, but they are not those that libtorch's dropout draws after the same seed.
//!
//! # A `Dropout` struct of your own
//!
//! Such a struct holds a probability. Its `ModuleT` calls `Tensor::dropout`, or fills in zeros by a Bernoulli
//! draw, as rust-bert's `Dropout` and `XDropout` do. Replace its type with `TrueDropout` and its constructor with
//! `TrueDropout::elements(p)?` (**not `new`**, which drops columns); calls of its `forward_t` stay as they are:
//!
//! ```
//! use tch::{nn::ModuleT, Device, Kind, Tensor};
//! use tch_dropout::TrueDropout;
//!
//! struct SelfOutput {
//!     dropout: TrueDropout, // was: Dropout
//! }
//!
//! let layer = SelfOutput { dropout: TrueDropout::elements(0.1)? }; // was: Dropout::new(0.1)
//! let hidden = Tensor::randn([2, 128, 768], (Kind::Float, Device::Cpu));
//! let output = hidden.apply_t(&layer.dropout, true);
//! # assert_eq!(output.size(), hidden.size());
//! # assert_eq!(layer.dropout.draw_mask(&hidden, true)?.size(), [2, 128, 768]);
//! # Ok::<(), tch_dropout::Error>(())
//! ```
//!
//! Two things change: a `p` outside `[0, 1]` is an error when the layer is made, and `p = 1` gives zeros, not
//! NaN. One thing stays as in `Tensor::dropout`: a dropped infinity becomes NaN, where a struct that fills in zeros gives
//! zero.
//!
//! # PyTorch
//!
//! | `torch` | here |
//! | --- | --- |
//! | `nn.Dropout(p)`, `F.dropout(x, p, training)` | `TrueDropout::elements(p)`, `dropout(&x, p, train)` |
//! | `nn.Dropout1d(p)`, `2d`, `3d` | `TrueDropout::channels(p)`; the batch dimension is required |
//! | `F.scaled_dot_product_attention(q, k, v, mask, p if training else 0, causal)` | [`Attention::new(p)?.with_causal(causal)`](crate::Attention)`.forward(&q, &k, &v, mask, train)` |
//! | `causal_lower_right(t, s)` as its mask, for a key cache | [`.with_causal_lower_right(true)`](crate::Attention::with_causal_lower_right) |
//! | `F.scaled_dot_product_attention(.., enable_gqa=True)` | no option needed: keys and values may have fewer heads |
//! | `nn.MultiheadAttention(c, h, dropout=p, batch_first=True)` | [`multi_head_attention(vs, c, h, config)`](crate::multi_head_attention) with that `p`; a boolean mask is true where a key takes part |
//! | the same with `kdim=k, vdim=v` | `MultiHeadAttentionConfig { kdim: Some(k), vdim: Some(v), ..Default::default() }` |
//! | `need_weights=True`, averaged over heads | [`f_forward_with_weights`](crate::MultiHeadAttention::f_forward_with_weights), whose weights are those before dropout; `.mean_dim(1, false, None)` |
//! | `add_bias_kv=True`, `add_zero_attn=True` | [`Attention`](crate::Attention) and the lines below |
//! | `key_padding_mask` `[N, S]`, true for padding | `mask.logical_not().reshape([n, 1, 1, s])` |
//! | `nn.LSTM(dropout=p)`, `nn.GRU(dropout=p)` | [`lstm`](crate::lstm), [`gru`](crate::gru) with [`between`](crate::RecurrentDropout::between)`: TrueDropout::elements(p)?` |
//! | `nn.AlphaDropout(p)` | [`AlphaDropout::elements(p)`](crate::AlphaDropout::elements) |
//! | `nn.FeatureAlphaDropout(p)` | [`AlphaDropout::channels(p)`](crate::AlphaDropout::channels) |
//! | `pack_padded_sequence(x, lengths)` before an LSTM or a GRU | [`seq_lengths_t(&x, &lengths, &state, train)`](crate::RnnT::seq_lengths_t), in any order |
//! | `nn.LSTMCell`, with one mask for all steps | [`draw_masks`](crate::RnnT::draw_masks), then [`step_with_t`](crate::RnnT::step_with_t) |
//! | `torch.get_rng_state()`, `torch.set_rng_state(s)` | [`generator_state(device)?`](crate::generator_state), [`set_generator_state(device, &s)?`](crate::set_generator_state) |
//! | `torch.utils.checkpoint.checkpoint(f, x)` | [`checkpoint(f, &x)`](crate::checkpoint()), or [`Checkpoint::new(module)`](crate::Checkpoint) |
//! | `inplace=True` | not here; in training the output is a new tensor |
//! | `model.train()`, `model.eval()` | `forward_t(&x, true)`, `forward_t(&x, false)` |
//! | `layer.p`, `layer.p = 0.3` | `layer.p()`, `layer.set_p(0.3)?` |
//!
//! ```
//! use tch_dropout::TrueDropout;
//!
//! let dropout = TrueDropout::elements(0.5)?;
//! let dropout_2d = TrueDropout::channels(0.5)?;
//! let drop_path = TrueDropout::samples(0.1)?;
//! let whole_batch = TrueDropout::batch(0.1)?;
//! # use tch::{Device, Kind, Tensor};
//! # let x = Tensor::ones([2, 3, 4, 5], (Kind::Float, Device::Cpu));
//! # assert_eq!(dropout.draw_mask(&x, true)?.size(), [2, 3, 4, 5]);
//! # assert_eq!(dropout_2d.draw_mask(&x, true)?.size(), [2, 3, 1, 1]);
//! # assert_eq!(drop_path.draw_mask(&x, true)?.size(), [2, 1, 1, 1]);
//! # assert_eq!(whole_batch.draw_mask(&x, true)?.size(), [1, 1, 1, 1]);
//! # Ok::<(), tch_dropout::Error>(())
//! ```
//!
//! `add_bias_kv` and `add_zero_attn` add a key and a value that all queries see, learned or zeros, after those of the
//! sequence:
//!
//! ```
//! use tch::{nn, Device, Kind, Tensor};
//! use tch_dropout::Attention;
//!
//! /// `more` is `[H, 1, E]`.
//! fn append(heads: &Tensor, more: &Tensor) -> Tensor {
//!     let more = more.expand([heads.size()[0], -1, -1, -1], false);
//!     Tensor::cat(&[heads, &more], -2)
//! }
//!
//! let vs = nn::VarStore::new(Device::Cpu);
//! let bias_k = vs.root().var("bias_k", &[4, 1, 16], nn::Init::Randn { mean: 0.0, stdev: 0.25 });
//! let bias_v = vs.root().var("bias_v", &[4, 1, 16], nn::Init::Randn { mean: 0.0, stdev: 0.25 });
//! let [query, key, value] = [(); 3].map(|()| Tensor::randn([2, 4, 10, 16], (Kind::Float, Device::Cpu)));
//! let mask = Tensor::ones([10, 10], (Kind::Bool, Device::Cpu)).tril(0);
//! let mask = Tensor::cat(&[&mask, &Tensor::ones([10, 1], (Kind::Bool, Device::Cpu))], 1);
//! let (key, value) = (append(&key, &bias_k), append(&value, &bias_v));
//! let y = Attention::new(0.1)?.forward(&query, &key, &value, Some(&mask), true);
//! # assert_eq!((key.size(), y.size()), (vec![2, 4, 11, 16], vec![2, 4, 10, 16]));
//! # Ok::<(), tch_dropout::Error>(())
//! ```
//!
//! # torchvision, timm, open_clip
//!
//! | theirs | here |
//! | --- | --- |
//! | `torchvision.ops.StochasticDepth(p, "row")`, timm's `DropPath(p)` on `f(x)` | `TrueDropout::samples(p)` |
//! | timm's `DropPath(p, scale_by_keep=False)` | `Dropout::samples(p)` |
//! | `x + StochasticDepth(p, "row")(f(x))`, without computing what is dropped | [`StochasticDepth::new(p)?`](crate::StochasticDepth)`.forward(&x, f, train)` |
//! | `StochasticDepth(p, "batch")`; LayerDrop | `TrueDropout::batch(p)`, or [`StochasticDepth::batch(p)`](crate::StochasticDepth::batch) |
//! | `torch.linspace(0, p, depth)` | [`stochastic_depth_rates(p, depth)`](crate::stochastic_depth_rates) |
//! | `calculate_drop_path_rates(p, depths)` | the same for `depths.iter().sum()` blocks; with `stagewise=True`, cut into stages |
//! | EfficientNet's `drop_connect(x, p, training)`, which drops samples and no weights | `TrueDropout::samples(p)` |
//! | `DropBlock2d(p, b)`, `DropBlock3d(p, b)` | [`DropBlock::new(p, b)`](crate::DropBlock) |
//! | timm's `DropBlock2d(p, b)`, which drops the same blocks of all channels | `&x * block.forward_t(&x.narrow(1, 0, 1).ones_like(), train)` |
//! | `PatchDropout(p)`, where the class token stays | [`PatchDropout::new(p)?.with_prefix_tokens(1)?`](crate::PatchDropout) |
//! | a schedule of `p` | [`schedule`](crate::schedule) and `set_p` |
//!
//! ```
//! use tch::{Device, Kind, Tensor, nn::ModuleT};
//! use tch_dropout::{DropBlock, PatchDropout, StochasticDepth, stochastic_depth_rates};
//!
//! let images = Tensor::randn([8, 3, 14, 14], (Kind::Float, Device::Cpu));
//! let images = DropBlock::new(0.1, 7)?.forward_t(&images, true);
//! let tokens = images.flatten(2, 3).transpose(1, 2); // [8, 196, 3]
//! let mut tokens = PatchDropout::new(0.5)?.forward_t(&tokens, true);
//! for p in stochastic_depth_rates(0.2, 4) {
//!     tokens = StochasticDepth::new(p)?.forward(&tokens, |kept| kept.gelu("none"), true);
//! }
//! # assert_eq!(tokens.size(), [8, 98, 3]);
//! # Ok::<(), tch_dropout::Error>(())
//! ```
//!
//! # fastai
//!
//! The parts of AWD-LSTM (Merity et al. 2017), and Monte Carlo dropout:
//!
//! | fastai | here |
//! | --- | --- |
//! | `RNNDropout(p)` on `[N, T, C]` | `TrueDropout::shared(p, &[1])` |
//! | the same between layers (`hidden_p`) | [`lstm`](crate::lstm) with [`between`](crate::RecurrentDropout::between)`: TrueDropout::shared(p, &[1])?` |
//! | `WeightDropout` (`weight_p`) | [`lstm`](crate::lstm) with [`weights`](crate::RecurrentDropout::weights)`: WeightDrop::new(p)?` |
//! | `EmbeddingDropout(embedding, p)` (`embed_p`) | the lines below |
//! | `MCDropoutCallback` | [`monte_carlo`](crate::monte_carlo), which also says how much the passes disagree |
//!
//! Embedding dropout drops whole words, wherever they occur in the batch: a draw for each row of the weight,
//! which is looked up as the embedding is. (In Monte Carlo dropout, it needs `fold` 1.)
//!
//! ```
//! use tch::{nn, nn::Module, Device, Kind, Tensor};
//! use tch_dropout::{apply_mask, TrueDropout};
//!
//! # let train = true;
//! let vs = nn::VarStore::new(Device::Cpu);
//! let embedding = nn::embedding(vs.root(), 1_000, 16, Default::default());
//! let words = Tensor::randint(1_000, [8, 20], (Kind::Int64, Device::Cpu));
//!
//! // fastai: EmbeddingDropout(embedding, 0.1)(words)
//! let dropout = TrueDropout::shared(0.1, &[1])?; // Made once, beside the embedding: it may have a seed.
//! let mask = dropout.draw_mask(&embedding.ws, train)?; // [V, 1]
//! let mask = Tensor::embedding(&mask, &words, -1, false, false); // [N, T, 1]
//! let embedded = apply_mask(&embedding.forward(&words), &mask)?; // [N, T, C]
//! # assert_eq!(embedded.size(), [8, 20, 16]);
//! # Ok::<(), tch_dropout::Error>(())
//! ```
//!
//! # Keras
//!
//! A 1 in Keras's `noise_shape` marks a dimension along which a draw is shared: name these dimensions. `rate`
//! is `p`. By default, Keras has the channels in the last dimension.
//!
//! | `keras.layers` | here |
//! | --- | --- |
//! | `Dropout(rate)` | `TrueDropout::elements(rate)` |
//! | `Dropout(rate, noise_shape=(1, features))` | `TrueDropout::columns(rate)` |
//! | `Dropout(rate, noise_shape=(batch, 1, features))` | `TrueDropout::shared(rate, &[1])` |
//! | `Dropout(rate, noise_shape=(batch, 1, 1))` | `TrueDropout::samples(rate)` |
//! | `SpatialDropout1D(rate)` on `(batch, steps, channels)` | `TrueDropout::shared(rate, &[1])` |
//! | `SpatialDropout2D(rate)` on `(batch, rows, cols, channels)` | `TrueDropout::shared(rate, &[1, 2])` |
//! | the same with `data_format="channels_first"` | `TrueDropout::channels(rate)` |
//! | `GaussianDropout(rate)` | [`GaussianDropout::elements(rate)`](crate::GaussianDropout::elements); a rate of 1 is an error |
//! | `LSTM(units, dropout=rate)` | `TrueDropout::shared(rate, &[1])` before it |
//! | `LSTM(units, recurrent_dropout=rate)` | [`lstm`](crate::lstm) with [`state`](crate::RecurrentDropout::state)`: TrueDropout::elements(rate)?` |
//! | `AlphaDropout(rate)`, with any `noise_shape` | [`AlphaDropout::elements(rate)`](crate::AlphaDropout::elements), [`.with_noise_shape(..)`](crate::AlphaDropout::with_noise_shape) |
//! | `seed=7` | [`.with_seed(7)`](crate::DropoutLayer::with_seed), with other random numbers |
//!
//! ```
//! use tch_dropout::TrueDropout;
//!
//! let columns = TrueDropout::columns(0.5)?; // noise_shape=(1, features)
//! let over_time = TrueDropout::shared(0.5, &[1])?;
//! let spatial_2d = TrueDropout::shared(0.5, &[1, 2])?;
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
//! `broadcast_dims` are the shared dimensions, and `deterministic` is `!train`. In place of a key there is
//! [`tch::manual_seed`], a [seed](crate::DropoutLayer::with_seed) for a layer, or one for a whole model
//! ([`Streams`](crate::Streams)).
//!
//! | `flax.linen`, `flax.nnx` | here |
//! | --- | --- |
//! | `Dropout(rate)` | `TrueDropout::elements(rate)` |
//! | `Dropout(rate, broadcast_dims=(1,))` | `TrueDropout::shared(rate, &[1])` |
//! | `Dropout(rate, broadcast_dims=(0,))` on `[N, C]` | `TrueDropout::columns(rate)` |
//! | `MultiHeadAttention(.., dropout_rate=p)`, one mask for the whole batch and all heads by default | [`Attention::new(p)?`](crate::Attention)`.with_noise_shape(NoiseShape::Shared(vec![0, 1]))` |
//! | `rngs={'dropout': key}` | `.with_seed(7)`; for one mask twice, [`draw_mask`](crate::DropoutLayer::draw_mask) |
//!
//! ```
//! use tch::{nn::ModuleT, Device, Kind, Tensor};
//! use tch_dropout::TrueDropout;
//!
//! // nn.Dropout(0.5, broadcast_dims=(1,), deterministic=False)(x)
//! let layer = TrueDropout::shared(0.5, &[1])?.with_seed(7);
//! let x = Tensor::randn([32, 10, 64], (Kind::Float, Device::Cpu));
//! let y = layer.forward_t(&x, true);
//! # assert_eq!(y.size(), x.size());
//! # assert_eq!(layer.draw_mask(&x, true)?.size(), [32, 1, 64]);
//! # Ok::<(), tch_dropout::Error>(())
//! ```
//!
//! # Papers' dropouts of a few lines
//!
//! | paper | here |
//! | --- | --- |
//! | DropConnect (Wan et al. 2013) | [`drop_connect`](crate::drop_connect) with [`per_sample: true`](crate::DropConnectConfig::per_sample) |
//! | Concrete dropout (Gal et al. 2017) | [`concrete_dropout(vs, p)?`](crate::concrete_dropout) and its [`regularizer`](crate::ConcreteDropout::regularizer) |
//! | Mixout (Lee et al. 2020) | dropout of the difference from the pretrained weight, below |
//! | DropEdge (Rong et al. 2020) | the edges that a mask keeps, below |
//! | DropKey (Li et al. 2023) | a mask of [`Attention`](crate::Attention), below |
//! | R-Drop (Liang et al. 2021) | two copies of the batch in one pass, below |
//!
//! ```
//! use tch::{nn::ModuleT, Device, Kind, Reduction, Tensor};
//! use tch_dropout::{Attention, Dropout, TrueDropout};
//!
//! # let (train, float) = (true, (Kind::Float, Device::Cpu));
//! # let (weight, pretrained, x) = (Tensor::randn([4, 8], float), Tensor::randn([4, 8], float), Tensor::randn([3, 8], float));
//! // Mixout: each weight is the pretrained one with probability 0.7.
//! let mixout = TrueDropout::elements(0.7)?;
//! let mixed = mixout.forward_add(&(&weight - &pretrained), &pretrained, train);
//! let y = x.linear(&mixed, None::<&Tensor>);
//!
//! # let edges = Tensor::arange(20, (Kind::Int64, Device::Cpu)).reshape([2, 10]);
//! // DropEdge: a graph's edges, [2, E].
//! let kept = Dropout::elements(0.3)?.draw_mask(&edges.get(0), train)?;
//! let edges = edges.index_select(1, &kept.nonzero().squeeze_dim(1));
//!
//! # let [query, key, value] = [(); 3].map(|()| Tensor::randn([2, 4, 10, 16], float));
//! // DropKey: keys that take no part, [N, heads, T, S].
//! let scores = Tensor::ones([2, 4, 10, 10], (Kind::Float, Device::Cpu));
//! let takes_part = Dropout::elements(0.1)?.draw_mask(&scores, train)?.to_kind(Kind::Bool);
//! let found = Attention::new(0.0)?.forward(&query, &key, &value, Some(&takes_part), train);
//!
//! # let (model, labels) = (TrueDropout::elements(0.5)?, Tensor::from_slice(&[0i64, 3, 7]));
//! // R-Drop: both passes learn the labels, and to agree.
//! let both = model.forward_t(&Tensor::cat(&[&x, &x], 0), true).log_softmax(1, None).chunk(2, 0);
//! let kl = |a: &Tensor, b: &Tensor| b.kl_div(a, Reduction::Sum, true) / a.size()[0] as f64;
//! let agree = (kl(&both[0], &both[1]) + kl(&both[1], &both[0])) / 2.0;
//! let loss = both[0].nll_loss(&labels) + both[1].nll_loss(&labels) + agree * 1.0;
//! # assert_eq!((y.size(), found.size(), loss.size()), (vec![3, 4], vec![2, 4, 10, 16], vec![]));
//! # assert_eq!(edges.size()[0], 2);
//! # Ok::<(), tch_dropout::Error>(())
//! ```
//!
//! # candle and burn
//!
//! Both draw per element. candle's layer takes a `train` flag, as here. burn's has no flag, and drops where gradients are
//! recorded, which the backend decides in burn 0.21, and the device from 0.22 on, unless the layer is frozen.
//!
//! ```
//! use tch::{nn::ModuleT, Device, Kind, Tensor};
//! use tch_dropout::TrueDropout;
//!
//! // candle: candle_nn::Dropout::new(0.5)
//! // burn: DropoutConfig::new(0.5).init()
//! let layer = TrueDropout::elements(0.5)?;
//!
//! let x = Tensor::randn([32, 64], (Kind::Float, Device::Cpu));
//! // candle: layer.forward(&x, true)?
//! // burn: layer.forward(x), where gradients are recorded
//! let y = layer.f_forward_t(&x, true)?;
//! // candle: layer.forward(&x, false)?
//! // burn: layer.forward(x), on model.valid()
//! let same = layer.f_forward_t(&x, false)?;
//! # assert_eq!(same, x);
//! # assert_eq!(layer.draw_mask(&x, true)?.size(), y.size());
//! # Ok::<(), tch_dropout::Error>(())
//! ```
//!
//! [`TchError`]: https://docs.rs/tch/latest/tch/enum.TchError.html
//! [`tch::manual_seed`]: https://docs.rs/tch/latest/tch/fn.manual_seed.html
