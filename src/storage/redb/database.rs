//! An open redb database: its snapshots and transactions.

use std::panic::resume_unwind;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;

use parking_lot::Mutex;
use redb::{
    CommitError, CompactionError, Database, DatabaseError, Durability, ReadOnlyDatabase,
    ReadTransaction, ReadableDatabase, TableError, WriteTransaction,
};

use super::backend::Bytes;
use super::definition;
use super::error::{any, closed, failed_earlier, storage, transaction_error};
use super::guard::{CallerPanic, Health};
use super::read::RedbSnapshot;
use super::write::RedbWrite;
use crate::storage::{EngineError, EngineResult, Flush, Table, Write};

/// A transaction of the caller's.
pub(super) type Transaction<'t> = &'t mut dyn FnMut(&mut dyn Write) -> EngineResult<()>;

/// An open redb database.
pub(super) struct OpenDatabase {
    /// `None` once it was closed.
    handle: Option<Handle>,
    bytes: Arc<Bytes>,
    health: Arc<Health>,
    /// The open transaction that gathers unsynced commits.
    gathering: Mutex<Option<Gathering>>,
    /// Whether commits are waiting for a sync.
    unsynced: AtomicBool,
}

pub(super) enum Handle {
    Writable(Database),
    ReadOnly(ReadOnlyDatabase),
}

/// Commits that need no sync yet are gathered in one transaction of redb, since ending one costs
/// far more than the writes of a checkpoint. Callers do not notice: taking a snapshot commits it
/// first, and after a crash unsynced commits would be lost anyway.
struct Gathering {
    txn: WriteTransaction,
    gathered: usize,
}

/// How many are gathered before they are committed: enough that the cost of a commit is small for
/// each, and few enough that a snapshot does not wait long.
const GATHERED: usize = 64;

impl OpenDatabase {
    pub(super) fn new(handle: Handle, bytes: Arc<Bytes>) -> OpenDatabase {
        OpenDatabase {
            handle: Some(handle),
            bytes,
            health: Arc::new(Health::new()),
            gathering: Mutex::new(None),
            unsynced: AtomicBool::new(false),
        }
    }

    /// Whether the database has no table at all.
    pub(super) fn is_blank(&self) -> EngineResult<bool> {
        self.health.read(|| Ok(self.begin_read()?.list_tables().map_err(storage)?.next().is_none()))
    }

    /// Whether the database has a table of this name with keys and values like ours.
    pub(super) fn has_table(&self, table: Table) -> EngineResult<bool> {
        self.health.read(|| match self.begin_read()?.open_table(definition(table)) {
            Ok(_) => Ok(true),
            Err(TableError::Storage(e)) => Err(storage(e)),
            Err(_) => Ok(false),
        })
    }

    pub(super) fn snapshot(&self) -> EngineResult<RedbSnapshot> {
        self.commit_acknowledged()?;
        self.health.read(|| Ok(RedbSnapshot::new(self.begin_read()?, self.health.clone())))
    }

    pub(super) fn write(&self, flush: Flush, transaction: Transaction<'_>) -> EngineResult<()> {
        if self.health.is_stopped() {
            return Err(failed_earlier());
        }
        let database = match &self.handle {
            Some(Handle::Writable(database)) => database,
            Some(Handle::ReadOnly(_)) => {
                return Err(EngineError::failed("the store was opened read-only"));
            }
            None => return Err(closed()),
        };
        let mut caller = CallerPanic::default();
        let written = match flush {
            Flush::Later => self.gather(database, transaction, &mut caller),
            Flush::LaterAlone => {
                self.write_alone(database, Durability::None, transaction, &mut caller)
            }
            Flush::Now => {
                self.write_alone(database, Durability::Immediate, transaction, &mut caller)
            }
        };
        caller.resume();
        written
    }

    /// The length of the file.
    pub(super) fn stored_bytes(&self) -> EngineResult<u64> {
        self.bytes.length().map_err(|e| EngineError::Failed(Arc::new(e)))
    }

