//! `MultiHeadAttention`: the projections and heads of PyTorch's module, around attention with dropout.

mod common;

use std::cell::RefCell;
use std::collections::BTreeMap;

use common::{
    alone, assert_binomial, assert_close, assert_same_bits, count_kept, device, elements, float,
    gradient, nonzero, panic_text, seeded,
};
use tch::nn::{self, ModuleT};
use tch::{Kind, Tensor};
use tch_dropout::{
    Attention, Error, InProjection, MonteCarlo, MultiHeadAttention, MultiHeadAttentionConfig,
    NoiseShape, Stream, multi_head_attention,
};

const P: f64 = 0.3;
const SEED: u64 = 7;
const FEATURES: i64 = 24;
const HEADS: i64 = 6;

/// A layer in f64, with biases that are not 0.
fn layer(vs: &mut nn::VarStore, config: MultiHeadAttentionConfig) -> MultiHeadAttention {
    let layer = multi_head_attention(vs.root(), FEATURES, HEADS, config).unwrap().with_seed(SEED);
    vs.double();
    tch::no_grad(|| {
        for mut variable in vs.trainable_variables() {
            let _ = variable.uniform_(-0.5, 0.5);
        }
    });
    layer
}

fn store() -> nn::VarStore {
    nn::VarStore::new(device())
}

fn sequences(n: i64, length: i64) -> Tensor {
    Tensor::randn([n, length, FEATURES], (Kind::Double, device()))
}

/// The projections' weights, where there is one variable for all three.
fn packed(layer: &MultiHeadAttention) -> &Tensor {
    match &layer.in_proj {
        InProjection::Packed(weight) => weight,
        InProjection::Separate(_) => panic!("the weights are separate"),
    }
}

/// The layer by its definition: head by head, each with its own rows and columns of the weights. `masks` are
/// what dropout multiplies the weights by.
fn by_hand(
    layer: &MultiHeadAttention,
    kv_heads: i64,
    [query, key, value]: [&Tensor; 3],
    part: &Tensor,
    masks: &Tensor,
) -> Tensor {
    let size = FEATURES / HEADS;
    let rows = |x: &Tensor, first: i64| {
        let weight = packed(layer).narrow(0, first, size);
        let bias = layer.in_proj_bias.as_ref().map(|bias| bias.narrow(0, first, size));
        let projected = x.matmul(&weight.tr());
        bias.map_or(projected.shallow_clone(), |bias| projected + bias)
    };
    let mut y = Tensor::zeros(query.size(), (Kind::Double, device()));
    for head in 0..HEADS {
        let shared = head / (HEADS / kv_heads);
        let q = rows(query, head * size);
        let k = rows(key, FEATURES + shared * size);
        let v = rows(value, FEATURES + (kv_heads + shared) * size);
        let powers =
            (q.matmul(&k.transpose(1, 2)) / (size as f64).sqrt()).exp() * part.select(1, 0);
        let weights = &powers / powers.sum_dim_intlist([2].as_slice(), true, Kind::Double);
        let found = (weights * masks.select(1, head)).matmul(&v);
        y = &y + found.matmul(&layer.out_proj.ws.narrow(1, head * size, size).tr());
    }
    layer.out_proj.bs.iter().fold(y, |y, bias| y + bias)
}

fn configs() -> Vec<MultiHeadAttentionConfig> {
    let mut configs = Vec::new();
    for kv_heads in [None, Some(1), Some(3)] {
        for (causal, bias) in [(false, true), (true, true), (false, false)] {
            configs.push(MultiHeadAttentionConfig {
                p: P,
                causal,
                bias,
                kv_heads,
                ..Default::default()
            });
        }
    }
    configs
}

