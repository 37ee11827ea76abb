//! What the crate is to reach; the tables say where it does. The first table's goals are those of a GPU, an NVIDIA H100.

use crate::contest::{Measurement, Pass};

/// The goals for a row, if there are any.
pub fn of(row: &Measurement) -> String {
    let is_large = is_large(&row.shape);
    let per_kind = |f32, bf16| if row.kind == "bf16" { bf16 } else { f32 };
    let is_of_elements = row.variant.starts_with("elements");
    let is_of_groups =
        ["columns", "channels", "samples"].iter().any(|name| row.variant.starts_with(name));
    match row.pass {
        Pass::Forward if is_of_elements && is_large => all(&[
            at_most(row.vs_one_pass, per_kind(1.05, 1.1), "one pass"),
            at_least(row.vs_libtorch, per_kind(1.25, 1.35)),
        ]),
        Pass::Forward if is_of_elements => all(&[at_least(row.vs_libtorch, 1.0)]),
        Pass::ForwardBackward if is_of_elements && is_large => {
            all(&[at_least(row.vs_libtorch, 1.15)])
        }
        Pass::Forward if is_of_groups => {
            all(&[at_most(row.vs_feature_dropout, 1.1, "feature_dropout")])
        }
        _ => String::new(),
    }
}

/// Whether the memory decides how long it takes, and not the launch.
pub fn is_large(shape: &[i64]) -> bool {
    shape.iter().product::<i64>() >= 1 << 24
}

/// A goal in words, and whether it is reached.
pub type Goal = (String, bool);

pub fn at_least(times_as_fast: f64, goal: f64) -> Goal {
    (format!(">= {goal:.2}x as fast"), times_as_fast >= goal)
}

pub fn at_most(ratio: f64, goal: f64, of: &str) -> Goal {
    (format!("<= {goal:.2} of {of}"), ratio <= goal)
}

pub fn all(goals: &[Goal]) -> String {
    let words: Vec<&str> = goals.iter().map(|(words, _)| words.as_str()).collect();
    let reached = goals.iter().all(|&(_, reached)| reached);
    format!("{}: {}", words.join(", "), if reached { "yes" } else { "NO" })
}
