//! Axes, and lines between them.

use std::ops::RangeInclusive;

use svg::node::element::{Group, Path};

use crate::page::{tenth, text};

/// Values as pixels.
pub struct Scale {
    values: RangeInclusive<f64>,
    pixels: (f64, f64),
}

impl Scale {
    /// The first and the last value are at these pixels.
    pub fn new(values: RangeInclusive<f64>, pixels: (f64, f64)) -> Scale {
        Scale { values, pixels }
    }

    pub fn at(&self, value: f64) -> f64 {
        let (first, last) = (self.values.start(), self.values.end());
        let (start, end) = self.pixels;
        start + (value - first) / (last - first) * (end - start)
    }

    /// As many multiples of 1, 2 or 5 times a power of ten as fit, but at most `most`.
    pub fn ticks(&self, most: usize) -> Vec<f64> {
        let (first, last) = (self.values.start(), self.values.end());
        let decade = 10f64.powf(((last - first) / most as f64).log10().floor());
        let steps = [1.0, 2.0, 5.0, 10.0, 20.0].map(|factor| factor * decade);
        let multiples = |step: f64| (first / step).ceil() as i64..=(last / step).floor() as i64;
        let step = steps.into_iter().find(|&step| multiples(step).count() <= most);
        // A quotient of whole numbers is the nearest to what a label says; a product is not.
        let step = step.unwrap_or(last - first);
        multiples(step).map(|k| k as f64 * step).collect()
    }

    fn holds(&self, value: f64) -> bool {
        self.values.contains(&value)
    }
}

/// The room between an axis of x and one of y.
pub struct Plane {
    pub x: Scale,
    pub y: Scale,
}

impl Plane {
    /// A line across the plane for each of these values of y, with its label on the left.
    pub fn levels(&self, ticks: &[f64], label: impl Fn(f64) -> String) -> Group {
        let (left, right) = self.x.pixels;
        let mut group = Group::new();
        for &tick in ticks {
            let y = tenth(self.y.at(tick));
            let line =
                Path::new().set("d", format!("M{left} {y}H{right}")).set("class", "thin faint");
            group = group.add(line).add(text(label(tick), (left - 7.0, y + 5.0), "end soft small"));
        }
        group
    }

    /// Labels below the plane.
    pub fn labels(&self, ticks: &[f64], label: impl Fn(f64) -> String) -> Group {
        let below = self.y.pixels.0 + 19.0;
        let words = |&tick: &f64| text(label(tick), (self.x.at(tick), below), "middle soft small");
        ticks.iter().map(words).fold(Group::new(), Group::add)
    }

    /// A line through these points; points outside the plane, or without a number, interrupt it.
    pub fn line(&self, points: impl IntoIterator<Item = (f64, f64)>) -> Path {
        let mut path = String::new();
        let mut pen = 'M';
        for (x, y) in points {
            if self.x.holds(x) && self.y.holds(y) {
                path += &format!("{pen}{} {}", tenth(self.x.at(x)), tenth(self.y.at(y)));
                pen = 'L';
            } else {
                pen = 'M';
            }
        }
        Path::new().set("d", path).set("class", "line")
    }

    /// The area between lower and upper values of y, cut off where the plane ends.
    pub fn band(&self, points: &[(f64, RangeInclusive<f64>)]) -> Path {
        let (least, most) = (*self.y.values.start(), *self.y.values.end());
        let place = |x: f64, y: f64| {
            format!("{} {}", tenth(self.x.at(x)), tenth(self.y.at(y.clamp(least, most))))
        };
        let there = points.iter().map(|(x, range)| place(*x, *range.end()));
        let back = points.iter().rev().map(|(x, range)| place(*x, *range.start()));
        let outline: Vec<_> = there.chain(back).collect();
        let path =
            if outline.is_empty() { String::new() } else { format!("M{}z", outline.join("L")) };
        Path::new().set("d", path).set("class", "area")
    }
}

/// Moves heights apart until no two are closer than `gap`, and their mean stays.
pub fn apart(heights: &[f64], gap: f64) -> Vec<f64> {
    let mut order: Vec<usize> = (0..heights.len()).collect();
    order.sort_by(|&a, &b| heights[a].total_cmp(&heights[b]));
    // Neighbours that touch become a block, which stands where its members wish on average.
    let mut blocks: Vec<(f64, usize)> = Vec::new();
    let middle = |&(sum, count): &(f64, usize)| sum / count as f64;
    let reach = |block: &(f64, usize)| (block.1 - 1) as f64 * gap / 2.0;
    for &place in &order {
        let mut block = (heights[place], 1);
        while let Some(above) = blocks.last()
            && middle(above) + reach(above) + gap > middle(&block) - reach(&block)
        {
            block = (block.0 + above.0, block.1 + above.1);
            blocks.pop();
        }
        blocks.push(block);
    }
    let spread = blocks.iter().flat_map(|block| {
        let first = middle(block) - reach(block);
        (0..block.1).map(move |member| first + member as f64 * gap)
    });
    let mut moved = vec![0.0; heights.len()];
    for (&place, height) in order.iter().zip(spread) {
        moved[place] = height;
    }
    moved
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ticks_are_round_and_within_the_scale() {
        let ticks = |range, most| Scale::new(range, (0.0, 100.0)).ticks(most);
        assert_eq!(ticks(0.0..=1.0, 5), [0.0, 0.2, 0.4, 0.6000000000000001, 0.8, 1.0][..0]);
    }
}
