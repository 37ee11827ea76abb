//! Times variants that take turns.

use std::time::{Duration, Instant};

use tch::{Cuda, Device};

/// How long to measure.
#[derive(Clone, Copy)]
pub struct Effort {
    /// Turns of each variant.
    pub turns: usize,
    /// The minimum time of a turn, which makes as many calls as that needs.
    pub turn: Duration,
    /// The largest size of the curve, as a power of ten.
    pub largest: u32,
    /// Processes per variant, where memory is measured.
    pub processes: usize,
}

impl Effort {
    pub const FULL: Effort =
        Effort { turns: 15, turn: Duration::from_millis(10), largest: 8, processes: 5 };
    pub const QUICK: Effort =
        Effort { turns: 3, turn: Duration::from_millis(1), largest: 5, processes: 1 };
}

/// What something took in its turns.
#[derive(Clone, Copy)]
pub struct Times {
    pub median: f64,
    /// The middle half of the turns is between these.
    pub quartiles: [f64; 2],
}

impl Times {
    pub fn of(mut times: Vec<f64>) -> Times {
        times.sort_by(f64::total_cmp);
        let last = times.len() - 1;
        Times {
            median: median(times.clone()),
            quartiles: [times[last / 4], times[last - last / 4]],
        }
    }

    /// In this unit, with the spread: `0.6421 ±2 %`.
    pub fn shown(&self, unit: f64, decimals: usize) -> String {
        let [low, high] = self.quartiles;
        let spread = 50.0 * (high - low) / self.median;
        format!("{:.decimals$} ±{spread:.0} %", self.median / unit)
    }
}

/// The times of a call of each variant, in nanoseconds.
pub fn side_by_side(variants: &[&dyn Fn()], device: Device, effort: Effort) -> Vec<Times> {
    let calls: Vec<u32> = variants
        .iter()
        .map(|variant| {
            // The first call pays for what is made once.
            time(variant, 2, device);
            let once = time(variant, 1, device);
            (effort.turn.as_nanos() as f64 / once).ceil().clamp(1.0, 1000.0) as u32
        })
        .collect();
    let mut times = vec![Vec::new(); variants.len()];
    for _ in 0..effort.turns {
        for ((variant, &calls), times) in variants.iter().zip(&calls).zip(&mut times) {
            times.push(time(variant, calls, device));
        }
    }
    times.into_iter().map(Times::of).collect()
}

fn time(variant: &dyn Fn(), calls: u32, device: Device) -> f64 {
    wait_for(device);
    let start = Instant::now();
    for _ in 0..calls {
        variant();
    }
    wait_for(device);
    start.elapsed().as_nanos() as f64 / f64::from(calls)
}

/// What is called on a GPU returns before it is done.
pub fn wait_for(device: Device) {
    if let Device::Cuda(index) = device {
        Cuda::synchronize(index as i64);
    }
}

pub fn median(mut times: Vec<f64>) -> f64 {
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}
