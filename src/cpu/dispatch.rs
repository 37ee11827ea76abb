//! The best instructions of this CPU: the same code, compiled for each set, and chosen at run time.
#![allow(unsafe_code, reason = "code for instructions that not every CPU has")]

use super::fill::{Fill, Word};

/// A set of instructions that this CPU has: the only way to get one is to ask the CPU.
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

    /// Has `fill` write `elements`, which begin at element `start` of its sequence.
    pub(super) fn fill<W: Word>(self, fill: &impl Fill<W>, start: usize, elements: &mut [W]) {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            // SAFETY: this CPU has these instructions, or there would be no such `Instructions`.
            Set::Avx512 => unsafe { with_avx512(fill, start, elements) },
            #[cfg(target_arch = "x86_64")]
            // SAFETY: as above.
            Set::Avx2 => unsafe { with_avx2(fill, start, elements) },
            Set::Portable => fill.fill(start, elements),
        }
    }
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl")]
fn with_avx512<W: Word>(fill: &impl Fill<W>, start: usize, elements: &mut [W]) {
    fill.fill(start, elements);
}

#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx2")]
fn with_avx2<W: Word>(fill: &impl Fill<W>, start: usize, elements: &mut [W]) {
    fill.fill(start, elements);
}
