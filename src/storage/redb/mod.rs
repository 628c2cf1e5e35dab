//! The engine that keeps a store in a redb file. Only this folder uses redb.

mod backend;
mod database;
mod error;
mod guard;
mod header;
mod open;
mod read;
mod system;
#[cfg(test)]
mod tests;
mod write;

use std::sync::Arc;

use parking_lot::RwLock;
use redb::TableDefinition;

pub(crate) use open::{Access, Source};

use super::{Engine, EngineResult, EngineSnapshot, Flush, Table, Write};
use crate::error::{Error, Result};
use database::OpenDatabase;
use error::closed;

fn definition(table: Table) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(table.name())
}

/// A store in a redb file.
pub(crate) struct RedbEngine {
    source: Source,
    access: Access,
    database: RwLock<Option<OpenDatabase>>,
}

impl RedbEngine {
    /// Opens a store. A file that does not exist is created under a temporary name, filled by
    /// `initialize` and then renamed into place, so that a crash cannot leave half a store.
    pub(crate) fn open(
        source: Source,
        access: Access,
        initialize: &mut dyn FnMut(&mut dyn Write) -> EngineResult<()>,
    ) -> Result<RedbEngine> {
        if let Source::File(path) = &source
            && !access.read_only
            && !path.try_exists().map_err(|e| Error::io(path, e))?
        {
            open::create(path, access, initialize)?;
        }
        let database = open::open(&source, access)?;
        let opening = |error| open::opening(&source, error);
        if matches!(source, Source::Device(_)) && database.is_blank().map_err(opening)? {
            database.write(Flush::Now, initialize).map_err(opening)?;
        }
        Ok(RedbEngine { source, access, database: RwLock::new(Some(database)) })
    }

    /// Whether the database has a table of this name with keys and values like ours.
    pub(crate) fn has_table(&self, table: Table) -> Result<bool> {
        let found = match &*self.database.read() {
            Some(database) => database.has_table(table),
            None => Err(closed()),
        };
        found.map_err(|error| open::opening(&self.source, error))
    }
}

impl Engine for RedbEngine {
    fn snapshot(&self) -> EngineResult<Arc<dyn EngineSnapshot>> {
        let database = self.database.read();
        Ok(Arc::new(database.as_ref().ok_or_else(closed)?.snapshot()?))
    }

    fn write(
        &self,
        flush: Flush,
        transaction: &mut dyn FnMut(&mut dyn Write) -> EngineResult<()>,
    ) -> EngineResult<()> {
        let database = self.database.read();
        database.as_ref().ok_or_else(closed)?.write(flush, transaction)
    }

    fn stored_bytes(&self) -> EngineResult<u64> {
        // Not by the path: the file may have been renamed.
        self.database.read().as_ref().ok_or_else(closed)?.stored_bytes()
    }

    fn reopen(&self) -> Result<()> {
        let mut database = self.database.write();
        // Callers that want to keep unsynced commits sync them first. An error here is only logged:
        // opening the file again repairs it.
        if let Some(open) = database.take()
            && let Err(error) = open.close_without_gathered()
        {
            tracing::debug!(%error, "closing before reopening");
        }
        *database = Some(open::open(&self.source, self.access)?);
        Ok(())
    }

    fn close(&self) -> EngineResult<()> {
        self.database.write().take().map_or(Ok(()), OpenDatabase::close)
    }

    fn leave(&self) {
        // A thread of the parent may have held the lock when it was forked.
        if let Some(database) = self.database.try_read()
            && let Some(database) = &*database
        {
            database.leave();
        }
    }

    fn compact(&self) -> EngineResult<()> {
        self.database.write().as_mut().ok_or_else(closed)?.compact()
    }
}
