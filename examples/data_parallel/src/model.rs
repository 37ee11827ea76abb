//! The model: an MLP with dropout after each hidden layer.

use anyhow::Result;
use tch::Tensor;
use tch::nn::{self, Module, ModuleT};
use tch_dropout::{Streams, TrueDropout};

pub const HIDDEN: i64 = 512;

pub struct Model {
    linear: [nn::Linear; 3],
    pub dropouts: [TrueDropout; 2],
}

impl Model {
    /// Each dropout layer takes a stream, which has the rank as its worker.
    pub fn new(vs: &nn::Path, streams: &Streams, p: f64) -> Result<Model> {
        let linear =
            |name, inputs, outputs| nn::linear(vs / name, inputs, outputs, Default::default());
        let dropout = || anyhow::Ok(TrueDropout::elements(p)?.with_stream(streams.next_stream()?));
        Ok(Model {
            linear: [
                linear("first", 28 * 28, HIDDEN),
                linear("second", HIDDEN, HIDDEN),
                linear("last", HIDDEN, 10),
            ],
            dropouts: [dropout()?, dropout()?],
        })
    }

    /// From `[N, 784]` to `[N, 10]`, with `dropout(i, x)` after hidden layer `i`.
    pub fn forward(&self, images: &Tensor, dropout: impl Fn(usize, &Tensor) -> Tensor) -> Tensor {
        let [first, second, last] = &self.linear;
        let x = dropout(0, &first.forward(images).relu());
        let x = dropout(1, &second.forward(&x).relu());
        last.forward(&x)
    }
}

impl ModuleT for Model {
    fn forward_t(&self, images: &Tensor, train: bool) -> Tensor {
        self.forward(images, |i, x| self.dropouts[i].forward_t(x, train))
    }
}

/// tch asks every module for it.
impl std::fmt::Debug for Model {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.dropouts).finish()
    }
}
