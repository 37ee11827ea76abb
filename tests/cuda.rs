//! On a GPU. Each test says so when it skips.

mod common;
// tch's function takes more arguments in later versions.
#[path = "../src/fused_attention.rs"]
mod fused_attention;
/// What that file asks of its crate; these tests record no trace through it.
pub(crate) mod trace {
    pub(crate) fn is_tracing() -> bool {
        false
    }
}

use std::sync::MutexGuard;
#[cfg(recompute)]
use std::sync::{Arc, Mutex};

use common::{
    SHAPES, alone, assert_binomial, assert_close, assert_same_bits, channels_last, count_kept,
    elements,
};
use fused_attention::fused_attention;
use tch::nn::{self, ModuleT};
use tch::{Cuda, Device, Kind, Tensor};
use tch_dropout::{
    AlphaDropout, Attention, Dropout, GaussianDropout, NoiseShape, TrueDropout, checkpoint,
    drop_connect,
};

const FLOATS: [Kind; 4] = [Kind::Float, Kind::Double, Kind::Half, Kind::BFloat16];

/// The GPU and its generator, for one test at a time.
fn gpu() -> Option<(Device, MutexGuard<'static, ()>)> {
    if Cuda::is_available() {
        return Some((Device::Cuda(0), alone()));
    }
    let reason =
        if tch::utils::has_cudart() { "libtorch finds no GPU" } else { "libtorch has no CUDA" };
    println!("skipped: {reason}");
    None
}

/// What both devices make of the same input with the same layer.
#[track_caller]
fn assert_same_on(gpu: Device, x: &Tensor, forward: impl Fn(&Tensor) -> Tensor) {
    let there = forward(&x.to_device(gpu));
    assert_eq!(there.device(), gpu);
    assert_same_bits(&there.to_device(Device::Cpu), &forward(x));
}

/// A mask's sizes on both sides of what a block of the kernel has: a tile, and two of them.
const SIZES: [i64; 8] = [1, 5, 2047, 2048, 2049, 4096, 4097, 1_000_003];

#[test]
fn a_seed_gives_the_product_that_it_gives_on_a_cpu() {
    let Some((gpu, _alone)) = gpu() else { return };
    for (kind, size) in FLOATS.into_iter().flat_map(|kind| SIZES.map(|size| (kind, size))) {
        let x = Tensor::randn([size], (Kind::Float, Device::Cpu)).to_kind(kind);
        for p in [0.1, 0.5, 1.0 / 3.0, 0.999, 1.0] {
            let layer = || elements(p).with_seed(7);
            assert_same_on(gpu, &x, |x| layer().forward_t(x, true));
            assert_same_on(gpu, &x, |x| layer().forward_add(x, &(x * 3.0), true));
            assert_same_on(gpu, &x, |x| layer().draw_mask(x, true).unwrap());
        }
        assert_same_on(gpu, &x, |x| {
            AlphaDropout::elements(0.3).unwrap().with_seed(7).forward_t(x, true)
        });
        let gaussian = || GaussianDropout::elements(0.3).unwrap().with_seed(7);
        assert_same_on(gpu, &x, |x| gaussian().forward_t(x, true));
        assert_same_on(gpu, &x, |x| gaussian().draw_mask(x, true).unwrap());
    }
}

#[test]
fn a_seed_gives_the_mask_of_each_noise_shape_that_it_gives_on_a_cpu() {
    let Some((gpu, _alone)) = gpu() else { return };
    for kind in FLOATS {
        for shape in SHAPES {
            let x = Tensor::ones([64, 48, 5], (kind, Device::Cpu));
            let layer =
                || TrueDropout::new(0.3).unwrap().with_noise_shape(shape.clone()).with_seed(7);
            assert_same_on(gpu, &x, |x| layer().forward_t(x, true));
        }
    }
    for kind in [Kind::Uint8, Kind::Int8, Kind::Int16, Kind::Int, Kind::Int64, Kind::Bool] {
        let x = Tensor::ones([70, 90], (kind, Device::Cpu));
        assert_same_on(gpu, &x, |x| {
            Dropout::elements(0.3).unwrap().with_seed(7).forward_t(x, true)
        });
    }
}

