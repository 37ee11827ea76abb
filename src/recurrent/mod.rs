//! Recurrent layers with every dropout that belongs to them: between the layers, of the recurrent weights, of
//! the state, and zoneout.
//!
//! An [`Lstm`] is made of a stack of layers, which is the same for a [`Gru`]; what differs is the cell. Where
//! no dropout needs a look at the state between time steps, libtorch's own operation runs a whole layer.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `lstm`, `gru` | the layers, and their cells |
//! | `rnn` | how a layer is called |
//! | `dropout` | which dropouts a layer has; `weight_drop` and `zoneout` are two of them |
//! | `cell` | what differs between an LSTM and a GRU |
//! | `stack` | the layers one after the other |
//! | `layer` | one of them, by libtorch's operation |
//! | `walk` | the same, time step by time step |
//! | `masks` | what the time steps of a sequence share |
//! | `call` | what a call asks for |
//! | `checks` | what does not fit |
//! | `state`, `weights` | a cell's tensors |

mod call;
mod cell;
mod checks;
mod dropout;
mod gru;
mod layer;
mod lstm;
mod masks;
mod rnn;
mod stack;
mod state;
#[cfg(test)]
mod tests;
mod walk;
mod weight_drop;
mod weights;
mod zoneout;

pub use self::dropout::RecurrentDropout;
pub use self::gru::{Gru, GruConfig, gru};
pub use self::lstm::{Lstm, LstmConfig, lstm};
pub use self::masks::RecurrentMasks;
pub use self::rnn::RnnT;
pub use self::weight_drop::WeightDrop;
pub use self::zoneout::Zoneout;
