//! How large the files are: as they grow from nothing, and with every tier at its cap.

use std::time::Duration;

use anyhow::Result;

use super::comparison::{Comparison, Extent};
use crate::plan::Scale;
use crate::report::{Ratio, Report, Target};
use crate::rival::Size;
use crate::run::{Entry, Length, Sample};
use crate::sides::{Flush, Mode, Side};
use crate::tables::thousands;

/// The row of the files that grow from nothing: the plots look for it.
pub(crate) const GROWTH: &str = "from nothing";
const MIB: f64 = (1 << 20) as f64;
/// Checkpoints between two looks at a size, where its maximum is wanted.
const LOOK_EVERY: u64 = 250;

/// The ways of making checkpoints, each of which may make a file grow.
const WAYS: [fn(&mut Entry, Length) -> Result<Sample>; 3] = [
    |entry, length| entry.alone(length),
    |entry, length| entry.callers(8, length),
    |entry, length| entry.together(256, length),
];

/// Ten workers, who make a million checkpoints in 30 simulated days: from nothing, and with every
/// tier at its cap.
pub(super) fn run(comparison: &mut Comparison) -> Result<()> {
    from_nothing(comparison)?;
    let capped = [
        Side::SqliteTriggers(Flush::Normal),
        Side::SqliteTuned(Flush::Normal),
        Side::Milepost(Mode::Relaxed),
    ];
    grow(comparison, &capped, &Scale::TEN, "more at full tiers")?;
    Ok(())
}

fn from_nothing(comparison: &mut Comparison) -> Result<()> {
    let mut sides = vec![
        Side::SqliteRows(Flush::Normal),
        Side::SqliteTriggers(Flush::Normal),
        Side::SqliteTuned(Flush::Normal),
        Side::Milepost(Mode::Relaxed),
    ];
    // It takes a sync for each checkpoint, which is too long for a quick run.
    if comparison.extent == Extent::Full {
        sides.push(Side::Milepost(Mode::Immediate));
    }
    let (made, last, compacted) = grow(comparison, &sides, &Scale::EMPTY, GROWTH)?;
    let made = thousands(made as f64);
    for (at, ours) in sides.iter().enumerate().filter(|(_, side)| !side.is_sqlite()) {
        for (what, sizes, target) in [
            ("", &last, comparison.extent.full_only(Target::AtLeast(98.7))),
            (", compacted", &compacted, Target::None),
        ] {
            comparison.report.ratios.push(Ratio::smaller(
                format!(
                    "{made} checkpoints of 10 workers{what}: {ours} % smaller than sqlite-rows"
                ),
                sizes[at].total() as f64 / MIB,
                sizes[0].total() as f64 / MIB,
                target,
            ));
        }
    }
    Ok(())
}

/// How many checkpoints were made, and the size of every side after them: live, and compacted.
fn grow(
    comparison: &mut Comparison,
    sides: &[Side],
    scale: &Scale,
    what: &str,
) -> Result<(u64, Vec<Size>, Vec<Size>)> {
    let steps: &[u64] = comparison.extent.pick(
        &[1_000, 3_000, 10_000],
        &[1_000, 3_000, 10_000, 30_000, 100_000, 300_000, 1_000_000],
    );
    let mut entries = Vec::new();
    for side in sides {
        entries.push(comparison.entry(*side, scale)?);
    }
    let mut last = vec![Size::default(); sides.len()];
    let mut made = 0;
    for step in steps {
        for (entry, last) in entries.iter_mut().zip(&mut last) {
            entry.alone(Length { count: step - made, ..Length::LONG })?;
            *last = entry.rival.size()?;
            let row = format!("{} checkpoints {what}", thousands(*step as f64));
            size(&mut comparison.report, &row, entry.side, *last, *step);
        }
        made = *step;
    }
    let mut compacted = Vec::new();
    for entry in &entries {
        entry.check()?;
        entry.rival.compact()?;
        let found = entry.rival.size()?;
        let row = format!("{} checkpoints {what}, compacted", thousands(made as f64));
        size(&mut comparison.report, &row, entry.side, found, made);
        compacted.push(found);
    }
    Ok((made, last, compacted))
}

/// Every tier at its cap, through checkpoints one at a time, from eight callers, and together.
pub(super) fn full_tiers(comparison: &mut Comparison) -> Result<()> {
    let count = comparison.extent.pick(1_000, 20_000);
    // A slow disk must not make a quick run long.
    let time = comparison.extent.pick(Duration::from_millis(100), Length::LONG.most);
    let sides = [
        Side::SqliteTriggers(Flush::Full),
        Side::SqliteTuned(Flush::Full),
        Side::Milepost(Mode::Relaxed),
        Side::Milepost(Mode::Immediate),
    ];
    let mut found = Vec::new();
    for side in sides {
        let mut entry = comparison.entry(side, &Scale::TEN)?;
        let filled = entry.rival.size()?;
        let (mut most, mut made) = (filled, 0);
        for _ in 0..count / LOOK_EVERY {
            let length = Length { count: LOOK_EVERY, most: time };
            for way in WAYS {
                made += way(&mut entry, length)?.count;
                most = larger(most, entry.rival.size()?);
            }
        }
        let live = entry.rival.size()?;
        entry.check()?;
        entry.rival.compact()?;
        let compacted = entry.rival.size()?;
        for (row, of) in [
            ("full tiers, at first", filled),
            ("full tiers, at most", most),
            ("full tiers, live", live),
            ("full tiers, compacted and the log truncated", compacted),
        ] {
            size(&mut comparison.report, row, side, of, made);
        }
        found.push((side, most, live, compacted));
    }
    let mib = |size: Size| [size.total() as f64 / MIB];
    for (ours, most, live, compacted) in &found[2..] {
        comparison.report.ratios.push(Ratio::own(
            format!("file at full tiers: {ours} at most, MiB"),
            &mib(*most),
            Target::AtMost(10.0),
        ));
        for (rival, _, their_live, their_compacted) in &found[..2] {
            comparison.report.ratios.push(Ratio::of(
                format!("file at full tiers, live, MiB: {ours} / {rival} with its log"),
                &mib(*live),
                &mib(*their_live),
                Target::AtMost(0.8),
            ));
            comparison.report.ratios.push(Ratio::of(
                format!("file at full tiers, compacted, MiB: {ours} / {rival}"),
                &mib(*compacted),
                &mib(*their_compacted),
                Target::AtMost(1.2),
            ));
        }
    }
    Ok(())
}

fn larger(a: Size, b: Size) -> Size {
    if b.total() > a.total() { b } else { a }
}

fn size(report: &mut Report, row: &str, side: Side, size: Size, count: u64) {
    for (column, bytes) in [("file", size.main), ("log", size.wal), ("total", size.total())] {
        report.figure(format!("{row}: {column}"), side, bytes as f64 / MIB, "MiB", count);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_larger_size_is_the_one_with_its_log() {
        let (a, b) = (Size { main: 5, wal: 0 }, Size { main: 3, wal: 4 });

        assert_eq!(larger(a, b), b);
        assert_eq!(larger(b, a), b);
    }
}
