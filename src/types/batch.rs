//! Batches: the work between two checkpoints, while it is done and as it is stored.

use std::ops::Range;
use std::time::{Duration, Instant};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::limits;
use crate::error::{Result, check_length};
use crate::time::Timestamp;
use crate::types::{BatchOutcome, JobId, Totals, WorkerId, as_text};

/// A finding to be stored: a payload under a key that is unique within its job.
///
/// Key and payload serialize as hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewFinding {
    #[serde(with = "as_text::hex")]
    pub(crate) key: Vec<u8>,
    #[serde(with = "as_text::hex")]
    pub(crate) payload: Vec<u8>,
    pub(crate) unique_in_store: bool,
}

impl NewFinding {
    /// A finding with a key of 1 to 255 bytes and a payload of up to 64 KiB.
    #[must_use]
    pub fn new(key: impl Into<Vec<u8>>, payload: impl Into<Vec<u8>>) -> NewFinding {
        NewFinding { key: key.into(), payload: payload.into(), unique_in_store: false }
    }

    /// Stores it only if no job at all has a finding under its key. By default, keys are unique
    /// within each job.
    #[must_use]
    pub fn unique_in_store(mut self) -> NewFinding {
        self.unique_in_store = true;
        self
    }

    /// Its key.
    #[must_use]
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// Its payload.
    #[must_use]
    pub fn payload(&self) -> &[u8] {
        &self.payload
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
/// # let worker = store.register_worker("pc-01")?;
/// # let mut lease = worker.next_lease(Duration::from_secs(60))?.expect("a job waits");
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Batch {
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) items: u64,
    #[serde(rename = "duration_us")]
    pub(crate) duration: BatchDuration,
    pub(crate) error: Option<String>,
    pub(crate) findings: Vec<NewFinding>,
}

impl Extend<NewFinding> for Batch {
    /// Adds findings, as [`add_finding`](Batch::add_finding) does.
    fn extend<I: IntoIterator<Item = NewFinding>>(&mut self, findings: I) {
        self.findings.extend(findings);
    }
}

/// How long a batch took, or when it began.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum BatchDuration {
    Since(Instant),
    Took(Duration),
}

impl BatchDuration {
    fn get(self) -> Duration {
        match self {
            BatchDuration::Since(began) => began.elapsed(),
            BatchDuration::Took(duration) => duration,
        }
    }
}

/// Serializing stops the clock: an instant means nothing in another process.
impl Serialize for BatchDuration {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        as_text::micros::serialize(&self.get(), serializer)
    }
}

impl<'de> Deserialize<'de> for BatchDuration {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        as_text::micros::deserialize(deserializer).map(BatchDuration::Took)
    }
}

impl Batch {
    /// A batch whose clock starts now.
    pub(crate) fn begin(range: Range<u64>) -> Batch {
        Batch {
            duration: BatchDuration::Since(Instant::now()),
            ..Batch::new(range, Duration::ZERO)
        }
    }

    /// A batch over the positions of `range` that took `duration`, with one item per position.
    ///
    /// The duration is kept in whole microseconds. A batch of no duration has no rate.
    #[must_use]
    pub fn new(range: Range<u64>, duration: Duration) -> Batch {
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

    /// How many items were handled.
    #[must_use]
    pub fn items(&self) -> u64 {
        self.items
    }

    /// How long it took, so far if its clock still runs.
    #[must_use]
    pub fn duration(&self) -> Duration {
        self.duration.get()
    }

    /// The error that occurred, if any.
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// What was found.
    #[must_use]
    pub fn findings(&self) -> &[NewFinding] {
        &self.findings
    }

    /// Sets how many items were handled, where that is not the number of positions.
    #[must_use]
    pub fn with_items(mut self, items: u64) -> Batch {
        self.items = items;
        self
    }

    /// Sets how long the batch took, where that is not the time since it began.
    #[must_use]
    pub fn with_duration(mut self, duration: Duration) -> Batch {
        self.duration = BatchDuration::Took(duration);
        self
    }

    /// Records that an error occurred, although the batch is done. Only the first 512 bytes of the
    /// text are kept.
    #[must_use]
    pub fn with_error(mut self, error: impl Into<String>) -> Batch {
        self.error = Some(short(error.into()));
        self
    }

    /// Adds a finding; see [`add_finding`](Batch::add_finding).
    #[must_use]
    pub fn with_finding(mut self, key: impl Into<Vec<u8>>, payload: impl Into<Vec<u8>>) -> Batch {
        self.add_finding(key, payload);
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
        self.duration = BatchDuration::Took(self.duration.get());
    }

    /// How long it took, in microseconds; 0 while its clock runs.
    pub(crate) fn duration_us(&self) -> u64 {
        match self.duration {
            BatchDuration::Since(_) => 0,
            BatchDuration::Took(duration) => {
                u64::try_from(duration.as_micros()).unwrap_or(u64::MAX)
            }
        }
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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
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
    /// Time it took. It serializes as `duration_us`, in microseconds.
    #[serde(rename = "duration_us", with = "as_text::micros")]
    pub duration: Duration,
    /// When it was finished.
    pub finished_at: Timestamp,
    /// What it did to its job.
    pub outcome: BatchOutcome,
    /// The error that occurred, if any.
    pub error: Option<String>,
}

impl PastBatch {
    /// A batch of a worker over the positions of `range`, with one item per position, no duration
    /// and no job.
    #[must_use]
    pub fn new(worker: WorkerId, range: Range<u64>, finished_at: Timestamp) -> PastBatch {
        PastBatch {
            worker,
            job: None,
            start: range.start,
            end: range.end,
            items: range.end.saturating_sub(range.start),
            duration: Duration::ZERO,
            finished_at,
            outcome: BatchOutcome::Done,
            error: None,
        }
    }

    /// Sets its job.
    #[must_use]
    pub fn with_job(mut self, job: JobId) -> PastBatch {
        self.job = Some(job);
        self
    }

    /// Sets how many items were handled.
    #[must_use]
    pub fn with_items(mut self, items: u64) -> PastBatch {
        self.items = items;
        self
    }

    /// Sets how long it took, kept in whole microseconds.
    #[must_use]
    pub fn with_duration(mut self, duration: Duration) -> PastBatch {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self.duration = Duration::from_micros(micros);
        self
    }

    /// Sets the error that occurred. Only the first 512 bytes of the text are kept.
    #[must_use]
    pub fn with_error(mut self, error: impl Into<String>) -> PastBatch {
        self.error = Some(short(error.into()));
        self
    }

    /// Its duration in microseconds, as it is stored.
    pub(crate) fn duration_us(&self) -> u64 {
        u64::try_from(self.duration.as_micros()).unwrap_or(u64::MAX)
    }

    pub(crate) fn totals(&self) -> Totals {
        Totals::of_batch(self)
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
        let batch = Batch::new(0..1, Duration::ZERO).with_error("é".repeat(400));
        assert_eq!(batch.error.as_ref().map(String::len), Some(512));

        let odd = Batch::new(0..1, Duration::ZERO).with_error(format!("x{}", "é".repeat(400)));
        assert_eq!(odd.error.as_ref().map(String::len), Some(511));
        assert!(odd.check().is_ok());
    }
}
