//! History by worker, job, error and time.

use serde::{Deserialize, Serialize};

use super::{Times, is_within};
use crate::error::Result;
use crate::query::{HistoryRecord, Snapshot};
use crate::time::Timestamp;
use crate::types::{JobId, PastBatch, WorkerId};

/// Which records of history to list: all those for which every condition holds that was set. The
/// default has no condition.
///
/// ```
/// # use milepost::{HistoryFilter, Store};
/// # let store = Store::in_memory()?;
/// # let worker = store.register_worker("pc-01")?;
/// let errors = HistoryFilter::default().worker(worker.id()).errors();
/// for record in store.snapshot()?.find_history(&errors, None, 20)? {
///     println!("{} {:?}", record.batch.finished_at, record.batch.error);
/// }
/// # Ok::<(), milepost::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct HistoryFilter {
    worker: Option<WorkerId>,
    job: Option<JobId>,
    errors: bool,
    finished: Option<Times>,
}

impl HistoryFilter {
    /// Only batches of this worker.
    #[must_use]
    pub fn worker(mut self, worker: WorkerId) -> HistoryFilter {
        self.worker = Some(worker);
        self
    }

    /// Only batches of this job.
    #[must_use]
    pub fn job(mut self, job: JobId) -> HistoryFilter {
        self.job = Some(job);
        self
    }

    /// Only batches that reported an error.
    #[must_use]
    pub fn errors(mut self) -> HistoryFilter {
        self.errors = true;
        self
    }

    /// Only batches that finished at or after the first time, and before the second one.
    #[must_use]
    pub fn finished(mut self, from: Timestamp, to: Timestamp) -> HistoryFilter {
        self.finished = Some(Times { from, to });
        self
    }

    pub(in crate::query) fn of_worker(&self) -> Option<WorkerId> {
        self.worker
    }

    /// Whether a batch is one of these.
    #[must_use]
    pub fn matches(&self, batch: &PastBatch) -> bool {
        self.worker.is_none_or(|worker| worker == batch.worker)
            && self.job.is_none_or(|job| batch.job == Some(job))
            && (!self.errors || batch.error.is_some())
            && is_within(self.finished, Some(batch.finished_at))
    }
}

impl Snapshot {
    /// The records of history that a filter leaves, newest first by the order in which they were
    /// stored: at most `limit` of them, older than the record `before`. For the next page, pass the
    /// last id returned.
    ///
    /// It reads history until it has found as many: with a filter that leaves little, all of it. Where
    /// the filter names a worker, sums over history show where that worker has records.
    ///
    /// # Errors
    /// `Error::Storage` or `Error::Corrupted` if the database cannot be read.
    pub fn find_history(
        &self,
        filter: &HistoryFilter,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<HistoryRecord>> {
        self.newest_by(filter, before, limit)
    }
}
