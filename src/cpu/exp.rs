//! Powers of e without a branch, so that the compiler vectorises them for any instruction set, with the same bits in
//! each.

use std::ops::{Add, Mul, Sub};

use super::memory::Element;

/// A number that softmax is computed in.
pub(super) trait Real:
    Element
    + tch::kind::Element
    + Send
    + Sync
    + PartialOrd
    + From<f32>
    + Add<Output = Self>
    + Sub<Output = Self>
    + Mul<Output = Self>
{
    fn of(number: f64) -> Self;
    /// `e^self` for a number of at most 1, within two units in the last place: 0 for -∞, and where the power has no
    /// normal number.
    fn power(self) -> Self;
}

/// 1, 1/1!, 1/2!, ...: the terms of the exponential series.
const fn terms<const N: usize>() -> [f64; N] {
    let (mut terms, mut k) = ([1.0; N], 1);
    while k < N {
        terms[k] = terms[k - 1] / k as f64;
        k += 1;
    }
    terms
}

macro_rules! reals {
    ($($real:ident: $terms:literal terms, ln 2 = $ln2:expr, + $rest:literal, from $least:literal);*) => {$(
        impl Real for $real {
            #[inline(always)]
            fn of(number: f64) -> Self {
                number as $real
            }

            #[inline(always)]
            fn power(self) -> Self {
                const MANTISSA: u32 = $real::MANTISSA_DIGITS - 1;
                // Added to a number, it rounds that to a whole one, which the lowest bits then hold.
                const ROUNDS: $real = 1.5 * (1u64 << MANTISSA) as $real;
                const TERMS: [f64; $terms] = terms();
                // self = n ln 2 + rest, where n ln 2 has no rounding error: the first summand of ln 2 has few digits.
                let shifted = self * std::$real::consts::LOG2_E + ROUNDS;
                let n = shifted - ROUNDS;
                let rest = self - n * ($ln2) - n * $rest;
                let (mut sum, mut k) = (TERMS[$terms - 1] as $real, $terms - 1);
                while k > 0 {
                    k -= 1;
                    sum = sum * rest + TERMS[k] as $real;
                }
                let bits = (shifted.to_bits() << MANTISSA).wrapping_add((1.0 as $real).to_bits());
                let power = sum * $real::from_bits(bits);
                if self < $least { 0.0 } else { power }
            }
        }
    )*};
}
reals!(
    f32: 8 terms, ln 2 = 355.0 / 512.0, + -2.121_944_4e-4, from -87.336_54;
    f64: 14 terms, ln 2 = 0.693_147_180_369_123_8, + 1.908_214_929_270_587_7e-10, from -708.396_418_532_264
);

#[cfg(test)]
mod tests {
    use super::*;

    /// The largest error over numbers from `least` to 1, in units in the last place.
    fn error<T: Real + Into<f64>>(least: f64, epsilon: f64) -> f64 {
        let numbers = (0..=3_000_000).map(|i| T::of(least + f64::from(i) / 3e6 * (1.0 - least)));
        let error = |x: T| (x.power().into() / x.into().exp() - 1.0).abs() / epsilon;
        numbers.map(error).fold(0.0, f64::max)
    }

    #[test]
    fn powers_are_right_to_two_units_in_the_last_place() {
        let f32s =
            [error::<f32>(-87.3365, f32::EPSILON.into()), error::<f32>(-1.0, f32::EPSILON.into())];
        let f64s = [error::<f64>(-708.39, f64::EPSILON), error::<f64>(-1.0, f64::EPSILON)];
        println!("{f32s:?} {f64s:?}");
        assert!(f32s.into_iter().chain(f64s).all(|error| error < 2.0), "{f32s:?} {f64s:?}");
    }

    #[test]
    fn powers_of_zero_and_of_what_has_no_number() {
        assert_eq!([0f32.power(), (-88f32).power(), f32::NEG_INFINITY.power()], [1.0, 0.0, 0.0]);
        assert_eq!([0f64.power(), (-709f64).power(), f64::NEG_INFINITY.power()], [1.0, 0.0, 0.0]);
        assert!(f32::NAN.power().is_nan() && f64::NAN.power().is_nan());
        assert!(f32::INFINITY.power().is_nan() && f64::INFINITY.power().is_nan());
    }
}
