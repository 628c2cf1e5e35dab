//! The engine that keeps a store in a redb file. Only this folder names redb.

mod device;
mod error;
mod guard;
mod open;
mod read;
#[cfg(test)]
mod tests;
mod write;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};
use redb::{
    CommitError, CompactionError, Database, Durability, TableDefinition, TableError,
    WriteTransaction,
};

pub(crate) use open::{Access, Source};

use super::{Engine, EngineError, EngineResult, EngineSnapshot, Flush, Table, Write};
use crate::error::{Error, Result};
use error::{closed, storage, transaction_error};
use guard::{CallerPanic, guarded};
use open::{Handle, begin_read, close_handle, create, open_handle, source_path};
use read::RedbSnapshot;
use write::RedbWrite;

const TABLES: usize = Table::ALL.len();

fn definition(table: Table) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(table.name())
}

/// A store in a redb file.
pub(crate) struct RedbEngine {
    source: Source,
    access: Access,
    database: RwLock<Option<Handle>>,
    /// A transaction that is open for more of what may wait.
    open: Mutex<Option<OpenTransaction>>,
    /// Whether commits are waiting for a sync.
    unsynced: AtomicBool,
    /// Set once redb has panicked, or lost what was answered: from then on only reads are tried.
    broken: Arc<AtomicBool>,
}

/// What may wait for its sync is gathered in one transaction of redb, since ending one costs far
/// more than what a checkpoint writes. Nobody can tell: whoever takes a snapshot has it committed
/// first, and what a killed process loses of it, it would lose all the same, being unsynced.
struct OpenTransaction {
    txn: WriteTransaction,
    gathered: usize,
}

/// How much is gathered before it is committed: enough that committing hardly counts, and few
/// enough that little has to be done before a snapshot.
const GATHERED: usize = 64;

impl RedbEngine {
    /// Opens a store. A file that does not exist is first made under another name, filled by
    /// `initialize` and then put in place, so that no crash leaves half a store.
    pub(crate) fn open(
        source: Source,
        access: Access,
        initialize: &mut dyn FnMut(&mut dyn Write) -> EngineResult<()>,
    ) -> Result<RedbEngine> {
        if let Source::File(path) = &source {
            match std::fs::metadata(path) {
                Ok(found) if found.is_file() && found.len() == 0 => {
                    return Err(Error::NotAStore {
                        path: path.clone(),
                        why: "the file is empty".into(),
                    });
                }
                Ok(_) => {}
                Err(e) if e.kind() == std::io::ErrorKind::NotFound && !access.read_only => {
                    create(path, access, initialize)?;
                }
                Err(e) => return Err(Error::io(path, e)),
            }
        }
        let engine = RedbEngine {
            database: RwLock::new(Some(open_handle(&source, access, false)?)),
            source,
            access,
            open: Mutex::new(None),
            unsynced: AtomicBool::new(false),
            broken: Arc::new(AtomicBool::new(false)),
        };
        if matches!(engine.source, Source::Device(_)) && engine.is_blank()? {
            engine.write(Flush::Now, initialize).map_err(|e| engine.opening(e))?;
        }
        Ok(engine)
    }

    /// Whether the database has a table called `meta` with keys and values like ours, as every
    /// store does.
    pub(crate) fn has_meta(&self) -> Result<bool> {
        let database = self.database.read();
        let found = guarded(&self.broken, || {
            match begin_read(&database)?.open_table(definition(Table::Meta)) {
                Ok(_) => Ok(true),
                Err(TableError::Storage(e)) => Err(storage(e)),
                Err(_) => Ok(false),
            }
        });
        found.map_err(|e| self.opening(e))
    }

