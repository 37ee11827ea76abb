//! What many passes of a model add up to.

use tch::{Device, Kind, Tensor};

use crate::error::Result;

/// What [`monte_carlo`](crate::monte_carlo) finds for `N` rows and `K` classes, in f64 on the input's
/// device (f32 on MPS, which has no f64). Probabilities are softmaxes of logits, or the model's own; logarithms are
/// natural. Classes are in dimension 1, or in [the one that you name](crate::MonteCarlo::class_dim).
///
/// A clone shares the tensors' memory.
///
/// ```
/// use tch::{Device, Kind, Tensor};
/// use tch_dropout::{monte_carlo, TrueDropout};
///
/// let layer = TrueDropout::elements(0.5)?;
/// let x = Tensor::randn([4, 3], (Kind::Float, Device::Cpu));
/// let prediction = monte_carlo(|x, train| layer.f_forward_t(x, train).unwrap(), &x, 100)?;
/// let classes = prediction.mean.argmax(1, false);
/// let deviation = prediction.variance.sqrt();
/// assert_eq!((classes.size(), deviation.size()), (vec![4], vec![4, 3]));
/// # Ok::<(), tch_dropout::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Prediction {
    /// The mean of the probabilities over the passes, `[N, K, ...]`: what to predict with.
    pub mean: Tensor,
    /// The predictive entropy, `[N, ...]`: the entropy of the mean, from 0 to `ln K`. This is the total
    /// uncertainty, of the data and of the model.
    pub entropy: Tensor,
    /// The mutual information of class and weights, `[N, ...]`: the entropy of the mean minus the mean of the
    /// passes' entropies (Houlsby et al. 2011). This is the model's share of the uncertainty: high where each
    /// pass is confident, but the passes disagree. Never negative: rounding errors below 0 are set to 0.
    pub mutual_information: Tensor,
    /// The variance of each probability over the passes, `[N, K, ...]`: the mean squared deviation
    /// (divided by the number of passes, not by one less).
    pub variance: Tensor,
    /// How many passes there were.
    pub passes: i64,
}

/// What [`MonteCarlo::regress`](crate::MonteCarlo::regress) finds, in f64 on the input's device (f32 on MPS).
///
/// A clone shares the tensors' memory.
///
/// ```
/// use tch::{Device, Kind, Tensor};
/// use tch_dropout::{MonteCarlo, TrueDropout};
///
/// let layer = TrueDropout::elements(0.1)?;
/// let x = Tensor::ones([4, 1], (Kind::Float, Device::Cpu));
/// let model = |x: &Tensor, train| layer.f_forward_t(x, train).unwrap();
/// let regression = MonteCarlo::new(100)?.regress(model, &x)?;
/// let (mean, deviation) = (regression.mean, regression.variance.sqrt());
/// assert_eq!((mean.size(), deviation.size()), (vec![4, 1], vec![4, 1]));
/// # Ok::<(), tch_dropout::Error>(())
/// ```
#[derive(Debug)]
#[non_exhaustive]
pub struct Regression {
    /// The mean of the outputs over the passes, of the output's shape: what to predict with.
    pub mean: Tensor,
    /// The variance of each output over the passes: the model's share of the uncertainty. (Divided by the
    /// number of passes, not by one less; the noise of the data comes on top.)
    pub variance: Tensor,
    /// How many passes there were.
    pub passes: i64,
}

impl Clone for Prediction {
    fn clone(&self) -> Self {
        Prediction {
            mean: self.mean.shallow_clone(),
            entropy: self.entropy.shallow_clone(),
            mutual_information: self.mutual_information.shallow_clone(),
            variance: self.variance.shallow_clone(),
            passes: self.passes,
        }
    }
}

impl Clone for Regression {
    fn clone(&self) -> Self {
        Regression {
            mean: self.mean.shallow_clone(),
            variance: self.variance.shallow_clone(),
            passes: self.passes,
        }
    }
}

/// Outputs are gathered up to this many elements before they become moments: many at once cost hardly more
/// than one, and the limit keeps memory from growing with the number of passes.
const GATHERED_ELEMENTS: usize = 1 << 18;

/// What a model returns. Classes are in dimension `dim`.
#[derive(Clone, Copy)]
pub(super) enum Output {
    /// They go through a softmax.
    Logits {
        dim: i64,
    },
    Probabilities {
        dim: i64,
    },
    Values,
}

impl Output {
    /// The dimension of the classes, as it was given.
    pub(super) fn class_dim(self) -> Option<i64> {
        match self {
            Output::Logits { dim } | Output::Probabilities { dim } => Some(dim),
            Output::Values => None,
        }
    }

    /// The same for an output of this rank, counted from the end: further dimensions may come before it.
    fn classes_from_end(self, rank: usize) -> Option<i64> {
        self.class_dim().map(|dim| if dim < 0 { dim } else { dim - rank as i64 })
    }
}

