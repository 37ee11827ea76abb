//! The ranks of a run, and what they tell each other. This is the only file that knows MPI.

use std::cell::Cell;
use std::panic;
use std::process;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use mpi::collective::SystemOperation;
use mpi::environment::Universe;
use mpi::topology::SimpleCommunicator;
use mpi::traits::{Communicator, CommunicatorCollectives, Equivalence, Root};

/// This process, as one of the ranks that `mpirun` started. Every rank must make the same calls in the same
/// order: each waits for the others.
pub struct Ranks {
    world: SimpleCommunicator,
    /// How long this rank has been in [`sum`](Self::sum).
    summing: Cell<Duration>,
    /// Leaves MPI when it is dropped, and so comes last.
    _universe: Universe,
}

impl Ranks {
    /// Joins the other ranks; a process without `mpirun` is the only one.
    ///
    /// # Panics
    ///
    /// If the process has joined before.
    pub fn join() -> Ranks {
        let universe = mpi::initialize().expect("a process joins once");
        // The other ranks would wait for one that panics. mpirun ends them all if one of them aborts.
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |panic| {
            report(panic);
            process::abort();
        }));
        Ranks { world: universe.world(), summing: Cell::default(), _universe: universe }
    }

    pub fn rank(&self) -> usize {
        self.world.rank() as usize
    }

    /// How many ranks there are.
    pub fn size(&self) -> usize {
        self.world.size() as usize
    }

    /// The rank as a worker's number of [`tch_dropout::Stream`].
    pub fn worker(&self) -> Result<u16> {
        u16::try_from(self.rank()).context("a seed serves 65536 workers, and there are more ranks")
    }

    /// Whether this is the rank that reads and writes files, and prints.
    pub fn is_first(&self) -> bool {
        self.rank() == 0
    }

    /// The sum of all ranks' numbers, element by element.
    ///
    /// Each of Open MPI's algorithms gives all ranks the same bits, but MPI's standard does not promise it.
    /// So the ranks compare their weights from time to time, see [`ensure_same`](Self::ensure_same).
    pub fn sum(&self, numbers: &[f32]) -> Vec<f32> {
        let start = Instant::now();
        let mut sums = vec![0.0; numbers.len()];
        self.world.all_reduce_into(numbers, &mut sums[..], SystemOperation::sum());
        self.summing.set(self.summing.get() + start.elapsed());
        sums
    }

    /// How long this rank has been in [`sum`](Self::sum), the wait for slower ranks included.
    pub fn time_summing(&self) -> Duration {
        self.summing.get()
    }

    /// The values of all ranks, one rank after the other. Each gives equally many.
    pub fn gather<T: Equivalence + Clone + Default>(&self, values: &[T]) -> Vec<T> {
        let mut all = vec![T::default(); values.len() * self.size()];
        self.world.all_gather_into(values, &mut all[..]);
        all
    }

    /// What the first rank reads, on all ranks. So they need no file system in common.
    pub fn from_first(&self, read: impl FnOnce() -> Result<Vec<u8>>) -> Result<Vec<u8>> {
        let mut bytes = if self.is_first() { read()? } else { Vec::new() };
        let first = self.world.process_at_rank(0);
        let mut len = bytes.len() as u64;
        first.broadcast_into(&mut len);
        bytes.resize(len as usize, 0);
        first.broadcast_into(&mut bytes[..]);
        Ok(bytes)
    }

    /// Runs something on the first rank, and then on the others.
    pub fn first_before_others<T>(&self, run: impl FnOnce() -> Result<T>) -> Result<T> {
        if !self.is_first() {
            self.world.barrier();
            return run();
        }
        let result = run()?;
        self.world.barrier();
        Ok(result)
    }

    /// Fails on all ranks if their digests are not the same, and names those that differ from the first.
    pub fn ensure_same(&self, what: &str, digest: u64) -> Result<()> {
        let digests = self.gather(&[digest]);
        let others: Vec<_> = (0..self.size()).filter(|&rank| digests[rank] != digests[0]).collect();
        ensure!(others.is_empty(), "ranks {others:?} have other {what} than rank 0");
        Ok(())
    }

    /// Ends all ranks, as an error on one of them must: the others would wait for it.
    pub fn abort(&self) -> ! {
        self.world.abort(1)
    }
}
