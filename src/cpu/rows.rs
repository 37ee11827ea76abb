//! A matrix's rows as slices.
#![allow(unsafe_code, reason = "tch hands out a tensor's memory as a raw pointer")]

use tch::{Device, Tensor};

use super::memory::Element;

/// The rows of a matrix, if it is on the CPU and of this kind, and each of its rows lies in one piece, apart from the
/// others.
pub(super) fn rows_of<'a, T: Element + 'a>(x: &'a Tensor) -> Option<impl Iterator<Item = &'a [T]>> {
    let Rows { first, rows, stride, columns } = Rows::<T>::of(x)?;
    let row = move |row| {
        // SAFETY: as many elements as the matrix has columns, side by side (checked above) in its memory, which it keeps
        // while it is borrowed. That nobody writes to an input meanwhile is the rule for libtorch's own operations too.
        unsafe { std::slice::from_raw_parts(first.wrapping_add(row * stride), columns) }
    };
    Some((0..rows).map(row))
}

/// The same, to be written over.
pub(super) fn rows_of_mut<'a, T: Element + 'a>(
    x: &'a mut Tensor,
) -> Option<impl Iterator<Item = &'a mut [T]>> {
    let Rows { first, rows, stride, columns } = Rows::<T>::of(x)?;
    let row = move |row| {
        // SAFETY: as many elements as the matrix has columns, side by side in its memory, which it keeps while it is
        // borrowed; no two rows overlap (checked above), and each is handed out once. That nobody uses another view of
        // them meanwhile is the rule for libtorch's own operations in place, too.
        unsafe { std::slice::from_raw_parts_mut(first.wrapping_add(row * stride), columns) }
    };
    Some((0..rows).map(row))
}

/// Where the rows of a matrix are.
struct Rows<T> {
    first: *mut T,
    rows: usize,
    /// From one row to the next, at least as much as there are columns.
    stride: usize,
    columns: usize,
}

impl<T: Element> Rows<T> {
    fn of(x: &Tensor) -> Option<Self> {
        let (size, strides) = (x.size(), x.stride());
        let (&[rows, columns], &[stride, step]) = (&size[..], &strides[..]) else { return None };
        let first = x.data_ptr().cast::<T>();
        let fits = x.device() == Device::Cpu
            && x.kind() == T::KIND
            && !x.is_neg()
            && (step == 1 || columns == 1)
            && (stride >= columns || rows == 1)
            && !first.is_null()
            && first.is_aligned();
        let [rows, stride, columns] = [rows, stride, columns].map(|n| n as usize);
        fits.then_some(Rows { first, rows, stride, columns })
    }
}
