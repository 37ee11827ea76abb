//! What all that comes to in a training: a small transformer encoder, with dropout of 0.1 on attention
//! weights and residuals.

use anyhow::Result;
use comfy_table::Table;
use std::cell::RefCell;
use tch::nn::{self, Module, ModuleT, OptimizerConfig};
use tch::{Device, Kind, Tensor};
use tch_dropout::TrueDropout;

use crate::timing::{Effort, side_by_side};
use crate::{new_table, right_align};

const P: f64 = 0.1;
const LAYERS: i64 = 4;
const WIDTH: i64 = 256;
const HEADS: i64 = 4;
const SEQUENCE: i64 = 256;
const BATCH: i64 = 8;

type Dropout = fn() -> Result<Box<dyn ModuleT>>;

fn none() -> Result<Box<dyn ModuleT>> {
    Ok(Box::new(nn::func(Tensor::shallow_clone)))
}

fn libtorchs() -> Result<Box<dyn ModuleT>> {
    Ok(Box::new(nn::func_t(|x, train| x.dropout(P, train))))
}

fn ours() -> Result<Box<dyn ModuleT>> {
    Ok(Box::new(TrueDropout::elements(P)?))
}

#[derive(Debug)]
struct Block {
    query_key_value: nn::Linear,
    projection: nn::Linear,
    up: nn::Linear,
    down: nn::Linear,
    norms: [nn::LayerNorm; 2],
    dropout: Box<dyn ModuleT>,
}

impl Block {
    fn new(vs: &nn::Path, dropout: Dropout) -> Result<Self> {
        let norm = |name: &str| nn::layer_norm(vs / name, vec![WIDTH], Default::default());
        Ok(Block {
            query_key_value: nn::linear(vs / "qkv", WIDTH, 3 * WIDTH, Default::default()),
            projection: nn::linear(vs / "projection", WIDTH, WIDTH, Default::default()),
            up: nn::linear(vs / "up", WIDTH, 4 * WIDTH, Default::default()),
            down: nn::linear(vs / "down", 4 * WIDTH, WIDTH, Default::default()),
            norms: [norm("norm1"), norm("norm2")],
            dropout: dropout()?,
        })
    }

    fn attention(&self, x: &Tensor, train: bool) -> Tensor {
        let heads = |t: &Tensor| t.view([BATCH, SEQUENCE, HEADS, WIDTH / HEADS]).transpose(1, 2);
        let qkv = self.query_key_value.forward(x).chunk(3, -1);
        let (query, key, value) = (heads(&qkv[0]), heads(&qkv[1]), heads(&qkv[2]));
        let scale = ((WIDTH / HEADS) as f64).sqrt();
        let weights = (query.matmul(&key.transpose(-2, -1)) / scale).softmax(-1, Kind::Float);
        let mixed = self.dropout.forward_t(&weights, train).matmul(&value);
        let mixed = mixed.transpose(1, 2).reshape([BATCH, SEQUENCE, WIDTH]);
        self.projection.forward(&mixed)
    }
}

impl ModuleT for Block {
    fn forward_t(&self, x: &Tensor, train: bool) -> Tensor {
        let residual = self.attention(&self.norms[0].forward(x), train);
        let x = x + self.dropout.forward_t(&residual, train);
        let residual = self.down.forward(&self.up.forward(&self.norms[1].forward(&x)).relu());
        &x + self.dropout.forward_t(&residual, train)
    }
}

/// One training step with a dropout of this kind.
fn training_step(dropout: Dropout, device: Device) -> Result<impl Fn()> {
    let vs = nn::VarStore::new(device);
    let mut encoder = nn::seq_t();
    for layer in 0..LAYERS {
        encoder = encoder.add(Block::new(&(vs.root() / layer), dropout)?);
    }
    let optimizer = RefCell::new(nn::Adam::default().build(&vs, 1e-4)?);
    let x = Tensor::randn([BATCH, SEQUENCE, WIDTH], (Kind::Float, device));
    Ok(move || {
        let loss = (encoder.forward_t(&x, true) - &x).square().mean(Kind::Float);
        optimizer.borrow_mut().backward_step(&loss);
    })
}

pub fn run(device: Device, effort: Effort) -> Result<Table> {
    let steps = (
        training_step(none, device)?,
        training_step(libtorchs, device)?,
        training_step(ours, device)?,
    );
    let times = side_by_side(&[&steps.0, &steps.1, &steps.2], device, effort);
    let mut table = new_table(&["dropout", "ms", "share of dropout", "vs libtorch"]);
    for (name, time) in ["none", "Tensor::dropout", "TrueDropout, elements"].iter().zip(&times) {
        table.add_row([
            name.to_string(),
            format!("{:.1}", time / 1e6),
            format!("{:.0} %", 100.0 * (time - times[0]) / time),
            format!("{:.2}x as fast", times[1] / time),
        ]);
    }
    right_align(&mut table, 1);
    Ok(table)
}
