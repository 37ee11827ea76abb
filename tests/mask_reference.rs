//! docs/masks.md defines the masks of a seed, in words and in Python. The page's code draws what the crate draws.

mod common;

use std::io::Write;
use std::process::{Command, Stdio};

use common::{float, unscaled_elements};
use tch::Tensor;
use tch::nn::ModuleT;
use tch_dropout::{GaussianDropout, Stream};

const PAGE: &str = include_str!("../docs/masks.md");

/// An element more than a tile, and one less than two rows of 64 in another.
const ELEMENTS: i64 = 3 * 2048 + 127;

/// Seed, worker, layer, step, and p.
const CASES: [(u64, u16, u16, u64, f64); 12] = [
    (0, 0, 0, 0, 0.5),
    (42, 0, 0, 0, 0.1),
    (u64::MAX, u16::MAX, u16::MAX, (1 << 48) - 1, 0.9),
    (0x0123_4567_89AB_CDEF, 7, 300, 12_345_678_901, 1.0 / 3.0),
    (1, 0, 1, 0, 0.25),
    (2, 1, 0, 3, 255.0 / 256.0),
    (3, 0, 0, 0, 255.0 / 512.0),
    (4, 0, 0, 0, 1e-9),
    (5, 0, 0, 0, 1.0 - 1e-9),
    (6, 0, 0, 0, 1.0 / 36_893_488_147_419_103_232.0), // 2^-65, which is rounded up
    (7, 0, 0, 0, 1.0),
    TIED_TWICE,
];

/// The next 32 bits of p are the first word of the pool, and so the first tie's; it takes another.
const TIED_TWICE: (u64, u16, u16, u64, f64) =
    (8, 0, 0, 0, 0x0532_B580_F780_0000_u64 as f64 / 18_446_744_073_709_551_616.0);

/// What follows the page's code: a line for each mask, of 0 and 1, and one of normal numbers.
const MAIN: &str = r#"
import sys
for line in sys.stdin:
    seed, worker, layer, step, p, elements = line.split()
    at, elements = (int(seed), int(worker), int(layer), int(step)), int(elements)
    print("".join(map(str, kept(at, float(p), elements))))
    print(*normal(at, elements))
"#;

/// The output of the page's code for these lines, or None without numpy.
fn reference(input: &str) -> Option<String> {
    let has_numpy = Command::new("python3").args(["-c", "import numpy"]).output();
    if !has_numpy.is_ok_and(|output| output.status.success()) {
        return None;
    }
    let code = PAGE.split("```python\n").nth(1).unwrap().split("```").next().unwrap();
    let mut python = Command::new("python3");
    python.args(["-c", &[code, MAIN].concat()]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut python = python.spawn().unwrap();
    python.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    let output = python.wait_with_output().unwrap();
    assert!(output.status.success());
    Some(String::from_utf8(output.stdout).unwrap())
}

#[test]
fn the_reference_in_python_draws_the_crates_masks() {
    let line = |(seed, worker, layer, step, p): (u64, u16, u16, u64, f64)| {
        format!("{seed} {worker} {layer} {step} {p:e} {ELEMENTS}\n")
    };
    let Some(output) = reference(&CASES.map(line).concat()) else {
        println!("skipped: python3 has no numpy");
        return;
    };
    let mut lines = output.lines();
    for case in CASES {
        let (seed, worker, layer, step, p) = case;
        let stream = Stream::new(seed).with_worker(worker).with_layer(layer);
        stream.set_step(step).unwrap();
        let ones = Tensor::ones([ELEMENTS], float());

        let mask = unscaled_elements(p).with_stream(stream.clone()).forward_t(&ones, true);
        let kept = Vec::<f32>::try_from(mask).unwrap();
        let kept: String = kept.iter().map(|&kept| if kept == 1.0 { '1' } else { '0' }).collect();
        assert_eq!(lines.next(), Some(&*kept), "{case:?}");

        // p = 0.5 makes the deviation 1.
        let noise =
            GaussianDropout::elements(0.5).unwrap().with_stream(stream).forward_t(&ones, true);
        let noise = Vec::<f32>::try_from(noise).unwrap();
        let expected = lines.next().unwrap().split(' ').map(|number| number.parse().unwrap());
        let expected: Vec<f64> = expected.collect();
        assert_eq!(noise.len(), expected.len());
        for (found, normal) in noise.iter().zip(expected) {
            assert!((f64::from(*found) - 1.0 - normal).abs() < 1e-6, "{case:?}: {found}, {normal}");
        }
    }
    assert_eq!(lines.next(), None);
}
