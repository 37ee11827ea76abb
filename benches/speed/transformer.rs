//! What dropout costs in training: a small transformer encoder, with dropout of 0.1 on attention weights and
//! residuals.

use std::cell::RefCell;
use std::time::Instant;

use anyhow::{Result, bail};
use comfy_table::Table;
use tch::nn::{self, Module, ModuleT, OptimizerConfig};
use tch::{Device, Kind, Tensor};
use tch_dropout::{Attention, TrueDropout};

use crate::child;
use crate::fused_attention::fused_attention;
use crate::table::{new_table, right_align};
use crate::timing::{Effort, side_by_side, wait_for};

const P: f64 = 0.1;
const LAYERS: i64 = 4;
const WIDTH: i64 = 256;
const HEADS: i64 = 4;
const SEQUENCE: i64 = 256;
const BATCH: i64 = 8;

/// The dropout that a block uses.
#[derive(Clone, Debug)]
enum Dropout {
    None,
    Libtorch,
    /// This crate's, of activations and of attention weights.
    Ours(TrueDropout, Attention),
}

const NAMES: [&str; 3] = ["none", "libtorch", "tch-dropout"];

impl Dropout {
    fn new(name: &str) -> Result<Dropout> {
        Ok(match name {
            "none" => Dropout::None,
            "libtorch" => Dropout::Libtorch,
            "tch-dropout" => Dropout::Ours(TrueDropout::elements(P)?, Attention::new(P)?),
            _ => bail!("unknown dropout '{name}'"),
        })
    }

    /// `dropout(softmax(query · keyᵀ / sqrt(E))) · value`.
    fn attend(&self, [query, key, value]: [&Tensor; 3], train: bool) -> Tensor {
        let p = match self {
            Dropout::Ours(_, attention) => {
                return attention.forward(query, key, value, None, train);
            }
            Dropout::Libtorch if train => P,
            _ => 0.0,
        };
        fused_attention([query, key, value], None, p, false, None).expect("attention")
    }

    /// `residual + dropout(x)`.
    fn add(&self, x: &Tensor, residual: &Tensor, train: bool) -> Tensor {
        match self {
            Dropout::None => residual + x,
            Dropout::Libtorch => residual + x.dropout(P, train),
            Dropout::Ours(layer, _) => layer.forward_add(x, residual, train),
        }
    }
}

#[derive(Debug)]
struct Block {
    query_key_value: nn::Linear,
    projection: nn::Linear,
    up: nn::Linear,
    down: nn::Linear,
    norms: [nn::LayerNorm; 2],
    dropout: Dropout,
}

impl Block {
    fn new(vs: &nn::Path, dropout: Dropout) -> Self {
        let norm = |name: &str| nn::layer_norm(vs / name, vec![WIDTH], Default::default());
        Block {
            query_key_value: nn::linear(vs / "qkv", WIDTH, 3 * WIDTH, Default::default()),
            projection: nn::linear(vs / "projection", WIDTH, WIDTH, Default::default()),
            up: nn::linear(vs / "up", WIDTH, 4 * WIDTH, Default::default()),
            down: nn::linear(vs / "down", 4 * WIDTH, WIDTH, Default::default()),
            norms: [norm("norm1"), norm("norm2")],
            dropout,
        }
    }

    fn attention(&self, x: &Tensor, train: bool) -> Tensor {
        let heads = |t: &Tensor| t.view([BATCH, SEQUENCE, HEADS, WIDTH / HEADS]).transpose(1, 2);
        let qkv = self.query_key_value.forward(x).chunk(3, -1);
        let (query, key, value) = (heads(&qkv[0]), heads(&qkv[1]), heads(&qkv[2]));
        let mixed = self.dropout.attend([&query, &key, &value], train);
        let mixed = mixed.transpose(1, 2).reshape([BATCH, SEQUENCE, WIDTH]);
        self.projection.forward(&mixed)
    }
}

impl ModuleT for Block {
    fn forward_t(&self, x: &Tensor, train: bool) -> Tensor {
        let attention = self.attention(&self.norms[0].forward(x), train);
        let x = self.dropout.add(&attention, x, train);
        let feed_forward = self.down.forward(&self.up.forward(&self.norms[1].forward(&x)).relu());
        self.dropout.add(&feed_forward, &x, train)
    }
}

/// One training step with this dropout.
fn training_step(dropout: &str, device: Device) -> Result<impl Fn() + use<>> {
    let dropout = Dropout::new(dropout)?;
    let vs = nn::VarStore::new(device);
    let mut encoder = nn::seq_t();
    for layer in 0..LAYERS {
        encoder = encoder.add(Block::new(&(vs.root() / layer), dropout.clone()));
    }
    let optimizer = RefCell::new(nn::Adam::default().build(&vs, 1e-4)?);
    let x = Tensor::randn([BATCH, SEQUENCE, WIDTH], (Kind::Float, device));
    Ok(move || {
        let loss = (encoder.forward_t(&x, true) - &x).square().mean(Kind::Float);
        optimizer.borrow_mut().backward_step(&loss);
    })
}

/// Runs three steps. Returns the seconds of the first and of the last, and the peak memory.
pub fn measure(dropout: &str, device: Device) -> Result<[f64; 3]> {
    let mut times = [0.0; 3];
    let peak = child::peak_memory(device, || {
        let step = training_step(dropout, device)?;
        times = times.map(|_| {
            let start = Instant::now();
            step();
            wait_for(device);
            start.elapsed().as_secs_f64()
        });
        Ok(())
    })?;
    Ok([times[0], times[2], peak])
}

pub fn table(device: Device, effort: Effort) -> Result<Table> {
    let steps = NAMES.map(|name| training_step(name, device));
    let steps = steps.into_iter().collect::<Result<Vec<_>>>()?;
    let steps: Vec<&dyn Fn()> = steps.iter().map(|step| step as &dyn Fn()).collect();
    let times = side_by_side(&steps, device, effort);
    let mut table = new_table(&["dropout", "ms", "share of dropout", "vs libtorch", "peak, MB"]);
    for (name, time) in NAMES.iter().zip(&times) {
        let [_, _, peak] = child::measure(&format!("transformer {name}"), 0, device)?;
        table.add_row([
            name.to_string(),
            time.shown(1e6, 1),
            format!("{:.1} %", 100.0 * (1.0 - times[0].median / time.median)),
            format!("{:.2}x as fast", times[1].median / time.median),
            format!("{:.0}", peak / 1e6),
        ]);
    }
    right_align(&mut table, 1);
    Ok(table)
}
