//! What fastai's `32_text.models.awdlstm.ipynb` tests of AWD-LSTM's dropouts, checked on ours.
//!
//! | theirs | ours, or why not |
//! | --- | --- |
//! | `dropout_mask`: its shape, 0 or `1 / (1 - p)` | `a_mask_is_0_or_rescaled` |
//! | `RNNDropout`: one mask for all time steps; a sequence of images | `one_mask_for_all_time_steps` |
//! | `WeightDropout`: the share of weights dropped, the raw weight's gradient | `weight_drop_reaches_the_weight_through_the_mask` |
//! | the same, in evaluation, and `reset` | tests/recurrent; there is no raw copy to reset |
//! | `EmbeddingDropout`: whole words, rescaled | `whole_words_are_dropped` |
//! | `AWD_LSTM`, `awd_lstm_lm_split`: shapes, hidden states, bidirectional | examples/language_model, tests/recurrent |

mod common;

use common::{assert_close, device, float, gradient};
use tch::nn::{self, Module};
use tch::{Kind, Tensor};
use tch_dropout::{LstmConfig, RecurrentDropout, RnnT, TrueDropout, WeightDrop, apply_mask, lstm};

#[test]
fn a_mask_is_0_or_rescaled() {
    let layer = TrueDropout::elements(0.25).unwrap().with_seed(1);
    let mask = layer.draw_mask(&Tensor::randn([4, 3], float()), true).unwrap();
    assert_eq!(mask.size(), [4, 3]);
    let either = mask.eq(0).logical_or(&mask.isclose(&mask.full_like(4.0 / 3.0), 1e-6, 0.0, false));
    assert!(bool::try_from(either.all()).unwrap());
}

#[test]
fn one_mask_for_all_time_steps() {
    let layer = TrueDropout::shared(0.3, &[1]).unwrap().with_seed(1);
    let x = Tensor::randn([4, 3, 7], float());
    let y = layer.forward_add(&x, &x.zeros_like(), true);
    let dropped = y.select(1, 0).eq(0).unsqueeze(1).expand_as(&x);
    assert!(dropped.any().int64_value(&[]) == 1 && dropped.all().int64_value(&[]) == 0);
    assert_close(&y, &(&x / 0.7).masked_fill(&dropped, 0.0), 1e-6);
    let images = Tensor::rand([4, 10, 3, 32, 32], float());
    assert_eq!(layer.draw_mask(&images, true).unwrap().size(), [4, 1, 3, 32, 32]);
}

/// The gradient of the raw weight tells what was dropped, as in fastai's last assertion.
#[test]
fn weight_drop_reaches_the_weight_through_the_mask() {
    let vs = nn::VarStore::new(device());
    let weights = WeightDrop::new(0.4).unwrap().with_seed(1);
    let dropout = RecurrentDropout { weights, ..Default::default() };
    let layer = lstm(vs.root(), 5, 7, LstmConfig { dropout, ..Default::default() }).unwrap();
    let (y, _) = layer.seq_t(&Tensor::randn([20, 10, 5], float()), true);
    let raw = &vs.variables()["weight_hh_l0"];
    let before = raw.copy();
    let gradient = gradient(&y.sum(Kind::Float), raw);
    assert_eq!(raw, &before);
    let share = gradient.eq(0).to_kind(Kind::Float).mean(Kind::Float).double_value(&[]);
    assert!((0.2..=0.6).contains(&share), "{share}");
    // The same weights that a layer with this seed drops.
    let mask = TrueDropout::elements(0.4).unwrap().with_seed(1).draw_mask(raw, true).unwrap();
    assert_eq!(gradient.eq(0), mask.eq(0));
}

#[test]
fn whole_words_are_dropped() {
    let vs = nn::VarStore::new(device());
    let embedding = nn::embedding(vs.root(), 10, 7, Default::default());
    let words = Tensor::randint(10, [8], (Kind::Int64, device()));
    let layer = TrueDropout::shared(0.5, &[1]).unwrap();
    let mut seen = [false; 2];
    for _ in 0..20 {
        let mask = layer.draw_mask(&embedding.ws, true).unwrap();
        let mask = Tensor::embedding(&mask, &words, -1, false, false);
        let y = apply_mask(&embedding.forward(&words), &mask).unwrap();
        for i in 0..8 {
            let (row, whole) = (y.get(i), embedding.ws.get(words.int64_value(&[i])) * 2.0);
            let is_dropped = bool::try_from(row.eq(0).all()).unwrap();
            assert!(is_dropped || row.allclose(&whole, 1e-6, 0.0, false));
            seen[usize::from(is_dropped)] = true;
        }
    }
    assert_eq!(seen, [true, true]);
}
