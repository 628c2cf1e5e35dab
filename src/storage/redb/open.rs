//! Opening, making and closing a redb database.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use parking_lot::{Mutex, RwLock};
use redb::{
    ConcurrencyMode, Database, DatabaseError, ReadOnlyDatabase, ReadTransaction, ReadableDatabase,
    StorageError,
};

use super::RedbEngine;
use super::device::DeviceBackend;
use super::error::{closed, storage, transaction_error};
use super::guard::panic_text;
use crate::config::Sharing;
use crate::error::{Error, Result};
use crate::storage::{Device, Engine, EngineError, EngineResult, Flush, Write};

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

pub(super) enum Handle {
    Writable(Database),
    ReadOnly(ReadOnlyDatabase),
}

/// Makes a new store under a passing name, and gives it its own once it is complete.
pub(super) fn create(
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
pub(super) fn open_handle(source: &Source, access: Access, new: bool) -> Result<Handle> {
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

pub(super) fn source_path(source: &Source) -> PathBuf {
    match source {
        Source::File(path) => path.clone(),
        Source::Device(_) => PathBuf::from("(device)"),
    }
}

pub(super) fn close_handle(handle: Handle) -> EngineResult<()> {
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

pub(super) fn begin_read(database: &Option<Handle>) -> EngineResult<ReadTransaction> {
    match database {
        Some(Handle::Writable(database)) => database.begin_read(),
        Some(Handle::ReadOnly(database)) => database.begin_read(),
        None => return Err(closed()),
    }
    .map_err(transaction_error)
}
