//! Dropout for [`tch`].
mod drop_connect;
mod dropout;
mod error;
mod mask;
mod noise_shape;
mod probability;
mod random;

pub use drop_connect::{drop_connect, DropConnect, DropConnectConfig};
pub use dropout::{Dropout, DropoutLayer, TrueDropout};
pub use error::Error;
pub use mask::{apply_mask, column_mask, element_mask};
pub use noise_shape::NoiseShape;
pub use probability::Probability;
pub use random::Stream;
