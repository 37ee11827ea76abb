//! The article's model, with a place for each kind of dropout.

use std::fmt;
use std::str::FromStr;

use anyhow::Result;
use serde::Serialize;
use tch::nn::{self, Module, ModuleT};
use tch::Tensor;
use tch_dropout::{drop_connect, DropConnectConfig, Dropout, TrueDropout};

const HIDDEN: i64 = 512;
const CLASSES: i64 = 10;

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layer {
    None,
    Dropout,
    TrueDropout,
    DropConnect,
    /// `Tensor::dropout`.
    Libtorch,
}

impl Layer {
    /// All of them, as they are named on the command line.
    pub const ALL: &str = "none,dropout,true_dropout,drop_connect,libtorch";
}

impl FromStr for Layer {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        use Layer::*;
        [None, Dropout, TrueDropout, DropConnect, Libtorch]
            .into_iter()
            .find(|layer| layer.to_string() == text)
            .ok_or_else(|| anyhow::anyhow!("unknown layer, expected some of {}", Layer::ALL))
    }
}

impl fmt::Display for Layer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Layer::None => "none",
            Layer::Dropout => "dropout",
            Layer::TrueDropout => "true_dropout",
            Layer::DropConnect => "drop_connect",
            Layer::Libtorch => "libtorch",
        })
    }
}

/// Linear 784-512, 512-512, dropout, 512-10. DropConnect takes the second linear layer's place, as
/// it drops that one's weights.
#[derive(Debug)]
pub struct Model {
    first: nn::Linear,
    second: Box<dyn ModuleT>,
    dropout: Box<dyn ModuleT>,
    last: nn::Linear,
    as_printed: bool,
}

impl Model {
    pub fn new(vs: &nn::Path, layer: Layer, p: f64, as_printed: bool) -> Result<Model> {
        let pixels = 28 * 28;
        Ok(Model {
            first: nn::linear(vs / "first", pixels, HIDDEN, Default::default()),
            second: match layer {
                Layer::DropConnect => {
                    let config = DropConnectConfig { p, ..Default::default() };
                    Box::new(drop_connect(vs / "second", HIDDEN, HIDDEN, config)?)
                }
                _ => Box::new(nn::linear(vs / "second", HIDDEN, HIDDEN, Default::default())),
            },
            dropout: match layer {
                Layer::None | Layer::DropConnect => Box::new(nn::func(Tensor::shallow_clone)),
                Layer::Dropout => Box::new(Dropout::new(p)?),
                Layer::TrueDropout => Box::new(TrueDropout::new(p)?),
                Layer::Libtorch => Box::new(nn::func_t(move |x, train| x.dropout(p, train))),
            },
            last: nn::linear(vs / "last", HIDDEN, CLASSES, Default::default()),
            as_printed,
        })
    }
}

impl ModuleT for Model {
    fn forward_t(&self, images: &Tensor, train: bool) -> Tensor {
        let x = self.first.forward(images);
        let x = self.second.forward_t(&x, train);
        let x = self.dropout.forward_t(&x, train);
        let output = self.last.forward(&x);
        // The article's slip: 512 numbers take the place of 10, and training makes do with them.
        if self.as_printed {
            x
        } else {
            output
        }
    }
}
