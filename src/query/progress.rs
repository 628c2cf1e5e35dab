//! Progress and estimated time of completion of a prefix.

use std::collections::HashSet;
use std::ops::ControlFlow;

use super::held::{HeldJob, has_expired};
use super::rate::{Pace, Rate};
use super::{JobCounts, Snapshot};
use crate::error::Result;
use crate::schema::rows::JobRow;
use crate::time::Timestamp;
use crate::types::{JobId, JobStatus, Prefix, WorkerId};

/// The progress of one prefix.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct Progress {
    /// The prefix.
    pub prefix: Prefix,
    /// Its jobs by status, as stored. Leased jobs include those whose leases have expired.
    pub jobs: JobCounts,
    /// How many jobs are under an unexpired lease.
    pub held: u64,
    /// How many jobs are stored as leased although their leases have expired: nobody has leased
    /// them since.
    pub expired: u64,
    /// How many workers hold a job under an unexpired lease.
    pub workers: u64,
    /// Positions done, over all its jobs.
    pub done: u128,
    /// Positions, over all its jobs, including those that failed or were cancelled.
    pub total: u128,
    /// The share of the positions that is done, from 0 to 1.
    pub share: f64,
    /// Positions left to do in jobs that are pending or leased.
    pub open: u128,
    /// When a cursor of one of its jobs last moved.
    pub last_activity: Option<Timestamp>,
    /// How fast its jobs move.
    pub rate: Rate,
    /// When the open positions will be done at this rate, but not before the slowest worker has
    /// finished its current job. `None` while no job moves.
    pub eta: Option<Timestamp>,
}

impl Snapshot {
    /// The progress of a prefix; `None` if it has no jobs.
    ///
    /// This reads the rows of its jobs, and as much of live history as the [`Rate`] needs: at most
    /// the newest 65,536 records.
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
    /// let progress = view.progress("demo")?.expect("it has jobs");
    /// assert_eq!((progress.done, progress.total, progress.held), (40, 100, 1));
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Error::Storage` or `Error::Corrupted` if the database cannot be read.
    pub fn progress(&self, prefix: impl AsRef<[u8]>) -> Result<Option<Progress>> {
        let (prefix, mut held) = (prefix.as_ref(), Vec::new());
        let sum = self.sum_of_prefix(prefix, &mut held)?;
        if sum.jobs.all() == 0 {
            return Ok(None);
        }
        self.measure(&mut held)?;
        Ok(Some(sum.progress(Prefix(prefix.to_vec()), &held, self.taken_at())))
    }

    /// The progress of each prefix, in the order of the prefixes' bytes: at most `limit` prefixes,
    /// starting after `after`. For the next page, pass the last prefix returned.
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
    /// assert_eq!(view.progress_by_prefix(None, 100)?[0].share, 0.4);
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`progress`](Snapshot::progress).
    pub fn progress_by_prefix(&self, after: Option<&[u8]>, limit: usize) -> Result<Vec<Progress>> {
        let (mut sums, mut held) = (Vec::new(), Vec::new());
        for prefix in self.prefixes(after, limit)? {
            let first = held.len();
            let sum = self.sum_of_prefix(&prefix, &mut held)?;
            sums.push((prefix, sum, first..held.len()));
        }
        // One search through history is enough for the whole page.
        self.measure(&mut held)?;
        let progress = |(prefix, sum, own): (Prefix, Sum, std::ops::Range<usize>)| {
            sum.progress(prefix, &held[own], self.taken_at())
        };
        Ok(sums.into_iter().map(progress).collect())
    }

    /// Adds up the jobs of a prefix, and pushes those under an unexpired lease to `held`.
    fn sum_of_prefix(&self, prefix: &[u8], held: &mut Vec<HeldJob>) -> Result<Sum> {
        let mut sum = Sum::default();
        self.each_job_of_prefix(prefix, None, |id, row| {
            sum.add(id, &row, self.taken_at(), held)?;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(sum)
    }
}

/// The jobs of one prefix, added up.
#[derive(Default)]
struct Sum {
    jobs: JobCounts,
    held: u64,
    expired: u64,
    workers: HashSet<WorkerId>,
    done: u128,
    total: u128,
    open: u128,
    last_activity: Option<Timestamp>,
}

impl Sum {
    fn add(
        &mut self,
        id: JobId,
        row: &JobRow,
        now: Timestamp,
        held: &mut Vec<HeldJob>,
    ) -> Result<()> {
        self.jobs.count(row.status);
        self.done += u128::from(row.done());
        self.total += u128::from(row.positions());
        if matches!(row.status, JobStatus::Pending | JobStatus::Leased) {
            self.open += u128::from(row.end.saturating_sub(row.cursor));
        }
        self.last_activity = self.last_activity.max(row.checkpoint_at);
        if row.status == JobStatus::Leased {
            if has_expired(row, now) {
                self.expired += 1;
            } else {
                let job = HeldJob::new(id, row)?;
                self.held += 1;
                self.workers.insert(job.holder);
                held.push(job);
            }
        }
        Ok(())
    }

    fn progress(self, prefix: Prefix, held: &[HeldJob], now: Timestamp) -> Progress {
        let pace = Pace::of(held, now);
        Progress {
            prefix,
            jobs: self.jobs,
            held: self.held,
            expired: self.expired,
            workers: self.workers.len() as u64,
            done: self.done,
            total: self.total,
            share: self.done as f64 / self.total.max(1) as f64,
            open: self.open,
            last_activity: self.last_activity,
            rate: pace.rate(self.last_activity),
            eta: pace.eta(self.open),
        }
    }
}
