//! Normal random numbers, 128 side by side.
//!
//! Box and Muller (1958): a uniform number gives a radius, `sqrt(-2 ln u)`, another an angle, and the point
//! there has two independent normal coordinates. One random word of 32 bits gives both: it chooses a point
//! `(w, a w)` modulo 2³² of a lattice that covers the square evenly (Korobov 1959), so two elements cost one
//! word. Two words would give the same numbers in all but the finest detail, at twice the price.
//!
//! The logarithm, sine and cosine are the polynomials of the Cephes library, which the compiler vectorises.
//! Rust never fuses a multiplication and an addition by itself, so every instruction set computes the same
//! bits.

use self::cephes::{COS, LN, LN_2, RADIANS, SIN, SQRT_HALF};
use super::source::Source;
use crate::rng::counter::{Counter, TILE};
use crate::rng::philox::WORDS;

/// Normal numbers of mean 1, for the elements of a mask: at most 6.7 standard deviations from the mean.
#[derive(Clone, Copy, Debug)]
pub(super) struct Normal {
    counter: Counter,
    deviation: f32,
}

impl Normal {
    pub(super) fn new(counter: Counter, deviation: f64) -> Self {
        Normal { counter, deviation: deviation as f32 }
    }
}

/// How many numbers a plane's words give.
const ROW: usize = 2 * WORDS;

impl Source for Normal {
    type Tile = [f32; TILE];
    const COST: usize = 4;

    #[inline(always)]
    fn tile(&self, tile: u64, elements: usize) -> [f32; TILE] {
        let mut numbers = [0.0; TILE];
        let rows = numbers.as_chunks_mut::<ROW>().0.iter_mut();
        for (plane, row) in rows.enumerate().take(elements.div_ceil(ROW)) {
            *row = standard_normals(self.counter.plane(tile, plane as u64));
            let mut i = 0;
            while i < ROW {
                row[i] = 1.0 + self.deviation * row[i];
                i += 1;
            }
        }
        numbers
    }
}

/// The lattice's `a`: close to 2³² divided by the golden ratio, and no partial quotient of its continued
/// fraction is above 3, which is what makes a lattice even (Niederreiter 1992, section 5.1).
const LATTICE: u32 = 0x9E37_78C1;

/// The numbers of Cephes; the coefficient of the highest power comes first.
mod cephes {
    /// `(ln(1 + m) - m + m² / 2) / m³`, for `1 + m` from sqrt(1/2) up to sqrt(2).
    pub(super) const LN: [f32; 9] = [
        7.037_683_6e-2,
        -1.151_461e-1,
        1.167_699_9e-1,
        -1.242_014_1e-1,
        1.424_932_3e-1,
        -1.666_805_8e-1,
        2.000_071_5e-1,
        -2.499_999_4e-1,
        0.333_333_3,
    ];
    /// ln 2 in two parts: the product of an exponent and the first is exact.
    pub(super) const LN_2: [f32; 2] = [0.693_359_4, -2.121_944_4e-4];
    /// `(sin x - x) / x³` by powers of x², up to an eighth of a turn.
    pub(super) const SIN: [f32; 3] = [-1.951_529_6e-4, 8.332_161e-3, -1.666_665_5e-1];
    /// `(cos x - 1 + x² / 2) / x⁴`, likewise.
    pub(super) const COS: [f32; 3] = [2.443_315_7e-5, -1.388_731_6e-3, 4.166_664_6e-2];
    /// An angle's unit, 2⁻³² turns.
    pub(super) const RADIANS: f32 = std::f32::consts::TAU / (1u64 << 32) as f32;
    /// The bits of sqrt(1/2).
    pub(super) const SQRT_HALF: u32 = 0x3F35_04F3;
}

/// Two numbers from each word: the first halves of the pairs, then the second halves.
#[inline(always)]
fn standard_normals(words: [u32; WORDS]) -> [f32; ROW] {
    let mut numbers = [0.0; ROW];
    let mut i = 0;
    while i < WORDS {
        let radius = (-2.0 * ln(unit(words[i]))).sqrt();
        let (sin, cos) = sin_cos(words[i].wrapping_mul(LATTICE));
        (numbers[i], numbers[i + WORDS]) = (radius * cos, radius * sin);
        i += 1;
    }
    numbers
}

/// A uniform number above 0 and up to 1. It has 31 bits, since CPUs convert signed integers faster.
#[inline(always)]
fn unit(word: u32) -> f32 {
    const TWO_TO_MINUS_31: f32 = 1.0 / (1u32 << 31) as f32;
    ((word >> 1) as i32 as f32 + 0.5) * TWO_TO_MINUS_31
}

