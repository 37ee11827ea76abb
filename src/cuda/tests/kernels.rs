//! Masks and products are the CPU's.

use std::path::Path;

use half::bf16;
use tch::{Device, Kind, Tensor};

use super::emulated::{Emulator, Settings, alone, source};
use crate::cpu;
use crate::cuda::gpu::{Gpu, Inputs};
use crate::cuda::kernels::Kernel;
use crate::effect::{Affine, Outcome};
use crate::layout::Layout;
use crate::numbers::{Numbers, PLANES};
use crate::probability::Probability;
use crate::rng::counter::{Counter, TILE};
use crate::rng::philox::WORDS;

const FLOATS: [Kind; 4] = [Kind::Float, Kind::Double, Kind::Half, Kind::BFloat16];
const INTEGERS: [Kind; 6] =
    [Kind::Uint8, Kind::Int8, Kind::Bool, Kind::Int16, Kind::Int, Kind::Int64];

/// On both sides of every boundary: of vectors, of words, of tiles and of pairs of them.
const SIZES: [i64; 12] = [0, 1, 4, 63, 64, 65, 1000, 2047, 2048, 2049, 4096, 4097];

/// More tiles than blocks.
pub(super) const ROUNDS: i64 = 45_001;

fn probabilities() -> [f64; 9] {
    let power = |n| 2f64.powi(n);
    [power(-66), power(-64), 0.1, 0.25, 0.5, 1.0 / 3.0, 1.0 - 1e-9, 1.0 - power(-53), 1.0]
}

pub(super) fn counter() -> Counter {
    Counter::of_stream(0x1234_5678_9ABC_DEF0, 3, 5, 7_000_000_000)
}

pub(super) fn numbers(p: f64, outcome: Outcome) -> Numbers {
    Numbers::new(counter(), Probability::new(p).unwrap(), outcome)
}

/// Numbers of every sort, on the CPU.
pub(super) fn input(size: &[i64], kind: Kind, seed: i64) -> Tensor {
    let n: i64 = size.iter().product();
    let i = Tensor::arange(n, (Kind::Int64, Device::Cpu)) * 2_654_435_761i64 + seed;
    let x = (i.remainder(100_003).to_kind(Kind::Double) - 50_000.0) / 777.0;
    let special = [f64::INFINITY, f64::NEG_INFINITY, f64::NAN, -0.0, 1e-40, 6e-8, 65_504.0, 1e30];
    let mut x = x.to_kind(kind);
    for (place, &number) in special.iter().enumerate() {
        let here = i.remainder(97).eq(place as i64 + 1);
        let number = Tensor::from(number).to_kind(Kind::Float).to_kind(kind);
        x = number.where_self(&here, &x);
    }
    x.reshape(size)
}

/// The same bits, but that one NaN is another.
pub(super) fn is_same(a: &Tensor, b: &Tensor) -> bool {
    if a.kind() != b.kind() || a.size() != b.size() || a.stride() != b.stride() {
        return false;
    }
    if a.kind() == Kind::Bool || !a.is_floating_point() {
        return a == b;
    }
    let bits = |x: &Tensor| {
        let x = x.flatten(0, -1).nan_to_num(Some(12_345.0), f64::INFINITY, f64::NEG_INFINITY);
        x.view_dtype(if a.kind() == Kind::Double { Kind::Int64 } else { half_or_int(a.kind()) })
    };
    a.isnan() == b.isnan() && bits(a) == bits(b)
}

fn half_or_int(kind: Kind) -> Kind {
    if kind == Kind::Float { Kind::Int } else { Kind::Int16 }
}

/// What a draw makes of an element, in each layer.
pub(super) fn outcomes() -> [Outcome; 3] {
    let shifts = Affine { scale: 0.9, shift_kept: 0.3, shift_dropped: -1.2 };
    [
        Outcome::Bernoulli(Affine::times(1.0 / 0.9)),
        Outcome::Bernoulli(shifts),
        Outcome::Normal { deviation: 0.7 },
    ]
}

