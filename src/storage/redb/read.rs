//! Reading from a redb database: snapshots, and the code they share with write transactions.

use std::ops::{ControlFlow, RangeBounds};
use std::sync::{Arc, OnceLock};

use redb::{ReadOnlyTable, ReadTransaction, ReadableTable, ReadableTableMetadata};

use super::definition;
use super::error::{closed, storage, table_error};
use super::guard::{CallerPanic, Health};
use crate::storage::{
    EngineError, EngineResult, EngineSnapshot, KeyRange, Order, Read, Table, TableSize, Visit,
    is_empty,
};

const PAGE_BYTES: u64 = 4096;

type ReadTable = ReadOnlyTable<&'static [u8], &'static [u8]>;

pub(super) struct RedbSnapshot {
    /// `None` once it was dropped.
    txn: Option<ReadTransaction>,
    tables: [OnceLock<ReadTable>; Table::MOST],
    health: Arc<Health>,
}

impl RedbSnapshot {
    pub(super) fn new(txn: ReadTransaction, health: Arc<Health>) -> RedbSnapshot {
        RedbSnapshot { txn: Some(txn), tables: Default::default(), health }
    }

    fn table(&self, table: Table) -> EngineResult<&ReadTable> {
        if self.health.is_forked() {
            return Err(EngineError::Forked);
        }
        let cell = &self.tables[table.number()];
        if let Some(open) = cell.get() {
            return Ok(open);
        }
        let txn = self.txn.as_ref().ok_or_else(closed)?;
        let open = self.health.read(|| txn.open_table(definition(table)).map_err(table_error))?;
        Ok(cell.get_or_init(|| open))
    }
}

impl Drop for RedbSnapshot {
    fn drop(&mut self) {
        let tables = self.tables.iter_mut().filter_map(OnceLock::take);
        if self.health.is_forked() {
            tables.for_each(std::mem::forget);
            return std::mem::forget(self.txn.take());
        }
        tables.for_each(|table| self.health.discard(table));
        self.health.discard(self.txn.take());
    }
}

impl Read for RedbSnapshot {
    fn get(&self, table: Table, key: &[u8], visit: &mut dyn FnMut(&[u8])) -> EngineResult<bool> {
        get(&self.health, self.table(table)?, key, visit)
    }

    fn scan(
        &self,
        table: Table,
        range: KeyRange<'_>,
        order: Order,
        visit: Visit<'_>,
    ) -> EngineResult<()> {
        scan(&self.health, self.table(table)?, range, order, visit)
    }
}

impl EngineSnapshot for RedbSnapshot {
    fn table_size(&self, table: Table) -> EngineResult<TableSize> {
        self.health.read(|| {
            let table = self.table(table)?;
            let stats = table.stats().map_err(storage)?;
            Ok(TableSize {
                rows: table.len().map_err(storage)?,
                bytes: (stats.leaf_pages() + stats.branch_pages()) * PAGE_BYTES,
            })
        })
    }
}

/// Passes the value of a key to `visit`. A panic of `visit` is resumed once redb has returned.
pub(super) fn get(
    health: &Health,
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    key: &[u8],
    visit: &mut dyn FnMut(&[u8]),
) -> EngineResult<bool> {
    let mut caller = CallerPanic::default();
    let found = health.read(|| match table.get(key).map_err(storage)? {
        Some(value) => {
            let value = value.value();
            caller.catch(|| visit(value));
            Ok(true)
        }
        None => Ok(false),
    });
    caller.resume();
    found
}

/// Passes the entries of a range to `visit`. A panic of `visit` is resumed once redb has returned.
pub(super) fn scan(
    health: &Health,
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    range: KeyRange<'_>,
    order: Order,
    visit: Visit<'_>,
) -> EngineResult<()> {
    if is_empty(range) {
        return Ok(());
    }
    let mut caller = CallerPanic::default();
    let scanned = health.read(|| {
        each(table, range, order, &mut |key, value| {
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
    // redb verifies no checksums here. In a damaged tree keys may be out of order or repeat, and a
    // loop that looks for the next key must not run for ever.
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
