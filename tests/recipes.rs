//! What is a few lines with the layers there are, and so has no layer of its own.

mod common;

use common::{assert_binomial, assert_same_bits, count_kept, float, gradient, nonzero, seeded};
use tch::nn::ModuleT;
use tch::{Kind, Tensor};
use tch_dropout::{
    Attention, Dropout, MonteCarlo, Streams, TrueDropout, apply_mask, stochastic_depth_rates,
};

/// fastai's `EmbeddingDropout`: a word of the vocabulary is dropped wherever it occurs.
fn embedding_dropout(weight: &Tensor, words: &Tensor, layer: &TrueDropout, train: bool) -> Tensor {
    let lookup = |table: &Tensor| Tensor::embedding(table, words, -1, false, false);
    let mask = layer.draw_mask(weight, train).unwrap_or_else(|error| panic!("{error}")); // [V, 1]
    apply_mask(&lookup(weight), &lookup(&mask)).unwrap()
}

fn words(size: &[i64], vocabulary: i64) -> Tensor {
    Tensor::randint(vocabulary, size, (Kind::Int64, common::device()))
}

#[test]
fn whole_words_are_dropped_wherever_they_occur() {
    let _generator = seeded();
    let (vocabulary, features) = (2000, 6);
    let weight = nonzero(&[vocabulary, features]);
    let words = words(&[30, 100], vocabulary);
    let layer = TrueDropout::shared(0.25, &[1]).unwrap();
    let y = embedding_dropout(&weight, &words, &layer, true);
    let plain = weight.index_select(0, &words.flatten(0, -1)).reshape_as(&y);
    let kept_words = y.select(2, 0).ne(0).to_kind(Kind::Float);
    assert_same_bits(&y, &(plain * (&kept_words / 0.75).unsqueeze(2)));
    let mut of_word = vec![None; vocabulary as usize];
    let flat = Vec::<i64>::try_from(words.flatten(0, -1)).unwrap();
    for (word, kept) in
        flat.into_iter().zip(Vec::<f32>::try_from(kept_words.flatten(0, -1)).unwrap())
    {
        let seen = of_word[word as usize].get_or_insert(kept);
        assert_eq!(*seen, kept, "word {word} is dropped in one place and kept in another");
    }
    let seen: Vec<f32> = of_word.into_iter().flatten().collect();
    assert_binomial(seen.iter().sum::<f32>().into(), seen.len() as f64, 0.75);
}

/// fastai multiplies the whole table, and then looks the words up. It is the same, for the same mask.
#[test]
fn it_is_fastais_without_a_pass_over_the_vocabulary() {
    let _generator = seeded();
    let weight = nonzero(&[50, 6]).set_requires_grad(true);
    let words = words(&[4, 10], 50);
    let layer = || TrueDropout::shared(0.5, &[1]).unwrap().with_seed(7);
    let y = embedding_dropout(&weight, &words, &layer(), true);
    let masked = &weight * layer().draw_mask(&weight, true).unwrap();
    let fastais = Tensor::embedding(&masked, &words, -1, false, false);
    assert_same_bits(&y, &fastais);
    let incoming = nonzero(&y.size());
    let gradient = |y: &Tensor| gradient(&(y * &incoming).sum(None), &weight);
    let (ours, theirs) = (gradient(&y), gradient(&fastais));
    assert!(ours.allclose(&theirs, 1e-5, 1e-6, false));
    // A word that is dropped or does not occur learns nothing.
    let rows = Tensor::zeros([50], float()).index_fill(0, &words.flatten(0, -1), 1.0)
        * layer().draw_mask(&weight, true).unwrap().squeeze_dim(1);
    assert_eq!(ours.abs().sum_dim_intlist([1].as_slice(), false, None).ne(0), rows.ne(0));
}

#[test]
fn evaluation_looks_words_up_and_monte_carlo_drops_them() {
    let _generator = seeded();
    let weight = nonzero(&[50, 6]);
    let words = words(&[4, 10], 50);
    let layer = TrueDropout::shared(0.5, &[1]).unwrap();
    let model = |words: &Tensor, train| embedding_dropout(&weight, words, &layer, train);
    let plain = Tensor::embedding(&weight, &words, -1, false, false);
    assert_same_bits(&model(&words, false), &plain);
    let found = MonteCarlo::new(100).unwrap().regress(model, &words).unwrap();
    assert_eq!(count_kept(&found.variance), found.variance.numel() as f64);
    // The table is no batch: several passes cannot share one draw of it.
    let folded = MonteCarlo::new(100).unwrap().fold(10).unwrap();
    let text =
        common::panic_text(std::panic::AssertUnwindSafe(|| drop(folded.regress(model, &words))));
    assert!(text.contains("copies of [50, 6] were expected in dimension 0"), "{text}");
}