/// A mask, or a product with inputs of this layout, on the GPU and on the CPU.
fn compare(
    gpu: &Gpu,
    numbers: &Numbers,
    layout: &Layout,
    x: Option<&Tensor>,
    residual: Option<&Tensor>,
) -> Result<(), String> {
    let (x_there, residual_there) =
        [x, residual].map(|tensor| tensor.map(|tensor| tensor.to_device(gpu.device))).into();
    let inputs = match (&x_there, &residual_there) {
        (None, _) => Inputs::None,
        (Some(x), None) => Inputs::X(x),
        (Some(x), Some(residual)) => Inputs::XAndResidual(x, residual),
    };
    let expected = match x {
        None => Some(cpu::mask(numbers, layout).unwrap()),
        Some(x) => cpu::product(numbers, layout, x, residual).unwrap(),
    };
    let outcome = match (gpu.write(numbers, layout, inputs), expected) {
        (Ok(Some(written)), Some(expected)) => {
            if is_same(&written.to_device(Device::Cpu), &expected) {
                return Ok(());
            }
            "other numbers".to_owned()
        }
        (Ok(_), _) => "no kernel".to_owned(),
        (Err(error), _) => error.to_string(),
    };
    let (x, residual) = (x.is_some(), residual.is_some());
    Err(format!("{outcome}: {numbers:?}, {layout:?}, x {x}, residual {residual}"))
}

/// Whether kernels do what the CPU does with tensors of these kinds, for one probability.
pub(super) fn check(gpu: &Gpu, p: f64, size: i64, kinds: &[Kind]) -> Result<(), String> {
    for &kind in kinds {
        let layout = Layout::contiguous(&[size], kind);
        if INTEGERS.contains(&kind) {
            let numbers = numbers(p, Outcome::Bernoulli(Affine::times(1.0)));
            compare(gpu, &numbers, &layout, None, None)?;
            continue;
        }
        let [rescaled, shifted, normal] = outcomes().map(|outcome| numbers(p, outcome));
        compare(gpu, &rescaled, &layout, None, None)?;
        compare(gpu, &normal, &layout, None, None)?;
        // An empty tensor has no memory, and nobody multiplies it.
        if size > 0 {
            let (x, residual) = (input(&[size], kind, 1), input(&[size], kind, 99));
            compare(gpu, &rescaled, &layout, Some(&x), None)?;
            compare(gpu, &rescaled, &layout, Some(&x), Some(&residual))?;
            compare(gpu, &shifted, &layout, Some(&x), None)?;
            compare(gpu, &normal, &layout, Some(&x), None)?;
        }
    }
    Ok(())
}

#[test]
fn masks_and_products_are_the_cpus() {
    let (emulator, _alone) = Emulator::usual();
    check_all(&emulator.gpu());
}

/// On a GPU of this machine.
#[test]
fn masks_and_products_are_the_cpus_on_a_gpu_too() {
    match Gpu::get(0) {
        Some(gpu) if tch::Cuda::is_available() => check_all(gpu),
        _ => println!("skipped: there is no GPU with a driver"),
    }
}

fn check_all(gpu: &Gpu) {
    let kinds = [&INTEGERS[..], &FLOATS].concat();
    for p in probabilities() {
        SIZES.into_iter().try_for_each(|size| check(gpu, p, size, &kinds)).unwrap();
    }
    check(gpu, 0.1, ROUNDS, &kinds).unwrap();
}

/// The driver compiles each kernel when it is first needed: `CUDA_CACHE_DISABLE=1` has it compile all of them now.
#[test]
fn a_kernel_is_compiled_in_80_ms() {
    let Some(gpu) = Gpu::get(0).filter(|_| tch::Cuda::is_available()) else {
        return println!("skipped: there is no GPU with a driver");
    };
    let is_compiled = std::env::var("CUDA_CACHE_DISABLE").is_ok_and(|value| value == "1");
    for &kernel in Kernel::ALL {
        let start = std::time::Instant::now();
        gpu.load(kernel).unwrap();
        let time = start.elapsed();
        println!("{kernel:?}: {:.1} ms", time.as_secs_f64() * 1e3);
        assert!(!is_compiled || time.as_millis() <= 80, "{kernel:?}: {time:?}");
    }
}

/// Inputs that are not aligned to the sixteen bytes that a thread reads at once: views that begin one element into
/// their memory.
pub(super) fn check_unaligned(gpu: &Gpu, kinds: &[Kind]) -> Result<(), String> {
    let n = 5000;
    for &kind in kinds {
        let (aligned, whole) = (input(&[n], kind, 99), input(&[n + 1], kind, 2));
        let x = whole.narrow(0, 1, n);
        assert_ne!(x.data_ptr().addr() % 16, 0);
        let layout = Layout::contiguous(&[n], kind);
        for outcome in outcomes() {
            compare(gpu, &numbers(0.3, outcome), &layout, Some(&x), None)?;
        }
        for (x, residual) in [(&x, &aligned), (&aligned, &x)] {
            compare(gpu, &numbers(0.3, outcomes()[0]), &layout, Some(x), Some(residual))?;
        }
    }
    Ok(())
}

