//! Layers print themselves in a line, `Display` and `Debug` alike.

mod common;

use common::device;
use tch::nn;
use tch_dropout::{DropConnectConfig, Dropout, DropoutLayer, TrueDropout, drop_connect};

#[track_caller]
fn assert_prints(layer: impl std::fmt::Display + std::fmt::Debug, text: &str) {
    assert_eq!(layer.to_string(), text);
    assert_eq!(format!("{layer:?}"), text);
    assert_eq!(format!("{layer:#?}"), text);
}

#[test]
fn of_each_noise_shape() {
    assert_prints(Dropout::new(0.5).unwrap(), "Dropout(p=0.5, columns)");
    for (layer, text) in [
        (TrueDropout::columns(0.5), "TrueDropout(p=0.5, columns)"),
        (TrueDropout::elements(0.25), "TrueDropout(p=0.25, elements)"),
        (TrueDropout::channels(1.0), "TrueDropout(p=1.0, channels)"),
        (TrueDropout::samples(0.0), "TrueDropout(p=0.0, samples)"),
        (TrueDropout::batch(0.1), "TrueDropout(p=0.1, batch)"),
        (TrueDropout::shared(0.1, &[1, -1]), "TrueDropout(p=0.1, shared over [1, -1])"),
        (TrueDropout::shared(0.1, &[]), "TrueDropout(p=0.1, shared over [])"),
    ] {
        assert_prints(layer.unwrap(), text);
    }
}

#[test]
fn a_seed_is_not_printed_and_a_probability_is_short() {
    let layer = |p| DropoutLayer::<true>::elements(p).unwrap();
    assert_prints(layer(0.5).with_seed(7), "TrueDropout(p=0.5, elements)");
    assert_prints(layer(1e-300), "TrueDropout(p=1e-300, elements)");
    assert_prints(layer(1.0 / 3.0), "TrueDropout(p=0.3333333333333333, elements)");
    let scheduled = layer(0.5);
    scheduled.set_p(0.25).unwrap();
    assert_prints(scheduled, "TrueDropout(p=0.25, elements)");
}

#[test]
fn of_drop_connect() {
    let vs = nn::VarStore::new(device());
    for (p, rescale, text) in [
        (0.5, true, "DropConnect(in_features=6, out_features=5, p=0.5, rescale=true)"),
        (1e-300, false, "DropConnect(in_features=6, out_features=5, p=1e-300, rescale=false)"),
    ] {
        let config = DropConnectConfig { p, rescale, ..Default::default() };
        assert_prints(drop_connect(vs.root(), 6, 5, config).unwrap(), text);
    }
    let config = DropConnectConfig { per_sample: true, ..Default::default() };
    let text = "DropConnect(in_features=6, out_features=5, p=0.5, rescale=true, per_sample=true)";
    assert_prints(drop_connect(vs.root(), 6, 5, config).unwrap(), text);
}
