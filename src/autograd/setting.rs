//! What libtorch's operations depend on besides their inputs: its generators, and its modes.

use std::ffi::c_void;

use tch::{Device, Kind, TchError, Tensor};
use torch_sys::C_tensor;

use super::tell::{Tell, tell};
use crate::error::Result;

/// Whether this thread's operations are recorded for a gradient. In a backward pass, they are with
/// `create_graph` only.
pub(crate) fn is_recorded() -> bool {
    tch_dropout_is_recorded()
}

/// Whether autocast is on, on this thread, for the CPU or for CUDA devices.
pub(crate) fn is_autocast() -> bool {
    Autocast::now().enabled.contains(&true)
}

/// The generators' states at one moment, on the CPU and on the devices of some tensors; and autocast, as
/// [`tch::autocast`] had set it.
pub(crate) struct Setting {
    generators: Vec<Generator>,
    autocast: Autocast,
}

impl Setting {
    pub(crate) fn now(tensors: &[&Tensor]) -> Result<Self> {
        let cpu = Tensor::f_empty([0], (Kind::Uint8, Device::Cpu))?;
        let mut generators = vec![Generator::now(&cpu)?];
        for tensor in tensors {
            if generators.iter().all(|generator| generator.on.device() != tensor.device()) {
                generators.push(Generator::now(&tensor.f_detach()?)?);
            }
        }
        Ok(Setting { generators, autocast: Autocast::now() })
    }

    /// Forgets the generators that have drawn nothing since then. They need not be set back.
    pub(crate) fn forget_unused(&mut self) -> Result<()> {
        let mut used = Vec::new();
        for generator in self.generators.drain(..) {
            if !Generator::now(&generator.on)?.state.f_equal(&generator.state)? {
                used.push(generator);
            }
        }
        self.generators = used;
        Ok(())
    }

    /// Runs something as if it were then. Afterwards the generators are where they are now.
    pub(crate) fn run<T>(&self, run: impl FnOnce() -> T) -> Result<T> {
        let now = self.generators.iter().map(|generator| Generator::now(&generator.on));
        let _back = Restore(now.collect::<Result<_>>()?);
        self.generators.iter().try_for_each(Generator::set)?;
        let _before = self.autocast.enter();
        Ok(run())
    }
}

/// 64 random bits of the CPU's generator.
pub(crate) fn random64() -> Result<u64> {
    let (mut bits, mut error) = (0, String::new());
    // SAFETY: segment.cpp defines it with these parameters. It writes a number, and passes `tell` the `error` that is borrowed
    // here.
    let worked = unsafe { tch_dropout_random64(&mut bits, tell, (&raw mut error).cast()) };
    if worked { Ok(bits) } else { Err(TchError::Torch(error).into()) }
}

/// The seed of the generator on a GPU tensor's device, and an offset that nobody else gets: the generator moves on, as for a
/// kernel of libtorch's that draws four numbers a thread. Waits for nothing.
pub(crate) fn take_offset(on: &Tensor) -> Result<(u64, u64)> {
    let (mut seed, mut offset, mut error) = (0, 0, String::new());
    // SAFETY: segment.cpp defines it with these parameters. It asks the tensor for its device, writes two numbers, and passes
    // `tell` the `error` that is borrowed here.
    let worked = unsafe {
        let error = (&raw mut error).cast();
        tch_dropout_take_offset(on.as_ptr(), &mut seed, &mut offset, tell, error)
    };
    if worked { Ok((seed, offset)) } else { Err(TchError::Torch(error).into()) }
}

/// Sets generators, even after a panic.
struct Restore(Vec<Generator>);

impl Drop for Restore {
    fn drop(&mut self) {
        for generator in &self.0 {
            // It has had this state before.
            let _ = generator.set();
        }
    }
}

/// Autocast on one thread, on the CPU and on CUDA devices. Not through `tch::autocast`, which knows but the latter,
/// is left on by a panic, and has libtorch print warnings.
#[repr(C)]
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Autocast {
    pub(super) enabled: [bool; 2],
    /// libtorch's numbers of the kinds to compute in.
    pub(super) kind: [i8; 2],
}

impl Autocast {
    pub(super) fn now() -> Self {
        tch_dropout_autocast()
    }

    /// Makes it this thread's, until what it returns is dropped.
    pub(super) fn enter(self) -> impl Drop {
        let before = Autocast::now();
        tch_dropout_enter_autocast(self);
        Leave(before)
    }
}

/// Leaves autocast, even after a panic.
struct Leave(Autocast);

impl Drop for Leave {
    fn drop(&mut self) {
        tch_dropout_leave_autocast(self.0);
    }
}

/// The state of the generator on a tensor's device.
pub(crate) struct Generator {
    pub(crate) on: Tensor,
    pub(crate) state: Tensor,
}

impl Generator {
    pub(crate) fn now(on: &Tensor) -> Result<Self> {
        let mut error = String::new();
        // SAFETY: segment.cpp defines it with these parameters. It asks the tensor for its device, and passes `tell` the
        // `error` that is borrowed here.
        let state =
            unsafe { tch_dropout_generator_state(on.as_ptr(), tell, (&raw mut error).cast()) };
        if state.is_null() {
            return Err(TchError::Torch(error).into());
        }
        // SAFETY: segment.cpp returns `new at::Tensor`, which nobody else has and tch deletes.
        let state = unsafe { Tensor::from_ptr(state) };
        Ok(Generator { on: on.shallow_clone(), state })
    }

    pub(crate) fn set(&self) -> Result<()> {
        let mut error = String::new();
        let (on, state) = (self.on.as_ptr(), self.state.as_ptr());
        // SAFETY: segment.cpp defines it with these parameters. It reads the tensors during the call, and passes `tell` the
        // `error` that is borrowed here.
        let worked =
            unsafe { tch_dropout_set_generator_state(on, state, tell, (&raw mut error).cast()) };
        if worked { Ok(()) } else { Err(TchError::Torch(error).into()) }
    }
}

unsafe extern "C" {
    safe fn tch_dropout_is_recorded() -> bool;
    safe fn tch_dropout_autocast() -> Autocast;
    safe fn tch_dropout_enter_autocast(autocast: Autocast);
    safe fn tch_dropout_leave_autocast(before: Autocast);
    fn tch_dropout_random64(bits: *mut u64, tell: Tell, to: *mut c_void) -> bool;
    fn tch_dropout_take_offset(
        on: *const C_tensor,
        seed: *mut u64,
        offset: *mut u64,
        tell: Tell,
        to: *mut c_void,
    ) -> bool;
    fn tch_dropout_generator_state(
        on: *const C_tensor,
        tell: Tell,
        to: *mut c_void,
    ) -> *mut C_tensor;
    fn tch_dropout_set_generator_state(
        on: *const C_tensor,
        state: *const C_tensor,
        tell: Tell,
        to: *mut c_void,
    ) -> bool;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A CPU's generator has no offset. (tests/cuda.rs asks a GPU's.)
    #[test]
    fn a_generator_without_offsets_is_an_error() {
        let x = Tensor::zeros([1], (Kind::Float, Device::Cpu));
        assert!(take_offset(&x).is_err());
    }
}
