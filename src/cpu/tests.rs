//! The modules with `unsafe` code: every instruction set writes the same, and nothing outside its memory.
#![allow(unsafe_code, reason = "guard pages, and the memory in front of them as slices")]

use half::{bf16, f16};
use tch::{Device, Kind, Tensor};

use std::marker::PhantomData;

use super::bernoulli::Bernoulli;
use super::dispatch::Instructions;
use super::fill::{Factors, Fill, Mask, Product, Scaled, Shift, Sum};
use super::memory::{GRAIN_SIZE, fill_memory, filled, part};
use super::normal::Normal;
use super::number::{Number, Word};
use super::openmp;
use super::source::Source;
use crate::layout::Layout;
use crate::probability::Probability;
use crate::rng::counter::{Counter, TILE};
use crate::rng::philox;

fn bernoulli(p: f64) -> Bernoulli {
    Bernoulli::new(Counter::of_stream(7, 1, 0, 2), Probability::new(p).unwrap().threshold())
}

fn normal() -> Normal {
    Normal::new(Counter::of_stream(7, 1, 0, 2), 0.5)
}

/// What the portable instructions write, from element 0 on.
fn portable<S: Source, F: Fill<S>>(
    source: &S,
    fill: &F,
    elements: usize,
    any: F::Element,
) -> Vec<F::Element> {
    let mut out = vec![any; elements];
    Instructions::available().last().unwrap().write(source, fill, 0, &mut out);
    out
}

/// Sizes on both sides of every boundary: of rows, of tiles, and of the parts of two and three threads.
fn sizes() -> impl Iterator<Item = usize> {
    let parts = [TILE, 2 * TILE, 2 * GRAIN_SIZE, 3 * GRAIN_SIZE];
    let around = |n| [n - 65, n - 64, n - 63, n - 1, n, n + 1, n + 63, n + 64, n + 65];
    (0..=200).chain(parts.into_iter().flat_map(around))
}

/// One to three threads with the best instructions, and each other set on one.
fn ways() -> impl Iterator<Item = (usize, Instructions)> {
    let threads = (1..=3).map(|threads| (threads, Instructions::best()));
    threads.chain(Instructions::available().skip(1).map(|instructions| (1, instructions)))
}

const PROBABILITIES: [f64; 7] = [0.0, 0.1, 0.25, 0.5, 1.0 / 3.0, 1.0 - 1e-9, 1.0];

#[test]
fn all_instructions_write_what_the_portable_ones_write() {
    println!("this CPU has {:?}", Instructions::available().collect::<Vec<_>>());
    for p in PROBABILITIES {
        for elements in sizes() {
            let expected = portable(&bernoulli(p), &Mask { keep_value: 3u32 }, elements, 9);
            for instructions in Instructions::available() {
                let mut out = vec![9; elements];
                instructions.write(&bernoulli(p), &Mask { keep_value: 3u32 }, 0, &mut out);
                assert!(out == expected, "p {p}, {elements} elements, {instructions:?}");
            }
        }
    }
}

/// Elements and blocks that 31 and 32 bits cannot count, of a mask too large for any memory: tile t has
/// blocks 16 t to 16 t + 15, whose first words are those of its elements 0 to 15, and so on.
#[test]
fn elements_far_out_have_numbers_of_their_own() {
    for boundary in [1u64 << 31, 1 << 32, 1 << 39, 1 << 40, (1 << 47) - TILE as u64] {
        let tile = boundary / TILE as u64;
        let words = philox::words(7, 1 << 48 | 2, 16 * tile);
        let expected: Vec<u32> = (0..300).map(|e| words[e % 64] >> (e / 64) & 1).collect();
        for instructions in Instructions::available() {
            let mut out = vec![9; 300];
            let mask = Mask { keep_value: 1u32 };
            instructions.write(&bernoulli(0.5), &mask, boundary as usize, &mut out);
            assert!(out == expected, "element {boundary}, {instructions:?}");
        }
    }
}

/// A product is the mask's multiplication, in every kind and for every input; a sum adds to it.
#[test]
fn products_are_the_masks_products() {
    let numbers: Vec<f64> = (0..5000)
        .map(|i| match i % 7 {
            0 => f64::INFINITY,
            1 => -0.0,
            2 => f64::from(i) * 1e-8,
            3 => 60_000.0 + f64::from(i),
            4 if i % 3 == 0 => f64::NAN,
            _ => f64::from(i) / 3.0 - 800.0,
        })
        .collect();
    let f32s: Vec<f32> = numbers.iter().map(|&x| x as f32).collect();
    check_products(&f32s, 1.5, |x| x.to_bits().into());
    check_products(&numbers, 1.5, f64::to_bits);
    let f16s: Vec<f16> = numbers.iter().map(|&x| f16::from_f64(x)).collect();
    check_products(&f16s, 1.5, |x| x.to_bits().into());
    let bf16s: Vec<bf16> = numbers.iter().map(|&x| bf16::from_f64(x)).collect();
    check_products(&bf16s, 1.5, |x| x.to_bits().into());
}

