//! How days and months over a cap are removed: the oldest first, and each only once its totals are
//! included in the rolled part of the coarser row.
//!
//! A month is never removed before its days. If a month and its days are more rows than may be
//! removed, its oldest days are removed first, and the invariants of the tiers hold in between.

use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow, RangeBounds};

use super::rows::{Period, each, lifetime};
use crate::config::Caps;
use crate::schema::access::{missing, store, undecodable};
use crate::schema::key;
use crate::schema::rows::{DailyRow, LifetimeRow, Newest, Rolled};
use crate::schema::tables;
use crate::storage::{EngineError, EngineResult, Read, Write};
use crate::time::{Day, Month};
use crate::types::{Totals, WorkerId};

/// Removes up to `most` of a worker's days and months over the caps, and returns how many it
/// removed: fewer than `most` only if the worker is within its caps now.
pub(crate) fn shrink(
    txn: &mut dyn Write,
    caps: &Caps,
    worker: WorkerId,
    most: usize,
) -> EngineResult<usize> {
    let mut life = lifetime(txn, worker)?;
    let mut part = life.rolled.of(&life.totals);
    let mut removed = 0;
    while removed < most && life.months > caps.monthly {
        removed += remove_month(txn, worker, &mut life, &mut part, most - removed)?;
    }
    removed += remove_days(txn, caps, worker, &mut life, most - removed)?;
    if removed > 0 {
        life.rolled = Rolled::new(part, &life.totals);
        store(txn, &key::worker(worker), &life)?;
    }
    Ok(removed)
}

/// Removes a worker's oldest month and its days, or as many of these days as may be removed, which
/// is at least one. Adds the month's totals to `rolled`, the rolled part of the lifetime. Returns
/// how many rows it removed.
pub(super) fn remove_month(
    txn: &mut dyn Write,
    worker: WorkerId,
    life: &mut LifetimeRow,
    rolled: &mut Totals,
    most: usize,
) -> EngineResult<usize> {
    let months = first(txn, worker, life, &older_than_newest::<Month>(life), 1)?;
    let Some(&(month, row)) = months.first() else { return Err(miscounted(worker, "more months")) };
    let days = first(txn, worker, life, &(month.first_day()..=month.last_day()), most)?;
    if days.len() == most {
        roll_days(txn, worker, life, &days)?;
        return Ok(most);
    }
    for (day, _) in &days {
        delete_day(txn, worker, life, *day)?;
    }
    rolled.merge(&row.totals);
    txn.delete(tables::MONTHLY, &key::month(worker, month))?;
    life.months -= 1;
    Ok(days.len() + 1)
}

/// Removes the oldest days over the cap, at most `most`, and returns how many.
pub(super) fn remove_days(
    txn: &mut dyn Write,
    caps: &Caps,
    worker: WorkerId,
    life: &mut LifetimeRow,
    most: usize,
) -> EngineResult<usize> {
    let leaving = most.min(life.days.saturating_sub(caps.daily) as usize);
    if leaving == 0 {
        return Ok(0);
    }
    let days = first(txn, worker, life, &older_than_newest::<Day>(life), leaving)?;
    if days.len() < leaving {
        return Err(miscounted(worker, "more days"));
    }
    roll_days(txn, worker, life, &days)?;
    Ok(leaving)
}

/// Adds days to the rolled parts of their months, and removes them.
fn roll_days(
    txn: &mut dyn Write,
    worker: WorkerId,
    life: &mut LifetimeRow,
    days: &[(Day, DailyRow)],
) -> EngineResult<()> {
    let mut months: BTreeMap<Month, Totals> = BTreeMap::new();
    for (day, row) in days {
        months.entry(day.month()).or_default().merge(&row.0);
    }
    for (month, totals) in months {
        let row = life.month.load(txn, worker, month)?;
        let mut row = row.ok_or_else(|| missing(tables::MONTHLY, &month.key(worker)))?;
        let mut part = row.rolled.of(&row.totals);
        part.merge(&totals);
        row.rolled = Rolled::new(part, &row.totals);
        life.month.store(txn, worker, month, row)?;
    }
    for (day, _) in days {
        delete_day(txn, worker, life, *day)?;
    }
    Ok(())
}

fn delete_day(
    txn: &mut dyn Write,
    worker: WorkerId,
    life: &mut LifetimeRow,
    day: Day,
) -> EngineResult<()> {
    life.days = life.days.checked_sub(1).ok_or_else(|| miscounted(worker, "fewer days"))?;
    if life.day.0.is_some_and(|(newest, _)| newest == day) {
        // Days are removed oldest first: there is none left in the table.
        life.day = Newest(None);
        return Ok(());
    }
    txn.delete(tables::DAILY, &key::day(worker, day))
}

/// The first rows of a worker within a range of periods, at most `most`.
fn first<P: Period>(
    txn: &(impl Read + ?Sized),
    worker: WorkerId,
    life: &LifetimeRow,
    periods: &impl RangeBounds<P>,
    most: usize,
) -> EngineResult<Vec<(P, P::Row)>> {
    let mut rows = Vec::new();
    each(txn, worker, life, periods, |period, row| {
        rows.push((period, row));
        let more = rows.len() < most;
        Ok::<_, EngineError>(if more { ControlFlow::Continue(()) } else { ControlFlow::Break(()) })
    })?;
    Ok(rows)
}

/// All periods before the newest, which is never over a cap, since caps are at least 1.
fn older_than_newest<P: Period>(life: &LifetimeRow) -> (Bound<P>, Bound<P>) {
    let newest = P::newest(life).0.map(|(newest, _)| newest);
    (Bound::Unbounded, newest.map_or(Bound::Unbounded, Bound::Excluded))
}

/// The error for a lifetime with a wrong count of rows: pruning by it might never end.
fn miscounted(worker: WorkerId, how: &str) -> EngineError {
    undecodable(tables::LIFETIME, &key::worker(worker), &format!("it counts {how} than there are"))
}
