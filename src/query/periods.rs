//! Queries of days, months and lifetimes: of a worker, a kind, or the fleet.

use std::collections::BTreeMap;
use std::ops::{ControlFlow, RangeBounds};

use super::chunks::add;
use super::{Scope, Snapshot};
use crate::error::{Error, Result};
use crate::rules::tiers;
use crate::time::{Day, Month};
use crate::types::Totals;

/// The totals of one UTC day.
///
/// If the row of the day was removed from the daily tier and a late record then created it again,
/// it holds only the late records. Its month includes everything.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct DayStats {
    /// The day.
    pub day: Day,
    /// Its totals, including live batches in the default form of a snapshot.
    pub totals: Totals,
}

/// The totals of one UTC month.
///
/// If the row of the month was removed from the monthly tier and a late record then created it
/// again, it holds only the late records. The lifetime includes everything.
#[derive(Debug, Clone, Copy, PartialEq)]
#[non_exhaustive]
pub struct MonthStats {
    /// The month.
    pub month: Month,
    /// Its totals, including live batches in the default form of a snapshot.
    pub totals: Totals,
    /// The archived part of the totals that has no row in the daily tier: it was removed, or was
    /// never there.
    pub rolled: Totals,
}

/// The totals since the beginning.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
#[non_exhaustive]
pub struct LifetimeStats {
    /// All totals, including live batches in the default form of a snapshot.
    pub totals: Totals,
    /// The archived part of the totals that has no row in the monthly tier: it was removed, or was
    /// never there.
    pub rolled: Totals,
}

impl Snapshot {
    /// The totals of each day of a range, the oldest day first, added up over the workers of the
    /// scope. Days without batches, or whose rows were removed from the daily tier, are left out.
    ///
    /// ```
    /// # use milepost::{Day, Scope, Store};
    /// # let store = Store::in_memory()?;
    /// # let worker = store.register_worker("pc-01")?;
    /// let view = store.snapshot()?;
    /// let february = view.daily(&worker, "2026-02-01".parse::<Day>()?.."2026-03-01".parse()?)?;
    /// let everything = view.daily(Scope::Fleet, ..)?;
    /// # assert!(february.is_empty() && everything.is_empty());
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Error::Storage` or `Error::Corrupted` if the database cannot be read.
    pub fn daily(
        &self,
        scope: impl Into<Scope>,
        days: impl RangeBounds<Day>,
    ) -> Result<Vec<DayStats>> {
        let mut sums: BTreeMap<Day, Totals> = BTreeMap::new();
        for worker in self.workers_in(&scope.into())? {
            let life = tiers::lifetime(self.txn(), worker)?;
            tiers::each(self.txn(), worker, &life, &days, |day: Day, row| {
                add(sums.entry(day).or_default(), &row.0)?;
                Ok::<_, Error>(ControlFlow::Continue(()))
            })?;
            for live in self.live_days(worker)?.iter().filter(|live| days.contains(&live.day)) {
                add(sums.entry(live.day).or_default(), &live.totals)?;
            }
        }
        Ok(sums.into_iter().map(|(day, totals)| DayStats { day, totals }).collect())
    }

    /// The totals of each month of a range, the oldest month first, added up over the workers of
    /// the scope. Months without batches, or whose rows were removed from the monthly tier, are
    /// left out.
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
    /// use milepost::Scope;
    ///
    /// assert_eq!(view.monthly(Scope::Fleet, ..)?[0].totals.items, 40);
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Error::Storage` or `Error::Corrupted` if the database cannot be read.
    pub fn monthly(
        &self,
        scope: impl Into<Scope>,
        months: impl RangeBounds<Month>,
    ) -> Result<Vec<MonthStats>> {
        let mut sums: BTreeMap<Month, (Totals, Totals)> = BTreeMap::new();
        for worker in self.workers_in(&scope.into())? {
            let life = tiers::lifetime(self.txn(), worker)?;
            tiers::each(self.txn(), worker, &life, &months, |month: Month, row| {
                let (totals, rolled) = sums.entry(month).or_default();
                add(totals, &row.totals)?;
                add(rolled, &row.rolled.of(&row.totals))?;
                Ok::<_, Error>(ControlFlow::Continue(()))
            })?;
            for live in self.live_days(worker)?.iter() {
                let month = live.day.month();
                if months.contains(&month) {
                    add(&mut sums.entry(month).or_default().0, &live.totals)?;
                }
            }
        }
        Ok(sums
            .into_iter()
            .map(|(month, (totals, rolled))| MonthStats { month, totals, rolled })
            .collect())
    }

    /// The totals since the beginning, added up over the workers of the scope.
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
    /// let totals = view.lifetime(&worker)?.totals;
    /// assert_eq!((totals.batches, totals.items), (1, 40));
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Error::Storage` or `Error::Corrupted` if the database cannot be read.
    pub fn lifetime(&self, scope: impl Into<Scope>) -> Result<LifetimeStats> {
        let mut sum = LifetimeStats::default();
        for worker in self.workers_in(&scope.into())? {
            let row = tiers::lifetime(self.txn(), worker)?;
            add(&mut sum.totals, &row.totals)?;
            self.live_days(worker)?
                .iter()
                .try_for_each(|live| add(&mut sum.totals, &live.totals))?;
            add(&mut sum.rolled, &row.rolled.of(&row.totals))?;
        }
        Ok(sum)
    }

    /// The day with the most items, the earliest of equal ones; `None` if there are no days.
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
    /// let best = view.best_day(&worker)?.expect("there is a day");
    /// assert_eq!(best.day, store.now().day());
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Error::Storage` or `Error::Corrupted` if the database cannot be read.
    pub fn best_day(&self, scope: impl Into<Scope>) -> Result<Option<DayStats>> {
        Ok(best(self.daily(scope, ..)?, |day| day.totals.items))
    }

    /// The month with the most items, the earliest of equal ones; `None` if there are no months.
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
    /// let best = view.best_month(&worker)?.expect("there is a month");
    /// assert_eq!(best.month, store.now().day().month());
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Error::Storage` or `Error::Corrupted` if the database cannot be read.
    pub fn best_month(&self, scope: impl Into<Scope>) -> Result<Option<MonthStats>> {
        Ok(best(self.monthly(scope, ..)?, |month| month.totals.items))
    }
}

fn best<T>(periods: Vec<T>, items: impl Fn(&T) -> u128) -> Option<T> {
    periods.into_iter().reduce(|best, next| if items(&next) > items(&best) { next } else { best })
}
