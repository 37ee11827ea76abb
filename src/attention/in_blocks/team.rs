//! Which thread does what.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;

use tch::Device;

use super::job::Job;
use crate::cpu;
use crate::error::Result;

/// How many threads a job is for. On a GPU one thread starts the kernels.
pub(super) fn size(job: &Job) -> usize {
    match job.device {
        Device::Cpu => tch::get_num_threads().clamp(1, job.tasks() as i32) as usize,
        _ => 1,
    }
}

/// The order in which the parts of each head add what they have.
pub(super) struct Turns(Vec<AtomicI64>);

/// A part's turn. The next part's begins when this is dropped, which waits for it: so no part waits for one that failed.
pub(super) struct Turn<'a> {
    next: &'a AtomicI64,
    part: i64,
}

impl Turns {
    pub(super) fn new(job: &Job) -> Self {
        Turns((0..job.heads).map(|_| AtomicI64::new(0)).collect())
    }

    pub(super) fn of(&self, (head, part): (i64, i64)) -> Turn<'_> {
        Turn { next: &self.0[head as usize], part }
    }
}

impl Turn<'_> {
    /// Tasks are taken in their order: the parts before this one are under way.
    pub(super) fn wait(&self) {
        while self.next.load(Ordering::Acquire) != self.part {
            thread::yield_now();
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.wait();
        self.next.store(self.part + 1, Ordering::Release);
    }
}

/// Does all of a job's tasks: each worker, on a thread of its own, takes the next one until none is left. If there are
/// several workers, libtorch's operations run on one thread in each.
pub(super) fn run<W: Send>(
    workers: Vec<W>,
    job: &Job,
    work: impl Fn(&mut W, &Job, i64) -> Result<()> + Sync,
) -> Result<()> {
    let next = AtomicI64::new(0);
    let workers: Vec<_> = workers.into_iter().map(Mutex::new).collect();
    let failure: Mutex<Option<thread::Result<Result<()>>>> = Mutex::new(None);
    cpu::on_threads(workers.len(), &|thread, _| {
        // A panic must not unwind into OpenMP, and what it leaves half done is not used.
        let done = catch_unwind(AssertUnwindSafe(|| {
            let mut worker = workers[thread].lock().unwrap_or_else(PoisonError::into_inner);
            // Each thread has a mode of its own.
            tch::no_grad(|| {
                let tasks = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
                let mut tasks = tasks.take_while(|&task| task < job.tasks());
                tasks.try_for_each(|task| work(&mut worker, job, task))
            })
        }));
        if !matches!(done, Ok(Ok(()))) {
            next.store(job.tasks(), Ordering::Relaxed);
            *failure.lock().unwrap_or_else(PoisonError::into_inner) = Some(done);
        }
    });
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        None => Ok(()),
        Some(Ok(error)) => error,
        Some(Err(panic)) => resume_unwind(panic),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_take_turns_and_wait_for_none_that_failed() {
        let turns = Turns(vec![AtomicI64::new(0)]);
        let order = Mutex::new(Vec::new());
        thread::scope(|scope| {
            for part in [3, 2, 1, 0] {
                let (turns, order) = (&turns, &order);
                scope.spawn(move || {
                    let turn = turns.of((0, part));
                    if part == 1 {
                        return; // Before its turn, as after an error.
                    }
                    turn.wait();
                    order.lock().unwrap().push(part);
                });
                // The later parts come first.
                thread::sleep(std::time::Duration::from_millis(20));
            }
        });
        assert_eq!(order.into_inner().unwrap(), [0, 2, 3]);
    }
}
