//! Records from elsewhere, taken into the tiers.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;

use crate::error::Error;
use crate::rules::history::HistoryTail;
use crate::rules::outcome::Applied;
use crate::rules::tiers::{self, Fold};
use crate::rules::workers::known_worker;
use crate::schema::codec;
use crate::schema::rows::{Control, HistoryRow, ImportRow, Row};
use crate::schema::tables::{self, load, store};
use crate::storage::{EngineResult, Table, Write};
use crate::types::{Import, ImportRecord, Totals, WorkerId};

/// Takes records from elsewhere into the tiers. Says whether they were new.
pub(crate) fn import(
    txn: &mut dyn Write,
    control: &mut Control,
    tail: &mut HistoryTail,
    import: &Import,
) -> Applied<bool> {
    let digest = codec::digest(import);
    let id_key = tables::import_key(&import.id);
    if let Some(known) = load::<ImportRow>(txn, &id_key)? {
        return if known.digest == digest {
            Ok(false)
        } else {
            Err(Error::ImportAltered { id: import.id.clone() }.into())
        };
    }
    let mut folds: BTreeMap<WorkerId, (Totals, Fold)> = BTreeMap::new();
    for record in &import.records {
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

    for record in &import.records {
        if let ImportRecord::History(batch) = record {
            let row = HistoryRow {
                worker: batch.worker,
                job: batch.job,
                start: batch.start,
                end: batch.end,
                items: batch.items,
                duration_us: batch.duration_us,
                finished_at: batch.finished_at,
                completed: false,
                error: batch.error.clone(),
            };
            tail.append(txn, &row)?;
        }
    }
    for (worker, (_, fold)) in &folds {
        if !fold.is_empty() {
            tiers::apply(txn, &control.caps, *worker, fold, 0)?;
        }
    }
    remember(txn, control, &import.id, &id_key, digest)?;
    Ok(true)
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

/// Remembers the id of an import, and forgets the oldest one over the limit.
fn remember(
    txn: &mut dyn Write,
    control: &mut Control,
    id: &str,
    id_key: &[u8],
    digest: u64,
) -> EngineResult<()> {
    let number = control.next_import;
    control.next_import += 1;
    store(txn, id_key, &ImportRow { number, digest })?;
    txn.put(ImportRow::TABLE, &tables::import_log_key(number), id.as_bytes())?;
    let Some(oldest) = number.checked_sub(crate::config::limits::IMPORTS) else { return Ok(()) };
    let log_key = tables::import_log_key(oldest);
    let mut forgotten = None;
    txn.get(Table::Meta, &log_key, &mut |id| forgotten = Some([b"import/", id].concat()))?;
    if let Some(id_key) = forgotten {
        txn.delete(Table::Meta, &id_key)?;
        txn.delete(Table::Meta, &log_key)?;
    }
    Ok(())
}
