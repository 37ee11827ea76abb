//! Tensors' memory as slices, and new tensors, filled on all threads.
#![allow(unsafe_code, reason = "tch hands out a tensor's memory as a raw pointer")]

use std::ops::Range;

use tch::{Device, Kind, Tensor};

use super::dispatch::Instructions;
use super::fill::Fill;
use super::large;
use super::openmp;
use super::source::Source;
use crate::error::Result;
use crate::layout::{Layout, is_dense};
use crate::rng::counter::TILE;

/// The fewest elements per thread, if one costs as little as a kept or dropped one; with fewer, waking a thread
/// costs more than it saves. ATen's `GRAIN_SIZE`.
pub(super) const GRAIN_SIZE: usize = 32 * 1024;

/// A new CPU tensor of this layout, whose contents are undefined.
fn allocate(layout: &Layout) -> Result<Tensor> {
    match large::empty(&layout.size, layout.strides.as_deref(), layout.kind) {
        Some(tensor) => Ok(tensor),
        None => layout.empty(Device::Cpu),
    }
}

/// A new CPU tensor of the size, strides and kind of `x`, for a result to be written into. `None` where libtorch's
/// own does as well, or where it is not clear how libtorch would lay it out: with gaps or overlaps, or dimensions of
/// size 1, whose stride is arbitrary.
#[cfg(recompute)]
pub(crate) fn large_like(x: &Tensor) -> Option<Tensor> {
    let (size, strides) = (x.size(), x.stride());
    if x.device() != Device::Cpu || size.contains(&1) || !is_dense(&size, &strides) {
        return None;
    }
    let tensor = large::empty(&size, Some(&strides), x.kind())?;
    advise_huge_pages(tensor.data_ptr(), x.kind().elt_size_in_bytes() * x.numel());
    Some(tensor)
}

/// A new CPU tensor, filled in the order of its memory.
pub(super) fn filled<S: Source, F: Fill<S>>(
    layout: &Layout,
    source: &S,
    fill: &F,
) -> Result<Tensor> {
    let tensor = allocate(layout)?;
    let elements = tensor.numel();
    assert!(
        tensor.device() == Device::Cpu
            && tensor.kind().elt_size_in_bytes() == size_of::<F::Element>()
            && is_dense(&tensor.size(), &tensor.stride()),
        "a fresh tensor must be a dense one of its layout's kind on the CPU"
    );
    if elements == 0 {
        return Ok(tensor);
    }
    let memory = tensor.data_ptr().cast();
    advise_huge_pages(tensor.data_ptr(), size_of::<F::Element>() * elements);
    let threads = threads::<S>(elements);
    // SAFETY: the tensor is dense, on the CPU, and its elements have this size (asserted above), so they lie
    // side by side from `memory` on, aligned as libtorch has it. Nobody else has this tensor.
    unsafe { fill_memory(memory, elements, threads, Instructions::best(), source, fill) };
    Ok(tensor)
}

/// Writes over the elements of a contiguous `x`, which `fill` may read. Returns false for other tensors, which stay as
/// they are.
#[cfg(recompute)]
pub(super) fn overwrite<S: Source, F: Fill<S, Element: Element>>(
    x: &mut Tensor,
    source: &S,
    fill: &F,
) -> bool {
    let layout = Layout::contiguous(&x.size(), F::Element::KIND);
    let Some(elements) = elements_of::<F::Element>(x, &layout).map(<[_]>::len) else {
        return false;
    };
    let threads = threads::<S>(elements);
    let memory = x.data_ptr().cast();
    // SAFETY: `elements_of` has found that many elements there, aligned. Their owner lends the tensor for this; that
    // nobody uses another view of them meanwhile is the rule for libtorch's own operations in place, too.
    unsafe { fill_memory(memory, elements, threads, Instructions::best(), source, fill) };
    true
}

fn threads<S: Source>(elements: usize) -> usize {
    (tch::get_num_threads() as usize).min(elements.div_ceil(GRAIN_SIZE / S::COST))
}

/// Fills `elements` elements from `memory` on, on at most `threads` threads.
///
/// # Safety
///
/// The elements are allocated, aligned, and nobody else's while this runs. Their contents matter
/// only to `fill`.
pub(super) unsafe fn fill_memory<S: Source, F: Fill<S>>(
    memory: *mut F::Element,
    elements: usize,
    threads: usize,
    instructions: Instructions,
    source: &S,
    fill: &F,
) {
    let memory = Memory(memory);
    openmp::run(threads, &|thread, threads| {
        let part = part(thread, threads, elements);
        // SAFETY: the caller guarantees the elements; the part is within them, and `part` never gives two
        // threads the same one. Any bits that the allocator left are a valid element.
        let out = unsafe { std::slice::from_raw_parts_mut(memory.at(part.start), part.len()) };
        instructions.write(source, fill, part.start, out);
    });
}

/// A pointer that threads may share: each makes its own part of it a slice.
struct Memory<T>(*mut T);

// SAFETY: `fill_memory` alone uses it, and gives each thread another part of the elements to write, which are `Send`.
unsafe impl<T: Send> Sync for Memory<T> {}

impl<T> Memory<T> {
    fn at(&self, element: usize) -> *mut T {
        self.0.wrapping_add(element)
    }
}

/// The part of `elements` that falls to one thread: equal parts, in whole tiles.
pub(super) fn part(thread: usize, threads: usize, elements: usize) -> Range<usize> {
    let each = elements.div_ceil(threads).next_multiple_of(TILE);
    (thread * each).min(elements)..((thread + 1) * each).min(elements)
}

/// A kind's elements in Rust.
pub(super) trait Element: Copy {
    const KIND: Kind;
}

macro_rules! elements {
    ($($element:ty, $kind:ident);*) => {$(
        impl Element for $element {
            const KIND: Kind = Kind::$kind;
        }
    )*};
}
elements!(f32, Float; f64, Double; half::f16, Half; half::bf16, BFloat16);

/// The elements of `x` in the order of memory, if they lie there as the layout has them.
pub(super) fn elements_of<'a, T: Element>(x: &'a Tensor, layout: &Layout) -> Option<&'a [T]> {
    if x.device() != Device::Cpu || x.kind() != T::KIND || !layout.is_of(x) {
        return None;
    }
    let memory = x.data_ptr().cast::<T>().cast_const();
    if !memory.is_aligned() {
        return None;
    }
    // SAFETY: dense, in memory, on the CPU and of this kind (checked above), so that `numel` elements lie side by side
    // from `memory` on, aligned. The tensor keeps its memory while it is borrowed. That nobody writes to an
    // input meanwhile is the rule for libtorch's own operations too.
    Some(unsafe { std::slice::from_raw_parts(memory, x.numel()) })
}

/// Page faults are most of the cost of writing fresh memory; huge pages cause 512 times fewer.
#[cfg(target_os = "linux")]
fn advise_huge_pages(memory: *mut libc::c_void, bytes: usize) {
    const HUGE_PAGE: usize = 2 << 20;
    let first = memory.addr().next_multiple_of(HUGE_PAGE);
    let end = (memory.addr() + bytes) / HUGE_PAGE * HUGE_PAGE;
    if first + HUGE_PAGE <= end {
        // SAFETY: the range is whole pages within this tensor's memory, and the advice changes how it is
        // backed, never its contents. If it is refused, only speed is lost.
        unsafe { libc::madvise(memory.with_addr(first), end - first, libc::MADV_HUGEPAGE) };
    }
}

#[cfg(not(target_os = "linux"))]
fn advise_huge_pages(_memory: *mut std::ffi::c_void, _bytes: usize) {}
