//! An output's strides are those of `Tensor::dropout`'s, however the input lies in memory.

mod common;

use common::{assert_same_bits, channels_last, device, elements, float, nonzero};
use tch::nn::ModuleT;
use tch::{Kind, Tensor};
use tch_dropout::dropout;

/// Inputs by name. Each lies in memory in its own way.
fn inputs() -> Vec<(&'static str, Tensor)> {
    let x = nonzero(&[4, 5, 6, 7]);
    let odd = |size: &[i64], strides: &[i64]| nonzero(&[10_000]).as_strided(size, strides, None);
    vec![
        ("a scalar", nonzero(&[])),
        ("a vector", nonzero(&[9])),
        ("contiguous", x.shallow_clone()),
        ("transposed", nonzero(&[5, 8]).tr()),
        ("transposed within", x.transpose(1, 2)),
        ("permuted", x.permute([3, 1, 0, 2])),
        ("channels last", channels_last(&x)),
        ("channels last, of one channel", channels_last(&nonzero(&[4, 1, 6, 7]))),
        ("channels last, of one pixel", channels_last(&nonzero(&[4, 5, 1, 1]))),
        ("channels last, of one row", channels_last(&nonzero(&[1, 5, 6, 7]))),
        ("channels last, sliced", channels_last(&x).slice(1, 1, 4, 1)),
        ("expanded in front", nonzero(&[5]).expand([4, 5], false)),
        ("expanded behind", nonzero(&[4, 1]).expand([4, 5], false)),
        ("expanded in the middle", nonzero(&[4, 1, 6]).expand([4, 5, 6], false)),
        ("expanded in all dimensions", nonzero(&[1, 1]).expand([4, 5], false)),
        ("expanded and transposed", nonzero(&[5]).expand([4, 5], false).tr()),
        (
            "expanded channels last",
            channels_last(&nonzero(&[4, 1, 6, 7])).expand([4, 5, 6, 7], false),
        ),
        ("every second row", x.slice(0, 0, None, 2)),
        ("every second column", x.slice(3, 1, None, 2)),
        ("transposed, every second column", nonzero(&[9, 8]).tr().slice(1, 0, None, 2)),
        ("a row", x.narrow(0, 1, 1)),
        ("a column", nonzero(&[5, 8]).narrow(1, 2, 1)),
        ("one row of odd stride", odd(&[1, 5], &[3, 1])),
        ("one column of odd stride", odd(&[5, 1], &[1, 77])),
        ("one row in the middle", odd(&[4, 1, 5], &[5, 99, 1])),
        ("ones of odd strides", odd(&[1, 1, 1], &[7, 3, 9])),
        ("transposed, one row of odd stride", odd(&[5, 1, 4], &[1, 33, 5])),
        ("overlapping", odd(&[4, 5], &[1, 1])),
        ("with gaps", odd(&[4, 5], &[100, 10])),
        ("with gaps, transposed", odd(&[4, 5], &[10, 100])),
        ("empty", nonzero(&[4, 0, 3])),
        ("empty, transposed", nonzero(&[4, 0, 3]).transpose(0, 2)),
    ]
}

/// The strides that are compared. That of a dimension of size 1 says nothing; only a newer libtorch (2.13, and not
/// 2.4) keeps it for every input, and only there is it compared, on a CPU. On a GPU libtorch's own operations differ.
fn telling(y: &Tensor, with_ones: bool) -> Vec<i64> {
    let of_one = |size| size == 1 && !with_ones;
    y.size().iter().zip(y.stride()).map(|(&n, step)| if of_one(n) { 0 } else { step }).collect()
}

