//! After a kill: how long it takes to open the file again, and to verify it.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::comparison::Comparison;
use crate::books::Books;
use crate::child::{Child, Order, Pace};
use crate::plan::Scale;
use crate::report::{Ratio, Target, median};
use crate::sides::{Flush, Mode, Side};

const SIDES: [Side; 4] = [
    Side::SqliteTriggers(Flush::Full),
    Side::SqliteTuned(Flush::Full),
    Side::Milepost(Mode::Relaxed),
    Side::Milepost(Mode::Immediate),
];

/// How long a child makes checkpoints before it is killed.
const LIFE: Duration = Duration::from_millis(150);

pub(super) fn run(comparison: &mut Comparison) -> Result<()> {
    let scale = Scale::TEN;
    let mut stores = Vec::new();
    for side in SIDES {
        let folder = comparison.new_folder()?;
        side.fill(&folder, &scale)?;
        stores.push((side, folder, Books::new(&scale), Vec::new(), Vec::new()));
    }
    for _ in 0..comparison.extent.rounds() {
        for (side, folder, books, opened, verified) in &mut stores {
            let (open, verify) = kill(*side, folder, &scale, books)?;
            opened.push(open.as_secs_f64() * 1e3);
            verified.push(verify.as_secs_f64() * 1e3);
        }
    }
    for (side, _, _, opened, verified) in &stores {
        let rounds = opened.len() as u64;
        let row = "after a kill, full tiers";
        comparison.report.figure(format!("{row}: open"), side, median(opened), "ms", rounds);
        let name = format!("{row}: verify or integrity_check");
        comparison.report.figure(name, side, median(verified), "ms", rounds);
        if !side.is_sqlite() {
            comparison.report.ratios.push(Ratio::own(
                format!("open after a kill, full tiers: {side}, ms"),
                opened,
                Target::AtMost(100.0),
            ));
        }
    }
    Ok(())
}

/// Kills a child at work, opens the file, and has it verified: everything up to some checkpoint
/// has to be there, and nothing after it.
fn kill(
    side: Side,
    folder: &Path,
    scale: &Scale,
    books: &mut Books,
) -> Result<(Duration, Duration)> {
    let mut child = Child::start(&Order {
        side,
        folder: folder.to_path_buf(),
        scale: *scale,
        tracks: books.turns(),
        now: books.now(),
        count: u64::MAX,
        most: Duration::from_secs(60),
        pace: Pace::Steady { every: u64::MAX },
    })?;
    child.wait_until_ready()?;
    child.go()?;
    std::thread::sleep(LIFE);
    child.kill()?;

    let started = Instant::now();
    let rival = side.open(folder, scale, &[])?;
    let opened = started.elapsed();
    let started = Instant::now();
    rival.verify()?;
    let verified = started.elapsed();

    let stored: u64 = rival.tally()?.jobs.iter().map(|(_, batches)| batches).sum();
    let known: u64 = books.tracks().iter().map(|track| track.sequence).sum();
    let made = stored.checked_sub(known).context("checkpoints of an earlier round are gone")?;
    books.skip(made);
    books.check(side, &*rival)?;
    Ok((opened, verified))
}
