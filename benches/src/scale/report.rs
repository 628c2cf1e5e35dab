//! What was found, as tables and as JSON.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;

use anyhow::{Context, Result};
use comfy_table::presets::ASCII_MARKDOWN;
use comfy_table::{CellAlignment, Table};
use serde::Serialize;

use super::cell::{Axis, Outcome};
use super::costs::Growth;
use super::fit::{self, Exponent};
use crate::machine::Machine;
use crate::tables::{number, print_settings, thousands};

const MIB: f64 = (1 << 20) as f64;

/// Everything that was found.
#[derive(Debug, Serialize)]
pub struct Report {
    machine: Machine,
    settings: BTreeMap<&'static str, String>,
    outcomes: Vec<Outcome>,
}

/// What an operation costs along an axis.
pub(super) struct Line<'a> {
    pub(super) operation: &'a str,
    pub(super) growth: Growth,
    /// Sizes and microseconds.
    pub(super) points: Vec<(u64, f64)>,
    pub(super) exponent: Option<Exponent>,
}

impl Line<'_> {
    /// Whether it grows faster than it may.
    pub(super) fn exceeds(&self) -> bool {
        self.exponent.is_some_and(|exponent| exponent.exceeds(self.growth))
    }

    fn verdict(&self) -> &'static str {
        match (self.exceeds(), self.growth) {
            (true, Growth::Path) => "TOO STEEP",
            (true, _) => "steep",
            (false, _) => "",
        }
    }
}

impl Report {
    /// Begins a report.
    #[must_use]
    pub fn new(machine: Machine, settings: Vec<(&'static str, String)>) -> Report {
        Report { machine, settings: settings.into_iter().collect(), outcomes: Vec::new() }
    }

    /// Adds what was found of one store.
    pub fn add(&mut self, outcome: Outcome) {
        self.outcomes.push(outcome);
    }

    fn along(&self, axis: Axis) -> impl Iterator<Item = &Outcome> {
        self.outcomes.iter().filter(move |outcome| outcome.cell.axis == axis)
    }

    /// The operations along an axis, in the order in which they were first measured.
    pub(super) fn lines(&self, axis: Axis) -> Vec<Line<'_>> {
        let mut lines: Vec<Line<'_>> = Vec::new();
        for outcome in self.along(axis) {
            for cost in &outcome.costs {
                let point = (outcome.cell.size, cost.micros);
                match lines.iter_mut().find(|line| line.operation == cost.operation) {
                    Some(line) => line.points.push(point),
                    None => lines.push(Line {
                        operation: &cost.operation,
                        growth: cost.growth,
                        points: vec![point],
                        exponent: None,
                    }),
                }
            }
        }
        for line in &mut lines {
            line.exponent = Exponent::of(&line.points);
        }
        lines
    }

    /// The operations on the path of a lease or a checkpoint that grow faster than a logarithm.
    #[must_use]
    pub fn too_steep(&self) -> Vec<String> {
        let on_path = |line: &Line<'_>| line.growth == Growth::Path && line.exceeds();
        let of = |axis: Axis| {
            let lines = self.lines(axis).into_iter().filter(on_path);
            lines.map(|line| format!("{}, by {}", line.operation, axis.words())).collect::<Vec<_>>()
        };
        Axis::ALL.into_iter().flat_map(of).collect()
    }

