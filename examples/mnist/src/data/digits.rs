//! Built-in digits: ten figures made of strokes, each drawn with a random pen and hand.

use std::f32::consts::TAU;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use idx::SIDE;

type Point = (f32, f32);

/// A part of a figure, in a square of side 1 whose y axis points down.
enum Stroke {
    /// Straight from point to point.
    Lines(&'static [Point]),
    /// Around a centre, with a horizontal and a vertical radius, from one angle to another. Angles
    /// are in full turns, clockwise from three o'clock.
    Arc { centre: Point, radius: Point, from: f32, to: f32 },
}

use Stroke::{Arc, Lines};

const FIGURES: [&[Stroke]; 10] = [
    &[Arc { centre: (0.5, 0.5), radius: (0.3, 0.45), from: 0.0, to: 1.0 }],
    &[Lines(&[(0.32, 0.25), (0.54, 0.05), (0.54, 0.95)])],
    &[
        Arc { centre: (0.48, 0.3), radius: (0.28, 0.25), from: -0.5, to: 0.1 },
        Lines(&[(0.7, 0.45), (0.2, 0.95), (0.82, 0.95)]),
    ],
    &[
        Arc { centre: (0.45, 0.28), radius: (0.27, 0.23), from: -0.42, to: 0.25 },
        Arc { centre: (0.45, 0.72), radius: (0.3, 0.23), from: -0.25, to: 0.42 },
    ],
    &[Lines(&[(0.62, 0.95), (0.62, 0.05), (0.15, 0.65), (0.85, 0.65)])],
    &[
        Lines(&[(0.78, 0.05), (0.27, 0.05), (0.24, 0.47)]),
        Arc { centre: (0.45, 0.68), radius: (0.3, 0.27), from: -0.36, to: 0.42 },
    ],
    &[
        Arc { centre: (0.75, 0.7), radius: (0.53, 0.65), from: -0.5, to: -0.28 },
        Arc { centre: (0.5, 0.7), radius: (0.28, 0.25), from: 0.0, to: 1.0 },
    ],
    &[Lines(&[(0.15, 0.05), (0.85, 0.05), (0.4, 0.95)])],
    &[
        Arc { centre: (0.5, 0.27), radius: (0.24, 0.22), from: 0.0, to: 1.0 },
        Arc { centre: (0.5, 0.73), radius: (0.29, 0.23), from: 0.0, to: 1.0 },
    ],
    &[
        Arc { centre: (0.5, 0.3), radius: (0.28, 0.25), from: 0.0, to: 1.0 },
        Lines(&[(0.78, 0.3), (0.72, 0.6), (0.5, 0.95)]),
    ],
];

/// `count` images of `SIDE` by `SIDE` bytes, one after another, and their labels.
pub fn draw(count: usize, seed: u64) -> (Vec<u8>, Vec<u8>) {
    let mut rng = StdRng::seed_from_u64(seed);
    let mut images = vec![0; count * SIDE * SIDE];
    let mut labels = Vec::with_capacity(count);
    for image in images.chunks_exact_mut(SIDE * SIDE) {
        let label = rng.gen_range(0..10);
        let hand = Hand::new(&mut rng);
        for stroke in FIGURES[label as usize] {
            for ends in stroke.points().windows(2) {
                hand.line(image, ends[0], ends[1]);
            }
        }
        add_noise(image, &mut rng);
        labels.push(label);
    }
    (images, labels)
}

impl Stroke {
    fn points(&self) -> Vec<Point> {
        const STEPS: usize = 16;
        match self {
            Lines(points) => points.to_vec(),
            Arc { centre, radius, from, to } => (0..=STEPS)
                .map(|step| {
                    let turn = from + (to - from) * step as f32 / STEPS as f32;
                    let (sin, cos) = (turn * TAU).sin_cos();
                    (centre.0 + radius.0 * cos, centre.1 + radius.1 * sin)
                })
                .collect(),
        }
    }
}

/// How one image is drawn.
struct Hand {
    /// The figure's axes in pixels: slanted, rotated and stretched.
    across: Point,
    down: Point,
    centre: Point,
    /// Half the width of the pen, in pixels.
    pen: f32,
    ink: f32,
}

impl Hand {
    fn new(rng: &mut StdRng) -> Self {
        let (width, height) = (rng.gen_range(13.0..21.0), rng.gen_range(17.0..23.0));
        let slant = rng.gen_range(-0.3..0.3);
        let (sin, cos) = rng.gen_range(-0.2f32..0.2).sin_cos();
        let middle = SIDE as f32 / 2.0;
        Hand {
            across: (width * cos, width * sin),
            down: (-height * (sin + slant * cos), height * (cos - slant * sin)),
            centre: (middle + rng.gen_range(-2.5..2.5), middle + rng.gen_range(-2.5..2.5)),
            pen: rng.gen_range(0.7..1.8),
            ink: rng.gen_range(160.0..255.0),
        }
    }

    fn place(&self, (x, y): Point) -> Point {
        let (x, y) = (x - 0.5, y - 0.5);
        (
            self.centre.0 + x * self.across.0 + y * self.down.0,
            self.centre.1 + x * self.across.1 + y * self.down.1,
        )
    }

    /// Inks the pixels around a straight line; the pen's edge is a pixel soft.
    fn line(&self, image: &mut [u8], from: Point, to: Point) {
        let (from, to) = (self.place(from), self.place(to));
        let reach = self.pen + 1.0;
        let pixels = |a: f32, b: f32| {
            let first = (a.min(b) - reach).max(0.0) as usize;
            let end = (a.max(b) + reach + 1.0).clamp(0.0, SIDE as f32) as usize;
            first..end
        };
        for y in pixels(from.1, to.1) {
            for x in pixels(from.0, to.0) {
                let distance = distance((x as f32, y as f32), from, to);
                let ink = self.ink * (self.pen + 0.5 - distance).clamp(0.0, 1.0);
                let pixel = &mut image[y * SIDE + x];
                *pixel = (*pixel).max(ink as u8);
            }
        }
    }
}

/// The distance from a point to a line segment.
fn distance(p: Point, from: Point, to: Point) -> f32 {
    let (dx, dy) = (to.0 - from.0, to.1 - from.1);
    let along = ((p.0 - from.0) * dx + (p.1 - from.1) * dy) / (dx * dx + dy * dy).max(1e-9);
    let along = along.clamp(0.0, 1.0);
    (p.0 - from.0 - along * dx).hypot(p.1 - from.1 - along * dy)
}

/// Specks and grain, as of a bad scan.
fn add_noise(image: &mut [u8], rng: &mut StdRng) {
    for pixel in image {
        let grain = rng.gen_range(-40i16..=40);
        *pixel = (i16::from(*pixel) + grain).clamp(0, 255) as u8;
    }
}
