//! Prints a report as tables.

use std::collections::BTreeMap;
use std::io::Write;

use anyhow::Result;
use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};

use crate::machine::Machine;
use crate::report::{Bound, FULL_ONLY, Figure, Ratio, Report};

impl Report {
    /// Prints where and how the comparison runs.
    ///
    /// # Errors
    /// What the output meets.
    pub fn print_settings(&self, out: &mut impl Write) -> Result<()> {
        writeln!(out, "# milepost beside SQLite\n")?;
        print_settings(&self.machine, &self.settings, out)?;
        out.flush()?;
        Ok(())
    }

    /// Prints the figures from the `from`th on, and the ratios from the `ratios_from`th on: a row
    /// for each thing measured and side, a column for each measure.
    ///
    /// # Errors
    /// What the output meets.
    pub fn print(
        &mut self,
        title: &str,
        from: usize,
        ratios_from: usize,
        out: &mut impl Write,
    ) -> Result<()> {
        writeln!(out, "\n## {title}\n")?;
        let figures = &self.figures[from..];
        if !figures.is_empty() {
            writeln!(out, "{}\n", figure_table(figures))?;
        }
        let ratios = &self.ratios[ratios_from..];
        if !ratios.is_empty() {
            writeln!(out, "{}", ratio_table(ratios))?;
        }
        for note in self.notes.drain(..) {
            writeln!(out, "\n{note}")?;
        }
        Ok(())
    }

    /// Prints the table of targets, and says how many were met.
    ///
    /// # Errors
    /// What the output meets.
    pub fn print_targets(&self, out: &mut impl Write) -> Result<()> {
        let listed = |ratio: &&Ratio| ratio.target.is_some() || ratio.remark == Some(FULL_ONLY);
        let rows: Vec<Ratio> = self.ratios.iter().filter(listed).cloned().collect();
        writeln!(out, "\n## Targets\n\n{}", ratio_table(&rows))?;
        let met = rows.iter().filter(|ratio| ratio.met == Some(true)).count();
        let held = rows.iter().filter(|ratio| ratio.target.is_some()).count();
        writeln!(out, "\n{met} of {held} targets met.")?;
        Ok(())
    }
}

/// Prints where a program ran, and how.
///
/// # Errors
/// If the output cannot be written.
pub(crate) fn print_settings(
    machine: &Machine,
    settings: &BTreeMap<&'static str, String>,
    out: &mut impl Write,
) -> Result<()> {
    let Machine { processor, cores, memory_mib, kernel, file_system, rustc, load } = machine;
    writeln!(out, "- machine: {processor}, {cores} cores, {memory_mib} MiB, load {load}")?;
    writeln!(out, "- system: Linux {kernel}, {file_system}, {rustc}")?;
    for (name, value) in settings {
        writeln!(out, "- {name}: {value}")?;
    }
    Ok(())
}

fn figure_table(figures: &[Figure]) -> Table {
    let mut columns: Vec<&str> = Vec::new();
    let mut rows: Vec<(&str, &str, u64)> = Vec::new();
    for figure in figures {
        let (row, column) = split(&figure.name);
        if !columns.contains(&column) {
            columns.push(column);
        }
        let key = (row, figure.side.as_str(), figure.count);
        if !rows.contains(&key) {
            rows.push(key);
        }
    }
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(["what", "side"].into_iter().chain(columns.iter().copied()).chain(["count"]));
    for (row, side, count) in rows {
        let mut cells = vec![row.to_string(), side.to_string()];
        for column in &columns {
            let cell = figures.iter().find(|figure| {
                split(&figure.name) == (row, *column)
                    && figure.side == side
                    && figure.count == count
            });
            cells.push(cell.map_or_else(String::new, |figure| {
                format!("{} {}", number(figure.value), figure.unit)
            }));
        }
        cells.push(thousands(count as f64));
        table.add_row(cells);
    }
    for column in table.column_iter_mut().skip(2) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn split(name: &str) -> (&str, &str) {
    name.rsplit_once(": ").unwrap_or((name, "value"))
}

fn ratio_table(ratios: &[Ratio]) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header(["ratio", "ours", "rival", "median", "low", "high", "target", "met"]);
    for ratio in ratios {
        let target = match (ratio.target, ratio.bound) {
            (Some(target), Bound::AtLeast) => format!(">= {}", number(target)),
            (Some(target), Bound::AtMost) => format!("<= {}", number(target)),
            (None, _) => ratio.remark.unwrap_or("").to_string(),
        };
        table.add_row([
            ratio.name.clone(),
            number(ratio.ours),
            ratio.rival.map_or_else(String::new, number),
            number(ratio.ratio),
            number(ratio.low),
            number(ratio.high),
            target,
            ratio.met.map_or("", |met| if met { "yes" } else { "NO" }).to_string(),
        ]);
    }
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

/// A number as short as it can be read.
pub(crate) fn number(value: f64) -> String {
    match value.abs() {
        size if size >= 1_000.0 => thousands(value),
        size if size >= 100.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 || size == 0.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// A whole number with commas between its thousands.
#[must_use]
pub fn thousands(value: f64) -> String {
    let digits = format!("{:.0}", value.abs());
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    if value < 0.0 { format!("-{text}") } else { text }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_written_to_be_read() {
        assert_eq!(thousands(1_234_567.0), "1,234,567");
        assert_eq!([0.5, 5.0, 50.0, 500.0].map(number), ["0.500", "5.00", "50.0", "500"]);
    }
}
