//! What is written for kept and dropped elements: a mask, a product, or a product and a sum.

use super::bernoulli::Keep;
use super::number::{Number, Word};
use crate::rng::philox::WORDS;

/// Something that can write any tile of a sequence by itself.
///
/// Implementations are `#[inline(always)]`, so that they are compiled for the instruction set of their
/// caller.
pub(super) trait Fill: Sync {
    type Element: Copy + Send;
    /// Writes the tile that begins at element `start`; the last one of a sequence may be shorter.
    fn tile(&self, keep: &Keep, start: usize, out: &mut [Self::Element]);
}

/// The mask itself: the keep value, or zero.
pub(super) struct Mask<W> {
    pub(super) keep_value: W,
}

impl<W: Word> Fill for Mask<W> {
    type Element = W;

    #[inline(always)]
    fn tile(&self, keep: &Keep, _start: usize, out: &mut [W]) {
        let (rows, rest) = out.as_chunks_mut::<WORDS>();
        let last = rows.len();
        let row = |j: usize, row: &mut [W]| {
            for (out, keep) in row.iter_mut().zip(keep) {
                *out = W::select(keep >> j & 1, self.keep_value);
            }
        };
        rows.iter_mut().enumerate().for_each(|(j, out)| row(j, out));
        row(last % 32, rest);
    }
}

/// `x` times the mask.
pub(super) struct Product<'a, T: Number> {
    pub(super) x: &'a [T],
    pub(super) keep_value: T::Wide,
}

impl<T: Number> Fill for Product<'_, T> {
    type Element = T;

    #[inline(always)]
    fn tile(&self, keep: &Keep, start: usize, out: &mut [T]) {
        let x = &self.x[start..start + out.len()];
        let ((rows, rest), (x_rows, x_rest)) =
            (out.as_chunks_mut::<WORDS>(), x.as_chunks::<WORDS>());
        let last = rows.len();
        let row = |j: usize, row: &mut [T], x: &[T]| {
            for ((out, &x), keep) in row.iter_mut().zip(x).zip(keep) {
                *out = T::round(x.widen() * T::Wide::select(keep >> j & 1, self.keep_value));
            }
        };
        rows.iter_mut().zip(x_rows).enumerate().for_each(|(j, (out, x))| row(j, out, x));
        row(last % 32, rest, x_rest);
    }
}

/// `residual` plus `x` times the mask.
pub(super) struct Sum<'a, T: Number> {
    pub(super) product: Product<'a, T>,
    pub(super) residual: &'a [T],
}

impl<T: Number> Fill for Sum<'_, T> {
    type Element = T;

    #[inline(always)]
    fn tile(&self, keep: &Keep, start: usize, out: &mut [T]) {
        self.product.tile(keep, start, out);
        let residual = &self.residual[start..start + out.len()];
        for (out, &residual) in out.iter_mut().zip(residual) {
            *out = T::round(residual.widen() + out.widen());
        }
    }
}
