//! An LSTM with the dropouts of AWD-LSTM (Merity et al. 2017): of whole characters, of the recurrent weights,
//! and of features before, between and after the layers, with one mask for all time steps. (What is left out
//! are the paper's averaged gradient descent and its penalties on activations.)

use anyhow::Result;
use tch::Tensor;
use tch::nn::{self, ModuleT, RNNConfig};
use tch_dropout::{Lstm, LstmConfig, RecurrentDropout, RnnT, TrueDropout, WeightDrop, lstm};

const FEATURES: i64 = 128;
const LAYERS: i64 = 2;

// The probabilities of dropping: half of the paper's, for a network that is a tenth as wide.
const CHARACTERS: f64 = 0.05;
const INPUT: f64 = 0.2;
const BETWEEN: f64 = 0.125;
const WEIGHTS: f64 = 0.25;
const OUTPUT: f64 = 0.2;

/// The logits are the products of the outputs and the characters' own vectors (tied weights).
#[derive(Debug)]
pub struct Model {
    /// A vector for each character, `[symbols, FEATURES]`.
    symbols: Tensor,
    /// Of whole rows of the table.
    characters: TrueDropout,
    input: TrueDropout,
    lstm: Lstm,
    output: TrueDropout,
    bias: Tensor,
}

/// All probabilities are multiplied by `scale`.
pub fn model(vs: &nn::Path, symbols: i64, scale: f64) -> Result<Model> {
    let shared = |p| TrueDropout::shared(p * scale, &[1]);
    let config = LstmConfig {
        rnn: RNNConfig { num_layers: LAYERS, ..Default::default() },
        dropout: RecurrentDropout {
            between: shared(BETWEEN)?,
            weights: WeightDrop::new(WEIGHTS * scale)?,
            ..Default::default()
        },
        ..Default::default()
    };
    Ok(Model {
        symbols: vs.uniform("symbols", &[symbols, FEATURES], -0.1, 0.1),
        characters: shared(CHARACTERS)?,
        input: shared(INPUT)?,
        lstm: lstm(vs / "lstm", FEATURES, FEATURES, config)?,
        output: shared(OUTPUT)?,
        bias: vs.zeros("bias", &[symbols]),
    })
}

impl ModuleT for Model {
    fn forward_t(&self, symbols: &Tensor, train: bool) -> Tensor {
        // A character is dropped wherever it occurs.
        let table = self.characters.forward_t(&self.symbols, train);
        let x = Tensor::embedding(&table, symbols, -1, false, false);
        let (y, _) = self.lstm.seq_t(&self.input.forward_t(&x, train), train);
        self.output.forward_t(&y, train).linear(&self.symbols, Some(&self.bias))
    }
}
