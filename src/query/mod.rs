//! Reading: everything a dashboard asks for, as of one instant.

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
pub use size::{Size, TableStats};
pub use standings::{KindStats, LeaderboardEntry, Standing};

use live::Live;
pub(crate) use live::Stretches;

use crate::config::Caps;
use crate::error::Result;
use crate::schema::rows::{Control, WorkerRow};
use crate::schema::tables::{self, ALL};
use crate::storage::EngineSnapshot;
use crate::time::{Day, Timestamp};
use crate::types::{Totals, WorkerId};

/// All that is stored, as of one instant: later writes do not show in it, and it neither blocks
/// nor is blocked by them. Made by [`Store::snapshot`](crate::Store::snapshot); cheap to clone.
///
/// Statistics come in two forms. The default merges what is archived in the tiers with what is
/// still live in history: nothing is missing, and nothing counts twice. The form given by
/// [`archived`](Snapshot::archived) shows the rows of the tiers as they are stored. Questions
/// about workers, jobs and history itself have the same answer in both.
///
/// Questions that need live history added up read it when the first of them is asked; what has not
/// changed by the next snapshot is remembered. Still, ask many questions of one.
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
/// Every method that reads can fail with [`Error::Storage`](crate::Error::Storage) if the storage
/// does, and with [`Error::Corrupted`](crate::Error::Corrupted), which names the row, if one
/// cannot be read: rows are never passed over. Below, that is "what the storage meets".
#[derive(Clone)]
pub struct Snapshot {
    inner: Arc<Inner>,
    archived: bool,
}

struct Inner {
    txn: Arc<dyn EngineSnapshot>,
    now: Timestamp,
    control: Control,
    stored_bytes: u64,
    /// Live history by worker and day, once somebody asked for it.
    live: OnceLock<Live>,
    /// Sums over parts of history that other snapshots of the store have asked for.
    stretches: Arc<Stretches>,
}

/// Whose statistics to read. A worker that the store does not know has none, nor has such a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope<'a> {
    /// One worker's.
    Worker(WorkerId),
    /// Those of all workers of a kind, added up.
    Kind(&'a str),
    /// Those of all workers, added up.
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
        stretches: Arc<Stretches>,
    ) -> Result<Snapshot> {
        let control = tables::control(&*txn)?;
        let live = OnceLock::new();
        let inner = Inner { txn, now, control, stored_bytes, live, stretches };
        Ok(Snapshot { inner: Arc::new(inner), archived: false })
    }

    /// The same instant in its archived form: the tiers as they are stored, without live history.
    #[must_use]
    pub fn archived(&self) -> Snapshot {
        Snapshot { inner: self.inner.clone(), archived: true }
    }

    /// When it was taken, by the clock of the store.
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

    fn stretches(&self) -> &Stretches {
        &self.inner.stretches
    }

    pub(crate) fn control(&self) -> &Control {
        &self.inner.control
    }

    /// Live history by worker and day, in either form of the snapshot.
    fn live(&self) -> Result<&Live> {
        if let Some(live) = self.inner.live.get() {
            return Ok(live);
        }
        let live = self.add_up_live()?;
        // Another thread may have been faster; what it found is the same.
        Ok(self.inner.live.get_or_init(|| live))
    }

    /// The live days that this form of the snapshot adds to a worker's archived ones.
    fn live_days(&self, worker: WorkerId) -> Result<impl Iterator<Item = (Day, &Totals)>> {
        let days = if self.archived { None } else { self.live()?.get(&worker) };
        Ok(days.into_iter().flatten().map(|(day, totals)| (*day, totals)))
    }

    /// The workers that a scope stands for.
    fn workers_in(&self, scope: Scope<'_>) -> Result<Vec<WorkerId>> {
        if let Scope::Worker(worker) = scope {
            return Ok(vec![worker]);
        }
        let mut workers = Vec::new();
        self.each_row(ALL, rows::worker, |id, row: WorkerRow| {
            if scope == Scope::Fleet || scope == Scope::Kind(&row.kind) {
                workers.push(id);
            }
            Ok(())
        })?;
        Ok(workers)
    }
}
