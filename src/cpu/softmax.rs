//! What attention does with a block's scores, one row after the other: a row is read once from where it lies, and again
//! from the first-level cache.

use tch::{Kind, Tensor};

use super::dispatch::{Instructions, Pass};
use super::exp::Real;
use super::rows::{rows_of, rows_of_mut};
use crate::error::Result;

/// A sum has this many summands at a time, on all instructions, and so the same rounding.
const LANES: usize = 32;

/// `e^(score - largest)` in place, where `largest` is the row's largest score, or `floor` if that is larger. Returns
/// `largest` and the row's sum of powers, of shape `[rows, 1]`. `None` for other tensors, which stay as they are.
pub(crate) fn powers(scores: &mut Tensor, floor: f64) -> Result<Option<[Tensor; 2]>> {
    match scores.kind() {
        Kind::Float => powers_of::<f32>(scores, floor),
        Kind::Double => powers_of::<f64>(scores, floor),
        _ => Ok(None),
    }
}

fn powers_of<T: Real>(scores: &mut Tensor, floor: f64) -> Result<Option<[Tensor; 2]>> {
    let Some(rows) = rows_of_mut::<T>(scores) else { return Ok(None) };
    let (largest, sums): (Vec<T>, Vec<T>) =
        Instructions::best().run(Powers { rows, floor: T::of(floor) }).into_iter().unzip();
    let column = |numbers: &[T]| Tensor::f_from_slice(numbers)?.f_unsqueeze(1);
    Ok(Some([column(&largest)?, column(&sums)?]))
}

struct Powers<R, T> {
    rows: R,
    floor: T,
}

impl<'a, T: Real + 'a, R: Iterator<Item = &'a mut [T]>> Pass for Powers<R, T> {
    type Output = Vec<(T, T)>;

    #[inline(always)]
    fn run(self) -> Vec<(T, T)> {
        let mut found = Vec::with_capacity(self.rows.size_hint().0);
        // A loop: the methods of an iterator might be functions of their own, compiled for no instructions but the
        // portable ones.
        for row in self.rows {
            let larger = |a: T, b: T| if b > a { b } else { a };
            let largest = over(row, self.floor, |all, x| larger(all, *x), larger);
            let power = |sum: T, x: &mut T| {
                *x = (*x - largest).power();
                sum + *x
            };
            found.push((largest, over(row, T::from(0.0), power, T::add)));
        }
        found
    }
}

/// The same powers, once their sum is known: `e^(score - log)`, where `log` is the logarithm of the row's sum plus its
/// largest score, in place and in `copy`. Returns false for other tensors, which stay as they are.
pub(crate) fn weights(scores: &mut Tensor, logs: &Tensor, copy: &mut Tensor) -> bool {
    match scores.kind() {
        Kind::Float => weights_of::<f32>(scores, logs, copy),
        Kind::Double => weights_of::<f64>(scores, logs, copy),
        _ => false,
    }
}

fn weights_of<T: Real>(scores: &mut Tensor, logs: &Tensor, copy: &mut Tensor) -> bool {
    let (Some(rows), Some(logs), Some(copies)) =
        (rows_of_mut::<T>(scores), rows_of::<T>(logs), rows_of_mut::<T>(copy))
    else {
        return false;
    };
    Instructions::best().run(Weights(rows.zip(logs).zip(copies)));
    true
}

/// Each row's scores, logarithm and copy.
struct Weights<R>(R);

impl<'a, T: Real + 'a, R> Pass for Weights<R>
where
    R: Iterator<Item = ((&'a mut [T], &'a [T]), &'a mut [T])>,
{
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for ((row, log), copy) in self.0 {
            for (x, copy) in row.iter_mut().zip(copy) {
                *x = (*x - log[0]).power();
                *copy = *x;
            }
        }
    }
}

/// The gradient of the scores, in place of that of the dropped weights: `d dropped - w Σ d dropped`, with the sum over a
/// row. Returns false for other tensors, which stay as they are.
pub(crate) fn of_scores(gradient: &mut Tensor, weights: &Tensor, dropped: &Tensor) -> bool {
    match gradient.kind() {
        Kind::Float => of_scores_of::<f32>(gradient, weights, dropped),
        Kind::Double => of_scores_of::<f64>(gradient, weights, dropped),
        _ => false,
    }
}

fn of_scores_of<T: Real>(gradient: &mut Tensor, weights: &Tensor, dropped: &Tensor) -> bool {
    let (Some(rows), Some(weights), Some(dropped)) =
        (rows_of_mut::<T>(gradient), rows_of::<T>(weights), rows_of::<T>(dropped))
    else {
        return false;
    };
    Instructions::best().run(OfScores(rows.zip(weights).zip(dropped)));
    true
}

/// Each row's gradient, weights and dropped weights.
struct OfScores<R>(R);

