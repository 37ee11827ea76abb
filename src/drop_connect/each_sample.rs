//! A weight for each sample, of which none is kept: a block of samples at a time.

use tch::{Device, Kind, Tensor};

use crate::autograd::{gradients_in_graph, setting, with_inputs};
use crate::error::Result;
use crate::implicit_mask::ImplicitMask;
use crate::product::product;
use crate::rng::counter::TILE;
use crate::trace;

/// How many masked weights a block has, roughly, but it has a sample's at least. In f32 these are 256 KiB, which a
/// second-level cache holds.
const BLOCK: i64 = 1 << 16;

/// The same on a GPU, whose kernels take microseconds to start: 16 MiB in f32.
const BLOCK_OF_GPU: i64 = 1 << 22;

/// Whether blocks can compute this.
pub(super) fn fits(x: &Tensor, weight: &Tensor) -> bool {
    let device = weight.device();
    x.kind() == weight.kind()
        && (device == Device::Cpu || device.is_cuda())
        && !setting::is_autocast()
        && !trace::is_tracing()
}

/// `[N, T, in] · (weight * mask)ᵀ`, where the mask is `[N, out, in]`, in a graph that keeps `x` and the weight. The
/// backward pass draws the mask again.
pub(super) fn multiply(mask: ImplicitMask, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
    let job = Job::new(mask, x, weight);
    let kind = x.kind();
    let y = job.forward(&job.wide(x)?, &job.wide(weight)?)?.f_to_kind(kind)?;
    with_inputs(&[x, weight], y, move |of_y, all, needed| {
        if setting::is_recorded() {
            let definition = |all: &[Tensor]| job.by_definition(&all[0], &all[1]);
            return gradients_in_graph(definition, of_y, all, needed);
        }
        let of_y = job.wide(of_y)?;
        let of_x = needed[0].then(|| job.gradient_of_x(&of_y, &job.wide(&all[1])?)).transpose()?;
        let of_weight =
            needed[1].then(|| job.gradient_of_weight(&of_y, &job.wide(&all[0])?)).transpose()?;
        let in_kind = |found: Option<Tensor>| found.map(|t| t.f_to_kind(kind)).transpose();
        Ok(vec![in_kind(of_x)?, in_kind(of_weight)?])
    })
}

/// What is computed, apart from the inputs' numbers.
struct Job {
    mask: ImplicitMask,
    samples: i64,
    /// How many a block has at most.
    block: i64,
    out_dim: i64,
    in_dim: i64,
    /// The kind that is computed in: half precision is too coarse for a sum over the samples.
    kind: Kind,
}

/// Some samples.
#[derive(Clone, Copy)]
struct Block {
    start: i64,
    samples: i64,
}

impl Job {
    fn new(mask: ImplicitMask, x: &Tensor, weight: &Tensor) -> Self {
        let (samples, size) = (x.size()[0], weight.size());
        let weights = if x.device() == Device::Cpu { BLOCK } else { BLOCK_OF_GPU };
        Job {
            mask,
            samples,
            block: (weights / (size[0] * size[1])).clamp(1, samples),
            out_dim: size[0],
            in_dim: size[1],
            kind: if x.kind() == Kind::Double { Kind::Double } else { Kind::Float },
        }
    }

    /// A tensor as the blocks take it, which no graph knows.
    fn wide(&self, t: &Tensor) -> Result<Tensor> {
        Ok(t.f_detach()?.f_to_kind(self.kind)?)
    }

    fn blocks(&self) -> impl Iterator<Item = Block> {
        let (samples, block) = (self.samples, self.block);
        let starts = (0..samples).step_by(block as usize);
        starts.map(move |start| Block { start, samples: block.min(samples - start) })
    }

