//! What needs no other ranks: Adam's formula, and how a batch is split.

use data_parallel::adam::Adam;
use data_parallel::batches::{per_epoch, rows, shuffled};
use tch::nn::{self, OptimizerConfig};
use tch::{Device, Kind, Tensor};

use crate::common::{alone, assert_close};

#[test]
fn adam_is_libtorchs() {
    let _generator = alone();
    tch::manual_seed(1);
    let options = (Kind::Float, Device::Cpu);
    let vs = nn::VarStore::new(Device::Cpu);
    let theirs = vs.root().randn("weights", &[100], 0.0, 1.0);
    let mut optimizer = nn::Adam::default().build(&vs, 1e-2).unwrap();
    let (mut adam, mut ours) = (Adam::new(100).unwrap(), theirs.detach().copy());
    for _ in 0..20 {
        let gradient = Tensor::randn([100], options);
        optimizer.backward_step(&theirs.dot(&gradient));
        adam.step(&mut ours, &gradient, 1e-2).unwrap();
    }
    // 20 steps of 0.01, and the rounding of f32.
    assert_close(&ours, &theirs.detach(), 1e-6);
}

#[test]
fn the_ranks_split_a_batch_into_shares_of_nearly_one_size() {
    for ranks in 1..20 {
        for size in 0..100 {
            let shares: Vec<_> = (0..ranks).map(|rank| rows(size, rank, ranks)).collect();
            let all: Vec<_> = shares.iter().cloned().flatten().collect();
            assert_eq!(all, (0..size).collect::<Vec<_>>(), "{size} rows on {ranks} ranks");
            let is_even = |share: &std::ops::Range<usize>| {
                share.len() == size / ranks || share.len() == size.div_ceil(ranks)
            };
            assert!(shares.iter().all(is_even), "{size} rows on {ranks} ranks: {shares:?}");
        }
    }
}

#[test]
fn an_epoch_has_each_image_once_and_each_epoch_has_an_order_of_its_own() {
    let _generator = alone();
    tch::manual_seed(1);
    let n = per_epoch(100, 30) as usize;
    let batches: Vec<Vec<i64>> =
        shuffled(100, 30).take(2 * n).map(|batch| batch.try_into().unwrap()).collect();
    assert_eq!(batches.iter().map(Vec::len).collect::<Vec<_>>(), [30, 30, 30, 10].repeat(2));
    let [first, second] = [&batches[..n], &batches[n..]].map(|epoch| epoch.concat());
    assert_ne!(first, second);
    for mut epoch in [first, second] {
        epoch.sort();
        assert_eq!(epoch, (0..100).collect::<Vec<_>>());
    }
    assert_eq!((per_epoch(90, 30), per_epoch(91, 30), per_epoch(1, i64::MAX)), (3, 4, 1));
}
