//! Models that `CModule::create_by_tracing` records: in training, a trace draws a new mask in each call, from
//! libtorch's generator, for a batch of any size; in evaluation it is the identity.

mod common;

use common::{
    SHAPES, assert_binomial, assert_close, assert_same_bits, count_kept, device, float, gradient,
    nonzero,
};
use tch::nn::{self, ModuleT};
use tch::{CModule, Kind, Tensor};
use tch_dropout::{
    AlphaDropout, Attention, DropBlock, DropConnectConfig, DropoutLayer, Error, GaussianDropout,
    Gru, GruConfig, Lstm, LstmConfig, MonteCarlo, MonteCarloError, MultiHeadAttentionConfig,
    NoiseShape, PatchDropout, RecurrentDropout, RnnT, StochasticDepth, Stream, TrueDropout,
    WeightDrop, Zoneout, apply_mask, column_mask, drop_connect, dropout, element_mask,
    feature_dropout, gru, lstm, multi_head_attention,
};

/// Rescaled by 4, which every floating-point kind holds.
const P: f64 = 0.75;

fn trace(x: &Tensor, model: impl Fn(&Tensor) -> Tensor) -> CModule {
    // On a GPU, libtorch would compile kernels for each of these hundreds of traces.
    tch::jit::set_tensor_expr_fuser_enabled(!device().is_cuda());
    let mut model = |inputs: &[Tensor]| vec![model(&inputs[0])];
    CModule::create_by_tracing("Model", "forward", &[x.shallow_clone()], &mut model).unwrap()
}

/// What traces of a model draw, each group of elements by itself: a row for each of two calls or more.
/// `mask` finds the numbers in an input and its output.
#[track_caller]
fn draws(
    model: impl Fn(&Tensor) -> Tensor,
    shape: &NoiseShape,
    mask: impl Fn(&Tensor, &Tensor) -> Tensor,
) -> Vec<Tensor> {
    let mut all = Vec::new();
    // Sizes of 1 must not look like dimensions that share a draw.
    for size in [[4, 6, 5], [1, 6, 1], [4, 1, 1], [1, 1, 1]] {
        let traced = trace(&nonzero(&size), &model);
        for rows in [4, 1, 30] {
            let x = nonzero(&[rows, 6, 5]);
            let noise = shape.resolve(&x.size()).unwrap();
            let mut draws = Vec::new();
            while draws.len() < 2 || draws.iter().map(Tensor::numel).sum::<usize>() < 500 {
                let mask = mask(&x, &traced.forward_ts(&[&x]).unwrap()).to_kind(Kind::Float);
                let dims = (0..).zip(&noise);
                let groups = dims
                    .fold(mask.shallow_clone(), |groups, (dim, &size)| groups.narrow(dim, 0, size));
                assert_close(&groups.expand_as(&mask), &mask, 1e-5);
                draws.push(groups.reshape([-1]));
            }
            all.push(Tensor::stack(&draws, 0));
        }
    }
    all
}

/// Asserts that traces keep elements with the layer's probability, whatever other groups and other calls drop.
#[track_caller]
fn assert_draws_bits(
    model: impl Fn(&Tensor) -> Tensor,
    shape: &NoiseShape,
    mask: impl Fn(&Tensor, &Tensor) -> Tensor,
) {
    for draws in draws(model, shape, mask) {
        assert_binomial(count_kept(&draws), draws.numel() as f64, 1.0 - P);
        // Each call draws anew: neighbours are equal as often as independent ones.
        let (earlier, later) = neighbours(&draws);
        let equal = P * P + (1.0 - P) * (1.0 - P);
        assert_binomial(count_kept(&earlier.eq_tensor(&later)), later.numel() as f64, equal);
    }
}

/// All calls but the last, and all but the first.
fn neighbours(calls: &Tensor) -> (Tensor, Tensor) {
    (calls.slice(0, 0, -1, 1), calls.slice(0, 1, None, 1))
}

