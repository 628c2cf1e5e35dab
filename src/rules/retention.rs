//! The retention engine: keeps history and tiers within their caps, in the transaction that made
//! them grow.
//!
//! Records are taken from history oldest first, added up in memory per worker and day, folded
//! once into daily, monthly and lifetime, and deleted, all in one transaction. Work that a
//! lowered cap or a deleted job leaves behind is done in bounded steps, one with each commit.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crate::config::CapsChange;
use crate::error::Error;
use crate::rules::contain::{Shared, Transaction, contained};
use crate::rules::findings::sweep_findings;
use crate::rules::history::HistoryTail;
use crate::rules::outcome::step;
use crate::rules::tiers::{self, Fold};
use crate::schema::key;
use crate::schema::rows::{Control, HistoryRow, LifetimeRow};
use crate::schema::tables::{ALL, each, first_key, parsed, undecodable};
use crate::storage::{EngineError, EngineResult, KeyRange, Order, Table, Write};
use crate::types::WorkerId;

/// Brings history within its cap (or closer to it, where a lowered cap is being reached), and
/// takes a step of whatever else is left over. Returns why it left something undone, if it did: a
/// damaged row stays where it is, and so does what cannot be done without it.
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
    let steps = [settle_workers, sweep_findings];
    for step in steps {
        if let Err(error) =
            contained(txn, shared, |txn, shared| Ok(step(txn, &mut shared.control)?))?
        {
            left_over.get_or_insert(error);
        }
    }
    Ok(left_over)
}

/// Moves the oldest records over the cap into the tiers: at least as many as were added, but none
/// from the first damaged one on. Returns what is wrong with that one.
fn evict(
    txn: &mut dyn Write,
    control: &mut Control,
    tail: &mut HistoryTail,
) -> EngineResult<Option<EngineError>> {
    let (first, next) = tail.ends(txn)?;
    let over = (next - first).saturating_sub(control.caps.history.into());
    let wanted = over.min(tail.added + if control.history_settling { step(txn) as u64 } else { 0 });
    let Oldest { folds, end, damage } = fold_oldest(txn, first, wanted)?;
    for id in first..end {
        txn.delete(Table::History, &key::number(id))?;
    }
    for (worker, fold) in &folds {
        tiers::apply(txn, &control.caps, *worker, fold, 0)?;
    }
    tail.ends = Some((end, next));
    if end - first == over {
        control.history_settling = false;
    }
    tracing::trace!(records = end - first, "history was folded");
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

/// Adds up so many of the oldest records, or those before the first damaged one.
fn fold_oldest(txn: &dyn Write, first: u64, wanted: u64) -> EngineResult<Oldest> {
    let mut folds: BTreeMap<WorkerId, Fold> = BTreeMap::new();
    let mut end = first;
    if wanted == 0 {
        return Ok(Oldest { folds, end, damage: None });
    }
    let scanned = each(txn, ALL, Order::Ascending, |key, row: HistoryRow| {
        if key::as_number(key) != Some(end) {
            return ControlFlow::Break(());
        }
        end += 1;
        folds.entry(row.worker).or_default().add_day(row.finished_at.day(), &row.totals());
        if end == first + wanted { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    });
    let damage = match scanned {
        Err(damage @ EngineError::DamagedRow(_)) => Some(damage),
        Err(error) => return Err(error),
        Ok(()) if end == first + wanted => None,
        Ok(()) => {
            Some(undecodable(Table::History, &key::number(end), "it is missing: ids have a gap"))
        }
    };
    Ok(Oldest { folds, end, damage })
}

/// How many workers one step looks at, whether or not they have rows to give up.
const WORKERS_A_STEP: usize = 1024;

/// Brings the next workers under lowered caps on days and months, a step of rows at a time.
fn settle_workers(txn: &mut dyn Write, control: &mut Control) -> EngineResult<()> {
    let Some(from) = control.workers_settling else { return Ok(()) };
    let mut budget = step(txn);
    let mut next = Some(from);
    for _ in 0..WORKERS_A_STEP {
        let Some(worker) = next else { break };
        let life: LifetimeRow = tiers::lifetime(txn, worker)?;
        let over = life.days.saturating_sub(control.caps.daily) as usize
            + life.months.saturating_sub(control.caps.monthly) as usize;
        if over > 0 {
            if budget == 0 {
                break;
            }
            let within = tiers::apply(txn, &control.caps, worker, &Fold::default(), budget)?;
            budget = budget.saturating_sub(over);
            if !within {
                break;
            }
        }
        next = worker_after(txn, worker)?;
    }
    control.workers_settling = next;
    Ok(())
}

fn worker_after(txn: &dyn Write, worker: WorkerId) -> EngineResult<Option<WorkerId>> {
    let key = key::worker(worker);
    first_with_lifetime(txn, (std::ops::Bound::Excluded(&key[..]), std::ops::Bound::Unbounded))
}

/// The first worker of a range that has a lifetime.
fn first_with_lifetime(txn: &dyn Write, range: KeyRange<'_>) -> EngineResult<Option<WorkerId>> {
    let Some(key) = first_key(txn, Table::Lifetime, range, Order::Ascending)? else {
        return Ok(None);
    };
    parsed(Table::Lifetime, &key, key::as_worker).map(Some)
}

/// Takes other caps. Lowered ones are reached in steps that begin with this transaction.
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
