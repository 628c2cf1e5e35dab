//! Imports: records from elsewhere, added to the tiers once.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::error::Error;
use crate::rules::history::HistoryTail;
use crate::rules::outcome::Applied;
use crate::rules::tiers::{self, Fold};
use crate::rules::workers::known_worker;
use crate::schema::codec;
use crate::schema::rows::{Control, HistoryRow, ImportRow};
use crate::schema::tables::{self, load, store};
use crate::storage::Write;
use crate::types::{Import, ImportOutcome, ImportRecord, PastBatch, Totals, WorkerId};

/// Adds records from elsewhere to the tiers, unless their source has reached their number already.
pub(crate) fn import(
    txn: &mut dyn Write,
    control: &Control,
    tail: &mut HistoryTail,
    import: &Import,
) -> Applied<ImportOutcome> {
    let digest = codec::digest(import);
    let key = tables::import_key(&import.source);
    if let Some(last) = load::<ImportRow>(txn, &key)?
        && import.number <= last.number
    {
        if import.number == last.number && digest != last.digest {
            let source_name = import.source.clone();
            return Err(Error::ImportAltered { source_name, number: import.number }.into());
        }
        return Ok(ImportOutcome::AlreadyApplied);
    }
    let folds = add_up(txn, &import.records)?;

    for record in &import.records {
        if let ImportRecord::History(batch) = record {
            tail.append(txn, &history_row(batch))?;
        }
    }
    for (worker, fold) in &folds {
        if !fold.is_empty() {
            tail.fold(txn, &control.caps, *worker, fold)?;
        }
    }
    store(txn, &key, &ImportRow { number: import.number, digest })?;
    Ok(ImportOutcome::Applied)
}

/// Adds up what the records add to the tiers of each worker. Refuses unknown workers and totals
/// that are too large.
fn add_up(txn: &dyn Write, records: &[ImportRecord]) -> Applied<BTreeMap<WorkerId, Fold>> {
    let mut folds: BTreeMap<WorkerId, (Totals, Fold)> = BTreeMap::new();
    for record in records {
        let worker = record.worker();
        let (held, fold) = match folds.entry(worker) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                known_worker(txn, worker)?;
                new.insert((tiers::lifetime(txn, worker)?.totals, Fold::default()))
            }
        };
        let totals = match record {
            ImportRecord::History(_) => continue,
            ImportRecord::Daily(_, _, totals)
            | ImportRecord::Monthly(_, _, totals)
            | ImportRecord::Lifetime(_, totals) => totals,
        };
        check_fits(held, totals)?;
        held.merge(totals);
        match record {
            ImportRecord::History(_) => {}
            ImportRecord::Daily(_, day, totals) => fold.add_day(*day, totals),
            ImportRecord::Monthly(_, month, totals) => fold.add_month(*month, totals),
            ImportRecord::Lifetime(_, totals) => fold.lifetime.merge(totals),
        }
    }
    Ok(folds.into_iter().map(|(worker, (_, fold))| (worker, fold)).collect())
}

fn history_row(batch: &PastBatch) -> HistoryRow {
    HistoryRow {
        worker: batch.worker,
        job: batch.job,
        start: batch.start,
        end: batch.end,
        items: batch.items,
        duration_us: batch.duration_us,
        finished_at: batch.finished_at,
        completed: false,
        error: batch.error.clone(),
    }
}

/// What a worker's totals may reach by imports: half of what fits, so that the batches still to
/// come, each bounded by 64 bits, can never overflow them.
const MOST_BATCHES: u64 = u64::MAX / 2;
const MOST_AMOUNT: u128 = u128::MAX / 2;

fn check_fits(held: &Totals, more: &Totals) -> Result<(), Error> {
    let count = |a: u64, b: u64| a.checked_add(b).is_some_and(|sum| sum <= MOST_BATCHES);
    let amount = |a: u128, b: u128| a.checked_add(b).is_some_and(|sum| sum <= MOST_AMOUNT);
    if count(held.batches, more.batches)
        && count(held.errors, more.errors)
        && amount(held.items, more.items)
        && amount(held.duration_us, more.duration_us)
    {
        return Ok(());
    }
    Err(Error::invalid("the import would make a worker's totals too large to add up exactly"))
}