#[test]
fn of_elements() {
    let odd = nonzero(&[10_000]).as_strided([5, 1, 4], [1, 33, 5], None);
    let with_ones = !device().is_cuda() && odd.dropout(0.5, true).stride() == odd.stride();
    let telling = |y: &Tensor| telling(y, with_ones);
    for (name, x) in inputs() {
        // For p = 1 libtorch multiplies by a number, which makes up other strides for dimensions of size 1.
        for (p, libtorchs_p) in [(0.5, 0.5), (1e-10, 1e-10), (1.0, 0.5)] {
            for x in [x.shallow_clone(), x.detach().set_requires_grad(true)] {
                let expected = telling(&x.dropout(libtorchs_p, true));
                for layer in [elements(p), elements(p).with_seed(1)] {
                    let y = layer.forward_t(&x, true);
                    let seeded = layer.stream().is_some();
                    let way = format!("{name}, p = {p}, {seeded}, {}", x.requires_grad());
                    assert_eq!((y.size(), telling(&y)), (x.size(), expected.clone()), "{way}");
                }
                assert_eq!(telling(&dropout(&x, p, true)), expected, "{name}, p = {p}");
            }
        }
    }
}

/// Numbers below `n`, for random layouts that are the same in each run.
fn below(n: i64, state: &mut u64) -> i64 {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    ((*state >> 33) % n as u64) as i64
}

/// A tensor with some dimensions expanded, some sliced, and all in some order.
fn any_layout(state: &mut u64) -> Tensor {
    let dims = 1 + below(5, state);
    let sizes: Vec<i64> = (0..dims).map(|_| 1 + below(4, state)).collect();
    let mut x = nonzero(&sizes);
    for _ in 0..1 + below(3, state) {
        let dim = below(dims, state);
        x = match below(4, state) {
            0 => x.transpose(dim, below(dims, state)),
            1 => x.slice(dim, below(x.size()[dim as usize], state), None, 1 + below(2, state)),
            2 => {
                let mut order: Vec<i64> = (0..dims).collect();
                (1..dims).for_each(|i| order.swap(i as usize, below(i + 1, state) as usize));
                x.permute(order)
            }
            _ => {
                let mut sizes = x.size();
                sizes[dim as usize] = 2 + below(3, state);
                x.narrow(dim, 0, 1).expand(sizes, false)
            }
        };
    }
    x
}

/// Expanded dimensions and ones of size 1 leave the order open, and libtorch has its own way to settle it. (For the
/// stride of a dimension of size 1, its operations have several.)
#[test]
fn of_random_layouts() {
    let known = nonzero(&[5, 1, 4]).permute([2, 1, 0]).expand([4, 6, 5], false);
    // An old libtorch (2.4) makes what is partly expanded contiguous; this crate keeps the order with any.
    let keeps_order = known.dropout(0.5, true).stride() == [1, 4, 24];
    let mut state = 1;
    let random = (0..2_000).map(|_| any_layout(&mut state));
    let inputs = std::iter::once(known).chain(random);
    for x in inputs.filter(|x| keeps_order || !x.stride().contains(&0)) {
        for x in [x.shallow_clone(), x.detach().set_requires_grad(true)] {
            let expected = telling(&x.dropout(0.5, true), false);
            for layer in [elements(0.5), elements(0.5).with_seed(1)] {
                let y = layer.forward_t(&x, true);
                let way = format!("{:?} {:?}, {layer:?}", x.size(), x.stride());
                assert_eq!(telling(&y, false), expected, "{way}, {:?}", layer.stream());
            }
        }
    }
}

/// A seed's mask goes by the indices, and not by the memory.
#[test]
fn a_seed_drops_the_same_elements_in_all_of_them() {
    for (name, x) in inputs() {
        let forward = |x: &Tensor| elements(0.5).with_seed(1).forward_t(x, true);
        let expected = forward(&x.contiguous());
        assert_eq!(forward(&x), expected, "{name}");
        assert_same_bits(&forward(&x.detach().set_requires_grad(true)).detach(), &expected);
    }
}

#[test]
fn what_is_kept_is_rescaled_where_it_was() {
    for (name, x) in inputs() {
        let y = elements(0.5).forward_t(&x, true);
        assert_eq!(y, (&x * 2.0) * y.ne(0).to_kind(Kind::Float), "{name}");
        assert_eq!((y.kind(), y.device()), float());
    }
}
