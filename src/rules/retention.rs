//! Retention: keeps history and tiers within their caps, in the transaction that made them grow.
//!
//! Records leave history oldest first: they are added up in memory per worker and day, added once
//! to daily, monthly and lifetime, and deleted, all in one transaction.
//!
//! After a cap was lowered or a job deleted, the rows are removed in steps, one with each commit: a
//! commit removes at most [`STEP`] rows more than it adds. The one exception is a month that
//! begins: it removes the oldest month with its days, at most 31.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crate::config::{Caps, CapsChange};
use crate::error::Error;
use crate::rules::contain::{Shared, Transaction, contained};
use crate::rules::findings::sweep_findings;
use crate::rules::history::{Cost, HistoryTail};
use crate::rules::tiers::{self, Fold};
use crate::schema::access::{ALL, each, first_key, parsed, undecodable};
use crate::schema::key;
use crate::schema::rows::{Control, HistoryRow};
use crate::schema::tables;
use crate::storage::{EngineError, EngineResult, KeyRange, Order, Write};
use crate::types::WorkerId;

/// Brings history within its cap (or closer to it, after the cap was lowered), and does one step of
/// the other work that is left. Returns an error if a damaged row prevents some of it: that row
/// stays, and so do the rows that cannot be removed without it.
pub(super) fn settle(
    txn: &mut Transaction<'_>,
    shared: &mut Shared,
) -> EngineResult<Option<Error>> {
    let mut left_over = None;
    if shared.tail.added > 0 || shared.control.history_settling {
        let evicted = contained(txn, shared, |txn, Shared { control, tail }| {
            Ok(evict(txn, control, tail)?.map(Error::from))
        })?;
        left_over = evicted.unwrap_or_else(Some);
        // Later commits, and `settle()`, have to try again.
        shared.control.history_settling |= left_over.is_some();
    }
    left_over = left_over.or(settle_workers(txn, shared)?);
    if !shared.control.deleting.is_empty() {
        let swept = contained(txn, shared, |txn, Shared { control, tail }| {
            let findings = tail.spare(txn, FINDING);
            Ok(sweep_findings(txn, control, findings)?.map(Error::from))
        })?;
        left_over = left_over.or(swept.unwrap_or_else(Some));
    }
    Ok(left_over)
}

/// Moving one record out of history. It may begin a day and a month, and so remove an old day and a
/// month of 31 days.
const RECORD: Cost = Cost { rows: 32, operations: 40 };
/// Removing a day or month over its cap. Its month and its lifetime change, too.
const PERIOD: Cost = Cost { rows: 1, operations: 3 };
/// Removing a finding of a deleted job, with its entries in two indexes.
const FINDING: Cost = Cost { rows: 3, operations: 3 };

/// Moves the oldest records over the cap into the tiers: as many as were added, and a step more
/// after the cap was lowered. Stops at the first damaged record and returns its error.
fn evict(
    txn: &mut dyn Write,
    control: &mut Control,
    tail: &mut HistoryTail,
) -> EngineResult<Option<EngineError>> {
    let due = tail.over(txn, &control.caps)?.min(tail.added);
    let mut damage = evict_oldest(txn, &control.caps, tail, due)?;
    while control.history_settling && damage.is_none() {
        let over = tail.over(txn, &control.caps)?;
        // A few at a time, since the number of rows they remove is known only afterwards.
        let most = tail.spare(txn, RECORD) as u64;
        if over > 0 && most == 0 {
            break;
        }
        control.history_settling = over > most;
        damage = evict_oldest(txn, &control.caps, tail, over.min(most))?;
    }
    Ok(damage)
}

fn evict_oldest(
    txn: &mut dyn Write,
    caps: &Caps,
    tail: &mut HistoryTail,
    wanted: u64,
) -> EngineResult<Option<EngineError>> {
    let (first, next) = tail.ends(txn)?;
    let Oldest { folds, end, damage } = fold_oldest(txn, first, wanted)?;
    for id in first..end {
        txn.delete(tables::HISTORY, &key::number(id))?;
    }
    tail.ends = Some((end, next));
    tail.rows.removed += (end - first) as usize;
    for (worker, fold) in &folds {
        tail.fold(txn, caps, *worker, fold)?;
    }
    if end > first {
        tracing::trace!(records = end - first, "history was folded");
    }
    Ok(damage)
}

