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

    /// The input's bias and the state's.
    pub(super) fn both_biases(&self) -> (Option<&Tensor>, Option<&Tensor>) {
        self.biases.as_ref().map(|(ih, hh)| (ih, hh)).unzip()
    }

    /// The input's part of the gates.
    pub(super) fn input_gates(&self, x: &Tensor) -> Result<Tensor> {
        Ok(x.f_linear(&self.ih, self.both_biases().0)?)
    }

    /// The state's part of the gates.
    pub(super) fn state_gates(&self, h: &Tensor) -> Result<Tensor> {
        let bias = self.both_biases().1;
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

/// A layer's weights as libtorch's operations take them.
pub(super) struct Flat {
    pub(super) weights: Vec<Tensor>,
    pub(super) has_biases: bool,
    pub(super) bidirectional: bool,
}

/// In the order in which those take them.
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

/// How cuDNN wants the weights of a layer to lie: side by side, in one chunk of memory.
#[derive(Debug)]
pub(super) struct Chunk {
    /// Which of the weights follow each other, and how long each is; none where there is a gap.
    slots: Vec<(Option<usize>, i64)>,
}

impl Chunk {
    /// On a GPU, moves the weights of a layer into a chunk, as cuDNN has it for this cell.
    pub(super) fn flatten(directions: &[Weights], cudnn_mode: i64) -> Result<Option<Self>> {
        let Weights { ih, hh, biases } = &directions[0];
        if !(ih.device().is_cuda() && Cuda::cudnn_is_available()) {
            return Ok(None);
        }
        let weights = flat(directions);
        let chunk = Tensor::f_internal_cudnn_rnn_flatten_weight(
            &weights,
            if biases.is_some() { 4 } else { 2 },
            ih.size()[1],
            cudnn_mode,
            hh.size()[1],
            0, // No projection.
            1,
            true,
            directions.len() == 2,
        )?;
        Ok(Some(Chunk::of(&weights, &chunk)))
    }

    /// The order of these weights, which lie in this chunk.
    fn of(weights: &[Tensor], chunk: &Tensor) -> Self {
        let address = |t: &Tensor| t.data_ptr() as usize;
        let bytes = chunk.kind().elt_size_in_bytes();
        let place = |t: &Tensor| ((address(t) - address(chunk)) / bytes) as i64;
        let mut order: Vec<usize> = (0..weights.len()).collect();
        order.sort_by_key(|&i| place(&weights[i]));
        let (mut slots, mut end) = (Vec::new(), 0);
        let mut slot = |which, start, length| {
            if start > end {
                slots.push((None, start - end));
            }
            if length > 0 {
                slots.push((which, length));
            }
            end = start + length;
        };
        for i in order {
            slot(Some(i), place(&weights[i]), weights[i].numel() as i64);
        }
        slot(None, chunk.numel() as i64, 0);
        Chunk { slots }
    }

    /// Copies of such weights that lie in a new chunk, as functions of the weights in the graph. cuDNN would copy them,
    /// too, one by one, and libtorch would print a warning.
    pub(super) fn filled(&self, weights: &[Tensor]) -> Result<Vec<Tensor>> {
        let part = |&(which, length): &(Option<usize>, i64)| match which {
            Some(i) => weights[i].f_reshape(length),
            None => weights[0].f_new_zeros(length, (weights[0].kind(), weights[0].device())),
        };
        let parts = self.slots.iter().map(part).collect::<std::result::Result<Vec<_>, _>>()?;
        let lengths: Vec<i64> = self.slots.iter().map(|&(_, length)| length).collect();
        let copies = Tensor::f_cat(&parts, 0)?.f_split_with_sizes(lengths, 0)?;
        let mut all: Vec<Tensor> = weights.iter().map(Tensor::shallow_clone).collect();
        for (&(which, _), copy) in self.slots.iter().zip(copies) {
            if let Some(i) = which {
                all[i] = copy.f_view_as(&weights[i])?;
            }
        }
        Ok(all)
    }
}

#[cfg(test)]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::Chunk;

    /// Matrices before biases, with gaps, as cuDNN may lay them.
    #[test]
    fn copies_lie_as_the_weights_did() {
        let chunk = Tensor::rand([40], (Kind::Double, Device::Cpu));
        let places = [(2, [4, 3]), (16, [4, 2]), (33, [1, 4]), (24, [1, 4])];
        let weights =
            places.map(|(start, size)| chunk.narrow(0, start, size[0] * size[1]).view(size));
        let order = Chunk::of(&weights, &chunk);
        let others = places.map(|(_, size)| {
            Tensor::rand(size, (Kind::Float, Device::Cpu)).set_requires_grad(true)
        });
        let copies = order.filled(&others).unwrap();
        let start = copies[0].data_ptr() as usize - 4 * 2;
        for (((copy, other), (place, size)), i) in copies.iter().zip(&others).zip(places).zip(1..) {
            assert_eq!(copy, other);
            assert_eq!((copy.size(), copy.is_contiguous()), (size.to_vec(), true));
            assert_eq!(copy.data_ptr() as usize - start, 4 * place as usize);
            (copy * i).sum(None).backward();
            assert_eq!(other.grad(), other.full_like(i));
        }
        // All of the chunk is there, and its memory begins with it.
        assert_eq!(copies[0].as_strided([40], [1], 0).data_ptr() as usize, start);
        assert!(copies[0].f_as_strided([41], [1], 0).is_err());
    }
}
