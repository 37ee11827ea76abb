//! Which dropouts a recurrent layer has.

use std::fmt;

use crate::dropout::TrueDropout;
use crate::error::Result;
use crate::recurrent::weight_drop::WeightDrop;
use crate::recurrent::zoneout::Zoneout;
use crate::rng::streams::Streams;

/// The dropouts of an [`Lstm`](crate::Lstm) or a [`Gru`](crate::Gru). By default all have `p = 0`.
///
/// Each is a layer with a probability and, if you give it one, a [`Stream`](crate::Stream) of its own. In
/// training, each draws once in a forward pass for each layer and direction, except that `between` draws once
/// for each layer but the last, and `zoneout` once for each time step. A clone's streams start at the
/// originals' steps and then count by themselves, so it repeats the original's masks.
///
/// ```
/// use tch_dropout::{RecurrentDropout, TrueDropout, WeightDrop};
///
/// // As AWD-LSTM: locked dropout between the layers, and weight drop.
/// let dropout = RecurrentDropout {
///     between: TrueDropout::shared(0.2, &[1])?,
///     weights: WeightDrop::new(0.5)?,
///     ..Default::default()
/// };
/// dropout.weights.set_p(0.4)?; // At any time, from the next forward pass on.
/// # Ok::<(), tch_dropout::Error>(())
/// ```
#[derive(Clone, Debug)]
pub struct RecurrentDropout {
    /// Dropout of each layer's output but the last's. It sees `[N, T, C]`, whatever `batch_first` is:
    /// `TrueDropout::elements(p)` draws afresh for each time step, as PyTorch's `nn.LSTM(dropout=p)`;
    /// `TrueDropout::shared(p, &[1])` draws one mask for all time steps (locked or variational dropout).
    ///
    /// With one layer there is nothing in between, and it does nothing.
    pub between: TrueDropout,

    /// DropConnect on the recurrent weights.
    pub weights: WeightDrop,

    /// Variational dropout of the state (Gal and Ghahramani 2016): the recurrent weights multiply
    /// `h * mask / (1 - p)`, with one mask for all time steps. It sees `[N, H]`.
    ///
    /// Only that product sees the mask. The output, the final state, and in a GRU the share of `h` that is
    /// carried over, are not dropped.
    pub state: TrueDropout,

    /// Zoneout of `h`.
    pub zoneout: Zoneout,
}

impl Default for RecurrentDropout {
    fn default() -> Self {
        const VALID: &str = "0 is a probability";
        RecurrentDropout {
            between: TrueDropout::elements(0.0).expect(VALID),
            weights: WeightDrop::new(0.0).expect(VALID),
            state: TrueDropout::elements(0.0).expect(VALID),
            zoneout: Zoneout::new(0.0).expect(VALID),
        }
    }
}

impl RecurrentDropout {
    /// Gives each of the four the next of a model's streams, in the order of the fields.
    ///
    /// ```
    /// use tch_dropout::{RecurrentDropout, Streams, WeightDrop};
    ///
    /// let streams = Streams::new(42);
    /// let dropout = RecurrentDropout { weights: WeightDrop::new(0.5)?, ..Default::default() };
    /// let dropout = dropout.with_streams(&streams)?;
    /// assert_eq!(dropout.zoneout.stream().map(|stream| stream.layer()), Some(3));
    /// # Ok::<(), tch_dropout::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Streams::next_stream`].
    pub fn with_streams(self, streams: &Streams) -> Result<Self> {
        let RecurrentDropout { between, weights, state, zoneout } = self;
        Ok(RecurrentDropout {
            between: between.with_streams(streams)?,
            weights: weights.with_streams(streams)?,
            state: state.with_streams(streams)?,
            zoneout: zoneout.with_streams(streams)?,
        })
    }

    /// What a recurrent layer appends to its text.
    pub(super) fn write(&self, f: &mut fmt::Formatter<'_>, debug: bool) -> fmt::Result {
        let RecurrentDropout { between, weights, state, zoneout } = self;
        write_dropout(f, "between", between.p(), between, debug)?;
        write_dropout(f, "weights", weights.p(), weights, debug)?;
        write_dropout(f, "state", state.p(), state, debug)?;
        write_dropout(f, "zoneout", zoneout.p(), zoneout, debug)
    }
}

/// `, weights=WeightDrop(p=0.5)`, and for `Debug` its stream's numbers; nothing for `p = 0`.
pub(super) fn write_dropout(
    f: &mut fmt::Formatter<'_>,
    name: &str,
    p: f64,
    layer: &(impl fmt::Display + fmt::Debug),
    debug: bool,
) -> fmt::Result {
    match (p > 0.0, debug) {
        (false, _) => Ok(()),
        (true, false) => write!(f, ", {name}={layer}"),
        (true, true) => write!(f, ", {name}={layer:?}"),
    }
}
