//! What is written for an element, given what was drawn for it: a mask, a product, or a product and a sum.

use std::marker::PhantomData;

use super::bernoulli::{Bernoulli, Keep};
use super::normal::Normal;
use super::number::{Number, Word};
use super::source::Source;
use crate::rng::counter::TILE;
use crate::rng::philox::WORDS;

/// Something that can write any tile of a sequence by itself.
///
/// Implementations are `#[inline(always)]`, so that they are compiled for the instruction set of their
/// caller.
pub(super) trait Fill<S: Source>: Sync {
    type Element: Copy + Send;
    /// Writes the tile that begins at element `start`; the last one of a sequence may be shorter.
    fn tile(&self, drawn: &S::Tile, start: usize, out: &mut [Self::Element]);
}

/// The mask itself: the keep value, or zero.
pub(super) struct Mask<W> {
    pub(super) keep_value: W,
}

impl<W: Word> Fill<Bernoulli> for Mask<W> {
    type Element = W;

    #[inline(always)]
    fn tile(&self, keep: &Keep, _start: usize, out: &mut [W]) {
        let (rows, rest) = out.as_chunks_mut::<WORDS>();
        let last = rows.len();
        let row = |j: usize, row: &mut [W]| {
            let mut l = 0;
            while l < row.len() {
                row[l] = W::select(keep[l] >> j & 1, self.keep_value);
                l += 1;
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

impl<T: Number> Fill<Bernoulli> for Product<'_, T> {
    type Element = T;

    #[inline(always)]
    fn tile(&self, keep: &Keep, start: usize, out: &mut [T]) {
        let x = &self.x[start..start + out.len()];
        let ((rows, rest), (x_rows, x_rest)) =
            (out.as_chunks_mut::<WORDS>(), x.as_chunks::<WORDS>());
        let last = rows.len();
        let row = |j: usize, row: &mut [T], x: &[T]| {
            let mut l = 0;
            while l < row.len() {
                row[l] =
                    T::round(x[l].widen() * T::Wide::select(keep[l] >> j & 1, self.keep_value));
                l += 1;
            }
        };
        rows.iter_mut().zip(x_rows).enumerate().for_each(|(j, (out, x))| row(j, out, x));
        row(last % 32, rest, x_rest);
    }
}

/// What is there already, times the mask.
#[cfg(recompute)]
pub(super) struct InPlace<T: Number> {
    pub(super) keep_value: T::Wide,
}

#[cfg(recompute)]
impl<T: Number> Fill<Bernoulli> for InPlace<T> {
    type Element = T;

    #[inline(always)]
    fn tile(&self, keep: &Keep, _start: usize, out: &mut [T]) {
        let (rows, rest) = out.as_chunks_mut::<WORDS>();
        let last = rows.len();
        let row = |j: usize, row: &mut [T]| {
            for (out, keep) in row.iter_mut().zip(keep) {
                *out = T::round(out.widen() * T::Wide::select(keep >> j & 1, self.keep_value));
            }
        };
        rows.iter_mut().enumerate().for_each(|(j, out)| row(j, out));
        row(last % 32, rest);
    }
}

/// A number for kept elements and one for dropped ones, added to what `product` writes.
pub(super) struct Shift<'a, T: Number> {
    pub(super) product: Product<'a, T>,
    pub(super) shift_kept: T::Wide,
    pub(super) shift_dropped: T::Wide,
}

impl<T: Number> Fill<Bernoulli> for Shift<'_, T> {
    type Element = T;

    #[inline(always)]
    fn tile(&self, keep: &Keep, start: usize, out: &mut [T]) {
        self.product.tile(keep, start, out);
        for (j, row) in out.chunks_mut(WORDS).enumerate() {
            let (keep, mut l) = (&keep[..row.len()], 0);
            while l < row.len() {
                let keep = keep[l] >> j & 1;
                let shift = T::Wide::select(keep, self.shift_kept)
                    + T::Wide::select(1 - keep, self.shift_dropped);
                row[l] = T::round(row[l].widen() + shift);
                l += 1;
            }
        }
    }
}

/// The normal numbers themselves, as a mask.
pub(super) struct Factors<T>(pub(super) PhantomData<T>);

impl<T: Number> Fill<Normal> for Factors<T> {
    type Element = T;

    #[inline(always)]
    fn tile(&self, factors: &[f32; TILE], _start: usize, out: &mut [T]) {
        let factors = &factors[..out.len()];
        let mut e = 0;
        while e < out.len() {
            out[e] = T::round(factors[e].into());
            e += 1;
        }
    }
}

/// `x` times the normal numbers, each rounded as if it were stored.
pub(super) struct Scaled<'a, T: Number> {
    pub(super) x: &'a [T],
}

impl<T: Number> Fill<Normal> for Scaled<'_, T> {
    type Element = T;

    #[inline(always)]
    fn tile(&self, factors: &[f32; TILE], start: usize, out: &mut [T]) {
        let (x, factors) = (&self.x[start..start + out.len()], &factors[..out.len()]);
        let mut e = 0;
        while e < out.len() {
            out[e] = T::round(x[e].widen() * T::round(factors[e].into()).widen());
            e += 1;
        }
    }
}

/// `residual` plus what `product` writes.
pub(super) struct Sum<'a, F, T> {
    pub(super) product: F,
    pub(super) residual: &'a [T],
}

impl<S: Source, T: Number, F: Fill<S, Element = T>> Fill<S> for Sum<'_, F, T> {
    type Element = T;

    #[inline(always)]
    fn tile(&self, drawn: &S::Tile, start: usize, out: &mut [T]) {
        self.product.tile(drawn, start, out);
        let residual = &self.residual[start..start + out.len()];
        let mut e = 0;
        while e < out.len() {
            out[e] = T::round(residual[e].widen() + out[e].widen());
            e += 1;
        }
    }
}
