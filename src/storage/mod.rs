//! The interface between the rules and the engine that stores bytes.
//!
//! An engine has ordered tables of byte strings, snapshots to read from, and write transactions,
//! each a closure that it may run again. Code above this module does not depend on which engine is
//! used, and must not assume that a transaction can be of any size.
//!
//! The crate has two engines: redb, which [`Builder::open`] uses, and [`MemoryEngine`], which keeps
//! everything in memory and can inject failures.
//!
//! [`Builder::open`]: crate::Builder::open

mod memory;
mod redb;
mod undo;

use std::fmt;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

#[cfg(any(test, feature = "testing"))]
pub use memory::Fault;
pub use memory::MemoryEngine;
pub(crate) use redb::{Access, RedbEngine, Source};

use crate::error::{Cause, Error};

/// A table: to an engine, a number and a name.
///
/// Engines do not know the tables in advance; `schema::tables` lists those of a store.
/// Their numbers and names are unique. Files contain only the names; numbers may change between
/// versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table {
    number: u8,
    name: &'static str,
}

impl Table {
    /// Numbers are below this, so that an engine can keep its state of each table in an array.
    pub const MOST: usize = 32;

    /// For constants only: a number that is too large does not compile.
    pub(crate) const fn new(number: u8, name: &'static str) -> Table {
        assert!((number as usize) < Table::MOST, "the number of a table is too large");
        Table { number, name }
    }

    /// Its number.
    #[must_use]
    pub const fn number(self) -> usize {
        self.number as usize
    }

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        self.name
    }
}

/// An error of an engine.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum EngineError {
    /// The call failed, and nothing of the transaction was stored.
    Failed(Cause),
    /// A commit failed: the transaction may or may not have been stored.
    Uncertain(Cause),
    /// The data of the engine is damaged, and it can no longer be used.
    Corrupted(String),
    /// A row cannot be decoded, or contradicts other rows. The engine and the other rows can still
    /// be used.
    DamagedRow(String),
    /// The transaction is larger than the engine allows.
    TooLarge,
    /// Something is in use that must be dropped first; the text names it.
    InUse(&'static str),
    /// The engine was closed, or reopened, since the snapshot was taken.
    Closed,
    /// This process was forked from the one that opened the engine.
    Forked,
}

impl fmt::Display for EngineError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            EngineError::Failed(cause) | EngineError::Uncertain(cause) => write!(f, "{cause}"),
            EngineError::Corrupted(what) | EngineError::DamagedRow(what) => f.write_str(what),
            EngineError::TooLarge => f.write_str("the transaction is too large"),
            EngineError::InUse(what) => f.write_str(what),
            EngineError::Closed => {
                f.write_str("the storage was closed since the snapshot was taken")
            }
            EngineError::Forked => {
                f.write_str("the storage was opened before this process was forked")
            }
        }
    }
}

impl std::error::Error for EngineError {}

impl EngineError {
    /// A failure with a text and no further cause.
    pub(crate) fn failed(what: impl Into<String>) -> EngineError {
        EngineError::Failed(Arc::from(Box::<dyn std::error::Error + Send + Sync>::from(
            what.into(),
        )))
    }
}

impl From<EngineError> for Error {
    fn from(error: EngineError) -> Error {
        match error {
            EngineError::Failed(source) => Error::Storage { source },
            EngineError::Uncertain(source) => Error::Uncertain { source },
            EngineError::Corrupted(what) | EngineError::DamagedRow(what) => {
                Error::Corrupted { what }
            }
            EngineError::TooLarge => Error::TransactionTooLarge,
            EngineError::InUse(what) => Error::InUse { what },
            EngineError::Closed => Error::Closed,
            EngineError::Forked => Error::Forked,
        }
    }
}

/// The result of a call to an engine.
pub type EngineResult<T> = std::result::Result<T, EngineError>;

/// The keys between two bounds.
pub type KeyRange<'k> = (Bound<&'k [u8]>, Bound<&'k [u8]>);

/// Whether no key can lie in the range: engines need not support such a range.
pub(crate) fn is_empty(range: KeyRange<'_>) -> bool {
    match range {
        (Bound::Included(a), Bound::Included(b)) => a > b,
        (Bound::Included(a) | Bound::Excluded(a), Bound::Included(b) | Bound::Excluded(b)) => {
            a >= b
        }
        _ => false,
    }
}

/// The direction of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// From the smallest key to the largest.
    Ascending,
    /// From the largest key to the smallest.
    Descending,
}

/// Receives the entries of a scan, and ends it by returning `Break`.
pub type Visit<'v> = &'v mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// Reading within a snapshot or a write transaction.
///
/// A table is created by the first [`put`](Write::put) or [`delete`](Write::delete) in it. Before
/// that, a write transaction reads it as empty, and a snapshot reads it as empty or returns an
/// error.
///
/// Entries are passed to a closure by reference, so that an engine need not copy them. If the
/// closure panics, the panic reaches the caller of the engine, and the engine stays usable.
pub trait Read {
    /// Passes the value of a key to `visit`. Returns `false` if there is none.
    ///
    /// # Errors
    /// [`EngineError`] if the engine cannot read.
    fn get(&self, table: Table, key: &[u8], visit: &mut dyn FnMut(&[u8])) -> EngineResult<bool>;

    /// Passes the entries of a range to `visit`, in order, until it breaks.
    ///
    /// # Errors
    /// [`EngineError`] if the engine cannot read.
    fn scan(
        &self,
        table: Table,
        range: KeyRange<'_>,
        order: Order,
        visit: Visit<'_>,
    ) -> EngineResult<()>;
}