    /// Gives unused space back to the file system.
    pub(super) fn compact(&mut self) -> EngineResult<()> {
        let gathering = self.gathering.get_mut().take();
        self.commit_gathered(gathering)?;
        let Some(Handle::Writable(database)) = &mut self.handle else { return Err(closed()) };
        // One call may not move every page; redb returns `false` once there is nothing left to
        // move.
        self.health.write(|| {
            while database.compact().map_err(|e| match e {
                CompactionError::Storage(e) => storage(e),
                _ => EngineError::InUse("a snapshot is held: drop it before compacting"),
            })? {}
            Ok(())
        })
    }

    /// Commits what was gathered, and closes the database.
    pub(super) fn close(mut self) -> EngineResult<()> {
        let gathering = self.gathering.get_mut().take();
        self.commit_gathered(gathering).and(self.end())
    }

    /// Closes the database without what was gathered.
    pub(super) fn close_without_gathered(mut self) -> EngineResult<()> {
        self.end()
    }

    /// Closes the file of a forked child.
    pub(super) fn leave(&self) {
        self.bytes.leave();
    }

    /// Closes the database unless it is closed. The file is released even if redb fails. In a
    /// forked child redb is leaked.
    fn end(&mut self) -> EngineResult<()> {
        if self.health.is_forked() {
            std::mem::forget((self.gathering.get_mut().take(), self.handle.take()));
            self.leave();
            return Err(EngineError::Forked);
        }
        if let Some(gathering) = self.gathering.get_mut().take() {
            self.health.discard(gathering.txn);
        }
        match self.handle.take() {
            Some(Handle::Writable(database)) => {
                let closed = self.health.consume(database, close_in_order);
                let released = self.bytes.close().map_err(|e| EngineError::Failed(Arc::new(e)));
                closed.and(released)
            }
            // Its snapshots stay readable; dropping the last of them releases the file.
            Some(Handle::ReadOnly(database)) => {
                self.health.discard(database);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn begin_read(&self) -> EngineResult<ReadTransaction> {
        match &self.handle {
            Some(Handle::Writable(database)) => database.begin_read(),
            Some(Handle::ReadOnly(database)) => database.begin_read(),
            None => return Err(closed()),
        }
        .map_err(transaction_error)
    }

    /// Runs a transaction and commits it. If it is durable, it is synced together with the earlier
    /// unsynced commits. No lock is held meanwhile: snapshots show the state before it.
    fn write_alone(
        &self,
        database: &Database,
        durability: Durability,
        transaction: Transaction<'_>,
        caller: &mut CallerPanic,
    ) -> EngineResult<()> {
        self.commit_acknowledged()?;
        let txn = self.begin_write(database, durability)?;
        let wrote = match self.run(&txn, transaction, caller) {
            Ok(wrote) => wrote,
            Err(error) => return Err(self.roll_back(txn, error)),
        };
        let is_durable = matches!(durability, Durability::Immediate);
        let syncs_others = is_durable && self.unsynced.load(Ordering::SeqCst);
        if !(wrote || syncs_others) {
            return self.health.consume(txn, |txn| txn.abort().map_err(storage));
        }
        if is_durable {
            self.commit(txn)?;
            self.unsynced.store(false, Ordering::SeqCst);
            Ok(())
        } else {
            self.commit_unsynced(txn)
        }
    }

    fn begin_write(
        &self,
        database: &Database,
        durability: Durability,
    ) -> EngineResult<WriteTransaction> {
        self.health.write(|| {
            let mut txn = database.begin_write().map_err(transaction_error)?;
            txn.set_durability(durability).map_err(|e| EngineError::failed(e.to_string()))?;
            Ok(txn)
        })
    }

    /// Runs a transaction as part of the one that is open.
    fn gather(
        &self,
        database: &Database,
        transaction: Transaction<'_>,
        caller: &mut CallerPanic,
    ) -> EngineResult<()> {
        let mut open = self.gathering.lock();
        let mut gathering = match open.take() {
            Some(gathering) => gathering,
            None => Gathering { txn: self.begin_write(database, Durability::None)?, gathered: 0 },
        };
        match self.run(&gathering.txn, transaction, caller) {
            Ok(true) => gathering.gathered += 1,
            Ok(false) => {}
            // It cannot be undone alone: the commits gathered before it, all unsynced, are lost
            // with it.
            Err(error) => {
                if gathering.gathered > 0 {
                    self.health.stop();
                }
                return Err(self.roll_back(gathering.txn, error));
            }
        }
        if gathering.gathered >= GATHERED {
            return self.commit_gathered(Some(gathering));
        }
        *open = Some(gathering);
        Ok(())
    }

    /// Makes every acknowledged commit visible. Writers wait meanwhile.
    fn commit_acknowledged(&self) -> EngineResult<()> {
        let mut gathering = self.gathering.lock();
        self.commit_gathered(gathering.take())
    }

    /// Commits what was gathered, so that readers see it. It is not synced yet.
    fn commit_gathered(&self, gathering: Option<Gathering>) -> EngineResult<()> {
        match gathering {
            // Its commits were acknowledged already, so after a failure no later commit may be
            // stored.
            Some(Gathering { txn, gathered: 1.. }) => {
                self.commit_unsynced(txn).inspect_err(|_| self.health.stop())
            }
            Some(Gathering { txn, .. }) => {
                self.health.consume(txn, |txn| txn.abort().map_err(storage))
            }
            None => Ok(()),
        }
    }

    /// Runs the closure on a transaction; returns whether it wrote anything. A panic of the closure
    /// is kept in `caller`, since the transaction has to be rolled back first.
    fn run(
        &self,
        txn: &WriteTransaction,
        transaction: Transaction<'_>,
        caller: &mut CallerPanic,
    ) -> EngineResult<bool> {
        let mut write = RedbWrite::new(txn, &self.health);
        caller
            .catch(|| transaction(&mut write))
            .unwrap_or_else(|| Err(EngineError::failed("the transaction panicked")))?;
        write.finish()
    }

    /// Rolls a transaction back after an error. In a damaged file that may fail as well; the first
    /// error is the one to report.
    fn roll_back(&self, txn: WriteTransaction, error: EngineError) -> EngineError {
        if let Err(also) = self.health.consume(txn, |txn| txn.abort().map_err(storage)) {
            tracing::debug!(%also, "rolling back");
        }
        error
    }

    fn commit_unsynced(&self, txn: WriteTransaction) -> EngineResult<()> {
        self.unsynced.store(true, Ordering::SeqCst);
        self.commit(txn)
    }

    fn commit(&self, txn: WriteTransaction) -> EngineResult<()> {
        match self.health.consume(txn, |txn| Ok(txn.commit())) {
            Ok(Ok(())) => Ok(()),
            // redb has rolled it back, so nothing of it is stored.
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
}

/// Closes a database. On a thread that a panic unwinds, redb would leave the file in need of a repair,
/// so another thread closes it then.
fn close_in_order(database: Database) -> EngineResult<()> {
    let close = || {
        database.close().map_err(|error| match error {
            DatabaseError::Storage(e) => storage(e),
            other => any(other),
        })
    };
    if !thread::panicking() {
        return close();
    }
    let closing = thread::Builder::new().spawn(close);
    let closing = closing.map_err(|e| EngineError::Failed(Arc::new(e)))?;
    closing.join().unwrap_or_else(|panic| resume_unwind(panic))
}

impl Drop for OpenDatabase {
    fn drop(&mut self) {
        match self.end() {
            // Nothing is logged in a forked child: a subscriber may take locks.
            Ok(()) | Err(EngineError::Forked) => {}
            Err(error) => tracing::debug!(%error, "closing a database"),
        }
    }
}
