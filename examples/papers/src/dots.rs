//! A row for each variant: a dot for each run, a stroke at their mean, a diamond at the paper's figure.

use picture::page::{tenth, text};
use picture::plane::Scale;
use picture::style::Look;
use svg::node::element::{Circle, Group, Path};

use mnist_experiment::metrics::Summary;
use mnist_experiment::report::plus_minus;

/// The distance between rows.
pub const ROW: f64 = 32.0;

pub struct Row<'a> {
    pub name: &'a str,
    pub look: Look,
    pub figure: &'a Summary,
    pub paper: Option<f64>,
}

/// The rows' names, the first one at this height.
pub fn names(rows: &[Row], (x, top): (f64, f64)) -> Group {
    rows.iter().enumerate().fold(Group::new(), |group, (i, row)| {
        let name = text(row.name, (x, top + i as f64 * ROW + 5.0), "bold");
        group.add(Group::new().set("class", row.look.colour).add(name))
    })
}

/// The rows' figures, each with its mean in words on the right. Diamonds have a key below the last row.
pub fn rows(rows: &[Row], scale: &Scale, top: f64, digits: usize) -> Group {
    let (left, right) = scale.pixels();
    let mut group = Group::new();
    for (i, Row { look, figure, paper, .. }) in rows.iter().enumerate() {
        let y = top + i as f64 * ROW;
        let guide = Path::new().set("d", format!("M{left} {y}H{right}")).set("class", "thin faint");
        let mut dots = Group::new().set("class", look.colour);
        for &run in &figure.runs {
            let dot = Circle::new().set("cx", tenth(scale.at(run))).set("cy", y).set("r", 4);
            dots = dots.add(dot.set("class", "fill").set("fill-opacity", 0.45));
        }
        let mean = tenth(scale.at(figure.mean));
        let stroke = Path::new().set("d", format!("M{mean} {}v20", y - 10.0)).set("class", "line");
        group = group.add(guide).add(dots.add(stroke));
        if let Some(paper) = paper {
            group = group.add(diamond(tenth(scale.at(*paper)), y));
        }
        group = group.add(text(plus_minus(figure, digits), (right + 14.0, y + 5.0), "small"));
    }
    let below = top + rows.len() as f64 * ROW - 4.0;
    let ticks = scale.ticks(5).into_iter();
    group = ticks.fold(group, |group, tick| {
        group.add(text(tick.to_string(), (scale.at(tick), below + 6.0), "middle soft small"))
    });
    if rows.iter().any(|row| row.paper.is_some()) {
        let key = text("the paper's figure", (left + 14.0, below + 32.0), "soft small");
        group = group.add(diamond(left + 4.0, below + 27.0)).add(key);
    }
    group
}

fn diamond(x: f64, y: f64) -> Path {
    Path::new().set("d", format!("M{x} {}l6 6l-6 6l-6-6z", y - 6.0)).set("class", "thin ink")
}

/// From the least figure to the greatest, with a margin.
pub fn scale(rows: &[Row], pixels: (f64, f64)) -> Scale {
    let figures = rows.iter().flat_map(|row| row.figure.runs.iter().copied().chain(row.paper));
    let (least, most) = figures
        .fold((f64::INFINITY, f64::NEG_INFINITY), |(least, most), figure| {
            (least.min(figure), most.max(figure))
        });
    let margin = ((most - least) * 0.06).max(1e-3);
    Scale::new(least - margin..=most + margin, pixels)
}
