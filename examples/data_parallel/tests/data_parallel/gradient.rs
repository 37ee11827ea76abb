//! A batch that is split over ranks has the gradient of the whole.

use data_parallel::batches::rows;
use data_parallel::flat::flatten;
use data_parallel::gradient;
use data_parallel::model::{HIDDEN, Model};
use data_parallel::ranks::Ranks;
use tch::nn::VarStore;
use tch::{Device, Kind, Tensor};
use tch_dropout::{Streams, apply_mask};

use crate::common::float;
use crate::mpirun::{SIZES, on_ranks};

/// Whatever the ranks: a model, a batch, and a mask for each row of it and dropout layer.
struct Given {
    vs: VarStore,
    model: Model,
    images: Tensor,
    labels: Tensor,
    masks: [Tensor; 2],
}

impl Given {
    fn new(size: i64) -> Given {
        tch::manual_seed(1);
        let vs = VarStore::new(Device::Cpu);
        let model = Model::new(&vs.root(), &Streams::new(7), 0.5).unwrap();
        let hidden = Tensor::ones([size, HIDDEN], float());
        Given {
            masks: [0, 1].map(|layer| model.dropouts[layer].draw_mask(&hidden, true).unwrap()),
            images: Tensor::rand([size, 784], float()),
            labels: Tensor::randint(10, [size], (Kind::Int64, Device::Cpu)),
            model,
            vs,
        }
    }

    /// The mean loss over some rows, with the masks of these.
    fn loss(&self, start: usize, len: usize) -> Tensor {
        let rows = |all: &Tensor| all.narrow(0, start as i64, len as i64);
        let dropout = |layer: usize, x: &Tensor| apply_mask(x, &rows(&self.masks[layer])).unwrap();
        let logits = self.model.forward(&rows(&self.images), dropout);
        logits.cross_entropy_for_logits(&rows(&self.labels))
    }
}

/// The largest difference between the ranks' gradient and that of the whole batch on one rank, relative to the
/// largest element. `part` is the part of the batch that a share of so many rows is taken for.
fn difference(ranks: &Ranks, size: usize, part: impl Fn(usize) -> f64) -> f64 {
    let given = Given::new(size as i64);
    let variables = given.vs.trainable_variables();
    let whole = given.loss(0, size);
    let expected = Tensor::run_backward(&[&whole], &variables, false, false);
    let expected = flatten(&expected).unwrap();

    let mine = rows(size, ranks.rank(), ranks.size());
    let loss = (!mine.is_empty()).then(|| given.loss(mine.start, mine.len()));
    let part = part(mine.len());
    let got = gradient::of_batch(ranks, &variables, loss.as_ref(), part).unwrap();
    let (expected_loss, most) = (whole.double_value(&[]), expected.abs().max().double_value(&[]));
    let of_loss = (f64::from(got.loss) - expected_loss).abs() / expected_loss;
    of_loss.max((got.vector - expected).abs().max().double_value(&[]) / most)
}

/// Batches that can be split evenly, that cannot, and that leave ranks without rows.
#[test]
fn a_batch_split_over_ranks_has_the_gradient_of_the_whole() {
    on_ranks(&SIZES, |ranks| {
        for size in [64, 61, 3] {
            let difference = difference(ranks, size, |rows| rows as f64 / size as f64);
            assert!(difference < 1e-6, "{size} rows: {difference} of the largest apart");
        }
    });
}

/// The test above would notice the usual mistake: the mean of the ranks' means.
#[test]
fn the_mean_of_means_is_another_gradient() {
    on_ranks(&[4], |ranks| {
        let difference = difference(ranks, 61, |_| 1.0 / ranks.size() as f64);
        assert!(difference > 1e-4, "{difference} of the largest apart");
    });
}
