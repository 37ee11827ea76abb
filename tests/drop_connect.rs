//! `DropConnect`: a linear layer that drops weights.

mod common;

use common::{assert_same_bits, device, float, nonzero};
use tch::nn::{self, Module, ModuleT};
use tch::{Kind, Tensor};
use tch_dropout::{DropConnectConfig, Dropout, Stream, drop_connect};

#[test]
fn it_is_saved_and_loaded_as_a_linear_layer() {
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
fn the_weight_is_masked_and_not_the_bias() {
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
fn it_has_a_stream_as_any_layer() {
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
fn without_bias_and_with_a_bad_probability() {
    let vs = nn::VarStore::new(device());
    let linear = nn::LinearConfig { bias: false, ..Default::default() };
    let config = DropConnectConfig { linear, ..Default::default() };
    let layer = drop_connect(vs.root(), 6, 5, config).unwrap();
    assert!(layer.linear.bs.is_none());
    assert_eq!(layer.forward_t(&nonzero(&[2, 3, 6]), true).size(), [2, 3, 5]);

    let vs = nn::VarStore::new(device());
    let config = DropConnectConfig { p: 2.0, ..Default::default() };
    let error = drop_connect(vs.root(), 6, 5, config).unwrap_err().to_string();
    assert_eq!(error, "p must be a probability in [0, 1], got 2.0");
    assert!(vs.is_empty());
}

#[test]
fn an_input_that_does_not_fit_is_an_error_and_takes_no_step() {
    let vs = nn::VarStore::new(device());
    let layer = drop_connect(vs.root(), 6, 5, Default::default()).unwrap().with_seed(1);
    let wrong = [
        nonzero(&[2, 7]),
        nonzero(&[2, 1]),
        nonzero(&[]),
        nonzero(&[2, 0]),
        nonzero(&[2, 6]).to_kind(Kind::Double),
        nonzero(&[2, 6]).to_kind(Kind::Int64),
        Tensor::zeros([0, 7], float()),
    ];
    for x in wrong {
        for train in [true, false] {
            assert!(layer.f_forward_t(&x, train).is_err(), "{x:?}, {train}");
        }
        assert_eq!(layer.stream().map(Stream::step), Some(0));
    }
}

#[test]
fn an_empty_batch_takes_no_step() {
    let vs = nn::VarStore::new(device());
    let layer = drop_connect(vs.root(), 6, 5, Default::default()).unwrap().with_seed(1);
    for (size, expected) in [(&[0, 6][..], &[0, 5][..]), (&[3, 0, 6], &[3, 0, 5])] {
        for train in [true, false] {
            let y = layer.forward_t(&Tensor::zeros(size, float()), train);
            assert_eq!(y.size(), expected);
        }
    }
    let _ = layer.forward_t(&nonzero(&[2, 6]), false);
    layer.set_p(0.0).unwrap();
    let _ = layer.forward_t(&nonzero(&[2, 6]), true);
    assert_eq!(layer.stream().map(Stream::step), Some(0));
}
