use tch::{Device, Kind, Tensor};

use crate::error::Result;

/// What [`monte_carlo`](crate::monte_carlo) finds for `N` rows and `K` classes, in f64 on the input's
/// device (f32 on MPS, which has no f64). Probabilities are softmaxes of logits; logarithms are natural.
///
/// ```
/// use tch::{Device, Kind, Tensor};
/// use tch_dropout::{monte_carlo, NoiseShape, TrueDropout};
///
/// let layer = TrueDropout::new(0.5)?.noise_shape(NoiseShape::Elements);
/// let x = Tensor::randn([4, 3], (Kind::Float, Device::Cpu));
/// let prediction = monte_carlo(|x, train| layer.f_forward_t(x, train).unwrap(), &x, 100)?;
/// let classes = prediction.mean.argmax(-1, false);
/// let deviation = prediction.variance.sqrt();
/// assert_eq!((classes.size(), deviation.size()), (vec![4], vec![4, 3]));
/// # Ok::<(), tch_dropout::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Prediction {
    /// The mean of the probabilities over the passes, `[N, K]`: what to predict with.
    pub mean: Tensor,
    /// The predictive entropy, `[N]`: the entropy of the mean, from 0 to `ln K`. All uncertainty, whether
    /// the data or the model is to blame.
    pub entropy: Tensor,
    /// The mutual information of class and weights, `[N]`: the entropy of the mean less the mean of the
    /// passes' entropies (Houlsby et al. 2011). The model's share of the uncertainty: high where each
    /// pass is sure, but of something else. Never below 0, as it is in truth: rounding that would
    /// take it there is cut off.
    pub mutual_information: Tensor,
    /// The variance of each probability over the passes, `[N, K]`: the mean of the squared deviations
    /// (divided by the passes, not by one less).
    pub variance: Tensor,
    /// How many passes there were.
    pub passes: i64,
}

impl Prediction {
    /// One for the rows of all, which have the same number of passes.
    pub(crate) fn of_all(parts: Vec<Prediction>) -> Result<Prediction> {
        let all = |field: fn(&Prediction) -> &Tensor| {
            Tensor::f_cat(&parts.iter().map(field).collect::<Vec<_>>(), 0)
        };
        Ok(Prediction {
            mean: all(|part| &part.mean)?,
            entropy: all(|part| &part.entropy)?,
            mutual_information: all(|part| &part.mutual_information)?,
            variance: all(|part| &part.variance)?,
            passes: parts.first().map_or(0, |part| part.passes),
        })
    }
}

/// Logits at hand before they become moments. Many at once cost next to nothing for each pass, and
/// their limit keeps the memory from growing with the passes.
const ENOUGH: usize = 1 << 18;

/// Takes logits pass by pass.
pub(crate) struct Accumulator {
    /// The rows of a pass, `N`.
    rows: i64,
    /// Each `[passes * N, K]`.
    pending: Vec<Tensor>,
    pending_entries: usize,
    moments: Option<Moments>,
}

impl Accumulator {
    pub(crate) fn new(rows: i64) -> Self {
        Accumulator { rows, pending: Vec::new(), pending_entries: 0, moments: None }
    }

    /// Adds the logits `[passes * N, K]` of some passes, one after the other.
    pub(crate) fn push(&mut self, logits: Tensor) -> Result<()> {
        self.pending_entries += logits.numel();
        self.pending.push(logits);
        if self.pending_entries >= ENOUGH {
            self.moments = self.merged()?;
        }
        Ok(())
    }

    /// The moments of all that was pushed; nothing is pending afterwards.
    fn merged(&mut self) -> Result<Option<Moments>> {
        let before = self.moments.take();
        if self.pending.is_empty() {
            return Ok(before);
        }
        let logits = Tensor::f_cat(&self.pending, 0)?;
        let classes = logits.size()[1];
        let moments = Moments::of(&logits.f_reshape([-1, self.rows, classes])?)?;
        self.pending.clear();
        self.pending_entries = 0;
        Ok(Some(match before {
            Some(before) => before.merge(moments)?,
            None => moments,
        }))
    }

    /// What was found. At least one pass must have been pushed.
    pub(crate) fn finish(mut self) -> Result<Prediction> {
        let Moments { passes, mean, squares, entropies } =
            self.merged()?.expect("there is at least one pass");
        let entropy = entropy(&mean, &[-1])?;
        let mutual_information = (&entropy - entropies / passes as f64).clamp_min(0.0);
        let variance = squares / passes as f64;
        Ok(Prediction { mean, entropy, mutual_information, variance, passes })
    }
}

/// Sums over passes, with which more can be merged.
struct Moments {
    passes: i64,
    /// Of the probabilities.
    mean: Tensor,
    /// The sum of squared deviations from the mean.
    squares: Tensor,
    /// The sum of the passes' entropies.
    entropies: Tensor,
}

impl Moments {
    fn of(logits: &Tensor) -> Result<Moments> {
        let kind = if logits.device() == Device::Mps { Kind::Float } else { Kind::Double };
        let probabilities = logits.f_softmax(-1, kind)?;
        let mean = probabilities.f_mean_dim([0i64].as_slice(), false, None)?;
        let squares = probabilities.f_sub(&mean)?.f_square()?.f_sum_dim_intlist(0, false, None)?;
        let entropies = entropy(&probabilities, &[0, -1])?;
        Ok(Moments { passes: logits.size()[0], mean, squares, entropies })
    }

    /// Chan et al. 1979: no difference of large sums, which would lose a small variance.
    fn merge(self, other: Moments) -> Result<Moments> {
        let passes = self.passes + other.passes;
        let share = other.passes as f64 / passes as f64;
        let step = other.mean.f_sub(&self.mean)?;
        Ok(Moments {
            passes,
            mean: self.mean + &step * share,
            squares: self.squares + other.squares + step.square() * (self.passes as f64 * share),
            entropies: self.entropies + other.entropies,
        })
    }
}

/// `-p ln p`, 0 for `p = 0`, summed over the classes, and over passes too if so named.
fn entropy(probabilities: &Tensor, dimensions: &[i64]) -> Result<Tensor> {
    Ok(probabilities.f_special_entr()?.f_sum_dim_intlist(dimensions, false, None)?)
}
