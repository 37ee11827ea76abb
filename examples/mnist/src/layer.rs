//! The layers that are compared, and what each of them adds to a model.

use std::fmt;

use anyhow::Result;
use clap::ValueEnum;
use picture::style::{self, Look};
use serde::Serialize;
use tch::nn::{self, SequentialT};
use tch_dropout::{DropConnectConfig, Dropout, TrueDropout, drop_connect};

/// A kind of dropout, or none.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
#[value(rename_all = "snake_case")]
pub enum Layer {
    /// No dropout
    None,
    /// Columns, not rescaled: the article's first layer
    Dropout,
    /// Columns, rescaled: the article's second layer
    TrueDropout,
    /// Weights of the hidden layer, rescaled
    DropConnect,
    /// `Tensor::dropout`, which drops elements
    Libtorch,
    /// `TrueDropout` over elements
    Elements,
    /// `TrueDropout` over channels; the same as elements, except in the cnn
    Channels,
}

impl Layer {
    /// The article's own, and libtorch's for comparison.
    pub const DEFAULT: &str = "none,dropout,true_dropout,drop_connect,libtorch";

    /// The layer where activations are dropped.
    pub fn dropout(self, p: f64) -> Result<SequentialT> {
        let place = nn::seq_t();
        Ok(match self {
            Layer::None | Layer::DropConnect => place,
            Layer::Dropout => place.add(Dropout::columns(p)?),
            Layer::TrueDropout => place.add(TrueDropout::columns(p)?),
            Layer::Libtorch => place.add_fn_t(move |x, train| x.dropout(p, train)),
            Layer::Elements => place.add(TrueDropout::elements(p)?),
            Layer::Channels => place.add(TrueDropout::channels(p)?),
        })
    }

    /// How its lines are drawn.
    pub fn look(self) -> Look {
        match self {
            Layer::None => style::NOTHING,
            Layer::Dropout => style::COLUMNS.dashed(),
            Layer::TrueDropout => style::COLUMNS,
            Layer::DropConnect => style::WEIGHTS,
            Layer::Libtorch => style::LIBTORCH,
            Layer::Elements => style::ELEMENTS,
            Layer::Channels => style::CHANNELS,
        }
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

/// By its name on the command line.
impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.to_possible_value().expect("no layer is hidden").get_name())
    }
}
