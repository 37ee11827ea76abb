//! This CPU's best instruction set: the same code is compiled for each, and chosen at run time.
//!
//! On aarch64 the portable code is NEON code already, since every such CPU has it. It has not been measured yet. For one
//! plane of a tile, llvm-mca 22.1.8 predicts these cycles (`scripts/machine-code.py --cycles`; rustc 1.95.0 on x86-64,
//! 1.96.0 on aarch64):
//!
//! | | portable | AVX2 | AVX-512 |
//! | --- | ---: | ---: | ---: |
//! | AMD Zen 4 | 313 | 136 | 82 |
//! | Intel Skylake-SP | 434 | 177 | 104 |
//! | Arm Neoverse N1 | 556 | | |
//! | Arm Neoverse V2 | 259 | | |
#![allow(unsafe_code, reason = "code for instructions that not every CPU has")]

use super::fill::Fill;
use super::source::Source;
use crate::rng::counter::TILE;

/// An instruction set that this CPU has: the only way to get one is to ask the CPU.
#[derive(Clone, Copy, Debug)]
pub(super) struct Instructions(Set);

#[derive(Clone, Copy, Debug)]
enum Set {
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    Portable,
}

/// Something to compute. Implementations are `#[inline(always)]`, so that they are compiled for the instruction set of
/// their caller.
#[cfg(recompute)]
pub(super) trait Pass {
    type Output;
    fn run(self) -> Self::Output;
}

/// The best first.
const SETS: &[Set] = &[
    #[cfg(target_arch = "x86_64")]
    Set::Avx512,
    #[cfg(target_arch = "x86_64")]
    Set::Avx2,
    Set::Portable,
];

impl Set {
    fn is_here(self) -> bool {
        match self {
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => {
                is_x86_feature_detected!("avx512f")
                    && is_x86_feature_detected!("avx512bw")
                    && is_x86_feature_detected!("avx512dq")
                    && is_x86_feature_detected!("avx512vl")
            }
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => is_x86_feature_detected!("avx2"),
            Set::Portable => true,
        }
    }
}

impl Instructions {
    /// All that this CPU has, the best first.
    pub(super) fn available() -> impl Iterator<Item = Instructions> {
        SETS.iter().copied().filter(|set| set.is_here()).map(Instructions)
    }

    pub(super) fn best() -> Instructions {
        Instructions::available().next().expect("every CPU has the portable ones")
    }

    #[cfg(recompute)]
    pub(super) fn run<P: Pass>(self, pass: P) -> P::Output {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this CPU has these instructions, or there would be no such `Instructions`.
            Set::Avx512 => unsafe { avx512::run(pass) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this CPU has these instructions, or there would be no such `Instructions`.
            Set::Avx2 => unsafe { avx2::run(pass) },
            Set::Portable => pass.run(),
        }
    }

    /// Has `fill` write the elements `out`, which begin at element `start`, a multiple of a tile.
    pub(super) fn write<S: Source, F: Fill<S>>(
        self,
        source: &S,
        fill: &F,
        start: usize,
        out: &mut [F::Element],
    ) {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this CPU has these instructions, or there would be no such `Instructions`.
            Set::Avx512 => unsafe { avx512::write(source, fill, start, out) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this CPU has these instructions, or there would be no such `Instructions`.
            Set::Avx2 => unsafe { avx2::write(source, fill, start, out) },
            Set::Portable => {
                write(|tile, elements| portable(source, tile, elements), fill, start, out)
            }
        }
    }
}

/// Tile by tile: draws for its elements, and writes them.
#[inline(always)]
fn write<S: Source, F: Fill<S>>(
    draw: impl Fn(u64, usize) -> S::Tile,
    fill: &F,
    start: usize,
    out: &mut [F::Element],
) {
    for (tile, out) in out.chunks_mut(TILE).enumerate() {
        let start = start + tile * TILE;
        fill.tile(&draw((start / TILE) as u64, out.len()), start, out);
    }
}

// The generator is a separate function in each set, since it is long and `write` has many instances.

#[inline(never)]
fn portable<S: Source>(source: &S, tile: u64, elements: usize) -> S::Tile {
    source.tile(tile, elements)
}

#[cfg(target_arch = "x86_64")]
macro_rules! sets {
    ($($set:ident, $features:literal);*) => {$(
        mod $set {
            #[cfg(recompute)]
            use crate::cpu::dispatch::Pass;
            use crate::cpu::fill::Fill;
            use crate::cpu::source::Source;

            #[inline(never)]
            #[target_feature(enable = $features)]
            fn draw<S: Source>(source: &S, tile: u64, elements: usize) -> S::Tile {
                source.tile(tile, elements)
            }

            #[cfg(recompute)]
            #[target_feature(enable = $features)]
            pub(super) fn run<P: Pass>(pass: P) -> P::Output {
                pass.run()
            }

            #[target_feature(enable = $features)]
            pub(super) fn write<S: Source, F: Fill<S>>(
                source: &S,
                fill: &F,
                start: usize,
                out: &mut [F::Element],
            ) {
                super::write(|tile, elements| draw(source, tile, elements), fill, start, out);
            }
        }
    )*};
}
#[cfg(target_arch = "x86_64")]
sets!(avx512, "avx512f,avx512bw,avx512dq,avx512vl"; avx2, "avx2");
