//! Recurrent layers with every dropout that belongs to them: between the layers, of the recurrent weights, of
//! the state, and zoneout.
//!
//! An [`Lstm`] is made of a stack of layers, which is the same for a [`Gru`]; what differs is the cell. Where
//! no dropout needs a look at the state between time steps, libtorch's own operation runs a whole layer.

mod dropout;
mod gru;
mod lstm;
mod rnn;
mod stack;
#[cfg(test)]
mod tests;
mod weight_drop;
mod weights;
mod zoneout;

pub use self::dropout::RecurrentDropout;
pub use self::gru::{Gru, GruConfig, gru};
pub use self::lstm::{Lstm, LstmConfig, lstm};
pub use self::rnn::RnnT;
pub use self::stack::RecurrentMasks;
pub use self::weight_drop::WeightDrop;
pub use self::zoneout::Zoneout;