/// EfficientNet's `drop_connect`: `inputs / keep * floor(keep + rand([N, 1, 1, 1]))`. It drops samples, and no weights.
#[test]
fn efficientnets_drop_connect_is_samples() {
    let _generator = seeded();
    let x = nonzero(&[1000, 3, 2, 2]);
    let y = TrueDropout::samples(0.2).unwrap().with_seed(1).forward_t(&x, true);
    let kept = y.narrow(1, 0, 1).narrow(2, 0, 1).narrow(3, 0, 1).ne(0).to_kind(Kind::Float); // [N, 1, 1, 1]
    assert!(y.allclose(&(&x / 0.8 * &kept), 1e-6, 0.0, false));
    assert_binomial(count_kept(&kept), 1000.0, 0.8);
}

/// Keras' `LSTM(units, dropout=rate)`: one mask of the inputs for all time steps.
#[test]
fn kerass_dropout_of_an_lstms_inputs_is_shared_over_time() {
    let _generator = seeded();
    let x = nonzero(&[50, 7, 20]);
    let y = TrueDropout::shared(0.3, &[1]).unwrap().with_seed(1).forward_t(&x, true);
    let kept = y.narrow(1, 0, 1).ne(0).to_kind(Kind::Float); // [N, 1, C]
    assert!(y.allclose(&(&x * &kept / 0.7), 1e-6, 0.0, false));
    assert_binomial(count_kept(&kept), 1000.0, 0.7);
}

/// timm's `calculate_drop_path_rates(p, depths, stagewise=True)`: `linspace(0, p, sum(depths))`, cut into stages.
#[test]
fn timms_rates_by_stage() {
    let depths = [2, 1, 3];
    let mut rates = stochastic_depth_rates(0.3, 6);
    let in_stages: Vec<Vec<f64>> =
        depths.iter().map(|&depth| rates.by_ref().take(depth).collect()).collect();
    let expected = [vec![0.0, 0.06], vec![0.12], vec![0.18, 0.24, 0.3]];
    for (found, expected) in in_stages.iter().zip(&expected) {
        assert_eq!(found.len(), expected.len());
        assert!(found.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-12));
    }
}

/// Mixout (Lee et al. 2020): `(m * u + (1 - m) * w - p * u) / (1 - p)`, where `m` is 1 with probability `p`.
#[test]
fn mixout_is_dropout_of_the_difference() {
    let _generator = seeded();
    let (weight, pretrained) = (nonzero(&[30, 40]).set_requires_grad(true), nonzero(&[30, 40]));
    let p = 0.7;
    let layer = || TrueDropout::elements(p).unwrap().with_seed(1);
    let mixed = layer().forward_add(&(&weight - &pretrained), &pretrained, true);
    let m = layer().draw_mask(&weight, true).unwrap().eq(0).to_kind(Kind::Float);
    let kept: Tensor = 1.0 - &m;
    let expected = (&m * &pretrained + kept * &weight - p * &pretrained) / (1.0 - p);
    assert!(mixed.allclose(&expected, 1e-5, 1e-6, false));
    assert_same_bits(
        &layer().forward_add(&(&weight - &pretrained), &pretrained, false),
        &(&weight - &pretrained + &pretrained),
    );
}

/// DropEdge (Rong et al. 2020): a random subset of a graph's edges, `[2, E]`.
#[test]
fn dropedge_keeps_whole_edges() {
    let _generator = seeded();
    let edges = Tensor::arange(20_000, (Kind::Int64, common::device())).reshape([2, 10_000]);
    let drop_edge = |train| {
        let layer = Dropout::elements(0.3).unwrap().with_seed(1);
        let kept = layer.draw_mask(&edges.get(0), train).unwrap().nonzero().squeeze_dim(1);
        edges.index_select(1, &kept)
    };
    let kept = drop_edge(true);
    assert_binomial(kept.size()[1] as f64, 10_000.0, 0.7);
    assert_eq!(kept.get(1) - kept.get(0), kept.get(0).full_like(10_000));
    assert_eq!(drop_edge(false), edges);
}