    /// Prints where and how it runs.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub fn print_settings(&self, out: &mut impl Write) -> Result<()> {
        writeln!(out, "# milepost as it grows\n")?;
        print_settings(&self.machine, &self.settings, out)?;
        print_legend(out)?;
        Ok(out.flush()?)
    }

    /// Prints the tables of an axis.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub fn print(&self, axis: Axis, out: &mut impl Write) -> Result<()> {
        let words = axis.words();
        writeln!(out, "\n## {}{}\n", words[..1].to_uppercase(), &words[1..])?;
        writeln!(out, "{}\n", self.cost_table(axis))?;
        writeln!(out, "{}\n", self.footprint_table(axis))?;
        let took: f64 = self.along(axis).map(|outcome| outcome.took).sum();
        writeln!(out, "This took {took:.0} s.")?;
        Ok(out.flush()?)
    }

    /// Lists what grows too fast.
    ///
    /// # Errors
    /// If the output cannot be written.
    pub fn print_verdict(&self, out: &mut impl Write) -> Result<()> {
        let too_steep = self.too_steep();
        writeln!(out, "\n## On the path of a lease or a checkpoint\n")?;
        match too_steep.len() {
            0 => writeln!(out, "Nothing grows faster than a logarithm.")?,
            _ => writeln!(out, "These costs grow faster than a logarithm:\n")?,
        }
        for line in too_steep {
            writeln!(out, "- {line}")?;
        }
        Ok(out.flush()?)
    }

    fn cost_table(&self, axis: Axis) -> Table {
        let sizes: Vec<u64> = self.along(axis).map(|outcome| outcome.cell.size).collect();
        let mut table = table(
            "microseconds",
            sizes
                .iter()
                .map(|size| thousands(*size as f64))
                .chain(["exponent", "last", "may grow", "verdict"].map(str::to_string)),
        );
        for line in self.lines(axis) {
            let cost = |size: &u64| {
                let point = line.points.iter().find(|point| point.0 == *size);
                point.map_or_else(String::new, |point| number(point.1))
            };
            let exponent = |of: fn(Exponent) -> f64| {
                // Adding 0.0 takes the sign off a zero.
                let rounded = |exponent| (of(exponent) * 100.0).round() / 100.0 + 0.0;
                line.exponent.map_or_else(String::new, |one| format!("{:.2}", rounded(one)))
            };
            let mut cells = vec![line.operation.to_string()];
            cells.extend(sizes.iter().map(cost));
            cells.push(exponent(|exponent| exponent.all));
            cells.push(exponent(|exponent| exponent.last));
            cells.push(line.growth.words().to_string());
            cells.push(line.verdict().to_string());
            table.add_row(cells);
        }
        align(&mut table);
        table
    }

    fn footprint_table(&self, axis: Axis) -> Table {
        let outcomes: Vec<&Outcome> = self.along(axis).collect();
        let sizes = outcomes.iter().map(|outcome| thousands(outcome.cell.size as f64));
        let mut table = table("MiB", sizes);
        let mut row = |name: &str, value: &dyn Fn(&Outcome) -> Option<u64>| {
            let cell = |outcome: &&Outcome| {
                value(outcome).map_or_else(String::new, |bytes| number(bytes as f64 / MIB))
            };
            if outcomes.iter().any(|outcome| value(outcome).is_some()) {
                table.add_row([name.to_string()].into_iter().chain(outcomes.iter().map(cell)));
            }
        };
        row("memory", &|outcome| Some(outcome.footprint.resident));
        row("memory at most", &|outcome| Some(outcome.peak));
        row("file", &|outcome| Some(outcome.footprint.file));
        row("file, compacted", &|outcome| outcome.footprint.compacted);
        align(&mut table);
        table
    }

    /// Writes everything as JSON.
    ///
    /// # Errors
    /// If the file cannot be written.
    pub fn write_json(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))
    }
}

fn print_legend(out: &mut impl Write) -> Result<()> {
    let (log, linear) = (fit::most(Growth::Path), fit::most(Growth::Whole));
    writeln!(
        out,
        "
Each table shows what a call costs at some sizes of the store, or a unit of its work where the name says
`per`, and how that grows. `exponent` is the e in cost ~ size^e, fitted over all sizes, `last` over the
largest three: about 0 for a cost that does not grow, 1 for one that doubles with the store. Where `last` is
more than {log:.2} although `may grow` says log, or more than {linear:.2} although it says linear, the cost is
`steep`; on the path of a lease or a checkpoint it is `TOO STEEP`, which `--check` refuses. A quick run has
small stores, where caches and fixed costs blur the exponents."
    )?;
    Ok(())
}

fn table(first: &str, columns: impl Iterator<Item = String>) -> Table {
    let mut table = Table::new();
    table.load_style(ASCII_MARKDOWN);
    table.set_header([first.to_string()].into_iter().chain(columns));
    table
}

fn align(table: &mut Table) {
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
}

#[cfg(test)]
mod tests {
    use super::super::cell::Cell;
    use super::super::costs::Cost;
    use super::super::scene::Footprint;
    use super::*;

    fn report(costs: impl Fn(f64) -> Vec<(&'static str, Growth, f64)>) -> Report {
        let mut report = Report::new(Machine::this(Path::new("/")), Vec::new());
        for size in [1_000, 10_000, 100_000] {
            let cost = |(operation, growth, micros): (&str, Growth, f64)| Cost {
                operation: operation.to_string(),
                growth,
                micros,
                count: 1,
            };
            report.add(Outcome {
                cell: Cell { axis: Axis::Jobs, size, quick: true },
                costs: costs(size as f64).into_iter().map(cost).collect(),
                footprint: Footprint { resident: 1 << 20, file: 2 << 20, compacted: None },
                peak: 1 << 20,
                took: 1.0,
            });
        }
        report
    }

    #[test]
    fn only_what_is_on_the_path_and_too_steep_is_listed() {
        let report = report(|n| {
            vec![
                ("lease", Growth::Path, 8.0),
                ("checkpoint", Growth::Path, n),
                ("cancel", Growth::Keyed, n),
                ("verify", Growth::Whole, n),
            ]
        });

        assert_eq!(report.too_steep(), ["checkpoint, by waiting jobs"]);
    }

    #[test]
    fn a_table_has_a_row_for_each_operation_and_marks_the_steep_ones() {
        let report = report(|n| {
            vec![
                ("lease", Growth::Path, n),
                ("cancel", Growth::Keyed, n),
                ("size", Growth::Whole, n),
            ]
        });
        let mut out = Vec::new();

        report.print(Axis::Jobs, &mut out).unwrap();

        let text = String::from_utf8(out).unwrap();
        let row = |first: &str| {
            text.lines().find(|line| line.starts_with(&format!("| {first} "))).unwrap()
        };
        assert!(
            row("lease").contains("100,000 |     1.00 | 1.00 | log, on path | TOO STEEP"),
            "{text}"
        );
        assert!(row("cancel").contains(" steep "), "{text}");
        assert!(!row("size").contains("steep"), "{text}");
        assert!(row("file").contains("2.00"), "{text}");
    }
}
