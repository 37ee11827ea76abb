//! Masks with a seed on a GPU, the same ones as on a CPU.
//!
//! A large one is drawn there, by libtorch's own operations: Philox on tensors of counters, and then the
//! scheme of `cpu/`. It takes some hundred launches of kernels, and the host never waits for one. A small one
//! is drawn on the CPU and copied, which is less work, but the host waits for the copy.
//!
//! | file | what it knows |
//! | --- | --- |
//! | `tiles` | which tiles are drawn together |
//! | `philox` | random words |
//! | `bernoulli` | which elements are kept |
//! | `normal` | normal numbers |
//!
//! The operations run on any device, so all of this is tested on a CPU. **Not measured on a GPU yet.**
//! docs/cost.md counts launches and bytes, and says why there is no kernel of our own.

mod bernoulli;
mod normal;
mod philox;
#[cfg(test)]
mod tests;
mod tiles;

use std::panic::catch_unwind;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

use tch::{Device, Kind, Tensor};

use self::bernoulli::Extent;
use self::tiles::Tiles;
use crate::cpu::{ImplicitMask, Layout};
use crate::effect::{Affine, Outcome};
use crate::error::Result;
use crate::probability::Probability;
use crate::rng::counter::{Counter, TILE};

/// The fewest elements of a mask that is drawn on its device. The bench sets it, to time both ways.
///
/// An estimate: a hundred launches take the host half a millisecond, and in that time a CPU draws some half a
/// million elements and copies them at 5 to 10 GB/s.
pub static DRAWN_FROM: AtomicUsize = AtomicUsize::new(1 << 19);

/// The most tiles that are drawn together, which bounds the memory that it takes: 4 million elements, in 80 MB
/// for a Bernoulli draw and 210 MB for normal numbers (measured on a CPU).
const TILES_AT_ONCE: usize = 2048;

/// A mask on a device that is not the CPU.
pub(crate) fn mask(
    counter: Counter,
    p: Probability,
    outcome: Outcome,
    size: &[i64],
    (kind, device): (Kind, Device),
) -> Result<Tensor> {
    let elements = size.iter().product::<i64>() as usize;
    if elements >= DRAWN_FROM.load(Ordering::Relaxed) && is_exact(outcome, device) {
        return drawn(&counter, p, outcome, size, (kind, device));
    }
    let layout = Layout::contiguous(size, kind);
    Ok(ImplicitMask::new(counter, p, outcome, layout).stored()?.f_to_device(device)?)
}

/// The mask that `ImplicitMask::stored` gives, by libtorch's operations.
fn drawn(
    counter: &Counter,
    p: Probability,
    outcome: Outcome,
    size: &[i64],
    options: (Kind, Device),
) -> Result<Tensor> {
    let Affine { scale, .. } = match outcome {
        Outcome::Bernoulli(affine) => affine,
        Outcome::Normal { deviation } => {
            return filled(size, options, |tiles, mut part| {
                let factors = normal::factors(counter, deviation, tiles)?;
                part.f_copy_(&factors.f_narrow(0, 0, part.numel() as i64)?)?;
                Ok(())
            });
        }
    };
    let (keep, drop) = (number(scale, options)?, number(0.0, options)?);
    let threshold = match p.threshold() {
        None => return Ok(Tensor::f_zeros(size, options)?),
        Some(0) => return Ok(keep.f_expand(size, false)?.f_contiguous()?),
        Some(threshold) => threshold,
    };
    filled(size, options, |tiles, part| {
        let is_kept = bernoulli::keep_flags(counter, threshold, Extent::OF_MASKS, tiles)?;
        let is_kept = is_kept.f_narrow(0, 0, part.numel() as i64)?;
        let _ = keep.f_where_self_out(&part, &is_kept, &drop)?;
        Ok(())
    })
}

/// A new tensor, whose parts `fill` writes: each has these tiles, but the last tile may be cut off.
fn filled(
    size: &[i64],
    options: (Kind, Device),
    fill: impl Fn(&Tiles, Tensor) -> Result<()>,
) -> Result<Tensor> {
    let mask = Tensor::f_empty(size, options)?;
    let (flat, elements) = (mask.f_flatten(0, -1)?, mask.numel());
    for start in (0..elements).step_by(TILES_AT_ONCE * TILE) {
        let part = (elements - start).min(TILES_AT_ONCE * TILE);
        let count = part.div_ceil(TILE) as i64;
        let tiles = Tiles { start: (start / TILE) as u64, count, device: options.1 };
        fill(&tiles, flat.f_narrow(0, start as i64, part as i64)?)?;
    }
    Ok(mask)
}

/// A mask's number as a tensor. Half precision is rounded via single precision, as in `cpu/`; directly, libtorch
/// would refuse one that is infinite there.
fn number(value: f64, (kind, device): (Kind, Device)) -> Result<Tensor> {
    let wide = if kind == Kind::Double { Kind::Double } else { Kind::Float };
    Ok(Tensor::f_full([], value, (wide, device))?.f_to_kind(kind)?)
}

/// Whether the device's operations compute what the CPU's do. Each device is asked once, with a small mask that
/// the host waits for. It says no if it lacks an operation, too.
fn is_exact(outcome: Outcome, device: Device) -> bool {
    static KNOWN: Mutex<Vec<(Device, bool, bool)>> = Mutex::new(Vec::new());
    let is_normal = matches!(outcome, Outcome::Normal { .. });
    let mut known = KNOWN.lock().unwrap_or_else(PoisonError::into_inner);
    let answer = known.iter().find(|&&(of, normal, _)| (of, normal) == (device, is_normal));
    if let Some(&(_, _, exact)) = answer {
        return exact;
    }
    // tch panics where an operation that takes a number fails.
    let exact = catch_unwind(|| compare(outcome, device)).is_ok_and(|exact| exact.unwrap_or(false));
    known.push((device, is_normal, exact));
    exact
}

/// Draws the same mask on the device and on the CPU.
fn compare(outcome: Outcome, device: Device) -> Result<bool> {
    let (p, counter) = (Probability::new(0.1)?, Counter::of_stream(1, 2, 3, 4));
    let size = [10 * TILE as i64 - 1];
    let there = drawn(&counter, p, outcome, &size, (Kind::Float, device))?;
    let layout = Layout::contiguous(&size, Kind::Float);
    let here = ImplicitMask::new(counter, p, outcome, layout).stored()?;
    Ok(there.f_to_device(Device::Cpu)?.f_equal(&here)?)
}
