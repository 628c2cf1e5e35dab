//! Comparisons of workers and kinds with each other and with their own past.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use super::chunks::add;
use super::{Scope, Snapshot};
use crate::error::{Error, Result};
use crate::schema::access::{ALL, load};
use crate::schema::key;
use crate::schema::rows::WorkerRow;
use crate::types::{Totals, WorkerId};

/// A place in the leaderboard.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct LeaderboardEntry {
    /// 1 for the first.
    pub rank: u64,
    /// The worker.
    pub worker: WorkerId,
    /// Its name.
    pub name: String,
    /// Its kind.
    pub kind: String,
    /// Its totals since the beginning.
    pub totals: Totals,
}

/// The totals of the workers of one kind.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub struct KindStats {
    /// The kind.
    pub kind: String,
    /// How many workers have this kind.
    pub workers: u64,
    /// Their totals since the beginning.
    pub totals: Totals,
}

/// A worker's current day, compared with its lifetime.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct Standing {
    /// The worker.
    pub worker: WorkerId,
    /// Its totals on the day of the snapshot.
    pub today: Totals,
    /// Its totals since the beginning, including today.
    pub lifetime: Totals,
    /// The share by which today's rate is below the lifetime's: 0.25 for a quarter slower, negative
    /// if it is faster. `None` if today or the lifetime has no rate, or the lifetime's is zero.
    pub drop: Option<f64>,
}

impl Snapshot {
    /// The workers by items handled, the one with the most first, at most `limit` of them. Equal
    /// ones are in the order of their numbers.
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
    /// let first = &view.leaderboard(10)?[0];
    /// assert_eq!((first.rank, first.name.as_str()), (1, "pc-01"));
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Error::Storage` or `Error::Corrupted` if the database cannot be read.
    pub fn leaderboard(&self, limit: usize) -> Result<Vec<LeaderboardEntry>> {
        let mut all = Vec::new();
        for worker in self.workers_in(&Scope::Fleet)? {
            all.push((worker, self.lifetime(worker)?.totals));
        }
        all.sort_by_key(|(worker, totals)| (Reverse(totals.items), *worker));
        let mut entries = Vec::new();
        for (rank, (id, totals)) in (1..).zip(all.into_iter().take(limit)) {
            let row: Option<WorkerRow> = load(self.txn(), &key::worker(id))?;
            entries.extend(row.map(|WorkerRow { name, kind, .. }| LeaderboardEntry {
                rank,
                worker: id,
                name,
                kind,
                totals,
            }));
        }
        Ok(entries)
    }

    /// The totals of each kind of worker, in the order of the kinds' names. A worker that changed
    /// its kind counts in full for its current one.
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
    /// let kinds = view.fleet_by_kind()?;
    /// assert_eq!((kinds[0].kind.as_str(), kinds[0].workers), ("worker", 1));
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Error::Storage` or `Error::Corrupted` if the database cannot be read.
    pub fn fleet_by_kind(&self) -> Result<Vec<KindStats>> {
        if !self.archived {
            self.live()?;
        }
        let mut kinds: BTreeMap<String, (u64, Totals)> = BTreeMap::new();
        self.each_row(ALL, key::as_worker, |id, row: WorkerRow| {
            let (workers, totals) = kinds.entry(row.kind).or_default();
            *workers += 1;
            add(totals, &self.lifetime(id)?.totals)
        })?;
        let stats = |(kind, (workers, totals))| KindStats { kind, workers, totals };
        Ok(kinds.into_iter().map(stats).collect())
    }

    /// A worker's current day (in UTC, by the store's clock), compared with its lifetime.
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
    /// assert_eq!(view.standing(worker.id())?.today.items, 40);
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Error::Storage` or `Error::Corrupted` if the database cannot be read.
    pub fn standing(&self, worker: WorkerId) -> Result<Standing> {
        let day = self.taken_at().day();
        let today = self.daily(worker, day..=day)?.pop().map(|day| day.totals).unwrap_or_default();
        let lifetime = self.lifetime(worker)?.totals;
        let rates = today.rate().zip(lifetime.rate());
        // A lifetime without items has a rate of zero, which nothing can be compared with.
        let drop = rates.filter(|(_, ever)| *ever > 0.0).map(|(today, ever)| 1.0 - today / ever);
        Ok(Standing { worker, today, lifetime, drop })
    }

    /// The workers whose rate today is below their lifetime's by more than `share`: 0.25 returns
    /// those that are more than a quarter slower. The slowest comes first, equal ones are in the
    /// order of their numbers, and at most `limit` are returned. Workers without a rate today or in
    /// their lifetime are left out.
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
    /// assert!(view.slowed(0.25, 10)?.is_empty(), "today is all there is");
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`Error::Invalid`] if the share is not between 0 and 1.
    /// - [`Error::Storage`] or [`Error::Corrupted`] if the database cannot be read.
    pub fn slowed(&self, share: f64, limit: usize) -> Result<Vec<Standing>> {
        if !(0.0..=1.0).contains(&share) {
            return Err(Error::invalid(format!("a share of {share} is not between 0 and 1")));
        }
        let mut slowed = Vec::new();
        for worker in self.workers_in(&Scope::Fleet)? {
            let standing = self.standing(worker)?;
            slowed.extend(standing.drop.filter(|drop| *drop > share).map(|drop| (drop, standing)));
        }
        slowed.sort_by(|(a, _), (b, _)| b.total_cmp(a));
        Ok(slowed.into_iter().take(limit).map(|(_, standing)| standing).collect())
    }
}
