//! The other layers, each against its peer: libtorch's own, or its source written in tch's operations.

use comfy_table::Table;
use tch::nn::ModuleT;
use tch::{Device, Kind, Tensor};
use tch_dropout::{AlphaDropout, GaussianDropout, TrueDropout};

use crate::contest::{Forward, Pass, race};
use crate::timing::Effort;
use crate::{new_table, right_align};

/// A layer and its peer.
struct Pair {
    layer: &'static str,
    ours: Forward,
    peer: Forward,
}

pub const P: f64 = 0.1;

fn pairs() -> Vec<Pair> {
    let pair = |layer, ours, peer| Pair { layer, ours, peer };
    vec![
        pair(
            "AlphaDropout, elements",
            module(AlphaDropout::elements(P)),
            Box::new(|x| x.alpha_dropout(P, true)),
        ),
        pair(
            "AlphaDropout, channels",
            module(AlphaDropout::channels(P)),
            Box::new(|x| x.feature_alpha_dropout(P, true)),
        ),
        pair("GaussianDropout", module(GaussianDropout::elements(P)), Box::new(keras_gaussian)),
        pair(
            "TrueDropout, channels",
            module(TrueDropout::channels(P)),
            Box::new(|x| x.feature_dropout(P, true)),
        ),
    ]
}

fn module(layer: Result<impl ModuleT + 'static, tch_dropout::Error>) -> Forward {
    let layer = layer.expect("p is a probability");
    Box::new(move |x| layer.forward_t(x, true))
}

fn keras_gaussian(x: &Tensor) -> Tensor {
    let deviation = (P / (1.0 - P)).sqrt();
    x * (x.randn_like() * deviation + 1.0)
}

pub fn table(device: Device, effort: Effort) -> Table {
    let shapes: &[&[i64]] =
        if effort.largest < 7 { &[&[8, 16, 14, 14]] } else { &[&[64, 512], &[32, 64, 56, 56]] };
    let mut table = new_table(&["layer", "shape", "pass", "peer, ms", "ms", "times as fast"]);
    for Pair { layer, ours, peer } in pairs() {
        let turns = [peer, ours];
        for &shape in shapes {
            for pass in [Pass::Forward, Pass::ForwardBackward] {
                let times = race(&turns, shape, Kind::Float, pass, device, effort);
                table.add_row([
                    layer.to_owned(),
                    format!("{shape:?}"),
                    pass.to_string(),
                    format!("{:.4}", times[0] / 1e6),
                    format!("{:.4}", times[1] / 1e6),
                    format!("{:.1}", times[0] / times[1]),
                ]);
            }
        }
    }
    right_align(&mut table, 3);
    table
}
