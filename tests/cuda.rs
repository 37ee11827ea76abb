//! On a GPU. Each test says so when it skips.

mod common;

use common::{SHAPES, assert_binomial, assert_same_bits, count_kept};
use tch::nn::{self, ModuleT};
use tch::{Cuda, Device, Kind, Tensor};
use tch_dropout::{AlphaDropout, Dropout, GaussianDropout, TrueDropout, drop_connect};

fn gpu() -> Option<Device> {
    if Cuda::is_available() {
        return Some(Device::Cuda(0));
    }
    let reason =
        if tch::utils::has_cudart() { "libtorch finds no GPU" } else { "libtorch has no CUDA" };
    println!("skipped: {reason}");
    None
}

#[test]
fn a_seed_gives_the_mask_that_it_gives_on_a_cpu() {
    let Some(gpu) = gpu() else { return };
    for kind in [Kind::Float, Kind::Double, Kind::Half, Kind::BFloat16] {
        for (shape, p) in SHAPES.into_iter().flat_map(|shape| [(shape.clone(), 0.3), (shape, 0.5)])
        {
            let x = Tensor::ones([64, 48, 5], (kind, Device::Cpu));
            let layer =
                || TrueDropout::new(p).unwrap().with_noise_shape(shape.clone()).with_seed(7);
            let y = layer().forward_t(&x.to_device(gpu), true);
            assert_eq!((y.device(), y.kind()), (gpu, kind));
            assert_same_bits(&y.to_device(Device::Cpu), &layer().forward_t(&x, true));
        }
    }
}

#[test]
fn a_large_mask_is_the_cpus_too() {
    let Some(gpu) = gpu() else { return };
    let x = Tensor::ones([3000, 3001], (Kind::Float, Device::Cpu));
    for p in [0.5, 0.1, 1e-6] {
        let layer = || TrueDropout::elements(p).unwrap().with_seed(7);
        let y = layer().forward_t(&x.to_device(gpu), true);
        assert_same_bits(&y.to_device(Device::Cpu), &layer().forward_t(&x, true));
    }
}

#[test]
fn the_other_layers_draw_what_they_draw_on_a_cpu() {
    let Some(gpu) = gpu() else { return };
    let x = Tensor::ones([300, 100], (Kind::Float, Device::Cpu));
    let gaussian = || GaussianDropout::elements(0.3).unwrap().with_seed(7);
    let mask = gaussian().draw_mask(&x.to_device(gpu), true).unwrap();
    assert_same_bits(&mask.to_device(Device::Cpu), &gaussian().draw_mask(&x, true).unwrap());
    // Its output has two values; which element has which is the draw.
    let alpha = || AlphaDropout::elements(0.3).unwrap().with_seed(7);
    let y = alpha().forward_t(&x.to_device(gpu), true).to_device(Device::Cpu);
    assert_eq!(y.gt(0), alpha().forward_t(&x, true).gt(0));
}

#[test]
fn without_a_seed_the_gpu_draws() {
    let Some(gpu) = gpu() else { return };
    for p in [0.1, 0.5, 0.9] {
        for shape in SHAPES {
            let x = Tensor::ones([1000, 1000], (Kind::Float, gpu));
            let layer = TrueDropout::new(p).unwrap().with_noise_shape(shape);
            let mask = layer.draw_mask(&x, true).unwrap();
            assert_eq!(mask.device(), gpu);
            assert_binomial(count_kept(&mask), mask.numel() as f64, 1.0 - p);
            assert!((mask.max().double_value(&[]) - 1.0 / (1.0 - p)).abs() < 1e-5);
        }
    }
}

#[test]
fn manual_seed_decides_on_a_gpu_too() {
    let Some(gpu) = gpu() else { return };
    let x = Tensor::ones([100, 100], (Kind::Float, gpu));
    let draw = || {
        Cuda::manual_seed_all(3);
        Dropout::elements(0.5).unwrap().forward_t(&x, true)
    };
    assert_eq!(draw(), draw());
}

#[test]
fn edges_on_a_gpu() {
    let Some(gpu) = gpu() else { return };
    let x = Tensor::ones([4, 3], (Kind::Float, gpu));
    assert_eq!(TrueDropout::new(1.0).unwrap().forward_t(&x, true), x.zeros_like());
    assert_eq!(TrueDropout::new(0.0).unwrap().forward_t(&x, true).data_ptr(), x.data_ptr());
    assert_eq!(TrueDropout::new(0.5).unwrap().forward_t(&x, false).data_ptr(), x.data_ptr());
    let whole = Tensor::ones([4, 3], (Kind::Int64, gpu));
    assert_eq!(Dropout::new(0.5).unwrap().forward_t(&whole, true).kind(), Kind::Int64);
}

#[test]
fn gradients_on_a_gpu() {
    let Some(gpu) = gpu() else { return };
    let x = Tensor::randn([8, 9], (Kind::Float, gpu)).set_requires_grad(true);
    let layer = TrueDropout::new(0.5).unwrap().with_seed(1);
    layer.forward_t(&x, true).sum(Kind::Float).backward();
    layer.stream().unwrap().set_step(0).unwrap();
    assert_same_bits(&x.grad(), &layer.draw_mask(&x, true).unwrap().expand_as(&x));
}

#[test]
fn drop_connect_on_a_gpu() {
    let Some(gpu) = gpu() else { return };
    let vs = nn::VarStore::new(gpu);
    let layer = drop_connect(vs.root(), 8, 4, Default::default()).unwrap().with_seed(1);
    let y = layer.forward_t(&Tensor::ones([16, 8], (Kind::Float, gpu)), true);
    assert_eq!((y.device(), y.size()), (gpu, vec![16, 4]));
}
