//! What milepost's layers cost: beside redb with the same tables and rules written by hand.

use std::time::Duration;

use anyhow::Result;

use super::comparison::{Comparison, speeds};
use crate::plan::Scale;
use crate::report::{Ratio, Target};
use crate::run::{Entry, Length, Sample};
use crate::sides::{Mode, Side};

type Way = (&'static str, fn(&mut Entry, Length) -> Result<Sample>);

const WAYS: [Way; 2] = [
    ("1 caller", |entry, length| entry.alone(length)),
    ("256 together", |entry, length| entry.together(256, length)),
];

/// The target is about a synced checkpoint on its own. What is submitted together goes through
/// `submit_many`, which gives each command its own answer. Unsynced, milepost gathers transactions into
/// one of redb's, and the side without it commits each: that is no measure of the layers.
fn target(mode: Mode, name: &str) -> Target {
    match (mode, name) {
        (Mode::Immediate, "1 caller") => Target::AtLeast(0.95),
        _ => Target::None,
    }
}

pub(super) fn run(comparison: &mut Comparison) -> Result<()> {
    for mode in [Mode::Immediate, Mode::Relaxed] {
        let sides = [Side::Redb(mode), Side::Milepost(mode)];
        let mut entries = Vec::new();
        for side in sides {
            entries.push(comparison.entry(side, &Scale::TEN)?);
        }
        for (name, way) in WAYS {
            let length = Length {
                count: u64::MAX,
                most: comparison.extent.pick(Duration::from_millis(250), Duration::from_secs(5)),
            };
            let samples = comparison.compete(
                &mut entries,
                &mut |entry, length| way(entry, length),
                length,
            )?;
            let row = format!("the seam, {name}, {}", mode.words());
            for (side, samples) in sides.iter().zip(&samples) {
                comparison.report.samples(&row, side, samples, true)?;
            }
            comparison.report.ratios.push(Ratio::of(
                format!("{row}: milepost / redb without it"),
                &speeds(&samples[1]),
                &speeds(&samples[0]),
                target(mode, name),
            ));
        }
    }
    Ok(())
}
