//! Tensors that are not strided are an error that says so, in training, in evaluation and for `p = 0`.

mod common;

use common::{SHAPES, nonzero};
use tch::nn::ModuleT;
use tch::{Kind, Tensor};
use tch_dropout::{
    DropoutLayer, Error, TrueDropout, column_mask, element_mask, f_dropout, f_feature_dropout,
};

const TEXT: &str = "dropout is defined for strided tensors only, got a sparse or a oneDNN tensor";

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
    ];
    match x.f_to_mkldnn(Kind::Float) {
        Ok(x) => all.push(("oneDNN", x)),
        Err(error) => println!("skipped: no oneDNN: {error}"),
    }
    all
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
        for train in [true, false] {
            assert_layout(f_dropout(&x, 0.5, train), format);
            assert_layout(f_feature_dropout(&x, 0.5, train), format);
        }
        assert_layout(column_mask(&x, 0.5), format);
        assert_layout(element_mask(&x, 0.5), format);
    }
}

#[test]
fn forward_t_panics_with_that_text() {
    let (_, x) = not_strided().swap_remove(2);
    let layer = TrueDropout::elements(0.5).unwrap();
    assert_eq!(common::panic_text(move || drop(layer.forward_t(&x, false))), TEXT);
}
