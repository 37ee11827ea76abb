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

    /// One step, in place.
    pub fn step(
        &mut self,
        weights: &mut Tensor,
        gradient: &Tensor,
        lr: f64,
    ) -> Result<(), TchError> {
        self.t += 1;
        let _ = self.m.f_lerp_(gradient, 1.0 - BETA1)?;
        let _ = self.v.f_lerp_(&gradient.f_square()?, 1.0 - BETA2)?;
        // The moments began at 0, and are that much too small.
        let [m, v] = [BETA1, BETA2].map(|beta| 1.0 - beta.powf(self.t as f64));
        let mut root = self.v.f_sqrt()?;
        root /= v.sqrt();
        root += EPSILON;
        let mut update = self.m.f_div(&root)?;
        update *= lr / m;
        weights.f_sub_(&update).map(drop)
    }
}
