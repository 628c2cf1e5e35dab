//! What several sides share: how a file of milepost is opened, the numbers of rows, and the totals
//! of a batch.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Result;
use milepost::{JobId, Timestamp, Totals, WorkerId};
use serde::{Deserialize, Serialize};

/// How long a relaxed store may hold a commit back.
pub const MAX_DELAY: Duration = Duration::from_millis(100);
/// Memory for pages: the library's default, named here because it is subtracted from the peak.
pub const CACHE_BYTES: usize = 16 << 20;

/// The file of milepost in a folder.
#[must_use]
pub fn milepost_file(folder: &Path) -> PathBuf {
    folder.join("bench.milepost")
}

/// How milepost is opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Mode {
    /// Exclusive; each commit synced.
    Immediate,
    /// Exclusive; commits synced within [`MAX_DELAY`].
    Relaxed,
    /// Shared by several writing processes; each commit synced, twice.
    MultiWriter,
}

impl Mode {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Mode::Immediate => "Immediate",
            Mode::Relaxed => "Relaxed",
            Mode::MultiWriter => "MultiWriter",
        }
    }
}

/// Numbers of rows start at 1 on every side.
pub(super) fn number_of(index: usize) -> i64 {
    index as i64 + 1
}

pub(super) fn index_of(number: i64) -> usize {
    usize::try_from(number - 1).unwrap_or_default()
}

pub(super) fn worker_id(worker: usize) -> WorkerId {
    WorkerId::from(number_of(worker) as u32)
}

pub(super) fn job_id(job: usize) -> JobId {
    JobId::from(number_of(job) as u64)
}

/// What one batch adds to the tiers.
pub(super) fn batch_totals(
    items: i64,
    duration_us: i64,
    failed: bool,
    finished_at: i64,
) -> Result<Totals> {
    let rate = items as f64 * 1e6 / duration_us as f64;
    let at = Timestamp::from_micros(finished_at)?;
    Ok(Totals::new(1, items as u128)
        .with_errors(failed.into())
        .with_duration(Duration::from_micros(duration_us as u64))
        .with_rates(rate, rate)
        .with_times(at, at))
}
