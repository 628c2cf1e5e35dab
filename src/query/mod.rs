//! Reading: snapshots and their queries.

mod chunks;
mod find;
mod findings;
mod flat;
mod fleet;
mod held;
mod history;
mod imports;
mod jobs;
mod live;
mod periods;
mod progress;
mod rate;
pub(crate) mod rows;
#[cfg(test)]
pub(crate) mod scene;
mod size;
mod standings;
#[cfg(test)]
mod tests;

use std::fmt;
use std::sync::{Arc, OnceLock};

use serde::{Deserialize, Serialize};

pub use find::{FindingFilter, HistoryFilter, JobFilter, Page, PageToken};
pub use findings::Finding;
pub use fleet::{ActiveWorker, FinishedSince, WorkerInfo};
pub use history::HistoryRecord;
pub use jobs::{Job, JobCounts};
pub use periods::{DayStats, LifetimeStats, MonthStats};
pub use progress::Progress;
pub use rate::Rate;
pub use size::Size;
pub use standings::{KindStats, LeaderboardEntry, Standing};

pub(crate) use chunks::ChunkSums;
use chunks::Sums;
use live::Part;

use crate::config::Caps;
use crate::error::Result;
use crate::process::Process;
use crate::schema::access::ALL;
use crate::schema::key;
use crate::schema::meta;
use crate::schema::rows::{Control, WorkerRow};
use crate::storage::EngineSnapshot;
use crate::time::Timestamp;
use crate::types::WorkerId;

/// A consistent view of the whole store at one instant. It does not show later writes, and neither
/// blocks writers nor is blocked by them. Returned by [`Store::snapshot`](crate::Store::snapshot);
/// cheap to clone. It does not keep its store open: reading fails with
/// [`Error::Closed`](crate::Error::Closed) once the last handle of the store is dropped.
///
/// A batch is live while its record is in history, and archived once retention has moved it into
/// the tiers. By default, statistics include both: every batch counts exactly once. The form
/// returned by [`archived`](Snapshot::archived) shows the rows of the tiers as they are stored.
/// Queries of workers, jobs and history return the same in both.
///
/// # Cost of queries
///
/// A query of one worker, job or prefix reads the rows of it, and the newest few records of
/// history. The store caches sums over older records, in at most 36 MiB, so that each record is
/// read once and not for each query; the cache is emptied when the store is closed or reopened.
///
/// The first query over all workers adds up live history, and later ones of the same snapshot reuse
/// the result. So make many queries on one snapshot rather than one each on many.
///
/// # Lists
///
/// A list is returned in pages: the first `limit` entries `after` a given one. `None` begins with
/// the first entry; for the next page, pass the last entry returned. A page costs the same at the
/// end of a long list as at its beginning.
///
/// A snapshot keeps every page of the file that it can see from being reused, so the file grows
/// while it is held and others write. A loop that writes must therefore take a new snapshot for each
/// page:
///
/// ```
/// # use milepost::{JobStatus, NewJob, Store};
/// # let store = Store::in_memory()?;
/// # store.create_jobs((0..10u64).map(|n| NewJob::new("demo", n * 10..n * 10 + 10)))?;
/// # for job in store.snapshot()?.jobs(None, 5)? { store.cancel_job(job.id)?; }
/// let mut after = None;
/// loop {
///     // The snapshot is dropped at the end of this statement. In the head of a `for` loop, as in
///     // `for job in store.snapshot()?.jobs(..)?`, it would be held until the loop ends.
///     let page = store.snapshot()?.jobs(after, 256)?;
///     let Some(last) = page.last() else { break };
///     after = Some(last.id);
///     for job in page.iter().filter(|job| job.status == JobStatus::Cancelled) {
///         store.delete_job(job.id)?;
///     }
/// }
/// # assert_eq!(store.snapshot()?.job_counts().all(), 5);
/// # Ok::<(), milepost::Error>(())
/// ```
///
/// # Errors
///
/// Every method that reads returns [`Error::Storage`](crate::Error::Storage) if the database cannot
/// be read, and [`Error::Corrupted`](crate::Error::Corrupted), which names the row, if a row cannot
/// be decoded. Such rows are never skipped. After the store was closed or reopened, reading returns
/// [`Error::Closed`](crate::Error::Closed), except for results that the snapshot already has in
/// memory.
#[derive(Clone)]
pub struct Snapshot {
    inner: Arc<Inner>,
    archived: bool,
}