/// Channels last, transposed, one element into their memory, with gaps, expanded.
#[test]
fn a_seed_gives_the_product_of_any_layout_that_it_gives_on_a_cpu() {
    let Some((gpu, _alone)) = gpu() else { return };
    let x = Tensor::randn([4, 30, 17, 19], (Kind::Float, Device::Cpu));
    let views: [fn(&Tensor) -> Tensor; 5] = [
        channels_last,
        |x| x.transpose(0, 3),
        |x| x.flatten(0, -1).narrow(0, 1, 30_000),
        |x| x.slice(2, 0, 17, 2),
        |x| x.narrow(0, 0, 1).expand([4, 30, 17, 19], false),
    ];
    for view in views {
        assert_same_on(gpu, &x, |x| elements(0.3).with_seed(7).forward_t(&view(x), true));
    }
}

#[test]
fn a_large_mask_is_the_cpus_too() {
    let Some((gpu, _alone)) = gpu() else { return };
    let x = Tensor::ones([3000, 3001], (Kind::Float, Device::Cpu));
    for p in [0.5, 0.1, 1e-6] {
        assert_same_on(gpu, &x, |x| elements(p).with_seed(7).forward_t(x, true));
    }
}

#[test]
fn without_a_seed_the_gpu_draws() {
    let Some((gpu, _alone)) = gpu() else { return };
    for p in [0.1, 0.5, 0.9] {
        for shape in SHAPES {
            let x = Tensor::ones([1000, 1000], (Kind::Float, gpu));
            let layer = TrueDropout::new(p).unwrap().with_noise_shape(shape);
            let mask = layer.draw_mask(&x, true).unwrap();
            assert_eq!(mask.device(), gpu);
            assert_binomial(count_kept(&mask), mask.numel() as f64, 1.0 - p);
            // In single precision; libtorch's own kernel, where there is none of ours, computes 1 - p there, too.
            let scale = mask.max().double_value(&[]) * (1.0 - p);
            assert!(scale == 0.0 || (scale - 1.0).abs() < 1e-6, "{scale}");
        }
    }
}

#[test]
fn manual_seed_decides_on_a_gpu_too() {
    let Some((gpu, _alone)) = gpu() else { return };
    let x = Tensor::ones([100, 100], (Kind::Float, gpu));
    for shape in SHAPES {
        let layer = Dropout::new(0.5).unwrap().with_noise_shape(shape);
        let draw = |seed: &dyn Fn()| {
            seed();
            [layer.forward_t(&x, true), layer.forward_t(&x, true)]
        };
        let [first, second] = draw(&|| Cuda::manual_seed_all(3));
        let again = draw(&|| Cuda::manual_seed_all(3));
        let by_tch = draw(&|| tch::manual_seed(3));
        assert_eq!([&first, &second], [&again[0], &again[1]]);
        assert_eq!([&first, &second], [&by_tch[0], &by_tch[1]]);
    }
}

/// Two draws share no mask; nor do two that an operation of libtorch's lies between, and the generator moves for both.
#[test]
fn draws_without_a_seed_have_numbers_of_their_own() {
    let Some((gpu, _alone)) = gpu() else { return };
    let x = Tensor::ones([1000, 1000], (Kind::Float, gpu));
    let layer = Dropout::elements(0.5).unwrap();
    let agree = |a: &Tensor, b: &Tensor| a.eq_tensor(b).sum(Kind::Double).double_value(&[]);
    Cuda::manual_seed_all(3);
    let untouched = Tensor::rand([4], (Kind::Float, gpu));
    Cuda::manual_seed_all(3);
    let first = layer.forward_t(&x, true);
    let moved = Tensor::rand([4], (Kind::Float, gpu));
    assert_ne!(untouched, moved);
    let masks =
        [first, layer.forward_t(&x, true), x.dropout(0.5, true).ge(1.5).to_kind(Kind::Float)];
    for (i, a) in masks.iter().enumerate() {
        masks[..i].iter().for_each(|b| assert_binomial(agree(a, b), 1e6, 0.5));
    }
}

#[test]
fn gradients_are_the_mask() {
    let Some((gpu, _alone)) = gpu() else { return };
    for layer in [elements(0.5), elements(0.5).with_seed(1), TrueDropout::columns(0.5).unwrap()] {
        let x = (Tensor::rand([800, 900], (Kind::Float, gpu)) + 0.5).set_requires_grad(true);
        let residual = x.detach().set_requires_grad(true);
        let y = layer.forward_add(&x, &residual, true);
        y.sum(Kind::Float).backward();
        assert_eq!(x.grad().ne(0), y.gt_tensor(&residual));
        assert_close(&(&residual + x.grad() * &x), &y, 1e-5);
        assert_eq!(residual.grad(), residual.ones_like());
    }
}

