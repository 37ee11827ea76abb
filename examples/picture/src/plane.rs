//! Axes, and lines between them.

use std::ops::RangeInclusive;

use svg::node::element::{Group, Path};

use crate::page::{tenth, text};

/// Maps values to pixels.
pub struct Scale {
    values: RangeInclusive<f64>,
    pixels: (f64, f64),
}

impl Scale {
    /// `pixels` are the positions of the first and the last value.
    pub fn new(values: RangeInclusive<f64>, pixels: (f64, f64)) -> Scale {
        Scale { values, pixels }
    }

    pub fn at(&self, value: f64) -> f64 {
        let (first, last) = (self.values.start(), self.values.end());
        let (start, end) = self.pixels;
        start + (value - first) / (last - first) * (end - start)
    }

    /// The positions of the first and the last value.
    pub fn pixels(&self) -> (f64, f64) {
        self.pixels
    }

    /// Multiples of 1, 2 or 5 times a power of ten: as many as there are, but at most `most`.
    pub fn ticks(&self, most: usize) -> Vec<f64> {
        let (first, last) = (self.values.start(), self.values.end());
        let decade = ((last - first) / most as f64).log10().floor() as i32;
        let steps = (decade..).flat_map(|exponent| [(1, exponent), (2, exponent), (5, exponent)]);
        // 3 / 10 is the number nearest to 0.3, which 3 * 0.1 is not.
        let times = |k: i64, (digit, exponent): (i64, i32)| match exponent {
            0.. => (k * digit) as f64 * 10f64.powi(exponent),
            _ => (k * digit) as f64 / 10f64.powi(-exponent),
        };
        let multiples = |step: (i64, i32)| {
            let size = times(1, step);
            (first / size).ceil() as i64..=(last / size).floor() as i64
        };
        let count = |range: RangeInclusive<i64>| range.end() - range.start() + 1;
        let step = steps.into_iter().find(|&step| count(multiples(step)) <= most as i64);
        step.map_or(Vec::new(), |step| multiples(step).map(|k| times(k, step)).collect())
    }

    /// Those of the ticks that are whole numbers, for what is counted.
    pub fn whole_ticks(&self, most: usize) -> Vec<f64> {
        self.ticks(most).into_iter().filter(|tick| tick.fract() == 0.0).collect()
    }

    /// For a scale of decimal logarithms: the numbers 1, 2 and 5 times a power of ten that are on it, as their
    /// logarithms. Powers of ten alone if those are more than `most`, and any round numbers if they are too few.
    pub fn log_ticks(&self, most: usize) -> Vec<f64> {
        let (first, last) = (*self.values.start(), *self.values.end());
        let decades = first.floor() as i32..=last.floor() as i32;
        if (last - first) * 3.0 > most as f64 {
            return self.whole_ticks(most);
        }
        let round =
            decades.flat_map(|decade| [1.0, 2.0, 5.0].map(|k: f64| k.log10() + f64::from(decade)));
        let round: Vec<_> = round.filter(|&tick| self.holds(tick)).collect();
        if round.len() > 1 {
            return round;
        }
        let linear = Scale::new(10f64.powf(first)..=10f64.powf(last), self.pixels);
        linear.ticks(most).into_iter().map(f64::log10).collect()
    }

    pub fn holds(&self, value: f64) -> bool {
        self.values.contains(&value)
    }
}

/// The number of which this is the decimal logarithm, in as many digits as tell it from its neighbours on an axis.
pub fn power_of_ten(logarithm: f64) -> String {
    let number = 10f64.powf(logarithm);
    match logarithm {
        -5.0..4.0 => ((number * 1e7).round() / 1e7).to_string(),
        _ => format!("{number:.0e}"),
    }
}

/// The area between an x axis and a y axis.
pub struct Plane {
    pub x: Scale,
    pub y: Scale,
}

impl Plane {
    /// A horizontal line for each of these values of y, with its label on the left.
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

    /// A line through these points. Points outside the plane, or that are NaN, interrupt it.
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

/// Moves heights apart until no two are closer than `gap`, and keeps their mean.
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
        assert_eq!(ticks(0.0..=1.0, 6), [0.0, 0.2, 0.4, 0.6, 0.8, 1.0]);
        assert_eq!(ticks(0.0..=1.0, 5), [0.0, 0.5, 1.0]);
        assert_eq!(ticks(0.9131..=0.9256, 6), [0.914, 0.916, 0.918, 0.92, 0.922, 0.924]);
        assert_eq!(ticks(-3.7..=0.2, 8), [-3.5, -3.0, -2.5, -2.0, -1.5, -1.0, -0.5, 0.0]);
        assert_eq!(ticks(1.0..=30.0, 6), [5.0, 10.0, 15.0, 20.0, 25.0, 30.0]);
        assert_eq!(ticks(0.0..=1e30, 2).len(), 2);
    }

    #[test]
    fn logarithmic_ticks_are_round_numbers() {
        let ticks = |range: RangeInclusive<f64>| -> Vec<String> {
            let scale = Scale::new(range.start().log10()..=range.end().log10(), (0.0, 100.0));
            scale.log_ticks(8).into_iter().map(power_of_ten).collect()
        };
        assert_eq!(ticks(0.3..=7.0), ["0.5", "1", "2", "5"]);
        assert_eq!(ticks(1.2..=31.0), ["2", "5", "10", "20"]);
        assert_eq!(ticks(0.0008..=1.3), ["0.001", "0.01", "0.1", "1"]);
        assert_eq!(ticks(1.19..=1.51), ["1.2", "1.25", "1.3", "1.35", "1.4", "1.45", "1.5"]);
        assert_eq!(
            ticks(1e-7..=1e30),
            ["0.00001", "1", "1e5", "1e10", "1e15", "1e20", "1e25", "1e30"]
        );
    }

    #[test]
    fn a_line_is_interrupted_where_it_leaves_the_plane() {
        let scale = || Scale::new(0.0..=10.0, (0.0, 100.0));
        let plane = Plane { x: scale(), y: scale() };
        let points = [(0.0, 1.0), (1.0, 2.0), (2.0, 11.0), (3.0, f64::NAN), (4.0, 5.0)];
        assert_eq!(&*plane.line(points).get_attributes()["d"], "M0 10L10 20M40 50");
    }

    #[test]
    fn heights_move_apart_by_no_more_than_they_must() {
        assert_eq!(apart(&[10.0, 50.0], 20.0), [10.0, 50.0]);
        assert_eq!(apart(&[50.0, 50.0], 20.0), [40.0, 60.0]);
        assert_eq!(
            apart(&[50.0, 45.0, 71.0], 20.0),
            [55.333333333333336, 35.333333333333336, 75.33333333333334]
        );
        assert!(apart(&[], 20.0).is_empty());
    }
}
