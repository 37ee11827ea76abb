//! What can be written into memory, and how: any part of a sequence of words by itself.

/// An element of a mask: an unsigned integer as wide as the tensor's kind. Every pattern of bits is one.
pub(super) trait Word: Copy + Send + Sync {
    const ZERO: Self;
    /// `value` if `keep`, else zero; without a branch.
    fn select(keep: bool, value: Self) -> Self;
}

macro_rules! words {
    ($($word:ty),*) => {$(
        impl Word for $word {
            const ZERO: Self = 0;
            #[inline(always)]
            fn select(keep: bool, value: Self) -> Self {
                <$word>::from(keep).wrapping_neg() & value
            }
        }
    )*};
}
words!(u8, u16, u32, u64);

/// Something that can write any part of a sequence by itself.
pub(super) trait Fill<W>: Sync {
    /// Parts begin at multiples of this many elements.
    const GRAIN: usize;
    /// Writes the elements from `start` on. Make it `#[inline(always)]`, so that it is compiled for the
    /// instructions of its caller.
    fn fill(&self, start: usize, elements: &mut [W]);
}