#[test]
fn it_is_its_definition_head_by_head() {
    let _generator = seeded();
    for config in configs() {
        let mut vs = store();
        let layer = layer(&mut vs, config);
        let kv_heads = config.kv_heads.unwrap_or(HEADS);
        let (x, encoded, other) = (sequences(2, 4), sequences(2, 5), sequences(2, 5));
        let mask = Tensor::rand([2, 1, 4, 5], float()).gt(0.4);
        let _ = mask.narrow(3, 0, 1).fill_(1);
        for ([query, key, value], mask) in [
            ([&x, &x, &x], None),
            ([&x, &encoded, &other], None),
            ([&x, &encoded, &other], Some(&mask)),
        ] {
            let keys = key.size()[1];
            let mut part = Tensor::ones([2, 1, 4, keys], (Kind::Double, device()));
            part = mask.map_or(part.shallow_clone(), |mask| part * mask);
            if config.causal {
                part = part.tril(0);
            }
            let weights = Tensor::ones([2, HEADS, 4, keys], (Kind::Double, device()));
            let masks = elements(P).with_seed(SEED).draw_mask(&weights, true).unwrap();
            for (train, masks) in [(true, &masks), (false, &weights)] {
                layer.stream().unwrap().set_step(0).unwrap();
                let y = layer.forward(query, key, value, mask, train);
                let expected = by_hand(&layer, kv_heads, [query, key, value], &part, masks);
                assert_close(&y, &expected, 1e-12);
            }
        }
    }
}

/// The function behind PyTorch's module in inference. It takes no grouped heads, and its mask is true for
/// what takes no part.
#[test]
fn in_evaluation_it_is_pytorchs() {
    let _alone = alone();
    tch::manual_seed(2);
    let vs = store();
    let layer = multi_head_attention(vs.root(), FEATURES, HEADS, Default::default()).unwrap();
    let x = Tensor::randn([2, 5, FEATURES], float());
    let part = Tensor::from_slice(&[true, true, true, true, true, true, true, true, false, false]);
    let part = part.reshape([2, 5]).to_device(device());
    // With a mask in any case, since tch 0.17 passes an undefined one for none.
    for part in [part.ones_like(), part] {
        let (theirs, _) = tch::no_grad(|| {
            Tensor::internal_native_multi_head_attention(
                &x,
                &x,
                &x,
                FEATURES,
                HEADS,
                packed(&layer),
                layer.in_proj_bias.as_ref().unwrap(),
                &layer.out_proj.ws,
                layer.out_proj.bs.as_ref().unwrap(),
                Some(part.logical_not()),
                false,
                true,
                1, // A mask of keys.
            )
        });
        let part = part.reshape([2, 1, 1, 5]);
        assert_close(&layer.forward(&x, &x, &x, Some(&part), false), &theirs, 1e-5);
    }
}

#[test]
fn self_attention_is_attention_to_itself() {
    let _alone = alone();
    tch::manual_seed(3);
    for config in configs() {
        let mut vs = store();
        let layer = layer(&mut vs, config);
        let x = sequences(2, 5);
        for train in [true, false] {
            layer.stream().unwrap().set_step(0).unwrap();
            let y = layer.forward_t(&x, train);
            layer.stream().unwrap().set_step(0).unwrap();
            assert_close(&y, &layer.forward(&x, &x, &x, None, train), 1e-13);
        }
    }
}

fn shapes(vs: &nn::VarStore) -> BTreeMap<String, Vec<i64>> {
    vs.variables().into_iter().map(|(name, variable)| (name, variable.size())).collect()
}

