//! Mutants of the recurrent kit's dropouts. Some are the layers with a wrong dropout, or a wrong step of a
//! cell; others are what would become of the elements that the right one sees.

use std::cell::RefCell;

use tch::Tensor;
use tch_dropout::{NoiseShape, TrueDropout, WeightDrop, Zoneout};

use super::brought_out::{
    Gru, Lstm, OUTSIDE, between, both_ways, of_state, rising, updates, weight_drop, weights_size,
    zoneout,
};
use super::{
    BOTH_WAYS, HIDDEN, ROWS, SEQUENCE, STEPS, examine, locked_sequences, sequences, states,
    updated, weights,
};
use crate::common::float;
use crate::seeded;
use crate::trial::{assert_verdicts, dropped, mutant, once, shared, unscaled};

const P: f64 = 0.3;

const VALUES: &str = "values other than";

const UNEQUAL: &str = "groups that are not equal throughout";

fn elements(p: f64) -> TrueDropout {
    TrueDropout::elements(p).unwrap()
}

fn all(p: f64) -> impl Fn(&Tensor) -> Tensor {
    dropped(p, NoiseShape::Elements)
}

#[test]
fn mutants_of_dropout_between_layers_do_not() {
    let (_generator, _) = seeded();
    let locked = || TrueDropout::shared(P, &[1]).unwrap();
    let mutants = [
        mutant("p and 1 - p swapped", VALUES, between(Lstm, elements(1.0 - P))),
        mutant("rescaled twice", VALUES, |x| all(P)(x) / (1.0 - P)),
        mutant("locked", "correlation over dimension 1, lag 1", between(Gru, locked())),
        mutant("one mask for the batch", "correlation over dimension 0", shared(P, &[0])),
        mutant("whole time steps", "correlation over dimension 2", shared(P, &[2])),
        mutant("one mask for all passes", "correlation over forwards", once(all(P), &SEQUENCE)),
    ];
    assert_verdicts(examine(sequences(P)), [], mutants);

    let mutants = [
        mutant("p and 1 - p swapped", VALUES, shared(1.0 - P, &[1])),
        mutant("fresh at each step", UNEQUAL, between(Lstm, elements(P))),
        mutant("time and batch taken for each other", UNEQUAL, shared(P, &[0])),
        mutant("one mask for the batch", "correlation over dimension 0", shared(P, &[0, 1])),
        mutant("whole sequences", "correlation over dimension 2", shared(P, &[1, 2])),
        mutant("drawn anew half-way", UNEQUAL, |x| {
            let halves = x.chunk(2, 1);
            Tensor::cat(&[shared(P, &[1])(&halves[0]), shared(P, &[1])(&halves[1])], 1)
        }),
        mutant(
            "one mask for all passes",
            "correlation over forwards",
            once(shared(P, &[1]), &SEQUENCE),
        ),
    ];
    assert_verdicts(examine(locked_sequences(P)), [], mutants);
}

#[test]
fn mutants_of_weight_drop_do_not() {
    let (_generator, _) = seeded();
    let mutants = [
        mutant("p and 1 - p swapped", VALUES, weight_drop(Lstm, WeightDrop::new(1.0 - P).unwrap())),
        mutant("not rescaled", VALUES, unscaled(P, NoiseShape::Elements)),
        mutant(
            "whole units, as in dropout of the state",
            "correlation over dimension 1",
            shared(P, &[1]),
        ),
        mutant("whole gates of a unit", "correlation over dimension 2", shared(P, &[2])),
        mutant(
            "one mask for all layers and directions",
            "correlation over dimension 0, lag 1",
            shared(P, &[0]),
        ),
        mutant("one mask for both directions", "correlation over dimension 0, lag 1", |x| {
            let masks = all(P)(&x.narrow(0, 0, 2).ones_like());
            x * masks.repeat_interleave_self_int(2, 0, None)
        }),
        mutant("one mask for all gates", "correlation in memory", |x| {
            x * all(P)(&x.narrow(1, 0, HIDDEN).ones_like()).repeat([1, 4, 1])
        }),
        mutant(
            "one mask for all passes",
            "correlation over forwards",
            once(all(P), &weights_size(Lstm)),
        ),
        mutant("dropped for good, pass by pass", "keep rate", {
            let left = RefCell::new(Tensor::ones(weights_size(Lstm), float()));
            move |x: &Tensor| {
                let mask = &*left.borrow() * unscaled(P, NoiseShape::Elements)(&x.ones_like());
                *left.borrow_mut() = mask.shallow_clone();
                x * mask / (1.0 - P)
            }
        }),
    ];
    assert_verdicts(examine(weights(P, Lstm)), [], mutants);
}

