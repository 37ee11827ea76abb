//! Philox4x32-10, the counter-based generator of Salmon et al., "Parallel random numbers: as easy as
//! 1, 2, 3" (SC 2011). It mixes a counter under a key: any part of a stream can be computed by itself, on
//! any thread, and under one key no two counters give the same block.

/// How many counters are mixed side by side, for the compiler to put into vector registers.
pub(crate) const SIDE_BY_SIDE: usize = 16;
/// The 32-bit words that they give.
pub(crate) const WORDS: usize = 4 * SIDE_BY_SIDE;

const MULTIPLIERS: [u64; 2] = [0xD251_1F53, 0xCD9E_8D57];
const KEY_STEPS: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: usize = 10;
const LOW_WORD: u64 = 0xFFFF_FFFF;

/// The words of `SIDE_BY_SIDE` consecutive counters, beginning with the one whose low half is `low`: the
/// first word of each, then the second of each, and so on.
///
/// A 32-bit word lives in a 64-bit lane here, because a vector multiplication of 32 by 32 bits gives 64.
/// The upper half of a lane is undefined until a use masks it off.
#[inline(always)]
pub(crate) fn words(key: u64, high: u64, low: u64) -> [u32; WORDS] {
    let mut key = [key as u32, (key >> 32) as u32];
    let [mut c0, mut c1] = [[0; SIDE_BY_SIDE]; 2];
    let [mut c2, mut c3] = [[high; SIDE_BY_SIDE], [high >> 32; SIDE_BY_SIDE]];
    // `while`, here and in src/cpu: in a build without optimization, each step of a `for` is several calls.
    let mut i = 0;
    while i < SIDE_BY_SIDE {
        let low = low.wrapping_add(i as u64);
        (c0[i], c1[i]) = (low, low >> 32);
        i += 1;
    }
    for _ in 0..ROUNDS {
        let mut i = 0;
        while i < SIDE_BY_SIDE {
            let product0 = (c0[i] & LOW_WORD) * MULTIPLIERS[0];
            let product1 = (c2[i] & LOW_WORD) * MULTIPLIERS[1];
            c0[i] = (product1 >> 32) ^ c1[i] ^ u64::from(key[0]);
            c1[i] = product1;
            c2[i] = (product0 >> 32) ^ c3[i] ^ u64::from(key[1]);
            c3[i] = product0;
            i += 1;
        }
        key = [key[0].wrapping_add(KEY_STEPS[0]), key[1].wrapping_add(KEY_STEPS[1])];
    }
    let mut words = [0; WORDS];
    let mut i = 0;
    while i < SIDE_BY_SIDE {
        words[i] = c0[i] as u32;
        words[i + SIDE_BY_SIDE] = c1[i] as u32;
        words[i + 2 * SIDE_BY_SIDE] = c2[i] as u32;
        words[i + 3 * SIDE_BY_SIDE] = c3[i] as u32;
        i += 1;
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    fn block(key: u64, high: u64, low: u64, i: usize) -> [u32; 4] {
        let words = words(key, high, low);
        [0, 1, 2, 3].map(|word| words[word * SIDE_BY_SIDE + i])
    }

    /// The known answers that the authors publish with Random123 (kat_vectors, philox4x32 10).
    #[test]
    fn known_answers() {
        let first = |key, high, low| block(key, high, low, 0);
        assert_eq!(first(0, 0, 0), [0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8]);
        let ones = u64::MAX;
        assert_eq!(first(ones, ones, ones), [0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd]);
        assert_eq!(
            first(0x299f31d0_a4093822, 0x03707344_13198a2e, 0x85a308d3_243f6a88),
            [0xd16cfe09, 0x94fdcceb, 0x5001e420, 0x24126ea1]
        );
    }

    #[test]
    fn lanes_are_consecutive_counters_across_the_32_bit_boundary() {
        let low = u64::from(u32::MAX) - 5;
        for i in 0..SIDE_BY_SIDE {
            assert_eq!(block(1, 2, low, i), block(1, 2, low + i as u64, 0));
        }
    }
}
