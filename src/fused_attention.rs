//! libtorch's fused attention, with the number of arguments that tch's function has.
//!
//! Since libtorch 2.5 the function has one argument more, `enable_gqa`, and nothing tells a crate at compile
//! time which tch it gets. But a function of seven arguments implements another `Fn` trait than one of eight:
//! the trait below is implemented for both, and the compiler picks the one that fits.

use tch::{Kind, TchError, Tensor};

/// Attention without dropout: `softmax(query · keyᵀ · scale + mask) · value`. libtorch's default scale is
/// `1 / sqrt(E)`.
pub(crate) fn fused_attention(
    [query, key, value]: [&Tensor; 3],
    mask: Option<Tensor>,
    causal: bool,
    scale: Option<f64>,
) -> Result<Tensor, TchError> {
    Tensor::f_scaled_dot_product_attention::<Tensor>.without_dropout(
        [query, key, value],
        mask,
        causal,
        scale,
    )
}

/// A function of libtorch's arguments. `Arguments` is not used: without it, the two implementations would
/// overlap.
trait Kernel<Arguments> {
    fn without_dropout(
        self,
        inputs: [&Tensor; 3],
        mask: Option<Tensor>,
        causal: bool,
        scale: Option<f64>,
    ) -> Result<Tensor, TchError>;
}

/// A mask of all keys, or of those up to the query's position.
fn all_keys(query: &Tensor, key: &Tensor, causal: bool) -> Result<Tensor, TchError> {
    let length = |x: &Tensor| x.size()[x.dim() - 2];
    let options = (Kind::Bool, query.device());
    let mask = Tensor::f_ones([length(query), length(key)], options)?;
    if causal { mask.f_tril(0) } else { Ok(mask) }
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
    fn without_dropout(
        self,
        [query, key, value]: [&Tensor; 3],
        mask: Option<Tensor>,
        causal: bool,
        scale: Option<f64>,
    ) -> Result<Tensor, TchError> {
        // This tch, 0.17, passes an undefined tensor for no mask, and its libtorch refuses that.
        let mask = match mask {
            Some(mask) => mask,
            None => all_keys(query, key, causal)?,
        };
        self(query, key, value, Some(mask), 0.0, false, scale)
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
    fn without_dropout(
        self,
        [query, key, value]: [&Tensor; 3],
        mask: Option<Tensor>,
        causal: bool,
        scale: Option<f64>,
    ) -> Result<Tensor, TchError> {
        self(query, key, value, mask, 0.0, causal, scale, false)
    }
}
