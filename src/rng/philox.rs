//! Philox4x32-10, the counter-based generator of Salmon et al., "Parallel random numbers: as easy as
//! 1, 2, 3" (SC 2011). It is a keyed mixing of a counter: any part of a stream can be computed by
//! itself, on any thread, and under one key no two counters have the same numbers.

/// How many counters are mixed side by side, for the compiler to put into vector registers.
pub(crate) const SIDE_BY_SIDE: usize = 16;

const MULTIPLIERS: [u64; 2] = [0xD251_1F53, 0xCD9E_8D57];
const KEY_STEPS: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;
const LOW_WORD: u64 = 0xFFFF_FFFF;

/// The words of `SIDE_BY_SIDE` consecutive counters, beginning with the one whose low half is `low`.
///
/// Output `[i]` belongs to counter `low + i` and has the generator's four 32-bit words, the first
/// two in the first number, low word first.
///
/// A 32-bit word lives in a 64-bit lane here, because a vector multiplication of 32 by 32 bits
/// leaves 64. What stands above the word is rubbish that each use masks off.
#[inline(always)]
pub(crate) fn blocks(key: u64, high: u64, low: u64) -> [[u64; 2]; SIDE_BY_SIDE] {
    let mut blocks = [[0; 2]; SIDE_BY_SIDE];
    for (block, i) in blocks.iter_mut().zip(0..) {
        *block = self::block(key, high, low.wrapping_add(i));
    }
    blocks
}

/// The words of one counter.
#[inline(always)]
pub(crate) fn block(key: u64, high: u64, low: u64) -> [u64; 2] {
    let mut c = [low, low >> 32, high, high >> 32];
    let mut key = [key as u32, (key >> 32) as u32];
    for _ in 0..ROUNDS {
        let product0 = (c[0] & LOW_WORD) * MULTIPLIERS[0];
        let product1 = (c[2] & LOW_WORD) * MULTIPLIERS[1];
        c = [
            (product1 >> 32) ^ c[1] ^ u64::from(key[0]),
            product1,
            (product0 >> 32) ^ c[3] ^ u64::from(key[1]),
            product0,
        ];
        key = [key[0].wrapping_add(KEY_STEPS[0]), key[1].wrapping_add(KEY_STEPS[1])];
    }
    [(c[0] & LOW_WORD) | c[1] << 32, (c[2] & LOW_WORD) | c[3] << 32]
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The known answers that the authors publish with Random123 (kat_vectors, philox4x32 10).
    #[test]
    fn known_answers() {
        let first = |key, high, low| blocks(key, high, low)[0];
        assert_eq!(first(0, 0, 0), [0xe169c58d_6627e8d5, 0x9b00dbd8_bc57ac4c]);
        assert_eq!(first(u64::MAX, u64::MAX, u64::MAX), [0x41c83b0e_408f276d, 0x6d5451fd_a20bc7c6]);
        assert_eq!(
            first(0x299f31d0_a4093822, 0x03707344_13198a2e, 0x85a308d3_243f6a88),
            [0x94fdcceb_d16cfe09, 0x24126ea1_5001e420]
        );
    }

    #[test]
    fn lanes_are_consecutive_counters_across_the_32_bit_boundary() {
        let low = u64::from(u32::MAX) - 5;
        let together = blocks(1, 2, low);
        for (i, block) in together.iter().enumerate() {
            assert_eq!(*block, blocks(1, 2, low + i as u64)[0]);
        }
    }
}