struct Inner {
    process: Process,
    txn: Arc<dyn EngineSnapshot>,
    now: Timestamp,
    control: Control,
    stored_bytes: u64,
    /// The cached sums over chunks of history, shared with the store.
    chunk_sums: Arc<ChunkSums>,
    /// Live history in parts, once a query needed it.
    parts: OnceLock<Vec<Part>>,
    /// The live totals of every worker by day, once a query needed them.
    live: OnceLock<Sums>,
}

/// Whose statistics to read. For an unknown worker or kind they are empty.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Scope {
    /// One worker.
    Worker(WorkerId),
    /// All workers of a kind together.
    Kind(String),
    /// All workers together.
    Fleet,
}

impl Scope {
    /// All workers of a kind together.
    #[must_use]
    pub fn kind(kind: impl Into<String>) -> Scope {
        Scope::Kind(kind.into())
    }
}

impl From<WorkerId> for Scope {
    fn from(worker: WorkerId) -> Self {
        Scope::Worker(worker)
    }
}

impl fmt::Debug for Snapshot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Snapshot")
            .field("taken_at", &self.inner.now)
            .field("archived", &self.archived)
            .finish_non_exhaustive()
    }
}

impl Snapshot {
    pub(crate) fn new(
        txn: Arc<dyn EngineSnapshot>,
        now: Timestamp,
        stored_bytes: u64,
        chunk_sums: Arc<ChunkSums>,
    ) -> Result<Snapshot> {
        let control = meta::control(&*txn)?;
        let (parts, live) = (OnceLock::new(), OnceLock::new());
        let process = Process::current();
        let inner = Inner { process, txn, now, control, stored_bytes, chunk_sums, parts, live };
        Ok(Snapshot { inner: Arc::new(inner), archived: false })
    }

    /// The same snapshot in its archived form: the tiers as they are stored, without live history.
    #[must_use]
    pub fn archived(&self) -> Snapshot {
        Snapshot { inner: self.inner.clone(), archived: true }
    }

    /// When it was taken, by the store's clock.
    #[must_use]
    pub fn taken_at(&self) -> Timestamp {
        self.inner.now
    }

    /// The caps stored in the file.
    #[must_use]
    pub fn caps(&self) -> Caps {
        self.inner.control.caps
    }

    /// Whether rows are still to be removed by later commits, after caps were lowered or jobs
    /// deleted; see [`Store::settle`](crate::Store::settle).
    #[must_use]
    pub fn is_settling(&self) -> bool {
        self.inner.control.is_settling()
    }

    pub(crate) fn txn(&self) -> &dyn EngineSnapshot {
        &*self.inner.txn
    }

    fn chunk_sums(&self) -> &ChunkSums {
        &self.inner.chunk_sums
    }

    pub(crate) fn control(&self) -> &Control {
        &self.inner.control
    }

    /// The workers in a scope.
    fn workers_in(&self, scope: &Scope) -> Result<Vec<WorkerId>> {
        if let Scope::Worker(worker) = scope {
            return Ok(vec![*worker]);
        }
        if !self.archived {
            // For many workers it is cheaper to add up all of them at once than one after the
            // other.
            self.live()?;
        }
        let mut workers = Vec::new();
        self.each_row(ALL, key::as_worker, |id, row: WorkerRow| {
            let is_in = match scope {
                Scope::Fleet => true,
                Scope::Kind(kind) => *kind == row.kind,
                Scope::Worker(worker) => *worker == id,
            };
            if is_in {
                workers.push(id);
            }
            Ok(())
        })?;
        Ok(workers)
    }
}