#[test]
fn its_variables_are_those_of_pytorchs_module() {
    let _generator = seeded();
    let expect = |config: MultiHeadAttentionConfig, expected: &[(&str, &[i64])]| {
        let vs = store();
        multi_head_attention(vs.root() / "self_attn", FEATURES, HEADS, config).unwrap();
        let expected =
            expected.iter().map(|&(name, size)| (format!("self_attn.{name}"), size.to_vec()));
        assert_eq!(shapes(&vs), expected.collect());
    };
    let config = MultiHeadAttentionConfig::default();
    let weights: [(&str, &[i64]); 2] =
        [("in_proj_weight", &[72, 24]), ("out_proj.weight", &[24, 24])];
    let biases: [(&str, &[i64]); 2] = [("in_proj_bias", &[72]), ("out_proj.bias", &[24])];
    expect(config, &[weights, biases].concat());
    expect(MultiHeadAttentionConfig { bias: false, ..config }, &weights);
    let grouped: [(&str, &[i64]); 2] = [("in_proj_weight", &[40, 24]), weights[1]];
    expect(MultiHeadAttentionConfig { bias: false, kv_heads: Some(2), ..config }, &grouped);
}

#[test]
fn a_state_dict_is_saved_and_loaded() {
    let _generator = seeded();
    let file = tempfile::NamedTempFile::with_suffix(".safetensors").unwrap();
    let random = |size: &[i64]| Tensor::randn(size, float());
    let state = [
        ("in_proj_weight", random(&[3 * FEATURES, FEATURES])),
        ("in_proj_bias", random(&[3 * FEATURES])),
        ("out_proj.weight", random(&[FEATURES, FEATURES])),
        ("out_proj.bias", random(&[FEATURES])),
    ];
    Tensor::write_safetensors(&state, file.path()).unwrap();
    let mut vs = store();
    let layer = multi_head_attention(vs.root(), FEATURES, HEADS, Default::default()).unwrap();
    vs.load(file.path()).unwrap();
    let found = [
        packed(&layer),
        layer.in_proj_bias.as_ref().unwrap(),
        &layer.out_proj.ws,
        layer.out_proj.bs.as_ref().unwrap(),
    ];
    for ((_, expected), found) in state.iter().zip(found) {
        assert_same_bits(found, expected);
    }
}

/// Grouped heads are a full layer whose heads have the same rows for their keys and values.
#[test]
fn grouped_heads_are_repeated_rows() {
    let _generator = seeded();
    let (mut vs, mut full_vs) = (store(), store());
    let config = MultiHeadAttentionConfig { p: P, ..Default::default() };
    let grouped = layer(&mut vs, MultiHeadAttentionConfig { kv_heads: Some(2), ..config });
    let full = layer(&mut full_vs, config);
    let repeated = |x: &Tensor| {
        let parts = x.split_with_sizes([24, 8, 8], 0);
        let repeat = |x: &Tensor| {
            let heads = x.unflatten(0, [2, 4]);
            heads.repeat_interleave_self_int(3, 0, None).flatten(0, 1)
        };
        Tensor::cat(&[parts[0].shallow_clone(), repeat(&parts[1]), repeat(&parts[2])], 0)
    };
    tch::no_grad(|| {
        let mut full = full;
        packed(&full).shallow_clone().copy_(&repeated(packed(&grouped)));
        full.in_proj_bias
            .as_mut()
            .unwrap()
            .copy_(&repeated(grouped.in_proj_bias.as_ref().unwrap()));
        full.out_proj.ws.copy_(&grouped.out_proj.ws);
        full.out_proj.bs.as_mut().unwrap().copy_(grouped.out_proj.bs.as_ref().unwrap());
        let x = sequences(2, 5);
        for train in [true, false] {
            assert_close(&grouped.forward_t(&x, train), &full.forward_t(&x, train), 1e-12);
        }
    });
}

/// As `nn.MultiheadAttention` begins: Glorot's uniform distribution, the linear layer's, and biases of 0.
#[test]
fn the_variables_begin_as_pytorchs() {
    let _generator = seeded();
    let vs = store();
    let layer = multi_head_attention(vs.root(), 256, 4, Default::default()).unwrap();
    for (weight, bound) in
        [(packed(&layer), (6.0f64 / 1024.0).sqrt()), (&layer.out_proj.ws, 1.0 / 16.0)]
    {
        let largest = weight.abs().max().double_value(&[]);
        assert!(largest <= bound && largest > 0.99 * bound, "{largest} of {bound}");
        let variance = weight.square().mean(Kind::Float).double_value(&[]);
        assert!((variance / (bound * bound / 3.0) - 1.0).abs() < 0.02, "{variance}");
    }
    assert_eq!(count_kept(layer.in_proj_bias.as_ref().unwrap()), 0.0);
    assert_eq!(count_kept(layer.out_proj.bs.as_ref().unwrap()), 0.0);
}

