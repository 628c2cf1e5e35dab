//! Reading and writing within a write transaction of redb.

use std::cell::OnceCell;

use redb::WriteTransaction;

use super::error::{storage, table_error};
use super::read::{get, scan};
use super::{TABLES, definition};
use crate::storage::{EngineError, EngineResult, KeyRange, Order, Read, Table, Visit, Write};

type WriteTable<'t> = redb::Table<'t, &'static [u8], &'static [u8]>;

/// A write transaction with the tables it has opened so far.
pub(super) struct RedbWrite<'t> {
    pub(super) txn: &'t WriteTransaction,
    pub(super) tables: [OnceCell<WriteTable<'t>>; TABLES],
    pub(super) wrote: bool,
}

impl<'t> RedbWrite<'t> {
    fn table(&self, table: Table) -> EngineResult<&WriteTable<'t>> {
        let cell = &self.tables[table as usize];
        if let Some(open) = cell.get() {
            return Ok(open);
        }
        let open = self.txn.open_table(definition(table)).map_err(table_error)?;
        Ok(cell.get_or_init(|| open))
    }

    fn table_mut(&mut self, table: Table) -> EngineResult<&mut WriteTable<'t>> {
        self.table(table)?;
        self.wrote = true;
        self.tables[table as usize]
            .get_mut()
            .ok_or_else(|| EngineError::failed("a table was not opened"))
    }
}

impl Read for RedbWrite<'_> {
    fn get(&self, table: Table, key: &[u8], visit: &mut dyn FnMut(&[u8])) -> EngineResult<bool> {
        get(self.table(table)?, key, visit)
    }

    fn scan(
        &self,
        table: Table,
        range: KeyRange<'_>,
        order: Order,
        visit: Visit<'_>,
    ) -> EngineResult<()> {
        scan(self.table(table)?, range, order, visit)
    }
}

impl Write for RedbWrite<'_> {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> EngineResult<()> {
        self.table_mut(table)?.insert(key, value).map_err(storage)?;
        Ok(())
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> EngineResult<()> {
        self.table_mut(table)?.remove(key).map_err(storage)?;
        Ok(())
    }

    fn room(&self) -> usize {
        usize::MAX
    }
}
