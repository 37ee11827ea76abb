//! Attention by its definition, which keeps the weights.

use tch::{Kind, Tensor};

use super::checks::check_value;
use crate::error::Result;
use crate::fused_attention::pairs;

/// What attention is, apart from its dropout, for given inputs.
#[derive(Clone, Copy)]
pub(super) struct Formula {
    pub(super) causal: bool,
    pub(super) scale: f64,
}

impl Formula {
    /// `dropout(softmax(query · keyᵀ · scale + bias)) · value`.
    pub(super) fn attend(
        self,
        [query, key, value]: [&Tensor; 3],
        bias: Option<&Tensor>,
        dropout: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<Tensor> {
        let bias = bias.map(|bias| self.whole_bias(query, key, bias)).transpose()?;
        let weights = self.weights(query, key, bias.as_ref().map(|bias| &bias.sum))?;
        check_value(&weights, value)?;
        without_blind(dropout(&weights)?.f_matmul(value)?, bias)
    }

    /// `softmax(query · keyᵀ · scale + bias)`.
    fn weights(self, query: &Tensor, key: &Tensor, bias: Option<&Tensor>) -> Result<Tensor> {
        let kind = query.kind();
        // In f32, as libtorch has it: scores may exceed f16's range, and bf16 is too coarse for an exponent.
        let is_half = [Kind::Half, Kind::BFloat16].contains(&kind) && key.kind() == kind;
        let wide = if is_half { Kind::Float } else { kind };
        let key = if is_half { key.f_to_kind(wide)? } else { key.shallow_clone() };
        // Before the product, as there are fewer numbers.
        let query = query.f_to_kind(wide)?.f_mul_scalar(self.scale)?;
        let mut scores = query.f_matmul(&key.f_transpose(-2, -1)?)?;
        match bias {
            Some(bias) => scores = scores.f_add_(bias)?,
            None if self.causal => scores = scores.f_add_(&future(&query, &key, scores.kind())?)?,
            None => {}
        }
        let weights = scores.f_softmax(-1, None)?;
        if is_half { Ok(weights.f_to_kind(kind)?) } else { Ok(weights) }
    }

    /// What a bias, and being causal, add to the scores.
    pub(super) fn whole_bias(self, query: &Tensor, key: &Tensor, bias: &Tensor) -> Result<Bias> {
        let future = if self.causal { Some(future(query, key, bias.kind())?) } else { None };
        let sum = match future {
            Some(future) => bias.f_add(&future)?,
            None => bias.shallow_clone(),
        };
        let blind = sum.f_isneginf()?.f_all_dim(-1, true)?;
        Ok(Bias { sum: sum.f_masked_fill(&blind, 0.0)?, blind })
    }
}

/// What is added to the scores.
pub(super) struct Bias {
    /// Without the rows that are blind: the softmax of such a row would be NaN, and its gradient too.
    pub(super) sum: Tensor,
    /// Whether all of a query's keys are masked, `[..., T, 1]`.
    blind: Tensor,
}

/// What the queries found, with 0 for blind ones.
pub(super) fn without_blind(found: Tensor, bias: Option<Bias>) -> Result<Tensor> {
    match bias {
        Some(bias) => Ok(found.f_masked_fill(&bias.blind, 0.0)?),
        None => Ok(found),
    }
}

/// What being causal adds to the scores: -∞ above the diagonal of `[T, S]`.
fn future(query: &Tensor, key: &Tensor, kind: Kind) -> Result<Tensor> {
    Ok(pairs(query, key, kind)?.f_full_like(f64::NEG_INFINITY)?.f_triu_(1)?)
}
