//! The panels: a real mask of each kind, and what to use it for.

use anyhow::Result;
use tch::nn::{self, ModuleT};
use tch::{Device, Kind, Tensor};
use tch_dropout::{DropConnectConfig, NoiseShape, Stream, TrueDropout, drop_connect};

pub const P: f64 = 0.5;
/// The input's size: samples, channels and positions in a channel; or samples, time steps and channels.
pub const SIZE: [i64; 3] = [6, 4, 3];

pub struct Panel {
    pub title: &'static str,
    /// Two lines.
    pub use_it_for: [&'static str; 2],
    /// The dimensions' names.
    pub axes: [&'static str; 3],
    /// Its size is the noise shape.
    pub mask: Tensor,
}

pub fn panels(seed: u64) -> Result<Vec<Panel>> {
    let (images, sequences) = (["N", "C", "L"], ["N", "T", "C"]);
    let shapes = [
        ("elements", ["for any layer, as in", "torch.nn.Dropout"], images, NoiseShape::Elements),
        ("channels", ["for a CNN's feature maps:", "SpatialDropout"], images, NoiseShape::Channels),
        ("samples", ["for residual branches:", "stochastic depth"], images, NoiseShape::Samples),
        (
            "columns",
            ["for few draws: one mask", "for the whole batch"],
            images,
            NoiseShape::Columns,
        ),
        (
            "shared",
            ["for sequences:", "variational dropout"],
            sequences,
            NoiseShape::Shared(vec![1]),
        ),
        ("batch", ["for a layer that is", "skipped as a whole"], images, NoiseShape::Batch),
    ];
    // With one and the same stream, the masks would all begin alike.
    let stream = |layer| Stream::new(seed).with_layer(layer);
    let mut panels = Vec::new();
    for (number, (title, use_it_for, axes, shape)) in (1..).zip(shapes) {
        let layer = TrueDropout::elements(P)?.with_noise_shape(shape).with_stream(stream(number));
        let mask = layer.draw_mask(&Tensor::ones(SIZE, (Kind::Float, Device::Cpu)), true)?;
        panels.push(Panel { title, use_it_for, axes, mask });
    }
    let mask = weight_mask(stream(0))?;
    let use_it_for = ["for the weight of", "a linear layer"];
    panels.push(Panel { title: "DropConnect", use_it_for, axes: ["out", "", "in"], mask });
    Ok(panels)
}

/// DropConnect's mask of a weight, `[out, 1, in]`. The weight is all ones, and the input an identity matrix,
/// so the output's rows are the mask's columns.
fn weight_mask(stream: Stream) -> Result<Tensor> {
    let vs = nn::VarStore::new(Device::Cpu);
    let (outputs, inputs) = (SIZE[0], SIZE[1] * SIZE[2]);
    let linear = nn::LinearConfig { bias: false, ws_init: nn::Init::Const(1.0), bs_init: None };
    let config = DropConnectConfig { p: P, linear, ..Default::default() };
    let layer = drop_connect(vs.root(), inputs, outputs, config)?.with_stream(stream);
    let columns = layer.forward_t(&Tensor::eye(inputs, (Kind::Float, Device::Cpu)), true);
    Ok(columns.detach().tr().reshape([outputs, 1, inputs]))
}
