//! Draws what a comparison found, as SVG.

use std::ops::Range;
use std::path::Path;

use anyhow::{Context, Result, anyhow};
use plotters::prelude::*;

use crate::compare::growth::GROWTH;
use crate::dashboard::Question;
use crate::report::Report;
use crate::tables::thousands;

/// One line of a plot.
struct Line {
    name: String,
    color: RGBColor,
    points: Vec<(f64, f64)>,
}

/// What a plot is about.
struct Words {
    title: &'static str,
    x: &'static str,
    y: &'static str,
}

/// How far apart labels stand, at most, on an axis in powers of ten.
const LABELS: usize = 8;

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

/// Lines over two axes in powers of ten.
fn lines_on(path: &Path, words: &Words, lines: &[Line]) -> Result<()> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let Some(xs) = span(points().map(|point| point.0)) else { return Ok(()) };
    let Some(ys) = span(points().map(|point| point.1)) else { return Ok(()) };
    let root = SVGBackend::new(path, (820, 480)).into_drawing_area();
    root.fill(&WHITE).map_err(failed)?;
    let mut chart = ChartBuilder::on(&root)
        .caption(words.title, ("sans-serif", 22))
        .margin(14)
        .margin_right(28)
        .x_label_area_size(46)
        .y_label_area_size(84)
        .build_cartesian_2d((xs.0 / 1.05..xs.1 * 1.1).log_scale(), decades(ys).log_scale())
        .map_err(failed)?;
    chart
        .configure_mesh()
        .x_desc(words.x)
        .y_desc(words.y)
        .x_labels(LABELS)
        .y_labels(LABELS)
        .x_label_formatter(&|x| thousands(*x))
        .y_label_formatter(&|y| if *y < 10.0 { format!("{y}") } else { thousands(*y) })
        .light_line_style(BLACK.mix(0.05))
        .draw()
        .map_err(failed)?;
    for line in lines {
        let style = line.color.stroke_width(2);
        let series = LineSeries::new(line.points.iter().copied(), style);
        chart
            .draw_series(series.point_size(if line.points.len() > 10 { 0 } else { 3 }))
            .map_err(failed)?
            .label(&line.name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperLeft)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.2))
        .draw()
        .map_err(failed)?;
    root.present().map_err(failed)
}

/// The smallest and the largest of some values; `None` without any.
fn span(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |span, value| match span {
        None => Some((value, value)),
        Some((low, high)) => Some((value.min(low), value.max(high))),
    })
}

/// The whole powers of ten around a span.
fn decades((low, high): (f64, f64)) -> Range<f64> {
    10f64.powf((low / 1.1).log10().floor())..10f64.powf((high * 1.1).log10().ceil())
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

/// Errors of drawing borrow from the backend, so that only their words can leave here.
fn failed(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("drawing: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_axis_runs_between_powers_of_ten() {
        assert_eq!(decades((0.5, 240.0)), 0.1..1_000.0);
        assert_eq!(decades((1.0, 10.0)), 0.1..100.0);
    }

    #[test]
    fn a_span_needs_a_value() {
        assert_eq!(span([].into_iter()), None);
        assert_eq!(span([3.0, 1.0, 2.0].into_iter()), Some((1.0, 3.0)));
    }
}
