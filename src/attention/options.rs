//! Which way attention is computed.

use tch::{Kind, Tensor};

use super::checks::{check_inputs, check_mask, heads_like};
use super::definition::{Formula, without_blind};
#[cfg(recompute)]
use super::in_blocks;
use crate::error::Result;
use crate::fused_attention::fused_attention;
use crate::noise::Noise;

/// What attention is, apart from its dropout.
#[derive(Clone, Copy, Default)]
pub(crate) struct Options {
    pub(crate) causal: bool,
    /// `1 / sqrt(E)` if there is none.
    pub(crate) scale: Option<f64>,
}

impl Options {
    /// `noise(softmax(query · keyᵀ · scale + mask)) · value`.
    pub(crate) fn attend(
        &self,
        noise: &Noise,
        inputs: [&Tensor; 3],
        mask: Option<&Tensor>,
        train: bool,
    ) -> Result<Tensor> {
        check_inputs(inputs)?;
        let [query, key, value] = inputs;
        let inputs = [query, &heads_like(query, key)?, &heads_like(query, value)?];
        let bias = mask.map(|mask| bias(query, key, mask)).transpose()?;
        let features = *query.size().last().expect("the number of dimensions has been checked");
        let scale = self.scale.unwrap_or_else(|| 1.0 / (features as f64).sqrt());
        let formula = Formula { causal: self.causal, scale };

        let p = noise.active_p(train)?;
        if p.is_zero() {
            return self.without_dropout(formula, inputs, bias.as_ref());
        }
        #[cfg(recompute)]
        if in_blocks::pays(inputs, bias.as_ref()) {
            let weights = weights_of(inputs)?;
            let draw = noise.draw_at(p, &weights)?;
            return match draw.per_element(&weights)? {
                Some(mask) => in_blocks::attend(formula, mask, inputs, bias.as_ref()),
                None => {
                    formula.attend(inputs, bias.as_ref(), |weights| draw.multiply(weights, None))
                }
            };
        }
        formula.attend(inputs, bias.as_ref(), |weights| {
            noise.draw_at(p, weights)?.multiply(weights, None)
        })
    }

    /// By libtorch's fused kernel.
    fn without_dropout(
        &self,
        formula: Formula,
        inputs: [&Tensor; 3],
        bias: Option<&Tensor>,
    ) -> Result<Tensor> {
        let [query, key, _] = inputs;
        let bias = bias.map(|bias| formula.whole_bias(query, key, bias)).transpose()?;
        let sum = bias.as_ref().map(|bias| bias.sum.shallow_clone());
        let causal = self.causal && sum.is_none();
        without_blind(fused_attention(inputs, sum, 0.0, causal, self.scale)?, bias)
    }
}

/// What a mask adds to the scores.
fn bias(query: &Tensor, key: &Tensor, mask: &Tensor) -> Result<Tensor> {
    check_mask(query.kind(), &weights_size(query, key), mask)?;
    // libtorch's kernel needs two dimensions.
    let bias = mask.f_atleast_2d()?;
    match bias.kind() {
        // The logarithm of 1 is 0, and that of 0 is -∞.
        Kind::Bool => Ok(bias.f_to_kind(query.kind())?.f_log()?),
        _ => Ok(bias),
    }
}

/// `[..., T, S]`.
fn weights_size(query: &Tensor, key: &Tensor) -> Vec<i64> {
    let mut size = query.size();
    size.splice(query.dim() - 1.., [key.size()[key.dim() - 2]]);
    size
}

/// A tensor of the weights' size, kind and device, in the memory of one of a query's numbers: for a draw, which asks for
/// these and nothing else.
#[cfg(recompute)]
fn weights_of([query, key, _]: [&Tensor; 3]) -> Result<Tensor> {
    Ok(query.f_narrow(-1, 0, 1)?.f_expand(weights_size(query, key), false)?)
}
