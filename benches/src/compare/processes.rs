//! Several processes on one file: milepost's `MultiWriter` beside SQLite's own locking.

use std::time::Duration;

use anyhow::Result;

use super::comparison::{Comparison, speeds};
use crate::books::Books;
use crate::child::{Child, Done, Order, Pace};
use crate::plan::Scale;
use crate::report::{Ratio, Target};
use crate::run::{Sample, latencies};
use crate::sides::{Flush, Mode, Side};

const SIDES: [Side; 3] = [
    Side::SqliteTriggers(Flush::Full),
    Side::SqliteTuned(Flush::Full),
    Side::Milepost(Mode::MultiWriter),
];

pub(super) fn run(comparison: &mut Comparison) -> Result<()> {
    let scale = Scale::TEN;
    let mut stores = Vec::new();
    for side in SIDES {
        let folder = comparison.new_folder()?;
        side.fill(&folder, &scale)?;
        stores.push((side, folder, Books::new(&scale)));
    }
    for processes in [2, 4] {
        let length = comparison.extent.length(4_000, 10_000);
        let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); SIDES.len()];
        for _ in 0..comparison.extent.rounds() {
            for ((side, folder, books), samples) in stores.iter_mut().zip(&mut samples) {
                let order = Order {
                    side: *side,
                    folder: folder.clone(),
                    scale,
                    tracks: Vec::new(),
                    now: books.now(),
                    count: length.count.div_ceil(processes as u64),
                    most: length.most,
                    pace: Pace::Still,
                };
                samples.push(together(books, &order, processes)?);
            }
        }
        let row = format!("{processes} processes on one file, synced");
        for (side, samples) in SIDES.iter().zip(&samples) {
            comparison.report.samples(&row, side, samples, true)?;
        }
        for (rival, at) in [("triggers", 0), ("tuned", 1)] {
            comparison.report.ratios.push(Ratio::of(
                format!("{row}: milepost MultiWriter / sqlite-{rival}"),
                &speeds(&samples[2]),
                &speeds(&samples[at]),
                Target::None,
            ));
        }
    }
    for (side, folder, books) in &stores {
        books.check(*side, &*side.open(folder, &scale, &[])?)?;
    }
    Ok(())
}

/// One round: every process opens the file and takes its jobs; then all begin at once.
fn together(books: &mut Books, order: &Order, processes: usize) -> Result<Sample> {
    let mut children = Vec::new();
    for tracks in books.shares(processes) {
        let mut child = Child::start(&Order { tracks, ..order.clone() })?;
        child.wait_until_ready()?;
        children.push(child);
    }
    children.iter_mut().try_for_each(Child::go)?;
    let done: Vec<Done> = children.into_iter().map(Child::finish).collect::<Result<_>>()?;
    let mut all = Sample { count: 0, took: Duration::ZERO, latency: latencies() };
    for done in done {
        let sample = done.sample();
        all.count += sample.count;
        all.took = all.took.max(sample.took);
        all.latency.add(&sample.latency)?;
        done.tracks.into_iter().for_each(|track| books.note(track));
    }
    Ok(all)
}
