//! What is kept for each GPU: its context, and the kernels that have been loaded.
#![allow(unsafe_code, reason = "hands tensors' memory to a kernel")]

use std::ptr;
use std::sync::OnceLock;

use tch::{Device, Kind, Tensor};

use super::driver::{Context, Driver, Function, Job};
use super::kernels::Kernel;
use crate::cpu;
use crate::effect::{Affine, Outcome};
use crate::error::{Error, Result};
use crate::kind::{mask_bits, rounded};
use crate::layout::Layout;
use crate::numbers::{Numbers, PLANES};
use crate::probability::Probability;
use crate::rng::counter::{Counter, TILE};

/// Threads of a block: `TEAM` in dropout.cu.
const TEAM: u32 = 128;
/// Blocks for each multiprocessor, of which half are resident at a time. More would only have to begin.
const BLOCKS_PER_PROCESSOR: u64 = 16;

/// A GPU that can run our kernels.
pub(super) struct Gpu {
    driver: &'static Driver,
    context: Context,
    index: usize,
    processors: u32,
    /// Where its tensors are.
    pub(super) device: Device,
    /// In the order of [`Kernel::ALL`]: `None` for one that this GPU cannot run, or not as the CPU does.
    kernels: [OnceLock<Option<Function>>; Kernel::ALL.len()],
}

impl Gpu {
    /// The GPU of that index, if there is a driver that is new enough. It is asked once.
    pub(super) fn get(index: usize) -> Option<&'static Gpu> {
        static DRIVER: OnceLock<Option<Driver>> = OnceLock::new();
        static GPUS: [OnceLock<Option<Gpu>>; 64] = [const { OnceLock::new() }; 64];
        let make = || {
            let driver = DRIVER.get_or_init(Driver::of_this_machine).as_ref()?;
            Gpu::new(driver, index, Device::Cuda(index)).ok()
        };
        GPUS.get(index)?.get_or_init(make).as_ref()
    }

    pub(super) fn new(driver: &'static Driver, index: usize, device: Device) -> Result<Gpu> {
        let (context, processors) = driver.context(index)?;
        let kernels = [const { OnceLock::new() }; Kernel::ALL.len()];
        Ok(Gpu { driver, context, index, processors, device, kernels })
    }

    /// A mask with these numbers, in the order of memory; or with `inputs`, their product with it. `None` if this GPU
    /// cannot do as the CPU does.
    pub(super) fn write(
        &self,
        numbers: &Numbers,
        layout: &Layout,
        inputs: Inputs,
    ) -> Result<Option<Tensor>> {
        let kernel = match inputs {
            Inputs::None => Kernel::of_mask(numbers.outcome, layout.kind),
            Inputs::X(_) => Kernel::of_product(numbers.outcome, layout.kind, false),
            Inputs::XAndResidual(..) => Kernel::of_product(numbers.outcome, layout.kind, true),
        };
        let Some(kernel) = kernel else { return Ok(None) };
        let function = self.function(kernel, numbers.outcome, layout.kind, inputs);
        function.map(|function| self.launch(function, numbers, layout, inputs)).transpose()
    }

    /// A kernel, if this GPU can run it as the CPU does. That is found out once, but not while memory is short: then the
    /// next call tries again.
    fn function(
        &self,
        kernel: Kernel,
        outcome: Outcome,
        kind: Kind,
        inputs: Inputs,
    ) -> Option<Function> {
        let known = &self.kernels[kernel as usize];
        if let Some(&known) = known.get() {
            return known;
        }
        let load = || {
            let function = self.load(kernel)?;
            Ok(self.is_exact(function, outcome, kind, inputs)?.then_some(function))
        };
        let found = load();
        if found.as_ref().is_err_and(is_out_of_memory) {
            return None;
        }
        *known.get_or_init(|| found.unwrap_or(None))
    }

    pub(super) fn load(&self, kernel: Kernel) -> Result<Function> {
        self.driver.load(self.context, kernel.ptx(), kernel.name())
    }

    /// Whether a kernel that has just been loaded writes what the CPU writes: a few tiles, on inputs of these kinds.
    fn is_exact(
        &self,
        function: Function,
        outcome: Outcome,
        kind: Kind,
        inputs: Inputs,
    ) -> Result<bool> {
        let outcome = match outcome {
            Outcome::Bernoulli(affine) if affine.has_shift() => {
                Outcome::Bernoulli(Affine { scale: 1.25, shift_kept: 0.5, shift_dropped: -1.0 })
            }
            Outcome::Bernoulli(_) => Outcome::Bernoulli(Affine::times(1.25)),
            Outcome::Normal { .. } => Outcome::Normal { deviation: 0.5 },
        };
        let counter = Counter::of_stream(1, 2, 3, 4);
        let numbers = Numbers::new(counter, Probability::new(0.1)?, outcome);
        let layout = Layout::contiguous(&[10 * TILE as i64 - 1], kind);
        // Each of them another, and rounded: a vector in the wrong order, or two operations in one, shows.
        let here = Tensor::f_arange(layout.size[0], (Kind::Float, Device::Cpu))?;
        let here = here.f_div_scalar(3.0)?.f_to_kind(kind)?;
        let there = here.f_to_device(self.device)?;
        let (expected, inputs) = match inputs {
            Inputs::None => (Some(cpu::mask(&numbers, &layout)?), Inputs::None),
            Inputs::X(_) => (cpu::product(&numbers, &layout, &here, None)?, Inputs::X(&there)),
            Inputs::XAndResidual(..) => {
                let expected = cpu::product(&numbers, &layout, &here, Some(&here))?;
                (expected, Inputs::XAndResidual(&there, &there))
            }
        };
        let written = self.launch(function, &numbers, &layout, inputs)?;
        let written = written.f_to_device(Device::Cpu)?;
        Ok(expected.is_some_and(|expected| written.f_equal(&expected).unwrap_or(false)))
    }

    /// Writes a new tensor, and does not wait for it.
    pub(super) fn launch(
        &self,
        function: Function,
        numbers: &Numbers,
        layout: &Layout,
        inputs: Inputs,
    ) -> Result<Tensor> {
        let y = layout.empty(self.device)?;
        let elements = y.numel() as u64;
        if elements == 0 {
            return Ok(y);
        }
        let (x, residual) = inputs.both();
        let memory = |input: Option<&Tensor>| input.map_or(ptr::null_mut(), Tensor::data_ptr);
        for tensor in [x, residual].into_iter().flatten().chain([&y]) {
            assert!(
                tensor.device() == self.device && layout.is_of(tensor),
                "a kernel's tensors must lie as its layout has them, on its GPU"
            );
        }
        let job = Job {
            x: memory(x).cast_const(),
            residual: memory(residual).cast_const(),
            y: y.data_ptr(),
            elements,
            ..Job::of(numbers, layout.kind)?
        };
        let blocks = elements.div_ceil(TILE as u64);
        let blocks = blocks.min(BLOCKS_PER_PROCESSOR * u64::from(self.processors)) as u32;
        // SAFETY: `write` has loaded the function into this context, from the PTX that is for this kind and these
        // inputs. The tensors are dense, of this kind, as long as `y` and on this GPU (asserted above), and libtorch frees
        // them in the order of its stream, or after it. Nobody else has `y` yet; that nobody writes to an input meanwhile
        // is the rule for libtorch's own operations too.
        unsafe {
            self.driver.launch((self.context, self.index), function, (blocks, TEAM), &job)?;
        }
        Ok(y)
    }
}