/// DropKey (Li et al. 2023): keys are dropped before the softmax, so that the others make up for them.
#[test]
fn dropkey_is_a_mask_of_attention() {
    let _generator = seeded();
    let (n, heads, t, s) = (4, 2, 50, 30);
    let [query, key, value] = [t, s, s].map(|length| nonzero(&[n, heads, length, 8]));
    let attention = Attention::new(0.0).unwrap();
    let drop_key = |train| {
        let scores = Tensor::ones([n, heads, t, s], float());
        let layer = Dropout::elements(0.3).unwrap().with_seed(1);
        let takes_part = layer.draw_mask(&scores, train).unwrap().to_kind(Kind::Bool);
        attention.forward(&query, &key, &value, Some(&takes_part), train)
    };
    let kept = Dropout::elements(0.3).unwrap().with_seed(1);
    let kept = kept.draw_mask(&Tensor::ones([n, heads, t, s], float()), true).unwrap();
    let scores = query.matmul(&key.transpose(-2, -1)) / 8f64.sqrt() + kept.log();
    let expected = scores.softmax(-1, None).matmul(&value);
    assert!(drop_key(true).allclose(&expected, 1e-5, 1e-6, false));
    let plain = attention.forward(&query, &key, &value, None, false);
    assert!(drop_key(false).allclose(&plain, 1e-5, 1e-6, false));
}

/// R-Drop (Liang et al. 2021): two passes of a batch, whose predictions should agree.
#[test]
fn r_drop_is_two_passes_side_by_side() {
    let _generator = seeded();
    let layer = || TrueDropout::elements(0.5).unwrap().with_seed(1);
    let x = nonzero(&[10, 4]);
    let r_drop = |p: f64| {
        let layer = layer();
        layer.set_p(p).unwrap();
        let both =
            layer.forward_t(&Tensor::cat(&[&x, &x], 0), true).log_softmax(1, None).chunk(2, 0);
        let kl = |a: &Tensor, b: &Tensor| b.kl_div(a, tch::Reduction::Sum, true) / 10.0;
        f64::try_from((kl(&both[0], &both[1]) + kl(&both[1], &both[0])) / 2.0).unwrap()
    };
    assert!(r_drop(0.5) > 0.01);
    assert!(r_drop(0.0).abs() < 1e-6);
}

/// A model with two inputs, in batches and folds: it gets the rows' numbers, and looks both inputs up.
#[test]
fn monte_carlo_of_several_inputs() {
    let _generator = seeded();
    let (a, b) = (nonzero(&[20, 4]), nonzero(&[20, 4]));
    let rows = Tensor::arange(20, (Kind::Int64, common::device()));
    let predict = |fold, batch_size| {
        let layer = TrueDropout::columns(0.5).unwrap().with_seed(1);
        let model = |rows: &Tensor, train| {
            let (a, b) = (a.index_select(0, rows), b.index_select(0, rows));
            layer.forward_t(&(a + b * 2.0), train)
        };
        let run = MonteCarlo::new(400).unwrap().fold(fold).unwrap().batch_size(batch_size).unwrap();
        run.regress(model, &rows).unwrap().mean
    };
    let expected = (&a + &b * 2.0).to_kind(Kind::Double);
    for (fold, batch_size) in [(1, 20), (5, 7)] {
        // A standard error of 0.05 of the expected value.
        assert!(predict(fold, batch_size).allclose(&expected, 0.3, 0.0, false));
    }
}

/// All samples, and not only their moments.
#[test]
fn monte_carlo_keeps_each_pass() {
    let _generator = seeded();
    let (layer, x) = (TrueDropout::elements(0.5).unwrap(), nonzero(&[20, 4]));
    let mut samples = Vec::new();
    let model = |x: &Tensor, train| {
        let y = layer.forward_t(x, train);
        samples.push(y.shallow_clone());
        y
    };
    let found = MonteCarlo::new(10).unwrap().regress(model, &x).unwrap();
    let samples = Tensor::stack(&samples, 0); // [passes, N, ...]
    assert_eq!(samples.size(), [10, 20, 4]);
    assert!(found.mean.allclose(&samples.mean_dim(0, false, Kind::Double), 1e-6, 0.0, false));
}

/// The k-th pass is the same network in every batch: masks that the batch shares, and streams that begin again.
#[test]
fn monte_carlo_of_the_same_networks_for_all_batches() {
    let _generator = seeded();
    let x = nonzero(&[20, 4]);
    let streams = Streams::new(42);
    let layer = TrueDropout::shared(0.5, &[0]).unwrap().with_streams(&streams).unwrap();
    let start = streams.steps();
    let mut passes = |batch: &Tensor| {
        streams.set_steps(&start).unwrap();
        let model = |x: &Tensor, train| layer.forward_t(x, train);
        MonteCarlo::new(10).unwrap().regress(model, batch).unwrap().mean
    };
    let whole = passes(&x);
    let in_batches: Vec<Tensor> = x.split(7, 0).iter().map(&mut passes).collect();
    assert_same_bits(&Tensor::cat(&in_batches, 0), &whole);
}
