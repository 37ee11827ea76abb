//! Calls that panic where their twin returns an error: with its text, after the layer's, at the caller's line.

mod common;

use std::panic::{self, AssertUnwindSafe};
use std::sync::Mutex;

use common::{device, nonzero, panic_text};
use tch::Tensor;
use tch::nn::{self, ModuleT};
use tch_dropout::{
    AlphaDropout, Attention, DropBlock, Dropout, GaussianDropout, NoiseShape, PatchDropout, RnnT,
    StochasticDepth, TrueDropout, Zoneout, drop_connect, dropout, f_dropout, f_feature_dropout,
    feature_dropout, gru, lstm, multi_head_attention,
};
#[cfg(feature = "recompute")]
use tch_dropout::{Checkpoint, checkpoint, checkpoint_many, f_checkpoint, f_checkpoint_many};

/// A panic's text, and the file and line that it names.
fn panic_of(f: impl FnOnce()) -> (String, String) {
    static PLACE: Mutex<String> = Mutex::new(String::new());
    let before = panic::take_hook();
    panic::set_hook(Box::new(|info| {
        let place = info.location().expect("panics have a location");
        *PLACE.lock().unwrap() = format!("{}:{}", place.file(), place.line());
    }));
    let text = panic_text(AssertUnwindSafe(f));
    panic::set_hook(before);
    (text, PLACE.lock().unwrap().clone())
}

/// Asserts that a call panics with its twin's error, after the layer as it prints itself, and names the line that this
/// macro begins in. What follows the first line of libtorch's text is its own stack.
macro_rules! assert_panics_as {
    ($layer:ident.$method:ident($($argument:expr),*) => $twin:expr) => {
        assert_panics_as!($layer.to_string() + ": ", $layer.$method($($argument),*) => $twin);
    };
    ($call:expr => $twin:expr) => {
        assert_panics_as!(String::new(), $call => $twin);
    };
    ($before:expr, $call:expr => $twin:expr) => {
        let error = $twin.err().expect("the twin returns an error").to_string();
        let error = $before + &error;
        let (text, place) = panic_of(|| drop($call));
        assert_eq!(text.lines().next(), error.lines().next());
        assert_eq!(place, format!("{}:{}", file!(), line!()));
    };
}

/// One test, as the process has one hook.
#[test]
fn name_the_callers_line_and_the_error() {
    layers();
    functions();
    layers_of_several_inputs();
    recurrent_layers();
    layers_that_tch_calls();
    #[cfg(feature = "recompute")]
    checkpoints();
}

fn layers() {
    let (row, matrix) = (&nonzero(&[3]), &nonzero(&[3, 7]));
    let layer = Dropout::columns(0.5).unwrap();
    assert_panics_as!(layer.forward_t(row, true) => layer.f_forward_t(row, true));
    assert_panics_as!(layer.forward_add(row, row, true) => layer.f_forward_add(row, row, true));
    let layer = TrueDropout::columns(0.5).unwrap();
    assert_panics_as!(layer.forward_t(row, false) => layer.f_forward_t(row, false));
    let layer = TrueDropout::elements(0.5).unwrap();
    assert_panics_as!(layer.forward_add(row, matrix, true) => layer.f_forward_add(row, matrix, true));
    let layer = AlphaDropout::channels(0.5).unwrap();
    assert_panics_as!(layer.forward_t(row, true) => layer.f_forward_t(row, true));
    let layer = GaussianDropout::elements(0.5).unwrap().with_noise_shape(NoiseShape::Channels);
    assert_panics_as!(layer.forward_t(row, true) => layer.f_forward_t(row, true));
    let layer = DropBlock::new(0.5, 3).unwrap();
    assert_panics_as!(layer.forward_t(row, true) => layer.f_forward_t(row, true));
    let layer = PatchDropout::new(0.5).unwrap();
    assert_panics_as!(layer.forward_t(row, true) => layer.f_forward_t(row, true));
    let vs = nn::VarStore::new(device());
    let layer = drop_connect(vs.root(), 6, 5, Default::default()).unwrap();
    assert_panics_as!(layer.forward_t(matrix, true) => layer.f_forward_t(matrix, true));
}

fn functions() {
    let row = &nonzero(&[3]);
    assert_panics_as!(dropout(row, 1.5, true) => f_dropout(row, 1.5, true));
    assert_panics_as!(feature_dropout(row, 0.5, true) => f_feature_dropout(row, 0.5, true));
}

