//! The text: what is learned, and what shows whether it was learned by heart.

use std::collections::BTreeSet;

use tch::{Device, Kind, Tensor};

/// How many characters a model sees at once, at most.
pub const LENGTH: i64 = 64;
/// Of so many paragraphs, one is for validation.
const ONE_IN: usize = 5;

/// Characters as numbers, counted from 0.
pub struct Text {
    training: Tensor,
    validation: Tensor,
    symbols: i64,
}

/// Sequences of characters, and for each character the next one, `[N, LENGTH]`.
pub struct Batch {
    pub inputs: Tensor,
    pub targets: Tensor,
}

impl Text {
    /// This repository's licences, paragraph by paragraph.
    pub fn of_licences(device: Device) -> Text {
        let text = concat!(include_str!("../../LICENSE-APACHE"), include_str!("../../LICENSE-MIT"));
        let symbols: Vec<char> = text.chars().collect::<BTreeSet<_>>().into_iter().collect();
        let number = |c| symbols.binary_search(&c).expect("a character of the text") as i64;
        let part = |is_validation: bool| {
            let paragraphs = text.split_inclusive("\n\n").zip((1..=ONE_IN).cycle());
            let paragraphs = paragraphs.filter(|(_, count)| (*count == ONE_IN) == is_validation);
            let characters = paragraphs.flat_map(|(paragraph, _)| paragraph.chars());
            Tensor::from_slice(&characters.map(number).collect::<Vec<_>>()).to_device(device)
        };
        Text { training: part(false), validation: part(true), symbols: symbols.len() as i64 }
    }

    /// How many different characters there are.
    pub fn symbols(&self) -> i64 {
        self.symbols
    }

    /// How many characters are for training and for validation.
    pub fn lengths(&self) -> (usize, usize) {
        (self.training.numel(), self.validation.numel())
    }

    /// So many sequences that begin anywhere in the training text.
    pub fn batch(&self, size: i64) -> Batch {
        let options = (Kind::Int64, self.training.device());
        let starts = Tensor::randint(self.training.size()[0] - LENGTH, [size, 1], options);
        Batch::new(&self.training.take(&(starts + Tensor::arange(LENGTH + 1, options))))
    }

    /// The whole validation text.
    pub fn for_validation(&self) -> Batch {
        Batch::one_after_the_other(&self.validation)
    }

    /// As much of the training text.
    pub fn for_comparison(&self) -> Batch {
        Batch::one_after_the_other(&self.training.narrow(0, 0, self.validation.size()[0]))
    }
}

impl Batch {
    /// From sequences `[N, LENGTH + 1]`.
    fn new(sequences: &Tensor) -> Batch {
        let inputs = sequences.narrow(1, 0, LENGTH);
        Batch { inputs, targets: sequences.narrow(1, 1, LENGTH) }
    }

    fn one_after_the_other(text: &Tensor) -> Batch {
        Batch::new(&text.unfold(0, LENGTH + 1, LENGTH))
    }
}
