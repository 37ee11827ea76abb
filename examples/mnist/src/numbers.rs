//! Numbers on the command line.

use anyhow::{Result, ensure};
use tch_dropout::Probability;

pub fn probability(text: &str) -> Result<f64> {
    Ok(Probability::new(number(text)?)?.get())
}

pub fn learning_rate(text: &str) -> Result<f64> {
    let rate = number(text)?;
    // libtorch's optimizer holds it as an f32.
    let most = f64::from(f32::MAX);
    ensure!(rate > 0.0 && rate <= most, "expected a number above 0 and at most 3.4e38, got {text}");
    Ok(rate)
}

fn number(text: &str) -> Result<f64> {
    text.parse().map_err(|_| anyhow::anyhow!("expected a number, got '{text}'"))
}

pub fn at_least_one(text: &str) -> Result<i64> {
    let count = text.parse().map_err(|_| anyhow::anyhow!("expected a whole number, got '{text}'"));
    let count: i64 = count?;
    ensure!(count >= 1, "expected at least 1, got {count}");
    Ok(count)
}
