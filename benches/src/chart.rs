//! Lines over axes in powers of ten, as SVG.

use std::ops::Range;
use std::path::Path;

use anyhow::{Result, anyhow};
use plotters::prelude::*;

use crate::tables::thousands;

/// One line of a plot.
pub(crate) struct Line {
    pub(crate) name: String,
    pub(crate) color: RGBColor,
    pub(crate) points: Vec<(f64, f64)>,
}

/// What a plot is about.
pub(crate) struct Words {
    pub(crate) title: &'static str,
    pub(crate) x: &'static str,
    pub(crate) y: &'static str,
}

/// How far apart labels stand, at most, on an axis in powers of ten.
const LABELS: usize = 8;

/// Lines over two axes in powers of ten.
pub(crate) fn lines_on(path: &Path, words: &Words, lines: &[Line]) -> Result<()> {
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
pub(crate) fn span(values: impl Iterator<Item = f64>) -> Option<(f64, f64)> {
    values.fold(None, |span, value| match span {
        None => Some((value, value)),
        Some((low, high)) => Some((value.min(low), value.max(high))),
    })
}

/// The whole powers of ten around a span.
pub(crate) fn decades((low, high): (f64, f64)) -> Range<f64> {
    10f64.powf((low / 1.1).log10().floor())..10f64.powf((high * 1.1).log10().ceil())
}

/// Errors of drawing borrow from the backend, so that only their words can leave here.
pub(crate) fn failed(error: impl std::fmt::Display) -> anyhow::Error {
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
