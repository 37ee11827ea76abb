//! The weights of one layer and direction, named as tch's.

use tch::{Cuda, Tensor, nn};

use crate::error::Result;

/// The weights of one layer and direction. Without biases, both are `None`.
#[derive(Debug)]
pub(super) struct Weights {
    pub(super) ih: Tensor,
    pub(super) hh: Tensor,
    pub(super) biases: Option<(Tensor, Tensor)>,
}

/// The directions of each layer of a stack. Variables have the names, shapes, initial values and order that
/// tch's `rnn_weights` gives them.
pub(super) fn variables(
    vs: &nn::Path,
    in_dim: i64,
    hidden_dim: i64,
    gates: i64,
    config: &nn::RNNConfig,
    biases: Option<(nn::Init, nn::Init)>,
) -> Result<Vec<Vec<Weights>>> {
    let suffixes: &[&str] = if config.bidirectional { &["", "_reverse"] } else { &[""] };
    let gate_dim = gates * hidden_dim;
    let mut layers = Vec::new();
    for layer in 0..config.num_layers {
        let in_dim = if layer == 0 { in_dim } else { hidden_dim * suffixes.len() as i64 };
        let mut directions = Vec::new();
        for suffix in suffixes {
            let variable = |name: &str, size: &[i64], init| {
                vs.f_var(&format!("{name}_l{layer}{suffix}"), size, init)
            };
            directions.push(Weights {
                ih: variable("weight_ih", &[gate_dim, in_dim], config.w_ih_init)?,
                hh: variable("weight_hh", &[gate_dim, hidden_dim], config.w_hh_init)?,
                biases: match biases {
                    None => None,
                    Some((ih, hh)) => Some((
                        variable("bias_ih", &[gate_dim], ih)?,
                        variable("bias_hh", &[gate_dim], hh)?,
                    )),
                },
            });
        }
        layers.push(directions);
    }
    Ok(layers)
}

impl Weights {
    /// With another recurrent weight.
    pub(super) fn with_hh(&self, hh: Tensor) -> Weights {
        let clone = |(ih, hh): &(Tensor, Tensor)| (ih.shallow_clone(), hh.shallow_clone());
        Weights { ih: self.ih.shallow_clone(), hh, biases: self.biases.as_ref().map(clone) }
    }

    /// The input's part of the gates.
    pub(super) fn input_gates(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.f_linear(&self.ih, self.biases.as_ref().map(|(ih, _)| ih))?)
    }

    /// The state's part of the gates.
    pub(super) fn state_gates(&self, h: &Tensor) -> Result<Tensor> {
        let bias = self.biases.as_ref().map(|(_, hh)| hh);
        if !self.is_folded() {
            return Ok(h.f_linear(&self.hh, bias)?);
        }
        let (passes, gate_dim, hidden_dim) = self.hh.size3()?;
        let each = h.f_reshape([passes, -1, hidden_dim])?.f_bmm(&self.hh.f_transpose(1, 2)?)?;
        let all = each.f_reshape([-1, gate_dim])?;
        match bias {
            Some(bias) => Ok(all.f_add(bias)?),
            None => Ok(all),
        }
    }

    /// Whether folded passes of Monte Carlo dropout have a recurrent weight each: `[passes, G * H, H]`.
    pub(super) fn is_folded(&self) -> bool {
        self.hh.dim() == 3
    }
}

/// The weights of a layer as libtorch's operations take them.
pub(super) fn flat(directions: &[Weights]) -> Vec<Tensor> {
    let mut all = Vec::new();
    for Weights { ih, hh, biases } in directions {
        all.extend([ih, hh].map(Tensor::shallow_clone));
        if let Some((ih, hh)) = biases {
            all.extend([ih, hh].map(Tensor::shallow_clone));
        }
    }
    all
}

/// On a GPU, puts the weights of a layer side by side in memory, as cuDNN wants them. Its number for the cell
/// is 2 for an LSTM and 3 for a GRU.
pub(super) fn flatten(directions: &[Weights], cudnn_mode: i64) -> Result<()> {
    let Weights { ih, hh, biases } = &directions[0];
    if !(ih.device().is_cuda() && Cuda::cudnn_is_available()) {
        return Ok(());
    }
    let _ = Tensor::f_internal_cudnn_rnn_flatten_weight(
        &flat(directions),
        if biases.is_some() { 4 } else { 2 },
        ih.size()[1],
        cudnn_mode,
        hh.size()[1],
        0, // No projection.
        1,
        true,
        directions.len() == 2,
    )?;
    Ok(())
}
