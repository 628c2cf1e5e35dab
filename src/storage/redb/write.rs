//! Reading and writing within a write transaction of redb.

use std::cell::OnceCell;

use redb::WriteTransaction;

use super::definition;
use super::error::{storage, table_error};
use super::guard::Health;
use super::read::{get, scan};
use crate::storage::undo::UndoLog;
use crate::storage::{EngineError, EngineResult, KeyRange, Order, Read, Table, Visit, Write};

type WriteTable<'t> = redb::Table<'t, &'static [u8], &'static [u8]>;

/// A write transaction with the tables it has opened so far.
pub(super) struct RedbWrite<'t> {
    txn: &'t WriteTransaction,
    health: &'t Health,
    tables: [OnceCell<WriteTable<'t>>; Table::MOST],
    wrote: bool,
    /// Set by the first `savepoint`. redb's own savepoints cannot be created in a transaction that
    /// has written.
    savepoint: Option<Savepoint>,
}

struct Savepoint {
    /// Whether the transaction had written anything before it.
    wrote: bool,
    log: UndoLog,
}

impl<'t> RedbWrite<'t> {
    pub(super) fn new(txn: &'t WriteTransaction, health: &'t Health) -> RedbWrite<'t> {
        RedbWrite { txn, health, tables: Default::default(), wrote: false, savepoint: None }
    }

    /// Closes the tables; returns whether anything was written.
    pub(super) fn finish(mut self) -> EngineResult<bool> {
        self.close();
        self.health.write(|| Ok(self.wrote))
    }

    /// Closes the tables one by one, so that after a panic in one of them the others are leaked.
    fn close(&mut self) {
        for table in self.tables.iter_mut().filter_map(OnceCell::take) {
            self.health.discard(table);
        }
    }

    fn table(&self, table: Table) -> EngineResult<&WriteTable<'t>> {
        let cell = &self.tables[table.number()];
        if let Some(open) = cell.get() {
            return Ok(open);
        }
        let open =
            self.health.write(|| self.txn.open_table(definition(table)).map_err(table_error))?;
        Ok(cell.get_or_init(|| open))
    }

    /// Stores a value, or removes it if it is `None`, and records the old one.
    fn set(&mut self, table: Table, key: &[u8], value: Option<&[u8]>) -> EngineResult<()> {
        self.health.write(|| self.set_unguarded(table, key, value))
    }

    fn set_unguarded(
        &mut self,
        table: Table,
        key: &[u8],
        value: Option<&[u8]>,
    ) -> EngineResult<()> {
        self.table(table)?;
        let open = self.tables[table.number()]
            .get_mut()
            .ok_or_else(|| EngineError::failed("a table was not opened"))?;
        self.wrote = true;
        let old = match value {
            Some(value) => open.insert(key, value),
            None => open.remove(key),
        }
        .map_err(storage)?;
        if let Some(savepoint) = &mut self.savepoint {
            savepoint.log.push(table, key, old.as_ref().map(|old| old.value()));
        }
        Ok(())
    }
}

impl Drop for RedbWrite<'_> {
    fn drop(&mut self) {
        self.close();
    }
}

impl Read for RedbWrite<'_> {
    fn get(&self, table: Table, key: &[u8], visit: &mut dyn FnMut(&[u8])) -> EngineResult<bool> {
        get(self.health, self.table(table)?, key, visit)
    }

    fn scan(
        &self,
        table: Table,
        range: KeyRange<'_>,
        order: Order,
        visit: Visit<'_>,
    ) -> EngineResult<()> {
        scan(self.health, self.table(table)?, range, order, visit)
    }
}

impl Write for RedbWrite<'_> {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> EngineResult<()> {
        self.set(table, key, Some(value))
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> EngineResult<()> {
        self.set(table, key, None)
    }

    fn room(&self) -> usize {
        usize::MAX
    }

    fn savepoint(&mut self) {
        let wrote = self.wrote;
        let savepoint =
            self.savepoint.get_or_insert_with(|| Savepoint { wrote, log: UndoLog::new() });
        savepoint.wrote = wrote;
        savepoint.log.clear();
    }

    fn rollback(&mut self) -> EngineResult<()> {
        let Some(mut savepoint) = self.savepoint.take() else { return Ok(()) };
        savepoint.log.replay(|table, key, old| self.set(table, key, old))?;
        self.wrote = savepoint.wrote;
        self.savepoint = Some(savepoint);
        Ok(())
    }
}
