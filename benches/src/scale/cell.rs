//! One store of one size, measured in a process of its own.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use serde::{Deserialize, Serialize};

use super::costs::{Cost, Meter, Summary};
use super::scene::{Footprint, HISTORY};
use super::store::Measured;
use super::{axes, waiting};
use crate::machine::peak_memory;

/// The argument of the program that makes it measure one store.
pub const ARGUMENT: &str = "--cell";

/// What grows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
pub enum Axis {
    /// Jobs that wait.
    Jobs,
    /// Workers, each with a lease.
    Workers,
    /// Findings.
    Findings,
    /// Records of live history.
    History,
    /// Workers that wait for a job.
    Waiting,
}

/// A store to be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cell {
    /// What of it grows.
    pub axis: Axis,
    /// How far.
    pub size: u64,
    /// Whether to be quick.
    pub quick: bool,
}

/// What was measured of a store.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// Which store.
    pub cell: Cell,
    /// What each operation costs.
    pub costs: Vec<Cost>,
    /// What it takes.
    pub footprint: Footprint,
    /// The most memory that the process had resident, in bytes.
    pub peak: u64,
    /// How long it was measured, in seconds.
    pub took: f64,
}

impl Axis {
    /// All of them.
    pub const ALL: [Axis; 5] =
        [Axis::Jobs, Axis::Workers, Axis::Findings, Axis::History, Axis::Waiting];

    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Axis::Jobs => "waiting jobs",
            Axis::Workers => "workers with a lease each",
            Axis::Findings => "findings",
            Axis::History => "records of live history",
            Axis::Waiting => "waiting workers",
        }
    }

    /// How far it grows.
    #[must_use]
    pub fn sizes(self, quick: bool) -> &'static [u64] {
        match (self, quick) {
            (Axis::Workers, false) => &[10, 100, 1_000, 10_000, 100_000],
            (Axis::Workers, true) => &[250, 1_000, 4_000],
            (Axis::Waiting, false) => &[0, 10, 100, 1_000],
            (Axis::Waiting, true) => &[0, 10, 100],
            (_, false) => &[1_000, 10_000, 100_000, 1_000_000],
            (_, true) => &[300, 3_000, 30_000],
        }
    }
}

impl Cell {
    /// Measures it in this process, in a store in a folder.
    ///
    /// # Errors
    /// If the store cannot be used, or returns something wrong.
    pub fn measure(self, folder: &Path) -> Result<Outcome> {
        let began = Instant::now();
        let mut meter = self.meter();
        let history = if self.axis == Axis::History { self.size } else { HISTORY };
        let measured = Measured::new(folder, u32::try_from(history)?)?;
        let run = match self.axis {
            Axis::Jobs => axes::jobs,
            Axis::Workers => axes::workers,
            Axis::Findings => axes::findings,
            Axis::History => axes::history,
            Axis::Waiting => waiting::waiting,
        };
        let footprint = run(measured, self.size, &mut meter)?;
        let took = began.elapsed().as_secs_f64();
        Ok(Outcome { cell: self, costs: meter.into_costs(), footprint, peak: peak_memory(), took })
    }

    fn meter(self) -> Meter {
        let millis = Duration::from_millis;
        match (self.axis, self.quick) {
            // Longer than a second, after which a waiting worker looks again.
            (Axis::Waiting, true) => Meter::new(millis(1_200), u64::MAX, Summary::Mean),
            (Axis::Waiting, false) => Meter::new(millis(3_000), u64::MAX, Summary::Mean),
            (_, true) => Meter::new(millis(40), 500, Summary::Undisturbed),
            (_, false) => Meter::new(millis(1_000), 5_000, Summary::Undisturbed),
        }
    }

    /// Measures it in a child, so that memory is that of this store alone.
    ///
    /// # Errors
    /// If the child cannot be started or fails.
    pub fn measure_in_child(self, folder: &Path) -> Result<Outcome> {
        let mut program = Command::new(std::env::current_exe()?);
        program.arg("--folder").arg(folder).arg(ARGUMENT).arg(serde_json::to_string(&self)?);
        let output = program.stderr(Stdio::inherit()).output()?;
        ensure!(output.status.success(), "measuring {self:?} failed");
        serde_json::from_slice(&output.stdout)
            .with_context(|| format!("reading what {self:?} found"))
    }
}
