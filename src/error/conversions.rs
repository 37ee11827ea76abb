//! From tch's error, and to it.

use tch::TchError;

use super::Error;

/// Not `#[from]`, which would make it a cause as well, whose text repeats this one's with the stack trace.
impl From<TchError> for Error {
    fn from(error: TchError) -> Error {
        Error::Torch(error)
    }
}

/// For `?` in a function that returns tch's error, as those around `Tensor::f_dropout` do. An error of this crate
/// becomes a [`TchError::Torch`] with its text, which tch prints after "Internal torch error: ".
///
/// ```
/// # use tch::{TchError, Tensor};
/// # use tch_dropout::f_dropout;
/// fn forward(x: &Tensor, train: bool) -> Result<Tensor, TchError> {
///     let x = x.f_relu()?;
///     Ok(f_dropout(&x, 0.1, train)?) // was: x.f_dropout(0.1, train)
/// }
/// # assert!(forward(&Tensor::from_slice(&[-1.0]), false).is_ok());
/// ```
///
/// [`TchError::Torch`]: https://docs.rs/tch/latest/tch/enum.TchError.html#variant.Torch
impl From<Error> for TchError {
    fn from(error: Error) -> TchError {
        match error {
            Error::Torch(error) => error,
            other => TchError::Torch(other.to_string()),
        }
    }
}