/// The oldest records, added up.
struct Oldest {
    /// By worker and day.
    folds: BTreeMap<WorkerId, Fold>,
    /// The id after the last one that was added up.
    end: u64,
    /// What is wrong with the next record, if that is why it is not included.
    damage: Option<EngineError>,
}

/// Adds up `wanted` of the oldest records, or those before the first damaged one.
fn fold_oldest(txn: &dyn Write, first: u64, wanted: u64) -> EngineResult<Oldest> {
    let mut folds: BTreeMap<WorkerId, Fold> = BTreeMap::new();
    let mut end = first;
    if wanted == 0 {
        return Ok(Oldest { folds, end, damage: None });
    }
    let scanned = each(txn, ALL, Order::Ascending, |key, HistoryRow { batch, .. }| {
        if key::as_number(key) != Some(end) {
            return ControlFlow::Break(());
        }
        end += 1;
        folds.entry(batch.worker).or_default().add_day(batch.finished_at.day(), &batch.totals());
        if end == first + wanted { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let damage = match scanned {
        Err(damage @ EngineError::DamagedRow(_)) => Some(damage),
        Err(error) => return Err(error),
        Ok(()) if end == first + wanted => None,
        Ok(()) => {
            Some(undecodable(tables::HISTORY, &key::number(end), "it is missing: ids have a gap"))
        }
    };
    Ok(Oldest { folds, end, damage })
}

/// How many workers one step visits, whether or not they have rows over a cap.
const WORKERS_A_STEP: usize = 1024;

/// Brings the next workers under lowered caps on days and months, a step of rows at a time, but
/// none from the first one on whose rows are damaged. Returns what is wrong with that one.
fn settle_workers(txn: &mut Transaction<'_>, shared: &mut Shared) -> EngineResult<Option<Error>> {
    for _ in 0..WORKERS_A_STEP {
        let Some(worker) = shared.control.workers_settling else { break };
        let settled = contained(txn, shared, |txn, Shared { control, tail }| {
            let most = tail.spare(txn, PERIOD);
            let removed = tiers::shrink(txn, &control.caps, worker, most)?;
            tail.rows.removed += removed;
            let is_settled = removed < most;
            if is_settled {
                control.workers_settling = worker_after(txn, worker)?;
            }
            Ok(is_settled)
        })?;
        match settled {
            Ok(true) => {}
            Ok(false) => break,
            Err(error) => return Ok(Some(error)),
        }
    }
    Ok(None)
}

fn worker_after(txn: &dyn Write, worker: WorkerId) -> EngineResult<Option<WorkerId>> {
    let key = key::worker(worker);
    first_with_lifetime(txn, (std::ops::Bound::Excluded(&key[..]), std::ops::Bound::Unbounded))
}

/// The first worker of a range that has a lifetime.
fn first_with_lifetime(txn: &dyn Write, range: KeyRange<'_>) -> EngineResult<Option<WorkerId>> {
    let Some(key) = first_key(txn, tables::LIFETIME, range, Order::Ascending)? else {
        return Ok(None);
    };
    parsed(tables::LIFETIME, &key, key::as_worker).map(Some)
}

/// Stores new caps. Lowered ones are reached in steps that begin with this transaction.
pub(crate) fn set_caps(
    txn: &dyn Write,
    control: &mut Control,
    change: CapsChange,
) -> EngineResult<()> {
    let caps = change.apply(control.caps);
    if caps.history < control.caps.history {
        control.history_settling = true;
    }
    if caps.daily < control.caps.daily || caps.monthly < control.caps.monthly {
        control.workers_settling = first_with_lifetime(txn, ALL)?;
    }
    control.caps = caps;
    Ok(())
}