/// The driver's words and libtorch's have these in common.
fn is_out_of_memory(error: &Error) -> bool {
    error.to_string().contains("out of memory")
}

/// What a kernel reads.
#[derive(Clone, Copy, Debug)]
pub(super) enum Inputs<'a> {
    /// Nothing: it writes the mask itself.
    None,
    X(&'a Tensor),
    XAndResidual(&'a Tensor, &'a Tensor),
}

impl<'a> Inputs<'a> {
    fn both(self) -> (Option<&'a Tensor>, Option<&'a Tensor>) {
        match self {
            Inputs::None => (None, None),
            Inputs::X(x) => (Some(x), None),
            Inputs::XAndResidual(x, residual) => (Some(x), Some(residual)),
        }
    }
}

impl Job {
    /// All but the arrays.
    fn of(numbers: &Numbers, kind: Kind) -> Result<Job> {
        let Numbers { counter, threshold, outcome } = *numbers;
        let (affine, deviation) = match outcome {
            Outcome::Bernoulli(affine) => (affine, 0.0),
            Outcome::Normal { deviation } => (Affine::times(1.0), deviation),
        };
        // Where nothing is kept, all is kept, and then counts as dropped: p = 1 needs a 65th bit.
        let affine = match threshold {
            Some(_) => affine,
            None => Affine { scale: 0.0, shift_kept: affine.shift_dropped, ..affine },
        };
        let threshold = threshold.unwrap_or(0);
        let digits = u64::BITS - threshold.trailing_zeros();
        Ok(Job {
            x: ptr::null(),
            residual: ptr::null(),
            y: ptr::null_mut(),
            elements: 0,
            key: counter.key(),
            high: counter.high(),
            planes_low: counter.plane_low(0, 0),
            pools_low: counter.pool_low(0, 0),
            plane_step: counter.plane_low(0, 1) - counter.plane_low(0, 0),
            threshold,
            keep_bits: mask_bits(kind, affine.scale)?,
            keep: rounded(kind, affine.scale),
            shift_kept: rounded(kind, affine.shift_kept),
            shift_dropped: rounded(kind, affine.shift_dropped),
            deviation,
            planes: digits.min(PLANES) as i32,
            has_ties: i32::from(digits > PLANES),
        })
    }
}
