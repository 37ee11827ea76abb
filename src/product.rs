//! `x` times a mask that the backward pass can draw again, so that the graph need not keep it.

#[cfg(recompute)]
use tch::Device;
use tch::Tensor;

#[cfg(recompute)]
use crate::cpu::large_like;
use crate::error::Result;
use crate::implicit_mask::ImplicitMask;

/// `x` times the mask, and what the mask adds; plus `residual`, if there is one.
///
/// If `x` has the layout that the mask would have, one pass reads it and writes the product. The graph keeps
/// the mask's counter. The backward pass draws the mask again and multiplies the gradient by it, in the same
/// way; so do higher derivatives. Otherwise `x` is multiplied by a stored mask.
pub(crate) fn product(
    mask: &ImplicitMask,
    x: &Tensor,
    residual: Option<&Tensor>,
) -> Result<Tensor> {
    if let Some(y) = in_one_pass(mask, x, residual)? {
        return Ok(y);
    }
    let y = stored_product(mask, x)?;
    match residual {
        Some(residual) => Ok(residual.f_add(&y)?),
        None => Ok(y),
    }
}

/// `x` times a mask that broadcasts over it, and what the mask adds. Each row of the mask serves this many rows of
/// `x`.
pub(crate) fn broadcast_product(mask: &ImplicitMask, repeats: i64, x: &Tensor) -> Result<Tensor> {
    let stored = repeat_rows(mask.stored()?, repeats)?;
    let y = match outside_of_the_graph(mask, repeats, &stored, x)? {
        Some(y) => y,
        None => x.f_mul(&stored)?,
    };
    match mask.shift() {
        Some(affine) => affine.apply(y, &stored),
        None => Ok(y),
    }
}

/// A mask with each row as many times as this.
pub(crate) fn repeat_rows(mask: Tensor, repeats: i64) -> Result<Tensor> {
    match repeats {
        1 => Ok(mask),
        _ => Ok(mask.f_repeat_interleave_self_int(repeats, 0, None)?),
    }
}

/// libtorch's multiplication outside of its graph, if that is worth a node of our own: written into memory of our own on
/// a CPU, since libtorch's can be fresh pages in every pass, which cost more than the multiplication; and on a GPU to
/// draw a large mask again, instead of keeping it.
#[cfg(recompute)]
fn outside_of_the_graph(
    mask: &ImplicitMask,
    repeats: i64,
    stored: &Tensor,
    x: &Tensor,
) -> Result<Option<Tensor>> {
    use crate::autograd::with_backward;

    // Folded passes have a mask for each of their weights, and there x is the one that broadcasts.
    let (size, of_mask) = (x.size(), stored.size());
    let broadcasts = size.len() == of_mask.len()
        && of_mask.iter().zip(&size).all(|(&mask, &dim)| mask == 1 || mask == dim);
    if !broadcasts || x.kind() != stored.kind() {
        return Ok(None);
    }
    let x_alone = x.f_detach()?;
    let y = match large_like(x) {
        Some(y) => x_alone.f_mul_out(&y, stored)?,
        None if is_large_on_gpu(stored) && needs_gradient(x, None) => x_alone.f_mul(stored)?,
        None => return Ok(None),
    };
    if !needs_gradient(x, None) {
        return Ok(Some(y));
    }
    let mask = mask.without_shift();
    let backward = move |gradient: &Tensor, _| broadcast_product(&mask, repeats, gradient);
    with_backward([x], y, backward).map(Some)
}

/// Whether a mask takes more memory than is worth a launch of a kernel in the backward pass.
#[cfg(recompute)]
fn is_large_on_gpu(mask: &Tensor) -> bool {
    mask.device().is_cuda() && mask.numel() * mask.kind().elt_size_in_bytes() >= 1 << 20
}

/// Without C++ there is no such node.
#[cfg(not(recompute))]
fn outside_of_the_graph(
    _: &ImplicitMask,
    _: i64,
    _: &Tensor,
    _: &Tensor,
) -> Result<Option<Tensor>> {
    Ok(None)
}

fn needs_gradient(x: &Tensor, residual: Option<&Tensor>) -> bool {
    x.requires_grad() || residual.is_some_and(Tensor::requires_grad)
}

/// Up to this many elements, a mask takes no more memory than a node of our own with the counter, and libtorch makes its
/// node for a product in less time.
#[cfg(recompute)]
const TINY: usize = 64;

