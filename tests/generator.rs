//! libtorch's generator of the CPU and its threads. Both belong to the whole process, so that one test runs
//! at a time here.

mod common;

use std::env;
use std::process::Command;

use common::{alone, assert_same_bits, elements};
use tch::nn::ModuleT;
use tch::{CModule, Device, Kind, Tensor};
use tch_dropout::{NoiseShape, TrueDropout};
#[cfg(recompute)]
use tch_dropout::{generator_state, set_generator_state};

/// Whatever device the other tests are on.
const FLOAT: (Kind, Device) = (Kind::Float, Device::Cpu);

/// What libtorch draws next, after `before` from a fixed seed.
fn next_after(before: impl FnOnce()) -> Tensor {
    tch::manual_seed(5);
    before();
    Tensor::rand([4], FLOAT)
}

#[test]
fn manual_seed_decides_layers_without_a_stream() {
    let _alone = alone();
    let x = Tensor::ones([64, 64], FLOAT);
    for shape in [NoiseShape::Columns, NoiseShape::Elements, NoiseShape::Samples] {
        let layer = TrueDropout::new(0.5).unwrap().with_noise_shape(shape);
        let draw = |seed| {
            tch::manual_seed(seed);
            [layer.forward_t(&x, true), layer.forward_t(&x, true)]
        };
        let (first, again, other) = (draw(11), draw(11), draw(12));
        assert_same_bits(&first[0], &again[0]);
        assert_same_bits(&first[1], &again[1]);
        assert_ne!(first[0], first[1]);
        assert_ne!(first[0], other[0]);
    }
}

#[test]
fn manual_seed_decides_a_traced_model() {
    let _alone = alone();
    let x = Tensor::ones([30, 20], FLOAT);
    for shape in [NoiseShape::Columns, NoiseShape::Elements] {
        let layer = TrueDropout::new(0.5).unwrap().with_noise_shape(shape);
        let mut model = |x: &[Tensor]| vec![layer.forward_t(&x[0], true)];
        let example = [x.shallow_clone()];
        let traced = CModule::create_by_tracing("Model", "forward", &example, &mut model).unwrap();
        let call = |seed| {
            tch::manual_seed(seed);
            traced.forward_ts(&[&x]).unwrap()
        };
        let first = call(1);
        assert_ne!(first, call(2));
        assert_same_bits(&first, &call(1));
    }
}

#[test]
fn a_forward_takes_one_draw_whatever_its_size() {
    let _alone = alone();
    let forward = |size: &[i64]| drop(elements(0.5).forward_t(&Tensor::ones(size, FLOAT), true));
    let after_one = next_after(|| forward(&[1]));
    assert_ne!(after_one, next_after(|| ()));
    assert_same_bits(&next_after(|| forward(&[1000, 1000])), &after_one);
}

#[test]
fn streams_evaluation_and_silence_take_none() {
    let _alone = alone();
    let x = Tensor::ones([4, 3], FLOAT);
    let untouched = next_after(|| ());
    assert_same_bits(
        &next_after(|| drop(elements(0.5).with_seed(1).forward_t(&x, true))),
        &untouched,
    );
    assert_same_bits(&next_after(|| drop(elements(0.5).forward_t(&x, false))), &untouched);
    assert_same_bits(&next_after(|| drop(elements(0.0).forward_t(&x, true))), &untouched);
    let empty = Tensor::zeros([0, 3], FLOAT);
    assert_same_bits(&next_after(|| drop(elements(0.5).forward_t(&empty, true))), &untouched);
}

#[test]
fn one_thread_and_many_give_the_same_bits() {
    let _alone = alone();
    let threads_before = tch::get_num_threads();
    for kind in [Kind::Float, Kind::Double, Kind::BFloat16] {
        // Around the boundaries of blocks, of threads, and large.
        for n in [1, 127, 128, 129, 16_384, 32_769, 100_003, 3_000_001] {
            let x = Tensor::ones([n], (kind, Device::Cpu));
            for p in [0.1, 0.5, 1.0] {
                let draw = |threads| {
                    tch::set_num_threads(threads);
                    tch::manual_seed(1);
                    (elements(p).forward_t(&x, true), elements(p).with_seed(1).forward_t(&x, true))
                };
                let expected = draw(1);
                for threads in [2, 3, 8] {
                    let masks = draw(threads);
                    assert_same_bits(&masks.0, &expected.0);
                    assert_same_bits(&masks.1, &expected.1);
                }
            }
        }
    }
    tch::set_num_threads(threads_before);
}

/// Numbers whose key comes from libtorch's generator are of another kind than those of a seed, whatever
/// the key.
#[test]
fn no_draw_of_libtorchs_gives_the_masks_of_a_seed() {
    let _alone = alone();
    let x = Tensor::ones([1000], FLOAT);
    tch::manual_seed(5);
    let key = Tensor::empty([], (Kind::Int64, Device::Cpu)).random_from_(i64::MIN, None);
    let key = key.int64_value(&[]) as u64;
    tch::manual_seed(5);
    let unseeded = elements(0.5).forward_t(&x, true);
    assert_ne!(unseeded, elements(0.5).with_seed(key).forward_t(&x, true));
}

