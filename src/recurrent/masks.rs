//! What the time steps of a sequence share.

use tch::Tensor;

use crate::error::{Error, Result};
use crate::recurrent::cell::Cell;
use crate::recurrent::weights::Weights;

/// What the time steps of a sequence share, for a sequence that is run step by step: the dropped weights, the masks of the
/// state, and those between the layers. [`RnnT::f_draw_masks`](crate::RnnT::f_draw_masks) draws it.
#[derive(Debug)]
pub struct RecurrentMasks {
    /// How many sequences there are.
    pub(super) rows: i64,
    pub(super) layers: Vec<LayerMasks>,
}

#[derive(Debug)]
pub(super) struct LayerMasks {
    /// Of its input, if all time steps share it.
    pub(super) between: Option<Tensor>,
    /// Of each direction, after weight drop.
    pub(super) weights: Vec<Weights>,
    /// Of each direction's state.
    pub(super) states: Vec<Option<Tensor>>,
}

impl RecurrentMasks {
    /// Masks hold the weights of the layer that drew them: `layers` has those of the one that is to use them.
    pub(super) fn check<'a>(
        &self,
        layers: impl Iterator<Item = &'a [Weights]>,
        rows: i64,
    ) -> Result<()> {
        let wrong = |expected: String, got: String| {
            Err(Error::Recurrent { name: "the masks", expected, got })
        };
        let address = |weights: &Weights| weights.ih.data_ptr();
        let drawn = self.layers.iter().flat_map(|layer| &layer.weights).map(address);
        if !drawn.eq(layers.flatten().map(address)) {
            return wrong("of this layer".into(), "those of another".into());
        }
        if self.rows != rows {
            return wrong(format!("for {rows} sequences"), self.rows.to_string());
        }
        Ok(())
    }
}

impl LayerMasks {
    /// For a layer of these directions, without what is between it and the one before. `h` is the first tensor of its state.
    pub(super) fn draw<const S: usize>(
        cell: &impl Cell<S>,
        directions: &[Weights],
        x: &Tensor,
        h: &Tensor,
        train: bool,
    ) -> Result<Self> {
        let drop = &cell.dropout().weights;
        let mut weights = Vec::with_capacity(directions.len());
        for direction in directions {
            weights.push(direction.with_hh(drop.masked(&direction.hh, x, train)?));
        }
        let mut states = Vec::with_capacity(directions.len());
        for h in h.f_unbind(0)? {
            states.push(cell.dropout().state.noise.draw_mask_if_active(&h, train)?);
        }
        Ok(LayerMasks { between: None, weights, states })
    }
}
