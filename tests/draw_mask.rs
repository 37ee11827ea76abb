//! `draw_mask`: a mask to keep, in training, in evaluation and under Monte Carlo dropout.

mod common;

use common::{SHAPES, assert_same_bits, device, elements, float, nonzero};
use tch::nn::ModuleT;
use tch::{Kind, Tensor};
use tch_dropout::{Dropout, MonteCarlo, Stream, TrueDropout, apply_mask};

#[test]
fn ones_in_evaluation_of_the_masks_size_and_kind() {
    let kinds = [
        // The input's kind, the mask's, and the mask's in a layer that rescales.
        (Kind::Float, Kind::Float, Kind::Float),
        (Kind::Half, Kind::Half, Kind::Half),
        (Kind::ComplexDouble, Kind::Double, Kind::Double),
        (Kind::Int64, Kind::Int64, Kind::Float),
        (Kind::Bool, Kind::Bool, Kind::Float),
    ];
    for (kind, plain, scaled) in kinds {
        let x = Tensor::zeros([4, 3, 2], (kind, device()));
        for shape in SHAPES {
            let size = shape.resolve(&x.size()).unwrap();
            let layer = Dropout::new(0.5).unwrap().with_noise_shape(shape.clone()).with_seed(1);
            let ones = |kind| Tensor::ones(&size, (kind, device()));
            assert_same_bits(&layer.draw_mask(&x, false).unwrap(), &ones(plain));
            assert_eq!(layer.draw_mask(&x, true).unwrap().kind(), plain);
            assert_eq!(layer.stream().map(Stream::step), Some(1), "evaluation takes no step");

            let layer = TrueDropout::new(0.5).unwrap().with_noise_shape(shape);
            assert_same_bits(&layer.draw_mask(&x, false).unwrap(), &ones(scaled));
            assert_eq!(layer.draw_mask(&x, true).unwrap().kind(), scaled);
        }
    }
}

#[test]
fn the_mask_is_the_one_that_the_forward_would_have_had() {
    for shape in SHAPES {
        let layer = || TrueDropout::new(0.5).unwrap().with_noise_shape(shape.clone()).with_seed(1);
        let (x, masks, forwards) = (nonzero(&[4, 3, 2]), layer(), layer());
        for _ in 0..4 {
            let mask = masks.draw_mask(&x, true).unwrap();
            assert_same_bits(&apply_mask(&x, &mask).unwrap(), &forwards.forward_t(&x, true));
        }
    }
}

/// A recurrent model: one mask of the state for all steps of `[N, T, C]`.
fn recurrent(layer: &TrueDropout, inputs: &Tensor, train: bool) -> Tensor {
    let (rows, steps, features) = inputs.size3().unwrap();
    let mut state = Tensor::ones([rows, features], float());
    let mask = layer.draw_mask(&state, train).unwrap();
    for step in 0..steps {
        state = (apply_mask(&state, &mask).unwrap() + inputs.select(1, step)).tanh();
    }
    state
}

#[test]
fn a_recurrent_model_draws_under_monte_carlo() {
    // Five equal rows.
    let (layer, inputs) = (elements(0.5), (nonzero(&[1, 7, 3]) * 0.2).repeat([5, 1, 1]));
    let evaluated = recurrent(&layer, &inputs, false);
    assert_same_bits(&recurrent(&layer, &inputs, false), &evaluated);
    for fold in [1, 10] {
        let run = MonteCarlo::new(200).unwrap().fold(fold).unwrap();
        let model = |inputs: &Tensor, train| recurrent(&layer, inputs, train);
        let found = run.regress(model, &inputs).unwrap();
        assert!(found.variance.min().double_value(&[]) > 1e-4, "{}", found.variance);
        // Each row has masks of its own.
        assert_ne!(found.mean.get(0), found.mean.get(1));
    }
    assert_same_bits(&recurrent(&layer, &inputs, false), &evaluated);
}

/// In evaluation, the layer draws only under Monte Carlo dropout.
#[test]
fn a_mask_drawn_under_monte_carlo_is_one_of_training() {
    let layer = elements(0.5).with_seed(1);
    let model = |x: &Tensor, train: bool| {
        assert!(!train);
        let mask = layer.draw_mask(x, train).unwrap();
        let half = elements(0.5).with_seed(1);
        half.stream().unwrap().set_step(layer.stream().unwrap().step() - 1).unwrap();
        assert_same_bits(&mask, &half.draw_mask(x, true).unwrap());
        apply_mask(x, &mask).unwrap()
    };
    MonteCarlo::new(3).unwrap().predict(model, &nonzero(&[4, 6])).unwrap();
}