#[test]
fn mutants_of_dropout_of_the_state_do_not() {
    let (_generator, _) = seeded();
    let mask = |x: &Tensor| shared(P, &[2])(&x.ones_like());
    let mutants = [
        mutant("p and 1 - p swapped", VALUES, of_state(Gru, elements(1.0 - P))),
        mutant("not rescaled", VALUES, unscaled(P, NoiseShape::Shared(vec![2]))),
        mutant("fresh at each step", UNEQUAL, dropped(P, NoiseShape::Elements)),
        mutant("dropped from the state itself, step by step", VALUES, move |x| {
            x * mask(x).cumprod(2, None)
        }),
        mutant("not at the first step", VALUES, move |x| {
            Tensor::cat(&[x.narrow(2, 0, 1), (x * mask(x)).narrow(2, 1, STEPS - 1)], 2)
        }),
        mutant(
            "one mask for the batch",
            "correlation over dimension 1",
            of_state(Lstm, TrueDropout::shared(P, &[0]).unwrap()),
        ),
        mutant(
            "whole states",
            "correlation over dimension 3",
            of_state(Lstm, TrueDropout::shared(P, &[1]).unwrap()),
        ),
        mutant("one mask for both directions", "correlation over dimension 0", shared(P, &[0, 2])),
        mutant(
            "one mask for all passes",
            "correlation over forwards",
            once(shared(P, &[2]), &BOTH_WAYS),
        ),
    ];
    assert_verdicts(examine(states(P)), [], mutants);
}

/// A cell that has its own way from the former state and the new one to the next.
fn stepped(step: impl Fn(&Tensor, &Tensor) -> Tensor) -> impl Fn(&Tensor) -> Tensor {
    move |x| {
        let inputs = rising(x);
        let new = both_ways(&Tensor::cat(&[&inputs, &inputs], -1).tanh());
        let mut state = new.select(2, 0).full_like(OUTSIDE);
        let mut states = Vec::new();
        for new in new.unbind(2) {
            state = step(&state, &new);
            states.push(state.shallow_clone());
        }
        updates(x, &Tensor::stack(&states, 2), &new)
    }
}

#[test]
fn mutants_of_zoneout_do_not() {
    let (_generator, _) = seeded();
    let keeps = |p: f64, shape: NoiseShape| {
        move |former: &Tensor, new: &Tensor| {
            let updated = unscaled(p, shape.clone())(&new.ones_like());
            &updated * new + (1.0f64 - &updated) * former
        }
    };
    let mask = all(P)(&Tensor::ones([2, ROWS, HIDDEN], float())).ne(0);
    let mutants = [
        mutant("p and 1 - p swapped", "keep rate", zoneout(Gru, Zoneout::new(1.0 - P).unwrap())),
        mutant(
            "drops in place of keeping the former state",
            VALUES,
            stepped(|_, new| unscaled(P, NoiseShape::Elements)(new)),
        ),
        mutant(
            "rescales the new state",
            VALUES,
            stepped(|former, new| {
                let updated = all(P)(&new.ones_like());
                former.where_self(&updated.eq(0), &(new * &updated))
            }),
        ),
        mutant(
            "the mean, as in evaluation",
            VALUES,
            stepped(|former, new| P * former + (1.0 - P) * new),
        ),
        mutant(
            "the difference dropped and rescaled",
            VALUES,
            stepped(|former, new| former + all(P)(&(new - former))),
        ),
        mutant(
            "the same mask at each step",
            "correlation over dimension 2, lag 1",
            stepped(move |former, new| new.where_self(&mask, former)),
        ),
        mutant(
            "whole states",
            "correlation over dimension 3",
            stepped(keeps(P, NoiseShape::Shared(vec![2]))),
        ),
        mutant(
            "one draw for the batch",
            "correlation over dimension 1",
            stepped(keeps(P, NoiseShape::Shared(vec![1]))),
        ),
        mutant(
            "one mask for both directions",
            "correlation over dimension 0",
            stepped(keeps(P, NoiseShape::Shared(vec![0]))),
        ),
        mutant(
            "one mask for all passes",
            "correlation over forwards",
            once(unscaled(P, NoiseShape::Elements), &BOTH_WAYS),
        ),
    ];
    assert_verdicts(examine(updated(P)), [], mutants);
}
