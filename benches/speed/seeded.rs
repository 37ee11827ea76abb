//! On a GPU, a mask with a seed is drawn there, or on the CPU and copied: which is faster, from which size on?

use std::sync::atomic::Ordering;

use comfy_table::Table;
use tch::nn::ModuleT;
use tch::{Device, Kind, Tensor};
use tch_dropout::{DRAWN_FROM, GaussianDropout, TrueDropout};

use crate::contest::{Forward, Pass, race};
use crate::timing::Effort;
use crate::{new_table, right_align};

/// Forward passes for which a mask is drawn on the device from this size on.
fn drawn_from(elements: usize, layer: impl ModuleT + 'static) -> Forward {
    Box::new(move |x: &Tensor| {
        DRAWN_FROM.store(elements, Ordering::Relaxed);
        layer.forward_t(x, true)
    })
}

/// On the CPU and copied, on the GPU, and without a seed.
fn layers() -> Vec<(&'static str, [Forward; 3])> {
    let elements = |p| TrueDropout::elements(p).expect("p is a probability");
    let gaussian = || GaussianDropout::elements(0.1).expect("p is a probability");
    let seeded = |p| elements(p).with_seed(1);
    let three = |p| {
        [drawn_from(usize::MAX, seeded(p)), drawn_from(0, seeded(p)), drawn_from(0, elements(p))]
    };
    let numbers = [
        drawn_from(usize::MAX, gaussian().with_seed(1)),
        drawn_from(0, gaussian().with_seed(1)),
        drawn_from(0, gaussian()),
    ];
    vec![
        ("elements, p = 0.5", three(0.5)),
        ("elements, p = 0.1", three(0.1)),
        ("GaussianDropout", numbers),
    ]
}

pub fn table(device: Device, effort: Effort) -> Table {
    let mut table = new_table(&[
        "layer",
        "elements",
        "drawn on the CPU and copied, ms",
        "drawn on the GPU, ms",
        "times as fast",
        "without a seed, ms",
    ]);
    let usual = DRAWN_FROM.load(Ordering::Relaxed);
    let largest = if effort.largest < 7 { 18 } else { 26 };
    for (name, forwards) in layers() {
        for exponent in 14..=largest {
            let times =
                race(&forwards, &[1 << exponent], Kind::Float, Pass::Forward, device, effort);
            table.add_row([
                name.to_owned(),
                format!("2^{exponent}"),
                format!("{:.4}", times[0] / 1e6),
                format!("{:.4}", times[1] / 1e6),
                format!("{:.2}", times[0] / times[1]),
                format!("{:.4}", times[2] / 1e6),
            ]);
        }
    }
    DRAWN_FROM.store(usual, Ordering::Relaxed);
    right_align(&mut table, 1);
    table
}
