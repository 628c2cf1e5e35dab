//! Reading from a redb database: snapshots, and what they share with write transactions.

use std::ops::{ControlFlow, RangeBounds};
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata};

use super::error::{storage, table_error};
use super::guard::{CallerPanic, guarded};
use super::{TABLES, definition};
use crate::storage::{
    EngineError, EngineResult, EngineSnapshot, KeyRange, Order, Read, Table, TableSize, Visit,
    is_empty,
};

const PAGE_BYTES: u64 = 4096;

pub(super) struct RedbSnapshot {
    pub(super) txn: ReadTransaction,
    pub(super) tables: [OnceLock<ReadOnlyTable<&'static [u8], &'static [u8]>>; TABLES],
    pub(super) broken: Arc<AtomicBool>,
}

impl RedbSnapshot {
    fn table(&self, table: Table) -> EngineResult<&ReadOnlyTable<&'static [u8], &'static [u8]>> {
        let cell = &self.tables[table as usize];
        if let Some(open) = cell.get() {
            return Ok(open);
        }
        let open = self.txn.open_table(definition(table)).map_err(table_error)?;
        Ok(cell.get_or_init(|| open))
    }
}

impl Read for RedbSnapshot {
    fn get(&self, table: Table, key: &[u8], visit: &mut dyn FnMut(&[u8])) -> EngineResult<bool> {
        get(&self.broken, || self.table(table), key, visit)
    }

    fn scan(
        &self,
        table: Table,
        range: KeyRange<'_>,
        order: Order,
        visit: Visit<'_>,
    ) -> EngineResult<()> {
        scan(&self.broken, || self.table(table), range, order, visit)
    }
}

impl EngineSnapshot for RedbSnapshot {
    fn table_size(&self, table: Table) -> EngineResult<TableSize> {
        guarded(&self.broken, || {
            let table = self.table(table)?;
            let stats = table.stats().map_err(storage)?;
            Ok(TableSize {
                rows: table.len().map_err(storage)?,
                bytes: (stats.leaf_pages() + stats.branch_pages()) * PAGE_BYTES,
            })
        })
    }
}

/// Shows the value of a key to `visit`. A panic of `visit` is resumed once redb has returned.
pub(super) fn get<'t, T>(
    broken: &AtomicBool,
    table: impl FnOnce() -> EngineResult<&'t T>,
    key: &[u8],
    visit: &mut dyn FnMut(&[u8]),
) -> EngineResult<bool>
where
    T: ReadableTable<&'static [u8], &'static [u8]> + 't,
{
    let mut caller = CallerPanic::default();
    let found = guarded(broken, || match table()?.get(key).map_err(storage)? {
        Some(value) => {
            caller.catch(|| visit(value.value()));
            Ok(true)
        }
        None => Ok(false),
    });
    caller.resume();
    found
}

/// Shows the entries of a range to `visit`, whose panic is resumed once redb has returned.
pub(super) fn scan<'t, T>(
    broken: &AtomicBool,
    table: impl FnOnce() -> EngineResult<&'t T>,
    range: KeyRange<'_>,
    order: Order,
    visit: Visit<'_>,
) -> EngineResult<()>
where
    T: ReadableTable<&'static [u8], &'static [u8]> + 't,
{
    if is_empty(range) {
        return Ok(());
    }
    let mut caller = CallerPanic::default();
    let scanned = guarded(broken, || {
        each(table()?, range, order, &mut |key, value| {
            caller.catch(|| visit(key, value)).unwrap_or(ControlFlow::Break(()))
        })
    });
    caller.resume();
    scanned
}

fn each(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    range: KeyRange<'_>,
    order: Order,
    visit: Visit<'_>,
) -> EngineResult<()> {
    let mut entries = table.range::<&[u8]>(range).map_err(storage)?;
    let mut next = || match order {
        Order::Ascending => entries.next(),
        Order::Descending => entries.next_back(),
    };
    // redb verifies no checksums here. In a damaged tree keys may be out of place, or come again and
    // again: whoever looks for the next one must not be sent in circles.
    let mut previous: Option<Vec<u8>> = None;
    while let Some(entry) = next() {
        let (key, value) = entry.map_err(storage)?;
        let key = key.value();
        let follows = previous.as_deref().is_none_or(|previous| match order {
            Order::Ascending => previous < key,
            Order::Descending => previous > key,
        });
        if !follows || !RangeBounds::<[u8]>::contains(&range, key) {
            return Err(EngineError::Corrupted("the keys of a table are out of order".into()));
        }
        if visit(key, value.value()) == ControlFlow::Break(()) {
            break;
        }
        let previous = previous.get_or_insert_default();
        previous.clear();
        previous.extend_from_slice(key);
    }
    Ok(())
}
