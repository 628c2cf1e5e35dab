//! Queries of workers and of recent activity.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow};

use serde::{Deserialize, Serialize};

use super::chunks::{Sums, add};
use super::live::EVERYBODY;
use super::{Snapshot, rows};
use crate::error::Result;
use crate::rules::tiers;
use crate::schema::access::{ALL, load, load_from, undecodable};
use crate::schema::key;
use crate::schema::rows::{HistoryRow, Number, WorkerRow};
use crate::schema::tables;
use crate::storage::Order;
use crate::time::Timestamp;
use crate::types::{Prefix, Totals, WorkerId};

/// A worker.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct WorkerInfo {
    /// Its number.
    pub id: WorkerId,
    /// Its name.
    pub name: String,
    /// Its kind, as given when it last registered.
    pub kind: String,
    /// When it first registered.
    pub first_seen: Timestamp,
    /// When it last registered, acquired or ended a lease, or finished a batch.
    pub last_seen: Timestamp,
    /// The prefix of the job it last leased; `None` if it never leased one.
    pub last_prefix: Option<Prefix>,
}

/// A worker that was seen recently.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct ActiveWorker {
    /// The worker.
    pub worker: WorkerId,
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// When it last registered, acquired or ended a lease, or finished a batch.
    pub last_seen: Timestamp,
    /// The totals of the batches it finished at or after the given time and that are still in
    /// history. A batch counts whole, even if it began before that time. [`Totals::rate`] is the
    /// rate while batches are worked on, without the pauses between them.
    pub recent: Totals,
    /// How many jobs it holds, including those whose leases have expired.
    pub leases: u64,
}

/// The totals of the whole fleet since a time.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct FinishedSince {
    /// How many workers finished a batch.
    pub workers: u64,
    /// The totals of the batches they finished and that are still in history. A batch counts whole,
    /// even if it began before that time. [`Totals::rate`] is the mean rate of one worker, since
    /// the durations of all workers are added up.
    pub totals: Totals,
    /// When the oldest batch in history finished: if that is after the given time, earlier batches
    /// may be missing. `None` if history is empty.
    pub reaches_back_to: Option<Timestamp>,
}

/// How many workers are read together to find those that are active.
const STEP: usize = 256;

impl Snapshot {
    /// Workers by number: at most `limit` of them, starting after `after`. For the next page, pass
    /// the last id returned.
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
    /// assert_eq!(view.workers(None, 100)?[0].name, "pc-01");
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Error::Storage` or `Error::Corrupted` if the database cannot be read.
    pub fn workers(&self, after: Option<WorkerId>, limit: usize) -> Result<Vec<WorkerInfo>> {
        let after = after.map(key::worker);
        let from = after.as_ref().map_or(Bound::Unbounded, |key| Bound::Excluded(&key[..]));
        let page: Vec<(WorkerId, WorkerRow)> =
            self.collect((from, Bound::Unbounded), limit, key::as_worker, |id, row| (id, row))?;
        let (Some((first, _)), Some((last, _))) = (page.first(), page.last()) else {
            return Ok(Vec::new());
        };
        // One pass over the sums is enough for the whole page.
        let live = self.live_of(&(*first..=*last))?;
        page.into_iter().map(|(id, row)| self.info(id, row, &live)).collect()
    }

    /// One worker; `None` if there is none of this number.
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
    /// assert_eq!(view.worker(worker.id())?.expect("it exists").name, "pc-01");
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Error::Storage` or `Error::Corrupted` if the database cannot be read.
    pub fn worker(&self, id: WorkerId) -> Result<Option<WorkerInfo>> {
        let row: Option<WorkerRow> = load(self.txn(), &key::worker(id))?;
        row.map(|row| self.info(id, row, &self.live_of(&(id..=id))?)).transpose()
    }

