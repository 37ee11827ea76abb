//! The state of libtorch's generators, for a run that is resumed.

#[cfg(recompute)]
use tch::Kind;
use tch::{Device, Tensor};

#[cfg(recompute)]
use crate::autograd::setting::Generator;
#[cfg(not(recompute))]
use crate::error::Error;
use crate::error::Result;

/// The state of libtorch's generator for a device, as bytes on the CPU: what [`tch::manual_seed`] sets, and what all
/// random numbers without a seed of their own come from. PyTorch calls it `torch.get_rng_state`; tch has no counterpart.
///
/// Saved with the weights, it lets a run go on with the masks that it would have had. (With [`Streams`](crate::Streams),
/// save their steps instead.)
///
/// ```
/// use tch::{nn::ModuleT, Device, Kind, Tensor};
/// use tch_dropout::{TrueDropout, generator_state, set_generator_state};
///
/// let layer = TrueDropout::elements(0.5)?; // Without a seed.
/// let x = Tensor::ones([4, 8], (Kind::Float, Device::Cpu));
/// # if cfg!(feature = "recompute") {
/// let saved = generator_state(Device::Cpu)?; // Into the checkpoint ...
/// let first = layer.forward_t(&x, true);
/// set_generator_state(Device::Cpu, &saved)?; // ... and out of it.
/// assert_eq!(layer.forward_t(&x, true), first);
/// # }
/// # Ok::<(), tch_dropout::Error>(())
/// ```
///
/// # Errors
///
/// libtorch's, for a device that is not there; without the feature `recompute`,
/// [`Error::NoGeneratorState`](crate::Error::NoGeneratorState).
///
/// [`tch::manual_seed`]: https://docs.rs/tch/latest/tch/fn.manual_seed.html
pub fn generator_state(device: Device) -> Result<Tensor> {
    #[cfg(recompute)]
    return Ok(Generator::now(&anything_on(device)?)?.state);
    #[cfg(not(recompute))]
    return Err(without(device));
}

/// Sets the state of libtorch's generator for a device to one that [`generator_state`] returned, on whatever
/// device that tensor is now.
///
/// ```
/// # use tch::{Device, Tensor};
/// # use tch_dropout::set_generator_state;
/// assert!(set_generator_state(Device::Cpu, &Tensor::from_slice(&[1u8, 2, 3])).is_err());
/// ```
///
/// # Errors
///
/// Those of [`generator_state`], and libtorch's, for bytes that are no such state; the generator is then
/// unchanged.
pub fn set_generator_state(device: Device, state: &Tensor) -> Result<()> {
    #[cfg(recompute)]
    return Generator {
        on: anything_on(device)?,
        state: state.f_to_device(Device::Cpu)?.f_contiguous()?,
    }
    .set();
    #[cfg(not(recompute))]
    return Err(without((device, state)));
}

#[cfg(recompute)]
fn anything_on(device: Device) -> Result<Tensor> {
    Ok(Tensor::f_empty([0], (Kind::Uint8, device))?)
}

#[cfg(not(recompute))]
fn without<T>(_: T) -> Error {
    Error::NoGeneratorState
}
