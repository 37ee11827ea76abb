//! The rooms with `unsafe` code: every set of instructions writes the same, and nothing beyond its memory.
#![allow(unsafe_code, reason = "guard pages, and the memory in front of them as slices")]

use tch::{Device, Kind, Tensor};

use super::bernoulli::{Bernoulli, Mask};
use super::dispatch::Instructions;
use super::fill::{Fill, Word};
use super::memory::{GRAIN_SIZE, Layout, fill_memory, filled, part};
use super::openmp;
use crate::probability::Probability;
use crate::rng::counter::Counter;

fn mask<W: Word>(p: f64, keep_value: W) -> Mask<W> {
    let counter = Counter::of_stream(7, 1, 0, 2);
    Mask { bernoulli: Bernoulli::new(counter, Probability::new(p).unwrap()), keep_value }
}

/// Sizes on both sides of every boundary: of blocks, of tiles, and of the parts of two and three
/// threads.
fn sizes() -> impl Iterator<Item = usize> {
    let parts = [2 * GRAIN_SIZE, 3 * GRAIN_SIZE];
    let around = |n| [n - 129, n - 128, n - 127, n - 1, n, n + 1, n + 127, n + 128, n + 129];
    (0..=200).chain(parts.into_iter().flat_map(around))
}

/// One to three threads with the best instructions, and each other set on one.
fn ways() -> impl Iterator<Item = (usize, Instructions)> {
    let threads = (1..=3).map(|threads| (threads, Instructions::best()));
    threads.chain(Instructions::available().skip(1).map(|instructions| (1, instructions)))
}

#[test]
fn all_instructions_write_what_the_portable_ones_write() {
    let sets: Vec<Instructions> = Instructions::available().collect();
    println!("this CPU has {sets:?}");
    for p in [0.1, 0.5, 1.0 / 3.0, 1.0] {
        let mask = mask(p, 3u32);
        for elements in (0..300).chain([100_003]) {
            let mut portable = vec![9; elements];
            mask.fill(256, &mut portable);
            for instructions in &sets {
                let mut words = vec![9; elements];
                instructions.fill(&mask, 256, &mut words);
                assert!(words == portable, "p {p}, {elements} elements, {instructions:?}");
            }
        }
    }
}

#[test]
fn parts_are_whole_grains_and_cover_everything_once() {
    for elements in [1, 127, 128, 129, 1000, 16_384, 100_003] {
        for threads in 1..9 {
            let parts = (0..threads).map(|thread| part(thread, threads, elements, 128));
            let end = parts.fold(0, |end, part| {
                assert!(part.start == end && (part.is_empty() || part.start % 128 == 0));
                part.end
            });
            assert_eq!(end, elements);
        }
    }
}

/// On one thread all would work as well, and nobody would notice but by a clock.
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

/// Of interest to memcheck: on the heap every word is written, once, and none beyond.
#[test]
fn fresh_tensors_are_filled_whole() {
    let channels_last =
        Tensor::ones([2, 3, 5, 7], (Kind::Float, Device::Cpu)).permute([0, 3, 1, 2]);
    for n in 0..=200 {
        let size = [n];
        let tensor = filled(Layout::Contiguous(&size, Kind::Float), &mask(1e-9, 1f32.to_bits()));
        assert_eq!(tensor.unwrap().sum(Kind::Float).double_value(&[]), n as f64);
    }
    let tensor = filled(Layout::Like(&channels_last), &mask(1e-9, 1f32.to_bits())).unwrap();
    assert_eq!(tensor.stride(), channels_last.stride());
    assert_eq!(tensor, channels_last);
}

/// A word too far would be a segmentation fault, or a mark that is gone.
#[cfg(unix)]
#[test]
fn nothing_is_written_beyond_either_end() {
    fn check<W: Word + PartialEq + std::fmt::Debug>(keep_value: W, mark: W) {
        let largest = sizes().max().unwrap();
        let mut guarded = Guarded::new((largest + 1) * size_of::<W>());
        let mask = mask(0.3, keep_value);
        for elements in sizes() {
            let mut expected = vec![W::ZERO; elements];
            mask.fill(0, &mut expected);
            for (threads, instructions) in ways() {
                // A mark, and then the words up to the page behind which nothing may be touched.
                let words = guarded.last_words(elements + 1);
                words.fill(mark);
                // SAFETY: `elements` words of a slice that nobody else has.
                unsafe {
                    fill_memory(words[1..].as_mut_ptr(), elements, threads, instructions, &mask)
                };
                assert_eq!(words[0], mark);
                let way = format!("{elements} elements, {threads} threads, {instructions:?}");
                assert!(words[1..] == expected, "{way}");
            }
        }
    }
    check(1u8, 9);
    check(1u16, 9);
    check(1u32, 9);
    check(1u64, 9);
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

    /// The last `count` words before the guard page.
    fn last_words<W: Word>(&mut self, count: usize) -> &mut [W] {
        assert!(count * size_of::<W>() <= self.bytes);
        // SAFETY: within the mapping and before the guard page, which begins at a multiple of W's
        // alignment; borrowed from `self`, so that there is one slice at a time. Mapped memory is zero
        // at first, and every pattern of bits is a word.
        unsafe {
            let end = self.start.add(self.bytes).cast::<W>();
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
