//! What a model may return.

use tch::{Kind, Tensor};

use super::prediction::Output;
use crate::error::{Error, MonteCarloError, Result};

/// Whether there are classes, or values, for each of the batch's rows.
pub(super) fn check_outputs(outputs: &Tensor, rows: i64, output: Output) -> Result<()> {
    let (kind, shape) = (outputs.kind(), outputs.size());
    let classes_fit = output.class_dim().is_none_or(|dim| {
        let dim = if dim < 0 { dim + shape.len() as i64 } else { dim };
        dim > 0 && shape.get(dim as usize).is_some_and(|&classes| classes >= 2)
    });
    if outputs.is_floating_point() && shape.first() == Some(&rows) && classes_fit {
        return Ok(());
    }
    Err(match output {
        Output::Logits { dim: 1 } => MonteCarloError::Logits { rows, kind, shape },
        Output::Logits { dim } | Output::Probabilities { dim } => {
            MonteCarloError::Classes { dim, rows, kind, shape }
        }
        Output::Values => MonteCarloError::Values { rows, kind, shape },
    }
    .into())
}

/// Whether numbers are from 0 to 1 and sum to 1, as far as half precision can tell. NaN passes: it shows in what is
/// predicted.
pub(super) fn check_probabilities(outputs: &Tensor, dim: i64) -> Result<()> {
    const TOLERANCE: f64 = 0.02;
    let number = |t: Tensor| Ok::<_, Error>(f64::try_from(t)?);
    let least = number(outputs.f_min()?)?;
    let largest = number(outputs.f_max()?)?;
    let sums = outputs.f_sum_dim_intlist([dim].as_slice(), false, Kind::Float)?;
    let off = number(sums.f_sub_scalar(1.0)?.f_abs()?.f_max()?)?;
    if least < -TOLERANCE || largest > 1.0 + TOLERANCE || off > TOLERANCE {
        return Err(MonteCarloError::Probabilities { dim, least, largest, off }.into());
    }
    Ok(())
}
