//! What attention asks of its inputs, before it draws a mask: an error takes no step.

use tch::{Kind, Tensor};

use crate::error::{Error, Result};
use crate::kind::real_kind;
use crate::strided::check_strided;

/// The keys or values, with each head repeated for the queries' heads that share it.
pub(super) fn heads_like(query: &Tensor, shared: &Tensor) -> Result<Tensor> {
    match repeats(&query.size(), &shared.size()) {
        None | Some(1) => Ok(shared.shallow_clone()),
        Some(repeats) => Ok(shared.f_repeat_interleave_self_int(repeats, -3, None)?),
    }
}

/// How many of the queries' heads share one of the keys' or values'. `None` if there are no heads, or they
/// cannot be shared.
fn repeats(query: &[i64], shared: &[i64]) -> Option<i64> {
    let heads =
        |size: &[i64]| size.len().checked_sub(3).filter(|&dim| dim > 0).map(|dim| size[dim]);
    let (all, shared) = (heads(query)?, heads(shared)?);
    (shared > 0 && all % shared == 0).then(|| all / shared)
}

/// Checks the shapes, and the query's kind.
pub(super) fn check_inputs([query, key, value]: [&Tensor; 3]) -> Result<()> {
    [query, key, value].into_iter().try_for_each(check_strided)?;
    let [q, k, v] = [query, key, value].map(Tensor::size);
    let same_leading = |shared: &[i64]| {
        let heads = if repeats(&q, shared).is_some() { 3 } else { 2 };
        shared.len() == q.len() && shared[..q.len() - heads] == q[..q.len() - heads]
    };
    let expected = if [&q, &k, &v].iter().any(|size| size.len() < 2) {
        "at least 2 dimensions"
    } else if q.last() != k.last() {
        "queries and keys of the same size in the last dimension"
    } else if k[k.len() - 2] != v[v.len() - 2] {
        "a value for each key"
    } else if !same_leading(&k) || !same_leading(&v) {
        "the same leading dimensions, except for heads whose number divides the query's"
    } else if real_kind(query.kind()) != Some(query.kind()) {
        return Err(Error::Kind(query.kind()));
    } else {
        return Ok(());
    };
    Err(Error::AttentionShapes { expected, query: q, key: k, value: v })
}

/// Checks what the product with the values needs.
pub(super) fn check_value(weights: &Tensor, value: &Tensor) -> Result<()> {
    if value.kind() != weights.kind() || value.device() != weights.device() {
        // An error, unless autocast makes them equal. One row, as libtorch does not check a product of none.
        let rows = weights.size()[weights.dim() - 2].min(1);
        let _ = weights.f_narrow(-2, 0, rows)?.f_matmul(value)?;
    }
    Ok(())
}

/// Checks the shape and the kind of a mask over weights of this size.
pub(super) fn check_mask(query: Kind, weights: &[i64], mask: &Tensor) -> Result<()> {
    check_strided(mask)?;
    let size = mask.size();
    let mut dims = size.iter().rev().zip(weights.iter().rev());
    if size.len() > weights.len() || !dims.all(|(&mask, &all)| mask == 1 || mask == all) {
        return Err(Error::AttentionMask { mask: size, weights: weights.to_vec() });
    }
    if ![Kind::Bool, Kind::Float, query].contains(&mask.kind()) {
        return Err(Error::AttentionMaskKind { mask: mask.kind(), query });
    }
    Ok(())
}
