//! The text: what is learned, and what shows whether it was learned by heart.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use tch::{Device, Kind, Tensor};

/// How many characters a model sees at once, at most.
pub const LENGTH: i64 = 64;
/// Sequences in a batch.
const BATCH: i64 = 32;
/// Of so many paragraphs, one is for validation.
const ONE_IN: usize = 8;

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
    /// The repository's pages, paragraph by paragraph.
    pub fn of_documentation() -> Result<Text> {
        let mut text = String::new();
        for page in pages()? {
            text += &fs::read_to_string(&page)
                .with_context(|| format!("cannot read {}", page.display()))?;
        }
        let symbols: Vec<char> = text.chars().collect::<BTreeSet<_>>().into_iter().collect();
        let numbers = |paragraphs: Vec<&str>| {
            let number = |c| symbols.binary_search(&c).expect("a character of the text") as i64;
            Tensor::from_slice(&paragraphs.concat().chars().map(number).collect::<Vec<_>>())
        };
        let paragraphs = text.split_inclusive("\n\n").enumerate();
        let (validation, training): (Vec<_>, Vec<_>) =
            paragraphs.partition(|(number, _)| number % ONE_IN == ONE_IN - 1);
        let without_numbers =
            |paragraphs: Vec<(usize, _)>| paragraphs.into_iter().map(|(_, p)| p).collect();
        Ok(Text {
            training: numbers(without_numbers(training)),
            validation: numbers(without_numbers(validation)),
            symbols: symbols.len() as i64,
        })
    }

    /// How many different characters there are.
    pub fn symbols(&self) -> i64 {
        self.symbols
    }

    /// How many characters are for training and for validation.
    pub fn lengths(&self) -> (usize, usize) {
        (self.training.numel(), self.validation.numel())
    }

    /// Sequences that begin anywhere in the training text.
    pub fn batch(&self) -> Batch {
        let options = (Kind::Int64, Device::Cpu);
        let starts = Tensor::randint(self.training.size()[0] - LENGTH, [BATCH, 1], options);
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

/// The Markdown files of the repository and of its docs/, in an order that does not depend on the file
/// system.
fn pages() -> Result<Vec<PathBuf>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut pages = Vec::new();
    for folder in [root, &root.join("docs")] {
        let files =
            fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
        for file in files {
            pages.push(file?.path());
        }
    }
    pages.retain(|page| page.extension().is_some_and(|extension| extension == "md"));
    pages.sort();
    Ok(pages)
}