/// The natural logarithm of a positive normal number, to within two units in the last place.
#[inline(always)]
fn ln(x: f32) -> f32 {
    // x = m 2^e, with m from sqrt(1/2) up to sqrt(2).
    let bits = x.to_bits().wrapping_sub(SQRT_HALF);
    let e = (bits as i32 >> 23) as f32;
    let m = f32::from_bits((bits & 0x007F_FFFF) + SQRT_HALF) - 1.0;
    let [ln_2, rest] = LN_2;
    let square = m * m;
    let small = polynomial(m, LN) * m * square + e * rest - 0.5 * square;
    m + small + e * ln_2
}

/// The sine and cosine of an angle that is given in units of 2⁻³² turns.
#[inline(always)]
fn sin_cos(angle: u32) -> (f32, f32) {
    // The nearest quarter turn, and what is left: at most an eighth on either side.
    let quarter = angle.wrapping_add(1 << 29) >> 30;
    let x = angle.wrapping_sub(quarter << 30) as i32 as f32 * RADIANS;
    let square = x * x;
    let sin = polynomial(square, SIN) * square * x + x;
    let cos = polynomial(square, COS);
    let cos = cos * square * square - 0.5 * square + 1.0;
    // A quarter turn exchanges the two; half a turn changes both signs.
    let swap = (quarter & 1).wrapping_neg();
    let (sin, cos) = (sin.to_bits(), cos.to_bits());
    let exchange = (sin ^ cos) & swap;
    let sign = |quarter: u32| (quarter & 2) << 30;
    let sin = sin ^ exchange ^ sign(quarter);
    let cos = cos ^ exchange ^ sign(quarter + 1);
    (f32::from_bits(sin), f32::from_bits(cos))
}

/// The coefficient of the highest power comes first.
#[inline(always)]
fn polynomial<const N: usize>(x: f32, coefficients: [f32; N]) -> f32 {
    let (mut sum, mut i) = (0.0, 0);
    while i < N {
        sum = sum * x + coefficients[i];
        i += 1;
    }
    sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Words that are spread over all of them, with both ends and every power of two.
    fn words() -> impl Iterator<Item = u32> {
        let spread = (0..1_000_000u32).map(|i| i.wrapping_mul(0x9E37_79B9));
        let powers = (0..32).flat_map(|i| [(1 << i) - 1, 1 << i, (1u32 << i).wrapping_neg()]);
        spread.chain(powers).chain([u32::MAX])
    }

    #[test]
    fn logarithms_are_those_of_the_standard_library() {
        for word in words() {
            let u = unit(word);
            assert!(u > 0.0 && u <= 1.0, "{word}");
            let (found, expected) = (f64::from(ln(u)), f64::from(u).ln());
            assert!((found - expected).abs() <= 2e-7 * expected.abs().max(0.5), "ln {u}: {found}");
        }
    }

    #[test]
    fn sines_and_cosines_are_those_of_the_standard_library() {
        for word in words() {
            let (sin, cos) = sin_cos(word);
            let angle = f64::from(word) / 2f64.powi(32) * std::f64::consts::TAU;
            assert!((f64::from(sin) - angle.sin()).abs() < 2e-7, "sin {angle}: {sin}");
            assert!((f64::from(cos) - angle.cos()).abs() < 2e-7, "cos {angle}: {cos}");
        }
    }

    #[test]
    fn the_largest_number_is_finite() {
        let numbers = standard_normals([0; WORDS]);
        assert!((6.6..6.7).contains(&numbers[0]), "{}", numbers[0]);
        assert_eq!(standard_normals([u32::MAX; WORDS])[0], 0.0);
    }

    /// A coarse lattice would have empty cells, or full ones.
    #[test]
    fn the_lattice_is_even() {
        // The words of one radius in 2^10, and the 2^10 angles that they may have.
        for radius in [0u32, 1, 500, 1023] {
            let mut counts = [0u32; 1024];
            for word in 0..1 << 22 {
                counts[(((radius << 22) + word).wrapping_mul(LATTICE) >> 22) as usize] += 1;
            }
            assert!(counts.iter().all(|&n| n.abs_diff(4096) <= 8), "{radius}: {counts:?}");
        }
        // Of the 2^16 largest radii, and 2^8 angles.
        let mut counts = [0u32; 256];
        (0..1u32 << 16).for_each(|word| counts[(word.wrapping_mul(LATTICE) >> 24) as usize] += 1);
        assert!(counts.iter().all(|&n| n.abs_diff(256) <= 8), "{counts:?}");
    }
}
