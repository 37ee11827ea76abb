//! The gradient of a batch whose rows are split over the ranks.

use anyhow::Result;
use tch::Tensor;

use crate::flat::flatten;
use crate::ranks::Ranks;

/// The mean loss of a batch, and its gradient as one vector.
pub struct Gradient {
    pub loss: f32,
    pub vector: Tensor,
}

/// The gradient of the mean loss over all rows of a batch. `loss` is the mean over this rank's own, `part` of
/// them all; `None` if it has no rows. The result is the same on all ranks.
pub fn of_batch(
    ranks: &Ranks,
    variables: &[Tensor],
    loss: Option<&Tensor>,
    part: f64,
) -> Result<Gradient> {
    let n: usize = variables.iter().map(Tensor::numel).sum();
    // The loss goes along as the last element.
    let mut addend = vec![0.0; n + 1];
    if let Some(loss) = loss {
        let loss = loss * part;
        let gradients = Tensor::f_run_backward(&[&loss], variables, false, false)?;
        flatten(&gradients)?.f_copy_data(&mut addend, n)?;
        addend[n] = f32::try_from(&loss)?;
    }
    let sum = ranks.sum(&addend);
    Ok(Gradient { loss: sum[n], vector: Tensor::f_from_slice(&sum[..n])? })
}
