//! Which way attention is computed.

use tch::{Device, Kind, Tensor};

use super::checks::{check_inputs, check_mask, heads_like};
use super::definition::{Causal, Formula, Found, without_blind};
#[cfg(recompute)]
use super::in_blocks;
use crate::error::Result;
use crate::fused_attention::fused_attention;
use crate::noise::Noise;
use crate::noise_shape::NoiseShape;
use crate::trace;

/// What attention is, apart from its dropout.
#[derive(Clone, Copy, Default)]
pub(crate) struct Options {
    pub(crate) causal: Causal,
    /// `1 / sqrt(E)` if there is none.
    pub(crate) scale: Option<f64>,
}

/// What a layer is called with: `[query, key, value]`, with as many heads each, and what is added to the scores.
struct Inputs {
    all: [Tensor; 3],
    bias: Option<Tensor>,
    formula: Formula,
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
        let inputs = self.check(inputs, mask)?;
        let p = noise.active_p(train)?;
        if p.is_zero() {
            return inputs.by_libtorch(0.0);
        }
        let query = &inputs.all[0];
        if !trace::is_tracing() && is_libtorchs(noise, p.get(), query.kind(), query.device()) {
            let draw = noise.draw_at(p, &weights_of(inputs.all.each_ref())?)?;
            return inputs.by_libtorch(draw.p.get());
        }
        #[cfg(recompute)]
        if in_blocks::pays(inputs.all.each_ref(), inputs.bias.as_ref()) {
            let weights = weights_of(inputs.all.each_ref())?;
            let draw = noise.draw_at(p, &weights)?;
            if let Some(mask) = draw.per_element(&weights)? {
                let bias = inputs.bias.as_ref();
                return in_blocks::attend(inputs.formula, mask, inputs.all.each_ref(), bias);
            }
            return Ok(inputs.by_definition(|weights| draw.multiply(weights, None))?.y);
        }
        Ok(inputs.by_definition(|weights| noise.draw_at(p, weights)?.multiply(weights, None))?.y)
    }

    /// The same, by the definition, and the weights before dropout.
    pub(crate) fn attend_with_weights(
        &self,
        noise: &Noise,
        inputs: [&Tensor; 3],
        mask: Option<&Tensor>,
        train: bool,
    ) -> Result<(Tensor, Tensor)> {
        let inputs = self.check(inputs, mask)?;
        let p = noise.active_p(train)?;
        let dropout = |weights: &Tensor| noise.draw_at(p, weights)?.multiply(weights, None);
        let Found { y, weights } = inputs.by_definition(dropout)?;
        Ok((y, weights))
    }

    fn check(&self, all: [&Tensor; 3], mask: Option<&Tensor>) -> Result<Inputs> {
        check_inputs(all)?;
        let [query, key, value] = all;
        let bias = mask.map(|mask| bias(query, key, mask)).transpose()?;
        let features = *query.size().last().expect("the number of dimensions has been checked");
        let scale = self.scale.unwrap_or_else(|| 1.0 / (features as f64).sqrt());
        let all = [query.shallow_clone(), heads_like(query, key)?, heads_like(query, value)?];
        Ok(Inputs { all, bias, formula: Formula { causal: self.causal, scale } })
    }
}

impl Inputs {
    /// By libtorch's fused kernel.
    fn by_libtorch(&self, p: f64) -> Result<Tensor> {
        let (formula, [query, key, _]) = (self.formula, self.all.each_ref());
        let length = |x: &Tensor| x.size()[x.dim() - 2];
        let is_upper_left = match formula.causal {
            Causal::No => false,
            Causal::UpperLeft => true,
            Causal::LowerRight => length(query) == length(key) && !trace::is_tracing(),
        };
        let causal = is_upper_left && self.bias.is_none();
        let bias =
            if causal { None } else { formula.whole_bias(query, key, self.bias.as_ref())? };
        let sum = bias.as_ref().map(|bias| bias.sum.shallow_clone());
        let scale = Some(formula.scale);
        without_blind(fused_attention(self.all.each_ref(), sum, p, causal, scale)?, bias.as_ref())
    }

    fn by_definition(&self, dropout: impl FnOnce(&Tensor) -> Result<Tensor>) -> Result<Found> {
        self.formula.attend(self.all.each_ref(), self.bias.as_ref(), dropout)
    }
}

/// Whether dropout is left to libtorch's fused kernels, which draw from the generator that a layer without a seed follows.
/// There are none for f64; and where all is dropped, they might divide by 0.
fn is_libtorchs(noise: &Noise, p: f64, kind: Kind, device: Device) -> bool {
    device.is_cuda()
        && noise.stream.is_none()
        && noise.shape == NoiseShape::Elements
        && kind != Kind::Double
        && p < 1.0
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
fn weights_of([query, key, _]: [&Tensor; 3]) -> Result<Tensor> {
    Ok(query.f_narrow(-1, 0, 1)?.f_expand(weights_size(query, key), false)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rng::stream::Stream;

    #[test]
    fn libtorch_drops_on_a_gpu_without_a_seed() {
        let noise = |shape| Noise::new(0.1, shape, true).unwrap();
        let mut seeded = noise(NoiseShape::Elements);
        seeded.stream = Some(Stream::new(1));
        let elements = noise(NoiseShape::Elements);
        for kind in [Kind::Float, Kind::Half, Kind::BFloat16] {
            assert!(is_libtorchs(&elements, 0.1, kind, Device::Cuda(1)));
        }
        for (noise, p, kind, device) in [
            (&elements, 0.1, Kind::Float, Device::Cpu),
            (&elements, 0.1, Kind::Double, Device::Cuda(0)),
            (&elements, 1.0, Kind::Float, Device::Cuda(0)),
            (&seeded, 0.1, Kind::Float, Device::Cuda(0)),
            (&noise(NoiseShape::Samples), 0.1, Kind::Float, Device::Cuda(0)),
        ] {
            assert!(!is_libtorchs(noise, p, kind, device), "{noise:?} {p} {kind:?} {device:?}");
        }
    }
}
