//! The engine that keeps a store in a redb file. The only file that names redb.

use std::cell::OnceCell;
use std::ops::{ControlFlow, RangeBounds};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use parking_lot::{Mutex, RwLock};
use redb::{
    CommitError, CompactionError, ConcurrencyMode, Database, DatabaseError, Durability,
    ReadOnlyDatabase, ReadOnlyTable, ReadTransaction, ReadableDatabase, ReadableTable,
    ReadableTableMetadata, StorageBackend, StorageError, TableDefinition, TableError,
    TransactionError, WriteTransaction,
};

use super::undo::UndoLog;
use super::{
    Device, Engine, EngineError, EngineResult, EngineSnapshot, Flush, KeyRange, Order, Read, Table,
    TableSize, Visit, Write, is_empty,
};
use crate::config::Sharing;
use crate::error::{Error, Result};

const TABLES: usize = Table::ALL.len();
const PAGE_BYTES: u64 = 4096;

fn definition(table: Table) -> TableDefinition<'static, &'static [u8], &'static [u8]> {
    TableDefinition::new(table.name())
}

/// Where the bytes are.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    File(PathBuf),
    Device(Arc<dyn Device>),
}

/// How the bytes are to be opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Access {
    pub(crate) sharing: Sharing,
    pub(crate) read_only: bool,
    pub(crate) cache_bytes: usize,
    pub(crate) check_on_open: bool,
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

