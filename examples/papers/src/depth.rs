//! What to drop in a residual network? Tompson et al. 2015 drop whole channels, Huang et al. 2016 whole blocks.
//!
//! A small residual network sees few images. Its blocks drop elements or channels between their convolutions,
//! or their whole branch: for each image by itself, or for the batch, whose branch is then not computed at all
//! (Huang et al., who save a quarter of the time in this way).

use std::time::Instant;

use anyhow::Result;
use picture::page::text;
use picture::style::{self, Look};
use serde::Serialize;
use tch::nn::{self, ConvConfig, ModuleT, VarStore};
use tch::{Kind, Tensor};
use tch_dropout::TrueDropout;

use mnist_experiment::console::print;
use mnist_experiment::metrics::{Summary, median};
use mnist_experiment::report::plus_minus;

use crate::compare::print_differences;
use crate::dots::{self, Row};
use crate::network::CLASSES;
use crate::options::{Options, thousands};
use crate::progress::Progress;
use crate::training::{Training, error};

const CHANNELS: i64 = 16;
/// Between the convolutions of a block.
const P: f64 = 0.2;
/// Of the last branch; the k-th of n is dropped with k / n of it (Huang et al.'s linear decay).
const P_LAST: f64 = 0.5;

#[derive(Clone, Copy, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
enum Drop {
    Nothing,
    Elements,
    Channels,
    Samples,
    Blocks,
}

const DROPS: [Drop; 5] =
    [Drop::Nothing, Drop::Elements, Drop::Channels, Drop::Samples, Drop::Blocks];

#[derive(Serialize)]
struct Outcome {
    drop: Drop,
    /// In percent.
    test_error: Summary,
    seconds_per_epoch: Summary,
}

/// `x + branch(x)`, where the branch is two convolutions with batch norm.
#[derive(Debug)]
struct Block {
    convolutions: [nn::Conv2D; 2],
    norms: [nn::BatchNorm; 2],
    /// Between the convolutions.
    inside: TrueDropout,
    /// Over the branch's output.
    branch: TrueDropout,
    /// Whether a branch that is dropped for the whole batch is left out.
    skips: bool,
}

impl Block {
    fn new(vs: &nn::Path, drop: Drop, p_branch: f64) -> Result<Block> {
        let convolution = |name: &str| convolution(&(vs / name), CHANNELS, 1);
        let norm = |name: &str| nn::batch_norm2d(vs / name, CHANNELS, Default::default());
        Ok(Block {
            convolutions: [convolution("conv1"), convolution("conv2")],
            norms: [norm("norm1"), norm("norm2")],
            inside: match drop {
                Drop::Elements => TrueDropout::elements(P)?,
                Drop::Channels => TrueDropout::channels(P)?,
                _ => TrueDropout::elements(0.0)?,
            },
            branch: match drop {
                Drop::Samples => TrueDropout::samples(p_branch)?,
                Drop::Blocks => TrueDropout::batch(p_branch)?,
                _ => TrueDropout::samples(0.0)?,
            },
            skips: drop == Drop::Blocks,
        })
    }

    fn branch(&self, x: &Tensor, train: bool) -> Tensor {
        let [first, second] = &self.convolutions;
        let [norm1, norm2] = &self.norms;
        let y = norm1.forward_t(&first.forward_t(x, train), train).relu();
        norm2.forward_t(&second.forward_t(&self.inside.forward_t(&y, train), train), train)
    }
}

impl ModuleT for Block {
    fn forward_t(&self, x: &Tensor, train: bool) -> Tensor {
        if self.skips && train {
            // One number for the batch: 0, or 1 / (1 - p).
            let mask = self.branch.draw_mask(x, train).expect("any input has a mask for the batch");
            return match mask.double_value(&[0, 0, 0, 0]) {
                0.0 => x.shallow_clone(),
                scale => (x + self.branch(x, train) * scale).relu(),
            };
        }
        self.branch.forward_add(&self.branch(x, train), x, train).relu()
    }
}

fn convolution(vs: &nn::Path, inputs: i64, stride: i64) -> nn::Conv2D {
    let config = ConvConfig { padding: 1, stride, bias: false, ..Default::default() };
    nn::conv2d(vs, inputs, CHANNELS, 3, config)
}

fn network(vs: &nn::Path, blocks: i64, drop: Drop) -> Result<nn::SequentialT> {
    let mut network = nn::seq_t()
        .add_fn(|images| images.view([-1, 1, 28, 28]))
        .add(convolution(&(vs / "stem"), 1, 2))
        .add(nn::batch_norm2d(vs / "norm", CHANNELS, Default::default()))
        .add_fn(Tensor::relu);
    for k in 1..=blocks {
        network = network.add(Block::new(&(vs / k), drop, P_LAST * k as f64 / blocks as f64)?);
    }
    Ok(network.add_fn(|x| x.mean_dim([2, 3].as_slice(), false, None::<Kind>)).add(nn::linear(
        vs / "last",
        CHANNELS,
        CLASSES,
        Default::default(),
    )))
}

