//! The rate of each leased job.

use std::time::Duration;

use crate::error::Result;
use crate::schema::access::undecodable;
use crate::schema::key;
use crate::schema::rows::JobRow;
use crate::schema::tables;
use crate::time::Timestamp;
use crate::types::{BatchOutcome, JobId, PastBatch, WorkerId};

/// The longest time that a rate is measured over.
const WINDOW: Duration = Duration::from_secs(15 * 60);

/// A holder counts as silent after this time at the earliest, however short its batches are.
const SHORTEST_SILENCE: Duration = Duration::from_secs(60);

/// With fewer known batches than this, a holder counts as silent only after its lease length.
const FEW_BATCHES: u64 = 5;

/// How many of a holder's other batches are read. Each costs a read of its job.
const MOST_OF_HOLDER: usize = 16;

/// Whether the lease of a job that is stored as leased has expired.
pub(super) fn has_expired(row: &JobRow, now: Timestamp) -> bool {
    row.deadline <= now
}

/// A job under an unexpired lease, and the batches that its rate is computed from.
pub(super) struct HeldJob {
    pub(super) id: JobId,
    pub(super) holder: WorkerId,
    pub(super) prefix: Vec<u8>,
    leased_at: Timestamp,
    lease_length: Duration,
    /// When it was leased or its cursor moved, whichever was later.
    pub(super) moved_at: Timestamp,
    pub(super) left: u64,
    /// Its whole past: positions done, batches, and the time that these took.
    life: (u64, u64, Duration),
    evidence: Evidence,
    /// Whether older records cannot change the result.
    pub(super) is_finished: bool,
}

/// Batches that a rate is computed from, the newest first.
enum Evidence {
    /// Its own under its current lease. The next older one ends at `end`, and the first one starts
    /// at `first`.
    Own { batches: Vec<Reported>, end: u64, first: u64 },
    /// Those of its holder on any job of the prefix, for a job that has none of its own.
    OfHolder { batches: Vec<Reported> },
}

#[derive(Clone, Copy)]
struct Reported {
    finished: Timestamp,
    duration: Duration,
    positions: u64,
}

impl Reported {
    fn of(batch: &PastBatch) -> Reported {
        Reported {
            finished: batch.finished_at,
            duration: batch.duration,
            // A failed attempt took time, and did nothing that counts.
            positions: match batch.outcome {
                BatchOutcome::Failed => 0,
                _ => batch.end.saturating_sub(batch.start),
            },
        }
    }
}

impl HeldJob {
    pub(super) fn new(id: JobId, row: &JobRow) -> Result<HeldJob> {
        let holder = row.holder.ok_or_else(|| {
            undecodable(tables::JOBS, &key::job(id), "it is leased but has no holder")
        })?;
        let leased_at = row.leased_at.unwrap_or(row.created_at);
        let evidence = if row.cursor > row.leased_cursor {
            Evidence::Own { batches: Vec::new(), end: row.cursor, first: row.leased_cursor }
        } else {
            Evidence::OfHolder { batches: Vec::new() }
        };
        Ok(HeldJob {
            id,
            holder,
            prefix: row.prefix.clone(),
            leased_at,
            lease_length: Duration::from_micros(row.length_us),
            moved_at: row.checkpoint_at.map_or(leased_at, |at| at.max(leased_at)),
            left: row.end.saturating_sub(row.cursor),
            life: (row.done(), row.batches, from_micros(row.duration_us)),
            evidence,
            is_finished: false,
        })
    }

    /// Whether its cursor has moved under its current lease.
    pub(super) fn has_moved(&self) -> bool {
        matches!(self.evidence, Evidence::Own { .. })
    }

    /// Adds one of its own batches.
    pub(super) fn add_own(&mut self, batch: &PastBatch) {
        let Evidence::Own { batches, end, first } = &mut self.evidence else { return };
        // Its batches follow each other without a gap. Other records of this job were imported.
        if self.is_finished || batch.worker != self.holder || batch.end != *end {
            return;
        }
        let known = batches.len();
        let more = push(batches, Reported::of(batch));
        if batches.len() > known {
            *end = batch.start;
        }
        self.is_finished = !more || end <= first;
    }

    /// Adds a batch of its holder on the same prefix.
    pub(super) fn add_of_holder(&mut self, batch: &PastBatch) {
        let Evidence::OfHolder { batches } = &mut self.evidence else { return };
        if !self.is_finished && !batch.duration.is_zero() {
            let more = push(batches, Reported::of(batch));
            self.is_finished = !more || batches.len() == MOST_OF_HOLDER;
        }
    }

