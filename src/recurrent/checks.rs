//! What a stack asks of its configuration and its inputs, before it takes a step.

use tch::{Tensor, nn};

use crate::error::{Error, Result};
use crate::trace;

/// Checks a configuration before a variable is made. Returns how the biases begin, if there are any.
pub(super) fn checked_biases(
    in_dim: i64,
    hidden_dim: i64,
    config: &nn::RNNConfig,
) -> Result<Option<(nn::Init, nn::Init)>> {
    let wrong =
        |name, expected: &str, got| Err(Error::Recurrent { name, expected: expected.into(), got });
    let counts =
        [("in_dim", in_dim), ("hidden_dim", hidden_dim), ("num_layers", config.num_layers)];
    for (name, count) in counts {
        if count < 1 {
            return wrong(name, "at least 1", count.to_string());
        }
    }
    if config.dropout != 0.0 {
        let expected = "0 (set RecurrentDropout's `between` instead)";
        return wrong("RNNConfig's dropout", expected, format!("{:?}", config.dropout));
    }
    match (config.has_biases, config.b_ih_init, config.b_hh_init) {
        (false, ..) => Ok(None),
        (true, Some(ih), Some(hh)) => Ok(Some((ih, hh))),
        (true, ..) => {
            let expected = "given if has_biases is true";
            wrong("RNNConfig's b_ih_init and b_hh_init", expected, "None".into())
        }
    }
}

/// Reports operands that libtorch cannot multiply. Autocast may make their kinds equal.
pub(super) fn check_operands(x: &Tensor, weight: &Tensor) -> Result<()> {
    if x.kind() != weight.kind() || x.device() != weight.device() {
        let _ = x.f_narrow(0, 0, 0)?.f_linear(weight, None::<&Tensor>)?;
    }
    Ok(())
}

pub(super) fn wrong_shape(name: &'static str, expected: String, got: &Tensor) -> Error {
    let (expected, got) = (format!("of shape {expected}"), format!("{:?}", got.size()));
    Error::Recurrent { name, expected, got }
}

/// `x` is `[N, T, C]`.
pub(super) fn check_lengths(lengths: Option<&[i64]>, x: &Tensor) -> Result<()> {
    let Some(lengths) = lengths else { return Ok(()) };
    let (rows, steps, _) = x.size3()?;
    let expected = if trace::is_tracing() {
        "absent in a model that is being traced".into()
    } else if lengths.len() as i64 == rows && lengths.iter().all(|it| (1..=steps).contains(it)) {
        return Ok(());
    } else {
        format!("{rows} numbers from 1 to {steps}")
    };
    Err(Error::Recurrent { name: "lengths", expected, got: format!("{lengths:?}") })
}
