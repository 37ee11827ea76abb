//! Multi-head attention's projections to queries, keys and values.

use tch::{Tensor, nn};

use crate::error::Result;

/// The weights that project to queries, keys and values, of shape `[rows, features of the input]` each, under PyTorch's
/// names. The rows are those of all heads, one after the other.
///
/// ```
/// use tch::{nn, Device};
/// use tch_dropout::{multi_head_attention, InProjection, MultiHeadAttentionConfig};
///
/// let vs = nn::VarStore::new(Device::Cpu);
/// let config = MultiHeadAttentionConfig { kdim: Some(24), ..Default::default() };
/// let layer = multi_head_attention(vs.root(), 32, 4, config)?;
/// let InProjection::Separate([_, key, _]) = &layer.in_proj else { unreachable!() };
/// assert_eq!(key, &vs.variables()["k_proj_weight"]);
/// assert_eq!(key.size(), [32, 24]);
/// # Ok::<(), tch_dropout::Error>(())
/// ```
#[derive(Debug)]
pub enum InProjection {
    /// `in_proj_weight`: the rows for the queries, then those for the keys, then those for the values.
    Packed(Tensor),
    /// `q_proj_weight`, `k_proj_weight` and `v_proj_weight`, if keys or values have another number of features.
    Separate([Tensor; 3]),
}

impl InProjection {
    /// New variables, of as many rows and features each, initialized as in Glorot and Bengio 2010.
    pub(crate) fn new(vs: &nn::Path, rows: [i64; 3], features: [i64; 3]) -> Self {
        let var = |name: &str, rows, features| {
            vs.var(name, &[rows, features], uniform(6.0, rows + features))
        };
        if features[1..].iter().all(|other| *other == features[0]) {
            // Over all three at once.
            return InProjection::Packed(var("in_proj_weight", rows.iter().sum(), features[0]));
        }
        let names = ["q_proj_weight", "k_proj_weight", "v_proj_weight"];
        InProjection::Separate([0, 1, 2].map(|i| var(names[i], rows[i], features[i])))
    }

    /// The projections of three inputs, or of one input thrice, in one product where that is possible.
    pub(crate) fn project(
        &self,
        inputs: [&Tensor; 3],
        rows: [i64; 3],
        bias: Option<&Tensor>,
    ) -> Result<[Tensor; 3]> {
        let [query, key, value] = inputs;
        if let InProjection::Packed(weight) = self
            && std::ptr::eq(query, key)
            && std::ptr::eq(query, value)
        {
            return Ok(three(query.f_linear(weight, bias)?.f_split_with_sizes(rows, -1)?));
        }
        let weights = match self {
            InProjection::Packed(weight) => three(weight.f_split_with_sizes(rows, 0)?),
            InProjection::Separate(weights) => weights.each_ref().map(Tensor::shallow_clone),
        };
        let biases = match bias {
            Some(bias) => three(bias.f_split_with_sizes(rows, 0)?).map(Some),
            None => [None, None, None],
        };
        let one = |i: usize| inputs[i].f_linear(&weights[i], biases[i].as_ref());
        Ok([one(0)?, one(1)?, one(2)?])
    }
}

fn three(parts: Vec<Tensor>) -> [Tensor; 3] {
    parts.try_into().expect("it was split into three")
}

/// Uniform within `±sqrt(square / fan)`.
pub(crate) fn uniform(square: f64, fan: i64) -> nn::Init {
    let bound = (square / fan as f64).sqrt();
    nn::Init::Uniform { lo: -bound, up: bound }
}
