//! The rate at which jobs move.
//!
//! The rate of several jobs is the sum of the rates of those that are leased and move. The rate of
//! one job is measured up to its newest batch, not up to now, because what its holder has done
//! since is unknown until the next batch. One window for all jobs would count a batch of ten hours
//! either whole or not at all whenever the window is shorter than the batch.

use std::collections::HashMap;
use std::ops::ControlFlow;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::held::{HeldJob, Measured, has_expired};
use super::{Snapshot, rows};
use crate::error::Result;
use crate::schema::access::{ALL, load};
use crate::schema::key;
use crate::schema::rows::{HistoryRow, JobRow};
use crate::schema::tables;
use crate::storage::Order;
use crate::time::Timestamp;
use crate::types::{JobId, PastBatch, WorkerId, as_text};

/// The rate at which jobs move, in positions per second of wall-clock time.
///
/// It is the sum over the jobs that are under an unexpired lease and move. The rate of one job is
/// measured over the 15 minutes up to the end of its newest batch, including pauses between
/// batches. A batch that began before these 15 minutes counts in part. For a job that has not moved
/// under its current lease, it is the rate of its holder's newest batches on jobs of the prefix, at
/// most 16 of them, without the pauses between them. If history has no such batches either, it is
/// the average rate over the whole past of the job.
///
/// A job counts as moving until its holder is silent: until its last checkpoint is longer ago than
/// a minute and than three times its longest known batch. While fewer than five batches are known,
/// the holder counts as silent only after the length of its lease, or 15 minutes if that is less.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Rate {
    /// At least one job moves at a known rate.
    Moving {
        /// Positions per second, over all the jobs that move.
        per_second: f64,
        /// How many jobs these are.
        jobs: u64,
        /// The time that the rate is measured over: the mean over these jobs, weighted by their
        /// rates. At most 15 minutes; less if work began later or history does not reach back that
        /// far. It serializes as `over_us`, in microseconds.
        #[serde(rename = "over_us", with = "as_text::micros")]
        over: Duration,
    },
    /// Jobs are leased, but no batch gives their rate yet.
    Unknown,
    /// No job moves: none is under an unexpired lease, or all holders are silent.
    Still {
        /// When a cursor last moved; `None` if none has moved yet.
        since: Option<Timestamp>,
    },
}

impl Rate {
    /// Positions per second: 0 if no job moves, `None` if the rate is unknown.
    #[must_use]
    pub fn per_second(&self) -> Option<f64> {
        match self {
            Rate::Moving { per_second, .. } => Some(*per_second),
            Rate::Unknown => None,
            Rate::Still { .. } => Some(0.0),
        }
    }
}

/// How many of the newest records are read for rates.
const MOST_RECORDS: usize = 1 << 16;