#[test]
fn all_variables_and_inputs_have_gradients() {
    let _generator = seeded();
    let mut vs = store();
    let layer =
        layer(&mut vs, MultiHeadAttentionConfig { p: P, kv_heads: Some(2), ..Default::default() });
    let inputs =
        [sequences(2, 4), sequences(2, 5), sequences(2, 5)].map(|x| x.set_requires_grad(true));
    let [query, key, value] = &inputs;
    let sum = layer.forward(query, key, value, None, true).sin().sum(Kind::Double);
    let all: Vec<Tensor> =
        inputs.iter().map(Tensor::shallow_clone).chain(vs.trainable_variables()).collect();
    let gradients: Vec<Tensor> = all.iter().map(|x| gradient(&sum, x)).collect();
    assert_eq!(gradients.len(), 7);
    // Central differences of one number of each.
    let value_of = || {
        layer.stream().unwrap().set_step(0).unwrap();
        let [query, key, value] = &inputs;
        tch::no_grad(|| {
            layer.forward(query, key, value, None, true).sin().sum(Kind::Double).double_value(&[])
        })
    };
    for (x, gradient) in all.iter().zip(gradients) {
        let number = tch::no_grad(|| x.flatten(0, -1).get(3));
        let shift = |by: f64| {
            let _ = tch::no_grad(|| number.shallow_clone().g_add_scalar_(by));
            value_of()
        };
        let (above, below) = (shift(1e-6), shift(-2e-6));
        shift(1e-6);
        let analytical = gradient.flatten(0, -1).double_value(&[3]);
        assert!(analytical != 0.0);
        assert!(((above - below) / 2e-6 - analytical).abs() < 1e-7, "{analytical}");
    }
}

#[test]
fn evaluation_drops_nothing() {
    let _generator = seeded();
    let x = Tensor::randn([2, 5, FEATURES], float());
    let vs = store();
    for p in [0.0, P, 1.0] {
        let config = MultiHeadAttentionConfig { p, ..Default::default() };
        let layer = multi_head_attention(
            vs.root() / p.to_string().replace('.', "_"),
            FEATURES,
            HEADS,
            config,
        )
        .unwrap()
        .with_seed(SEED);
        let y = layer.forward_t(&x, false);
        assert_same_bits(&layer.forward_t(&x, false), &y);
        assert_eq!(layer.stream().map(Stream::step), Some(0));
        layer.set_p(0.0).unwrap();
        assert_same_bits(&layer.forward_t(&x, true), &y);
        assert_eq!(layer.stream().map(Stream::step), Some(0));
    }
}

#[test]
fn it_has_a_stream_as_any_layer() {
    let _generator = seeded();
    let vs = store();
    let layer = multi_head_attention(vs.root(), FEATURES, HEADS, Default::default()).unwrap();
    assert!(layer.stream().is_none());
    assert_eq!(layer.p(), 0.1);
    let layer = layer.with_stream(Stream::new(SEED).with_worker(1));
    let x = Tensor::randn([2, 5, FEATURES], float());
    let (first, second) = (layer.forward_t(&x, true), layer.forward_t(&x, true));
    assert_ne!(first, second);
    assert_eq!(layer.stream().map(Stream::step), Some(2));
    layer.stream().unwrap().set_step(1).unwrap();
    assert_same_bits(&layer.forward_t(&x, true), &second);
}