/// Asserts that the trace of a model drops as a layer over `shape` does.
#[track_caller]
fn assert_drops(model: impl Fn(&Tensor) -> Tensor, shape: &NoiseShape, scale: f64) {
    assert_draws_bits(model, shape, |x, y| {
        let mask = y.ne(0);
        assert_same_bits(y, &(x * &mask * scale));
        mask
    });
}

fn check_layers<const RESCALE: bool>() {
    let scale = if RESCALE { 4.0 } else { 1.0 };
    for shape in SHAPES.into_iter().chain([NoiseShape::Shared(vec![1]), NoiseShape::Shared(vec![])])
    {
        let layer = DropoutLayer::<RESCALE>::new(P).unwrap().with_noise_shape(shape.clone());
        assert_drops(|x| layer.forward_t(x, true), &shape, scale);
        let masked = |x: &Tensor| apply_mask(x, &layer.draw_mask(x, true).unwrap()).unwrap();
        assert_drops(masked, &shape, scale);
        let added = |x: &Tensor| layer.forward_add(x, &x.zeros_like(), true);
        assert_drops(added, &shape, scale);
    }
}

#[test]
fn dropout_draws_anew_in_each_call() {
    check_layers::<false>();
}

#[test]
fn true_dropout_draws_anew_in_each_call() {
    check_layers::<true>();
}

#[test]
fn a_residual_is_an_input_of_the_trace() {
    for shape in SHAPES {
        let layer = TrueDropout::new(P).unwrap().with_noise_shape(shape);
        let mut model = |inputs: &[Tensor]| vec![layer.forward_add(&inputs[0], &inputs[1], true)];
        let inputs = [nonzero(&[3, 6]), nonzero(&[3, 6])];
        let traced = CModule::create_by_tracing("Model", "forward", &inputs, &mut model).unwrap();
        let (x, residual) = (nonzero(&[50, 6]), nonzero(&[50, 6]));
        let y = traced.forward_ts(&[&x, &residual]).unwrap();
        assert_same_bits(&y, &(&residual + &x * y.ne_tensor(&residual) * 4));
    }
}

/// `a x + b` if kept, and the negative saturation `a s + b` if dropped, by the paper's formula.
#[test]
fn alpha_dropout_draws_anew_in_each_call() {
    let s = -1.758_099_340_847_376_6;
    let a = ((1.0 - P) * (1.0 + P * s * s)).powf(-0.5);
    let b = -a * P * s;
    for shape in SHAPES {
        let layer = AlphaDropout::elements(P).unwrap().with_noise_shape(shape.clone());
        assert_draws_bits(
            |x| layer.forward_t(x, true),
            &shape,
            |x, y| {
                let mask = y.gt(0.5 * b); // Above 1, or below 0.
                let expected: Tensor = (x * a + b).where_scalarother(&mask, a * s + b);
                assert_close(y, &expected, 1e-5);
                mask
            },
        );
    }
}

#[test]
fn gaussian_dropout_draws_anew_in_each_call() {
    let deviation = (P / (1.0 - P)).sqrt();
    for shape in SHAPES {
        let layer = GaussianDropout::elements(P).unwrap().with_noise_shape(shape.clone());
        let model = |x: &Tensor| layer.forward_t(x, true);
        let masked = |x: &Tensor| apply_mask(x, &layer.draw_mask(x, true).unwrap()).unwrap();
        for all in [draws(model, &shape, |x, y| y / x), draws(masked, &shape, |x, y| y / x)] {
            for draws in all {
                let standard = (draws - 1) / deviation;
                let (earlier, later) = neighbours(&standard);
                // Of mean 0, variance 1 and no correlation with the call before, within 6 deviations.
                for (values, variance) in [
                    (standard.shallow_clone(), 1.0),
                    (standard.square() - 1, 2.0),
                    (earlier * later, 1.0),
                ] {
                    let bound = 6.0 * (variance / values.numel() as f64).sqrt();
                    let mean = values.mean(Kind::Float).double_value(&[]);
                    assert!(mean.abs() < bound, "{shape}: {mean} is not 0 within {bound}");
                }
            }
        }
    }
}

