//! A Transformer (Vaswani et al. 2017), with the norms before the branches, and dropout in the three places
//! where one has it: the attention weights, the output of each branch, and whole branches.

use anyhow::Result;
use tch::Tensor;
use tch::nn::{self, Module, ModuleT};
use tch_dropout::{MultiHeadAttentionConfig, TrueDropout, multi_head_attention};

use crate::model::Rates;
use crate::text::LENGTH;

const FEATURES: i64 = 128;
const HEADS: i64 = 4;
const BLOCKS: i64 = 2;

#[derive(Debug)]
pub struct Transformer {
    symbols: nn::Embedding,
    /// A vector for each position, `[LENGTH, FEATURES]`.
    positions: Tensor,
    dropout: TrueDropout,
    branches: Vec<Branch>,
    norm: nn::LayerNorm,
    logits: nn::Linear,
}

pub fn transformer(vs: &nn::Path, symbols: i64, rates: Rates) -> Result<Transformer> {
    let mut branches = Vec::new();
    for block in 0..BLOCKS {
        let vs = vs / "blocks" / block;
        // The deeper, the more often skipped (Huang et al. 2016).
        let rates = Rates { depth: rates.depth * (block + 1) as f64 / BLOCKS as f64, ..rates };
        let config =
            MultiHeadAttentionConfig { p: rates.dropout, causal: true, ..Default::default() };
        let attention = multi_head_attention(&vs / "attention", FEATURES, HEADS, config)?;
        branches.push(Branch::new(&(&vs / "attend"), attention, rates)?);
        branches.push(Branch::new(&(&vs / "think"), feed_forward(&vs), rates)?);
    }
    let small = nn::EmbeddingConfig {
        ws_init: nn::Init::Randn { mean: 0.0, stdev: 0.1 },
        ..Default::default()
    };
    Ok(Transformer {
        symbols: nn::embedding(vs / "symbols", symbols, FEATURES, small),
        positions: vs.randn("positions", &[LENGTH, FEATURES], 0.0, 0.1),
        dropout: TrueDropout::elements(rates.dropout)?,
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

impl ModuleT for Transformer {
    fn forward_t(&self, symbols: &Tensor, train: bool) -> Tensor {
        let positions = self.positions.narrow(0, 0, symbols.size()[1]);
        let x = self.dropout.forward_t(&(self.symbols.forward(symbols) + positions), train);
        let x = self.branches.iter().fold(x, |x, branch| branch.forward_t(&x, train));
        self.logits.forward(&self.norm.forward(&x))
    }
}

/// What is added to `x`: attention, or the feed-forward network.
#[derive(Debug)]
struct Branch {
    norm: nn::LayerNorm,
    module: Box<dyn ModuleT>,
    dropout: TrueDropout,
    /// Stochastic depth.
    depth: TrueDropout,
}

impl Branch {
    fn new(vs: &nn::Path, module: impl ModuleT + 'static, rates: Rates) -> Result<Branch> {
        Ok(Branch {
            norm: nn::layer_norm(vs / "norm", vec![FEATURES], Default::default()),
            module: Box::new(module),
            dropout: TrueDropout::elements(rates.dropout)?,
            depth: TrueDropout::samples(rates.depth)?,
        })
    }
}

impl ModuleT for Branch {
    fn forward_t(&self, x: &Tensor, train: bool) -> Tensor {
        let y = self.module.forward_t(&self.norm.forward(x), train);
        self.depth.forward_add(&self.dropout.forward_t(&y, train), x, train)
    }
}
