//! rust-bert's `common::dropout`, name for name, on top of this library: in rust-bert, only this file
//! changes, and none of those that use it.

use tch::Tensor;
use tch::nn::ModuleT;
use tch_dropout::{TrueDropout, dropout};

/// As in rust-bert, where the one line of `forward_t` says `input.dropout(self.dropout_prob, train)`.
#[derive(Debug)]
pub struct Dropout {
    dropout_prob: f64,
}

impl Dropout {
    pub fn new(p: f64) -> Dropout {
        Dropout { dropout_prob: p }
    }
}

impl ModuleT for Dropout {
    fn forward_t(&self, input: &Tensor, train: bool) -> Tensor {
        dropout(input, self.dropout_prob, train)
    }
}

/// DeBERTa's, which rust-bert writes out as a mask and a `masked_fill`: here a layer, with `p` checked once.
#[derive(Debug)]
pub struct XDropout(TrueDropout);

impl XDropout {
    pub fn new(p: f64) -> XDropout {
        XDropout(TrueDropout::elements(p).unwrap_or_else(|error| panic!("{error}")))
    }
}

impl ModuleT for XDropout {
    fn forward_t(&self, input: &Tensor, train: bool) -> Tensor {
        self.0.forward_t(input, train)
    }
}