    /// Runs a transaction and syncs it, with everything that waits.
    fn write_now(
        &self,
        database: &Database,
        transaction: &mut dyn FnMut(&mut dyn Write) -> EngineResult<()>,
        caller: &mut CallerPanic,
    ) -> EngineResult<()> {
        self.commit_open()?;
        let txn = guarded(&self.broken, || database.begin_write().map_err(transaction_error))?;
        let wrote = match self.run(&txn, transaction, caller) {
            Ok(wrote) => wrote,
            Err(error) => return Err(self.abandon(txn, error)),
        };
        if !wrote && !self.unsynced.load(Ordering::SeqCst) {
            return guarded(&self.broken, || txn.abort().map_err(storage));
        }
        self.commit(txn)?;
        self.unsynced.store(false, Ordering::SeqCst);
        Ok(())
    }

    /// Runs a transaction as part of the one that is open.
    fn gather(
        &self,
        database: &Database,
        transaction: &mut dyn FnMut(&mut dyn Write) -> EngineResult<()>,
        caller: &mut CallerPanic,
    ) -> EngineResult<()> {
        let mut open = self.open.lock();
        let mut gathering = match open.take() {
            Some(gathering) => gathering,
            None => guarded(&self.broken, || {
                let mut txn = database.begin_write().map_err(transaction_error)?;
                txn.set_durability(Durability::None)
                    .map_err(|e| EngineError::failed(e.to_string()))?;
                Ok(OpenTransaction { txn, gathered: 0 })
            })?,
        };
        match self.run(&gathering.txn, transaction, caller) {
            Ok(true) => gathering.gathered += 1,
            Ok(false) => {}
            // It cannot be undone alone: what was gathered before goes with it, unsynced as it is.
            Err(error) => {
                if gathering.gathered > 0 {
                    self.broken.store(true, Ordering::SeqCst);
                }
                return Err(self.abandon(gathering.txn, error));
            }
        }
        *open = Some(gathering);
        if open.as_ref().is_some_and(|gathering| gathering.gathered >= GATHERED) {
            return self.commit_gathered(&mut open);
        }
        Ok(())
    }

    /// Commits the transaction that is open, so that readers see it. It is not synced yet.
    fn commit_open(&self) -> EngineResult<()> {
        self.commit_gathered(&mut self.open.lock())
    }

    fn commit_gathered(&self, open: &mut Option<OpenTransaction>) -> EngineResult<()> {
        match open.take() {
            Some(OpenTransaction { txn, gathered: 1.. }) => {
                self.unsynced.store(true, Ordering::SeqCst);
                // What it held was answered already, so after a failure nothing may build on it.
                self.commit(txn).inspect_err(|_| self.broken.store(true, Ordering::SeqCst))
            }
            Some(OpenTransaction { txn, .. }) => {
                guarded(&self.broken, || txn.abort().map_err(storage))
            }
            None => Ok(()),
        }
    }

    /// Runs the closure on a transaction; returns whether it wrote anything. A panic of the closure
    /// is kept in `caller`, since the transaction has to be rolled back first.
    fn run(
        &self,
        txn: &WriteTransaction,
        transaction: &mut dyn FnMut(&mut dyn Write) -> EngineResult<()>,
        caller: &mut CallerPanic,
    ) -> EngineResult<bool> {
        guarded(&self.broken, || {
            let mut write = RedbWrite::new(txn, &self.broken);
            caller
                .catch(|| transaction(&mut write))
                .unwrap_or_else(|| Err(EngineError::failed("the transaction panicked")))?;
            Ok(write.wrote)
        })
    }

    /// Rolls a transaction back that met an error. In a damaged file that may fail as well, or panic,
    /// but the first error says more.
    fn abandon(&self, txn: WriteTransaction, error: EngineError) -> EngineError {
        if let Err(also) = guarded(&self.broken, || txn.abort().map_err(storage)) {
            tracing::debug!(%also, "rolling back");
        }
        error
    }

    fn commit(&self, txn: WriteTransaction) -> EngineResult<()> {
        match guarded(&self.broken, || Ok(txn.commit())) {
            Ok(Ok(())) => Ok(()),
            // Rolled back by redb itself, so nothing of it is stored.
            Ok(Err(CommitError::TransactionPoisoned)) => Err(EngineError::failed(
                "the transaction was abandoned after an earlier failure in it",
            )),
            Ok(Err(e)) => Err(EngineError::Uncertain(Arc::new(redb::Error::from(e)))),
            Err(EngineError::Corrupted(panic)) => match EngineError::failed(panic) {
                EngineError::Failed(cause) => Err(EngineError::Uncertain(cause)),
                other => Err(other),
            },
            Err(other) => Err(other),
        }
    }

