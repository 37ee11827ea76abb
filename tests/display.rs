//! Layers print themselves in a line; `Debug` adds the stream.

mod common;

use common::device;
use tch::nn;
use tch_dropout::{
    AlphaDropout, Attention, DropBlock, DropConnectConfig, Dropout, DropoutLayer, GaussianDropout,
    GruConfig, LstmConfig, PatchDropout, StochasticDepth, Streams, TrueDropout, WeightDrop,
    Zoneout, drop_connect, gru, lstm, multi_head_attention,
};

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
fn a_probability_is_short() {
    let layer = |p| DropoutLayer::<true>::elements(p).unwrap();
    assert_prints(layer(1e-300), "TrueDropout(p=1e-300, elements)");
    assert_prints(layer(1.0 / 3.0), "TrueDropout(p=0.3333333333333333, elements)");
    let scheduled = layer(0.5);
    scheduled.set_p(0.25).unwrap();
    assert_prints(scheduled, "TrueDropout(p=0.25, elements)");
}

/// Of every layer: `Debug` prints the stream, and `Display` does not.
#[test]
fn debug_names_the_stream_of_a_layer() {
    let vs = nn::VarStore::new(device());
    let streams = Streams::new(42).with_worker(3);
    macro_rules! assert_named {
        ($($layer:expr),+ $(,)?) => {$({
            let layer = $layer.unwrap();
            let text = layer.to_string();
            assert_prints(&layer, &text);
            let layer = layer.with_streams(&streams).unwrap();
            let stream = layer.stream().unwrap();
            stream.set_step(9).unwrap();
            let numbers = format!(", seed=42, worker=3, layer={}, step=9)", stream.layer());
            assert_eq!(format!("{layer:?}"), text.strip_suffix(')').unwrap().to_owned() + &numbers);
            assert_eq!(layer.to_string(), text);
        })+};
    }
    assert_named!(
        Dropout::columns(0.5),
        TrueDropout::shared(0.5, &[1, -1]),
        AlphaDropout::elements(0.5),
        GaussianDropout::elements(0.5),
        DropBlock::new(0.1, 3),
        StochasticDepth::new(0.1),
        PatchDropout::new(0.5),
        Attention::new(0.1),
        WeightDrop::new(0.5),
        Zoneout::new(0.1),
        drop_connect(vs.root() / "a", 6, 5, Default::default()),
        multi_head_attention(vs.root() / "b", 8, 2, Default::default()),
    );
    assert_eq!(streams.steps(), [9; 12]);
}

#[test]
fn debug_names_the_streams_of_a_recurrent_layers_dropouts() {
    let vs = nn::VarStore::new(device());
    let streams = Streams::new(42);
    let mut config = LstmConfig::default();
    config.dropout.weights = WeightDrop::new(0.5).unwrap();
    config.cell_zoneout = Zoneout::new(0.1).unwrap();
    let layer = lstm(vs.root() / "lstm", 8, 16, config.with_streams(&streams).unwrap()).unwrap();
    let start = "Lstm(8, 16, num_layers=1, batch_first=true, bidirectional=false";
    let numbers = |layer| format!("seed=42, worker=0, layer={layer}, step=0");
    let expected = format!(
        "{start}, weights=WeightDrop(p=0.5, {}), cell_zoneout=Zoneout(p=0.1, {}))",
        numbers(1),
        numbers(4)
    );
    assert_eq!(format!("{layer:?}"), expected);
    assert_eq!(
        layer.to_string(),
        format!("{start}, weights=WeightDrop(p=0.5), cell_zoneout=Zoneout(p=0.1))")
    );

    let streams = Streams::new(42);
    let mut config = GruConfig::default();
    config.dropout.state = TrueDropout::elements(0.5).unwrap();
    let layer = gru(vs.root() / "gru", 8, 16, config.with_streams(&streams).unwrap()).unwrap();
    let start = start.replace("Lstm", "Gru");
    let expected = format!("{start}, state=TrueDropout(p=0.5, elements, {}))", numbers(2));
    assert_eq!(format!("{layer:?}"), expected);
    assert_eq!(streams.steps(), [0; 4]);
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