/// With weights that are identities and inputs of 0 and one feature of 1, the outputs are counts of kept
/// weights.
#[test]
fn it_draws_in_evaluation_under_monte_carlo_for_each_pass_anew() {
    let _alone = alone();
    tch::manual_seed(4);
    const LENGTH: i64 = 64;
    let vs = store();
    let config = MultiHeadAttentionConfig { p: P, bias: false, ..Default::default() };
    let mut layer = multi_head_attention(vs.root(), LENGTH, 1, config).unwrap();
    tch::no_grad(|| {
        let _ = packed(&layer).shallow_clone().zero_();
        packed(&layer).narrow(0, 2 * LENGTH, LENGTH).copy_(&Tensor::eye(LENGTH, float()));
        layer.out_proj.ws.copy_(&Tensor::eye(LENGTH, float()));
    });
    let x = Tensor::eye(LENGTH, float()).expand([3, LENGTH, LENGTH], false);
    for fold in [1, 4] {
        let passes: RefCell<Vec<Tensor>> = RefCell::default();
        let model = |x: &Tensor, train: bool| {
            assert!(!train);
            let y = layer.forward_t(x, train);
            passes.borrow_mut().extend(y.chunk(x.size()[0] / 3, 0));
            y.flatten(1, -1)
        };
        MonteCarlo::new(9).unwrap().fold(fold).unwrap().predict(model, &x).unwrap();
        let mut passes = passes.into_inner();
        // At last, with more than one pass at a time, two copies of which nothing is dropped.
        assert_eq!(passes.split_off(9).len(), if fold > 1 { 2 } else { 0 });
        for (i, y) in passes.iter().enumerate() {
            let n = y.numel() as f64;
            assert_binomial(count_kept(y), n, 1.0 - P);
            for other in &passes[..i] {
                assert_binomial(count_kept(&(y * other)), n, (1.0 - P) * (1.0 - P));
            }
        }
    }
}

#[test]
fn an_input_that_does_not_fit_is_an_error_and_takes_no_step() {
    let _generator = seeded();
    let vs = store();
    let layer = multi_head_attention(vs.root(), FEATURES, HEADS, Default::default())
        .unwrap()
        .with_seed(SEED);
    let good = nonzero(&[2, 5, FEATURES]);
    for train in [true, false] {
        for size in [&[5, FEATURES][..], &[2, 5, 23], &[], &[2, 5, 0], &[1, 2, 5, FEATURES]] {
            let wrong = Tensor::zeros(size, float());
            let text =
                format!("multi-head attention needs inputs of shape [N, T, 24], got {size:?}");
            assert_eq!(layer.f_forward_t(&wrong, train).unwrap_err().to_string(), text);
            for [query, key, value] in
                [[&wrong, &good, &good], [&good, &wrong, &good], [&good, &good, &wrong]]
            {
                let error = layer.f_forward(query, key, value, None, train).unwrap_err();
                assert_eq!(error.to_string(), text);
            }
        }
        let longer = nonzero(&[2, 6, FEATURES]);
        let error = layer.f_forward(&good, &good, &longer, None, train).unwrap_err();
        assert!(matches!(error, Error::AttentionShapes { expected: "a value for each key", .. }));
        let batch = nonzero(&[3, 5, FEATURES]);
        assert!(layer.f_forward(&good, &batch, &batch, None, train).is_err());
        assert!(layer.f_forward_t(&good.to_kind(Kind::Double), train).is_err());
        let mask = Tensor::ones([2, 5], (Kind::Bool, device()));
        let error = layer.f_forward(&good, &good, &good, Some(&mask), train).unwrap_err();
        assert!(matches!(error, Error::AttentionMask { .. }));
    }
    assert_eq!(layer.stream().map(Stream::step), Some(0));
    let panic = panic_text(std::panic::AssertUnwindSafe(|| {
        let _ = layer.forward_t(&nonzero(&[2, 5, 23]), true);
    }));
    let text = "multi-head attention needs inputs of shape [N, T, 24], got [2, 5, 23]";
    assert_eq!(panic, format!("{layer}: {text}"));
}

