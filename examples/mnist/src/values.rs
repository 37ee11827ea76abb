//! Values on the command line.

use std::ops::RangeInclusive;
use std::path::PathBuf;

use anyhow::{Result, anyhow, ensure};
use tch_dropout::Dropout;

pub fn probability(text: &str) -> Result<f64> {
    Ok(Dropout::new(number(text)?)?.p())
}

pub fn learning_rate(text: &str) -> Result<f64> {
    let rate = number(text)?;
    // libtorch's optimizer holds it as an f32.
    let most = f64::from(f32::MAX);
    ensure!(rate > 0.0 && rate <= most, "expected a number above 0 and at most 3.4e38, got {text}");
    Ok(rate)
}

fn number(text: &str) -> Result<f64> {
    text.parse().map_err(|_| anyhow!("expected a number, got '{text}'"))
}

/// A parser of whole numbers in a range.
pub fn whole(range: RangeInclusive<i64>) -> impl Fn(&str) -> Result<i64> + Clone {
    move |text| {
        let (least, most) = (i128::from(*range.start()), i128::from(*range.end()));
        let number: i128 =
            text.parse().map_err(|_| anyhow!("expected a whole number, got '{text}'"))?;
        ensure!(number >= least, "expected at least {least}, got {text}");
        ensure!(number <= most, "expected at most {most}, got {text}");
        Ok(number as i64)
    }
}

/// A parser of file names for SVG pictures.
pub fn svg(path: PathBuf) -> Result<PathBuf> {
    let is_other = path.extension().is_some_and(|extension| !extension.eq_ignore_ascii_case("svg"));
    ensure!(!is_other, "pictures are SVG, expected a name that ends in .svg");
    Ok(path)
}
