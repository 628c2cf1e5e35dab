//! How the examples show what they found: tables, and figures that can be read.
#![allow(dead_code, reason = "each example uses some of these")]
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

use comfy_table::presets::ASCII_BORDERS_ONLY_CONDENSED;
use comfy_table::{CellAlignment, Table};
use indicatif::{HumanBytes, HumanCount};
use milepost::Timestamp;

/// Prints a table under a title. Columns of figures stand to the right, those of words to the left.
pub fn print_table<const COLUMNS: usize>(
    title: &str,
    header: [&str; COLUMNS],
    rows: impl IntoIterator<Item = [String; COLUMNS]>,
) {
    let rows: Vec<_> = rows.into_iter().collect();
    let mut table = Table::new();
    table.load_style(ASCII_BORDERS_ONLY_CONDENSED).add_rows(&rows);
    if header.iter().any(|name| !name.is_empty()) {
        table.set_header(header);
    }
    for (at, column) in table.column_iter_mut().enumerate() {
        column.set_padding((1, u16::from(at == COLUMNS - 1)));
        if rows.iter().all(|row| is_figure(&row[at])) {
            column.set_cell_alignment(CellAlignment::Right);
        }
    }
    println!("\n{title}\n{table}");
}

fn is_figure(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_digit() || first == '-')
}

/// A number with its thousands set apart: `12,345,678`.
pub fn figure(number: impl TryInto<u64>) -> String {
    HumanCount(number.try_into().unwrap_or(u64::MAX)).to_string()
}

/// A rate: `8,400,000/s`.
pub fn rate(per_second: Option<f64>) -> String {
    per_second.map_or_else(nothing, |rate| format!("{}/s", HumanCount(rate.round() as u64)))
}

/// A time spent: `12.3 s`.
pub fn seconds(micros: impl TryInto<u64>) -> String {
    format!("{:.1} s", micros.try_into().unwrap_or(u64::MAX) as f64 / 1e6)
}

/// An instant, to the second: `2026-02-16T12:00:00Z`.
pub fn time(at: Timestamp) -> String {
    Timestamp::from_secs(at.as_micros().div_euclid(1_000_000)).to_string()
}

/// A share of a whole: `41.2 %`.
pub fn percent(share: f64) -> String {
    format!("{:.1} %", share * 100.0)
}

/// A size: `1.50 MiB`.
pub fn bytes(bytes: u64) -> String {
    HumanBytes(bytes).to_string()
}

/// What may be missing, or a dash.
pub fn or_dash(thing: Option<impl ToString>) -> String {
    thing.map_or_else(nothing, |thing| thing.to_string())
}

fn nothing() -> String {
    "-".into()
}