#[test]
fn inputs_need_not_be_aligned() {
    let (emulator, _alone) = Emulator::usual();
    check_unaligned(&emulator.gpu(), &FLOATS).unwrap();
}

/// A GPU's own NaN has all bits set but the sign, which rounding must not carry into. No CPU's arithmetic gives it, so
/// that no product shows it here.
pub(super) fn check_rounding(emulator: Emulator) -> Result<(), String> {
    let bits =
        [0x7FFF_FFFF, 0xFFFF_FFFF, 0x7F80_0001, 0x7F80_0000, 0x7F7F_FFFF, 0x3F80_8000, 0x3F81_8000];
    bits.into_iter().try_for_each(|bits| {
        let (rounded, expected) =
            (bf16::from_bits(emulator.round_to_bf16(bits)), bf16::from_f32(f32::from_bits(bits)));
        let is_same =
            rounded.to_bits() == expected.to_bits() || rounded.is_nan() && expected.is_nan();
        if is_same { Ok(()) } else { Err(format!("{bits:#x} becomes {rounded}")) }
    })
}

#[test]
fn a_gpus_nan_stays_one() {
    let (emulator, _alone) = Emulator::usual();
    check_rounding(emulator).unwrap();
}

/// In the order of memory, whatever that of the indices.
#[test]
fn any_dense_layout() {
    let (emulator, _alone) = Emulator::usual();
    let gpu = emulator.gpu();
    for kind in FLOATS {
        let x = input(&[3, 20, 7, 11], kind, 3).permute([0, 3, 1, 2]);
        for outcome in outcomes() {
            let layout = Layout::like(&x).unwrap();
            compare(&gpu, &numbers(0.3, outcome), &layout, Some(&x), None).unwrap();
            compare(&gpu, &numbers(0.3, outcome), &layout, None, None).unwrap();
        }
    }
}

/// The definition, element by element: which ones of a tile are kept, if each draws this many bits before ties are
/// settled.
fn kept_of_tile(counter: Counter, threshold: u64, planes: u32, tile: u64) -> Vec<bool> {
    let digits = u64::BITS - threshold.trailing_zeros();
    let drawn: Vec<_> =
        (0..planes.min(digits)).map(|plane| counter.plane(tile, plane.into())).collect();
    let number = |element: usize| {
        let bit = |plane: &[u32; WORDS]| u64::from(plane[element % WORDS] >> (element / WORDS) & 1);
        drawn.iter().fold(0, |number, plane| number << 1 | bit(plane))
    };
    let first = if drawn.is_empty() { 0 } else { threshold >> (64 - drawn.len()) };
    let mut kept: Vec<bool> = (0..TILE).map(|element| number(element) >= first).collect();
    if digits > planes {
        let mut pool = (0..).flat_map(|filled| counter.pool(tile, filled));
        let rest = threshold << planes;
        for word in 0..WORDS {
            for element in (word..TILE).step_by(WORDS).filter(|&element| number(element) == first) {
                let bits = pool.next().unwrap();
                kept[element] = match bits == (rest >> 32) as u32 {
                    true => pool.next().unwrap() >= rest as u32,
                    false => bits > (rest >> 32) as u32,
                };
            }
        }
    }
    kept
}

/// A mask of bytes on the GPU against the definition. This one is not the CPU's if there are fewer planes, so nobody
/// trusts its kernel.
pub(super) fn check_definition(gpu: &Gpu, threshold: u64, planes: u32) -> Result<(), String> {
    let outcome = Outcome::Bernoulli(Affine::times(1.0));
    let numbers = Numbers { counter: counter(), threshold: Some(threshold), outcome };
    let layout = Layout::contiguous(&[3 * TILE as i64], Kind::Uint8);
    let function = gpu.load(Kernel::Mask8).unwrap();
    let mask = gpu.launch(function, &numbers, &layout, Inputs::None);
    let mask = Vec::<u8>::try_from(mask.map_err(|error| error.to_string())?).unwrap();
    let kept = (0..3).flat_map(|tile| kept_of_tile(counter(), threshold, planes, tile));
    match kept.zip(mask).position(|(kept, byte)| kept != (byte == 1)) {
        None => Ok(()),
        Some(place) => Err(format!("threshold {threshold:#x}, element {place}")),
    }
}