    /// Its rate; `None` if it is unknown.
    pub(super) fn measured(&self) -> Option<Measured> {
        let measured = match &self.evidence {
            Evidence::Own { batches, end, first } => {
                over_time(&with_beginnings(batches, (end <= first).then_some(self.leased_at)))
            }
            Evidence::OfHolder { batches } => while_at_work(&with_beginnings(batches, None)),
        };
        measured.or_else(|| {
            let (done, batches, time) = self.life;
            let longest = time.checked_div(u32::try_from(batches).unwrap_or(u32::MAX))?;
            Measured::new(done as f64, time, longest, batches)
        })
    }

    /// Whether its last checkpoint is longer ago than the length of its batches explains.
    pub(super) fn is_silent(&self, measured: Option<&Measured>, now: Timestamp) -> bool {
        let patience = match measured {
            None => self.lease_length,
            Some(Measured { longest, batches, .. }) => {
                let few = *batches < FEW_BATCHES;
                let lease = if few { self.lease_length.min(WINDOW) } else { Duration::ZERO };
                lease.max(longest.saturating_mul(3))
            }
        };
        now.saturating_duration_since(self.moved_at) > patience.max(SHORTEST_SILENCE)
    }
}

/// Adds the next older batch. Returns whether still older ones may lie within the window.
fn push(batches: &mut Vec<Reported>, older: Reported) -> bool {
    if batches.last().is_some_and(|newer| older.finished > newer.finished) {
        // The clock was set back between the two: there is no time from one to the other.
        return false;
    }
    let newest = batches.first().map_or(older.finished, |newest| newest.finished);
    batches.push(older);
    older.finished.saturating_sub(older.duration) > newest.saturating_sub(WINDOW)
}

/// A batch with the time at which it began.
struct Span {
    began: Timestamp,
    finished: Timestamp,
    positions: u64,
}

impl Span {
    fn length(&self) -> Duration {
        self.finished.saturating_duration_since(self.began)
    }

    /// How much of it lies after a time.
    fn length_after(&self, from: Timestamp) -> Duration {
        self.finished.saturating_duration_since(self.began.max(from))
    }

    /// How many positions fall after a time, if they are spread evenly.
    fn positions_after(&self, from: Timestamp) -> f64 {
        let positions = self.positions as f64;
        match self.length() {
            Duration::ZERO if self.finished > from => positions,
            Duration::ZERO => 0.0,
            length => positions * (self.length_after(from).as_secs_f64() / length.as_secs_f64()),
        }
    }
}

/// Batches with the times at which they began. A batch without a duration was not timed: it counts
/// from the end of the previous one, and the first one from `first_began`. If that is unknown, it
/// is left out.
fn with_beginnings(batches: &[Reported], first_began: Option<Timestamp>) -> Vec<Span> {
    let began_at_latest = batches.iter().skip(1).map(|older| Some(older.finished));
    let spans = batches.iter().zip(began_at_latest.chain([first_began]));
    spans
        .filter_map(|(batch, before)| {
            let began = match batch.duration {
                Duration::ZERO => before?.min(batch.finished),
                duration => batch.finished.saturating_sub(duration),
            };
            Some(Span { began, finished: batch.finished, positions: batch.positions })
        })
        .collect()
}

/// The rate of batches that follow each other, pauses included.
fn over_time(spans: &[Span]) -> Option<Measured> {
    let newest = spans.first()?.finished;
    let began = spans.iter().map(|span| span.began).min()?;
    let from = began.max(newest.saturating_sub(WINDOW));
    let positions = spans.iter().map(|span| span.positions_after(from)).sum();
    let longest = spans.iter().map(Span::length).max()?;
    Measured::new(positions, newest.saturating_duration_since(from), longest, spans.len() as u64)
}

/// The rate of batches while they are worked on. They may belong to several jobs at the same time.
fn while_at_work(spans: &[Span]) -> Option<Measured> {
    let from = spans.first()?.finished.saturating_sub(WINDOW);
    let positions = spans.iter().map(|span| span.positions_after(from)).sum();
    let time = spans.iter().map(|span| span.length_after(from)).sum();
    let longest = spans.iter().map(Span::length).max()?;
    Measured::new(positions, time, longest, spans.len() as u64)
}

/// The rate of one job, and the time it was measured over.
pub(super) struct Measured {
    pub(super) per_second: f64,
    pub(super) over: Duration,
    longest: Duration,
    batches: u64,
}

impl Measured {
    fn new(positions: f64, over: Duration, longest: Duration, batches: u64) -> Option<Measured> {
        let per_second = positions / over.as_secs_f64();
        let is_known = per_second.is_finite() && per_second > 0.0;
        is_known.then_some(Measured { per_second, over: over.min(WINDOW), longest, batches })
    }
}

fn from_micros(micros: u128) -> Duration {
    u64::try_from(micros).map_or(Duration::MAX, Duration::from_micros)
}
