//! What a tensor's elements are to this module: bit patterns, and numbers to multiply as libtorch does.

use std::convert::identity;
use std::ops::{Add, Mul};

use half::{bf16, f16};

/// An element as a bit pattern; every pattern is valid.
pub(super) trait Word: Copy + Send + Sync {
    /// `value` if `keep` is 1, zero if it is 0; without a branch.
    fn select(keep: u32, value: Self) -> Self;
}

macro_rules! words {
    ($($word:ty),*) => {$(
        impl Word for $word {
            #[inline(always)]
            fn select(keep: u32, value: Self) -> Self {
                (keep as $word).wrapping_neg() & value
            }
        }
    )*};
}
words!(u8, u16, u32, u64);

macro_rules! float_words {
    ($($float:ty, $word:ty);*) => {$(
        impl Word for $float {
            #[inline(always)]
            fn select(keep: u32, value: Self) -> Self {
                <$float>::from_bits(<$word>::select(keep, value.to_bits()))
            }
        }
    )*};
}
float_words!(f32, u32; f64, u64);

/// An element as a number. Half precision is computed in single precision, and rounded to the nearest even
/// number after each operation, as libtorch does.
pub(super) trait Number: Copy + Send + Sync {
    type Wide: Word + From<f32> + Add<Output = Self::Wide> + Mul<Output = Self::Wide>;
    fn of(number: f64) -> Self;
    fn widen(self) -> Self::Wide;
    fn round(wide: Self::Wide) -> Self;
}

macro_rules! numbers {
    ($($number:ty, $wide:ty, $widen:expr, $round:expr);*) => {$(
        impl Number for $number {
            type Wide = $wide;
            fn of(number: f64) -> Self {
                $round(number as $wide)
            }
            #[inline(always)]
            fn widen(self) -> $wide {
                $widen(self)
            }
            #[inline(always)]
            fn round(wide: $wide) -> Self {
                $round(wide)
            }
        }
    )*};
}
numbers!(
    f32, f32, identity, identity;
    f64, f64, identity, identity;
    f16, f32, widen_f16, round_f16;
    bf16, f32, widen_bf16, round_bf16
);

// `half`'s own conversions check the CPU's features for every element. These have no branch, so the compiler
// vectorises them for any instruction set.

#[inline(always)]
fn widen_bf16(x: bf16) -> f32 {
    f32::from_bits(u32::from(x.to_bits()) << 16)
}

#[inline(always)]
fn round_bf16(x: f32) -> bf16 {
    let bits = x.to_bits();
    // Half a unit in the last place, less one bit if that place is even: ties go to the even number.
    let rounded = bits.wrapping_add(0x7FFF + (bits >> 16 & 1)) >> 16;
    let quiet_nan = bits >> 16 | 0x40;
    bf16::from_bits(if x.is_nan() { quiet_nan } else { rounded } as u16)
}

/// Half precision's exponents begin 112 below those of single precision.
const EXPONENT_GAP: u32 = 112 << 23;

#[inline(always)]
fn widen_f16(x: f16) -> f32 {
    let bits = u32::from(x.to_bits());
    let magnitude = (bits & 0x7FFF) << 13;
    // A multiplication moves the exponent, and turns subnormals into normal numbers on the way.
    let finite = (f32::from_bits(magnitude) * f32::from_bits((127 + 112) << 23)).to_bits();
    let infinite_or_nan = magnitude | 0xFF << 23;
    let magnitude = if magnitude >= 31 << 23 { infinite_or_nan } else { finite };
    f32::from_bits(magnitude | (bits & 0x8000) << 16)
}

#[inline(always)]
fn round_f16(x: f32) -> f16 {
    let bits = x.to_bits();
    let (sign, magnitude) = (bits >> 16 & 0x8000, bits & 0x7FFF_FFFF);
    // As for bf16, 13 bits from the end.
    let normal =
        magnitude.wrapping_sub(EXPONENT_GAP).wrapping_add(0xFFF + (magnitude >> 13 & 1)) >> 13;
    // The last place of 1/2 is worth 2^-24, as a subnormal's is, so adding 1/2 rounds a small number there.
    let subnormal = (f32::from_bits(magnitude) + 0.5).to_bits().wrapping_sub(0.5f32.to_bits());
    let quiet_nan = 0x7E00 | magnitude >> 13 & 0x3FF;
    let rounded = match magnitude {
        ..0x3880_0000 => subnormal,         // below 2^-14
        0x3880_0000..0x477F_F000 => normal, // up to 65520, which rounds to infinity
        0x477F_F000..=0x7F80_0000 => 0x7C00,
        _ => quiet_nan,
    };
    f16::from_bits((sign | rounded) as u16)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Every half-precision number, and numbers around it and around every midpoint.
    #[test]
    fn half_precision_is_converted_as_half_converts_it() {
        for bits in 0..=u16::MAX {
            let (a, b) = (f16::from_bits(bits), bf16::from_bits(bits));
            for (found, expected) in [(widen_f16(a), f32::from(a)), (widen_bf16(b), f32::from(b))] {
                let same_bits = found.to_bits() == expected.to_bits();
                assert!(same_bits || found.is_nan() && expected.is_nan(), "{bits:x}");
            }
        }
        let interesting = (0..=u16::MAX).flat_map(|bits| {
            let wide = [f32::from(f16::from_bits(bits)), f32::from(bf16::from_bits(bits))];
            let halfway = [0x0FFF, 0x1000, 0x1001, 0x7FFF, 0x8000, 0x8001]
                .map(|low| u32::from(bits) << 16 | low);
            let near = |x: f32| {
                [-0x1001i32, -0x1000, -0xFFF, -1, 0, 1, 0xFFF, 0x1000, 0x1001]
                    .map(|d| x.to_bits().wrapping_add_signed(d))
            };
            wide.into_iter().flat_map(near).chain(halfway).collect::<Vec<_>>()
        });
        for bits in interesting {
            let x = f32::from_bits(bits);
            if x.is_nan() {
                assert!(round_f16(x).is_nan() && round_bf16(x).is_nan());
            } else {
                assert_eq!(round_f16(x).to_bits(), f16::from_f32(x).to_bits(), "{x:e}");
                assert_eq!(round_bf16(x).to_bits(), bf16::from_f32(x).to_bits(), "{x:e}");
            }
        }
    }
}
