//! Tables: lists with a head line, and pairs of name and value. They keep to the terminal's width.

use std::io::stdout;

use comfy_table::presets::NOTHING;
use comfy_table::{CellAlignment, ContentArrangement, Table};
use rustix::termios::{isatty, tcgetwinsize};
use serde_json::Value;

/// A column: its head, and how a row fills it.
pub(crate) type Column<'a> = (&'a str, &'a dyn Fn(&Value) -> String);

/// One line for each item, or `empty` when there is none.
pub(crate) fn list(items: &[Value], columns: &[Column<'_>], empty: &str) -> String {
    figures(items, columns, columns.len(), empty)
}

/// The same, with figures in all columns but the first `words`: they stand at the right, so that they can be compared.
pub(crate) fn figures(
    items: &[Value],
    columns: &[Column<'_>],
    words: usize,
    empty: &str,
) -> String {
    if items.is_empty() {
        return format!("{empty}\n");
    }
    let mut table = bare();
    table.set_header(columns.iter().map(|(head, _)| *head));
    for item in items {
        table.add_row(columns.iter().map(|(_, cell)| cell(item)));
    }
    for column in table.column_iter_mut().skip(words) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    finish(table)
}

/// One line for each pair.
pub(crate) fn pairs<'a>(pairs: impl IntoIterator<Item = (&'a str, String)>) -> String {
    let mut table = bare();
    for (name, value) in pairs {
        table.add_row([name.to_owned(), value]);
    }
    finish(table)
}

fn bare() -> Table {
    let mut table = Table::new();
    table.load_style(NOTHING);
    if let Some(width) = terminal_width() {
        table
            .set_content_arrangement(ContentArrangement::Dynamic)
            .set_width(width);
    }
    table
}

fn finish(mut table: Table) -> String {
    for column in table.column_iter_mut() {
        column.set_padding((0, 2));
    }
    format!("{}\n", table.trim_fmt())
}

/// Width to keep to: what `COLUMNS` says, or the terminal; none when standard output is none.
fn terminal_width() -> Option<u16> {
    let said = std::env::var("COLUMNS")
        .ok()
        .and_then(|columns| columns.parse().ok());
    said.or_else(|| {
        isatty(stdout())
            .then(|| tcgetwinsize(stdout()).ok())?
            .map(|size| size.ws_col)
    })
    .filter(|width| *width >= 20)
}
