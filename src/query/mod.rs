//! Reading: everything a dashboard asks for, as of one instant.

mod chunks;
mod findings;
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

/// All that is stored, as of one instant: later writes do not show in it, and it neither blocks
/// nor is blocked by them. Made by [`Store::snapshot`](crate::Store::snapshot); cheap to clone.
///
/// Statistics come in two forms. The default merges what is archived in the tiers with what is
/// still live in history: nothing is missing, and nothing counts twice. The form returned by
/// [`archived`](Snapshot::archived) shows the rows of the tiers as they are stored. Questions
/// about workers, jobs and history itself return the same in both.
///
/// # What a question costs
///
/// A question about one worker, job or prefix reads what is stored about it, and the newest few
/// records of history. The store keeps sums over older records, in at most 32 MiB, so that they are
/// read once and not for each question; they are forgotten when the store is closed or reopened.
///
/// A snapshot adds up what all workers did when it is first asked about all of them, so ask many
/// questions of one snapshot rather than one each of many.
///
/// # Lists
///
/// A list is returned in pages: the first `limit` entries `after` a given one. `None` begins with
/// the first entry; for the next page, pass the last entry returned. A page costs as much at the end
/// of a long list as at its beginning.
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
/// be decoded. Such rows are never skipped. Once the store was closed or reopened, what the snapshot
/// has not read yet is [`Error::Closed`](crate::Error::Closed).
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
    /// Sums over chunks of history that the store keeps.
    chunk_sums: Arc<ChunkSums>,
    /// Live history in parts, once it was asked for.
    parts: OnceLock<Vec<Part>>,
    /// What every worker did on each live day, once it was asked for.
    live: OnceLock<Sums>,
}

/// Whose statistics to read. An unknown worker or kind has none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope<'a> {
    /// One worker's.
    Worker(WorkerId),
    /// Those of all workers of a kind together.
    Kind(&'a str),
    /// Those of all workers together.
    Fleet,
}

impl From<WorkerId> for Scope<'_> {
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

    /// The same instant in its archived form: the tiers as they are stored, without live history.
    #[must_use]
    pub fn archived(&self) -> Snapshot {
        Snapshot { inner: self.inner.clone(), archived: true }
    }

    /// When it was taken, by the store's clock.
    #[must_use]
    pub fn taken_at(&self) -> Timestamp {
        self.inner.now
    }

    /// The caps the file has.
    #[must_use]
    pub fn caps(&self) -> Caps {
        self.inner.control.caps
    }

    /// Whether lowered caps or deleted jobs left work that the next commits will do; see
    /// [`Store::settle`](crate::Store::settle).
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

    /// The workers that a scope stands for.
    fn workers_in(&self, scope: Scope<'_>) -> Result<Vec<WorkerId>> {
        if let Scope::Worker(worker) = scope {
            return Ok(vec![worker]);
        }
        if !self.archived {
            // For many workers it is cheaper to add up everybody than one after the other.
            self.live()?;
        }
        let mut workers = Vec::new();
        self.each_row(ALL, key::as_worker, |id, row: WorkerRow| {
            if scope == Scope::Fleet || scope == Scope::Kind(&row.kind) {
                workers.push(id);
            }
            Ok(())
        })?;
        Ok(workers)
    }
}
