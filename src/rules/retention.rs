//! The retention engine: keeps history and tiers within their caps, in the transaction that made
//! them grow.
//!
//! Records are taken from history oldest first, added up in memory per worker and day, folded
//! once into daily, monthly and lifetime, and deleted, all in one transaction. Work that a
//! lowered cap or a deleted job leaves behind is done in bounded steps, one with each commit.

use std::collections::BTreeMap;
use std::ops::ControlFlow;

use crate::config::CapsChange;
use crate::rules::jobs::sweep_findings;
use crate::rules::outcome::step;
use crate::rules::tiers::{self, Fold};
use crate::schema::key;
use crate::schema::rows::{Control, HistoryRow, LifetimeRow};
use crate::schema::tables::{ALL, each, first_key, history_ends, parsed, store, undecodable};
use crate::storage::{EngineResult, KeyRange, Order, Table, Write};
use crate::types::WorkerId;

/// History as one transaction sees it: ids have no gaps, so its ends tell its length.
#[derive(Debug, Default)]
pub(crate) struct HistoryTail {
    /// First and next id, once they were looked up.
    ends: Option<(u64, u64)>,
    added: u64,
}

impl HistoryTail {
    fn ends(&mut self, txn: &dyn Write) -> EngineResult<(u64, u64)> {
        if let Some(ends) = self.ends {
            return Ok(ends);
        }
        let ends = history_ends(txn)?.map_or((1, 1), |(first, last)| (first, last + 1));
        self.ends = Some(ends);
        Ok(ends)
    }

    /// Adds a record under the next id.
    pub(crate) fn append(&mut self, txn: &mut dyn Write, row: &HistoryRow) -> EngineResult<()> {
        let (first, next) = self.ends(txn)?;
        store(txn, &key::number(next), row)?;
        self.ends = Some((first, next + 1));
        self.added += 1;
        Ok(())
    }
}

/// What retention did in one transaction.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Evicted {
    pub(crate) records: u64,
}

/// Brings history within its cap (or closer to it, where a lowered cap is being reached), and
/// takes a step of whatever else is left over.
pub(crate) fn settle(
    txn: &mut dyn Write,
    control: &mut Control,
    tail: &mut HistoryTail,
) -> EngineResult<Evicted> {
    let mut evicted = Evicted::default();
    if tail.added > 0 || control.history_settling {
        evicted.records = evict(txn, control, tail)?;
    }
    settle_workers(txn, control)?;
    sweep_findings(txn, control)?;
    Ok(evicted)
}

/// Moves the oldest records over the cap into the tiers: at least as many as were added.
fn evict(txn: &mut dyn Write, control: &mut Control, tail: &mut HistoryTail) -> EngineResult<u64> {
    let (first, next) = tail.ends(txn)?;
    let over = (next - first).saturating_sub(control.caps.history.into());
    let leaving =
        over.min(tail.added + if control.history_settling { step(txn) as u64 } else { 0 });
    if leaving > 0 {
        let folds = fold_oldest(txn, first, leaving)?;
        for id in first..first + leaving {
            txn.delete(Table::History, &key::number(id))?;
        }
        for (worker, fold) in &folds {
            tiers::apply(txn, &control.caps, *worker, fold, 0)?;
        }
        tail.ends = Some((first + leaving, next));
    }
    if leaving == over {
        control.history_settling = false;
    }
    Ok(leaving)
}

/// Adds up the oldest records per worker and day.
fn fold_oldest(
    txn: &dyn Write,
    first: u64,
    leaving: u64,
) -> EngineResult<BTreeMap<WorkerId, Fold>> {
    let mut folds: BTreeMap<WorkerId, Fold> = BTreeMap::new();
    let mut expected = first;
    each(txn, ALL, Order::Ascending, |key, row: HistoryRow| {
        if expected == first + leaving || key::as_number(key) != Some(expected) {
            return ControlFlow::Break(());
        }
        expected += 1;
        folds.entry(row.worker).or_default().add_day(row.finished_at.day(), &row.totals());
        if expected == first + leaving { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    })?;
    if expected < first + leaving {
        return Err(undecodable(
            Table::History,
            &key::number(expected),
            "it is missing: ids have a gap",
        ));
    }
    Ok(folds)
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