/// Kernels with fewer planes. A tile then has hundreds of ties, and takes more words than its pool has at first.
pub(super) fn with_planes(kernels: &Path, planes: u32) -> Gpu {
    let emulator = Emulator::compile(kernels, &[&format!("-DPLANES={planes}")]);
    emulator.set(Settings::USUAL);
    emulator.gpu()
}

/// Thresholds with bits to the end, and few of them.
pub(super) const THRESHOLDS: [u64; 3] = [0x1999_9999_9999_999A, 0xFEDC_BA98_7654_3210, 3];

/// One for each number that five planes give. A tile then has about as many ties as its pool has words at first, and
/// some tile has one more.
pub(super) fn thresholds_of_five_planes() -> impl Iterator<Item = u64> {
    (0..32).map(|first| first << 59 | THRESHOLDS[0] >> 5)
}

/// Thresholds for which a tie's first word equals the threshold's, so that it takes a second one: the k-th tie of tile
/// 0, for some k.
pub(super) fn thresholds_with_equal_words() -> Vec<u64> {
    let pool = counter().pool(0, 0);
    let with = |top: u64, k: usize, low: u64| top << 56 | u64::from(pool[k]) << 24 | low;
    vec![with(0x19, 0, 1), with(0x80, 1, 0xFF_FFFF), with(0xE5, 2, 0), with(3, 4, 0x80_0000)]
}

#[test]
fn ties_that_need_a_second_word() {
    let (emulator, _alone) = Emulator::usual();
    let gpu = emulator.gpu();
    for threshold in thresholds_with_equal_words() {
        check_definition(&gpu, threshold, PLANES).unwrap();
        let numbers = Numbers {
            threshold: Some(threshold),
            ..numbers(0.5, Outcome::Bernoulli(Affine::times(1.0)))
        };
        let layout = Layout::contiguous(&[3 * TILE as i64], Kind::Uint8);
        compare(&gpu, &numbers, &layout, None, None).unwrap();
    }
}

/// Hundreds of ties, or about as many as there are words.
pub(super) fn check_planes(kernels: &Path) -> Result<(), String> {
    let (one, five) = (with_planes(kernels, 1), with_planes(kernels, 5));
    THRESHOLDS.into_iter().try_for_each(|threshold| check_definition(&one, threshold, 1))?;
    thresholds_of_five_planes().try_for_each(|threshold| check_definition(&five, threshold, 5))
}

#[test]
fn many_ties() {
    let _alone = alone();
    check_planes(&source()).unwrap();
}

/// More elements than 32 bits can count: only the last blocks of the grid are run.
#[test]
fn elements_far_out() {
    let (emulator, _alone) = Emulator::usual();
    emulator.set(Settings { processors: 1 << 18, ..Settings::USUAL });
    let gpu = emulator.gpu();
    let numbers = numbers(0.3, Outcome::Bernoulli(Affine::times(1.0)));
    let function = gpu.load(Kernel::Mask8).unwrap();
    // A block has two tiles. The last one's second tile is not whole.
    let last_block = (1u32 << 20) + 5;
    let first_tile = u64::from(last_block - 1) * 2;
    let (first_element, elements) =
        (first_tile * TILE as u64, (first_tile + 3) * TILE as u64 + 100);
    let blocks = last_block - 1..last_block + 1;
    emulator.set(Settings { first_element, blocks, ..Settings::USUAL });
    let layout = Layout::contiguous(&[elements as i64], Kind::Uint8);
    let mask = gpu.launch(function, &numbers, &layout, Inputs::None).unwrap();
    let end = mask.narrow(0, first_element as i64, (elements - first_element) as i64);
    let end = Vec::<u8>::try_from(end).unwrap();
    let threshold = numbers.threshold.unwrap();
    let tiles = first_tile..first_tile + 4;
    let kept = tiles.flat_map(|tile| kept_of_tile(counter(), threshold, PLANES, tile));
    assert!(kept.zip(end).all(|(kept, byte)| kept == (byte == 1)));
}