#[test]
fn functions_draw_anew_in_each_call() {
    assert_drops(|x| dropout(x, P, true), &NoiseShape::Elements, 4.0);
    assert_drops(|x| feature_dropout(x, P, true), &NoiseShape::Channels, 4.0);
    let columns = |x: &Tensor| apply_mask(x, &column_mask(x, P).unwrap()).unwrap();
    assert_drops(columns, &NoiseShape::Columns, 1.0);
    let elements = |x: &Tensor| apply_mask(x, &element_mask(x, P).unwrap()).unwrap();
    assert_drops(elements, &NoiseShape::Elements, 1.0);
}

/// Rows of the identity show the weight, so that a call is a mask. (libtorch traces no weight that asks for
/// a gradient.)
#[test]
fn drop_connect_draws_anew_in_each_call() {
    for (rescale, scale) in [(true, 4.0), (false, 1.0)] {
        let mut vs = nn::VarStore::new(device());
        let linear = nn::LinearConfig { bias: false, ..Default::default() };
        let config = DropConnectConfig { p: P, rescale, linear, ..Default::default() };
        let layer = drop_connect(vs.root(), 30, 20, config).unwrap();
        vs.freeze();
        let traced = trace(&nonzero(&[3, 30]), |x| layer.forward_t(x, true));
        let call = || traced.forward_ts(&[Tensor::eye(30, float())]).unwrap();
        let calls: Vec<Tensor> = (0..10).map(|_| call()).collect();
        for (i, y) in calls.iter().enumerate() {
            assert_same_bits(&y.abs(), &(layer.linear.ws.tr() * scale * y.ne(0)).abs());
            assert!(calls[..i].iter().all(|earlier| earlier != y));
        }
        assert_binomial(count_kept(&Tensor::cat(&calls, 0)), 10.0 * 600.0, 1.0 - P);
    }
}

/// The same row of ones for each sample, whose output is then the sum of what is kept of its weight.
#[test]
fn drop_connect_per_sample_draws_anew_for_each_sample_of_any_batch() {
    let mut vs = nn::VarStore::new(device());
    let linear = nn::LinearConfig { bias: false, ..Default::default() };
    let config = DropConnectConfig { p: P, rescale: false, per_sample: true, linear };
    let layer = drop_connect(vs.root(), 1, 20, config).unwrap();
    vs.freeze();
    for inner in [&[][..], &[3]] {
        let size = |samples| [&[samples], inner, &[1]].concat();
        let traced = trace(&nonzero(&size(3)), |x| layer.forward_t(x, true));
        let call = || traced.forward_ts(&[Tensor::ones(size(500), float())]).unwrap();
        let calls = [call(), call()];
        for y in &calls {
            assert_same_bits(&y.abs(), &(layer.linear.ws.tr() * y.ne(0)).abs());
            let of_samples = y.reshape([500, -1, 20]).select(1, 0);
            assert_eq!(
                y.reshape([500, -1, 20]),
                of_samples.unsqueeze(1).expand_as(&y.reshape([500, -1, 20]))
            );
            assert_binomial(count_kept(&of_samples), 500.0 * 20.0, 1.0 - P);
        }
        assert_ne!(calls[0], calls[1]);
    }
}