    /// One worker by its name; `None` if it never registered.
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
    /// assert!(view.worker_named("pc-02")?.is_none());
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Error::Storage` or `Error::Corrupted` if the database cannot be read.
    pub fn worker_named(&self, name: &str) -> Result<Option<WorkerInfo>> {
        let key = name.as_bytes();
        let number: Option<Number> = load_from(self.txn(), tables::WORKER_NAMES, key)?;
        let Some(Number(number)) = number else { return Ok(None) };
        let number = u32::try_from(number)
            .map_err(|_| undecodable(tables::WORKER_NAMES, key, "its number is too large"))?;
        self.worker(WorkerId(number))
    }

    /// The metadata of a worker, as given when it last registered with any; `None` if there is no
    /// worker of this number.
    ///
    /// ```
    /// # use milepost::Store;
    /// # let store = Store::in_memory()?;
    /// use milepost::NewWorker;
    ///
    /// let worker = store.register_worker(NewWorker::new("pc-01").metadata("os", "linux"))?;
    /// let metadata = store.snapshot()?.worker_metadata(worker.id())?.expect("it exists");
    /// assert_eq!(metadata["os"], "linux");
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Error::Storage` or `Error::Corrupted` if the database cannot be read.
    pub fn worker_metadata(&self, id: WorkerId) -> Result<Option<BTreeMap<String, String>>> {
        let row: Option<WorkerRow> = load(self.txn(), &key::worker(id))?;
        Ok(row.map(|row| row.metadata))
    }

    /// Workers that were seen at or after a time, with the totals of what they finished since, by
    /// number: at most `limit` of them, starting after `after`. For the next page, pass the last id
    /// returned. The cost of a page depends on the number of workers it reads, active or not.
    ///
    /// These totals come from history: batches that retention has removed from it are missing.
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
    /// let an_hour_ago = store.now().saturating_sub(Duration::from_secs(3_600));
    /// let active = view.active_since(an_hour_ago, None, 100)?;
    /// assert_eq!((active[0].recent.items, active[0].leases), (40, 1));
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Error::Storage` or `Error::Corrupted` if the database cannot be read.
    pub fn active_since(
        &self,
        since: Timestamp,
        mut after: Option<WorkerId>,
        limit: usize,
    ) -> Result<Vec<ActiveWorker>> {
        let mut seen = Vec::new();
        while seen.len() < limit {
            let step = self.workers(after, STEP)?;
            let Some(last) = step.last() else { break };
            after = Some(last.id);
            seen.extend(step.into_iter().filter(|worker| worker.last_seen >= since));
        }
        seen.truncate(limit);
        let (Some(first), Some(last)) = (seen.first(), seen.last()) else { return Ok(Vec::new()) };
        let finished = self.live_since(since, &(first.id..=last.id))?;
        let active = |WorkerInfo { id, name, kind, last_seen, .. }| {
            let recent = finished.get(&id).copied().unwrap_or_default();
            let leases = self.held_by(id)?;
            Ok(ActiveWorker { worker: id, name, kind, last_seen, recent, leases })
        };
        seen.into_iter().map(active).collect()
    }

    /// The totals of what the whole fleet finished at or after a time and that is still in history.
    /// For the rate of the fleet, see [`fleet_rate`](Snapshot::fleet_rate).
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
    /// let an_hour_ago = store.now().saturating_sub(Duration::from_secs(3_600));
    /// assert_eq!(view.finished_since(an_hour_ago)?.totals.items, 40);
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Error::Storage` or `Error::Corrupted` if the database cannot be read.
    pub fn finished_since(&self, since: Timestamp) -> Result<FinishedSince> {
        let finished = self.live_since(since, &EVERYBODY)?;
        let mut totals = Totals::default();
        finished.values().try_for_each(|one| add(&mut totals, one))?;
        let mut reaches_back_to = None;
        self.scan(tables::HISTORY, ALL, Order::Ascending, |key, value| {
            let row: HistoryRow = rows::decoded(tables::HISTORY, key, value)?;
            reaches_back_to = Some(row.batch.finished_at);
            Ok(ControlFlow::Break(()))
        })?;
        Ok(FinishedSince { workers: finished.len() as u64, totals, reaches_back_to })
    }

    /// How many jobs a worker holds.
    fn held_by(&self, worker: WorkerId) -> Result<u64> {
        let mut held = 0;
        let under = key::Under::new(key::worker(worker));
        self.scan(tables::JOB_HOLDERS, under.range(), Order::Ascending, |key, _| {
            rows::parsed(tables::JOB_HOLDERS, key, key::as_holder)?;
            held += 1;
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(held)
    }

    /// A worker as returned to callers. Checkpoints do not write its row, so `last_seen` also takes
    /// the newest of its records into account, in history or in its lifetime.
    fn info(&self, id: WorkerId, row: WorkerRow, live: &Sums) -> Result<WorkerInfo> {
        let archived = tiers::lifetime(self.txn(), id)?.totals.last_at;
        let live = live.of(&(id..=id)).iter().filter_map(|sum| sum.totals.last_at).max();
        Ok(WorkerInfo {
            id,
            name: row.name,
            kind: row.kind,
            first_seen: row.first_seen,
            last_seen: [archived, live].into_iter().flatten().fold(row.last_seen, Timestamp::max),
            last_prefix: row.last_prefix.map(Prefix),
        })
    }
}
