//! Where layers are used: in a sequence, in a struct, in a closure, in a `VarStore`.

mod common;

use common::{assert_same_bits, device, nonzero};
use tch::Tensor;
use tch::nn::{self, Module, ModuleT};
use tch_dropout::{DropConnectConfig, Dropout, Stream, TrueDropout, drop_connect};

#[derive(Debug)]
struct Net {
    linear: nn::Linear,
    dropout: TrueDropout,
}

impl ModuleT for Net {
    fn forward_t(&self, x: &Tensor, train: bool) -> Tensor {
        self.dropout.forward_t(&self.linear.forward(x), train)
    }
}

#[test]
fn a_sequence_a_struct_and_a_closure_do_the_same() {
    let layer = || TrueDropout::new(0.5).unwrap().with_seed(1);
    let linear = |vs: &nn::VarStore| nn::linear(vs.root(), 6, 5, Default::default());
    let (a, mut b, mut c) =
        (nn::VarStore::new(device()), nn::VarStore::new(device()), nn::VarStore::new(device()));
    let sequence = nn::seq_t().add(linear(&a)).add(layer());
    let structure = Net { linear: linear(&b), dropout: layer() };
    let (linear, dropout) = (linear(&c), layer());
    let closure = nn::func_t(move |x, train| dropout.forward_t(&linear.forward(x), train));
    // Not by a seed: other tests draw from libtorch's generator at the same time.
    b.copy(&a).unwrap();
    c.copy(&a).unwrap();

    let x = nonzero(&[4, 6]);
    let expected = sequence.forward_t(&x, true);
    assert_same_bits(&structure.forward_t(&x, true), &expected);
    assert_same_bits(&closure.forward_t(&x, true), &expected);
    let expected = sequence.forward_t(&x, false);
    assert_same_bits(&structure.forward_t(&x, false), &expected);
}

#[test]
fn drop_connect_is_saved_and_loaded_as_a_linear_layer() {
    let file = tempfile::NamedTempFile::with_suffix(".safetensors").unwrap();
    let (ours, theirs) = (nn::VarStore::new(device()), nn::VarStore::new(device()));
    let layer = drop_connect(ours.root() / "fc", 6, 5, Default::default()).unwrap();
    let linear = nn::linear(theirs.root() / "fc", 6, 5, Default::default());
    let names = |vs: &nn::VarStore| {
        let mut names: Vec<_> = vs.variables().into_keys().collect();
        names.sort();
        names
    };
    assert_eq!(names(&ours), names(&theirs));

    ours.save(file.path()).unwrap();
    let mut theirs = theirs;
    theirs.load(file.path()).unwrap();
    let x = nonzero(&[4, 6]);
    assert_same_bits(&layer.forward_t(&x, false), &linear.forward(&x));
}

#[test]
fn drop_connect_masks_the_weight_and_not_the_bias() {
    let x = nonzero(&[7, 6]);
    for (rescale, scale) in [(true, 2.0), (false, 1.0)] {
        let vs = nn::VarStore::new(device());
        let config = DropConnectConfig { p: 0.5, rescale, ..Default::default() };
        let layer = drop_connect(vs.root(), 6, 5, config).unwrap().with_seed(1);
        let elements = Dropout::elements(0.5).unwrap().with_seed(1);
        let nn::Linear { ws, bs } = &layer.linear;
        let masked = elements.forward_t(ws, true) * scale;
        assert_same_bits(&layer.forward_t(&x, true), &x.linear(&masked, bs.as_ref()));
    }
}

#[test]
fn drop_connect_has_a_stream_as_any_layer() {
    let vs = nn::VarStore::new(device());
    let layer = |name: &str| drop_connect(vs.root() / name, 6, 5, Default::default()).unwrap();
    let x = nonzero(&[4, 6]);
    let seeded = layer("seeded").with_stream(Stream::new(7).with_worker(1));
    assert_eq!(seeded.stream().map(Stream::step), Some(0));
    let (first, second) = (seeded.forward_t(&x, true), seeded.forward_t(&x, true));
    assert_ne!(first, second);
    assert_eq!(seeded.stream().map(Stream::step), Some(2));
    seeded.stream().unwrap().set_step(1).unwrap();
    assert_same_bits(&seeded.forward_t(&x, true), &second);

    assert!(layer("unseeded").stream().is_none());
}

#[test]
fn drop_connect_without_bias_and_with_bad_input() {
    let vs = nn::VarStore::new(device());
    let linear = nn::LinearConfig { bias: false, ..Default::default() };
    let config = DropConnectConfig { linear, ..Default::default() };
    let layer = drop_connect(vs.root(), 6, 5, config).unwrap();
    assert!(layer.linear.bs.is_none());
    assert_eq!(layer.forward_t(&nonzero(&[2, 3, 6]), true).size(), [2, 3, 5]);
    assert!(layer.f_forward_t(&nonzero(&[2, 7]), true).is_err());

    let vs = nn::VarStore::new(device());
    let config = DropConnectConfig { p: 2.0, ..Default::default() };
    let error = drop_connect(vs.root(), 6, 5, config).unwrap_err().to_string();
    assert_eq!(error, "p must be a probability in [0, 1], got 2.0");
    assert!(vs.is_empty());
}
