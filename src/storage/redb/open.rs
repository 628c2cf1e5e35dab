//! Opening and creating redb databases.

use std::fs::{File, OpenOptions};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::backends::FileBackend;
use redb::{ConcurrencyMode, Database, DatabaseError, StorageError};

use super::backend::{Backend, Bytes};
use super::database::{Handle, OpenDatabase, Transaction};
use super::guard::panic_text;
use super::header::{self, Header};
use super::system;
use crate::config::Sharing;
use crate::error::{Error, Result};
use crate::storage::{Device, EngineError, Flush};

/// Where the bytes are.
#[derive(Debug, Clone)]
pub(crate) enum Source {
    File(PathBuf),
    Device(Arc<dyn Device>),
}

impl Source {
    pub(super) fn path(&self) -> PathBuf {
        match self {
            Source::File(path) => path.clone(),
            Source::Device(_) => PathBuf::from("(device)"),
        }
    }
}

/// How to open them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Access {
    pub(crate) sharing: Sharing,
    pub(crate) read_only: bool,
    pub(crate) cache_bytes: usize,
    pub(crate) check_on_open: bool,
}

/// Creates a store under a temporary name, and renames it into place once it is complete.
pub(super) fn create(path: &Path, access: Access, initialize: Transaction<'_>) -> Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let mut builder = tempfile::Builder::new();
    builder.prefix(".milepost-");
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    // Without the temporary name, which nobody asked for.
    std::fs::metadata(folder).map_err(|e| Error::io(path, e))?;
    let made = builder.tempfile_in(folder).map_err(|e| Error::io(path, e.kind().into()))?;
    let bytes = Bytes::of_file(backend(made.reopen().map_err(|e| Error::io(path, e))?, path)?);
    let exclusive = Access { sharing: Sharing::Exclusive, ..access };
    let database = open_bytes(bytes, exclusive, path.to_path_buf())?;
    database
        .write(Flush::Now, initialize)
        .and_then(|()| database.close())
        .map_err(|error| opening_path(path.to_path_buf(), error))?;
    match made.into_temp_path().persist_noclobber(path) {
        Ok(()) => {}
        // Another process was first: its store is used.
        Err(e) if e.error.kind() == std::io::ErrorKind::AlreadyExists => return Ok(()),
        Err(e) => return Err(Error::io(path, e.error)),
    }
    #[cfg(unix)]
    File::open(folder).and_then(|folder| folder.sync_all()).map_err(|e| Error::io(path, e))?;
    Ok(())
}

/// Opens the database in a file or on a device.
pub(super) fn open(source: &Source, access: Access) -> Result<OpenDatabase> {
    let bytes = match source {
        Source::File(path) => {
            let opened = OpenOptions::new().read(true).write(!access.read_only).open(path);
            let file = opened.map_err(|e| Error::io(path, e))?;
            let found = file.metadata().map_err(|e| Error::io(path, e))?;
            // redb would create a database in it.
            if found.is_file() && found.len() == 0 {
                return Err(Error::NotAStore {
                    path: path.clone(),
                    why: "the file is empty".into(),
                });
            }
            Bytes::of_file(backend(file, path)?)
        }
        Source::Device(device) => Bytes::of_device(device.clone()),
    };
    open_bytes(bytes, access, source.path())
}

fn backend(file: File, path: &Path) -> Result<FileBackend> {
    FileBackend::new(file)
        .map_err(|e| Error::Io { path: path.to_path_buf(), source: Arc::new(redb::Error::from(e)) })
}

