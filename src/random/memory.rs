//! The room for `unsafe`: a fresh tensor's memory as a slice, the best instructions of this CPU, and
//! libtorch's own threads.

mod instructions;
mod pool;

use std::ops::Range;

use tch::{Device, Kind, Tensor};

use crate::error::Result;
use instructions::Instructions;

/// Entries for each thread at least. With fewer, waking a thread costs more than it saves. libtorch's
/// own grain, so that the product is made by the threads in whose caches the mask is.
const WORTH_A_THREAD: usize = 32 * 1024;

/// A mask's entry: an unsigned integer as wide as the tensor's kind. Every pattern of bits is one.
pub(crate) trait Word: Copy + Send + Sync + sealed::Sealed {
    const ZERO: Self;
    /// `value` if kept, else zero; without a branch.
    fn select(kept: bool, value: Self) -> Self;
}

mod sealed {
    pub(crate) trait Sealed {}
}

macro_rules! words {
    ($($word:ty),*) => {$(
        impl sealed::Sealed for $word {}
        impl Word for $word {
            const ZERO: Self = 0;
            #[inline(always)]
            fn select(kept: bool, value: Self) -> Self {
                <$word>::from(kept).wrapping_neg() & value
            }
        }
    )*};
}
words!(u8, u16, u32, u64);

/// Something that can write any part of a sequence by itself.
pub(crate) trait Fill<W>: Sync {
    /// Parts begin at multiples of this many entries.
    const GRAIN: usize;
    /// Writes the entries from `start` on. To be `#[inline(always)]`, so that it is compiled for the
    /// instructions of whoever calls it.
    fn fill(&self, start: usize, entries: &mut [W]);
}

/// The tensor to allocate.
#[derive(Clone, Copy)]
pub(crate) enum Layout<'a> {
    Contiguous(&'a [i64], Kind),
    /// Of the size, kind and memory format of a tensor.
    Like(&'a Tensor),
}

impl Layout<'_> {
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Layout::Contiguous(_, kind) => *kind,
            Layout::Like(x) => x.kind(),
        }
    }

    fn allocate(&self) -> Result<Tensor> {
        match self {
            Layout::Contiguous(size, kind) => Ok(Tensor::f_empty(*size, (*kind, Device::Cpu))?),
            Layout::Like(x) => Ok(x.f_empty_like()?),
        }
    }
}

/// A new CPU tensor, filled in the order of its memory.
pub(crate) fn filled<W: Word, F: Fill<W>>(layout: Layout, fill: &F) -> Result<Tensor> {
    let tensor = layout.allocate()?;
    let entries = tensor.numel();
    assert!(
        tensor.device() == Device::Cpu
            && tensor.kind().elt_size_in_bytes() == size_of::<W>()
            && is_dense(&tensor),
        "a fresh tensor must be a dense one of the mask's kind on the CPU"
    );
    if entries == 0 {
        return Ok(tensor);
    }
    let memory = tensor.data_ptr().cast::<W>();
    advise_huge_pages(memory.cast(), size_of::<W>() * entries);
    let threads = (tch::get_num_threads() as usize).min(entries.div_ceil(WORTH_A_THREAD));
    // SAFETY: the tensor is dense, on the CPU and of W's width (asserted above), so that its `entries`
    // words lie side by side from `memory` on, aligned by libtorch's allocator. No one else knows this
    // tensor yet.
    unsafe { fill_memory(memory, entries, threads, Instructions::best(), fill) };
    Ok(tensor)
}

/// Fills `entries` words from `memory` on, on at most `threads` threads.
///
/// # Safety
///
/// The words are there, aligned, and nobody else's while this runs. What is in them does not matter.
unsafe fn fill_memory<W: Word, F: Fill<W>>(
    memory: *mut W,
    entries: usize,
    threads: usize,
    instructions: Instructions,
    fill: &F,
) {
    let memory = Memory(memory);
    pool::run(threads, &|thread, threads| {
        let part = part(thread, threads, entries, F::GRAIN);
        // SAFETY: the words are ours, says the caller; the part is within them, and `part` never gives
        // two threads the same word. Any bits that the allocator left are valid words.
        let words = unsafe { std::slice::from_raw_parts_mut(memory.at(part.start), part.len()) };
        instructions.fill(fill, part.start, words);
    });
}

/// A pointer that threads may share: each makes its own part of it a slice.
struct Memory<W>(*mut W);

// SAFETY: see `fill_memory`, the only user: threads write disjoint parts, and W is `Send`.
unsafe impl<W: Send> Sync for Memory<W> {}

impl<W> Memory<W> {
    fn at(&self, entry: usize) -> *mut W {
        self.0.wrapping_add(entry)
    }
}

/// Whether the tensor's entries are all the memory between its first and its last.
fn is_dense(tensor: &Tensor) -> bool {
    let last: i64 = tensor.size().iter().zip(tensor.stride()).map(|(n, step)| (n - 1) * step).sum();
    tensor.numel() == 0 || last + 1 == tensor.numel() as i64
}

/// The part of `entries` that falls to one thread: equal parts but for whole grains.
fn part(thread: usize, threads: usize, entries: usize, grain: usize) -> Range<usize> {
    let each = entries.div_ceil(threads).next_multiple_of(grain);
    (thread * each).min(entries)..((thread + 1) * each).min(entries)
}

/// Page faults are most of the cost of writing fresh memory; huge pages have 512 times fewer.
#[cfg(target_os = "linux")]
fn advise_huge_pages(memory: *mut libc::c_void, bytes: usize) {
    const HUGE_PAGE: usize = 2 << 20;
    let first = memory.addr().next_multiple_of(HUGE_PAGE);
    let end = (memory.addr() + bytes) / HUGE_PAGE * HUGE_PAGE;
    if first + HUGE_PAGE <= end {
        // SAFETY: the range is whole pages within this tensor's memory, and the advice changes how
        // it is backed, never what is in it. A refusal costs speed only.
        unsafe { libc::madvise(memory.with_addr(first), end - first, libc::MADV_HUGEPAGE) };
    }
}

#[cfg(not(target_os = "linux"))]
fn advise_huge_pages(_memory: *mut std::ffi::c_void, _bytes: usize) {}

#[cfg(test)]
mod tests;