    fn forward(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let size = [self.samples, x.size()[1], self.out_dim];
        let y = Tensor::f_empty(size, (self.kind, x.device()))?;
        let memory = Memory::new(self, x.device())?;
        for block in self.blocks() {
            let masked = memory.masked(self, block, |all| Ok(all.f_copy_(weight)?))?;
            let _ = block.of(x)?.f_bmm_out(&block.of(&y)?, &masked.f_transpose(1, 2)?)?;
        }
        Ok(y)
    }

    /// With `g` the output's gradient, `g · (weight * mask)`.
    fn gradient_of_x(&self, of_y: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let size = [self.samples, of_y.size()[1], self.in_dim];
        let of_x = Tensor::f_empty(size, (self.kind, of_y.device()))?;
        let memory = Memory::new(self, of_y.device())?;
        for block in self.blocks() {
            let masked = memory.masked(self, block, |all| Ok(all.f_copy_(weight)?))?;
            let _ = block.of(of_y)?.f_bmm_out(&block.of(&of_x)?, &masked)?;
        }
        Ok(of_x)
    }

    /// With `g` the output's gradient, the sum of `mask * (gᵀ · x)` over all samples.
    fn gradient_of_weight(&self, of_y: &Tensor, x: &Tensor) -> Result<Tensor> {
        let options = (self.kind, x.device());
        let sum = Tensor::f_zeros([1, self.out_dim * self.in_dim], options)?;
        let ones = Tensor::f_ones([1, self.block], options)?;
        let memory = Memory::new(self, x.device())?;
        for block in self.blocks() {
            let (of_y, x) = (block.of(of_y)?.f_transpose(1, 2)?, block.of(x)?);
            let masked = memory.masked(self, block, |all| {
                let _ = of_y.f_bmm_out(all, &x)?;
                Ok(())
            })?;
            let masked = masked.f_view([block.samples, -1])?;
            let _ = sum.shallow_clone().f_addmm_(&ones.f_narrow(1, 0, block.samples)?, &masked)?;
        }
        Ok(sum.f_view([self.out_dim, self.in_dim])?)
    }

    /// The same with weights that the graph keeps, which has higher derivatives.
    fn by_definition(&self, x: &Tensor, weight: &Tensor) -> Result<Tensor> {
        let weights = weight.f_unsqueeze(0)?.f_expand([self.samples, -1, -1], false)?;
        Ok(x.f_bmm(&product(&self.mask, &weights, None)?.f_transpose(1, 2)?)?)
    }
}

impl Block {
    fn of(self, t: &Tensor) -> Result<Tensor> {
        Ok(t.f_narrow(0, self.start, self.samples)?)
    }
}

/// Memory for a block's weights. It begins where a tile of the mask does, at or before the first weight, so that whole
/// tiles can be drawn.
struct Memory(Tensor);

impl Memory {
    fn new(job: &Job, device: Device) -> Result<Self> {
        let weights = (job.block * job.out_dim * job.in_dim) as usize;
        let whole_tiles = (TILE - 1 + weights).next_multiple_of(TILE);
        Ok(Memory(Tensor::f_zeros([whole_tiles as i64], (job.kind, device))?))
    }

    /// What `fill` writes for a block, `[samples, out, in]`, times its part of the mask. What lies around it takes any
    /// values.
    fn masked(
        &self,
        job: &Job,
        block: Block,
        fill: impl FnOnce(&mut Tensor) -> Result<()>,
    ) -> Result<Tensor> {
        let size = [block.samples, job.out_dim, job.in_dim];
        let length = size.iter().product::<i64>();
        let first = (block.start * job.out_dim * job.in_dim) as usize;
        let (tile, offset) = (first / TILE, (first % TILE) as i64);
        let mut weights = self.0.f_narrow(0, offset, length)?.f_view(size)?;
        fill(&mut weights)?;
        let end = ((offset + length) as usize).next_multiple_of(TILE);
        job.mask.multiply_part(tile as u64, &mut self.0.f_narrow(0, 0, end as i64)?)?;
        Ok(weights)
    }
}