#[cfg(recompute)]
fn in_one_pass(
    mask: &ImplicitMask,
    x: &Tensor,
    residual: Option<&Tensor>,
) -> Result<Option<Tensor>> {
    use crate::autograd::with_backward;

    let needs_gradient = needs_gradient(x, residual);
    let is_tiny = x.device() == Device::Cpu && x.numel() <= TINY && mask.shift().is_none();
    if needs_gradient && is_tiny {
        return Ok(None);
    }
    let Some(y) = mask.times(x, residual)? else { return Ok(None) };
    if !needs_gradient {
        return Ok(Some(y));
    }
    let mask = mask.without_shift();
    let backward = move |gradient: &Tensor, input: usize| match input {
        0 => product(&mask, gradient, None),
        _ => Ok(gradient.shallow_clone()),
    };
    match residual {
        Some(residual) => with_backward([x, residual], y, backward).map(Some),
        None => with_backward([x], y, backward).map(Some),
    }
}

/// Without C++ there is no custom backward pass, and libtorch's needs a stored mask.
#[cfg(not(recompute))]
fn in_one_pass(
    mask: &ImplicitMask,
    x: &Tensor,
    residual: Option<&Tensor>,
) -> Result<Option<Tensor>> {
    if needs_gradient(x, residual) { Ok(None) } else { mask.times(x, residual) }
}

/// The mask, copied to the memory format of `x` if its strides leave open in which order the product's dimensions lie.
/// libtorch's dropout asks its mask then, which is laid out like `x`.
fn laid_out_like(x: &Tensor, mask: Tensor) -> Result<Tensor> {
    let leaves_open = !x.is_contiguous() && !is_one_number(x) && !has_clear_order(x);
    if !leaves_open || mask.stride() == x.stride() {
        return Ok(mask);
    }
    let mut like = x.f_to_kind(mask.kind())?.f_empty_like()?;
    like.f_copy_(&mask)?;
    Ok(like)
}

/// Whether the strides alone tell the order of the dimensions. Those of an expanded dimension, and of one of size 1, do
/// not; nor do equal ones.
fn has_clear_order(x: &Tensor) -> bool {
    let mut strides = x.stride();
    strides.sort_unstable();
    !x.size().contains(&1)
        && !strides.contains(&0)
        && strides.windows(2).all(|two| two[0] != two[1])
}

/// If no gradient is needed, the product overwrites the mask: fresh memory costs more than the
/// multiplication.
fn stored_product(mask: &ImplicitMask, x: &Tensor) -> Result<Tensor> {
    let mut stored = laid_out_like(x, mask.stored()?)?;
    if let Some(affine) = mask.shift() {
        return affine.apply(x.f_mul(&stored)?, &stored);
    }
    if !x.requires_grad() && can_replace(&stored, x) {
        Ok(stored.f_mul_(x)?)
    } else {
        Ok(x.f_mul(&stored)?)
    }
}

/// Whether the product has the mask's kind, size and memory format.
fn can_replace(mask: &Tensor, x: &Tensor) -> bool {
    mask.kind() == x.kind()
        && mask.size() == x.size()
        && (mask.is_contiguous() && x.is_contiguous()
            || mask.stride() == x.stride()
            || is_one_number(x))
}

/// Whether `x` is one number, expanded, as the gradient of a sum is. It has no memory format of its own.
fn is_one_number(x: &Tensor) -> bool {
    x.stride().iter().all(|&stride| stride == 0)
}

#[cfg(all(test, recompute))]
mod tests {
    use tch::{Device, Kind, Tensor};

    use super::{broadcast_product, outside_of_the_graph};
    use crate::effect::{Affine, Outcome};
    use crate::implicit_mask::ImplicitMask;
    use crate::layout::Layout;
    use crate::numbers::Numbers;
    use crate::probability::Probability;
    use crate::rng::counter::Counter;

    /// Of folded passes: the result has the mask's size, and `x`'s memory would be too small.
    #[test]
    fn an_input_that_broadcasts_over_its_mask() {
        let (counter, p) = (Counter::of_stream(7, 1, 0, 2), Probability::new(0.5).unwrap());
        let layout = Layout::contiguous(&[3, 600, 600], Kind::Float);
        let outcome = Outcome::Bernoulli(Affine::times(2.0));
        let mask = ImplicitMask::new(Numbers::new(counter, p, outcome), layout, Device::Cpu);
        let x = Tensor::rand([600, 600], (Kind::Float, Device::Cpu));
        let stored = mask.stored().unwrap();
        assert!(outside_of_the_graph(&mask, 1, &stored, &x).unwrap().is_none());
        assert_eq!(broadcast_product(&mask, 1, &x).unwrap(), x * stored);
    }
}
