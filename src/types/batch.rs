//! Batches: the work between two checkpoints, while it is done and as it is stored.

use std::ops::Range;
use std::time::{Duration, Instant};

use serde::Serialize;

use crate::config::limits;
use crate::error::{Result, check_length};
use crate::time::Timestamp;
use crate::types::{JobId, Totals, WorkerId};

/// A finding to be stored: a payload under a key that is unique within its job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewFinding {
    pub(crate) key: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl NewFinding {
    /// A finding with a key of 1 to 255 bytes and a payload of up to 64 KiB.
    #[must_use]
    pub fn new(key: impl Into<Vec<u8>>, payload: impl Into<Vec<u8>>) -> NewFinding {
        NewFinding { key: key.into(), payload: payload.into() }
    }

    pub(crate) fn check(&self) -> Result<()> {
        check_length("finding key", self.key.len(), 1, limits::FINDING_KEY)?;
        check_length("finding payload", self.payload.len(), 0, limits::FINDING_PAYLOAD)
    }
}

/// The work between two checkpoints of a job: a range of positions, how long it took, and what was
/// found.
///
/// A worker gets it from [`Lease::next_batch`](crate::Lease::next_batch), which starts its clock, works
/// through its [`range`](Batch::range), and hands it to [`Lease::checkpoint`](crate::Lease::checkpoint).
///
/// ```
/// # use milepost::{NewJob, Store};
/// # use std::time::Duration;
/// # let store = Store::in_memory()?;
/// # store.create_job(NewJob::new(b"demo", 0..1_000))?;
/// # let worker = store.worker("pc-01", "pc")?;
/// # let mut lease = worker.lease(Duration::from_secs(60))?.leased().expect("a job waits");
/// if let Some(mut batch) = lease.next_batch(100) {
///     for position in batch.range() {
///         if position % 50 == 17 {
///             batch.add_finding(position.to_be_bytes(), b"a hit");
///         }
///     }
///     lease.checkpoint(batch)?;
/// }
/// # Ok::<(), milepost::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) items: u64,
    pub(crate) duration: BatchDuration,
    pub(crate) error: Option<String>,
    pub(crate) findings: Vec<NewFinding>,
}

/// How long a batch took, or when it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BatchDuration {
    Since(Instant),
    Took(Duration),
}

impl Batch {
    /// A batch whose clock starts now.
    pub(crate) fn begin(range: Range<u64>) -> Batch {
        Batch {
            duration: BatchDuration::Since(Instant::now()),
            ..Batch::of(&range, Duration::ZERO)
        }
    }

    /// A batch over the positions of `range` that took `duration`, with one item per position.
    ///
    /// The duration is kept in whole microseconds. A batch of no duration has no rate.
    #[must_use]
    pub fn of(range: &Range<u64>, duration: Duration) -> Batch {
        Batch {
            start: range.start,
            end: range.end,
            items: range.end.saturating_sub(range.start),
            duration: BatchDuration::Took(duration),
            error: None,
            findings: Vec::new(),
        }
    }

    /// The positions that it covers.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.start..self.end
    }

    /// Sets how many items were handled, where that is not the number of positions.
    #[must_use]
    pub fn items(mut self, items: u64) -> Batch {
        self.items = items;
        self
    }

    /// Sets how long the batch took, where that is not the time since it began.
    #[must_use]
    pub fn took(mut self, duration: Duration) -> Batch {
        self.duration = BatchDuration::Took(duration);
        self
    }

    /// Cuts the batch short, for a worker that stops early: only positions before `end` count as
    /// done. Resets the items to one per position. Does nothing if `end` is past the end of the
    /// batch.
    pub fn truncate(&mut self, end: u64) {
        if end < self.end {
            self.end = end.max(self.start);
            self.items = self.end - self.start;
        }
    }

    /// Adds a finding, stored in the same transaction as the checkpoint. If the job already has
    /// a finding under this key, the first one stays.
    pub fn add_finding(&mut self, key: impl Into<Vec<u8>>, payload: impl Into<Vec<u8>>) {
        self.findings.push(NewFinding::new(key, payload));
    }

    /// Stops the clock of the batch, if it still runs.
    pub(crate) fn stop(&mut self) {
        if let BatchDuration::Since(began) = self.duration {
            self.duration = BatchDuration::Took(began.elapsed());
        }
    }

    pub(crate) fn duration_us(&self) -> u64 {
        match self.duration {
            BatchDuration::Since(_) => 0,
            BatchDuration::Took(duration) => {
                u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
            }
        }
    }

    /// Records that an error occurred, although the batch is done. Only the first 512 bytes of the
    /// text are kept.
    #[must_use]
    pub fn error(mut self, error: impl Into<String>) -> Batch {
        self.error = Some(short(error.into()));
        self
    }

    /// Adds a finding, in builder style; see [`add_finding`](Batch::add_finding).
    #[must_use]
    pub fn finding(mut self, key: impl Into<Vec<u8>>, payload: impl Into<Vec<u8>>) -> Batch {
        self.add_finding(key, payload);
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        if let Some(error) = &self.error {
            check_length("batch error", error.len(), 0, limits::ERROR)?;
        }
        check_length("list of findings", self.findings.len(), 0, limits::FINDINGS)?;
        self.findings.iter().try_for_each(NewFinding::check)
    }
}

/// A finished batch: a record of history, or one to be imported into it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct PastBatch {
    /// Who did it.
    pub worker: WorkerId,
    /// Its job. That of a stored batch may have been deleted since; an imported one needs none.
    pub job: Option<JobId>,
    /// First position covered.
    pub start: u64,
    /// One past the last position covered.
    pub end: u64,
    /// Items handled.
    pub items: u64,
    /// Time it took, in microseconds.
    pub duration_us: u64,
    /// When it was finished.
    pub finished_at: Timestamp,
    /// The error that occurred, if any.
    pub error: Option<String>,
}

impl PastBatch {
    pub(crate) fn totals(&self) -> Totals {
        Totals::of_batch(self.items, self.duration_us, self.error.is_some(), self.finished_at)
    }
}

/// Cuts an error text to the length that is kept, at a character boundary.
pub(crate) fn short(mut text: String) -> String {
    let mut end = text.len().min(limits::ERROR);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_error_is_cut_between_characters() {
        let batch = Batch::of(&(0..1), Duration::ZERO).error("é".repeat(400));
        assert_eq!(batch.error.as_ref().map(String::len), Some(512));

        let odd = Batch::of(&(0..1), Duration::ZERO).error(format!("x{}", "é".repeat(400)));
        assert_eq!(odd.error.as_ref().map(String::len), Some(511));
        assert!(odd.check().is_ok());
    }
}