/// With C++ and without, a key is what `random_` over all numbers draws, and the generator is then where that leaves it:
/// the masks of a `manual_seed` are the same in both builds.
#[test]
fn a_key_is_the_generators_next_64_bits() {
    let _alone = alone();
    let x = Tensor::ones([100], FLOAT);
    // Normal numbers come in pairs, and leave one behind in the generator.
    for before in [0, 1, 16, 17] {
        let draw = |key: &dyn Fn()| {
            tch::manual_seed(5);
            let _ = Tensor::randn([before], FLOAT);
            key();
            let after = Tensor::randn([3], FLOAT);
            Tensor::cat(&[after, Tensor::rand([3], FLOAT)], 0)
        };
        let by_layer = draw(&|| drop(elements(0.5).forward_t(&x, true)));
        let by_tensor = draw(&|| {
            let key = Tensor::empty([], (Kind::Int64, Device::Cpu));
            let _ = key.shallow_clone().random_from_(i64::MIN, None);
        });
        assert_same_bits(&by_layer, &by_tensor);
    }
}

/// OpenMP may give fewer threads than it is asked for: they share the work of all.
#[cfg(target_os = "linux")]
#[test]
fn a_team_that_is_smaller_than_asked_for_does_all_the_work() {
    const NAME: &str = "a_team_that_is_smaller_than_asked_for_does_all_the_work";
    let _alone = alone();
    // Read when libtorch is loaded, so in a process of its own.
    if env::var("OMP_THREAD_LIMIT").is_err() {
        let mut child = Command::new(env::current_exe().unwrap());
        let child = child.args(["--exact", NAME]).env("OMP_THREAD_LIMIT", "2").output().unwrap();
        let output = String::from_utf8_lossy(&child.stdout);
        assert!(child.status.success() && output.contains("1 passed"), "{output}");
        return;
    }
    let x = Tensor::ones([1_000_003], FLOAT);
    let draw = |threads| {
        tch::set_num_threads(threads);
        elements(0.5).with_seed(1).forward_t(&x, true)
    };
    let expected = draw(1);
    // Not the memory of a mask that was there before.
    let _other = [draw(2), draw(2)].map(|mut y| y.fill_(7.0));
    assert_same_bits(&draw(8), &expected);
}

/// What a run without seeds needs to go on where it was.
#[cfg(recompute)]
#[test]
fn its_state_is_saved_and_set() {
    let _alone = alone();
    let draw = || {
        let x = Tensor::ones([1000], FLOAT);
        [elements(0.5).forward_t(&x, true), x.dropout(0.5, true), x.rand_like()]
    };
    let _ = draw();
    let saved = generator_state(Device::Cpu).unwrap();
    assert_eq!((saved.kind(), saved.device()), (Kind::Uint8, Device::Cpu));
    let file = tempfile::NamedTempFile::with_suffix(".safetensors").unwrap();
    Tensor::write_safetensors(&[("generator", &saved)], file.path()).unwrap();
    let first = draw();
    assert_ne!(generator_state(Device::Cpu).unwrap(), saved);
    tch::manual_seed(5);
    let loaded = Tensor::read_safetensors(file.path()).unwrap().remove(0).1;
    set_generator_state(Device::Cpu, &loaded).unwrap();
    draw().iter().zip(&first).for_each(|(a, b)| assert_same_bits(a, b));

    let with_gaps = Tensor::stack(&[&saved, &saved.zeros_like()], 1).select(1, 0);
    set_generator_state(Device::Cpu, &with_gaps).unwrap();
    assert_eq!(generator_state(Device::Cpu).unwrap(), saved);

    let before = generator_state(Device::Cpu).unwrap();
    for wrong in [Tensor::from_slice(&[1u8, 2]), saved.to_kind(Kind::Float)] {
        assert!(set_generator_state(Device::Cpu, &wrong).is_err());
    }
    assert_eq!(generator_state(Device::Cpu).unwrap(), before);
}

/// A GPU has a generator of its own: one that is not there is an error, and never the CPU's.
#[cfg(recompute)]
#[test]
fn its_state_is_that_of_the_device() {
    let _alone = alone();
    let gpu = Device::Cuda(0);
    let of_cpu = generator_state(Device::Cpu).unwrap();
    if !tch::Cuda::is_available() {
        assert!(generator_state(gpu).is_err());
        assert!(set_generator_state(gpu, &of_cpu).is_err());
        return;
    }
    let draw = || Tensor::rand([1000], (Kind::Float, gpu));
    let saved = generator_state(gpu).unwrap();
    let first = draw();
    set_generator_state(gpu, &saved).unwrap();
    assert_same_bits(&draw(), &first);
    assert_eq!(generator_state(Device::Cpu).unwrap(), of_cpu);
}