/// Writing within a transaction. Reads see its own writes.
pub trait Write: Read {
    /// Stores a value under a key, replacing any value it had.
    ///
    /// # Errors
    /// [`EngineError`] if the engine cannot write, or the transaction becomes too large.
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> EngineResult<()>;

    /// Removes a key and its value, if they are there.
    ///
    /// # Errors
    /// [`EngineError`] if the engine cannot write, or the transaction becomes too large.
    fn delete(&mut self, table: Table, key: &[u8]) -> EngineResult<()>;

    /// The number of puts and deletes that still fit; `usize::MAX` where there is no limit.
    fn room(&self) -> usize;

    /// Sets the savepoint to which [`rollback`](Write::rollback) returns, replacing the previous
    /// one. This must be cheap: it is called for every command. An engine can keep the old value of
    /// each key written after it.
    fn savepoint(&mut self);

    /// Undoes every put and delete since the last savepoint. Without a savepoint it does nothing.
    ///
    /// # Errors
    /// [`EngineError`] if the engine cannot write; the transaction must then be abandoned.
    fn rollback(&mut self) -> EngineResult<()>;
}

/// The state of the store at one instant, not affected by later transactions.
pub trait EngineSnapshot: Read + Send + Sync {
    /// Rows and bytes of one table.
    ///
    /// # Errors
    /// [`EngineError`] if the engine cannot read.
    fn table_size(&self, table: Table) -> EngineResult<TableSize>;
}

/// The size of a table.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize, serde::Deserialize)]
pub struct TableSize {
    /// Its number of rows.
    pub rows: u64,
    /// The bytes of its live pages; for an engine without pages, of its keys and values.
    pub bytes: u64,
}

/// How soon a transaction must be on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// Before the call returns, together with everything committed before it.
    Now,
    /// With a later transaction. The engine may gather such transactions and commit them together,
    /// so a snapshot may have to wait for one to finish: they must be small.
    Later,
    /// With a later transaction, for large ones: no snapshot waits for it. Until it is committed,
    /// snapshots show the state before it, with everything that was committed earlier.
    LaterAlone,
}

/// A store of ordered tables.
pub trait Engine: Send + Sync {
    /// Takes a snapshot of the latest committed state.
    ///
    /// # Errors
    /// [`EngineError`] if the engine cannot read.
    fn snapshot(&self) -> EngineResult<Arc<dyn EngineSnapshot>>;

    /// Runs `transaction` and commits what it wrote, all or nothing. If it returns an error,
    /// nothing is committed; if it panics, nothing is committed and the panic reaches the caller.
    /// It may run several times, each time on a fresh state; only its last run counts.
    ///
    /// Transactions are serializable: no other commit may come between the reads of a transaction
    /// and its own commit. This also holds for a transaction that writes nothing, because its
    /// caller relies on what it did not find, such as a job to lease. An engine that runs
    /// transactions concurrently must validate those too.
    ///
    /// # Errors
    /// What `transaction` returned, or [`EngineError`] if the engine cannot commit.
    fn write(
        &self,
        flush: Flush,
        transaction: &mut dyn FnMut(&mut dyn Write) -> EngineResult<()>,
    ) -> EngineResult<()>;

    /// The bytes that the store occupies, such as the length of its file.
    ///
    /// # Errors
    /// [`EngineError`] if it is not known.
    fn stored_bytes(&self) -> EngineResult<u64>;

    /// Closes the storage and opens it again in place, after a failure.
    ///
    /// # Errors
    /// [`crate::Error`] if it cannot be opened again; it then stays closed.
    fn reopen(&self) -> crate::Result<()>;

    /// Closes the storage cleanly. Snapshots that are still held must not be used afterwards.
    ///
    /// # Errors
    /// [`EngineError`] if that fails.
    fn close(&self) -> EngineResult<()>;

    /// Closes the descriptors that a forked child shares with its parent, and does nothing else: it
    /// must not write, release locks or wait. It is called only in the child, in place of
    /// [`close`](Engine::close); the engine is leaked there.
    fn leave(&self) {}

    /// Returns unused space to the file system, if the engine supports that.
    ///
    /// # Errors
    /// [`EngineError::InUse`] while a snapshot is held, or another [`EngineError`] if the engine
    /// fails.
    fn compact(&self) -> EngineResult<()> {
        Ok(())
    }
}

/// Storage for the bytes of a redb file other than a file: for simulated disks.
///
/// Its methods are those of a file; see [`Builder::on_device`](crate::Builder::on_device).
pub trait Device: fmt::Debug + Send + Sync + 'static {
    /// The current length in bytes.
    ///
    /// # Errors
    /// Any I/O error.
    fn length(&self) -> std::io::Result<u64>;

    /// Fills `out` from `offset` on.
    ///
    /// # Errors
    /// Any I/O error; `UnexpectedEof` past the end.
    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()>;

    /// Cuts or extends with zeroes.
    ///
    /// # Errors
    /// Any I/O error.
    fn set_length(&self, length: u64) -> std::io::Result<()>;

    /// Makes everything written so far durable against power loss.
    ///
    /// # Errors
    /// Any I/O error.
    fn sync(&self) -> std::io::Result<()>;

    /// Writes `data` at `offset`.
    ///
    /// # Errors
    /// Any I/O error.
    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()>;
}
