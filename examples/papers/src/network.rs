//! The network of most experiments here: permutation-invariant, it sees 784 pixels in no order.

use anyhow::Result;
use tch::Tensor;
use tch::nn::{self, SequentialT};

use mnist_experiment::layer::Layer;

pub const PIXELS: i64 = 28 * 28;
pub const CLASSES: i64 = 10;

/// Hidden layers of rectified linear units, with dropout on the pixels and after each hidden layer.
pub fn mlp(
    vs: &nn::Path,
    hidden: &[i64],
    dropout: Layer,
    (p_pixels, p): (f64, f64),
) -> Result<SequentialT> {
    let mut network = nn::seq_t().add(dropout.dropout(p_pixels)?);
    let mut inputs = PIXELS;
    for (i, &units) in hidden.iter().enumerate() {
        network = network
            .add(nn::linear(vs / i, inputs, units, Default::default()))
            .add_fn(Tensor::relu)
            .add(dropout.dropout(p)?);
        inputs = units;
    }
    Ok(network.add(nn::linear(vs / "last", inputs, CLASSES, Default::default())))
}
