//! The seam between the rules above and the engine below that stores bytes.
//!
//! An engine offers ordered tables of byte strings, snapshots to read from, and write
//! transactions given as a closure that it may run again. Nothing above this module knows which
//! engine is at work, and nothing may assume that a transaction can be of any size.
//!
//! Two engines come with the crate: redb, which is what [`Builder::open`] uses, and
//! [`MemoryEngine`], which keeps everything in memory and can be told to fail.
//!
//! [`Builder::open`]: crate::Builder::open

mod memory;
mod redb;
mod undo;

use std::fmt;
use std::ops::{Bound, ControlFlow};
use std::sync::Arc;

pub use memory::{Fault, MemoryEngine};
pub(crate) use redb::{Access, RedbEngine, Source};

use crate::error::{Cause, Error};

/// A table: to an engine, a number and a name.
///
/// Engines know none in advance: those of a store are listed in [`tables`](crate::tables). No two of
/// them share a number or a name. The name is what stands in a file; numbers may change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Table {
    number: u8,
    name: &'static str,
}

impl Table {
    /// Numbers are below this, so that an engine can keep what it has for each table in an array.
    pub const MOST: usize = 32;

    /// For constants only, in which a number that is too large does not compile.
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

/// What an engine has to say when it cannot do as asked.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum EngineError {
    /// It failed, and nothing of the transaction was stored.
    Failed(Cause),
    /// It failed while committing: the transaction may or may not have been stored.
    Uncertain(Cause),
    /// What it read is damaged: the engine can no longer be relied on.
    Corrupted(String),
    /// A row cannot be decoded, or contradicts other rows. The engine that returned it is in order,
    /// and so are all other rows, as far as anybody knows.
    DamagedRow(String),
    /// The transaction is larger than the engine allows.
    TooLarge,
    /// Something else has to end first.
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
    /// A failure that has no cause but its description.
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
            EngineError::TooLarge => Error::TooLarge,
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

/// Which way a scan goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// From the smallest key to the largest.
    Ascending,
    /// From the largest key to the smallest.
    Descending,
}

/// Takes the entries of a scan, and says when it has seen enough.
pub type Visit<'v> = &'v mut dyn FnMut(&[u8], &[u8]) -> ControlFlow<()>;

/// Reading within a snapshot or a write transaction.
///
/// A table comes into being with the first [`put`](Write::put) or [`delete`](Write::delete) in it.
/// Before that it is empty for a write transaction, and for a snapshot it is empty or an error.
///
/// Entries are passed to a closure by reference, so that an engine need not copy them. If the closure
/// panics, the panic passes through to whoever called the engine, which works on.
pub trait Read {
    /// Shows the value of a key to `visit`; `false` if there is none.
    ///
    /// # Errors
    /// [`EngineError`] if the engine cannot read.
    fn get(&self, table: Table, key: &[u8], visit: &mut dyn FnMut(&[u8])) -> EngineResult<bool>;

    /// Shows the entries of a range in order until `visit` breaks off.
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

/// Writing within a transaction. It sees what it has written.
pub trait Write: Read {
    /// Stores a value under a key, in place of the one that was there.
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

    /// Sets the savepoint to which [`rollback`](Write::rollback) returns, in place of the one
    /// before. This is cheap: the engine remembers the old value of each key written after it.
    fn savepoint(&mut self);

    /// Undoes every put and delete since the last savepoint. Without a savepoint it does nothing.
    ///
    /// # Errors
    /// [`EngineError`] if the engine cannot write; the transaction must then be abandoned.
    fn rollback(&mut self) -> EngineResult<()>;
}

/// A state of the store at one instant, undisturbed by later transactions.
pub trait EngineSnapshot: Read + Send + Sync {
    /// Rows and bytes of one table.
    ///
    /// # Errors
    /// [`EngineError`] if the engine cannot read.
    fn table_size(&self, table: Table) -> EngineResult<TableSize>;
}

/// How large a table is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, serde::Serialize)]
pub struct TableSize {
    /// Its number of rows.
    pub rows: u64,
    /// The bytes its live pages take up; for an engine without pages, its keys and values.
    pub bytes: u64,
}

/// How soon a transaction must be on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Flush {
    /// Before the call returns, with everything that was committed before it.
    Now,
    /// With a later transaction. The engine may gather such transactions and commit them together, so
    /// a snapshot may have to wait until one has run: they must be small.
    Later,
    /// With a later transaction, for large ones: no snapshot waits for it. Until it is committed,
    /// snapshots show the state before it, with everything that was committed earlier.
    LaterAlone,
}

/// A store of ordered tables.
pub trait Engine: Send + Sync {
    /// A snapshot of the latest committed state.
    ///
    /// # Errors
    /// [`EngineError`] if the engine cannot read.
    fn snapshot(&self) -> EngineResult<Arc<dyn EngineSnapshot>>;

    /// Runs `transaction` and commits what it wrote, all or nothing. If it returns an error, nothing
    /// is committed; if it panics, nothing is committed and the panic passes through. It may be run
    /// several times, each on a fresh state; only its last run counts.
    ///
    /// What it read was the latest committed state when it was committed: nobody else's commit came in
    /// between. This holds for a transaction that writes nothing as well, which commits nothing: its
    /// caller relies on what it did not find, such as a job to lease. An engine that lets transactions
    /// run at the same time must check it for these too.
    ///
    /// # Errors
    /// What `transaction` returned, or [`EngineError`] if the engine cannot commit.
    fn write(
        &self,
        flush: Flush,
        transaction: &mut dyn FnMut(&mut dyn Write) -> EngineResult<()>,
    ) -> EngineResult<()>;

    /// Bytes the store takes up where it is kept.
    ///
    /// # Errors
    /// [`EngineError`] if that cannot be told.
    fn stored_bytes(&self) -> EngineResult<u64>;

    /// Closes and opens the storage again in place, after a failure.
    ///
    /// # Errors
    /// [`crate::Error`] if it cannot be opened again; it then stays closed.
    fn reopen(&self) -> crate::Result<()>;

    /// Closes the storage, leaving it in order. Snapshots that are still held cannot be relied
    /// on afterwards.
    ///
    /// # Errors
    /// [`EngineError`] if that fails.
    fn close(&self) -> EngineResult<()>;

    /// Closes the descriptors that a forked child shares with its parent, and does nothing else: it
    /// writes nothing, releases no locks, and waits for nothing. It is called in the child only, in
    /// place of [`close`](Engine::close); the engine is leaked there.
    fn leave(&self) {}

    /// Gives unused space back, where the engine can.
    ///
    /// # Errors
    /// [`EngineError::InUse`] while a snapshot is held, or what the engine met.
    fn compact(&self) -> EngineResult<()> {
        Ok(())
    }
}

/// A place to keep the bytes of a redb file other than a file: for simulated disks.
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

    /// Makes everything written so far survive a loss of power.
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
