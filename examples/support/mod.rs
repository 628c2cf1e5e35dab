//! What the examples share: how they end, and how they show tables and figures.
#![allow(dead_code, reason = "each example uses some of these")]
#![expect(clippy::print_stderr, reason = "an example talks to its user")]

use std::error::Error;
use std::io::{self, ErrorKind, Write};
use std::iter;
use std::process::{ExitCode, Termination};
use std::time::Duration;

use comfy_table::presets::ASCII_BORDERS_ONLY_CONDENSED;
use comfy_table::{CellAlignment, Table};
use indicatif::{HumanBytes, HumanCount, HumanFloatCount};
use milepost::Timestamp;

/// The result of what can fail for several reasons.
pub type Result<T, E = Box<dyn Error + Send + Sync>> = std::result::Result<T, E>;

/// The exit code of an example that has run. An error is printed with its causes, unless it is that
/// nobody reads the output any more, as in `| head -1`: then the example just ends.
pub fn exit_code(outcome: Result<impl Termination>) -> ExitCode {
    match outcome {
        Ok(end) => end.report(),
        Err(error) if is_broken_pipe(&*error) => ExitCode::SUCCESS,
        Err(error) => {
            let error: &(dyn Error + 'static) = &*error;
            let causes = iter::successors(Some(error), |&error| error.source());
            let texts: Vec<String> = causes.map(ToString::to_string).collect();
            eprintln!("error: {}", texts.join(": "));
            ExitCode::FAILURE
        }
    }
}

fn is_broken_pipe(error: &(dyn Error + Send + Sync + 'static)) -> bool {
    error.downcast_ref::<io::Error>().is_some_and(|error| error.kind() == ErrorKind::BrokenPipe)
}

/// Prints a table under a title. Columns of figures stand to the right, those of words to the left.
pub fn print_table<const COLUMNS: usize>(
    out: &mut dyn Write,
    title: &str,
    header: [&str; COLUMNS],
    rows: impl IntoIterator<Item = [String; COLUMNS]>,
) -> Result<()> {
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
    Ok(writeln!(out, "\n{title}\n{table}")?)
}

fn is_figure(text: &str) -> bool {
    text.starts_with(|first: char| first.is_ascii_digit() || first == '-')
}

/// A number: `12,345,678`.
pub fn figure(number: impl TryInto<u64>) -> String {
    HumanCount(number.try_into().unwrap_or(u64::MAX)).to_string()
}

/// A rate: `8,400,000/s`.
pub fn rate(per_second: Option<f64>) -> String {
    or_dash(per_second.map(|rate| format!("{:.0}/s", HumanFloatCount(rate))))
}

/// A time spent: `12.3s`.
pub fn time_spent(duration: Duration) -> String {
    // Durations are stored in whole microseconds.
    if duration.is_zero() { "< 1 µs".into() } else { format!("{duration:.1?}") }
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
    thing.map_or_else(|| "-".into(), |thing| thing.to_string())
}
