//! The recurrent kit: each dropout of an LSTM and of a GRU.

mod brought_out;
mod mutants;

use tch::Tensor;
use tch_dropout::{NoiseShape, TrueDropout, WeightDrop, Zoneout};

use self::brought_out::{
    Cell, Gru, Lstm, between, cell_zoneout, of_state, weight_drop, weights_size, zoneout,
};
use crate::examination::{Claim, Findings};
use crate::trial::{Forward, assert_verdicts};
use crate::{claim, seeded};

const ROWS: i64 = 64;
const STEPS: i64 = 32;
const HIDDEN: i64 = 32;

/// What `between` sees.
const SEQUENCE: [i64; 3] = [ROWS, STEPS, HIDDEN];

/// What happens in both directions of a layer.
const BOTH_WAYS: [i64; 4] = [2, ROWS, STEPS, HIDDEN];

/// Fresh dropout between layers.
fn sequences(p: f64) -> Claim {
    claim::<true>(p, &NoiseShape::Elements, &SEQUENCE)
}

/// One mask for all time steps.
fn locked_sequences(p: f64) -> Claim {
    claim::<true>(p, &NoiseShape::Shared(vec![1]), &SEQUENCE)
}

/// Of each layer and direction.
fn weights(p: f64, cell: Cell) -> Claim {
    claim::<true>(p, &NoiseShape::Elements, &weights_size(cell))
}

/// Which elements of the state each time step's recurrent product sees: the same at all steps.
fn states(p: f64) -> Claim {
    claim::<true>(p, &NoiseShape::Shared(vec![2]), &BOTH_WAYS)
}

/// Which elements of the state zoneout lets a time step update.
fn updated(p: f64) -> Claim {
    claim::<false>(p, &NoiseShape::Elements, &BOTH_WAYS)
}

fn examine(claim: Claim) -> impl Fn(&Forward) -> Findings {
    move |forward| claim.examine_over(16, forward)
}

#[test]
fn recurrent_dropouts_keep_their_claims() {
    let (_generator, seed) = seeded();
    let seed = seed as u64;
    for (cell, p) in [(Lstm, 0.3), (Lstm, 0.8), (Gru, 0.3), (Gru, 0.8)] {
        let fresh = || TrueDropout::elements(p).unwrap();
        let both = [fresh(), fresh().with_seed(seed)].map(|dropout| between(cell, dropout));
        assert_kept("between", cell, sequences(p), both);

        let locked = || TrueDropout::shared(p, &[1]).unwrap();
        let both = [locked(), locked().with_seed(seed)].map(|dropout| between(cell, dropout));
        assert_kept("between, locked", cell, locked_sequences(p), both);

        let both = [fresh(), fresh().with_seed(seed)].map(|dropout| of_state(cell, dropout));
        assert_kept("state", cell, states(p), both);

        let new = || WeightDrop::new(p).unwrap();
        let both = [new(), new().with_seed(seed)].map(|dropout| weight_drop(cell, dropout));
        assert_kept("weights", cell, weights(p, cell), both);

        let new = || Zoneout::new(p).unwrap();
        let both = [new(), new().with_seed(seed)].map(|dropout| zoneout(cell, dropout));
        assert_kept("zoneout", cell, updated(p), both);

        if cell == Lstm {
            let both = [new(), new().with_seed(seed)].map(cell_zoneout);
            assert_kept("zoneout of c", cell, updated(p), both);
        }
    }
}

/// Without and with a seed.
#[track_caller]
fn assert_kept<F>(dropout: &str, cell: Cell, claim: Claim, layers: [F; 2])
where
    F: Fn(&Tensor) -> Tensor + 'static,
{
    let name = format!("{cell:?}, {dropout}, p = {}", claim.p);
    let layers = layers.map(|layer| (name.clone(), Box::new(layer) as Forward));
    assert_verdicts(examine(claim), layers, []);
}
