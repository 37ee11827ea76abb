//! A Transformer (Vaswani et al. 2017), with the norms before the branches, and dropout in the three places
//! where one has it: the attention weights, the output of each branch, and whole branches.

use anyhow::Result;
use tch::Tensor;
use tch::nn::{self, Module, ModuleT};
use tch_dropout::{
    MultiHeadAttentionConfig, StochasticDepth, TrueDropout, multi_head_attention,
    stochastic_depth_rates,
};

use crate::text::LENGTH;

const FEATURES: i64 = 128;
const HEADS: i64 = 4;
const BLOCKS: usize = 2;

// The probabilities of dropping: an attention weight; a feature of the embedding, or of what a branch adds to
// the residual; and a branch of the last block, where earlier ones are dropped less often.
const ATTENTION: f64 = 0.15;
const RESIDUAL: f64 = 0.15;
const DEPTH: f64 = 0.1;

#[derive(Debug)]
pub struct Model {
    symbols: nn::Embedding,
    /// A vector for each position, `[LENGTH, FEATURES]`.
    positions: Tensor,
    dropout: TrueDropout,
    branches: Vec<Branch>,
    norm: nn::LayerNorm,
    logits: nn::Linear,
}

/// All probabilities are multiplied by `scale`.
pub fn model(vs: &nn::Path, symbols: i64, scale: f64) -> Result<Model> {
    let mut branches = Vec::new();
    for (block, depth) in stochastic_depth_rates(DEPTH * scale, BLOCKS).enumerate() {
        let vs = vs / "blocks" / block;
        let (attention, network) = (&vs / "attention", &vs / "network");
        let config =
            MultiHeadAttentionConfig { p: ATTENTION * scale, causal: true, ..Default::default() };
        let module = multi_head_attention(&attention, FEATURES, HEADS, config)?;
        branches.push(Branch::new(&attention, module, RESIDUAL * scale, depth)?);
        branches.push(Branch::new(&network, feed_forward(&network), RESIDUAL * scale, depth)?);
    }
    let small = nn::EmbeddingConfig {
        ws_init: nn::Init::Randn { mean: 0.0, stdev: 0.1 },
        ..Default::default()
    };
    Ok(Model {
        symbols: nn::embedding(vs / "symbols", symbols, FEATURES, small),
        positions: vs.randn("positions", &[LENGTH, FEATURES], 0.0, 0.1),
        dropout: TrueDropout::elements(RESIDUAL * scale)?,
        branches,
        norm: nn::layer_norm(vs / "norm", vec![FEATURES], Default::default()),
        logits: linear(vs / "logits", FEATURES, symbols),
    })
}

fn feed_forward(vs: &nn::Path) -> nn::Sequential {
    nn::seq()
        .add(linear(vs / "widen", FEATURES, 4 * FEATURES))
        .add_fn(|x| x.gelu("none"))
        .add(linear(vs / "narrow", 4 * FEATURES, FEATURES))
}

/// A linear layer that begins as PyTorch's does.
fn linear(vs: nn::Path, inputs: i64, outputs: i64) -> nn::Linear {
    let bound = 1.0 / (inputs as f64).sqrt();
    let ws_init = nn::Init::Uniform { lo: -bound, up: bound };
    nn::linear(vs, inputs, outputs, nn::LinearConfig { ws_init, ..Default::default() })
}

impl ModuleT for Model {
    fn forward_t(&self, symbols: &Tensor, train: bool) -> Tensor {
        let positions = self.positions.narrow(0, 0, symbols.size()[1]);
        let x = self.dropout.forward_t(&(self.symbols.forward(symbols) + positions), train);
        let x = self.branches.iter().fold(x, |x, branch| branch.forward_t(&x, train));
        self.logits.forward(&self.norm.forward(&x))
    }
}

/// `x`, and what is added to it: attention, or the feed-forward network.
#[derive(Debug)]
struct Branch {
    norm: nn::LayerNorm,
    module: Box<dyn ModuleT>,
    dropout: TrueDropout,
    depth: StochasticDepth,
}

impl Branch {
    fn new(vs: &nn::Path, module: impl ModuleT + 'static, p: f64, depth: f64) -> Result<Branch> {
        Ok(Branch {
            norm: nn::layer_norm(vs / "norm", vec![FEATURES], Default::default()),
            module: Box::new(module),
            dropout: TrueDropout::elements(p)?,
            depth: StochasticDepth::new(depth)?,
        })
    }
}

impl ModuleT for Branch {
    fn forward_t(&self, x: &Tensor, train: bool) -> Tensor {
        let branch = |x: &Tensor| {
            let y = self.module.forward_t(&self.norm.forward(x), train);
            self.dropout.forward_t(&y, train)
        };
        self.depth.forward(x, branch, train)
    }
}
