use crate::error::{Error, Result};

/// A probability of dropping an entry, checked once so that no layer has to ask again.
///
/// ```
/// # use tch_dropout::Probability;
/// let p = Probability::new(0.2)?;
/// assert_eq!(p.get(), 0.2);
/// assert_eq!(p.scale(), 1.25);
/// assert!(Probability::new(f64::NAN).is_err());
/// # Ok::<(), tch_dropout::Error>(())
/// ```
#[derive(Clone, Copy, Debug, PartialEq, PartialOrd)]
pub struct Probability(f64);

impl Probability {
    /// Checks that `p` is in `[0, 1]`.
    ///
    /// ```
    /// # use tch_dropout::Probability;
    /// let error = Probability::new(1.5).unwrap_err().to_string();
    /// assert_eq!(error, "p must be a probability in [0, 1], got 1.5");
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Probability`] if it is not, or is not a number.
    pub fn new(p: f64) -> Result<Self> {
        if (0.0..=1.0).contains(&p) {
            Ok(Probability(p))
        } else {
            Err(Error::Probability(p))
        }
    }

    /// The probability itself.
    ///
    /// ```
    /// # use tch_dropout::Probability;
    /// assert_eq!(Probability::new(0.2)?.get(), 0.2);
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    pub fn get(self) -> f64 {
        self.0
    }

    /// `1 / (1 - p)`: what inverted dropout multiplies the kept entries with, so that the mean stays
    /// as it was. Infinite for `p = 1`, where nothing is kept.
    ///
    /// ```
    /// # use tch_dropout::Probability;
    /// assert_eq!(Probability::new(0.75)?.scale(), 4.0);
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    pub fn scale(self) -> f64 {
        1.0 / (1.0 - self.0)
    }

    /// `p` in units of 2⁻⁶⁴: an entry is dropped if its 64 random bits are below this number.
    ///
    /// Exact for `p` of 2⁻¹² and above; closer than 2⁻⁶⁴ below. `None` stands for `p = 1`, which
    /// would need a 65th bit.
    pub(crate) fn threshold(self) -> Option<u64> {
        const TWO_TO_64: f64 = 18_446_744_073_709_551_616.0;
        (self.0 < 1.0).then(|| (self.0 * TWO_TO_64).round() as u64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_outside_the_unit_interval_is_refused() {
        for p in [-1e-300, 1.0 + f64::EPSILON, f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
            let error = Probability::new(p).unwrap_err().to_string();
            assert_eq!(error, format!("p must be a probability in [0, 1], got {p}"));
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
        assert_eq!(threshold(0.5), Some(1 << 63));
        assert_eq!(threshold(1.0 - f64::EPSILON / 2.0), Some(u64::MAX - (1 << 11) + 1));
        assert_eq!(threshold(1.0), None);
    }
}
