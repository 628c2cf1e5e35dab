//! Opening a store.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::clock::{Clock, SystemClock};
use crate::commit::{Committer, Flusher};
use crate::config::{Caps, CapsChange, Durability, Sharing};
use crate::error::{Error, Result};
use crate::reader::Reader;
use crate::rules::apply_all;
use crate::schema::meta;
use crate::schema::tables;
use crate::storage::{Access, Device, Engine, Flush, MemoryEngine, RedbEngine, Source};
use crate::store::Store;

/// Opens a store, with every setting at a default that suits most.
///
/// ```no_run
/// use milepost::{Durability, Store};
/// use std::time::Duration;
///
/// let store = Store::builder("scan.milepost")
///     .history_limit(50_000)
///     .durability(Durability::Relaxed { max_delay: Duration::from_millis(100) })
///     .open()?;
/// # Ok::<(), milepost::Error>(())
/// ```
#[derive(Clone)]
#[must_use = "a builder does nothing until `open` is called"]
pub struct Builder {
    place: Place,
    caps: CapsChange,
    caps_from_env: bool,
    durability: Durability,
    sharing: Sharing,
    cache_bytes: usize,
    check_on_open: bool,
    create: bool,
    reopen_on_error: bool,
    clock: Arc<dyn Clock>,
}

#[derive(Clone)]
enum Place {
    File(PathBuf),
    #[cfg_attr(not(feature = "testing"), expect(dead_code, reason = "only tests have devices"))]
    Device(Arc<dyn Device>),
    Engine(Arc<dyn Engine>),
}

impl fmt::Debug for Builder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Builder")
            .field("path", &self.path())
            .field("durability", &self.durability)
            .field("sharing", &self.sharing)
            .finish_non_exhaustive()
    }
}

/// The default size of redb's cache, whose own default is 1 GiB a process.
const CACHE_BYTES: usize = 16 << 20;

impl Builder {
    fn new(place: Place) -> Builder {
        Builder {
            place,
            caps: CapsChange::default(),
            caps_from_env: false,
            durability: Durability::default(),
            sharing: Sharing::default(),
            cache_bytes: CACHE_BYTES,
            check_on_open: false,
            create: true,
            reopen_on_error: false,
            clock: Arc::new(SystemClock),
        }
    }

    #[cfg(feature = "testing")]
    /// A store on a device: for simulated disks. Nothing guards it against a second opener.
    pub fn on_device(device: Arc<dyn Device>) -> Builder {
        Builder::new(Place::Device(device))
    }

    #[cfg(feature = "testing")]
    /// A store on an engine of the caller's, such as a [`MemoryEngine`] that is made to fail.
    pub fn on_engine(engine: Arc<dyn Engine>) -> Builder {
        Builder::new(Place::Engine(engine))
    }

    /// Changes how many history records are kept, over all workers. The default of a new store is
    /// 10,000. A cap is kept in the file, and stays until somebody changes it again.
    pub fn history_limit(mut self, records: u32) -> Builder {
        self.caps.history = Some(records);
        self
    }

    /// Changes how many daily rows of each worker are kept. The default of a new store is 1,000.
    pub fn daily_limit(mut self, rows: u32) -> Builder {
        self.caps.daily = Some(rows);
        self
    }

    /// Changes how many monthly rows of each worker are kept. The default of a new store is 1,000.
    pub fn monthly_limit(mut self, rows: u32) -> Builder {
        self.caps.monthly = Some(rows);
        self
    }

    /// Takes caps from the environment where it names some; see [`CapsChange::from_env`]. The
    /// limits set on this builder come before those of the environment, and both before those of
    /// the file.
    pub fn caps_from_env(mut self) -> Builder {
        self.caps_from_env = true;
        self
    }

    /// Sets what an acknowledged command survives. The default is [`Durability::Immediate`].
    pub fn durability(mut self, durability: Durability) -> Builder {
        self.durability = durability;
        self
    }

    /// Sets which processes may have the file open together. The default is
    /// [`Sharing::Exclusive`].
    pub fn sharing(mut self, sharing: Sharing) -> Builder {
        self.sharing = sharing;
        self
    }

    /// Sets how many bytes of the file are cached in memory. The default is 16 MiB.
    pub fn cache_bytes(mut self, bytes: usize) -> Builder {
        self.cache_bytes = bytes;
        self
    }

    /// Verifies every page of the file when it is opened, so that a flipped bit is an error now
    /// and not a wrong value later. It reads the whole file: about as long as copying it. Off by
    /// default; without effect on [`open_read_only`](Builder::open_read_only).
    pub fn check_on_open(mut self, check: bool) -> Builder {
        self.check_on_open = check;
        self
    }

    /// Sets whether the store is created if there is no file. The default is `true`; for `false`, a
    /// missing file is an [`Error::Io`], so that a mistyped path is not taken for a new store.
    pub fn create(mut self, create: bool) -> Builder {
        self.create = create;
        self
    }

    /// Makes the store recover from errors of the storage by itself. Off by default.
    ///
    /// After a failed commit a store takes no commands until somebody calls [`Store::reopen`]. With
    /// this, the caller that gets such an error reopens it, at most once a second, and repeats its
    /// command, if that is safe: a command under a lease always is; another one only if it is certain
    /// that it was not stored. Otherwise the caller gets [`Error::Uncertain`], from a store that
    /// takes commands again. While reopening fails, as with a full disk, callers get errors.
    pub fn reopen_on_error(mut self, reopen: bool) -> Builder {
        self.reopen_on_error = reopen;
        self
    }

    /// Sets where the time comes from. The default is the [`SystemClock`].
    pub fn clock(mut self, clock: impl Clock) -> Builder {
        self.clock = Arc::new(clock);
        self
    }

