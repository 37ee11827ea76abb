//! What is compared: the layers, and what each puts in a model's places for them.

use std::fmt;
use std::str::FromStr;

use anyhow::Result;
use serde::Serialize;
use tch::nn::{self, SequentialT};
use tch_dropout::{DropConnectConfig, Dropout, NoiseShape, TrueDropout, drop_connect};

/// A way to drop, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    None,
    Dropout,
    TrueDropout,
    DropConnect,
    /// `Tensor::dropout`.
    Libtorch,
    /// `TrueDropout` over elements.
    Elements,
    /// `TrueDropout` over channels.
    Channels,
}

impl Layer {
    /// The article's own, and libtorch's to hold them against.
    pub const DEFAULT: &str = "none,dropout,true_dropout,drop_connect,libtorch";

    const ALL: [Layer; 7] = [
        Layer::None,
        Layer::Dropout,
        Layer::TrueDropout,
        Layer::DropConnect,
        Layer::Libtorch,
        Layer::Elements,
        Layer::Channels,
    ];

    fn name(self) -> &'static str {
        match self {
            Layer::None => "none",
            Layer::Dropout => "dropout",
            Layer::TrueDropout => "true_dropout",
            Layer::DropConnect => "drop_connect",
            Layer::Libtorch => "libtorch",
            Layer::Elements => "elements",
            Layer::Channels => "channels",
        }
    }

    /// What stands where activations are dropped.
    pub fn dropout(self, p: f64) -> Result<SequentialT> {
        let place = nn::seq_t();
        Ok(match self {
            Layer::None | Layer::DropConnect => place,
            Layer::Dropout => place.add(Dropout::new(p)?),
            Layer::TrueDropout => place.add(TrueDropout::new(p)?),
            Layer::Libtorch => place.add_fn_t(move |x, train| x.dropout(p, train)),
            Layer::Elements => place.add(TrueDropout::new(p)?.noise_shape(NoiseShape::Elements)),
            Layer::Channels => place.add(TrueDropout::new(p)?.noise_shape(NoiseShape::Channels)),
        })
    }

    /// The linear layer whose weights DropConnect drops.
    pub fn linear(self, vs: nn::Path, inputs: i64, outputs: i64, p: f64) -> Result<SequentialT> {
        Ok(match self {
            Layer::DropConnect => {
                let config = DropConnectConfig { p, ..Default::default() };
                nn::seq_t().add(drop_connect(vs, inputs, outputs, config)?)
            }
            _ => nn::seq_t().add(nn::linear(vs, inputs, outputs, Default::default())),
        })
    }
}

impl FromStr for Layer {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let named = Layer::ALL.into_iter().find(|layer| layer.name() == text);
        named.ok_or_else(|| {
            let all = Layer::ALL.map(Layer::name).join(",");
            anyhow::anyhow!("unknown layer, expected some of {all}")
        })
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
