//! A probability that has been checked.

use std::sync::atomic::{AtomicU64, Ordering};

use crate::error::{Error, Result};

/// A probability of dropping an element, checked once, when it is made.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Probability(f64);

impl Probability {
    pub(crate) const ZERO: Probability = Probability(0.0);

    pub(crate) fn new(p: f64) -> Result<Self> {
        if (0.0..=1.0).contains(&p) { Ok(Probability(p)) } else { Err(Error::Probability(p)) }
    }

    pub(crate) fn get(self) -> f64 {
        self.0
    }

    pub(crate) fn is_zero(self) -> bool {
        self.0 == 0.0
    }

    /// What inverted dropout multiplies kept elements by, to keep the mean: `1 / (1 - p)`.
    ///
    /// 0 for `p = 1`: nothing is kept there, and 0 times infinity would be NaN.
    pub(crate) fn scale(self) -> f64 {
        if self.0 == 1.0 { 0.0 } else { 1.0 / (1.0 - self.0) }
    }

    /// `p` in units of 2⁻⁶⁴: an element is dropped if its 64 random bits are below this number.
    ///
    /// Exact from `p = 2⁻¹²` on, and within 2⁻⁶⁵ below that. `None` stands for `p = 1`, which needs a
    /// 65th bit.
    pub(crate) fn threshold(self) -> Option<u64> {
        const TWO_TO_64: f64 = 18_446_744_073_709_551_616.0;
        (self.0 < 1.0).then(|| (self.0 * TWO_TO_64).round() as u64)
    }
}

/// A probability that a schedule may change while other threads read it.
#[derive(Debug)]
pub(crate) struct AtomicProbability(AtomicU64);

impl AtomicProbability {
    pub(crate) fn new(p: Probability) -> Self {
        AtomicProbability(AtomicU64::new(p.0.to_bits()))
    }

    /// Relaxed order is enough: `p` guards no other memory.
    pub(crate) fn load(&self) -> Probability {
        Probability(f64::from_bits(self.0.load(Ordering::Relaxed)))
    }

    pub(crate) fn store(&self, p: Probability) {
        self.0.store(p.0.to_bits(), Ordering::Relaxed);
    }
}

impl Clone for AtomicProbability {
    fn clone(&self) -> Self {
        AtomicProbability::new(self.load())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_outside_the_unit_interval_is_refused() {
        for (p, text) in [
            (-1e-300, "-1e-300"),
            (1.0 + f64::EPSILON, "1.0000000000000002"),
            (f64::NAN, "NaN"),
            (f64::INFINITY, "inf"),
            (f64::NEG_INFINITY, "-inf"),
        ] {
            let error = Probability::new(p).unwrap_err().to_string();
            assert_eq!(error, format!("p must be a probability in [0, 1], got {text}"));
        }
        for p in [0.0, -0.0, f64::from_bits(1), 0.5, 1.0 - f64::EPSILON, 1.0] {
            assert_eq!(Probability::new(p).unwrap().get(), p);
        }
    }

    #[test]
    fn thresholds_are_p_in_units_of_two_to_the_minus_64() {
        let threshold = |p| Probability::new(p).unwrap().threshold();
        assert_eq!(threshold(0.0), Some(0));
        assert_eq!(threshold(f64::from_bits(1)), Some(0));
        assert_eq!(threshold(2f64.powi(-64)), Some(1));
        assert_eq!(threshold(0.75 * 2f64.powi(-64)), Some(1));
        assert_eq!(threshold(0.25 * 2f64.powi(-64)), Some(0));
        assert_eq!(threshold(0.5), Some(1 << 63));
        assert_eq!(threshold(1.0 - f64::EPSILON / 2.0), Some(u64::MAX - (1 << 11) + 1));
        assert_eq!(threshold(1.0), None);
    }
}
