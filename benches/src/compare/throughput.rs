//! Checkpoints a second, and how long each takes: one caller and many, synced and relaxed, one at
//! a time and 256 together, with ten workers and a thousand.

use anyhow::Result;

use super::comparison::{Comparison, Extent, speeds};
use crate::floor;
use crate::plan::Scale;
use crate::report::{Ratio, Target};
use crate::rival::Connections;
use crate::run::{Entry, Length, Sample};
use crate::sides::{Flush, Mode, Side};

/// Checkpoints stored in one transaction where they are submitted together.
const TOGETHER: usize = 256;

/// Bytes of one history record, as milepost keeps it: the least that a checkpoint has to write.
const RECORD_BYTES: usize = 64;
/// Bytes that a synced commit of milepost writes: about ten pages.
const COMMIT_BYTES: usize = 10 * 4096;

pub(super) fn run(comparison: &mut Comparison) -> Result<()> {
    floor(comparison)?;
    scale(comparison, &Scale::TEN, "10 workers")?;
    scale(comparison, &Scale::THOUSAND, "1,000 workers")
}

fn floor(comparison: &mut Comparison) -> Result<()> {
    let folder = comparison.new_folder()?;
    for (name, bytes) in [("a record's bytes", RECORD_BYTES), ("a commit's bytes", COMMIT_BYTES)] {
        let mut rounds = Vec::new();
        for _ in 0..comparison.extent.rounds() {
            rounds.push(floor::run(&folder, bytes, comparison.extent.length(500, 10_000))?);
        }
        comparison.report.samples(
            &format!("the floor, {name}"),
            "append + fdatasync",
            &rounds,
            true,
        )?;
    }
    Ok(())
}

fn scale(comparison: &mut Comparison, scale: &Scale, workers: &str) -> Result<()> {
    let target =
        |target: f64| if scale.workers == 10 { Target::AtLeast(target) } else { Target::None };
    let extent = comparison.extent;
    // What has no target may take less time in a quick run.
    let upto = |quick, full| {
        let length = extent.length(quick, full);
        let shorter = extent == Extent::Quick && scale.workers > 10;
        Length { most: if shorter { length.most / 2 } else { length.most }, ..length }
    };
    let mut entries = Vec::new();
    for side in [
        Side::SqliteTriggers(Flush::Full),
        Side::SqliteTuned(Flush::Full),
        Side::Milepost(Mode::Immediate),
    ] {
        entries.push(comparison.entry(side, scale)?);
    }

    let alone = upto(1_000, 20_000);
    let row = format!("1 caller, synced, {workers}");
    let samples =
        comparison.compete(&mut entries, &mut |entry, length| entry.alone(length), alone)?;
    record(comparison, &row, &entries, &samples, true)?;
    compare(comparison, &row, &samples, [target(1.1), Target::None]);
    p99(comparison, &row, &samples, scale);

    for (callers, targets) in [(8, [6.0, 4.0]), (64, [30.0, 15.0])] {
        let length = upto(4_000, 30_000);
        choose_connections(&mut entries, callers, length)?;
        let row = format!("{callers} callers, synced, {workers}");
        let samples = comparison.compete(
            &mut entries,
            &mut |entry, length| entry.callers(callers, length),
            length,
        )?;
        record(comparison, &row, &entries, &samples, true)?;
        compare(comparison, &row, &samples, targets.map(target));
        p99(comparison, &row, &samples, scale);
    }

    let length = upto(20 * TOGETHER as u64, 200 * TOGETHER as u64);
    let row = format!("256 together, synced, {workers}");
    let samples = comparison.compete(
        &mut entries,
        &mut |entry, length| entry.together(TOGETHER, length),
        length,
    )?;
    record(comparison, &row, &entries, &samples, false)?;
    compare(comparison, &row, &samples, [target(25.0), target(6.0)]);
    drop(entries);

    let mut entries = Vec::new();
    for side in [
        Side::SqliteTriggers(Flush::Normal),
        Side::SqliteTuned(Flush::Normal),
        Side::Milepost(Mode::Relaxed),
    ] {
        entries.push(comparison.entry(side, scale)?);
    }
    let length = upto(4_000, 50_000);
    let row = format!("1 caller, relaxed, {workers}");
    let samples =
        comparison.compete(&mut entries, &mut |entry, length| entry.alone(length), length)?;
    record(comparison, &row, &entries, &samples, true)?;
    compare(comparison, &row, &samples, [target(8.0), target(4.0)]);
    Ok(())
}

/// Finds out how the threads of each SQLite side had best share the file, by trying both.
fn choose_connections(entries: &mut [Entry], callers: usize, length: Length) -> Result<()> {
    let trial = Length { count: length.count / 4, most: length.most / 2 };
    for entry in entries.iter_mut().filter(|entry| entry.side.is_sqlite()) {
        entry.connections = Connections::OnePerThread;
        let own = entry.callers(callers, trial)?.per_second();
        entry.connections = Connections::OneForAll;
        if own > entry.callers(callers, trial)?.per_second() {
            entry.connections = Connections::OnePerThread;
        }
    }
    Ok(())
}

fn record(
    comparison: &mut Comparison,
    row: &str,
    entries: &[Entry],
    samples: &[Vec<Sample>],
    percentiles: bool,
) -> Result<()> {
    for (entry, rounds) in entries.iter().zip(samples) {
        let many = row.contains("callers") && entry.side.is_sqlite();
        let side = if many {
            format!("{}, {}", entry.side, entry.connections.words())
        } else {
            entry.side.to_string()
        };
        comparison.report.samples(row, side, rounds, percentiles)?;
    }
    Ok(())
}

/// The ratios of milepost, which comes last, to triggers and tuned.
fn compare(comparison: &mut Comparison, row: &str, samples: &[Vec<Sample>], targets: [Target; 2]) {
    for (at, (rival, target)) in ["triggers", "tuned"].into_iter().zip(targets).enumerate() {
        let name = format!("{row}: milepost / sqlite-{rival}");
        comparison.report.ratios.push(Ratio::of(
            name,
            &speeds(&samples[2]),
            &speeds(&samples[at]),
            target,
        ));
    }
}

/// The 99th percentile of milepost, which comes last, on its own and beside triggers.
fn p99(comparison: &mut Comparison, row: &str, samples: &[Vec<Sample>], scale: &Scale) {
    let target = |most: f64| if scale.workers == 10 { Target::AtMost(most) } else { Target::None };
    let of = |side: usize| -> Vec<f64> {
        samples[side]
            .iter()
            .map(|sample| sample.latency.value_at_quantile(0.99) as f64 / 1e6)
            .collect()
    };
    let (ours, triggers) = (of(2), of(0));
    let name = format!("{row}: p99 of milepost in ms");
    comparison.report.ratios.push(Ratio::own(name, &ours, target(10.0)));
    let name = format!("{row}: p99 of milepost / sqlite-triggers");
    comparison.report.ratios.push(Ratio::of(name, &ours, &triggers, target(1.0)));
}
