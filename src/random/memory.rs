//! The room for `unsafe`: a fresh tensor's memory as a slice, the best instructions of this CPU, and
//! libtorch's own threads.

mod pool;

use std::ops::Range;

use tch::{Device, Kind, Tensor};

use crate::error::Result;

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
    let memory = Memory(tensor.data_ptr().cast::<W>());
    advise_huge_pages(memory.0.cast(), size_of::<W>() * entries);
    let threads = (tch::get_num_threads() as usize).min(entries.div_ceil(WORTH_A_THREAD));
    pool::run(threads, &|thread, threads| {
        let part = part(thread, threads, entries, F::GRAIN);
        // SAFETY: the tensor is dense, on the CPU and of W's width (asserted above), so that its
        // `entries` words lie side by side from `memory` on, aligned by libtorch's allocator; the
        // part is within them, and `part` never gives two threads the same entry. No one else knows
        // this tensor yet. Any bits that the allocator left are valid words.
        let part_of_tensor =
            unsafe { std::slice::from_raw_parts_mut(memory.at(part.start), part.len()) };
        fill_with_best_instructions(fill, part.start, part_of_tensor);
    });
    Ok(tensor)
}

/// A pointer that threads may share: each makes its own part of it a slice.
struct Memory<W>(*mut W);

// SAFETY: see `filled`, the only user: threads write disjoint parts, and W is `Send`.
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

#[cfg(target_arch = "x86_64")]
fn fill_with_best_instructions<W: Word>(fill: &impl Fill<W>, start: usize, entries: &mut [W]) {
    #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
    fn with_avx512<W: Word>(fill: &impl Fill<W>, start: usize, entries: &mut [W]) {
        fill.fill(start, entries);
    }
    #[target_feature(enable = "avx2")]
    fn with_avx2<W: Word>(fill: &impl Fill<W>, start: usize, entries: &mut [W]) {
        fill.fill(start, entries);
    }
    if is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512vl")
    {
        // SAFETY: this CPU has these instructions; avx512bw implies avx512f.
        unsafe { with_avx512(fill, start, entries) }
    } else if is_x86_feature_detected!("avx2") {
        // SAFETY: this CPU has AVX2.
        unsafe { with_avx2(fill, start, entries) }
    } else {
        fill.fill(start, entries);
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn fill_with_best_instructions<W: Word>(fill: &impl Fill<W>, start: usize, entries: &mut [W]) {
    fill.fill(start, entries);
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
mod tests {
    use super::super::bits::{Bits, Mask};
    use super::super::Origin;
    use super::*;
    use crate::Probability;

    #[test]
    fn the_best_instructions_write_what_the_portable_ones_write() {
        for p in [0.1, 0.5, 1.0 / 3.0, 1.0] {
            let bits = Bits::new(Origin::of_stream(7, 1, 2), Probability::new(p).unwrap());
            let mask = Mask { bits, kept: 3u32 };
            for entries in (0..300).chain([100_003]) {
                let (mut best, mut portable) = (vec![9; entries], vec![9; entries]);
                fill_with_best_instructions(&mask, 256, &mut best);
                mask.fill(256, &mut portable);
                assert!(best == portable, "p {p}, {entries} entries");
            }
        }
    }

    #[test]
    fn parts_are_whole_grains_and_cover_everything_once() {
        for entries in [1, 127, 128, 129, 1000, 16_384, 100_003] {
            for threads in 1..9 {
                let parts = (0..threads).map(|thread| part(thread, threads, entries, 128));
                let end = parts.fold(0, |end, part| {
                    assert!(part.start == end && (part.is_empty() || part.start % 128 == 0));
                    part.end
                });
                assert_eq!(end, entries);
            }
        }
    }
}
