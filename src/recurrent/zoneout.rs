//! Zoneout: elements of a state that skip an update.

use std::fmt;

use tch::{Kind, Tensor};

use crate::draw::Draw;
use crate::error::{Error, Result, or_panic_in};
use crate::kind::real_kind;
use crate::monte_carlo::scope;
use crate::noise::{Noise, noise_methods};
use crate::noise_shape::NoiseShape;
use crate::strided::check_strided;

/// Zoneout (Krueger et al. 2016): in training, each element of a state keeps its previous value with
/// probability `p`, and takes the new one otherwise; in evaluation, it is the mean of that,
/// `p * previous + (1 - p) * new`.
///
/// What is dropped is an element's update. Each call draws, so that each time step has a mask of its own.
/// [`Lstm`](crate::Lstm) and [`Gru`](crate::Gru) have it built in; by itself it serves any recurrent loop:
///
/// ```
/// use tch::{Device, Kind, Tensor};
/// use tch_dropout::Zoneout;
///
/// # let train = true;
/// let options = (Kind::Float, Device::Cpu);
/// let (inputs, recurrent) = (Tensor::randn([10, 4, 8], options), Tensor::randn([8, 8], options));
/// let zoneout = Zoneout::new(0.1)?;
/// let mut state = Tensor::zeros([4, 8], options);
/// for t in 0..10 {
///     let new = (inputs.get(t) + state.matmul(&recurrent)).tanh();
///     state = zoneout.apply(&state, &new, train);
/// }
/// # assert_eq!(state.size(), [4, 8]);
/// # Ok::<(), tch_dropout::Error>(())
/// ```
#[derive(Clone)]
pub struct Zoneout {
    pub(crate) noise: Noise,
}

impl Zoneout {
    /// Zoneout of each element with probability `p`.
    ///
    /// ```
    /// assert_eq!(tch_dropout::Zoneout::new(0.1)?.to_string(), "Zoneout(p=0.1)");
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Probability`] for a `p` outside `[0, 1]`.
    pub fn new(p: f64) -> Result<Self> {
        Ok(Zoneout { noise: Noise::new(p, NoiseShape::Elements, false)? })
    }

    noise_methods!();

    /// The state after a time step, from the previous state and the one that the cell has computed.
    ///
    /// ```
    /// use tch::{Device, Kind, Tensor};
    /// use tch_dropout::Zoneout;
    ///
    /// let options = (Kind::Float, Device::Cpu);
    /// let (previous, new) = (Tensor::zeros([2, 3], options), Tensor::ones([2, 3], options));
    /// let zoneout = Zoneout::new(0.25)?;
    /// assert_eq!(zoneout.apply(&previous, &new, false), Tensor::full([2, 3], 0.75, options));
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Panics
    ///
    /// Where [`f_apply`](Self::f_apply) returns an error.
    #[track_caller]
    pub fn apply(&self, previous: &Tensor, new: &Tensor, train: bool) -> Tensor {
        or_panic_in(self, self.f_apply(previous, new, train))
    }

    /// Like [`apply`](Self::apply), but returns a `Result`.
    ///
    /// # Shapes
    ///
    /// `previous` and `new` have the same shape, usually `[N, H]`, and so has the result. Each element's
    /// gradient goes to the tensor that it was taken from. With `p = 0` the result is `new` itself.
    /// Under [`monte_carlo`](crate::monte_carlo), it draws in evaluation too.
    ///
    /// ```
    /// use tch::{Device, Kind, Tensor};
    /// use tch_dropout::Zoneout;
    ///
    /// let state = |size: &[i64]| Tensor::zeros(size, (Kind::Float, Device::Cpu));
    /// let error = Zoneout::new(0.1)?.f_apply(&state(&[4, 7]), &state(&[4, 8]), true).unwrap_err();
    /// assert_eq!(error.to_string(), "the previous state must be of shape [4, 8], got [4, 7]");
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// States of different shapes, or that are not floating-point; and libtorch's, for states on different
    /// devices.
    pub fn f_apply(&self, previous: &Tensor, new: &Tensor, train: bool) -> Result<Tensor> {
        check_strided(previous)?;
        check_strided(new)?;
        if previous.size() != new.size() {
            let (expected, got) =
                (format!("of shape {:?}", new.size()), format!("{:?}", previous.size()));
            return Err(Error::Recurrent { name: "the previous state", expected, got });
        }
        if real_kind(new.kind()).is_none() {
            return Err(Error::Kind(new.kind()));
        }
        let p = self.noise.current_p()?;
        if p.is_zero() {
            Ok(new.shallow_clone())
        } else if train || scope::is_active() {
            // Chosen, not multiplied: an infinite update that is dropped leaves no NaN.
            let draw = self.noise.draw_at(p, new)?;
            let updated = Draw { kind: Kind::Bool, ..draw }.mask(new)?;
            Ok(new.f_where_self(&updated, previous)?)
        } else {
            Ok(previous.f_lerp(new, 1.0 - p.get())?)
        }
    }
}

/// As PyTorch would print it: `Zoneout(p=0.1)`.
impl fmt::Display for Zoneout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Zoneout(p={:?})", self.p())
    }
}

/// As `Display`, with the numbers of its stream, if it has one.
impl fmt::Debug for Zoneout {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.noise.debug(self, f)
    }
}
