//! What is a few lines with the layers there are, and so has no layer of its own.

mod common;

use common::{assert_binomial, assert_same_bits, count_kept, float, gradient, nonzero, seeded};
use tch::{Kind, Tensor};
use tch_dropout::{MonteCarlo, TrueDropout, apply_mask};

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
