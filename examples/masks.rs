//! A picture of the masks: what each named noise shape, and DropConnect, drops together.
//!
//! `cargo run --release --example masks -- --out masks.svg`

use std::fs;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context, Result};
use clap::Parser;
use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};
use tch::nn::{self, ModuleT};
use tch::{Device, Kind, Tensor};
use tch_dropout::{DropConnectConfig, NoiseShape, Stream, TrueDropout, drop_connect};

/// Draws one activation's masks of the four named noise shapes, and DropConnect's, as an SVG
#[derive(Parser)]
struct Args {
    /// Where to write the picture
    #[arg(long, value_name = "FILE", default_value = "masks.svg")]
    out: PathBuf,

    /// The seed of the masks
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// The activation: samples, channels, and places in a channel. With one place, channels would be elements.
const SIZE: [i64; 3] = [8, 4, 3];
const P: f64 = 0.5;

/// In pixels.
const CELL: i32 = 11;
const BETWEEN_CHANNELS: i32 = 4;
const BETWEEN_PANELS: i32 = 30;
const MARGIN: i32 = 28;
const GRID_TOP: i32 = 62;
const PICTURE: (u32, u32) = (904, 212);

const KEPT: RGBColor = RGBColor(0, 114, 178);
const DROPPED: RGBColor = RGBColor(222, 222, 222);
const INK: RGBColor = RGBColor(40, 40, 40);

fn main() -> ExitCode {
    match run(&Args::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<()> {
    let panels = panels(args.seed)?;
    let name = args.out.display();
    fs::write(&args.out, draw(&panels)?).with_context(|| format!("cannot write {name}"))?;
    writeln!(io::stdout(), "wrote {name}").context("cannot write to standard output")
}

struct Panel {
    title: &'static str,
    mask: &'static str,
    /// Row by row.
    kept: Vec<bool>,
    /// Cells of a row that stand together.
    group: i32,
}

fn panels(seed: u64) -> Result<Vec<Panel>> {
    // With one and the same stream, the masks would all begin alike.
    let stream = |worker| Stream::new(seed).worker(worker);
    let shapes = [
        ("Columns", "[1, C, 1]", NoiseShape::Columns),
        ("Elements", "[N, C, L]", NoiseShape::Elements),
        ("Channels", "[N, C, 1]", NoiseShape::Channels),
        ("Samples", "[N, 1, 1]", NoiseShape::Samples),
    ];
    let mut panels = Vec::new();
    for (worker, (title, mask, shape)) in (1..).zip(shapes) {
        let x = Tensor::ones(SIZE, (Kind::Float, Device::Cpu));
        let layer = TrueDropout::new(P)?.noise_shape(shape).stream(stream(worker));
        let kept = kept(&layer.f_forward_t(&x, true)?)?;
        panels.push(Panel { title, mask, kept, group: SIZE[2] as i32 });
    }
    let kept = kept(&dropped_weight(stream(0))?)?;
    panels.push(Panel { title: "DropConnect", mask: "[out, in]", kept, group: i32::MAX });
    Ok(panels)
}

/// A weight as DropConnect multiplies with it: without a bias, an identity's rows come out as its
/// columns.
fn dropped_weight(stream: Stream) -> Result<Tensor> {
    let vs = nn::VarStore::new(Device::Cpu);
    let inputs = SIZE[1] * SIZE[2];
    let linear = nn::LinearConfig { bias: false, ..Default::default() };
    let config = DropConnectConfig { p: P, linear, ..Default::default() };
    let layer = drop_connect(vs.root(), inputs, SIZE[0], config)?.stream(stream);
    Ok(layer.forward_t(&Tensor::eye(inputs, (Kind::Float, Device::Cpu)), true).tr())
}

fn kept(y: &Tensor) -> Result<Vec<bool>> {
    Ok(Vec::try_from(y.ne(0).reshape([-1]))?)
}

fn draw(panels: &[Panel]) -> Result<String> {
    let mut svg = String::new();
    {
        let picture = SVGBackend::with_string(&mut svg, PICTURE).into_drawing_area();
        picture.fill(&WHITE)?; // Legible on a dark page too.
        let mut left = MARGIN;
        for panel in panels {
            left = draw_panel(&picture, panel, left)? + BETWEEN_PANELS;
        }
        draw_legend(&picture)?;
        picture.present()?;
    }
    Ok(svg)
}

type Picture<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws a panel; returns where it ends.
fn draw_panel(picture: &Picture, panel: &Panel, left: i32) -> Result<i32> {
    let columns = panel.kept.len() as i32 / SIZE[0] as i32;
    let x_of = |column: i32| left + column * CELL + column / panel.group * BETWEEN_CHANNELS;
    let right = x_of(columns - 1) + CELL;
    write(picture, panel.title, 20, INK, ((left + right) / 2, 24))?;
    write(picture, &format!("mask {}", panel.mask), 17, INK, ((left + right) / 2, 46))?;
    for (cell, &kept) in panel.kept.iter().enumerate() {
        let (row, column) = (cell as i32 / columns, cell as i32 % columns);
        draw_cell(picture, (x_of(column), GRID_TOP + row * CELL), kept)?;
    }
    Ok(right)
}

fn draw_cell(picture: &Picture, (x, y): (i32, i32), kept: bool) -> Result<()> {
    let style = if kept { KEPT } else { DROPPED }.filled();
    picture.draw(&Rectangle::new([(x, y), (x + CELL - 1, y + CELL - 1)], style))?;
    Ok(())
}

fn draw_legend(picture: &Picture) -> Result<()> {
    let y = GRID_TOP + SIZE[0] as i32 * CELL + 20;
    write(picture, "rows: samples N; columns: channels C of L places each", 17, INK, (361, y))?;
    write(picture, "rows: outputs; columns: inputs", 17, INK, (789, y))?;
    for (x, kept, name) in [(350, true, "kept"), (422, false, "dropped, p = 0.5")] {
        draw_cell(picture, (x, y + 21), kept)?;
        let beside = Pos::new(HPos::Left, VPos::Center);
        let style = TextStyle::from(("sans-serif", 17)).color(&INK).pos(beside);
        picture.draw(&Text::new(name, (x + 18, y + 26), style))?;
    }
    Ok(())
}

/// Writes a line centred at a point.
fn write(picture: &Picture, text: &str, size: u32, ink: RGBColor, at: (i32, i32)) -> Result<()> {
    let centred = Pos::new(HPos::Center, VPos::Center);
    let style = TextStyle::from(("sans-serif", size)).color(&ink).pos(centred);
    picture.draw(&Text::new(text, at, style))?;
    Ok(())
}