fn check_products<T: Number>(x: &[T], keep_value: T::Wide, to_bits: fn(T) -> u64)
where
    f64: From<T>,
{
    // NaN has many bit patterns: one stands for all.
    let bits = |numbers: &[T]| -> Vec<u64> {
        let one = |&y: &T| if f64::from(y).is_nan() { u64::MAX } else { to_bits(y) };
        numbers.iter().map(one).collect()
    };
    let residual: Vec<T> = x.iter().rev().copied().collect();
    for p in PROBABILITIES {
        let mask = portable(&bernoulli(p), &Mask { keep_value: 1u32 }, x.len(), 9);
        let product = |(&x, &m): (&T, &u32)| T::round(x.widen() * T::Wide::select(m, keep_value));
        let products: Vec<T> = x.iter().zip(&mask).map(product).collect();
        let sum = |(r, y): (&T, &T)| T::round(r.widen() + y.widen());
        let sums: Vec<T> = residual.iter().zip(&products).map(sum).collect();
        let shift =
            |(y, &m): (&T, &u32)| T::round(y.widen() + T::of([-2.5, 0.75][m as usize]).widen());
        let shifted: Vec<T> = products.iter().zip(&mask).map(shift).collect();
        for instructions in Instructions::available() {
            let mut out = vec![x[0]; x.len()];
            instructions.write(&bernoulli(p), &Product { x, keep_value }, 0, &mut out);
            assert!(bits(&out) == bits(&products), "product, p {p}, {instructions:?}");
            let sum = Sum { product: Product { x, keep_value }, residual: &residual };
            instructions.write(&bernoulli(p), &sum, 0, &mut out);
            assert!(bits(&out) == bits(&sums), "sum, p {p}, {instructions:?}");
            let (shift_kept, shift_dropped) = (T::of(0.75).widen(), T::of(-2.5).widen());
            let product = Product { x, keep_value };
            let shift = Shift { product, shift_kept, shift_dropped };
            instructions.write(&bernoulli(p), &shift, 0, &mut out);
            assert!(bits(&out) == bits(&shifted), "shift, p {p}, {instructions:?}");
        }
    }
}

/// Normal numbers too: the same bits in every set, whatever the size and the place where the work begins.
#[test]
fn all_instructions_draw_the_same_normal_numbers() {
    let whole = portable(&normal(), &Factors::<f32>(PhantomData), 3 * TILE, 0.0);
    for elements in sizes().filter(|&elements| elements <= whole.len()) {
        for instructions in Instructions::available() {
            let mut out = vec![0f32; elements];
            instructions.write(&normal(), &Factors(PhantomData), 0, &mut out);
            assert!(out == whole[..elements], "{elements} elements, {instructions:?}");
            let start = elements / TILE * TILE;
            instructions.write(&normal(), &Factors(PhantomData), start, &mut out[start..]);
            assert!(out == whole[..elements], "from {start}, {instructions:?}");
        }
    }
}

#[test]
fn parts_are_whole_tiles_and_cover_everything_once() {
    for elements in [1, TILE - 1, TILE, TILE + 1, 16_384, 100_003] {
        for threads in 1..9 {
            let parts = (0..threads).map(|thread| part(thread, threads, elements));
            let end = parts.fold(0, |end, part| {
                assert!(part.start == end && (part.is_empty() || part.start % TILE == 0));
                part.end
            });
            assert_eq!(end, elements);
        }
    }
}

/// On one thread everything would work too, only slower.
#[cfg(target_os = "linux")]
#[test]
fn libtorchs_threads_share_the_work() {
    let team = std::sync::Mutex::new(Vec::new());
    openmp::run(3, &|thread, threads| {
        team.lock().unwrap().push((thread, threads, std::thread::current().id()));
    });
    let mut team = team.into_inner().unwrap();
    team.sort_by_key(|&(thread, ..)| thread);
    let places: Vec<_> = team.iter().map(|&(thread, threads, _)| (thread, threads)).collect();
    assert_eq!(places, [(0, 3), (1, 3), (2, 3)]);
    assert!(team[0].2 != team[1].2 && team[1].2 != team[2].2 && team[2].2 != team[0].2);
}

