//! The costs, drawn: two panels for each axis, what is on the path of a lease or a checkpoint on
//! the left, all else on the right.

use std::path::Path;

use anyhow::{Context, Result};
use plotters::coord::Shift;
use plotters::prelude::*;

use super::cell::Axis;
use super::costs::Growth;
use super::report::{Line, Report};
use crate::chart::{decades, failed, span};
use crate::tables::thousands;

const PANEL: (u32, u32) = (720, 440);
/// The room to the right of the axes, for the names of the lines.
const NAMES: u32 = 270;
/// The height of a name.
const NAME: i32 = 13;

/// What grows too fast. Everything else takes turns in the other colors.
const RED: RGBColor = RGBColor(0xc6, 0x28, 0x28);
const COLORS: [RGBColor; 6] = [
    RGBColor(0x1b, 0x7a, 0x43),
    RGBColor(0x2f, 0x5d, 0xa8),
    RGBColor(0x7a, 0x5c, 0x1b),
    RGBColor(0x5b, 0x3a, 0x8c),
    RGBColor(0x1a, 0x7f, 0x8e),
    RGBColor(0x55, 0x55, 0x55),
];

type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// Draws the costs of all operations as `scale.svg` in a folder.
///
/// # Errors
/// If the file cannot be written.
pub fn draw(report: &Report, folder: &Path) -> Result<()> {
    std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    let rows: Vec<(Axis, Vec<Line<'_>>)> = Axis::ALL
        .into_iter()
        .map(|axis| (axis, report.lines(axis)))
        .filter(|(_, lines)| !lines.is_empty())
        .collect();
    let path = folder.join("scale.svg");
    let size = (2 * PANEL.0, PANEL.1 * rows.len() as u32);
    let root = SVGBackend::new(&path, size).into_drawing_area();
    root.fill(&WHITE).map_err(failed)?;
    let areas = root.split_evenly((rows.len(), 2));
    for ((axis, lines), areas) in rows.into_iter().zip(areas.chunks(2)) {
        let (on_path, others): (Vec<_>, Vec<_>) =
            lines.into_iter().partition(|line| line.growth == Growth::Path);
        let words = axis.words();
        panel(&areas[0], &format!("On the path, by {words}"), words, &on_path)?;
        panel(&areas[1], &format!("All else, by {words}"), words, &others)?;
    }
    root.present().map_err(failed)
}

fn panel(area: &Area<'_>, title: &str, x: &str, lines: &[Line<'_>]) -> Result<()> {
    let points = || lines.iter().flat_map(|line| &line.points);
    let Some(xs) = span(points().map(|point| at_least_one(point.0))) else { return Ok(()) };
    let Some(ys) = span(points().map(|point| point.1)) else { return Ok(()) };
    let mut chart = ChartBuilder::on(area)
        .caption(title, ("sans-serif", 18))
        .margin(12)
        .margin_right(NAMES)
        .x_label_area_size(40)
        .y_label_area_size(74)
        .build_cartesian_2d((xs.0..xs.1 * 1.05).log_scale(), decades(ys).log_scale())
        .map_err(failed)?;
    chart
        .configure_mesh()
        .x_desc(x)
        .y_desc("microseconds")
        .x_labels(6)
        .y_labels(8)
        .x_label_formatter(&|x| thousands(*x))
        .y_label_formatter(&|y| if *y < 10.0 { format!("{y}") } else { thousands(*y) })
        .light_line_style(BLACK.mix(0.04))
        .draw()
        .map_err(failed)?;
    let mut names = Vec::new();
    for (n, line) in lines.iter().enumerate() {
        let color = if line.exceeds() { RED } else { COLORS[n % COLORS.len()] };
        let places: Vec<(f64, f64)> =
            line.points.iter().map(|point| (at_least_one(point.0), point.1)).collect();
        let end = places.last().map(|place| chart.backend_coord(place));
        let series = LineSeries::new(places, color.stroke_width(2)).point_size(2);
        chart.draw_series(series).map_err(failed)?;
        names.extend(end.map(|(_, y)| Name { y, color, text: line.operation }));
    }
    let (left, top) = area.get_base_pixel();
    let ends = chart.backend_coord(&(xs.1 * 1.05, ys.0)).0 - left;
    spread(&mut names, top + NAME, top + PANEL.1 as i32 - 2 * NAME);
    for Name { y, color, text } in names {
        let style = ("sans-serif", NAME).into_font().color(&color);
        area.draw(&Text::new(text, (ends + 8, y - top - NAME / 2), style)).map_err(failed)?;
    }
    Ok(())
}

/// Nothing has no place on an axis in powers of ten.
fn at_least_one(size: u64) -> f64 {
    size.max(1) as f64
}

/// The name of a line, and how far down it stands.
struct Name<'a> {
    y: i32,
    color: RGBColor,
    text: &'a str,
}

/// Moves names apart that would cover each other, from the top down, and back up from the bottom.
fn spread(names: &mut [Name<'_>], top: i32, bottom: i32) {
    names.sort_by_key(|name| name.y);
    let mut free = top;
    for name in names.iter_mut() {
        name.y = name.y.max(free);
        free = name.y + NAME;
    }
    let mut free = bottom;
    for name in names.iter_mut().rev() {
        name.y = name.y.min(free);
        free = name.y - NAME;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_do_not_cover_each_other() {
        let name = |y| Name { y, color: RED, text: "" };
        let mut names = [name(390), name(100), name(395), name(101), name(392)];

        spread(&mut names, 0, 400);

        let places: Vec<i32> = names.iter().map(|name| name.y).collect();
        assert!(places.windows(2).all(|pair| pair[1] - pair[0] >= NAME), "{places:?}");
        assert!(places.iter().all(|y| (0..=400).contains(y)), "{places:?}");
    }
}
