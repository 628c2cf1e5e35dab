//! The law of the tiers: how records are added to days, months and lifetimes, and how rows over a
//! cap leave.
//!
//! At every commit point, for every worker:
//! - a month's totals are its rolled part plus its days;
//! - the lifetime's totals are its rolled part plus the months.

mod rows;

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crate::config::Caps;
use crate::schema::key;
use crate::schema::rows::{DailyRow, LifetimeRow, MonthlyRow, Newest, Rolled};
use crate::schema::tables::{self, keys, missing, store, undecodable};
use crate::storage::{EngineResult, Order, Table, Write};
use crate::time::{Day, Month};
use crate::types::{Totals, WorkerId};

pub(crate) use rows::{Period, each, lifetime, misplaced};

/// What is to be added to one worker's tiers, summed up in memory so that each row is written once.
#[derive(Debug, Default)]
pub(crate) struct Fold {
    pub(crate) days: BTreeMap<Day, Totals>,
    /// Totals that have no days of their own.
    pub(crate) months: BTreeMap<Month, Totals>,
    /// Totals that have no months of their own.
    pub(crate) lifetime: Totals,
}

impl Fold {
    pub(crate) fn add_day(&mut self, day: Day, totals: &Totals) {
        self.days.entry(day).or_default().merge(totals);
    }

    pub(crate) fn add_month(&mut self, month: Month, totals: &Totals) {
        self.months.entry(month).or_default().merge(totals);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.days.is_empty() && self.months.is_empty() && self.lifetime.is_empty()
    }
}

/// Adds a fold to a worker's tiers, then prunes at least as many rows as it added, and up to
/// `extra` more that were over a cap before. Says whether the worker is within its caps now.
pub(crate) fn apply(
    txn: &mut dyn Write,
    caps: &Caps,
    worker: WorkerId,
    fold: &Fold,
    extra: usize,
) -> EngineResult<bool> {
    let mut life = lifetime(txn, worker)?;
    let (days_before, months_before) = (life.days, life.months);
    let mut part = life.rolled.of(&life.totals);

    // What each month gains: its totals, and the part of them that has no days.
    let mut months: BTreeMap<Month, (Totals, Totals)> = BTreeMap::new();
    for (day, totals) in &fold.days {
        let mut row = life.day.load(txn, worker, *day)?.unwrap_or_else(|| {
            life.days += 1;
            DailyRow(Totals::default())
        });
        row.0.merge(totals);
        life.day.store(txn, worker, *day, row)?;
        months.entry(day.month()).or_default().0.merge(totals);
    }
    for (month, totals) in &fold.months {
        let gain = months.entry(*month).or_default();
        gain.0.merge(totals);
        gain.1.merge(totals);
    }
    for (month, (totals, rolled)) in &months {
        let mut row = life.month.load(txn, worker, *month)?.unwrap_or_else(|| {
            life.months += 1;
            MonthlyRow::default()
        });
        let mut part = row.rolled.of(&row.totals);
        part.merge(rolled);
        row.totals.merge(totals);
        row.rolled = Rolled::new(part, &row.totals);
        life.month.store(txn, worker, *month, row)?;
        life.totals.merge(totals);
    }
    part.merge(&fold.lifetime);
    life.totals.merge(&fold.lifetime);

    let new_days = (life.days - days_before) as usize;
    let new_months = (life.months - months_before) as usize;
    prune_days(txn, caps, worker, &mut life, new_days + extra)?;
    prune_months(txn, caps, worker, &mut life, &mut part, new_months + extra)?;
    life.rolled = Rolled::new(part, &life.totals);
    store(txn, &key::worker(worker), &life)?;
    Ok(life.days <= caps.daily && life.months <= caps.monthly)
}

/// Lets the oldest days over the cap go, at most so many. Their totals stay in their months. The
/// newest is never one of them, since every cap is at least 1.
fn prune_days(
    txn: &mut dyn Write,
    caps: &Caps,
    worker: WorkerId,
    life: &mut LifetimeRow,
    most: usize,
) -> EngineResult<()> {
    let over = life.days.saturating_sub(caps.daily) as usize;
    let leaving = over.min(most);
    if leaving == 0 {
        return Ok(());
    }
    let mut months: BTreeMap<Month, Totals> = BTreeMap::new();
    let mut days = Vec::with_capacity(leaving);
    let under = key::Under::new(key::worker(worker));
    let mut broken = None;
    tables::each(txn, under.range(), Order::Ascending, |key, row: DailyRow| {
        let Some((_, day)) = key::as_day(key) else {
            broken = Some(undecodable(Table::Daily, key, "its key is no day"));
            return ControlFlow::Break(());
        };
        months.entry(day.month()).or_default().merge(&row.0);
        days.push(day);
        if days.len() < leaving { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    broken.map_or(Ok(()), Err)?;
    check_count(worker, "days", days.len(), leaving)?;
    for (month, totals) in months {
        let row = life.month.load(txn, worker, month)?;
        let mut row = row.ok_or_else(|| missing(Table::Monthly, &month.key(worker)))?;
        let mut part = row.rolled.of(&row.totals);
        part.merge(&totals);
        row.rolled = Rolled::new(part, &row.totals);
        life.month.store(txn, worker, month, row)?;
    }
    for day in &days {
        txn.delete(Table::Daily, &key::day(worker, *day))?;
    }
    life.days -= days.len() as u32;
    Ok(())
}

/// A lifetime that counts more rows than there are would be pruned for ever.
fn check_count(worker: WorkerId, what: &str, found: usize, counted: usize) -> EngineResult<()> {
    if found < counted {
        let why = format!("it counts more {what} than there are");
        return Err(undecodable(Table::Lifetime, &key::worker(worker), &why));
    }
    Ok(())
}

/// Lets the oldest months over the cap go, at most so many, and with each the days it still has.
/// Their totals stay in the lifetime.
fn prune_months(
    txn: &mut dyn Write,
    caps: &Caps,
    worker: WorkerId,
    life: &mut LifetimeRow,
    rolled: &mut Totals,
    most: usize,
) -> EngineResult<()> {
    let over = life.months.saturating_sub(caps.monthly) as usize;
    let leaving = over.min(most);
    if leaving == 0 {
        return Ok(());
    }
    let mut months = Vec::with_capacity(leaving);
    let under = key::Under::new(key::worker(worker));
    let mut broken = None;
    tables::each(txn, under.range(), Order::Ascending, |key, row: MonthlyRow| {
        let Some((_, month)) = key::as_month(key) else {
            broken = Some(undecodable(Table::Monthly, key, "its key is no month"));
            return ControlFlow::Break(());
        };
        rolled.merge(&row.totals);
        months.push(month);
        if months.len() < leaving { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    broken.map_or(Ok(()), Err)?;
    check_count(worker, "months", months.len(), leaving)?;
    for month in &months {
        let first = key::day(worker, month.first_day());
        let last = key::day(worker, month.last_day());
        let range = (std::ops::Bound::Included(&first[..]), std::ops::Bound::Included(&last[..]));
        for day in keys(txn, Table::Daily, range, Order::Ascending, 31)? {
            txn.delete(Table::Daily, &day)?;
            life.days = life.days.saturating_sub(1);
        }
        if life.day.0.is_some_and(|(day, _)| day.month() <= *month) {
            life.day = Newest(None);
            life.days = life.days.saturating_sub(1);
        }
        txn.delete(Table::Monthly, &key::month(worker, *month))?;
    }
    life.months -= months.len() as u32;
    Ok(())
}
