//! What a checkpoint writes: counted in the device below milepost, and by `strace` on every side.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};

use super::comparison::{Comparison, Extent};
use crate::child::{Child, Order, Pace};
use crate::device::{Counting, Counts};
use crate::plan::Scale;
use crate::run::{Entry, Length, Sample};
use crate::sides::{Flush, Mode, Side, milepost_file};

type Way = (&'static str, fn(&mut Entry, Length) -> Result<Sample>);

const WAYS: [Way; 3] = [
    ("1 caller", |entry, length| entry.alone(length)),
    ("8 callers", |entry, length| entry.callers(8, length)),
    ("256 together", |entry, length| entry.together(256, length)),
];

pub(super) fn run(comparison: &mut Comparison) -> Result<()> {
    device(comparison, &Scale::TEN, "10 workers")?;
    if comparison.extent == Extent::Full {
        device(comparison, &Scale::THOUSAND, "1,000 workers")?;
    }
    traced(comparison)
}

/// What milepost writes, by the counts of the device it writes to.
fn device(comparison: &mut Comparison, scale: &Scale, workers: &str) -> Result<()> {
    let side = Side::Milepost(Mode::Immediate);
    let folder = comparison.new_folder()?;
    side.fill(&folder, scale)?;
    let device = Arc::new(Counting::open(&milepost_file(&folder))?);
    let rival = Side::milepost_on(device.clone(), scale, Mode::Immediate, &scale.tracks())?;
    let mut entry = Entry::of(side, rival, scale);
    for (name, way) in WAYS {
        way(&mut entry, Length { count: 256, most: Duration::from_secs(1) })?;
        device.take();
        let length = Length {
            count: comparison.extent.pick(512, 10_240),
            most: comparison.extent.pick(Duration::from_secs(1), Length::LONG.most),
        };
        let sample = way(&mut entry, length)?;
        let counts = device.take();
        let row = format!("in the device, {name}, {workers}");
        per_commit(comparison, &row, side, counts, sample.count);
        comparison.report.figure(
            format!("{row}: pages per commit"),
            side,
            counts.pages as f64 / counts.syncs as f64,
            "",
            sample.count,
        );
    }
    entry.check()
}

/// What every side writes, by the calls of its process.
fn traced(comparison: &mut Comparison) -> Result<()> {
    let count = comparison.extent.pick(200, 5_000);
    for side in [
        Side::SqliteRows(Flush::Full),
        Side::SqliteTriggers(Flush::Full),
        Side::SqliteTuned(Flush::Full),
        Side::Milepost(Mode::Immediate),
    ] {
        // A row per batch has no tiers to be full.
        let has_tiers = !matches!(side, Side::SqliteRows(_));
        let scale = if has_tiers { Scale::TEN } else { Scale::EMPTY };
        let mut entry = comparison.entry(side, &scale)?;
        entry.alone(Length { count: 256, most: Duration::from_secs(1) })?;
        let order = Order {
            side,
            folder: comparison.last_folder(),
            scale,
            tracks: entry.books.turns(),
            now: entry.books.now(),
            count,
            most: comparison.extent.pick(Duration::from_secs(1), Length::LONG.most),
            pace: Pace::Steady { every: u64::MAX },
        };
        let mut books = entry.books;
        drop(entry.rival);
        let log = order.folder.join("calls");
        let done = Child::start_traced(&order, &log).and_then(Child::run);
        match done {
            Ok(done) => {
                let counts = calls(&std::fs::read_to_string(&log)?)?;
                let row = format!("by strace, 1 caller, {} workers", scale.workers);
                per_commit(comparison, &row, side, counts, done.count);
                books.skip(done.count);
                books.check(side, &*side.open(&order.folder, &scale, &[])?)?;
            }
            Err(error) => {
                comparison.report.notes.push(format!("Not counted by strace: {error:#}."));
                return Ok(());
            }
        }
    }
    Ok(())
}

fn per_commit(comparison: &mut Comparison, row: &str, side: Side, counts: Counts, made: u64) {
    let mut figure = |column: &str, value: u64, of: u64, unit| {
        let value = value as f64 / of.max(1) as f64;
        comparison.report.figure(format!("{row}: {column}"), side, value, unit, made);
    };
    figure("writes", counts.writes, made, "");
    figure("bytes", counts.bytes, made, "B");
    figure("pages", counts.pages, made, "");
    figure("syncs", counts.syncs, made, "");
}

/// Adds up the calls between the child's two lines of output. A page is written over as often as
/// there are calls for it: `strace` is not asked where they go.
fn calls(log: &str) -> Result<Counts> {
    let begin = log.find("write(1, \"ready").context("the child was never ready")?;
    let end = log.rfind("write(1, ").context("the child said nothing")?;
    let mut counts = Counts::default();
    // A call of one thread may be cut in two by those of others; its second half has the result.
    let mut cut: BTreeMap<&str, bool> = BTreeMap::new();
    for line in log[begin..end].lines().skip(1) {
        let (thread, call) = line.split_once(char::is_whitespace).unwrap_or(("", line));
        let call = call.trim_start();
        let is_sync = if call.starts_with("<...") {
            cut.remove(thread).unwrap_or(false)
        } else {
            call.starts_with('f') || call.starts_with("sync")
        };
        if call.ends_with("<unfinished ...>") {
            cut.insert(thread, is_sync);
            continue;
        }
        let Some(result) = call.rsplit("= ").next().and_then(|text| text.trim().parse().ok())
        else {
            continue;
        };
        if is_sync {
            counts.syncs += 1;
        } else {
            let bytes: u64 = result;
            counts.writes += 1;
            counts.bytes += bytes;
            counts.pages += bytes.div_ceil(4096);
        }
    }
    Ok(counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn calls_between_the_two_lines_are_counted() {
        let log = "7 pwrite64(3, \"before\"..., 4096, 0) = 4096\n\
                   7 write(1, \"ready\\n\", 6)            = 6\n\
                   7 pwrite64(3, \"\\0\\0\"..., 8192, 4096) = 8192\n\
                   8 fdatasync(3 <unfinished ...>\n\
                   7 write(4, \"x\"..., 24)              = 24\n\
                   8 <... fdatasync resumed>)           = 0\n\
                   7 write(1, \"{\\\"tracks\"..., 400)      = 400\n\
                   7 fsync(3)                           = 0\n";

        let counts = calls(log).unwrap();

        assert_eq!(counts, Counts { writes: 2, bytes: 8216, pages: 3, syncs: 1 });
    }
}
