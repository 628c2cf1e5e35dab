//! Jobs by status, prefix and time.

use serde::{Deserialize, Serialize};

use super::{Page, PageToken, Part, Step, Times, is_within};
use crate::config::limits;
use crate::error::Result;
use crate::query::{Job, Snapshot, rows};
use crate::schema::key;
use crate::schema::rows::{JobRow, Number};
use crate::schema::tables;
use crate::storage::Table;
use crate::time::Timestamp;
use crate::types::{JobId, JobStatus, Prefix};

/// Which jobs to list, or to change: all those for which every condition holds that was set. The
/// default has no condition.
///
/// ```
/// # use milepost::{JobFilter, JobStatus, NewJob, Store};
/// # let store = Store::in_memory()?;
/// # store.create_jobs([NewJob::new("site-7", 0..10), NewJob::new("site-8", 0..10)])?;
/// let waiting = JobFilter::default().prefix("site-7").status(JobStatus::Pending);
/// assert_eq!(store.snapshot()?.find_jobs(&waiting, None, 100)?.items.len(), 1);
/// # Ok::<(), milepost::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct JobFilter {
    prefix: Option<Prefix>,
    /// Sorted; none for any.
    statuses: Vec<JobStatus>,
    created: Option<Times>,
    ended: Option<Times>,
    /// It leaves no job.
    #[serde(skip)]
    is_empty: bool,
}

impl JobFilter {
    /// Only jobs of this prefix.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<Prefix>) -> JobFilter {
        self.prefix = Some(prefix.into());
        self
    }

    /// Only jobs of this status, or of one of those given by several calls.
    #[must_use]
    pub fn status(mut self, status: JobStatus) -> JobFilter {
        if let Err(place) = self.statuses.binary_search(&status) {
            self.statuses.insert(place, status);
        }
        self
    }

    /// Only jobs created at or after the first time, and before the second one.
    #[must_use]
    pub fn created(mut self, from: Timestamp, to: Timestamp) -> JobFilter {
        self.created = Some(Times { from, to });
        self
    }

    /// Only jobs that were completed, failed or cancelled at or after the first time, and before the
    /// second one.
    #[must_use]
    pub fn ended(mut self, from: Timestamp, to: Timestamp) -> JobFilter {
        self.ended = Some(Times { from, to });
        self
    }

    /// Whether a job is one of these.
    #[must_use]
    pub fn matches(&self, job: &Job) -> bool {
        self.prefix.as_ref().is_none_or(|prefix| *prefix == job.prefix)
            && (self.statuses.is_empty() || self.statuses.contains(&job.status))
            && is_within(self.created, Some(job.created_at))
            && is_within(self.ended, job.ended_at)
    }

    /// This filter, further narrowed to some statuses.
    pub(crate) fn among(&self, statuses: &[JobStatus]) -> JobFilter {
        let mut narrowed = self.clone();
        narrowed.statuses = match self.statuses.is_empty() {
            true => statuses.to_vec(),
            false => self.statuses.iter().copied().filter(|one| statuses.contains(one)).collect(),
        };
        narrowed.is_empty = narrowed.statuses.is_empty();
        narrowed
    }

    /// The statuses that it leaves, as far as it says so.
    fn wanted(&self) -> Option<Vec<JobStatus>> {
        let has_ended = |status: &JobStatus| *status >= JobStatus::Completed;
        match (self.statuses.is_empty(), self.ended) {
            (true, None) => None,
            (true, Some(_)) => Some(JobStatus::ALL.into_iter().filter(has_ended).collect()),
            (false, None) => Some(self.statuses.clone()),
            (false, Some(_)) => Some(self.statuses.iter().copied().filter(has_ended).collect()),
        }
    }

    /// What to read, in this order.
    fn parts(&self) -> Vec<Part> {
        let under = |table: Table, whole: &[u8]| match &self.prefix {
            Some(prefix) => Part::under(table, [&key::of_prefix(prefix), whole].concat()),
            None => Part::whole(table),
        };
        let Some(wanted) = self.wanted() else {
            return match &self.prefix {
                Some(_) => vec![under(tables::JOB_RANGES, &[])],
                None => vec![Part::whole(tables::JOBS)],
            };
        };
        let mut parts = Vec::new();
        if wanted.contains(&JobStatus::Pending) {
            parts.push(under(tables::JOB_QUEUE_BY_PREFIX, &[]));
        }
        if wanted.contains(&JobStatus::Leased) {
            parts.push(Part::whole(tables::JOB_LEASES));
        }
        if wanted.iter().any(|status| *status >= JobStatus::Completed) {
            parts.push(under(tables::JOBS_ENDED, &[]));
        }
        parts
    }

    /// Where to go on among jobs that have ended, from an entry that is not wanted; `None` if it is
    /// wanted.
    fn skip_ended(&self, prefix: &[u8], status: JobStatus, at: Timestamp) -> Option<Vec<u8>> {
        let is_wanted = self.statuses.is_empty() || self.statuses.contains(&status);
        let next_status = || [&key::of_prefix(prefix)[..], &[status as u8 + 1]].concat();
        if !is_wanted {
            return Some(next_status());
        }
        let times = self.ended?;
        if at < times.from {
            return Some(key::job_ended(prefix, status, times.from, JobId(0)));
        }
        (times.to <= at).then(next_status)
    }
}

impl Snapshot {
    /// A page of the jobs that a filter leaves: at most `limit`. Jobs of one prefix come in the order
    /// of their ranges, all jobs in that of their numbers; where the filter names statuses, or a time
    /// at which they ended, in that of the status: waiting ones as they will be leased, leased ones by
    /// deadline, those that have ended by the time of that.
    ///
    /// A job whose status changes between two pages may be missing, or come twice.
    ///
    /// # Errors
    /// `Error::Storage` or `Error::Corrupted` if the database cannot be read.
    pub fn find_jobs(
        &self,
        filter: &JobFilter,
        after: Option<&PageToken>,
        limit: usize,
    ) -> Result<Page<Job>> {
        let is_too_long =
            filter.prefix.as_ref().is_some_and(|prefix| prefix.len() > limits::PREFIX);
        if filter.is_empty || is_too_long {
            return Ok(Page { items: Vec::new(), next: None });
        }
        self.page(&filter.parts(), after, limit, |table, key, value| {
            let (id, row): (JobId, JobRow) = match table {
                tables::JOBS => {
                    (rows::parsed(table, key, key::as_job)?, rows::decoded(table, key, value)?)
                }
                tables::JOB_RANGES => {
                    let Number(id) = rows::decoded(table, key, value)?;
                    (JobId(id), self.job_row(JobId(id))?)
                }
                tables::JOB_QUEUE_BY_PREFIX => {
                    let (_, _, id) = rows::parsed(table, key, key::as_queue_by_prefix)?;
                    (id, self.job_row(id)?)
                }
                tables::JOB_LEASES => {
                    let (_, id) = rows::parsed(table, key, key::as_lease)?;
                    (id, self.job_row(id)?)
                }
                _ => {
                    let (prefix, status, at, id) = rows::parsed(table, key, key::as_job_ended)?;
                    if let Some(next) = filter.skip_ended(prefix, status, at) {
                        return Ok(Step::SkipTo(next));
                    }
                    (id, self.job_row(id)?)
                }
            };
            let job = Job::new(id, row);
            Ok(if filter.matches(&job) { Step::Take(job) } else { Step::Skip })
        })
    }
}
