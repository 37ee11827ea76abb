//! Finds, rotates and draws one digit.

use anyhow::{Context, Result};
use svg::node::element::{Group, Path};
use tch::{Kind, Tensor};

use mnist_experiment::data::Split;

pub const SIDE: i64 = 28;
/// Shades of ink.
const SHADES: i32 = 8;

/// The first image `[784]` of a class.
pub fn find(split: &Split, class: i64) -> Result<Tensor> {
    let labels = Vec::<i64>::try_from(&split.labels)?;
    let place = labels.iter().position(|&label| label == class);
    let place = place.with_context(|| format!("there is no {class} among the test images"))?;
    Ok(split.images.get(place as i64))
}

/// The image rotated clockwise by each of these angles in degrees, `[angles, 784]`.
pub fn turn(image: &Tensor, angles: &[f64]) -> Tensor {
    let count = angles.len() as i64;
    // From a place in the output to the place in the input that it shows.
    let rotations: Vec<f64> = angles
        .iter()
        .flat_map(|angle| {
            let (sin, cos) = angle.to_radians().sin_cos();
            [cos, sin, 0.0, -sin, cos, 0.0]
        })
        .collect();
    let rotations = Tensor::from_slice(&rotations).to_kind(Kind::Float).reshape([count, 2, 3]);
    let rotations = rotations.to_device(image.device());
    let grid = Tensor::affine_grid_generator(&rotations, [count, 1, SIDE, SIDE], false);
    let images = image.reshape([1, 1, SIDE, SIDE]).repeat([count, 1, 1, 1]);
    let (bilinear, zeros) = (0, 0);
    images.grid_sampler(&grid, bilinear, zeros, false).reshape([count, SIDE * SIDE])
}

/// An image `[784]` whose corner is at `x`, `y`, in the page's ink: one path per shade, with a stroke for
/// each run of pixels. One element per pixel would take twenty times the bytes.
pub fn draw(image: &Tensor, (x, y): (f64, f64), pixel: f64) -> Result<Group> {
    let shades: Vec<i32> = Vec::<f32>::try_from(image)?
        .iter()
        .map(|ink| (ink.clamp(0.0, 1.0) * SHADES as f32).round() as i32)
        .collect();
    // A stroke goes through the middle of its row.
    let middle = y + pixel / 2.0;
    let mut group = Group::new()
        .set("transform", format!("translate({x} {middle}) scale({pixel})"))
        .set("shape-rendering", "crispEdges");
    for shade in 1..=SHADES {
        let runs = runs(&shades, shade);
        if !runs.is_empty() {
            let opacity = f64::from(shade) / f64::from(SHADES);
            let path =
                Path::new().set("d", runs).set("class", "thin").set("stroke-opacity", opacity);
            group = group.add(path);
        }
    }
    Ok(group)
}

/// All runs of a shade, row by row, as a path.
fn runs(shades: &[i32], shade: i32) -> String {
    let mut path = String::new();
    for (row, pixels) in shades.chunks(SIDE as usize).enumerate() {
        let mut column = 0;
        for run in pixels.chunk_by(|a, b| a == b) {
            if run[0] == shade {
                path += &format!("M{column} {row}h{}", run.len());
            }
            column += run.len();
        }
    }
    path
}
