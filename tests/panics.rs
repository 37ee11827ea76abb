//! Calls that panic where others return an error: with its text, at the caller's line.

mod common;

use std::panic;
use std::sync::Mutex;

use common::{device, nonzero, panic_text};
use tch::Tensor;
use tch::nn::{self, ModuleT};
use tch_dropout::{Dropout, TrueDropout, drop_connect, dropout, feature_dropout};

/// A panic's text, and the file and line that it names.
fn panic_of(f: impl FnOnce() -> Tensor + panic::UnwindSafe) -> (String, String) {
    static PLACE: Mutex<String> = Mutex::new(String::new());
    let before = panic::take_hook();
    panic::set_hook(Box::new(|info| {
        let place = info.location().expect("panics have a location");
        *PLACE.lock().unwrap() = format!("{}:{}", place.file(), place.line());
    }));
    let text = panic_text(|| drop(f()));
    panic::set_hook(before);
    (text, PLACE.lock().unwrap().clone())
}

fn here(line: u32) -> String {
    format!("{}:{line}", file!())
}

/// One test, as the process has one hook.
#[test]
fn name_the_callers_line_and_the_error() {
    let too_few = "noise shape `columns` needs an input with at least 2 dimensions, got shape [3]";
    let x = nonzero(&[3]);
    let layer = Dropout::new(0.5).unwrap();
    let found = panic_of(move || layer.forward_t(&x, true));
    assert_eq!(found, (too_few.into(), here(line!() - 1)));

    let x = nonzero(&[3]);
    let layer = TrueDropout::new(0.5).unwrap();
    let found = panic_of(move || layer.forward_t(&x, false));
    assert_eq!(found, (too_few.into(), here(line!() - 1)));

    let x = nonzero(&[3]);
    let found = panic_of(move || dropout(&x, 1.5, true));
    assert_eq!(found, ("p must be a probability in [0, 1], got 1.5".into(), here(line!() - 1)));

    let x = nonzero(&[3]);
    let found = panic_of(move || feature_dropout(&x, 0.5, false));
    assert_eq!(found, (too_few.replace("columns", "channels"), here(line!() - 1)));

    let x = nonzero(&[2, 7]);
    let vs = nn::VarStore::new(device());
    let layer = drop_connect(vs.root(), 6, 5, Default::default()).unwrap();
    let error = layer.f_forward_t(&x, true).unwrap_err().to_string();
    let (text, place) = panic_of(panic::AssertUnwindSafe(|| layer.forward_t(&x, true)));
    assert_eq!(place, here(line!() - 1));
    // What follows in libtorch's text is its own stack.
    assert_eq!(text.lines().next(), error.lines().next());
    assert!(text.contains("cannot be multiplied"), "{text}");
}