fn open_bytes(bytes: Arc<Bytes>, access: Access, path: PathBuf) -> Result<OpenDatabase> {
    let look = Look::at(&bytes);
    let is_suspect = !access.read_only && !access.check_on_open && !system::is_sound(&bytes);
    if is_suspect {
        tracing::warn!(path = %path.display(), "the quick check found damage: the whole file is checked");
    }
    let mut builder = Database::builder();
    builder
        .set_cache_size(access.cache_bytes)
        .set_check_integrity_on_open(access.check_on_open || is_suspect);
    builder.set_concurrency_mode(match access.sharing {
        Sharing::Exclusive => ConcurrencyMode::ExclusiveWriter,
        Sharing::SingleWriter => ConcurrencyMode::SingleWriter,
        Sharing::MultiWriter => ConcurrencyMode::MultiWriter,
    });
    let backend = Backend(bytes.clone());
    let opened = catch_unwind(AssertUnwindSafe(|| match access.read_only {
        true => builder.open_read_only_with_backend(backend).map(Handle::ReadOnly),
        false => builder.create_with_backend(backend).map(Handle::Writable),
    }));
    let error = match opened {
        Ok(Ok(handle)) => return Ok(OpenDatabase::new(handle, bytes)),
        Ok(Err(error)) => open_error(path, access, &look, error),
        Err(panic) => {
            Error::Corrupted { what: format!("{}: {}", path.display(), panic_text(panic.as_ref())) }
        }
    };
    // redb has closed the file, unless it panicked.
    if let Err(error) = bytes.close() {
        tracing::debug!(%error, "closing a file that could not be opened");
    }
    Err(error)
}

/// Converts an error of the engine while it opens a store.
pub(super) fn opening(source: &Source, error: EngineError) -> Error {
    opening_path(source.path(), error)
}

fn opening_path(path: PathBuf, error: EngineError) -> Error {
    match error {
        EngineError::Corrupted(what) => {
            Error::Corrupted { what: format!("{}: {what}", path.display()) }
        }
        EngineError::Failed(source) | EngineError::Uncertain(source) => Error::Io { path, source },
        other => Error::Storage { source: Arc::new(other) },
    }
}

/// What is known of a file before redb opens it.
struct Look {
    length: u64,
    header: Option<Header>,
    is_sqlite: bool,
}

impl Look {
    fn at(bytes: &Bytes) -> Look {
        // An error is ignored here: redb will report it.
        let length = bytes.length().unwrap_or(0);
        let mut first = vec![0; length.min(header::LENGTH as u64) as usize];
        let read = bytes.read(0, &mut first).is_ok();
        Look {
            length,
            header: if read { Header::parse(&first) } else { None },
            is_sqlite: read && header::is_sqlite(&first),
        }
    }

    /// The error text if the file is truncated.
    fn missing(&self) -> Option<String> {
        let whole = self.header.as_ref()?.file_length();
        (self.length < whole)
            .then(|| format!("the file is truncated: {} of {whole} bytes are there", self.length))
    }
}

fn open_error(path: PathBuf, access: Access, look: &Look, error: DatabaseError) -> Error {
    match error {
        DatabaseError::DatabaseAlreadyOpen => Error::Locked { path, hint: locked_hint(access) },
        DatabaseError::LockProtocolMismatch => {
            Error::Locked { path, hint: "a process with another version of redb shares it" }
        }
        DatabaseError::RepairAborted => match look.missing() {
            Some(missing) => Error::Corrupted { what: format!("{}: {missing}", path.display()) },
            None => Error::NeedsRecovery { path },
        },
        DatabaseError::UpgradeRequired(version) => Error::NotAStore {
            path,
            why: format!(
                "it is a redb file of the older format {version}, which no store was written in"
            ),
        },
        DatabaseError::Storage(StorageError::Io(e))
            if e.kind() == std::io::ErrorKind::InvalidData =>
        {
            let why = match look.is_sqlite {
                true => "it is an SQLite database".into(),
                false => e.to_string(),
            };
            Error::NotAStore { path, why }
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
            "another process, or another handle in this one, has it open, or a process that was \
             forked from one that had it open; to share it, open it everywhere with \
             Sharing::SingleWriter (one writes, others read) or Sharing::MultiWriter"
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
