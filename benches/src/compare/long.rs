//! A long run in a process of its own: whether it slows down, and how much memory it takes.

use std::time::Duration;

use anyhow::{Result, ensure};

use super::comparison::Comparison;
use crate::books::Books;
use crate::child::{Child, Mark, Order, Pace};
use crate::plan::Scale;
use crate::report::{Ratio, Target};
use crate::sides::{CACHE_BYTES, Flush, Mode, Side};
use crate::tables::thousands;

const MIB: f64 = (1 << 20) as f64;

pub(super) fn run(comparison: &mut Comparison) -> Result<()> {
    // A sync for each checkpoint takes so long that a tenth of them has to do.
    for (side, quick, full) in [
        (Side::SqliteTuned(Flush::Normal), 20_000, 2_000_000),
        (Side::Milepost(Mode::Relaxed), 20_000, 2_000_000),
        (Side::Milepost(Mode::Immediate), 1_000, 200_000),
    ] {
        let count = comparison.extent.pick(quick, full);
        let marks = one(comparison, side, count)?;
        record(comparison, side, count, &marks);
    }
    Ok(())
}

fn one(comparison: &mut Comparison, side: Side, count: u64) -> Result<Vec<Mark>> {
    let scale = Scale::TEN;
    let folder = comparison.new_folder()?;
    side.fill(&folder, &scale)?;
    let mut books = Books::new(&scale);
    let done = Child::start(&Order {
        side,
        folder: folder.clone(),
        scale,
        tracks: books.turns(),
        now: books.now(),
        count,
        most: Duration::from_secs(86_400),
        pace: Pace::Steady { every: count / 20 },
    })?
    .run()?;
    ensure!(done.count == count, "{side} made {} checkpoints, not {count}", done.count);
    books.skip(count);
    books.check(side, &*side.open(&folder, &scale, &[])?)?;
    Ok(done.marks)
}

fn record(comparison: &mut Comparison, side: Side, count: u64, marks: &[Mark]) {
    let edge = count / 20;
    let mut before = Duration::ZERO;
    let speeds: Vec<f64> = marks
        .iter()
        .map(|mark| {
            let took = mark.elapsed - std::mem::replace(&mut before, mark.elapsed);
            edge as f64 / took.as_secs_f64()
        })
        .collect();
    let (first, last) = (speeds[0], speeds[speeds.len() - 1]);
    let (count_words, edge_words) = (thousands(count as f64), thousands(edge as f64));
    let row = format!("{count_words} checkpoints, 1 caller");
    let mut figure = |column: String, value: f64, unit| {
        comparison.report.figure(format!("{row}: {column}"), side, value, unit, count);
    };
    figure("first twentieth per second".to_string(), first, "1/s");
    figure("last twentieth per second".to_string(), last, "1/s");
    let memory = |mark: &Mark| mark.memory as f64 / MIB;
    let peak = memory(&marks[marks.len() - 1]);
    figure("peak memory".to_string(), peak, "MiB");
    figure("peak memory after a twentieth".to_string(), memory(&marks[0]), "MiB");
    if side.is_sqlite() {
        return;
    }
    let extent = comparison.extent;
    comparison.report.ratios.push(Ratio::of(
        format!("no decay: last {edge_words} / first {edge_words} of {count_words}, {side}"),
        &[last],
        &[first],
        extent.full_only(Target::AtLeast(0.95)),
    ));
    comparison.report.ratios.push(Ratio::own(
        format!("peak memory after {count_words}, {side}, MiB"),
        &[peak],
        // The cache, and as much again for everything else.
        extent.full_only(Target::AtMost(2.0 * CACHE_BYTES as f64 / MIB)),
    ));
    comparison.report.ratios.push(Ratio::of(
        format!("peak memory after {count_words} / after a tenth of them, {side}"),
        &[peak],
        &[memory(&marks[1])],
        extent.full_only(Target::AtMost(1.1)),
    ));
}
