//! Adam (Kingma and Ba 2015), written out: `tch`'s own neither shows its state nor saves it.

use tch::{Device, Kind, TchError, Tensor};

const BETA1: f64 = 0.9;
const BETA2: f64 = 0.999;
const EPSILON: f64 = 1e-8;

/// The state, which a checkpoint needs beside the weights. Each moment is a vector over all weights.
pub struct Adam {
    /// Steps taken so far.
    pub t: i64,
    /// The running mean of the gradient.
    pub m: Tensor,
    /// The running mean of its square.
    pub v: Tensor,
}

impl Adam {
    pub fn new(weights: i64) -> Result<Adam, TchError> {
        let zeros = || Tensor::f_zeros([weights], (Kind::Float, Device::Cpu));
        Ok(Adam { t: 0, m: zeros()?, v: zeros()? })
    }

    /// The weights after one step.
    pub fn step(
        &mut self,
        weights: &Tensor,
        gradient: &Tensor,
        lr: f64,
    ) -> Result<Tensor, TchError> {
        self.t += 1;
        self.m = &self.m * BETA1 + gradient * (1.0 - BETA1);
        self.v = &self.v * BETA2 + gradient.f_square()? * (1.0 - BETA2);
        let unbiased = |moment: &Tensor, beta: f64| moment / (1.0 - beta.powf(self.t as f64));
        let (m, v) = (unbiased(&self.m, BETA1), unbiased(&self.v, BETA2));
        Ok(weights - m / (v.f_sqrt()? + EPSILON) * lr)
    }
}