/// For memcheck: on the heap, every element is written once, and nothing beyond.
#[test]
fn fresh_tensors_are_filled_whole() {
    let channels_last =
        Tensor::ones([2, 3, 5, 7], (Kind::Float, Device::Cpu)).permute([0, 3, 1, 2]);
    let ones = Mask { keep_value: 1f32.to_bits() };
    let large = (1 << 18) + 1;
    for n in (0..=200).chain([large]) {
        let layout = Layout::contiguous(&[n], Kind::Float);
        let tensor = filled(&layout, &bernoulli(1e-9), &ones).unwrap();
        assert_eq!(tensor.sum(Kind::Float).double_value(&[]), n as f64);
    }
    let layout = Layout::like(&channels_last).unwrap();
    let tensor = filled(&layout, &bernoulli(1e-9), &ones).unwrap();
    assert_eq!(tensor.stride(), channels_last.stride());
    assert_eq!(tensor, channels_last);
}

/// One element too far would be a segmentation fault, or overwrite a mark.
#[cfg(unix)]
#[test]
fn nothing_is_read_or_written_beyond_either_end() {
    let source = &bernoulli(0.3);
    check_ends(source, 1u8, |_| Mask { keep_value: 1u8 });
    check_ends(source, 1u16, |_| Mask { keep_value: 1u16 });
    check_ends(source, 1u64, |_| Mask { keep_value: 1u64 });
    check_ends(source, 1f32, |x| Product { x, keep_value: 1.5 });
    check_ends(source, bf16::ONE, |x| Product { x, keep_value: 1.5 });
    let product = |x| Product { x, keep_value: 1.5 };
    check_ends(source, 1f64, |x| Sum { product: product(x), residual: x });
    let (shift_kept, shift_dropped) = (0.5, -0.5);
    check_ends(source, 1f64, |x| Shift { product: product(x), shift_kept, shift_dropped });
    check_ends(&normal(), 1f32, |_| Factors(PhantomData));
    check_ends(&normal(), bf16::ONE, |x| Scaled { x });
}

#[cfg(unix)]
fn check_ends<S: Source, T: Copy + PartialEq + 'static, F: Fill<S, Element = T>>(
    source: &S,
    mark: T,
    fill: impl Fn(&'static [T]) -> F,
) {
    let largest = (sizes().max().unwrap() + 1) * size_of::<T>();
    let (mut input, mut output) = (Guarded::new(largest), Guarded::new(largest));
    for elements in sizes() {
        input.last(elements).fill(mark);
        // SAFETY: `input` is neither written to nor dropped while `fill` lives, below.
        let fill =
            fill(unsafe { std::slice::from_raw_parts(input.last(elements).as_ptr(), elements) });
        let expected = portable(source, &fill, elements, mark);
        for (threads, instructions) in ways() {
            // A mark, and then the elements up to the page behind which nothing may be touched.
            let out = output.last(elements + 1);
            out.fill(mark);
            let start = out[1..].as_mut_ptr();
            // SAFETY: `elements` elements of a slice that nobody else has.
            unsafe { fill_memory(start, elements, threads, instructions, source, &fill) };
            assert!(out[0] == mark);
            let way = format!("{elements} elements, {threads} threads, {instructions:?}");
            assert!(out[1..] == expected, "{way}");
        }
    }
}

/// Memory that ends where a page begins that may not be touched.
#[cfg(unix)]
struct Guarded {
    start: *mut u8,
    /// Up to the guard page.
    bytes: usize,
    page: usize,
}

#[cfg(unix)]
impl Guarded {
    fn new(bytes: usize) -> Self {
        // SAFETY: asks for a number.
        let page = unsafe { libc::sysconf(libc::_SC_PAGESIZE) } as usize;
        let bytes = bytes.next_multiple_of(page);
        let (access, flags) =
            (libc::PROT_READ | libc::PROT_WRITE, libc::MAP_PRIVATE | libc::MAP_ANON);
        // SAFETY: new memory, wherever there is room.
        let start = unsafe { libc::mmap(std::ptr::null_mut(), bytes + page, access, flags, -1, 0) };
        assert_ne!(start, libc::MAP_FAILED);
        // SAFETY: the last page of what has just been mapped.
        let guarded = unsafe { libc::mprotect(start.byte_add(bytes), page, libc::PROT_NONE) };
        assert_eq!(guarded, 0);
        Guarded { start: start.cast(), bytes, page }
    }

    /// The last `count` elements before the guard page: numbers, for which every bit pattern is valid.
    fn last<T: Copy>(&mut self, count: usize) -> &mut [T] {
        assert!(count * size_of::<T>() <= self.bytes);
        // SAFETY: within the mapping and before the guard page, which begins at a multiple of T's alignment;
        // borrowed from `self`, so that there is one slice at a time. Mapped memory is zero at first, and
        // every bit pattern is an element.
        unsafe {
            let end = self.start.add(self.bytes).cast::<T>();
            std::slice::from_raw_parts_mut(end.sub(count), count)
        }
    }
}

#[cfg(unix)]
impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made; no slice of it is left.
        unsafe { libc::munmap(self.start.cast(), self.bytes + self.page) };
    }
}
