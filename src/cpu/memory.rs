//! A fresh tensor's memory as a slice, filled on all threads.
#![allow(unsafe_code, reason = "tch hands out a tensor's memory as a raw pointer")]

use std::ops::Range;

use tch::{Device, Kind, Tensor};

use super::dispatch::Instructions;
use super::fill::{Fill, Word};
use super::openmp;
use crate::error::Result;

/// Elements for each thread at least; with fewer, waking a thread costs more than it saves. The same as
/// ATen's `GRAIN_SIZE`, so that the threads that multiply have their part of the mask in their caches.
pub(super) const GRAIN_SIZE: usize = 32 * 1024;

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
            // Not `empty_like`, which keeps odd strides of dimensions of size 1; libtorch's products don't.
            Layout::Like(x) if x.is_contiguous() => {
                Ok(Tensor::f_empty(x.size(), (x.kind(), Device::Cpu))?)
            }
            Layout::Like(x) => Ok(x.f_empty_like()?),
        }
    }
}

/// A new CPU tensor, filled in the order of its memory.
pub(super) fn filled<W: Word, F: Fill<W>>(layout: Layout, fill: &F) -> Result<Tensor> {
    let tensor = layout.allocate()?;
    let elements = tensor.numel();
    assert!(
        tensor.device() == Device::Cpu
            && tensor.kind().elt_size_in_bytes() == size_of::<W>()
            && is_dense(&tensor),
        "a fresh tensor must be a dense one of the mask's kind on the CPU"
    );
    if elements == 0 {
        return Ok(tensor);
    }
    let memory = tensor.data_ptr().cast::<W>();
    advise_huge_pages(memory.cast(), size_of::<W>() * elements);
    let threads = (tch::get_num_threads() as usize).min(elements.div_ceil(GRAIN_SIZE));
    // SAFETY: the tensor is dense, on the CPU and of W's width (asserted above), so that its `elements`
    // words lie side by side from `memory` on, aligned by libtorch's allocator. No one else knows this
    // tensor yet.
    unsafe { fill_memory(memory, elements, threads, Instructions::best(), fill) };
    Ok(tensor)
}

/// Fills `elements` words from `memory` on, on at most `threads` threads.
///
/// # Safety
///
/// The words are there, aligned, and nobody else's while this runs. What is in them does not matter.
pub(super) unsafe fn fill_memory<W: Word, F: Fill<W>>(
    memory: *mut W,
    elements: usize,
    threads: usize,
    instructions: Instructions,
    fill: &F,
) {
    let memory = Memory(memory);
    openmp::run(threads, &|thread, threads| {
        let part = part(thread, threads, elements, F::GRAIN);
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
    fn at(&self, element: usize) -> *mut W {
        self.0.wrapping_add(element)
    }
}

/// Whether the tensor's elements are all the memory between the first and the last of them.
fn is_dense(tensor: &Tensor) -> bool {
    let last: i64 = tensor.size().iter().zip(tensor.stride()).map(|(n, step)| (n - 1) * step).sum();
    tensor.numel() == 0 || last + 1 == tensor.numel() as i64
}

/// The part of `elements` that falls to one thread: equal parts, in whole grains.
pub(super) fn part(thread: usize, threads: usize, elements: usize, grain: usize) -> Range<usize> {
    let each = elements.div_ceil(threads).next_multiple_of(grain);
    (thread * each).min(elements)..((thread + 1) * each).min(elements)
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
