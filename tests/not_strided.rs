//! Tensors that are not strided are an error that says so: in layers in training, in evaluation and for `p = 0`; in
//! the functions that replace tch's in training alone, and in evaluation they return any tensor as it is.

mod common;

use common::{SHAPES, device, nonzero};
use tch::nn::{self, ModuleT};
use tch::{Kind, Tensor};
use tch_dropout::{
    Attention, DropBlock, DropoutLayer, Error, MonteCarlo, PatchDropout, RnnT, StochasticDepth,
    TrueDropout, Zoneout, apply_mask, column_mask, drop_connect, element_mask, f_dropout,
    f_feature_dropout, gather_tokens, gru, lstm, multi_head_attention,
};

const TEXT: &str =
    "dropout is defined for strided tensors only, got a sparse, nested or oneDNN tensor";

/// A matrix in every format that libtorch has but strides. (oneDNN's exists only where libtorch was built with
/// it, and on a CPU.)
fn not_strided() -> Vec<(&'static str, Tensor)> {
    let x = nonzero(&[4, 6]);
    let mut all = vec![
        ("COO", x.to_sparse_sparse_dim(2)),
        ("hybrid COO", x.to_sparse_sparse_dim(1)),
        ("COO without sparse dimensions", coo_without_sparse_dimensions(&x)),
        ("CSR", x.to_sparse_csr(None)),
        ("CSC", x.to_sparse_csc(None)),
        ("BSR", x.to_sparse_bsr([2, 3], None)),
        ("BSC", x.to_sparse_bsc([2, 3], None)),
        ("nested", nested(&[&[2, 3], &[1, 3]])),
    ];
    match x.f_to_mkldnn(Kind::Float) {
        Ok(x) => all.push(("oneDNN", x)),
        Err(error) => println!("skipped: no oneDNN: {error}"),
    }
    all
}

/// Matrices of different sizes in one tensor.
fn nested(sizes: &[&[i64; 2]]) -> Tensor {
    let rows = |row: &dyn Fn(&[i64; 2]) -> [i64; 2]| {
        let rows: Vec<i64> = sizes.iter().flat_map(|size| row(size)).collect();
        Tensor::from_slice(&rows).reshape([-1, 2])
    };
    let numels = sizes.iter().map(|[rows, columns]| rows * columns);
    let offsets: Vec<i64> = numels
        .scan(0, |end, numel| {
            *end += numel;
            Some(*end - numel)
        })
        .collect();
    let (strides, offsets) = (rows(&|&[_, columns]| [columns, 1]), Tensor::from_slice(&offsets));
    let numel = sizes.iter().map(|[rows, columns]| rows * columns).sum();
    Tensor::internal_nested_view_from_buffer(
        &nonzero(&[numel]),
        &rows(&|size| *size),
        &strides,
        &offsets,
    )
}

fn coo_without_sparse_dimensions(x: &Tensor) -> Tensor {
    let no_indices = Tensor::zeros([0, 1], (Kind::Int64, x.device()));
    Tensor::sparse_coo_tensor_indices_size(
        &no_indices,
        &x.unsqueeze(0),
        x.size(),
        (x.kind(), x.device()),
        false,
    )
}

#[track_caller]
fn assert_layout(result: Result<Tensor, Error>, format: &str) {
    let error = result.expect_err(format);
    assert!(matches!(error, Error::Layout), "{format}: {error}");
    assert_eq!(error.to_string(), TEXT);
}

fn check<const RESCALE: bool>() {
    for (format, x) in not_strided() {
        for shape in SHAPES {
            for p in [0.0, 0.5, 1.0] {
                let layer = DropoutLayer::<RESCALE>::new(p).unwrap();
                let layer = layer.with_noise_shape(shape.clone());
                for layer in [layer.clone(), layer.with_seed(1)] {
                    for train in [true, false] {
                        assert_layout(layer.f_forward_t(&x, train), format);
                        assert_layout(layer.draw_mask(&x, train), format);
                    }
                    assert!(layer.stream().is_none_or(|stream| stream.step() == 0));
                }
            }
        }
    }
}

#[test]
fn in_dropout() {
    check::<false>();
}

#[test]
fn in_true_dropout() {
    check::<true>();
}

