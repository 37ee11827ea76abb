//! Replicas stay the same, bit for bit, and a run can be repeated.

use std::fs;

use data_parallel::batches::{share, shuffled};
use data_parallel::flat::flatten;
use data_parallel::ranks::Ranks;
use data_parallel::replica::Replica;
use mnist_experiment::data;
use tch::Device;
use tempfile::tempdir;

use crate::mpirun::{SIZES, args, in_directory, on_ranks, succeed};

/// The bits of each rank's weights after some steps, on all ranks.
fn bits_after_steps(ranks: &Ranks, steps: usize) -> Vec<Vec<u32>> {
    let config = args(&["--batch-size", "61"]).config;
    let split = data::synthetic(Device::Cpu).unwrap().train;
    let mut replica = Replica::new(ranks, &config).unwrap();
    for batch in shuffled(split.items(), config.batch_size).take(steps) {
        let share = share(&split, &batch, ranks.rank(), ranks.size());
        replica.step(ranks, &share, config.lr).unwrap();
    }
    let weights = flatten(&replica.state.vs.trainable_variables()).unwrap();
    let mine: Vec<f32> = weights.try_into().unwrap();
    let mine: Vec<u32> = mine.into_iter().map(f32::to_bits).collect();
    ranks.gather(&mine).chunks(mine.len()).map(<[_]>::to_vec).collect()
}

#[test]
fn replicas_stay_the_same_bit_for_bit() {
    on_ranks(&SIZES, |ranks| {
        tch::set_num_threads(1);
        let begin = bits_after_steps(ranks, 0);
        let end = bits_after_steps(ranks, 20);
        assert_ne!(begin[0], end[0], "they should learn");
        for (rank, weights) in end.iter().enumerate() {
            assert!(*weights == end[0], "rank {rank} has other weights than rank 0");
        }
    });
}

#[test]
fn a_replica_that_differs_is_named_on_all_ranks() {
    on_ranks(&[4], |ranks| {
        ranks.ensure_same("numbers", 7).unwrap();
        let error = ranks.ensure_same("numbers", ranks.rank() as u64 / 2).unwrap_err();
        assert_eq!(error.to_string(), "ranks [2, 3] have other numbers than rank 0");
    });
}

/// Weights, Adam's state and the steps of the streams.
#[test]
fn the_same_run_twice_is_the_same_bits() {
    for ranks in SIZES {
        let run = |seed| {
            let directory = tempdir().unwrap();
            let arguments =
                [&["--epochs", "1", "--seed", seed], &in_directory(directory.path())[..]];
            let _ = succeed(ranks, &arguments.concat())?;
            Some(fs::read(directory.path().join("checkpoint.safetensors")).unwrap())
        };
        let (Some(first), Some(second), Some(other)) = (run("1"), run("1"), run("2")) else {
            return;
        };
        assert!(first == second, "{ranks} ranks: the second run differs");
        assert!(first != other, "{ranks} ranks: another seed makes no difference");
    }
}