    fn is_blank(&self) -> Result<bool> {
        let database = self.database.read();
        let blank = guarded(&self.broken, || {
            let txn = begin_read(&database)?;
            Ok(txn.list_tables().map_err(storage)?.next().is_none())
        });
        blank.map_err(|e| self.opening(e))
    }

    pub(crate) fn path(&self) -> PathBuf {
        source_path(&self.source)
    }

    fn opening(&self, error: EngineError) -> Error {
        match error {
            EngineError::Corrupted(what) => {
                Error::Corrupted { what: format!("{}: {what}", self.path().display()) }
            }
            EngineError::Failed(cause) | EngineError::Uncertain(cause) => {
                Error::Io { path: self.path(), source: cause }
            }
            other => Error::Storage { source: Arc::new(other) },
        }
    }
}

impl Engine for RedbEngine {
    fn snapshot(&self) -> EngineResult<Arc<dyn EngineSnapshot>> {
        let database = self.database.read();
        self.commit_open()?;
        guarded(&self.broken, || {
            let txn = begin_read(&database)?;
            Ok(Arc::new(RedbSnapshot {
                txn,
                tables: Default::default(),
                broken: self.broken.clone(),
            }) as Arc<dyn EngineSnapshot>)
        })
    }

    fn write(
        &self,
        flush: Flush,
        transaction: &mut dyn FnMut(&mut dyn Write) -> EngineResult<()>,
    ) -> EngineResult<()> {
        if self.broken.load(Ordering::SeqCst) {
            return Err(EngineError::failed("the storage engine failed earlier"));
        }
        let database = self.database.read();
        let database = match &*database {
            Some(Handle::Writable(database)) => database,
            Some(Handle::ReadOnly(_)) => {
                return Err(EngineError::failed("the store was opened read-only"));
            }
            None => return Err(closed()),
        };
        let mut caller = CallerPanic::default();
        let written = match flush {
            Flush::Later => self.gather(database, transaction, &mut caller),
            Flush::Now => self.write_now(database, transaction, &mut caller),
        };
        caller.resume();
        written
    }

    fn stored_bytes(&self) -> EngineResult<u64> {
        let length = match &self.source {
            Source::File(path) => std::fs::metadata(path).map(|found| found.len()),
            Source::Device(device) => device.length(),
        };
        length.map_err(|e| EngineError::Failed(Arc::new(e)))
    }

    fn reopen(&self) -> Result<()> {
        let mut database = self.database.write();
        // Whoever wants to keep what waits has synced it before.
        drop(self.open.lock().take());
        if let Some(handle) = database.take() {
            // The file is repaired by the opening that follows, whatever closing it says.
            if let Err(error) = close_handle(handle) {
                tracing::debug!(%error, "closing before reopening");
            }
        }
        *database = Some(open_handle(&self.source, self.access, false)?);
        self.broken.store(false, Ordering::SeqCst);
        self.unsynced.store(false, Ordering::SeqCst);
        Ok(())
    }

    fn close(&self) -> EngineResult<()> {
        let mut database = self.database.write();
        let committed = self.commit_open();
        match database.take() {
            Some(handle) => committed.and(close_handle(handle)),
            None => Ok(()),
        }
    }

    fn compact(&self) -> EngineResult<()> {
        let mut database = self.database.write();
        let Some(Handle::Writable(database)) = &mut *database else { return Err(closed()) };
        self.commit_open()?;
        // Each round frees what the one before it could not move; it says when it is done.
        guarded(&self.broken, || {
            while database.compact().map_err(|e| match e {
                CompactionError::Storage(e) => storage(e),
                _ => EngineError::InUse("a snapshot is held: drop it before compacting"),
            })? {}
            Ok(())
        })
    }
}
