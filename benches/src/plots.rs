//! Draws what a comparison found, as SVG.

use std::path::Path;

use anyhow::{Context, Result};
use plotters::prelude::*;

use crate::chart::{Line, Words, failed, lines_on, span};
use crate::compare::growth::GROWTH;
use crate::dashboard::Question;
use crate::report::Report;

/// Draws every plot for which there are figures into a folder.
///
/// # Errors
/// What the file system meets.
pub fn draw(report: &Report, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    size(report, &folder.join("size.svg"))?;
    throughput(report, &folder.join("throughput.svg"))?;
    latency(report, &folder.join("latency.svg"))?;
    questions(report, &folder.join("questions.svg"))
}

/// The size of the files over the number of checkpoints.
fn size(report: &Report, path: &Path) -> Result<()> {
    let mut lines: Vec<Line> = Vec::new();
    for figure in &report.figures {
        if figure.name.ends_with(&format!("{GROWTH}: total")) {
            add(&mut lines, &figure.side, (figure.count as f64, figure.value));
        }
    }
    let words = Words { title: "File and log on disk", x: "checkpoints of ten workers", y: "MiB" };
    lines_on(path, &words, &lines)
}

/// Checkpoints a second over the number of callers.
fn throughput(report: &Report, path: &Path) -> Result<()> {
    let mut lines: Vec<Line> = Vec::new();
    for (callers, row) in [(1.0, "1 caller"), (8.0, "8 callers"), (64.0, "64 callers")] {
        let name = format!("{row}, synced, 10 workers: per second");
        for figure in report.figures.iter().filter(|figure| figure.name == name) {
            let side = figure.side.split(',').next().unwrap_or_default();
            add(&mut lines, side, (callers, figure.value));
        }
    }
    let words =
        Words { title: "Synced checkpoints", x: "callers at once", y: "checkpoints a second" };
    lines_on(path, &words, &lines)
}

/// The time that a share of the checkpoints of one caller stays under.
fn latency(report: &Report, path: &Path) -> Result<()> {
    let mut lines: Vec<Line> = Vec::new();
    let row = "1 caller, synced, 10 workers";
    for curve in report.curves.iter().filter(|curve| curve.row == row) {
        // One in so many checkpoints takes longer: 2 for the median, 100 for p99.
        let mut one_in = 2.0;
        while one_in <= curve.latency.len() as f64 / 5.0 {
            let nanos = curve.latency.value_at_quantile(1.0 - 1.0 / one_in);
            add(&mut lines, &curve.side, (one_in, nanos as f64 / 1e3));
            one_in *= 1.25;
        }
    }
    let words = Words {
        title: "How long a synced checkpoint of one caller takes",
        x: "one checkpoint in so many takes longer (2: p50, 100: p99, 1,000: p99.9)",
        y: "microseconds",
    };
    lines_on(path, &words, &lines)
}

fn add(lines: &mut Vec<Line>, side: &str, point: (f64, f64)) {
    match lines.iter_mut().find(|line| line.name == side) {
        Some(line) => line.points.push(point),
        None => {
            lines.push(Line { name: side.to_string(), color: color(side), points: vec![point] });
        }
    }
}

/// Every side keeps its color in all plots.
fn color(side: &str) -> RGBColor {
    match side.split(' ').next() {
        Some("milepost") => RGBColor(0x1b, 0x7a, 0x43),
        Some("sqlite-tuned") => RGBColor(0x2f, 0x5d, 0xa8),
        Some("sqlite-triggers") => RGBColor(0xc8, 0x6a, 0x12),
        _ => RGBColor(0xa8, 0x2f, 0x3d),
    }
}

/// A bar for each question and side: its median, with a mark at p99.
fn questions(report: &Report, path: &Path) -> Result<()> {
    const HEIGHT: i32 = 11;
    const LEFT: f64 = 290.0;
    const WIDTH: f64 = 480.0;
    let sides = ["milepost Immediate", "sqlite-tuned FULL", "sqlite-triggers FULL"];
    let value = |question: Question, side: &str, column: &str| {
        report.find(&format!("{}, 10 workers: {column}", question.words()), side)
    };
    let all = Question::ALL.iter().flat_map(|question| {
        sides.iter().flat_map(|side| ["p50", "p99"].map(|column| value(*question, side, column)))
    });
    let Some((low, high)) = span(all.flatten()) else { return Ok(()) };
    let low = low / 2.0;
    let at = |ms: f64| (LEFT + WIDTH * (ms / low).ln() / (high / low).ln()) as i32;

    let group = HEIGHT * sides.len() as i32 + 10;
    let height = 96 + group * Question::ALL.len() as i32;
    let root = SVGBackend::new(path, (820, height as u32)).into_drawing_area();
    root.fill(&WHITE).map_err(failed)?;
    let title = "Questions of a dashboard while a writer runs: p50, and a mark at p99";
    root.draw(&Text::new(title, (14, 14), ("sans-serif", 20))).map_err(failed)?;
    for (n, side) in sides.iter().enumerate() {
        let x = LEFT as i32 + 160 * n as i32;
        root.draw(&Rectangle::new([(x, 46), (x + 10, 56)], color(side).filled()))
            .map_err(failed)?;
        root.draw(&Text::new(*side, (x + 16, 45), ("sans-serif", 13))).map_err(failed)?;
    }
    let mut power = 10f64.powf(low.log10().ceil());
    while power <= high {
        let line = [(at(power), 66), (at(power), height - 24)];
        root.draw(&PathElement::new(line, BLACK.mix(0.12))).map_err(failed)?;
        let label =
            Text::new(format!("{power} ms"), (at(power) - 14, height - 20), ("sans-serif", 12));
        root.draw(&label).map_err(failed)?;
        power *= 10.0;
    }
    for (n, question) in Question::ALL.into_iter().enumerate() {
        let top = 70 + group * n as i32;
        let words = Text::new(question.words(), (14, top + 10), ("sans-serif", 14));
        root.draw(&words).map_err(failed)?;
        for (n, side) in sides.iter().enumerate() {
            let (Some(p50), Some(p99)) =
                (value(question, side, "p50"), value(question, side, "p99"))
            else {
                continue;
            };
            let y = top + HEIGHT * n as i32;
            let bar = [(LEFT as i32, y), (at(p50), y + HEIGHT - 2)];
            root.draw(&Rectangle::new(bar, color(side).filled())).map_err(failed)?;
            let mark = [(at(p99), y), (at(p99), y + HEIGHT - 2)];
            root.draw(&PathElement::new(mark, color(side).stroke_width(2))).map_err(failed)?;
        }
    }
    root.present().map_err(failed)
}
