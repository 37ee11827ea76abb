//! How the tables look, and what they call a kind.

use anyhow::{Result, bail};
use comfy_table::{CellAlignment, Table, presets};
use tch::Kind;

pub fn new_table(header: &[&str]) -> Table {
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_header(header);
    table
}

pub fn right_align(table: &mut Table, first: usize) {
    for column in table.column_iter_mut().skip(first) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

pub fn name_of(kind: Kind) -> &'static str {
    if kind == Kind::Float { "f32" } else { "bf16" }
}

pub fn kind_of(name: &str) -> Result<Kind> {
    match name {
        "f32" => Ok(Kind::Float),
        "bf16" => Ok(Kind::BFloat16),
        _ => bail!("unknown kind '{name}'"),
    }
}
