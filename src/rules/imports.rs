//! Imports: records from other systems, each added to the tiers once.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::error::Error;
use crate::rules::history::HistoryTail;
use crate::rules::outcome::Applied;
use crate::rules::tiers::Fold;
use crate::rules::workers::known_worker;
use crate::schema::access::{load, store};
use crate::schema::codec;
use crate::schema::meta;
use crate::schema::rows::{Control, CountersRow, HistoryRow, ImportRow, ImportedRow};
use crate::storage::Write;
use crate::time::Timestamp;
use crate::types::{Counters, Import, ImportOutcome, ImportRecord, Totals, WorkerId};

/// Adds imported records to the tiers, unless their source already has an import of this number or
/// a higher one.
pub(crate) fn import(
    txn: &mut dyn Write,
    control: &Control,
    tail: &mut HistoryTail,
    import: &Import,
) -> Applied<ImportOutcome> {
    let digest = codec::digest(import);
    let key = meta::import_key(&import.source);
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
    let ImportedRow(before) = load(txn, meta::IMPORTED_KEY)?.unwrap_or_default();
    let imported = import.records.iter().filter_map(ImportRecord::totals).try_fold(before, with)?;

    for record in &import.records {
        if let ImportRecord::History(batch) = record {
            tail.append(txn, &HistoryRow { batch: batch.clone() })?;
        }
    }
    for (worker, fold) in &folds {
        if !fold.is_empty() {
            tail.fold(txn, &control.caps, *worker, fold)?;
        }
    }
    if imported != before {
        store(txn, meta::IMPORTED_KEY, &ImportedRow(imported))?;
    }
    store(txn, &key, &ImportRow { number: import.number, digest })?;
    Ok(ImportOutcome::Applied)
}

/// Adds what a worker has counted since its last report to its current day. Returns what that was.
pub(crate) fn report(
    txn: &mut dyn Write,
    control: &Control,
    tail: &mut HistoryTail,
    now: Timestamp,
    worker: WorkerId,
    counters: &Counters,
) -> Applied<Totals> {
    known_worker(txn, worker)?;
    let key = meta::counters_key(worker);
    let last: Option<CountersRow> = load(txn, &key)?;
    let added = match last {
        Some(CountersRow(last)) if last.session == counters.session => counters.since(&last)?,
        _ => counters.clone(),
    };
    let Counters { batches, errors, items, duration_us, .. } = added;
    if (batches, errors, items, duration_us) == (0, 0, 0, 0) {
        return Ok(Totals::default());
    }
    let mut totals = Totals::new(batches.max(1), items).with_errors(errors).with_times(now, now);
    totals.duration_us = duration_us;
    if errors > totals.batches {
        let why = format!("a report adds {errors} errors in {} batches", totals.batches);
        return Err(Error::invalid(why).into());
    }
    let ImportedRow(before) = load(txn, meta::IMPORTED_KEY)?.unwrap_or_default();
    let imported = with(before, &totals)?;
    let mut fold = Fold::default();
    fold.add_day(now.day(), &totals);
    tail.fold(txn, &control.caps, worker, &fold)?;
    store(txn, meta::IMPORTED_KEY, &ImportedRow(imported))?;
    store(txn, &key, &CountersRow(counters.clone()))?;
    Ok(totals)
}

/// Adds up what the records add to the tiers of each worker. Refuses unknown workers.
fn add_up(txn: &dyn Write, records: &[ImportRecord]) -> Applied<BTreeMap<WorkerId, Fold>> {
    let mut folds: BTreeMap<WorkerId, Fold> = BTreeMap::new();
    for record in records {
        let fold = match folds.entry(record.worker()) {
            Entry::Occupied(known) => known.into_mut(),
            Entry::Vacant(new) => {
                known_worker(txn, record.worker())?;
                new.insert(Fold::default())
            }
        };
        match record {
            ImportRecord::History(_) => {}
            ImportRecord::Daily(_, day, totals) => fold.add_day(*day, totals),
            ImportRecord::Monthly(_, month, totals) => fold.add_month(*month, totals),
            ImportRecord::Lifetime(_, totals) => fold.lifetime.merge(totals),
        }
    }
    Ok(folds)
}

/// The limit of the totals of all imports together: half of the range of each field. Batches, which
/// are counted one by one with 64 bits each, can never fill the other half. So no sum over any rows
/// can overflow, not even over all workers. Errors are never more than batches.
const MOST_BATCHES: u64 = u64::MAX / 2;
const MOST_AMOUNT: u128 = u128::MAX / 2;

/// Adds one record to the totals of all imports. Fails if they would exceed the limit.
fn with(sum: Totals, more: &Totals) -> Result<Totals, Error> {
    let is_within = |sum: &Totals| {
        sum.batches <= MOST_BATCHES && sum.items <= MOST_AMOUNT && sum.duration_us <= MOST_AMOUNT
    };
    sum.checked_add(more).filter(is_within).ok_or_else(|| {
        Error::invalid(
            "the import would make the totals of all imports too large to add up exactly",
        )
    })
}