/// Adds up outputs pass by pass.
pub(super) struct Accumulator {
    output: Output,
    /// The rows of a pass, `N`.
    rows: i64,
    /// Each `[passes * N, ...]`.
    gathered: Vec<Tensor>,
    gathered_elements: usize,
    moments: Option<Moments>,
}

impl Accumulator {
    pub(super) fn new(rows: i64, output: Output) -> Self {
        Accumulator { output, rows, gathered: Vec::new(), gathered_elements: 0, moments: None }
    }

    /// Adds the outputs `[passes * N, ...]` of some passes, one after the other.
    pub(super) fn push(&mut self, outputs: Tensor) -> Result<()> {
        self.gathered_elements += outputs.numel();
        self.gathered.push(outputs);
        if self.gathered_elements >= GATHERED_ELEMENTS {
            self.moments = self.merged()?;
        }
        Ok(())
    }

    /// The moments of everything pushed so far; nothing stays gathered.
    fn merged(&mut self) -> Result<Option<Moments>> {
        let before = self.moments.take();
        if self.gathered.is_empty() {
            return Ok(before);
        }
        let outputs = Tensor::f_cat(&self.gathered, 0)?;
        self.gathered.clear();
        self.gathered_elements = 0;
        let size = [&[-1, self.rows], &outputs.size()[1..]].concat();
        let moments = Moments::of(&outputs.f_reshape(size)?, self.output)?;
        Ok(Some(match before {
            Some(before) => before.merge(moments)?,
            None => moments,
        }))
    }

    /// The moments of all passes. At least one must have been pushed.
    pub(super) fn finish(mut self) -> Result<Moments> {
        Ok(self.merged()?.expect("there is at least one pass"))
    }
}

/// Sums over passes, into which more can be merged.
pub(super) struct Moments {
    passes: i64,
    mean: Tensor,
    /// The sum of squared deviations from the mean.
    squares: Tensor,
    /// Of a classification.
    classes: Option<Classes>,
}

struct Classes {
    /// The dimension of the classes, counted from the end.
    dim: i64,
    /// The sum of the passes' entropies.
    entropies: Tensor,
}

impl Moments {
    /// Of outputs `[passes, N, ...]`.
    fn of(outputs: &Tensor, output: Output) -> Result<Moments> {
        let kind = if outputs.device() == Device::Mps { Kind::Float } else { Kind::Double };
        let dim = output.classes_from_end(outputs.dim() - 1);
        let values = match (output, dim) {
            (Output::Logits { .. }, Some(dim)) => outputs.f_softmax(dim, kind)?,
            _ => outputs.f_to_kind(kind)?,
        };
        let mean = values.f_mean_dim([0i64].as_slice(), false, None)?;
        let squares = values.f_sub(&mean)?.f_square()?.f_sum_dim_intlist(0, false, None)?;
        let entropies = dim.map(|dim| entropy(&values, &[0, dim])).transpose()?;
        let classes = dim.zip(entropies).map(|(dim, entropies)| Classes { dim, entropies });
        Ok(Moments { passes: outputs.size()[0], mean, squares, classes })
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
            classes: self
                .classes
                .zip(other.classes)
                .map(|(a, b)| Classes { entropies: a.entropies + b.entropies, ..a }),
        })
    }

    /// The moments of several batches, which must have had the same number of passes.
    pub(super) fn concat(batches: &[Moments]) -> Result<Moments> {
        let all = |field: fn(&Moments) -> Option<&Tensor>| {
            Tensor::f_cat(&batches.iter().filter_map(field).collect::<Vec<_>>(), 0)
        };
        let entropies = || all(|batch| batch.classes.as_ref().map(|classes| &classes.entropies));
        let dim = batches.iter().find_map(|batch| Some(batch.classes.as_ref()?.dim));
        Ok(Moments {
            passes: batches.first().map_or(0, |batch| batch.passes),
            mean: all(|batch| Some(&batch.mean))?,
            squares: all(|batch| Some(&batch.squares))?,
            classes: match dim {
                Some(dim) => Some(Classes { dim, entropies: entropies()? }),
                None => None,
            },
        })
    }

    pub(super) fn into_prediction(self) -> Result<Prediction> {
        let Moments { passes, mean, squares, classes } = self;
        let Classes { dim, entropies } = classes.expect("it was asked for classes");
        let entropy = entropy(&mean, &[dim])?;
        let mutual_information = (&entropy - entropies / passes as f64).clamp_min(0.0);
        let variance = squares / passes as f64;
        Ok(Prediction { mean, entropy, mutual_information, variance, passes })
    }

    pub(super) fn into_regression(self) -> Regression {
        let Moments { passes, mean, squares, .. } = self;
        Regression { mean, variance: squares / passes as f64, passes }
    }
}

/// `-p ln p`, 0 for `p = 0`, summed over these dimensions.
fn entropy(probabilities: &Tensor, dims: &[i64]) -> Result<Tensor> {
    Ok(probabilities.f_special_entr()?.f_sum_dim_intlist(dims, false, None)?)
}