/// A mask that broadcasts, and is too large to be kept.
#[test]
fn a_large_mask_of_a_noise_shape_is_drawn_again() {
    let Some((gpu, _alone)) = gpu() else { return };
    for layer in [
        TrueDropout::shared(0.5, &[0]).unwrap(),
        TrueDropout::shared(0.5, &[0]).unwrap().with_seed(1),
    ] {
        let x = (Tensor::rand([3, 700, 800], (Kind::Float, gpu)) + 0.5).set_requires_grad(true);
        let y = layer.forward_t(&x, true);
        assert_eq!(y.get(0).ne(0), y.get(2).ne(0));
        y.sum(Kind::Float).backward();
        assert_close(&(x.grad() * &x), &y, 1e-5);
    }
}

/// In the backward pass, on libtorch's thread for the device.
#[test]
fn a_checkpoint_draws_the_same_masks_whatever_others_draw() {
    let Some((gpu, _alone)) = gpu() else { return };
    let x = (Tensor::rand([800, 900], (Kind::Float, gpu)) + 0.5).set_requires_grad(true);
    for layer in [elements(0.5), elements(0.5).with_seed(1)] {
        let y = checkpoint(move |x| layer.forward_t(&layer.forward_t(x, true), true), &x);
        let _ = elements(0.5).forward_t(&x, true);
        let mut x = x.shallow_clone();
        x.zero_grad();
        y.sum(Kind::Float).backward();
        assert_close(&(x.grad() * &x), &y, 1e-5);
    }
}

#[test]
fn threads_draw_the_cpus_masks() {
    let Some((gpu, _alone)) = gpu() else { return };
    let x = Tensor::ones([300, 301], (Kind::Float, Device::Cpu));
    let draw = |x: &Tensor, thread: u64| {
        let layer = elements(0.3).with_seed(thread);
        (0..50).map(|_| layer.forward_t(x, true).to_device(Device::Cpu)).collect::<Vec<_>>()
    };
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let x = x.shallow_clone();
            scope.spawn(move || {
                let there = draw(&x.to_device(gpu), thread);
                there.iter().zip(&draw(&x, thread)).for_each(|(a, b)| assert_same_bits(a, b));
            });
        }
    });
}

/// Each has a context of its own; needs two.
#[test]
fn every_gpu_draws_the_cpus_masks() {
    let Some((_, _alone)) = gpu() else { return };
    let count = Cuda::device_count() as usize;
    if count < 2 {
        println!("skipped in part: there is one GPU");
    }
    let x = Tensor::randn([300, 301], (Kind::Float, Device::Cpu));
    for index in (0..count).rev() {
        assert_same_on(Device::Cuda(index), &x, |x| elements(0.3).with_seed(7).forward_t(x, true));
    }
}

#[test]
fn edges_on_a_gpu() {
    let Some((gpu, _alone)) = gpu() else { return };
    let x = Tensor::ones([4, 3], (Kind::Float, gpu));
    for shape in [NoiseShape::Columns, NoiseShape::Elements] {
        let layer = |p| TrueDropout::new(p).unwrap().with_noise_shape(shape.clone());
        assert_eq!(layer(1.0).forward_t(&x, true), x.zeros_like());
        assert_eq!(layer(0.0).forward_t(&x, true).data_ptr(), x.data_ptr());
        assert_eq!(layer(0.5).forward_t(&x, false).data_ptr(), x.data_ptr());
        let empty = x.narrow(0, 0, 0);
        assert_eq!(layer(0.5).forward_t(&empty, true).size(), [0, 3]);
    }
    let whole = Tensor::ones([4, 3], (Kind::Int64, gpu));
    assert_eq!(Dropout::new(0.5).unwrap().forward_t(&whole, true).kind(), Kind::Int64);
}