#[test]
fn heads_that_do_not_fit_are_an_error_and_nothing_is_added() {
    let _generator = seeded();
    let vs = store();
    for (embed_dim, num_heads, kv_heads) in
        [(8, 3, None), (0, 1, None), (8, 0, None), (8, -2, None), (-8, 2, None), (8, 4, Some(3))]
            .into_iter()
            .chain([(8, 4, Some(0)), (8, 4, Some(-1)), (8, 4, Some(8))])
    {
        let config = MultiHeadAttentionConfig { kv_heads, ..Default::default() };
        let error = multi_head_attention(vs.root(), embed_dim, num_heads, config).unwrap_err();
        let kv_heads = kv_heads.unwrap_or(num_heads);
        let text = format!(
            "embed_dim must be a positive multiple of num_heads, and num_heads of kv_heads, \
             got embed_dim {embed_dim}, num_heads {num_heads} and kv_heads {kv_heads}"
        );
        assert_eq!(error.to_string(), text);
    }
    let config = MultiHeadAttentionConfig { p: 1.5, ..Default::default() };
    let error = multi_head_attention(vs.root(), 8, 2, config).unwrap_err();
    assert!(matches!(error, Error::Probability(p) if p == 1.5));
    assert!(vs.is_empty());
}

#[test]
fn an_empty_batch_and_kinds() {
    let _generator = seeded();
    for kind in [Kind::Float, Kind::Double, Kind::BFloat16, Kind::Half] {
        let mut vs = store();
        let layer = multi_head_attention(vs.root(), FEATURES, HEADS, Default::default())
            .unwrap()
            .with_seed(SEED);
        vs.set_kind(kind);
        let zeros = |size: [i64; 3]| Tensor::zeros(size, (kind, device()));
        assert_eq!(layer.forward_t(&zeros([0, 5, FEATURES]), true).size(), [0, 5, FEATURES]);
        assert_eq!(layer.forward_t(&zeros([2, 0, FEATURES]), true).size(), [2, 0, FEATURES]);
        assert_eq!(layer.stream().map(Stream::step), Some(0));
        let y = layer.forward_t(&Tensor::randn([2, 5, FEATURES], (kind, device())), true);
        assert_eq!((y.kind(), y.size()), (kind, vec![2, 5, FEATURES]));
        assert!(bool::try_from(y.isfinite().all()).unwrap());
        assert_eq!(layer.stream().map(Stream::step), Some(1));
    }
}

#[test]
fn it_prints_itself_in_a_line_and_fits_a_sequence() {
    let _generator = seeded();
    let vs = store();
    let config = MultiHeadAttentionConfig { kv_heads: Some(2), causal: true, ..Default::default() };
    let layer = multi_head_attention(vs.root(), FEATURES, HEADS, config).unwrap();
    let text = "MultiHeadAttention(embed_dim=24, num_heads=6, kv_heads=2, p=0.1, causal=true)";
    assert_eq!(layer.to_string(), text);
    assert_eq!(format!("{layer:#?}"), text);
    let _ = nn::seq_t().add(layer);
}