fn layers_of_several_inputs() {
    let (x, other) = (&nonzero(&[2, 5, 8]), &nonzero(&[2, 5, 6]));
    let layer = Attention::new(0.5).unwrap();
    assert_panics_as!(layer.forward(x, other, x, None, true) => layer.f_forward(x, other, x, None, true));
    let vs = nn::VarStore::new(device());
    let layer = multi_head_attention(vs.root(), 8, 2, Default::default()).unwrap();
    assert_panics_as!(layer.forward(x, other, x, None, true) => layer.f_forward(x, other, x, None, true));
    assert_panics_as!(layer.forward_t(other, true) => layer.f_forward_t(other, true));
    let layer = StochasticDepth::new(0.5).unwrap();
    let sum = |x: &Tensor| x.sum(None);
    assert_panics_as!(layer.forward(x, sum, false) => layer.f_forward(x, |x| Ok(sum(x)), false));
    let layer = Zoneout::new(0.5).unwrap();
    assert_panics_as!(layer.apply(x, other, true) => layer.f_apply(x, other, true));
}

fn recurrent_layers() {
    fn check<R: RnnT>(layer: &R) {
        let (x, other) = (&nonzero(&[3, 5, 8]), &nonzero(&[3, 5, 7]));
        let (state, of_two) = (&layer.zero_state(3), &layer.zero_state(2));
        assert_panics_as!(layer.zero_state(-1) => layer.f_zero_state(-1));
        assert_panics_as!(layer.seq_t(other, true) => layer.f_seq_t(other, true));
        assert_panics_as!(layer.seq_init_t(x, of_two, true) => layer.f_seq_init_t(x, of_two, true));
        assert_panics_as!(layer.step_t(x, state, true) => layer.f_step_t(x, state, true));
    }
    let vs = nn::VarStore::new(device());
    check(&lstm(vs.root() / "lstm", 8, 4, Default::default()).unwrap());
    check(&gru(vs.root() / "gru", 8, 4, Default::default()).unwrap());
}

/// Where the line is that of tch, or of this crate, the text says which layer of a model it was.
fn layers_that_tch_calls() {
    let vs = nn::VarStore::new(device());
    let x = &nonzero(&[3]);
    let model = nn::seq_t()
        .add(TrueDropout::elements(0.25).unwrap())
        .add(TrueDropout::channels(0.5).unwrap())
        .add(DropBlock::new(0.5, 7).unwrap());
    let boxed: Box<dyn ModuleT> = Box::new(PatchDropout::new(0.1).unwrap());
    let connect = drop_connect(vs.root(), 6, 5, Default::default()).unwrap();
    for (call, start) in [
        (
            &(|| drop(model.forward_t(x, true))) as &dyn Fn(),
            "TrueDropout(p=0.5, channels): noise shape `channels` needs an input with at least 2 dimensions, \
             got shape [3]",
        ),
        (
            &|| drop(boxed.forward_t(x, true)),
            "PatchDropout(p=0.1, prefix_tokens=0): PatchDropout needs an input of shape [N, T, ...], got [3]",
        ),
        (
            &|| drop(x.apply_t(&connect, true)),
            "DropConnect(in_features=6, out_features=5, p=0.5, rescale=true): ",
        ),
    ] {
        let (text, _) = panic_of(call);
        assert!(text.starts_with(start), "{text}");
    }
}

/// The errors of a checkpoint itself. (What a segment panics with is its own.)
#[cfg(feature = "recompute")]
fn checkpoints() {
    let x = &nonzero(&[3]);
    let w = nonzero(&[3]).set_requires_grad(true);
    let squared = || &w * &w;
    let plain = |captured: Tensor| move |x: &Tensor| x * &captured;
    let fallible = |captured: Tensor| move |x: &Tensor| Ok(x.f_mul(&captured)?);
    assert_panics_as!(checkpoint(plain(squared()), x) => f_checkpoint(fallible(squared()), x));
    let plain_of_one = |captured: Tensor| move |[x]: [&Tensor; 1]| x * &captured;
    let fallible_of_one = |captured: Tensor| move |[x]: [&Tensor; 1]| Ok(x.f_mul(&captured)?);
    assert_panics_as!(checkpoint_many(plain_of_one(squared()), [x]) =>
        f_checkpoint_many(fallible_of_one(squared()), [x]));
    let captured = squared();
    let layer = Checkpoint::new(nn::func_t(move |x, _| x * &captured));
    assert_panics_as!((layer.forward_t(x, true)) => f_checkpoint(fallible(squared()), x));
}