#[test]
fn drop_connect_on_a_gpu() {
    let Some((gpu, _alone)) = gpu() else { return };
    let vs = nn::VarStore::new(gpu);
    let layer = drop_connect(vs.root(), 8, 4, Default::default()).unwrap().with_seed(1);
    let y = layer.forward_t(&Tensor::ones([16, 8], (Kind::Float, gpu)), true);
    assert_eq!((y.device(), y.size()), (gpu, vec![16, 4]));
}

/// A checkpoint runs its segment again as it ran it first: with autocast on, or off.
#[cfg(recompute)]
#[test]
fn a_segment_is_run_again_with_the_autocast_of_its_first_run() {
    let Some((gpu, _alone)) = gpu() else { return };
    let x = Tensor::randn([16, 8], (Kind::Float, gpu)).set_requires_grad(true);
    let w = Tensor::randn([8, 8], (Kind::Float, gpu)).set_requires_grad(true);
    for on in [true, false] {
        let kinds = Arc::new(Mutex::new(Vec::new()));
        let (seen, shared) = (Arc::clone(&kinds), w.shallow_clone());
        let segment = move |x: &Tensor| {
            let y = x.matmul(&shared);
            seen.lock().unwrap().push(y.kind());
            y
        };
        let y = tch::autocast(on, || checkpoint(segment, &x));
        // The backward pass is called the other way.
        tch::autocast(!on, || y.to_kind(Kind::Float).sum(Kind::Float).backward());
        let kinds = kinds.lock().unwrap();
        assert_eq!(kinds.len(), 2);
        assert_eq!(kinds[0] == Kind::Half, on);
        assert_eq!(kinds[0], kinds[1]);
    }
}

/// Flash and memory-efficient attention draw from the generator that `manual_seed` sets, and keep no weights.
#[test]
fn attention_without_a_seed_is_libtorchs() {
    let Some((gpu, _alone)) = gpu() else { return };
    for (kind, masked) in [(Kind::Float, false), (Kind::BFloat16, false), (Kind::Float, true)] {
        let inputs =
            [(); 3].map(|()| Tensor::randn([2, 4, 512, 64], (kind, gpu)).set_requires_grad(true));
        let [query, key, value] = inputs.each_ref();
        let mask = masked.then(|| Tensor::randn([1, 1, 512, 512], (kind, gpu)));
        let layer = Attention::new(0.1).unwrap();
        let ours = || {
            tch::manual_seed(5);
            layer.forward(query, key, value, mask.as_ref(), true)
        };
        let theirs = || {
            tch::manual_seed(5);
            fused_attention(
                inputs.each_ref(),
                mask.as_ref().map(Tensor::shallow_clone),
                0.1,
                false,
                None,
            )
            .unwrap()
        };
        assert_same_bits(&ours(), &theirs());
        let gradients =
            |y: Tensor| Tensor::run_backward(&[y.sum(Kind::Float)], &inputs, false, false);
        for (ours, theirs) in gradients(ours()).iter().zip(gradients(theirs())) {
            assert_close(ours, &theirs, 1e-2);
        }
        assert_ne!(
            layer.forward(query, key, value, None, true),
            layer.forward(query, key, value, None, true)
        );
        let in_evaluation = fused_attention(inputs.each_ref(), None, 0.0, false, None).unwrap();
        assert_same_bits(&layer.forward(query, key, value, None, false), &in_evaluation);
    }
}

/// In blocks, on a GPU: the definition's output and gradients, with the CPU's masks.
#[test]
fn attention_with_a_seed_is_the_cpus() {
    let Some((gpu, _alone)) = gpu() else { return };
    for length in [300, 2100] {
        let inputs =
            [(); 3].map(|()| Tensor::randn([1, 2, length, 16], (Kind::Double, Device::Cpu)));
        let all = |device| {
            let inputs = inputs.each_ref().map(|x| x.to_device(device).set_requires_grad(true));
            let layer = Attention::new(0.3).unwrap().with_causal(true).with_seed(7);
            let y = layer.forward(&inputs[0], &inputs[1], &inputs[2], None, true);
            let gradients =
                Tensor::run_backward(&[y.sin().sum(Kind::Double)], &inputs, false, false);
            [y].into_iter().chain(gradients).map(|x| x.to_device(Device::Cpu)).collect::<Vec<_>>()
        };
        for (there, here) in all(gpu).iter().zip(all(Device::Cpu)) {
            assert_close(there, &here, 1e-10);
        }
    }
}
