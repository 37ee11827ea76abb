//! A BERT layer with variables named as in [`rust_bert::bert::BertLayer`], so that it can load that one's
//! weights. It takes any dropout with rust-bert's interface.

use rust_bert::bert::BertConfig;
use tch::nn::{self, ModuleT};
use tch::{Kind, Tensor};

#[derive(Debug)]
pub struct Layer<D> {
    heads: i64,
    query: nn::Linear,
    key: nn::Linear,
    value: nn::Linear,
    attention_dropout: D,
    attended: Residual<D>,
    intermediate: nn::Linear,
    output: Residual<D>,
}

impl<D: ModuleT> Layer<D> {
    pub fn new(vs: nn::Path, config: &BertConfig, dropout: fn(f64) -> D) -> Self {
        let (hidden, inner) = (config.hidden_size, config.intermediate_size);
        let attention = &vs / "attention";
        let linear =
            |name| nn::linear(&attention / "self" / name, hidden, hidden, Default::default());
        Layer {
            heads: config.num_attention_heads,
            query: linear("query"),
            key: linear("key"),
            value: linear("value"),
            attention_dropout: dropout(config.attention_probs_dropout_prob),
            attended: Residual::new(
                &attention / "output",
                hidden,
                hidden,
                dropout(config.hidden_dropout_prob),
            ),
            intermediate: nn::linear(
                &vs / "intermediate" / "dense",
                hidden,
                inner,
                Default::default(),
            ),
            output: Residual::new(
                &vs / "output",
                inner,
                hidden,
                dropout(config.hidden_dropout_prob),
            ),
        }
    }

    fn attention(&self, x: &Tensor, train: bool) -> Tensor {
        let (batch, tokens, hidden) = x.size3().unwrap();
        let size = hidden / self.heads;
        let heads = |linear: &nn::Linear| {
            x.apply(linear).view((batch, tokens, self.heads, size)).transpose(1, 2)
        };
        let scores =
            heads(&self.query).matmul(&heads(&self.key).transpose(-1, -2)) / (size as f64).sqrt();
        let weights = scores.softmax(-1, Kind::Float).apply_t(&self.attention_dropout, train);
        weights
            .matmul(&heads(&self.value))
            .transpose(1, 2)
            .contiguous()
            .view((batch, tokens, hidden))
    }
}

impl<D: ModuleT> ModuleT for Layer<D> {
    fn forward_t(&self, x: &Tensor, train: bool) -> Tensor {
        let attended = self.attended.forward_t(&self.attention(x, train), x, train);
        let inner = attended.apply(&self.intermediate).gelu("none");
        self.output.forward_t(&inner, &attended, train)
    }
}

/// `LayerNorm(residual + dropout(linear(x)))`.
#[derive(Debug)]
struct Residual<D> {
    linear: nn::Linear,
    norm: nn::LayerNorm,
    dropout: D,
}

impl<D: ModuleT> Residual<D> {
    fn new(vs: nn::Path, from: i64, to: i64, dropout: D) -> Self {
        let norm = nn::LayerNormConfig { eps: 1e-12, ..Default::default() };
        Residual {
            linear: nn::linear(&vs / "dense", from, to, Default::default()),
            norm: nn::layer_norm(&vs / "LayerNorm", vec![to], norm),
            dropout,
        }
    }

    fn forward_t(&self, x: &Tensor, residual: &Tensor, train: bool) -> Tensor {
        (residual + x.apply(&self.linear).apply_t(&self.dropout, train)).apply(&self.norm)
    }
}
