//! Jobs as they are stored.

use std::ops::{Bound, ControlFlow};

use serde::Serialize;

use super::{Snapshot, rows};
use crate::config::limits;
use crate::error::Result;
use crate::schema::key;
use crate::schema::rows::{JobRow, Number};
use crate::schema::tables::{ALL, first_key, load};
use crate::storage::{Order, Table};
use crate::time::Timestamp;
use crate::types::{JobId, JobStatus, Prefix, Token, WorkerId};

/// A job as it is stored.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
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
    /// The next position that is not done yet.
    pub cursor: u64,
    /// What became of it so far.
    pub status: JobStatus,
    /// Who holds it, while somebody does.
    pub holder: Option<WorkerId>,
    /// The token issued last; 0 if none was.
    pub token: Token,
    /// When its lease lapses, while it is held.
    pub deadline: Option<Timestamp>,
    /// Higher ones are leased first.
    pub priority: i32,
    /// How many attempts have failed.
    pub attempts: u32,
    /// After how many failed attempts it is given up.
    pub max_attempts: Option<u32>,
    /// How many checkpoints it took.
    pub batches: u64,
    /// Items handled.
    pub items: u128,
    /// Time its batches took, in microseconds.
    pub duration_us: u128,
    /// When it was created.
    pub created_at: Timestamp,
    /// When it was last leased.
    pub leased_at: Option<Timestamp>,
    /// When its cursor last moved.
    pub checkpoint_at: Option<Timestamp>,
    /// When it was completed, failed or cancelled.
    pub ended_at: Option<Timestamp>,
    /// The last error of a batch of it, or the reason why its last attempt failed.
    pub last_error: Option<String>,
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
        Job {
            id,
            prefix: Prefix(row.prefix),
            start: row.start,
            end: row.end,
            cursor: row.cursor,
            status: row.status,
            holder: row.holder.filter(|_| held),
            token: row.token,
            deadline: held.then_some(row.deadline),
            priority: row.priority,
            attempts: row.attempts,
            max_attempts: row.max_attempts,
            batches: row.batches,
            items: row.items,
            duration_us: row.duration_us,
            created_at: row.created_at,
            leased_at: row.leased_at,
            checkpoint_at: row.checkpoint_at,
            ended_at: row.ended_at,
            last_error: row.last_error,
        }
    }
}

/// How many jobs have each status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize)]
#[non_exhaustive]
pub struct JobCounts {
    /// Waiting for a worker.
    pub pending: u64,
    /// Held by a worker.
    pub leased: u64,
    /// Done.
    pub completed: u64,
    /// Given up.
    pub failed: u64,
    /// Called off.
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
    /// How many jobs have each status.
    #[must_use]
    pub fn job_counts(&self) -> JobCounts {
        let [pending, leased, completed, failed, cancelled] = self.control().jobs;
        JobCounts { pending, leased, completed, failed, cancelled }
    }

    /// One job; `None` if there is none of this number.
    ///
    /// # Errors
    /// What the storage meets.
    pub fn job(&self, id: JobId) -> Result<Option<Job>> {
        Ok(load(self.txn(), &key::job(id))?.map(|row| Job::new(id, row)))
    }

    /// Jobs by number: at most `limit` of them, from the one behind `after` on. To turn the page,
    /// pass the last one seen.
    ///
    /// # Errors
    /// What the storage meets.
    pub fn jobs(&self, after: Option<JobId>, limit: usize) -> Result<Vec<Job>> {
        let after = after.map(key::job);
        let from = after.as_ref().map_or(Bound::Unbounded, |key| Bound::Excluded(&key[..]));
        self.collect((from, Bound::Unbounded), limit, rows::job, |id, row| Some(Job::new(id, row)))
    }

    /// The jobs of a prefix, in the order of their ranges.
    ///
    /// # Errors
    /// What the storage meets.
    pub fn jobs_of_prefix(&self, prefix: &[u8]) -> Result<Vec<Job>> {
        let mut jobs = Vec::new();
        if prefix.len() <= limits::PREFIX {
            let under = key::Under::new(key::of_prefix(prefix));
            self.scan(Table::JobRanges, under.range(), Order::Ascending, |key, value| {
                let Number(id) = rows::decoded(Table::JobRanges, key, value)?;
                jobs.push(Job::new(JobId(id), self.job_row(JobId(id))?));
                Ok(ControlFlow::Continue(()))
            })?;
        }
        Ok(jobs)
    }

    /// The jobs that are held, the one whose lease lapses first first. One whose deadline has
    /// passed is among them until somebody asks for a lease: that puts it back in the queue.
    ///
    /// # Errors
    /// What the storage meets.
    pub fn leases(&self) -> Result<Vec<Job>> {
        let mut jobs = Vec::new();
        self.scan(Table::JobLeases, ALL, Order::Ascending, |key, _| {
            let (_, id) = rows::parsed(Table::JobLeases, key, rows::lease)?;
            jobs.push(Job::new(id, self.job_row(id)?));
            Ok(ControlFlow::Continue(()))
        })?;
        // The index may know them under earlier deadlines than they have.
        jobs.sort_by_key(|job| (job.deadline, job.id));
        Ok(jobs)
    }

    /// The prefixes that have jobs, in the order of their bytes.
    ///
    /// # Errors
    /// What the storage meets.
    pub fn prefixes(&self) -> Result<Vec<Prefix>> {
        let mut prefixes = Vec::new();
        let mut behind = Vec::new();
        // One look for each prefix: from behind its last possible key to the next one's first.
        while let Some(key) = first_key(
            self.txn(),
            Table::JobRanges,
            (Bound::Excluded(&behind), Bound::Unbounded),
            Order::Ascending,
        )? {
            let (prefix, _) = rows::parsed(Table::JobRanges, &key, rows::job_range)?;
            behind = key::job_range(&prefix, u64::MAX);
            prefixes.push(Prefix(prefix));
        }
        prefixes.sort_unstable();
        Ok(prefixes)
    }
}
