//! libtorch's fused attention, with the number of arguments that tch's function has.
//!
//! Since libtorch 2.5 the function has one argument more, `enable_gqa`, and nothing tells a crate at compile
//! time which tch it gets. But a function of seven arguments implements another `Fn` trait than one of eight:
//! the trait below is implemented for both, and the compiler picks the one that fits.

use tch::{Kind, TchError, Tensor};

use crate::trace;

/// `dropout(softmax(query · keyᵀ · scale + mask)) · value`. libtorch's default scale is `1 / sqrt(E)`.
pub(crate) fn fused_attention(
    inputs: [&Tensor; 3],
    mask: Option<Tensor>,
    p: f64,
    causal: bool,
    scale: Option<f64>,
) -> Result<Tensor, TchError> {
    Tensor::f_scaled_dot_product_attention::<Tensor>.attend(inputs, mask, p, causal, scale)
}

/// A function of libtorch's arguments. `Arguments` is not used: without it, the two implementations would
/// overlap.
trait Kernel<Arguments> {
    fn attend(
        self,
        inputs: [&Tensor; 3],
        mask: Option<Tensor>,
        p: f64,
        causal: bool,
        scale: Option<f64>,
    ) -> Result<Tensor, TchError>;
}

/// A mask of all keys, or of those up to the query's position.
fn all_keys(query: &Tensor, key: &Tensor, causal: bool) -> Result<Tensor, TchError> {
    let mask = pairs(query, key, Kind::Bool)?;
    if causal { mask.f_tril(0) } else { Ok(mask) }
}

/// A one for each pair of a query and a key: `[..., T, S]`. In a trace it is made from them, so that the trace takes
/// sequences of any length.
pub(crate) fn pairs(query: &Tensor, key: &Tensor, kind: Kind) -> Result<Tensor, TchError> {
    if trace::is_tracing() {
        let pairs = column(query)?.f_add(&column(key)?.f_transpose(-2, -1)?)?;
        return pairs.f_to_kind(kind)?.f_ones_like();
    }
    let size = [query, key].map(|x| x.size()[x.dim() - 2]);
    Tensor::f_ones(size, (kind, query.device()))
}

/// A number for each position of a sequence: `[1, ..., T, 1]`.
fn column(x: &Tensor) -> Result<Tensor, TchError> {
    let mut column = x.f_slice(-1, 0, 1, 1)?;
    for dim in 0..x.dim() as i64 - 2 {
        column = column.f_slice(dim, 0, 1, 1)?;
    }
    Ok(column)
}

struct Seven;
struct Eight;

impl<F> Kernel<Seven> for F
where
    F: Fn(
        &Tensor,
        &Tensor,
        &Tensor,
        Option<Tensor>,
        f64,
        bool,
        Option<f64>,
    ) -> Result<Tensor, TchError>,
{
    fn attend(
        self,
        [query, key, value]: [&Tensor; 3],
        mask: Option<Tensor>,
        p: f64,
        causal: bool,
        scale: Option<f64>,
    ) -> Result<Tensor, TchError> {
        // This tch, 0.17, passes an undefined tensor for no mask, and its libtorch refuses that.
        let mask = match mask {
            Some(mask) => mask,
            None => all_keys(query, key, causal)?,
        };
        self(query, key, value, Some(mask), p, false, scale)
    }
}

impl<F> Kernel<Eight> for F
where
    F: Fn(
        &Tensor,
        &Tensor,
        &Tensor,
        Option<Tensor>,
        f64,
        bool,
        Option<f64>,
        bool,
    ) -> Result<Tensor, TchError>,
{
    fn attend(
        self,
        [query, key, value]: [&Tensor; 3],
        mask: Option<Tensor>,
        p: f64,
        causal: bool,
        scale: Option<f64>,
    ) -> Result<Tensor, TchError> {
        self(query, key, value, mask, p, causal, scale, false)
    }
}