/// PyTorch's names, shapes and order; each its own Glorot distribution.
#[test]
fn keys_and_values_of_other_sizes_have_weights_of_their_own() {
    let _generator = seeded();
    for (kdim, vdim) in [(Some(10), Some(7)), (Some(10), None), (None, Some(7))] {
        let mut vs = store();
        let config =
            MultiHeadAttentionConfig { kdim, vdim, kv_heads: Some(2), p: P, ..Default::default() };
        let layer = layer(&mut vs, config);
        let (kdim, vdim) = (kdim.unwrap_or(FEATURES), vdim.unwrap_or(FEATURES));
        let expected = [
            ("in_proj_bias", vec![40]),
            ("k_proj_weight", vec![8, kdim]),
            ("out_proj.bias", vec![24]),
            ("out_proj.weight", vec![24, 24]),
            ("q_proj_weight", vec![24, 24]),
            ("v_proj_weight", vec![8, vdim]),
        ];
        let found = shapes(&vs);
        let expected: BTreeMap<_, _> =
            expected.into_iter().map(|(name, size)| (name.into(), size)).collect();
        assert_eq!(found, expected);
        let InProjection::Separate(weights) = &layer.in_proj else { panic!("packed") };
        let fresh_vs = store();
        let fresh = multi_head_attention(fresh_vs.root(), FEATURES, HEADS, config).unwrap();
        let InProjection::Separate(fresh) = &fresh.in_proj else { panic!("packed") };
        for weight in fresh {
            let bound = (6.0 / weight.size().iter().sum::<i64>() as f64).sqrt();
            let largest = weight.abs().max().double_value(&[]);
            assert!(largest <= bound && largest > 0.9 * bound, "{largest} of {bound}");
        }

        // The same as projecting first, and then a layer whose own projections do nothing.
        let random = |size: &[i64]| Tensor::randn(size, (Kind::Double, device()));
        let inputs = [random(&[2, 5, FEATURES]), random(&[2, 6, kdim]), random(&[2, 6, vdim])];
        let [query, key, value] = inputs.each_ref();
        let biases = layer.in_proj_bias.as_ref().unwrap().split_with_sizes([24, 8, 8], 0);
        let heads = |i: usize| {
            inputs[i].linear(&weights[i], Some(&biases[i])).unflatten(-1, [-1, 4]).transpose(1, 2)
        };
        let found = Attention::new(P).unwrap().with_seed(3).forward(
            &heads(0),
            &heads(1),
            &heads(2),
            None,
            true,
        );
        let expected = found
            .transpose(1, 2)
            .flatten(2, 3)
            .linear(&layer.out_proj.ws, layer.out_proj.bs.as_ref());
        let layer = layer.with_seed(3);
        assert_close(&layer.forward(query, key, value, None, true), &expected, 1e-12);

        let error = layer.f_forward(query, query, query, None, true).unwrap_err().to_string();
        let features = if kdim == FEATURES { vdim } else { kdim };
        assert_eq!(
            error,
            format!(
                "multi-head attention needs inputs of shape [N, T, {features}], got [2, 5, 24]"
            )
        );
    }
    let config = MultiHeadAttentionConfig { vdim: Some(0), ..Default::default() };
    let error =
        multi_head_attention(store().root(), FEATURES, HEADS, config).unwrap_err().to_string();
    assert_eq!(error, "kdim and vdim must be positive, got kdim 24 and vdim 0");
}

#[test]
fn options_of_attention_reach_the_heads() {
    let _generator = seeded();
    let mut vs = store();
    let config =
        MultiHeadAttentionConfig { p: 0.5, causal_lower_right: true, ..Default::default() };
    let layer = layer(&mut vs, config).with_seed(1);
    let (query, key) = (sequences(2, 2), sequences(2, 5));
    let (y, weights) = layer.f_forward_with_weights(&query, &key, &key, None, false).unwrap();
    assert_close(&y, &layer.forward(&query, &key, &key, None, false), 1e-12);
    // The last query sees all keys, the first one all but the last.
    assert_eq!(count_kept(&weights), 2.0 * HEADS as f64 * 9.0);
    assert_eq!(count_kept(&weights.select(2, 0).select(2, 4)), 0.0);

    // One mask for the batch and all heads.
    let shared = layer.with_noise_shape(NoiseShape::Shared(vec![0, 1]));
    let x = sequences(1, 5).repeat([3, 1, 1]);
    let y = shared.forward(&x, &x, &x, None, true);
    assert_close(&y.get(0), &y.get(2), 1e-12);
}