impl<'a, T: Real + 'a, R> Pass for OfScores<R>
where
    R: Iterator<Item = ((&'a mut [T], &'a [T]), &'a [T])>,
{
    type Output = ();

    #[inline(always)]
    fn run(self) {
        for ((row, weights), dropped) in self.0 {
            row.iter_mut().zip(dropped).for_each(|(d, dropped)| *d = *d * *dropped);
            let sum = over(row, T::from(0.0), |sum, d| sum + *d, T::add);
            row.iter_mut().zip(weights).for_each(|(d, w)| *d = *d - *w * sum);
        }
    }
}

/// Combines what `each` makes of a row's numbers: lane by lane, and then the lanes.
#[inline(always)]
fn over<T: Copy>(
    row: &mut [T],
    first: T,
    each: impl Fn(T, &mut T) -> T,
    both: impl Fn(T, T) -> T,
) -> T {
    let mut lanes = [first; LANES];
    let (chunks, rest) = row.as_chunks_mut::<LANES>();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane = each(*lane, x);
        }
    }
    for (lane, x) in lanes.iter_mut().zip(rest) {
        *lane = each(*lane, x);
    }
    lanes.into_iter().reduce(both).unwrap_or(first)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows on both sides of each boundary of lanes and of registers.
    const COLUMNS: [usize; 9] = [1, 7, 16, 31, 32, 33, 63, 65, 1000];

    fn numbers<T: Real>(count: usize, seed: u32) -> Vec<T> {
        let number = |i: u32| (i.wrapping_add(seed).wrapping_mul(2_654_435_761) >> 8) as f64 / 1e6;
        (0..count as u32).map(|i| T::of(number(i) - 9.0)).collect()
    }

    /// What the three passes make of three rows.
    fn results<T: Real>(instructions: Instructions, columns: usize) -> Vec<T> {
        let [mut scores, mut copy, mut gradient] =
            [1, 2, 3].map(|seed| numbers::<T>(3 * columns, seed));
        let mut again = scores.clone();
        let rows = scores.chunks_mut(columns);
        let (largest, sums): (Vec<T>, Vec<T>) =
            instructions.run(Powers { rows, floor: T::of(-1.0) }).into_iter().unzip();
        let logs = largest.chunks(1);
        let rows = again.chunks_mut(columns).zip(logs).zip(copy.chunks_mut(columns));
        instructions.run(Weights(rows));
        let rows = gradient.chunks_mut(columns).zip(again.chunks(columns));
        instructions.run(OfScores(rows.zip(copy.chunks(columns))));
        [largest, sums, scores, again, copy, gradient].concat()
    }

    #[test]
    fn all_instructions_compute_the_same_bits() {
        let portable = Instructions::available().last().unwrap();
        for columns in COLUMNS {
            for instructions in Instructions::available() {
                let bits = |instructions| {
                    results::<f32>(instructions, columns)
                        .into_iter()
                        .map(f32::to_bits)
                        .collect::<Vec<_>>()
                };
                assert!(
                    bits(instructions) == bits(portable),
                    "f32, {columns} columns, {instructions:?}"
                );
                let bits = |instructions| {
                    results::<f64>(instructions, columns)
                        .into_iter()
                        .map(f64::to_bits)
                        .collect::<Vec<_>>()
                };
                assert!(
                    bits(instructions) == bits(portable),
                    "f64, {columns} columns, {instructions:?}"
                );
            }
        }
    }

    fn matrix(columns: i64, seed: u32) -> Tensor {
        Tensor::from_slice(&numbers::<f64>(3 * columns as usize, seed)).view([3, columns])
    }

    #[test]
    fn the_passes_are_softmax_and_its_gradient() {
        for columns in COLUMNS.map(|columns| columns as i64) {
            let scores = matrix(columns, 1);
            let expected = scores.softmax(-1, Kind::Double);
            let mut weights_ = scores.copy();
            let [largest, sums] = powers(&mut weights_, f64::NEG_INFINITY).unwrap().unwrap();
            assert!(largest.equal(&scores.amax([-1i64].as_slice(), true)));
            assert!((&weights_ / &sums).allclose(&expected, 1e-14, 0.0, false), "{columns}");

            let (mut again, mut copy) = (scores.copy(), scores.empty_like());
            assert!(weights(&mut again, &(sums.log() + largest), &mut copy));
            assert!(again.allclose(&expected, 1e-13, 0.0, false) && again.equal(&copy));

            let (of_dropped, mask) = (matrix(columns, 2), matrix(columns, 3));
            let dropped = &again * &mask;
            let d = &of_dropped * &mask;
            let expected = &again
                * (&d - (&again * &d).sum_dim_intlist([-1i64].as_slice(), true, None::<Kind>));
            let mut found = of_dropped.copy();
            assert!(of_scores(&mut found, &again, &dropped));
            assert!(found.allclose(&expected, 1e-12, 1e-13, false), "{columns}");
        }
    }

    #[test]
    fn columns_outside_of_a_view_stay_as_they_are() {
        let whole = matrix(40, 1);
        let mut view = whole.narrow(1, 3, 33);
        let _ = powers(&mut view, 0.0).unwrap().unwrap();
        let untouched = matrix(40, 1);
        for (start, length) in [(0, 3), (36, 4)] {
            let [found, expected] = [&whole, &untouched].map(|x| x.narrow(1, start, length));
            assert!(found.equal(&expected));
        }
        assert!(!whole.narrow(1, 3, 33).equal(&untouched.narrow(1, 3, 33)));
    }

    #[test]
    fn rows_that_overlap_or_have_gaps_are_left_to_libtorch() {
        let x = matrix(40, 1);
        let others = [
            x.tr(),
            x.narrow(0, 0, 1).expand([3, 40], false),
            x.as_strided([3, 10], [5, 1], 0),
            x.as_strided([3, 10], [40, 2], 0),
            x.narrow(0, 0, 1).squeeze_dim(0),
            x.internal_neg_view(),
            x.to_kind(Kind::Half),
        ];
        for mut other in others {
            assert!(powers(&mut other, 0.0).unwrap().is_none(), "{:?}", other.stride());
        }
        assert!(x.equal(&matrix(40, 1)));
    }
}
