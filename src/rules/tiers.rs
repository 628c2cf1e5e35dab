//! The tiers: how records are added to days, months and lifetimes, and how rows over a cap are
//! removed.
//!
//! Two invariants hold after every commit, for every worker:
//! - a month's totals are its rolled part plus its days;
//! - the lifetime's totals are its rolled part plus the months.

mod prune;
mod rows;

use std::collections::BTreeMap;

use crate::config::Caps;
use crate::schema::access::store;
use crate::schema::key;
use crate::schema::rows::{DailyRow, MonthlyRow, Rolled};
use crate::storage::{EngineResult, Write};
use crate::time::{Day, Month};
use crate::types::{Totals, WorkerId};

pub(crate) use prune::shrink;
pub(crate) use rows::{Period, each, lifetime, misplaced};

/// Totals to add to one worker's tiers, summed in memory so that each row is written once.
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

/// How many rows were added and removed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct RowCounts {
    pub(crate) added: usize,
    pub(crate) removed: usize,
}

impl std::ops::AddAssign for RowCounts {
    fn add_assign(&mut self, more: RowCounts) {
        self.added += more.added;
        self.removed += more.removed;
    }
}

/// Adds a fold to a worker's tiers, then removes at most as many days and months over the caps as
/// it added, each month with its days. A worker that was within its caps stays within them, and one
/// that was not has no more rows than before.
pub(crate) fn apply(
    txn: &mut dyn Write,
    caps: &Caps,
    worker: WorkerId,
    fold: &Fold,
) -> EngineResult<RowCounts> {
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

    let new_days = life.days - days_before;
    let new_months = life.months - months_before;
    let mut removed = 0;
    for _ in 0..new_months.min(life.months.saturating_sub(caps.monthly)) {
        removed += prune::remove_month(txn, worker, &mut life, &mut part, usize::MAX)?;
    }
    removed += prune::remove_days(txn, caps, worker, &mut life, new_days as usize)?;
    life.rolled = Rolled::new(part, &life.totals);
    store(txn, &key::worker(worker), &life)?;
    Ok(RowCounts { added: (new_days + new_months) as usize, removed })
}