#[test]
fn in_functions() {
    for (format, x) in not_strided() {
        for function in [f_dropout, f_feature_dropout] {
            assert_layout(function(&x, 0.5, true), format);
            let y = function(&x, 0.5, false).unwrap();
            assert_eq!((y.kind(), y.dim()), (x.kind(), x.dim()));
            assert_eq!((y.is_sparse(), y.is_mkldnn()), (x.is_sparse(), x.is_mkldnn()));
        }
        assert_layout(column_mask(&x, 0.5), format);
        assert_layout(element_mask(&x, 0.5), format);
    }
}

#[test]
fn in_the_other_layers() {
    let vs = nn::VarStore::new(device());
    let heads = multi_head_attention(vs.root() / "heads", 6, 2, Default::default()).unwrap();
    let lstm = lstm(vs.root() / "lstm", 6, 4, Default::default()).unwrap();
    let gru = gru(vs.root() / "gru", 6, 4, Default::default()).unwrap();
    let attention = Attention::new(0.5).unwrap();
    let (matrix, sequence) = (&nonzero(&[4, 6]), &nonzero(&[2, 4, 6]));
    for (format, x) in not_strided() {
        let x = &x;
        for train in [true, false] {
            let residual = TrueDropout::elements(0.5).unwrap();
            assert_layout(residual.f_forward_add(x, matrix, train), format);
            assert_layout(residual.f_forward_add(matrix, x, train), format);
            assert_layout(DropBlock::new(0.5, 2).unwrap().f_forward_t(x, train), format);
            assert_layout(PatchDropout::new(0.5).unwrap().f_forward_t(x, train), format);
            let depth = StochasticDepth::new(0.5).unwrap();
            assert_layout(depth.f_forward(x, |x| Ok(x.shallow_clone()), train), format);
            let zoneout = Zoneout::new(0.5).unwrap();
            assert_layout(zoneout.f_apply(x, matrix, train), format);
            assert_layout(zoneout.f_apply(matrix, x, train), format);
            for [q, k, v] in [[x, matrix, matrix], [matrix, x, matrix], [matrix, matrix, x]] {
                assert_layout(attention.f_forward(q, k, v, None, train), format);
            }
            assert_layout(attention.f_forward(matrix, matrix, matrix, Some(x), train), format);
            assert_layout(heads.f_forward_t(x, train), format);
            assert_layout(heads.f_forward(sequence, x, sequence, None, train), format);
            assert_layout(lstm.f_seq_t(x, train).map(|(y, _)| y), format);
            assert_layout(gru.f_seq_t(x, train).map(|(y, _)| y), format);
            assert_layout(gru.f_step_t(x, &gru.zero_state(4), train).map(|y| y.0), format);
        }
        let indices = Tensor::zeros([2, 1], (Kind::Int64, device()));
        assert_layout(gather_tokens(x, &indices), format);
        let error = MonteCarlo::new(3).unwrap().regress(|x, _| x.shallow_clone(), x);
        assert!(matches!(error, Err(Error::Layout)), "{format}");
    }
}

/// What libtorch multiplies by a matrix, or by a mask, may be sparse; a nested tensor is an error there, too.
#[test]
fn products_of_sparse_tensors() {
    let vs = nn::VarStore::new(device());
    let layer = drop_connect(vs.root(), 6, 5, Default::default()).unwrap();
    let x = nonzero(&[4, 6]);
    let coo = x.to_sparse_sparse_dim(2);
    assert_eq!(layer.f_forward_t(&coo, true).unwrap().size(), [4, 5]);
    let mask = x.ones_like();
    assert_eq!(apply_mask(&coo, &mask).unwrap().to_dense(None::<Kind>, false), x);
    let nested = nested(&[&[2, 3], &[1, 3]]);
    for train in [true, false] {
        assert_layout(layer.f_forward_t(&nested, train), "nested");
        let depth = StochasticDepth::new(0.5).unwrap();
        let branch = |_: &Tensor| Ok(nested.shallow_clone());
        assert_layout(depth.f_forward(&x, branch, train), "nested");
    }
    assert_layout(apply_mask(&nested, &mask), "nested");
    assert_layout(apply_mask(&x, &nested), "nested");
}

#[test]
fn forward_t_panics_with_that_text() {
    let (_, x) = not_strided().swap_remove(2);
    let layer = TrueDropout::elements(0.5).unwrap();
    let text = common::panic_text(move || drop(layer.forward_t(&x, false)));
    assert_eq!(text, format!("TrueDropout(p=0.5, elements): {TEXT}"));
}
