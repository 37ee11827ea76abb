//! Draws the picture: a grid of cells for each mask, with the cells of one draw outlined.

use std::ops::Range;

use anyhow::Result;
use picture::page::{Page, text};
use picture::style::ELEMENTS;
use svg::node::element::{Group, Path, Rectangle};

use crate::panel::{P, Panel, SIZE};

// In pixels. A cell's side, from one cell to the next, and what is between two groups of them.
const CELL: f64 = 11.0;
const STEP: f64 = 13.0;
const GAP: f64 = 6.0;
/// From one panel's corner to the next one's.
const PANEL: (f64, f64) = (206.0, 206.0);
/// From a panel's corner to its cells.
const CELLS: (f64, f64) = (28.0, 64.0);
/// Panels in a row. The last place is the legend's.
const IN_A_ROW: usize = 4;
/// The index of the draw whose cells are outlined; ignored in a shared dimension, which has only one.
const OUTLINED: [usize; 3] = [1, 1, 1];

pub fn draw(panels: &[Panel]) -> Result<String> {
    let mut page = Page::new(
        "What each noise shape drops together",
        "A mask for each noise shape, and DropConnect's: which cells are kept, which are dropped, and \
         which of them share one draw.",
        2.0 * PANEL.1,
    );
    for (place, panel) in panels.iter().enumerate() {
        page.add(draw_panel(panel)?.set("transform", corner(place)));
    }
    page.add(legend().set("transform", corner(panels.len())));
    Ok(page.finish())
}

fn corner(place: usize) -> String {
    let (row, column) = ((place / IN_A_ROW) as f64, (place % IN_A_ROW) as f64);
    format!("translate({} {})", column * PANEL.0, row * PANEL.1)
}

fn draw_panel(panel: &Panel) -> Result<Group> {
    let grid = Grid::new(panel)?;
    let (left, top) = CELLS;
    let (right, bottom) =
        (left + grid.across(grid.size[1] - 1, grid.size[2]), top + grid.down(grid.size[0]));
    let [rows, groups, columns] = panel.axes;
    let across =
        if groups.is_empty() { columns.to_owned() } else { format!("{groups} × {columns}") };
    let [first, second] = panel.use_it_for;
    let cells = Group::new()
        .set("transform", format!("translate({left} {top})"))
        .add(grid.cells(true).set("class", kept()))
        .add(grid.cells(false).set("class", "fill faint"));
    Ok(Group::new()
        .add(text(panel.title, (left, 20.0), "bold"))
        .add(text(format!("mask {}", grid.shape(panel)), (left, 38.0), "soft small"))
        .add(text(across, ((left + right) / 2.0, top - 8.0), "middle soft small"))
        .add(text(rows, (left - 6.0, (top + bottom) / 2.0 + 4.0), "end soft small"))
        .add(grid.outlines().into_iter().fold(cells, Group::add))
        .add(text(first, (left, bottom + 20.0), "small"))
        .add(text(second, (left, bottom + 37.0), "small")))
}

/// A mask, broadcast: rows of cells in groups.
struct Grid {
    size: [usize; 3],
    /// Which dimensions share a draw.
    shared: [bool; 3],
    kept: Vec<bool>,
}

impl Grid {
    fn new(panel: &Panel) -> Result<Grid> {
        let mask_size = panel.mask.size();
        let size = if panel.axes[1].is_empty() { mask_size.clone() } else { SIZE.to_vec() };
        let kept = Vec::try_from(panel.mask.expand(&size, false).ne(0).reshape([-1]))?;
        let size = [0, 1, 2].map(|dimension| size[dimension] as usize);
        let shared = [0, 1, 2].map(|dimension| mask_size[dimension] == 1 && size[dimension] > 1);
        Ok(Grid { size, shared, kept })
    }

    /// The mask's shape, in names of axes.
    fn shape(&self, panel: &Panel) -> String {
        let names = panel.axes.iter().zip(self.shared).filter(|(axis, _)| !axis.is_empty());
        let names: Vec<_> = names.map(|(axis, shared)| if shared { "1" } else { *axis }).collect();
        format!("[{}]", names.join(", "))
    }

    /// The x of a column's left edge.
    fn across(&self, group: usize, column: usize) -> f64 {
        (group * self.size[2] + column) as f64 * STEP + group as f64 * GAP
    }

    fn down(&self, row: usize) -> f64 {
        row as f64 * STEP
    }

    /// The kept cells, or the dropped ones.
    fn cells(&self, kept: bool) -> Path {
        let mut path = String::new();
        for (cell, _) in self.kept.iter().enumerate().filter(|(_, cell)| **cell == kept) {
            let (place, column) = (cell / self.size[2], cell % self.size[2]);
            let (row, group) = (place / self.size[1], place % self.size[1]);
            let (x, y) = (self.across(group, column), self.down(row));
            path += &format!("M{x} {y}h{CELL}v{CELL}h-{CELL}z");
        }
        Path::new().set("d", path)
    }

    /// Outlines the cells that share a draw. They are adjacent, unless each group has one.
    fn outlines(&self) -> Vec<Rectangle> {
        let [rows, groups, columns] = [0, 1, 2].map(|dimension| {
            let size = self.size[dimension];
            let one = OUTLINED[dimension].min(size - 1);
            if self.shared[dimension] { 0..size } else { one..one + 1 }
        });
        let parts: Vec<Range<usize>> = if self.shared[2] {
            vec![groups]
        } else {
            groups.map(|group| group..group + 1).collect()
        };
        let outline = |part: Range<usize>| {
            let (x, y) = (self.across(part.start, columns.start), self.down(rows.start));
            let right = self.across(part.end - 1, columns.end - 1) + CELL;
            let bottom = self.down(rows.end - 1) + CELL;
            outline(x, y, right - x, bottom - y)
        };
        parts.into_iter().map(outline).collect()
    }
}

/// A frame around a box, in the middle of the gap between cells.
fn outline(x: f64, y: f64, width: f64, height: f64) -> Rectangle {
    let around = (STEP - CELL) / 2.0;
    Rectangle::new()
        .set("x", x - around)
        .set("y", y - around)
        .set("width", width + 2.0 * around)
        .set("height", height + 2.0 * around)
        .set("rx", 2)
        .set("class", "line ink")
}

fn kept() -> String {
    format!("fill {}", ELEMENTS.colour)
}

fn legend() -> Group {
    let (left, top) = CELLS;
    let cell = |line: f64, class: &str| {
        let y = top + line * 24.0;
        let path = format!("M{left} {y}h{CELL}v{CELL}h-{CELL}z");
        Path::new().set("d", path).set("class", class)
    };
    let words =
        |line: f64, words: String| text(words, (left + 22.0, top + line * 24.0 + 10.0), "small");
    Group::new()
        .add(cell(0.0, &kept()))
        .add(words(0.0, "kept".to_owned()))
        .add(cell(1.0, "fill faint"))
        .add(words(1.0, format!("dropped, p = {P}")))
        .add(outline(left, top + 48.0, CELL, CELL))
        .add(words(2.0, "cells of one draw".to_owned()))
        .add(text("N rows; C groups of L cells,", (left, top + 98.0), "small soft"))
        .add(text("T groups of C in sequences", (left, top + 115.0), "small soft"))
}
