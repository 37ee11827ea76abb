//! The article's model, and two that gain more from dropout. Each works with any of the layers.

use std::fmt;

use anyhow::Result;
use clap::ValueEnum;
use serde::Serialize;
use tch::Tensor;
use tch::nn::{self, Module, ModuleT, SequentialT};

use crate::layer::Layer;

const SIDE: i64 = 28;
const HIDDEN: i64 = 512;
const CLASSES: i64 = 10;

/// The model to train.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Architecture {
    /// 784-512-512-10, all linear, with dropout before the last layer
    Article,
    /// The same with a ReLU after each hidden layer
    Mlp,
    /// The same with two convolutions instead of the first layer, and dropout after them too
    Cnn,
}

impl Architecture {
    /// From images to features: `[N, 784]` to `[N, 512]`.
    fn features(self, vs: &nn::Path, layer: Layer, p: f64) -> Result<SequentialT> {
        let first = || nn::linear(vs / "first", SIDE * SIDE, HIDDEN, Default::default());
        Ok(match self {
            Architecture::Article => nn::seq_t().add(first()),
            Architecture::Mlp => nn::seq_t().add(first()).add_fn(Tensor::relu),
            Architecture::Cnn => nn::seq_t()
                .add_fn(|images| images.view([-1, 1, SIDE, SIDE]))
                .add(nn::conv2d(vs / "conv1", 1, 16, 5, Default::default()))
                .add_fn(|x| x.relu().max_pool2d_default(2))
                .add(nn::conv2d(vs / "conv2", 16, 32, 5, Default::default()))
                .add_fn(|x| x.relu().max_pool2d_default(2))
                .add(layer.dropout(p)?)
                .add_fn(|x| x.flatten(1, -1)),
        })
    }
}

/// By its name on the command line.
impl fmt::Display for Architecture {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.to_possible_value().expect("no model is hidden").get_name())
    }
}

/// Features, a hidden layer, dropout and the last layer. DropConnect replaces the hidden layer, as it drops
/// that layer's weights.
#[derive(Debug)]
pub struct Model {
    features: SequentialT,
    hidden: SequentialT,
    last: nn::Linear,
    as_printed: bool,
}

impl Model {
    pub fn new(
        vs: &nn::Path,
        architecture: Architecture,
        layer: Layer,
        p: f64,
        as_printed: bool,
    ) -> Result<Model> {
        let features = architecture.features(vs, layer, p)?;
        let mut hidden = nn::seq_t().add(layer.linear(vs / "second", HIDDEN, HIDDEN, p)?);
        if architecture != Architecture::Article {
            hidden = hidden.add_fn(Tensor::relu);
        }
        Ok(Model {
            features,
            hidden: hidden.add(layer.dropout(p)?),
            last: nn::linear(vs / "last", HIDDEN, CLASSES, Default::default()),
            as_printed,
        })
    }
}

impl ModuleT for Model {
    fn forward_t(&self, images: &Tensor, train: bool) -> Tensor {
        let x = self.features.forward_t(images, train);
        let x = self.hidden.forward_t(&x, train);
        let output = self.last.forward(&x);
        // The article's slip: 512 numbers take the place of 10, and training makes do with them.
        if self.as_printed { x } else { output }
    }
}
