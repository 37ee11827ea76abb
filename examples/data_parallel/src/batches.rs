//! Which images a rank trains on in each step.

use std::ops::Range;

use mnist_experiment::data::Split;
use tch::{Device, Kind, Tensor};

/// One rank's rows of a batch.
pub struct Share {
    pub images: Tensor,
    pub labels: Tensor,
    /// Which part of the batch they are: 0 for a rank that has none, as the batch has fewer rows than there
    /// are ranks.
    pub part: f64,
}

/// The batches of one epoch after another, without end: the numbers of their images. libtorch's generator
/// shuffles them, which the same seed makes the same on all ranks.
pub fn shuffled(items: i64, batch_size: i64) -> impl Iterator<Item = Tensor> {
    let epoch = move || Tensor::randperm(items, (Kind::Int64, Device::Cpu)).split(batch_size, 0);
    (0..).flat_map(move |_| epoch())
}

/// How many batches an epoch has. The last one may be smaller.
pub fn per_epoch(items: i64, batch_size: i64) -> i64 {
    items / batch_size + i64::from(items % batch_size > 0)
}

/// A rank's share of a batch.
pub fn share(split: &Split, batch: &Tensor, rank: usize, ranks: usize) -> Share {
    let size = batch.numel();
    let rows = rows(size, rank, ranks);
    let part = rows.len() as f64 / size as f64;
    let mine = batch.narrow(0, rows.start as i64, rows.len() as i64);
    let [images, labels] = [&split.images, &split.labels].map(|all| all.index_select(0, &mine));
    Share { images, labels, part }
}

/// The rows of a rank, where all ranks split a batch of `size` as evenly as it goes.
pub fn rows(size: usize, rank: usize, ranks: usize) -> Range<usize> {
    size * rank / ranks..size * (rank + 1) / ranks
}
