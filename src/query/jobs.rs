//! Queries of jobs.

use std::ops::{Bound, ControlFlow};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Snapshot, rows};
use crate::config::limits;
use crate::error::Result;
use crate::schema::access::load;
use crate::schema::key;
use crate::schema::rows::{JobRow, Number, PrefixRow};
use crate::schema::tables;
use crate::storage::Order;
use crate::time::Timestamp;
use crate::types::{JobId, JobStatus, Prefix, Token, WorkerId, as_text, duration_of};

/// A job as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Job {
    /// Its number.
    pub id: JobId,
    /// Its prefix.
    pub prefix: Prefix,
    /// First position of its range.
    pub start: u64,
    /// One past the last position of its range.
    pub end: u64,
    /// The next position to be done.
    pub cursor: u64,
    /// Its status.
    pub status: JobStatus,
    /// The worker that holds it, while it is leased.
    pub holder: Option<WorkerId>,
    /// The worker that completed it, once it is completed.
    pub completed_by: Option<WorkerId>,
    /// Its newest token; 0 if it was never leased.
    pub token: Token,
    /// When its lease expires, while it is leased.
    pub deadline: Option<Timestamp>,
    /// Jobs of higher priority are leased first.
    pub priority: i32,
    /// How many attempts in a row have failed, without its cursor having moved in between.
    pub attempts: u32,
    /// The number of failed attempts after which the job fails; `None` for no limit.
    pub max_attempts: Option<u32>,
    /// How many checkpoints it has had.
    pub batches: u64,
    /// Items handled.
    pub items: u128,
    /// Time its batches took. It serializes as `duration_us`, in microseconds.
    #[serde(rename = "duration_us", with = "as_text::micros")]
    pub duration: Duration,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last leased.
    pub leased_at: Option<Timestamp>,
    /// When its cursor last moved.
    pub checkpoint_at: Option<Timestamp>,
    /// When it was completed, failed or cancelled.
    pub ended_at: Option<Timestamp>,
    /// The last error that a batch reported, or the reason why the last attempt failed.
    pub last_error: Option<String>,
    /// What the last heartbeat under its newest lease said.
    pub note: Option<String>,
}

impl Job {
    /// How many positions are done.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.cursor.saturating_sub(self.start)
    }

    /// How many positions are left.
    #[must_use]
    pub fn left(&self) -> u64 {
        self.end.saturating_sub(self.cursor)
    }

    /// How many positions it has.
    #[must_use]
    pub fn positions(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }

    /// The share of its positions that is done, from 0 to 1.
    #[must_use]
    pub fn share(&self) -> f64 {
        self.done() as f64 / self.positions().max(1) as f64
    }

    pub(super) fn new(id: JobId, row: JobRow) -> Job {
        let held = row.status == JobStatus::Leased;
        let completed = row.status == JobStatus::Completed;
        Job {
            id,
            prefix: Prefix(row.prefix),
            start: row.start,
            end: row.end,
            cursor: row.cursor,
            status: row.status,
            holder: row.holder.filter(|_| held),
            completed_by: row.holder.filter(|_| completed),
            token: row.token,
            deadline: held.then_some(row.deadline),
            priority: row.priority,
            attempts: row.attempts,
            max_attempts: row.max_attempts,
            batches: row.batches,
            items: row.items,
            duration: duration_of(row.duration_us),
            created_at: row.created_at,
            leased_at: row.leased_at,
            checkpoint_at: row.checkpoint_at,
            ended_at: row.ended_at,
            last_error: row.last_error,
            note: row.note,
        }
    }
}

/// How many jobs have each status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct JobCounts {
    /// Waiting to be leased.
    pub pending: u64,
    /// Leased to a worker, including those whose leases have expired.
    pub leased: u64,
    /// Done.
    pub completed: u64,
    /// Failed.
    pub failed: u64,
    /// Cancelled.
    pub cancelled: u64,
}

impl JobCounts {
    /// All of them.
    #[must_use]
    pub fn all(&self) -> u64 {
        self.pending + self.leased + self.completed + self.failed + self.cancelled
    }

    pub(super) fn count(&mut self, status: JobStatus) {
        *match status {
            JobStatus::Pending => &mut self.pending,
            JobStatus::Leased => &mut self.leased,
            JobStatus::Completed => &mut self.completed,
            JobStatus::Failed => &mut self.failed,
            JobStatus::Cancelled => &mut self.cancelled,
        } += 1;
    }
}

impl Snapshot {
    /// How many jobs have each status, as stored.
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
    /// assert_eq!(view.job_counts().leased, 1);
    /// # Ok::<(), milepost::Error>(())
    /// ```
    #[must_use]
    pub fn job_counts(&self) -> JobCounts {
        let [pending, leased, completed, failed, cancelled] = self.control().jobs;
        JobCounts { pending, leased, completed, failed, cancelled }
    }