enum Handle {
    Writable(Database),
    ReadOnly(ReadOnlyDatabase),
}

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
    ) -> EngineResult<()> {
        self.commit_open()?;
        let txn = guarded(&self.broken, || database.begin_write().map_err(transaction_error))?;
        let wrote = match self.run(&txn, transaction) {
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
        match self.run(&gathering.txn, transaction) {
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

    /// Runs the closure on a transaction; says whether it wrote anything.
    fn run(
        &self,
        txn: &WriteTransaction,
        transaction: &mut dyn FnMut(&mut dyn Write) -> EngineResult<()>,
    ) -> EngineResult<bool> {
        guarded(&self.broken, || {
            let mut write = RedbWrite::new(txn);
            transaction(&mut write)?;
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
        match flush {
            Flush::Later => self.gather(database, transaction),
            Flush::Now => self.write_now(database, transaction),
        }
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

/// Makes a new store under a passing name, and gives it its own once it is complete.
fn create(
    path: &Path,
    access: Access,
    initialize: &mut dyn FnMut(&mut dyn Write) -> EngineResult<()>,
) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".milepost-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let passing = builder.tempfile_in(folder).map_err(|e| Error::io(path, e))?.into_temp_path();
    let source = Source::File(passing.to_path_buf());
    let engine = RedbEngine {
        database: RwLock::new(Some(open_handle(
            &source,
            Access { sharing: Sharing::Exclusive, ..access },
            true,
        )?)),
        source,
        access,
        open: Mutex::new(None),
        unsynced: AtomicBool::new(false),
        broken: Arc::new(AtomicBool::new(false)),
    };
    let made = engine.write(Flush::Now, initialize).and_then(|()| engine.close());
    made.map_err(|e| engine.opening(e))?;
    match passing.persist_noclobber(path) {
        Ok(()) => {}
        // Another process was faster: its store is as good.
        Err(e) if e.error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
        Err(e) => return Err(Error::io(path, e.error)),
    }
    #[cfg(unix)]
    std::fs::File::open(folder)
        .and_then(|folder| folder.sync_all())
        .map_err(|e| Error::io(path, e))?;
    Ok(())
}

/// Opens the database; one that is `new` has an empty file so far.
fn open_handle(source: &Source, access: Access, new: bool) -> Result<Handle> {
    let mut builder = Database::builder();
    builder.set_cache_size(access.cache_bytes).set_check_integrity_on_open(access.check_on_open);
    builder.set_concurrency_mode(match access.sharing {
        Sharing::Exclusive => ConcurrencyMode::ExclusiveWriter,
        Sharing::SingleWriter => ConcurrencyMode::SingleWriter,
        Sharing::MultiWriter => ConcurrencyMode::MultiWriter,
    });
    let opened = catch_unwind(AssertUnwindSafe(|| match source {
        Source::File(path) if access.read_only => {
            builder.open_read_only(path).map(Handle::ReadOnly)
        }
        Source::File(path) if new => builder.create(path).map(Handle::Writable),
        Source::File(path) => builder.open(path).map(Handle::Writable),
        Source::Device(device) => {
            builder.create_with_backend(DeviceBackend(device.clone())).map(Handle::Writable)
        }
    }));
    let path = source_path(source);
    match opened {
        Ok(Ok(handle)) => Ok(handle),
        Ok(Err(error)) => Err(open_error(path, access, error)),
        Err(panic) => Err(Error::Corrupted {
            what: format!("{}: {}", path.display(), panic_text(panic.as_ref())),
        }),
    }
}

fn open_error(path: PathBuf, access: Access, error: DatabaseError) -> Error {
    match error {
        DatabaseError::DatabaseAlreadyOpen => Error::Locked { path, hint: locked_hint(access) },
        DatabaseError::LockProtocolMismatch => {
            Error::Locked { path, hint: "a process with another version of redb shares it" }
        }
        DatabaseError::RepairAborted => Error::NeedsRecovery { path },
        DatabaseError::UpgradeRequired(version) => Error::NotAStore {
            path,
            why: format!(
                "it is a redb file of the older format {version}, which no store was written in"
            ),
        },
        DatabaseError::Storage(StorageError::Io(e))
            if e.kind() == std::io::ErrorKind::InvalidData =>
        {
            Error::NotAStore { path, why: e.to_string() }
        }
        DatabaseError::Storage(StorageError::Io(e))
            if e.kind() == std::io::ErrorKind::UnexpectedEof =>
        {
            Error::Corrupted { what: format!("{}: the file is truncated", path.display()) }
        }
        DatabaseError::Storage(StorageError::Io(e)) => Error::io(path, e),
        DatabaseError::Storage(StorageError::Corrupted(what)) => {
            Error::Corrupted { what: format!("{}: {what}", path.display()) }
        }
        other => Error::Io { path, source: Arc::new(redb::Error::from(other)) },
    }
}

fn locked_hint(access: Access) -> &'static str {
    match (access.sharing, access.read_only) {
        (Sharing::Exclusive, false) => {
            "another process, or another handle in this one, has it open; to share it, open it \
             everywhere with Sharing::SingleWriter (one writes, others read) or Sharing::MultiWriter"
        }
        (Sharing::Exclusive, true) => {
            "a writer has it open; to read beside it, open it everywhere with Sharing::SingleWriter \
             or Sharing::MultiWriter"
        }
        (Sharing::SingleWriter, false) => {
            "another writer has it open, or a process uses another sharing mode; for several \
             writers, open it everywhere with Sharing::MultiWriter"
        }
        (Sharing::SingleWriter, true) | (Sharing::MultiWriter, _) => {
            "a process has it open in another sharing mode; all of them must name the same one"
        }
    }
}

fn source_path(source: &Source) -> PathBuf {
    match source {
        Source::File(path) => path.clone(),
        Source::Device(_) => PathBuf::from("(device)"),
    }
}

fn close_handle(handle: Handle) -> EngineResult<()> {
    let closed = catch_unwind(AssertUnwindSafe(|| match handle {
        Handle::Writable(database) => database.close(),
        Handle::ReadOnly(database) => database.close(),
    }));
    match closed {
        Ok(Ok(())) => Ok(()),
        Ok(Err(DatabaseError::Storage(e))) => Err(storage(e)),
        Ok(Err(e)) => Err(EngineError::Failed(Arc::new(redb::Error::from(e)))),
        Err(panic) => Err(EngineError::Corrupted(panic_text(panic.as_ref()))),
    }
}

fn begin_read(database: &Option<Handle>) -> EngineResult<ReadTransaction> {
    match database {
        Some(Handle::Writable(database)) => database.begin_read(),
        Some(Handle::ReadOnly(database)) => database.begin_read(),
        None => return Err(closed()),
    }
    .map_err(transaction_error)
}

struct RedbSnapshot {
    txn: ReadTransaction,
    tables: [OnceLock<ReadOnlyTable<&'static [u8], &'static [u8]>>; TABLES],
    broken: Arc<AtomicBool>,
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
        guarded(&self.broken, || get(self.table(table)?, key, visit))
    }

    fn scan(
        &self,
        table: Table,
        range: KeyRange<'_>,
        order: Order,
        visit: Visit<'_>,
    ) -> EngineResult<()> {
        guarded(&self.broken, || scan(self.table(table)?, range, order, visit))
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

type WriteTable<'t> = redb::Table<'t, &'static [u8], &'static [u8]>;

/// A write transaction with the tables it has opened so far.
struct RedbWrite<'t> {
    txn: &'t WriteTransaction,
    tables: [OnceCell<WriteTable<'t>>; TABLES],
    wrote: bool,
    /// Set with the first savepoint. redb's own savepoints are refused in a transaction that was
    /// written to.
    savepoint: Option<Savepoint>,
}

#[derive(Default)]
struct Savepoint {
    /// Whether the transaction had written anything before it.
    wrote: bool,
    log: UndoLog,
}

impl<'t> RedbWrite<'t> {
    fn new(txn: &'t WriteTransaction) -> RedbWrite<'t> {
        RedbWrite { txn, tables: Default::default(), wrote: false, savepoint: None }
    }

    fn table(&self, table: Table) -> EngineResult<&WriteTable<'t>> {
        let cell = &self.tables[table as usize];
        if let Some(open) = cell.get() {
            return Ok(open);
        }
        let open = self.txn.open_table(definition(table)).map_err(table_error)?;
        Ok(cell.get_or_init(|| open))
    }

    /// Stores a value, or removes it if it is `None`, noting the old one.
    fn set(&mut self, table: Table, key: &[u8], value: Option<&[u8]>) -> EngineResult<()> {
        self.table(table)?;
        let open = self.tables[table as usize]
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
        self.set(table, key, Some(value))
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> EngineResult<()> {
        self.set(table, key, None)
    }

    fn room(&self) -> usize {
        usize::MAX
    }

    fn savepoint(&mut self) {
        let savepoint = self.savepoint.get_or_insert_default();
        savepoint.wrote = self.wrote;
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

fn get(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    key: &[u8],
    visit: &mut dyn FnMut(&[u8]),
) -> EngineResult<bool> {
    match table.get(key).map_err(storage)? {
        Some(value) => {
            visit(value.value());
            Ok(true)
        }
        None => Ok(false),
    }
}

fn scan(
    table: &impl ReadableTable<&'static [u8], &'static [u8]>,
    range: KeyRange<'_>,
    order: Order,
    visit: Visit<'_>,
) -> EngineResult<()> {
    if is_empty(range) {
        return Ok(());
    }
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

/// Runs a call of redb, turning a panic into an error and remembering it.
fn guarded<T>(broken: &AtomicBool, call: impl FnOnce() -> EngineResult<T>) -> EngineResult<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        broken.store(true, Ordering::SeqCst);
        Err(EngineError::Corrupted(panic_text(panic.as_ref())))
    })
}

fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    format!("the storage engine panicked: {text}")
}

fn closed() -> EngineError {
    EngineError::failed("the storage is closed")
}

fn storage(error: StorageError) -> EngineError {
    match error {
        StorageError::Corrupted(what) => EngineError::Corrupted(what),
        StorageError::Io(e) => EngineError::Failed(Arc::new(e)),
        other => EngineError::Failed(Arc::new(redb::Error::from(other))),
    }
}

fn table_error(error: TableError) -> EngineError {
    match error {
        TableError::Storage(e) => storage(e),
        other => EngineError::Corrupted(other.to_string()),
    }
}

fn transaction_error(error: TransactionError) -> EngineError {
    match error {
        TransactionError::Storage(e) => storage(e),
        other => EngineError::Failed(Arc::new(redb::Error::from(other))),
    }
}

/// Lets redb work on a device. Without locks, so in exclusive mode only.
#[derive(Debug)]
struct DeviceBackend(Arc<dyn Device>);

impl StorageBackend for DeviceBackend {
    fn len(&self) -> std::io::Result<u64> {
        self.0.length()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, length: u64) -> std::io::Result<()> {
        self.0.set_length(length)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.0.write(offset, data)
    }
}