impl Snapshot {
    /// The rate of the whole fleet, over all prefixes.
    ///
    /// `since` in [`Rate::Still`] is the end of the newest batch of live history.
    ///
    /// ```
    /// # use milepost::{NewJob, Store};
    /// # use std::time::Duration;
    /// # let store = Store::in_memory()?;
    /// # let job = store.create_job(NewJob::new("demo", 0..100))?;
    /// # let worker = store.register_worker("pc-01")?;
    /// # let mut lease = worker.next_lease(Duration::from_secs(60))?.expect("a job waits");
    /// # let batch = lease.next_batch(40).expect("it is new").with_finding("key", "a hit");
    /// # lease.checkpoint(batch)?;
    /// # let view = store.snapshot()?;
    /// use milepost::Rate;
    ///
    /// match view.fleet_rate()? {
    ///     Rate::Moving { per_second, .. } => println!("{per_second} positions a second"),
    ///     Rate::Still { since: Some(since) } => println!("nothing has moved since {since}"),
    ///     _ => println!("no rate is known yet"),
    /// }
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Error::Storage` or `Error::Corrupted` if the database cannot be read.
    pub fn fleet_rate(&self) -> Result<Rate> {
        let mut held = Vec::new();
        self.each_held_job(None, |id, row| {
            if !has_expired(&row, self.taken_at()) {
                held.push(HeldJob::new(id, &row)?);
            }
            Ok(ControlFlow::Continue(()))
        })?;
        self.measure(&mut held)?;
        let newest = self.newest_history(None, 1)?.pop().map(|record| record.batch.finished_at);
        Ok(Pace::of(&held, self.taken_at()).rate(newest))
    }

    /// Measures the rates of leased jobs from live history.
    pub(super) fn measure(&self, held: &mut [HeldJob]) -> Result<()> {
        let mut search = Search::new(self, held);
        let mut looked_at = 0;
        if search.unfinished == 0 {
            return Ok(());
        }
        self.scan(tables::HISTORY, ALL, Order::Descending, |key, value| {
            rows::parsed(tables::HISTORY, key, key::as_number)?;
            let HistoryRow { batch, .. } = rows::decoded(tables::HISTORY, key, value)?;
            search.look_at(&batch)?;
            looked_at += 1;
            Ok(rows::go_on(search.unfinished > 0 && looked_at < MOST_RECORDS))
        })
    }
}

/// A search through live history, from its newest record back, for batches of leased jobs.
struct Search<'s> {
    view: &'s Snapshot,
    held: &'s mut [HeldJob],
    by_job: HashMap<JobId, usize>,
    /// The jobs that have not moved under their current leases, by holder.
    by_holder: HashMap<WorkerId, Vec<usize>>,
    prefixes: HashMap<JobId, Option<Vec<u8>>>,
    unfinished: usize,
}

impl<'s> Search<'s> {
    fn new(view: &'s Snapshot, held: &'s mut [HeldJob]) -> Search<'s> {
        let unfinished = held.len();
        let (mut by_job, mut by_holder) = (HashMap::new(), HashMap::<_, Vec<usize>>::new());
        for (at, job) in held.iter().enumerate() {
            if job.has_moved() {
                by_job.insert(job.id, at);
            } else {
                by_holder.entry(job.holder).or_default().push(at);
            }
        }
        Search { view, held, by_job, by_holder, prefixes: HashMap::new(), unfinished }
    }

    fn look_at(&mut self, batch: &PastBatch) -> Result<()> {
        let Some(job) = batch.job else { return Ok(()) };
        if let Some(at) = self.by_job.get(&job) {
            self.held[*at].add_own(batch);
            if self.held[*at].is_finished {
                self.by_job.remove(&job);
                self.unfinished -= 1;
            }
        }
        if self.by_holder.contains_key(&batch.worker) {
            self.look_for_holder(job, batch)?;
        }
        Ok(())
    }

    fn look_for_holder(&mut self, job: JobId, batch: &PastBatch) -> Result<()> {
        if !self.prefixes.contains_key(&job) {
            // The job may have been deleted since.
            let stored: Option<JobRow> = load(self.view.txn(), &key::job(job))?;
            self.prefixes.insert(job, stored.map(|stored| stored.prefix));
        }
        let Some(Some(prefix)) = self.prefixes.get(&job) else { return Ok(()) };
        let Some(waiting) = self.by_holder.get_mut(&batch.worker) else { return Ok(()) };
        for at in waiting.iter() {
            let held = &mut self.held[*at];
            if held.prefix == *prefix {
                held.add_of_holder(batch);
            }
        }
        let before = waiting.len();
        waiting.retain(|at| !self.held[*at].is_finished);
        self.unfinished -= before - waiting.len();
        if waiting.is_empty() {
            self.by_holder.remove(&batch.worker);
        }
        Ok(())
    }
}

/// The sum of the rates of leased jobs.
pub(super) struct Pace {
    now: Timestamp,
    per_second: f64,
    jobs: u64,
    /// Seconds that the rates are measured over, times these rates.
    weighted: f64,
    /// Estimated positions done since the newest batches.
    ahead: f64,
    /// Seconds until the last of these jobs is done.
    last_done: f64,
    is_unknown: bool,
}

impl Pace {
    pub(super) fn of<'j>(held: impl IntoIterator<Item = &'j HeldJob>, now: Timestamp) -> Pace {
        let mut pace = Pace {
            now,
            per_second: 0.0,
            jobs: 0,
            weighted: 0.0,
            ahead: 0.0,
            last_done: 0.0,
            is_unknown: false,
        };
        for job in held {
            let measured = job.measured();
            if job.is_silent(measured.as_ref(), now) {
                continue;
            }
            let Some(Measured { per_second, over, .. }) = measured else {
                pace.is_unknown = true;
                continue;
            };
            let left = job.left as f64;
            let ahead =
                left.min(per_second * now.saturating_duration_since(job.moved_at).as_secs_f64());
            pace.per_second += per_second;
            pace.jobs += 1;
            pace.weighted += per_second * over.as_secs_f64();
            pace.ahead += ahead;
            pace.last_done = pace.last_done.max((left - ahead) / per_second);
        }
        pace
    }

    pub(super) fn rate(&self, last_moved: Option<Timestamp>) -> Rate {
        if self.jobs > 0 {
            let over = Duration::try_from_secs_f64(self.weighted / self.per_second);
            let over = over.unwrap_or_default();
            Rate::Moving { per_second: self.per_second, jobs: self.jobs, over }
        } else if self.is_unknown {
            Rate::Unknown
        } else {
            Rate::Still { since: last_moved }
        }
    }

    /// When `open` positions will be done; `None` while no job moves.
    pub(super) fn eta(&self, open: u128) -> Option<Timestamp> {
        if self.jobs == 0 {
            return None;
        }
        let shared = (open as f64 - self.ahead) / self.per_second;
        // No job can be done by several workers at once.
        let seconds = shared.max(self.last_done).max(0.0);
        // A time too long for `Duration` is past the end of the calendar too, so both saturate.
        let left = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        Some(self.now.saturating_add(left))
    }
}
