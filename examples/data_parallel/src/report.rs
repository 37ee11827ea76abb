//! The results of a run, as a table.

use comfy_table::{CellAlignment, Table, TableComponent, presets};

use crate::train::Run;
use crate::watch::Time;

/// The table, and the digest of the weights.
pub fn table(run: &Run) -> String {
    let time = |figure: fn(&Time) -> String| run.time.as_ref().map_or("–".to_owned(), figure);
    let mut table = Table::new();
    table
        .load_preset(presets::UTF8_HORIZONTAL_ONLY)
        .remove_style(TableComponent::HorizontalLines)
        .remove_style(TableComponent::MiddleIntersections)
        .set_header(["ranks", "macro F1", "accuracy", "seconds per epoch", "in all-reduce"])
        .add_row([
            run.ranks.to_string(),
            format!("{:.4}", run.confusion.macro_f1()),
            format!("{:.4}", run.confusion.accuracy()),
            time(|time| format!("{:.2}", time.seconds_per_epoch)),
            time(|time| format!("{:.0} %", 100.0 * time.in_all_reduce)),
        ]);
    for column in table.column_iter_mut() {
        column.set_padding((0, 2)).set_cell_alignment(CellAlignment::Right);
    }
    format!("{table}\nAll replicas have the same weights, with the digest {:016x}.", run.digest)
}
