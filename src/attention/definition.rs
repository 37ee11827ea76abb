//! Attention by its definition, which keeps the weights.

use std::fmt;

use tch::{Kind, Tensor};

use super::checks::check_value;
use crate::error::{Error, Result};
use crate::fused_attention::pairs;

/// Which keys a query sees.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Causal {
    #[default]
    No,
    /// The query at position `t` sees the keys at positions up to `t`.
    UpperLeft,
    /// The last query sees the last key, the one before it one key less, and so on.
    LowerRight,
}

impl fmt::Display for Causal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Causal::No => "false",
            Causal::UpperLeft => "true",
            Causal::LowerRight => "lower_right",
        })
    }
}

impl Causal {
    /// How many keys the first query sees, of as many queries and keys: less than 1 if it and others see none.
    #[cfg(recompute)]
    pub(super) fn first_sees(self, queries: i64, keys: i64) -> i64 {
        match self {
            Causal::No => keys,
            Causal::UpperLeft => 1,
            Causal::LowerRight => keys - queries + 1,
        }
    }

    /// What is added to the scores, `[T, S]`: -∞ where the query does not see the key.
    fn bias(self, query: &Tensor, key: &Tensor, kind: Kind) -> Result<Option<Tensor>> {
        let hidden = || Ok::<_, Error>(pairs(query, key, kind)?.f_full_like(f64::NEG_INFINITY)?);
        Ok(match self {
            Causal::No => None,
            Causal::UpperLeft => Some(hidden()?.f_triu_(1)?),
            // By the ends of both, so that a trace takes sequences of any length.
            Causal::LowerRight => Some(hidden()?.f_tril_(-1)?.f_flip([-2, -1])?),
        })
    }
}

/// What attention is, apart from its dropout, for given inputs.
#[derive(Clone, Copy)]
pub(super) struct Formula {
    pub(super) causal: Causal,
    pub(super) scale: f64,
}

/// What attention finds, `[..., T, V]`, and its weights before dropout, `[..., T, S]`.
pub(super) struct Found {
    pub(super) y: Tensor,
    pub(super) weights: Tensor,
}

impl Formula {
    /// `dropout(softmax(query · keyᵀ · scale + bias)) · value`.
    pub(super) fn attend(
        self,
        [query, key, value]: [&Tensor; 3],
        bias: Option<&Tensor>,
        dropout: impl FnOnce(&Tensor) -> Result<Tensor>,
    ) -> Result<Found> {
        let bias = self.whole_bias(query, key, bias)?;
        let weights = self.weights(query, key, bias.as_ref())?;
        check_value(&weights, value)?;
        let y = dropout(&weights)?.f_matmul(value)?;
        let seen = |x: Tensor| without_blind(x, bias.as_ref());
        Ok(Found { y: seen(y)?, weights: seen(weights)? })
    }

    /// `softmax(query · keyᵀ · scale + bias)`.
    fn weights(self, query: &Tensor, key: &Tensor, bias: Option<&Bias>) -> Result<Tensor> {
        let kind = query.kind();
        // In f32, as libtorch has it: scores may exceed f16's range, and bf16 is too coarse for an exponent.
        let is_half = [Kind::Half, Kind::BFloat16].contains(&kind) && key.kind() == kind;
        let wide = if is_half { Kind::Float } else { kind };
        let key = if is_half { key.f_to_kind(wide)? } else { key.shallow_clone() };
        // Before the product, as there are fewer numbers.
        let query = query.f_to_kind(wide)?.f_mul_scalar(self.scale)?;
        let mut scores = query.f_matmul(&key.f_transpose(-2, -1)?)?;
        if let Some(bias) = bias {
            scores = scores.f_add_(&bias.sum)?;
        }
        let weights = scores.f_softmax(-1, None)?;
        if is_half { Ok(weights.f_to_kind(kind)?) } else { Ok(weights) }
    }

    /// What a bias, and being causal, add to the scores; `None` for nothing.
    pub(super) fn whole_bias(
        self,
        query: &Tensor,
        key: &Tensor,
        bias: Option<&Tensor>,
    ) -> Result<Option<Bias>> {
        let kind = bias.map_or(query.kind(), Tensor::kind);
        let (sum, is_blind) = match (bias, self.causal.bias(query, key, kind)?) {
            (None, None) => return Ok(None),
            (None, Some(future)) => (future, self.causal == Causal::LowerRight),
            (Some(bias), None) => (bias.shallow_clone(), true),
            (Some(bias), Some(future)) => (bias.f_add(&future)?, true),
        };
        if !is_blind {
            return Ok(Some(Bias { sum, blind: None }));
        }
        let blind = sum.f_isneginf()?.f_all_dim(-1, true)?;
        Ok(Some(Bias { sum: sum.f_masked_fill(&blind, 0.0)?, blind: Some(blind) }))
    }
}

/// What is added to the scores.
pub(super) struct Bias {
    /// Without the rows that are blind: the softmax of such a row would be NaN, and its gradient too.
    pub(super) sum: Tensor,
    /// Whether all of a query's keys are masked, `[..., T, 1]`, where that may be.
    blind: Option<Tensor>,
}

/// What the queries found, with 0 for blind ones.
pub(super) fn without_blind(found: Tensor, bias: Option<&Bias>) -> Result<Tensor> {
    match bias.and_then(|bias| bias.blind.as_ref()) {
        Some(blind) => Ok(found.f_masked_fill(blind, 0.0)?),
        None => Ok(found),
    }
}