pub fn run(options: &Options) -> Result<()> {
    let (images, blocks, epochs) = options.full_or_quick((2_000, 9, 50), (1_000, 2, 2));
    let mut data = options.dataset()?;
    data.train = data.train.first(images.min(data.train.items()));
    data.test = data.test.first(options.full_or_quick(data.test.items(), 500));
    let work = data.train.items() * epochs * options.runs();
    let progress = Progress::new(DROPS.len() as i64 * work);
    let train = |drop: Drop, seed| -> Result<(f64, f64)> {
        progress.begin(format_args!("drop {:12}, seed {seed}", drop.name()));
        tch::manual_seed(seed);
        let vs = VarStore::new(data.device());
        let model = network(&vs.root(), blocks, drop)?;
        let mut training =
            Training::new(&vs, &data.train, (epochs, options.batch_size()), &progress)?;
        let mut epoch = || {
            let start = Instant::now();
            training.epoch(|images, labels| {
                model.forward_t(images, true).cross_entropy_for_logits(labels)
            });
            // To read a weight waits until the device has done its work.
            let _ = vs.trainable_variables()[0].sum(None::<Kind>).double_value(&[]);
            start.elapsed().as_secs_f64()
        };
        let seconds = median((0..epochs).map(|_| epoch()).collect());
        let error = error(&model, &data.test)?;
        progress.end(format_args!("{error:.2} % wrong, {seconds:.1} s per epoch"));
        Ok((error, seconds))
    };
    // The networks take turns, so that a machine that is busy for a while slows them all.
    let mut runs = DROPS.map(|_| (Vec::new(), Vec::new()));
    for seed in options.seeds() {
        for (drop, (errors, seconds)) in DROPS.into_iter().zip(&mut runs) {
            let (error, time) = train(drop, seed)?;
            errors.push(error);
            seconds.push(time);
        }
    }
    std::mem::drop(progress);
    let outcome = |(drop, (errors, seconds))| Outcome {
        drop,
        test_error: Summary::new(errors),
        seconds_per_epoch: Summary::new(seconds),
    };
    let results: Vec<_> = DROPS.into_iter().zip(runs).map(outcome).collect();
    for Outcome { drop, test_error, seconds_per_epoch } in &results {
        print(format_args!(
            "drop {:12}: {} % wrong, {} s per epoch",
            drop.name(),
            plus_minus(test_error, 2),
            plus_minus(seconds_per_epoch, 2)
        ))?;
    }
    print_differences(results.iter().map(|it| (it.drop.name(), &it.test_error)))?;
    let picture = draw((&data.name, images, blocks), options, &results);
    options.write("depth", &data.name, &results, &picture)
}

impl Drop {
    fn name(self) -> &'static str {
        match self {
            Drop::Nothing => "nothing",
            Drop::Elements => "elements",
            Drop::Channels => "channels",
            Drop::Samples => "samples",
            Drop::Blocks => "batch, skips",
        }
    }

    fn row(self, figure: &Summary) -> Row<'_> {
        Row { name: self.name(), look: self.look(), figure, paper: None }
    }

    fn look(self) -> Look {
        match self {
            Drop::Nothing => style::NOTHING,
            Drop::Elements => style::ELEMENTS,
            Drop::Channels => style::CHANNELS,
            Drop::Samples | Drop::Blocks => style::BRANCHES,
        }
    }
}

fn draw(
    (data, images, blocks): (&str, i64, i64),
    options: &Options,
    results: &[Outcome],
) -> String {
    let title = "What to drop in a residual network?";
    let description = "Test error and seconds per epoch, for networks that drop nothing, elements, channels, \
                       branches for each sample, or branches for the batch, which are skipped.";
    let mut page = options.page(title, description, 320.0, data);
    let heading = format!("{blocks} residual blocks, {} images of {data}", thousands(images));
    page.add(text(heading, (14.0, 50.0), "soft small"));
    page.add(text("test error in %", (130.0, 86.0), ""));
    page.add(text("seconds per epoch", (474.0, 86.0), ""));
    let errors: Vec<_> = results.iter().map(|it| it.drop.row(&it.test_error)).collect();
    let seconds: Vec<_> = results.iter().map(|it| it.drop.row(&it.seconds_per_epoch)).collect();
    page.add(dots::names(&errors, (14.0, 122.0)));
    for (rows, across) in [(errors, (130.0, 350.0)), (seconds, (474.0, 710.0))] {
        page.add(dots::rows(&rows, &dots::scale(&rows, across), 122.0, 2));
    }
    page.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tch::Device;

    /// What a block that skips returns is what one that multiplies by the same mask does.
    #[test]
    fn skipping_changes_no_value() {
        let _alone = crate::alone();
        let vs = VarStore::new(Device::Cpu);
        let mut block = Block::new(&vs.root(), Drop::Blocks, 0.5).unwrap();
        let x = Tensor::rand([4, CHANNELS, 6, 6], (Kind::Float, Device::Cpu));
        let outputs = |block: &Block| -> Vec<Tensor> {
            tch::manual_seed(1);
            (0..20).map(|_| block.forward_t(&x, true)).collect()
        };
        let skipped = outputs(&block);
        block.skips = false;
        let multiplied = outputs(&block);
        assert!(skipped.iter().zip(&multiplied).all(|(a, b)| a.allclose(b, 1e-5, 1e-5, false)));
        let unchanged = skipped.iter().filter(|output| **output == x).count();
        assert!((1..20).contains(&unchanged), "{unchanged} of 20 were skipped");
    }
}