/// In heads that look at all of an identity matrix evenly, the output is the weights after dropout.
#[test]
fn attention_draws_anew_in_each_call() {
    const FEATURES: i64 = 8;
    for (causal, length, heads) in [(false, 8, 1), (false, 8, 4), (false, 5, 2), (true, 6, 2)] {
        let mut vs = nn::VarStore::new(device());
        let config = MultiHeadAttentionConfig { p: P, causal, ..Default::default() };
        let layer = multi_head_attention(vs.root(), FEATURES, heads, config).unwrap();
        vs.freeze();
        let eye = Tensor::eye(FEATURES, float());
        let mut in_weight = vs.variables()["in_proj_weight"].shallow_clone();
        in_weight.copy_(&Tensor::cat(&[&eye.zeros_like(), &eye.zeros_like(), &eye], 0));
        layer.out_proj.ws.shallow_clone().copy_(&eye);

        let x = |rows, length| eye.narrow(0, 0, length).repeat([rows, 1, 1]);
        let self_attention = |x: &Tensor| layer.forward_t(x, true);
        let masked = |x: &Tensor| {
            let all = x.select(2, 0).ones_like().unsqueeze(1).unsqueeze(1).to_kind(Kind::Bool);
            layer.forward(x, x, x, Some(&all), true)
        };
        for traced in [trace(&x(3, 1), self_attention), trace(&x(3, length), masked)] {
            let ones = Tensor::ones([length, length], float());
            let visible = if causal { ones.tril(0) } else { ones };
            let weights = visible.divide(&visible.sum_dim_intlist(1, true, None)) / (1.0 - P);
            let expected = weights.constant_pad_nd([0, FEATURES - length]);
            let calls: Vec<Tensor> =
                (0..2).map(|_| traced.forward_ts(&[x(500, length)]).unwrap()).collect();
            for y in &calls {
                assert_close(y, &(&expected * y.ne(0)), 1e-5);
                assert_binomial(count_kept(y), 500.0 * count_kept(&expected), 1.0 - P);
            }
            let n = 500.0 * count_kept(&expected);
            let both = (1.0 - P) * (1.0 - P);
            assert_binomial(count_kept(&(&calls[0] * &calls[1])), n, both);
        }
    }
}

#[test]
fn zoneout_draws_anew_in_each_call() {
    let zoneout = Zoneout::new(P).unwrap();
    let model = |x: &Tensor| zoneout.apply(&-x, x, true);
    assert_draws_bits(model, &NoiseShape::Elements, |x, y| {
        let updated = y.gt(0);
        assert_same_bits(y, &x.where_self(&updated, &-x));
        updated
    });
}

