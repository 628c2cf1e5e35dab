//! What the sections of the comparison share.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;

use crate::machine::Machine;
use crate::plan::{DAILY_LIMIT, HISTORY_LIMIT, MONTHLY_LIMIT, Scale};
use crate::report::{Report, Target};
use crate::run::{Entry, Length, Sample};
use crate::sides::{CACHE_BYTES, MAX_DELAY, Side, library_version};

/// How long a comparison takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Extent {
    /// Under two minutes: fewer rounds, smaller counts.
    Quick,
    /// As long as it takes.
    Full,
}

impl Extent {
    /// One value for quick runs, another for full ones.
    #[must_use]
    pub fn pick<T>(self, quick: T, full: T) -> T {
        match self {
            Extent::Quick => quick,
            Extent::Full => full,
        }
    }

    /// How often the rivals take turns.
    #[must_use]
    pub fn rounds(self) -> usize {
        self.pick(3, 5)
    }

    /// A target that only a full run can be held to.
    #[must_use]
    pub fn full_only(self, target: Target) -> Target {
        self.pick(Target::FullOnly, target)
    }

    /// A run of at most so many checkpoints, which also ends by time: a slow side is not measured
    /// for longer than the others, and a slow machine does not make it long.
    #[must_use]
    pub fn length(self, quick: u64, full: u64) -> Length {
        Length {
            count: self.pick(quick, full),
            most: self.pick(Duration::from_millis(300), Duration::from_secs(6)),
        }
    }
}

/// What the sections share: where to work, how long, and the report they add to.
pub struct Comparison {
    /// How long.
    pub extent: Extent,
    /// What was found so far.
    pub report: Report,
    folder: PathBuf,
    made: usize,
}

impl Comparison {
    /// Begins a comparison in a folder, whose disk is the one that is measured.
    #[must_use]
    pub fn new(extent: Extent, folder: &Path) -> Comparison {
        let settings = vec![
            ("extent", extent.pick("quick", "full").to_string()),
            ("rounds", format!("{}, the rivals taking turns", extent.rounds())),
            (
                "caps",
                format!("{HISTORY_LIMIT} history, {DAILY_LIMIT} daily, {MONTHLY_LIMIT} monthly"),
            ),
            ("milepost cache", format!("{} MiB", CACHE_BYTES >> 20)),
            ("milepost Relaxed", format!("max_delay {MAX_DELAY:?}")),
            (
                "SQLite",
                format!("{}, WAL, default page size and wal_autocheckpoint", library_version()),
            ),
            (
                "what Immediate, MultiWriter and FULL lose",
                "nothing acknowledged, when a process is killed or power is lost".to_string(),
            ),
            (
                "what Relaxed loses",
                format!("the last {MAX_DELAY:?}, when a process is killed or power is lost"),
            ),
            (
                "what NORMAL loses",
                "nothing when a process is killed; what no WAL checkpoint synced when power is lost"
                    .to_string(),
            ),
            (
                "sqlite-tuned",
                "cache 16 MiB, mmap 256 MiB, prepared statements, no counting, folds in memory".to_string(),
            ),
        ];
        let report = Report::new(Machine::this(folder), settings);
        Comparison { extent, report, folder: folder.to_path_buf(), made: 0 }
    }

    /// A folder that nothing is in yet.
    pub(super) fn new_folder(&mut self) -> Result<PathBuf> {
        self.made += 1;
        std::fs::create_dir_all(self.last_folder())?;
        Ok(self.last_folder())
    }

    /// The folder that was made last.
    pub(super) fn last_folder(&self) -> PathBuf {
        self.folder.join(self.made.to_string())
    }

    /// A side with a store of its own, filled and opened.
    pub(super) fn entry(&mut self, side: Side, scale: &Scale) -> Result<Entry> {
        Entry::new(side, &self.new_folder()?, scale)
    }

    /// Has every entry run in turn, A B A B, and gives the samples of each. Each is checked after
    /// its last round.
    pub(super) fn compete(
        &self,
        entries: &mut [Entry],
        run: &mut dyn FnMut(&mut Entry, Length) -> Result<Sample>,
        length: Length,
    ) -> Result<Vec<Vec<Sample>>> {
        let warm_up = Length { count: length.count / 20 + 1, most: length.most / 10 };
        for entry in entries.iter_mut() {
            run(entry, warm_up)?;
        }
        let mut samples: Vec<Vec<Sample>> = vec![Vec::new(); entries.len()];
        for _ in 0..self.extent.rounds() {
            for (entry, samples) in entries.iter_mut().zip(&mut samples) {
                samples.push(run(entry, length)?);
            }
        }
        for entry in entries.iter() {
            entry.check()?;
        }
        Ok(samples)
    }
}

/// The speeds of some rounds.
pub(super) fn speeds(rounds: &[Sample]) -> Vec<f64> {
    rounds.iter().map(Sample::per_second).collect()
}