    /// One job; `None` if there is none of this number.
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
    /// let shown = view.job(job)?.expect("it exists");
    /// assert_eq!((shown.cursor, shown.left()), (40, 60));
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Error::Storage` or `Error::Corrupted` if the database cannot be read.
    pub fn job(&self, id: JobId) -> Result<Option<Job>> {
        Ok(load(self.txn(), &key::job(id))?.map(|row| Job::new(id, row)))
    }

    /// Jobs by number: at most `limit` of them, starting after `after`. For the next page, pass the
    /// last id returned.
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
    /// assert_eq!(view.jobs(None, 100)?.len(), 1);
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Error::Storage` or `Error::Corrupted` if the database cannot be read.
    pub fn jobs(&self, after: Option<JobId>, limit: usize) -> Result<Vec<Job>> {
        let after = after.map(key::job);
        let from = after.as_ref().map_or(Bound::Unbounded, |key| Bound::Excluded(&key[..]));
        self.collect((from, Bound::Unbounded), limit, key::as_job, Job::new)
    }

    /// The jobs of a prefix, in the order of their ranges: at most `limit` of them, starting with
    /// the first one that begins after the position `after`. For the next page, pass
    /// [`start`](Job::start) of the last one returned.
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
    /// assert_eq!(view.jobs_of_prefix("demo", None, 100)?[0].id, job);
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Error::Storage` or `Error::Corrupted` if the database cannot be read.
    pub fn jobs_of_prefix(
        &self,
        prefix: impl AsRef<[u8]>,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<Job>> {
        let mut jobs = Vec::new();
        if limit > 0 {
            self.each_job_of_prefix(prefix.as_ref(), after, |id, row| {
                jobs.push(Job::new(id, row));
                Ok(rows::go_on(jobs.len() < limit))
            })?;
        }
        Ok(jobs)
    }

    /// The leased jobs, by worker and number: at most `limit` of them, starting after `after`. For
    /// the next page, pass [`holder`](Job::holder) and [`id`](Job::id) of the last one returned.
    ///
    /// They include jobs whose leases have expired, until a request for a lease returns them to the
    /// queue: compare [`deadline`](Job::deadline) with the current time.
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
    /// assert_eq!(view.leases(None, 100)?[0].holder, Some(worker.id()));
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Error::Storage` or `Error::Corrupted` if the database cannot be read.
    pub fn leases(&self, after: Option<(WorkerId, JobId)>, limit: usize) -> Result<Vec<Job>> {
        let mut jobs = Vec::new();
        if limit > 0 {
            self.each_held_job(after, |id, row| {
                jobs.push(Job::new(id, row));
                Ok(rows::go_on(jobs.len() < limit))
            })?;
        }
        Ok(jobs)
    }

    /// The prefixes that have jobs, in the order of their bytes: at most `limit` of them, starting
    /// after `after`. For the next page, pass the last one returned.
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
    /// assert_eq!(view.prefixes(None, 100)?[0].to_string(), "demo");
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Error::Storage` or `Error::Corrupted` if the database cannot be read.
    pub fn prefixes(&self, after: Option<&[u8]>, limit: usize) -> Result<Vec<Prefix>> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let own = |key: &[u8]| key::as_prefix(key).map(|prefix| Prefix(prefix.to_vec()));
        self.collect((from, Bound::Unbounded), limit, own, |prefix, _: PrefixRow| prefix)
    }

    /// Visits the jobs of a prefix that start after a position, in the order of their ranges.
    pub(super) fn each_job_of_prefix(
        &self,
        prefix: &[u8],
        after: Option<u64>,
        mut visit: impl FnMut(JobId, JobRow) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        if prefix.len() > limits::PREFIX {
            return Ok(());
        }
        let all = key::Under::new(key::of_prefix(prefix));
        let after = after.map(|start| key::job_range(prefix, start));
        let from = after.as_deref().map_or(all.range().0, Bound::Excluded);
        self.scan(tables::JOB_RANGES, (from, all.range().1), Order::Ascending, |key, value| {
            rows::parsed(tables::JOB_RANGES, key, key::as_job_range)?;
            let Number(id) = rows::decoded(tables::JOB_RANGES, key, value)?;
            visit(JobId(id), self.job_row(JobId(id))?)
        })
    }

    /// Visits the leased jobs, by worker and number.
    pub(super) fn each_held_job(
        &self,
        after: Option<(WorkerId, JobId)>,
        mut visit: impl FnMut(JobId, JobRow) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let after = after.map(|(worker, job)| key::holder(worker, job));
        let from = after.as_ref().map_or(Bound::Unbounded, |key| Bound::Excluded(&key[..]));
        self.scan(tables::JOB_HOLDERS, (from, Bound::Unbounded), Order::Ascending, |key, _| {
            let (_, id) = rows::parsed(tables::JOB_HOLDERS, key, key::as_holder)?;
            visit(id, self.job_row(id)?)
        })
    }
}
