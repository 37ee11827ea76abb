//! The article's model with a ReLU and dropout behind each hidden layer, trained as in the `mnist` example.

use anyhow::Result;
use tch::nn::{self, ModuleT, OptimizerConfig};
use tch::{Device, Kind};
use tch_dropout::{NoiseShape, TrueDropout};

use mnist_experiment::data::Split;

const HIDDEN: i64 = 512;
const P: f64 = 0.5;
const EPOCHS: i64 = 2;
const BATCH: i64 = 64;

pub fn train(split: &Split, seed: i64) -> Result<nn::SequentialT> {
    tch::manual_seed(seed);
    let vs = nn::VarStore::new(Device::Cpu);
    let model = new(&vs.root())?;
    let mut optimizer = nn::Adam::default().build(&vs, 1e-3)?;
    for epoch in 1..=EPOCHS {
        let mut loss = tch::Tensor::new();
        let order = tch::Tensor::randperm(split.items(), (Kind::Int64, Device::Cpu));
        for batch in order.split(BATCH, 0) {
            let images = split.images.index_select(0, &batch);
            let labels = split.labels.index_select(0, &batch);
            loss = model.forward_t(&images, true).cross_entropy_for_logits(&labels);
            optimizer.backward_step(&loss);
        }
        eprintln!("epoch {epoch}/{EPOCHS}: loss {:.3}", loss.double_value(&[]));
    }
    Ok(model)
}

fn elements() -> Result<TrueDropout> {
    Ok(TrueDropout::new(P)?.noise_shape(NoiseShape::Elements))
}

fn new(vs: &nn::Path) -> Result<nn::SequentialT> {
    Ok(nn::seq_t()
        .add(nn::linear(vs / "first", 28 * 28, HIDDEN, Default::default()))
        .add_fn(|x| x.relu())
        .add(elements()?)
        .add(nn::linear(vs / "second", HIDDEN, HIDDEN, Default::default()))
        .add_fn(|x| x.relu())
        .add(elements()?)
        .add(nn::linear(vs / "last", HIDDEN, 10, Default::default())))
}
