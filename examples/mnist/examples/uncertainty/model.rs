//! The article's model with a ReLU and dropout after each hidden layer, trained as in the `mnist` example.

use std::time::Instant;

use anyhow::Result;
use tch::nn::{self, OptimizerConfig};
use tch_dropout::TrueDropout;

use mnist_experiment::data::Split;
use mnist_experiment::progress::Progress;
use mnist_experiment::train;

const HIDDEN: i64 = 512;
const P: f64 = 0.5;
const EPOCHS: i64 = 2;

pub fn train(split: &Split, batch_size: i64, seed: i64) -> Result<nn::SequentialT> {
    tch::manual_seed(seed);
    let vs = nn::VarStore::new(split.labels.device());
    let model = new(&vs.root())?;
    let mut optimizer = nn::Adam::default().build(&vs, 1e-3)?;
    let progress = Progress::new("training".to_owned(), EPOCHS, split.items());
    for epoch in 1..=EPOCHS {
        let start = Instant::now();
        let losses = train::epoch(&model, &mut optimizer, split, batch_size, &progress)?;
        progress.epoch(epoch, losses[losses.len() - 1], start.elapsed().as_secs_f64());
    }
    Ok(model)
}

fn new(vs: &nn::Path) -> Result<nn::SequentialT> {
    Ok(nn::seq_t()
        .add(nn::linear(vs / "first", 28 * 28, HIDDEN, Default::default()))
        .add_fn(|x| x.relu())
        .add(TrueDropout::elements(P)?)
        .add(nn::linear(vs / "second", HIDDEN, HIDDEN, Default::default()))
        .add_fn(|x| x.relu())
        .add(TrueDropout::elements(P)?)
        .add(nn::linear(vs / "last", HIDDEN, 10, Default::default())))
}
