//! What a user sees of an error: one line, with the values, and the same from `unwrap`.

mod common;

use common::{elements, nonzero, panic_text};
use tch_dropout::{Error, MonteCarlo, Streams, TrueDropout};

#[test]
fn a_residual_that_does_not_fit() {
    let x = nonzero(&[4, 8]);
    for size in [&[4, 7][..], &[3, 8], &[8, 4], &[2, 3, 8], &[7]] {
        for train in [true, false] {
            for layer in [elements(0.5), TrueDropout::columns(0.5).unwrap()] {
                let layer = layer.with_seed(1);
                let error = layer.f_forward_add(&x, &nonzero(size), train).unwrap_err();
                let text = format!(
                    "a residual of shape {size:?} does not broadcast with an input of shape [4, 8]"
                );
                assert_eq!(error.to_string(), text);
                assert!(matches!(error, Error::ResidualShape { .. }));
                assert_eq!(layer.stream().map(|stream| stream.step()), Some(0));
            }
        }
    }
    for size in [&[][..], &[1], &[8], &[1, 8], &[4, 1], &[3, 4, 8], &[3, 1, 1]] {
        let residual = nonzero(size);
        let layer = || elements(0.5).with_seed(1);
        let y = layer().f_forward_add(&x, &residual, true).unwrap();
        assert_eq!(y, &residual + layer().f_forward_t(&x, true).unwrap());
    }
}

#[test]
fn steps_of_another_model() {
    let streams = Streams::new(1);
    let _stream = streams.next_stream().unwrap();
    assert_eq!(
        streams.set_steps(&[1, 2]).unwrap_err().to_string(),
        "the checkpoint has 2 steps, but this model has taken 1 stream: is it the same model, and has each layer taken \
         its stream before the steps are set?"
    );
}

#[test]
fn unwrap_shows_what_display_does() {
    let streams = Streams::new(1);
    let steps = streams.set_steps(&[1]).unwrap_err();
    let torch =
        elements(0.5).f_forward_t(&nonzero(&[2]).to_sparse_sparse_dim(1), true).unwrap_err();
    let passes = MonteCarlo::new(0).unwrap_err();
    for error in [steps, torch, passes] {
        assert_eq!(format!("{error:?}"), error.to_string());
        assert_eq!(format!("{error:#?}"), error.to_string());
    }
    let text = panic_text(|| {
        let _ = MonteCarlo::new(0).unwrap();
    });
    assert!(text.ends_with("passes must be at least 1, got 0"), "{text}");
    let text = panic_text(|| Streams::new(1).set_steps(&[1]).unwrap());
    assert!(text.ends_with("taken its stream before the steps are set?"), "{text}");
}
