//! Where layers are used: in a sequence, in a struct and in a closure.

mod common;

use common::{assert_same_bits, device, nonzero};
use tch::Tensor;
use tch::nn::{self, Module, ModuleT};
use tch_dropout::TrueDropout;

#[derive(Debug)]
struct Net {
    linear: nn::Linear,
    dropout: TrueDropout,
}

impl ModuleT for Net {
    fn forward_t(&self, x: &Tensor, train: bool) -> Tensor {
        self.dropout.forward_t(&self.linear.forward(x), train)
    }
}

#[test]
fn a_sequence_a_struct_and_a_closure_do_the_same() {
    let layer = || TrueDropout::new(0.5).unwrap().with_seed(1);
    let linear = |vs: &nn::VarStore| nn::linear(vs.root(), 6, 5, Default::default());
    let (a, mut b, mut c) =
        (nn::VarStore::new(device()), nn::VarStore::new(device()), nn::VarStore::new(device()));
    let sequence = nn::seq_t().add(linear(&a)).add(layer());
    let structure = Net { linear: linear(&b), dropout: layer() };
    let (linear, dropout) = (linear(&c), layer());
    let closure = nn::func_t(move |x, train| dropout.forward_t(&linear.forward(x), train));
    // Not by a seed: other tests draw from libtorch's generator at the same time.
    b.copy(&a).unwrap();
    c.copy(&a).unwrap();

    let x = nonzero(&[4, 6]);
    let expected = sequence.forward_t(&x, true);
    assert_same_bits(&structure.forward_t(&x, true), &expected);
    assert_same_bits(&closure.forward_t(&x, true), &expected);
    let expected = sequence.forward_t(&x, false);
    assert_same_bits(&structure.forward_t(&x, false), &expected);
}