/// Each kind of dropout that a recurrent layer can have, and the names of what drops.
fn recurrent_dropouts(p: f64) -> [(&'static str, RecurrentDropout); 5] {
    let none = RecurrentDropout::default;
    let elements = TrueDropout::elements(p).unwrap();
    let locked = TrueDropout::shared(p, &[1]).unwrap();
    [
        ("weights", RecurrentDropout { weights: WeightDrop::new(p).unwrap(), ..none() }),
        ("state", RecurrentDropout { state: elements.clone(), ..none() }),
        ("zoneout", RecurrentDropout { zoneout: Zoneout::new(p).unwrap(), ..none() }),
        ("between", RecurrentDropout { between: elements, ..none() }),
        ("locked", RecurrentDropout { between: locked, ..none() }),
    ]
}

/// Two layers of two directions, from 3 features to 8. (libtorch traces no weights that ask for a gradient.)
fn recurrent_layers(dropout: &RecurrentDropout) -> (Lstm, Gru) {
    let mut vs = nn::VarStore::new(device());
    let dropout = dropout.clone();
    let rnn = nn::RNNConfig { num_layers: 2, bidirectional: true, ..Default::default() };
    let config = GruConfig { rnn, dropout: dropout.clone() };
    let gru = gru(vs.root() / "gru", 3, 4, config).unwrap();
    let cell_zoneout = dropout.zoneout.clone();
    let config = LstmConfig { rnn, dropout, cell_zoneout };
    let lstm = lstm(vs.root() / "lstm", 3, 4, config).unwrap();
    vs.freeze();
    (lstm, gru)
}

#[test]
fn recurrent_layers_draw_anew_in_each_call() {
    fn check(name: &str, layer: &impl RnnT) {
        let model = |x: &Tensor| layer.seq_t(x, true).0;
        let traced = trace(&nonzero(&[2, 5, 3]), model);
        let x = nonzero(&[3, 5, 3]);
        let calls = |call: &dyn Fn() -> Tensor| {
            let calls: Vec<Tensor> = (0..200).map(|_| call()).collect();
            assert!(calls.windows(2).all(|pair| pair[0] != pair[1]), "{name}: calls are equal");
            Tensor::stack(&calls, 0).to_kind(Kind::Double)
        };
        let (actual, expected) =
            (calls(&|| traced.forward_ts(&[&x]).unwrap()), calls(&|| model(&x)));
        // The outputs have the distribution that they have without a trace.
        for (a, b) in [
            (actual.shallow_clone(), expected.shallow_clone()),
            (actual.square(), expected.square()),
        ] {
            let variance = (a.var_dim(0, true, false) + b.var_dim(0, true, false)) / 200;
            let means = |t: &Tensor| t.mean_dim(0, false, Kind::Double);
            let apart = (means(&a) - means(&b)).abs() - variance.sqrt() * 6 - 1e-6;
            assert!(apart.max().double_value(&[]) <= 0.0, "{name}: {apart}");
        }
    }
    for (name, dropout) in recurrent_dropouts(0.5) {
        let (lstm, gru) = recurrent_layers(&dropout);
        check(name, &lstm);
        check(name, &gru);
    }
}

/// With all dropped, nothing is random: the trace computes what the layer does, for batches of other sizes.
#[test]
fn recurrent_layers_with_all_dropped() {
    fn check(layer: &impl RnnT) {
        let model = |x: &Tensor| layer.seq_t(x, true).0;
        for example in [[2, 5, 3], [1, 5, 3]] {
            let traced = trace(&nonzero(&example), model);
            for rows in [1, 2, 3, 20] {
                let x = nonzero(&[rows, 5, 3]);
                assert_close(&traced.forward_ts(&[&x]).unwrap(), &model(&x), 1e-6);
            }
        }
    }
    for (_, dropout) in recurrent_dropouts(1.0) {
        let (lstm, gru) = recurrent_layers(&dropout);
        check(&lstm);
        check(&gru);
    }
}

/// libtorch's operations would read beyond the state.
#[test]
fn a_traced_state_for_another_batch_is_an_error() {
    fn check(layer: &impl RnnT) {
        let traced =
            trace(&nonzero(&[2, 5, 3]), |x| layer.seq_init_t(x, &layer.zero_state(2), true).0);
        assert!(traced.forward_ts(&[nonzero(&[2, 5, 3])]).is_ok());
        for rows in [1, 3] {
            let error = traced.forward_ts(&[nonzero(&[rows, 5, 3])]).unwrap_err().to_string();
            let text = format!("expanded size of the tensor ({rows}) must match");
            assert!(error.contains(&text), "{error}");
        }
    }
    for (_, dropout) in recurrent_dropouts(0.5) {
        let (lstm, gru) = recurrent_layers(&dropout);
        check(&lstm);
        check(&gru);
    }
}

#[test]
fn every_kind_of_input() {
    use Kind::{BFloat16, Double, Float, Half, Int64};
    for shape in SHAPES {
        for kind in [Float, Double, Half, BFloat16, Int64] {
            let x = (nonzero(&[40, 30]) * 8).to_kind(kind);
            let plain = DropoutLayer::<false>::new(P).unwrap().with_noise_shape(shape.clone());
            let y = trace(&x, |x| plain.forward_t(x, true)).forward_ts(&[&x]).unwrap();
            assert_same_bits(&y, &(&x * y.ne(0)));
            let scaled = DropoutLayer::<true>::new(P).unwrap().with_noise_shape(shape.clone());
            let y = trace(&x, |x| scaled.forward_t(x, true)).forward_ts(&[&x]).unwrap();
            let expected = &x * y.ne(0) * 4;
            assert_same_bits(&y, &expected.to_kind(if kind == Int64 { Float } else { kind }));
        }
    }
}

#[test]
fn the_gradient_is_the_mask() {
    for shape in SHAPES {
        let layer = TrueDropout::new(P).unwrap().with_noise_shape(shape);
        for traced_with_gradient in [false, true] {
            let example = nonzero(&[3, 6]).set_requires_grad(traced_with_gradient);
            let traced = trace(&example, |x| layer.forward_t(x, true));
            let x = nonzero(&[5, 6]).set_requires_grad(true);
            let y = traced.forward_ts(&[&x]).unwrap();
            let expected = y.detach().ne(0) * 4;
            assert_same_bits(&gradient(&y.sum(Kind::Float), &x), &expected.to_kind(Kind::Float));
        }
    }
}

#[test]
fn all_dropped_and_nothing_dropped() {
    let x = nonzero(&[4, 6]);
    for shape in SHAPES {
        let layer = |p| TrueDropout::new(p).unwrap().with_noise_shape(shape.clone());
        let all = trace(&x, |x| layer(1.0).forward_t(x, true));
        assert_same_bits(&all.forward_ts(&[&x]).unwrap(), &x.zeros_like());
        let none = trace(&x, |x| layer(0.0).forward_t(x, true));
        let other = nonzero(&[7, 6]);
        assert_same_bits(&none.forward_ts(&[&other]).unwrap(), &other);
    }
}

#[test]
fn a_saved_trace_draws_too() {
    let file = tempfile::NamedTempFile::with_suffix(".pt").unwrap();
    let layer = TrueDropout::columns(P).unwrap();
    trace(&nonzero(&[3, 8]), |x| layer.forward_t(x, true)).save(file.path()).unwrap();
    let loaded = CModule::load_on_device(file.path(), device()).unwrap();
    let x = nonzero(&[5, 8]);
    let calls: Vec<Tensor> = (0..200).map(|_| loaded.forward_ts(&[&x]).unwrap()).collect();
    let mut columns = 0.0;
    for y in &calls {
        assert_same_bits(y, &(&x * y.get(0).ne(0) * 4));
        columns += count_kept(&y.get(0));
    }
    assert_binomial(columns, 200.0 * 8.0, 1.0 - P);
}

#[test]
fn a_layer_with_a_seed_is_an_error_and_takes_no_step() {
    let vs = nn::VarStore::new(device());
    let weights = drop_connect(vs.root(), 6, 6, Default::default()).unwrap().with_seed(1);
    let text = "a layer with a seed cannot be traced in training, since a trace cannot advance the \
                stream's step: trace it without a seed, or in evaluation";
    let check = |result: Result<Tensor, Error>| {
        let error = result.unwrap_err();
        assert!(matches!(error, Error::Traced));
        assert_eq!(error.to_string(), text);
    };
    for shape in SHAPES {
        let layer = TrueDropout::new(0.5).unwrap().with_noise_shape(shape).with_seed(1);
        trace(&nonzero(&[4, 6]), |x| {
            check(layer.f_forward_t(x, true));
            check(layer.draw_mask(x, true));
            check(weights.f_forward_t(x, true));
            x * 2
        });
        assert_eq!(layer.stream().map(Stream::step), Some(0));
        assert_eq!(weights.stream().map(Stream::step), Some(0));
        // When the trace ends the layer is as before.
        assert!(layer.f_forward_t(&nonzero(&[4, 6]), true).is_ok());
    }
}

#[test]
fn any_other_layer_with_a_seed_is_an_error_too() {
    let mut vs = nn::VarStore::new(device());
    let elements = TrueDropout::elements(P).unwrap().with_seed(1);
    let alpha = AlphaDropout::elements(P).unwrap().with_seed(1);
    let gaussian = GaussianDropout::elements(P).unwrap().with_seed(1);
    let zoneout = Zoneout::new(P).unwrap().with_seed(1);
    let attention = Attention::new(P).unwrap().with_seed(1);
    let heads = multi_head_attention(vs.root(), 6, 2, Default::default()).unwrap().with_seed(1);
    let (depth, blocks) = (StochasticDepth::new(P).unwrap(), DropBlock::new(P, 2).unwrap());
    let (depth, blocks) = (depth.with_seed(1), blocks.with_seed(1));
    let patches = PatchDropout::new(P).unwrap().with_seed(1);
    vs.freeze();
    trace(&nonzero(&[2, 4, 6]), |x| {
        for result in [
            elements.f_forward_add(x, x, true),
            alpha.f_forward_t(x, true),
            gaussian.f_forward_t(x, true),
            gaussian.draw_mask(x, true),
            zoneout.f_apply(x, x, true),
            attention.f_forward(x, x, x, None, true),
            heads.f_forward_t(x, true),
            depth.f_forward(x, |x| Ok(x * 2), true),
            blocks.f_forward_t(x, true),
            patches.f_forward_t(x, true),
        ] {
            assert!(matches!(result, Err(Error::Traced)));
        }
        x * 2
    });
    let streams = [
        elements.stream(),
        alpha.stream(),
        gaussian.stream(),
        zoneout.stream(),
        attention.stream(),
        heads.stream(),
        depth.stream(),
        blocks.stream(),
        patches.stream(),
    ];
    assert!(streams.iter().all(|stream| stream.map(Stream::step) == Some(0)));
}

#[test]
fn a_recurrent_layer_with_a_seed_is_an_error_too() {
    for (name, RecurrentDropout { between, weights, state, zoneout }) in recurrent_dropouts(0.5) {
        let (between, weights) = (between.with_seed(1), weights.with_seed(1));
        let (state, zoneout) = (state.with_seed(1), zoneout.with_seed(1));
        let (lstm, gru) = recurrent_layers(&RecurrentDropout { between, weights, state, zoneout });
        trace(&nonzero(&[2, 5, 3]), |x| {
            assert!(matches!(lstm.f_seq_t(x, true), Err(Error::Traced)), "{name}");
            assert!(matches!(gru.f_seq_t(x, true), Err(Error::Traced)), "{name}");
            x * 2
        });
    }
}

/// The trace would draw one mask for all folded passes. By itself, a pass can be traced.
#[test]
fn folded_passes_cannot_be_traced() {
    let layer = TrueDropout::elements(0.5).unwrap();
    let mut folded = 0;
    let model = |x: &Tensor, train| {
        let mut draw = |x: &Tensor| match layer.f_forward_t(x, train) {
            Ok(y) => y,
            Err(error) => {
                assert!(matches!(error, Error::MonteCarlo(MonteCarloError::Traced)), "{error}");
                folded += 1;
                x * 2
            }
        };
        let mut traced = |inputs: &[Tensor]| vec![draw(&inputs[0])];
        let inputs = [x.shallow_clone()];
        CModule::create_by_tracing("Model", "forward", &inputs, &mut traced).unwrap();
        layer.forward_t(x, train)
    };
    let _ = MonteCarlo::new(3).unwrap().fold(2).unwrap().predict(model, &nonzero(&[4, 6]));
    assert_eq!(folded, 1);
}

#[test]
fn in_evaluation_a_trace_is_the_identity() {
    let mut vs = nn::VarStore::new(device());
    let weights = drop_connect(vs.root(), 6, 2, Default::default()).unwrap().with_seed(1);
    vs.freeze();
    for shape in SHAPES {
        let layer = TrueDropout::new(0.5).unwrap().with_noise_shape(shape);
        for layer in [layer.clone(), layer.with_seed(1)] {
            let traced = trace(&nonzero(&[4, 6]), |x| layer.forward_t(x, false));
            let masked = |x: &Tensor| apply_mask(x, &layer.draw_mask(x, false).unwrap()).unwrap();
            let masked = trace(&nonzero(&[4, 6]), masked);
            for rows in [4, 1, 9] {
                let x = nonzero(&[rows, 6]);
                assert_same_bits(&traced.forward_ts(&[&x]).unwrap(), &x);
                assert_same_bits(&masked.forward_ts(&[&x]).unwrap(), &x);
            }
        }
    }
    let traced = trace(&nonzero(&[4, 6]), |x| weights.forward_t(x, false));
    let x = nonzero(&[9, 6]);
    assert_same_bits(&traced.forward_ts(&[&x]).unwrap(), &weights.forward_t(&x, false));
}

/// The diagonal ends with the last key of whatever sequence the trace gets.
#[test]
fn a_trace_of_causal_lower_right_takes_sequences_of_any_length() {
    let layer = Attention::new(P).unwrap().with_causal_lower_right(true);
    let forward = |x: &Tensor| layer.forward(&x.slice(1, 2, None, 1), x, x, None, false);
    let traced = trace(&Tensor::randn([2, 5, 4], float()), forward);
    for length in [3, 5, 9] {
        let x = Tensor::randn([2, length, 4], float());
        assert_close(&traced.forward_ts(&[&x]).unwrap(), &forward(&x), 1e-6);
    }
}