    /// Opens the store for reading and writing, making it first if there is no file.
    ///
    /// # Errors
    /// - [`Error::Locked`] if another handle excludes this one.
    /// - [`Error::NotAStore`] or [`Error::FormatVersion`] if the file is something else.
    /// - [`Error::Corrupted`] if it is damaged and that shows.
    /// - [`Error::Io`] if the file or its folder cannot be used.
    /// - [`Error::InvalidVariable`] if an environment variable that it was told to read is not a number.
    /// - [`Error::Invalid`] if a cap is 0, or the settings contradict each other.
    pub fn open(self) -> Result<Store> {
        let mut wishes = self.caps;
        if self.caps_from_env {
            wishes = CapsChange::from_env()?.overridden_by(wishes);
        }
        wishes.check()?;
        if self.sharing != Sharing::Exclusive && self.durability != Durability::Immediate {
            return Err(Error::invalid(
                "a shared file cannot be Relaxed: commits held back in one process would be invisible to the \
                 others; use Sharing::Exclusive or Durability::Immediate",
            ));
        }
        if !self.create
            && let Place::File(path) = &self.place
        {
            std::fs::metadata(path).map_err(|e| Error::io(path, e))?;
        }
        let path = self.path();
        let is_shared = self.sharing != Sharing::Exclusive;
        let engine = self.open_engine(false)?;
        let committer = Arc::new(Committer::new(engine, apply_all, self.durability));
        let flusher = match self.durability {
            Durability::Immediate => None,
            Durability::Relaxed { max_delay } => {
                Some(Flusher::start(committer.clone(), self.clock.clone(), max_delay)?)
            }
        };
        let reopens = self.reopen_on_error;
        let store = Store::start(committer, self.clock, path.clone(), is_shared, reopens, flusher);
        if !wishes.is_empty() {
            let caps = store.snapshot()?.caps();
            if wishes.apply(caps) != caps {
                store.set_caps(wishes)?;
            }
        }
        tracing::info!(path = %path.display(), sharing = ?self.sharing, durability = ?self.durability, "store opened");
        Ok(store)
    }

    /// Opens the store for reading only. Beside a writer this needs the writer to have named
    /// [`Sharing::SingleWriter`] or [`Sharing::MultiWriter`], and the same mode here.
    ///
    /// # Errors
    /// - [`Error::NeedsRecovery`] if the last writer did not close the file.
    /// - else as [`open`](Builder::open); a missing file is an [`Error::Io`].
    pub fn open_read_only(self) -> Result<Reader> {
        let engine = self.open_engine(true)?;
        Ok(Reader::new(engine, self.clock))
    }

    fn path(&self) -> PathBuf {
        match &self.place {
            Place::File(path) => path.clone(),
            Place::Device(_) => PathBuf::from("(device)"),
            Place::Engine(_) => PathBuf::from("(memory)"),
        }
    }

    fn open_engine(&self, read_only: bool) -> Result<Arc<dyn Engine>> {
        let access = Access {
            sharing: self.sharing,
            read_only,
            cache_bytes: self.cache_bytes,
            check_on_open: self.check_on_open,
        };
        let source = match &self.place {
            // The process may be in another folder when the file is opened again.
            Place::File(path) => {
                Source::File(std::path::absolute(path).map_err(|e| Error::io(path, e))?)
            }
            Place::Device(device) => Source::Device(device.clone()),
            Place::Engine(engine) => {
                if !read_only {
                    engine.write(Flush::Now, &mut |txn| meta::initialize(txn, Caps::default()))?;
                }
                self.check_version(meta::format(&*engine.snapshot()?)?)?;
                return Ok(engine.clone());
            }
        };
        let open = |access| {
            RedbEngine::open(source.clone(), access, &mut |txn| {
                meta::initialize(txn, Caps::default())
            })
        };
        // Opening a file for writing rewrites parts of it, even if it is not a milepost file: so
        // look first. What keeps a reader from looking, the opening itself will tell.
        if !read_only
            && matches!(source, Source::File(_))
            && let Ok(reader) = open(Access { read_only: true, ..access })
        {
            self.check_format(&reader)?;
        }
        let engine = open(access)?;
        self.check_format(&engine)?;
        Ok(Arc::new(engine))
    }

    fn check_format(&self, engine: &RedbEngine) -> Result<()> {
        if !engine.has_table(tables::META)? {
            return Err(self.not_a_store());
        }
        self.check_version(meta::format(&*engine.snapshot()?)?)
    }

    fn check_version(&self, found: Option<u64>) -> Result<()> {
        let found = found.ok_or_else(|| self.not_a_store())?;
        if found != u64::from(meta::FORMAT) {
            return Err(Error::FormatVersion {
                path: self.path(),
                found: u32::try_from(found).unwrap_or(u32::MAX),
                supported: meta::FORMAT,
            });
        }
        Ok(())
    }

    fn not_a_store(&self) -> Error {
        let why = match self.place {
            Place::Engine(_) => "the engine holds no store",
            Place::File(_) | Place::Device(_) => "it is a redb file of another program",
        };
        Error::NotAStore { path: self.path(), why: why.into() }
    }
}

impl Store {
    /// Opens the store in a file, making it if there is none, with default settings.
    ///
    /// # Errors
    /// As [`Builder::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Store> {
        Store::builder(path).open()
    }

    /// Begins opening the store in a file with settings of your own.
    pub fn builder(path: impl AsRef<Path>) -> Builder {
        Builder::new(Place::File(path.as_ref().to_path_buf()))
    }

    /// A store that lives in memory and ends with its last handle.
    ///
    /// # Errors
    /// None in practice.
    pub fn in_memory() -> Result<Store> {
        Builder::new(Place::Engine(Arc::new(MemoryEngine::new()))).open()
    }
}
