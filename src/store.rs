//! The store: opening, commands, snapshots, closing.

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::command::{Answer, Command, LeaseCommand, Receipt, Stamped};
use crate::commit::{Committer, Events};
use crate::config::{Caps, CapsChange, Durability, Sharing};
use crate::error::{Error, Result};
use crate::keeper::{Flusher, Keeper};
use crate::lease::{Held, Worker, unexpected};
use crate::query::{Snapshot, Stretches, WorkerInfo};
use crate::record::{Import, JobId, NewJob};
use crate::storage::{Access, Device, Engine, Flush, MemoryEngine, RedbEngine, Source};
use crate::sync::{Mutex, RwLock};
use crate::tables;
use crate::time::{Clock, SystemClock, Timestamp};

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
    clock: Arc<dyn Clock>,
}

#[derive(Clone)]
enum Place {
    File(PathBuf),
    Device(Arc<dyn Device>),
    Engine(Arc<dyn Engine>),
}

/// What redb may keep in memory unless told otherwise: its own default is 1 GiB a process.
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
            clock: Arc::new(SystemClock),
        }
    }

    /// A store on a device: for simulated disks. Nothing guards it against a second opener.
    pub fn on_device(device: Arc<dyn Device>) -> Builder {
        Builder::new(Place::Device(device))
    }

    /// A store on an engine of the caller's, such as a [`MemoryEngine`] that is told to fail.
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
    /// and not a wrong answer later. It reads the whole file: about as long as copying it. Off by
    /// default; without effect on [`open_read_only`](Builder::open_read_only).
    pub fn check_on_open(mut self, check: bool) -> Builder {
        self.check_on_open = check;
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
    /// - [`Error::Environment`] if a variable that was asked for is not a number.
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
        let path = self.path();
        let engine = self.open_engine(false)?;
        let committer = Arc::new(Committer::new(engine, self.durability));
        let flusher = match self.durability {
            Durability::Immediate => None,
            Durability::Relaxed { max_delay } => {
                Some(Flusher::start(committer.clone(), self.clock.clone(), max_delay)?)
            }
        };
        let store = Store {
            inner: Arc::new(Inner {
                committer,
                clock: self.clock,
                path: path.clone(),
                keeper: Mutex::new(None),
                flusher: Mutex::new(flusher),
                stretches: RwLock::default(),
            }),
        };
        if !wishes.is_empty() && wishes.apply(store.caps()?) != store.caps()? {
            store.set_caps(wishes)?;
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
        Ok(Reader { engine, clock: self.clock, stretches: Arc::default() })
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
            Place::File(path) => Source::File(path.clone()),
            Place::Device(device) => Source::Device(device.clone()),
            Place::Engine(engine) => {
                match tables::format(&*engine.snapshot()?)? {
                    Some(found) => self.check_version(found)?,
                    None => engine
                        .write(Flush::Now, &mut |txn| tables::initialize(txn, Caps::default()))?,
                }
                return Ok(engine.clone());
            }
        };
        let open = |access| {
            RedbEngine::open(source.clone(), access, &mut |txn| {
                tables::initialize(txn, Caps::default())
            })
        };
        // Opening a file for writing rewrites parts of it, even if it turns out not to be ours: so
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
        let not_ours = || Error::NotAStore {
            path: self.path(),
            why: "it is a redb file of another program".into(),
        };
        if !engine.has_meta()? {
            return Err(not_ours());
        }
        self.check_version(tables::format(&*engine.snapshot()?)?.ok_or_else(not_ours)?)
    }

    fn check_version(&self, found: u64) -> Result<()> {
        if found != u64::from(tables::FORMAT) {
            return Err(Error::FormatVersion {
                path: self.path(),
                found: u32::try_from(found).unwrap_or(u32::MAX),
                supported: tables::FORMAT,
            });
        }
        Ok(())
    }
}

/// A store of jobs and of what workers did. Cheap to clone; all clones are one store.
///
/// It closes when the last handle (store, worker or lease) is dropped, or by
/// [`close`](Store::close). Calls block until they are answered.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    committer: Arc<Committer>,
    clock: Arc<dyn Clock>,
    path: PathBuf,
    keeper: Mutex<Option<Keeper>>,
    flusher: Mutex<Option<Flusher>>,
    /// What snapshots have added up. Locked while the storage is opened again, so that none keeps
    /// sums from before for one from after.
    stretches: RwLock<Arc<Stretches>>,
}

impl Inner {
    fn close(&self) -> Result<()> {
        let closed = self.committer.close();
        if let Some(keeper) = self.keeper.lock().take() {
            keeper.stop();
        }
        if let Some(flusher) = self.flusher.lock().take() {
            flusher.stop();
        }
        closed
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Err(error) = self.close() {
            tracing::error!(path = %self.path.display(), %error, "a store could not be closed in order");
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.inner.path).finish_non_exhaustive()
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
        Builder::on_engine(Arc::new(MemoryEngine::new())).open()
    }

    /// Where the store is kept.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    // Workers

    /// The worker of this name, known from now on if it was not. The kind (such as `pc` or
    /// `gpu`) groups workers in statistics; naming another one changes it.
    ///
    /// A name stands for one worker at a time, but does not guard anything: leases are guarded by
    /// their tokens.
    ///
    /// # Errors
    /// [`Error::Length`] if name or kind is empty, or longer than 255 and 64 bytes.
    pub fn worker(&self, name: &str, kind: &str) -> Result<Worker> {
        let register = Command::Register { name: name.to_string(), kind: kind.to_string() };
        match self.submit_one(register)? {
            Answer::Worker(id) => Ok(Worker::new(self.clone(), id, name)),
            other => Err(unexpected(&other)),
        }
    }

    // Jobs

    /// Creates a job.
    ///
    /// # Errors
    /// - [`Error::Length`] if the prefix is empty or longer than 255 bytes.
    /// - [`Error::EmptyRange`] if the range holds no position.
    /// - [`Error::Overlap`] if another job of the prefix covers some of it.
    pub fn create_job(&self, job: NewJob) -> Result<JobId> {
        let created = self.create_jobs([job])?;
        created.first().copied().ok_or_else(|| Error::invalid("no job was created"))
    }

    /// Creates many jobs in one transaction: all of them, or none. The ids come in the order of
    /// the jobs.
    ///
    /// # Errors
    /// As [`create_job`](Store::create_job), for the first job that is refused.
    pub fn create_jobs(&self, jobs: impl IntoIterator<Item = NewJob>) -> Result<Vec<JobId>> {
        match self.submit_one(Command::Create(jobs.into_iter().collect()))? {
            Answer::Jobs(ids) => Ok(ids),
            other => Err(unexpected(&other)),
        }
    }

    /// Finds the job with exactly this prefix and range, or creates it. Answers its id, and
    /// whether it is new: of two callers at once, one is told so.
    ///
    /// # Errors
    /// As [`create_job`](Store::create_job): a job with another range that overlaps is in the way.
    pub fn find_or_create_job(&self, job: NewJob) -> Result<(JobId, bool)> {
        match self.submit_one(Command::FindOrCreate(job))? {
            Answer::Found { job, created } => Ok((job, created)),
            other => Err(unexpected(&other)),
        }
    }

    /// Calls off a job that is waiting or held. Its holder's next command gets
    /// [`Error::LeaseLost`].
    ///
    /// # Errors
    /// [`Error::UnknownJob`]; [`Error::Status`] if it has ended.
    pub fn cancel_job(&self, job: JobId) -> Result<()> {
        self.submit_one(Command::Cancel(job)).map(|_| ())
    }

    /// Puts a failed or cancelled job back in the queue, to go on from its cursor, with no attempt
    /// counted.
    ///
    /// # Errors
    /// [`Error::UnknownJob`]; [`Error::Status`] if it neither failed nor was cancelled.
    pub fn retry_job(&self, job: JobId) -> Result<()> {
        self.submit_one(Command::Retry(job)).map(|_| ())
    }

    /// Deletes a job that has ended, with its findings. What workers did for it stays counted.
    ///
    /// # Errors
    /// [`Error::UnknownJob`]; [`Error::Status`] if it has not ended.
    pub fn delete_job(&self, job: JobId) -> Result<()> {
        self.submit_one(Command::Delete(job))?;
        self.settle()
    }

    /// Takes back the leases of all jobs that have had neither a checkpoint nor a new lease for
    /// this long, and answers how many. It counts as no attempt. Their holders' next commands get
    /// [`Error::LeaseLost`].
    ///
    /// # Errors
    /// What the storage meets.
    pub fn release_stale(&self, older_than: Duration) -> Result<u64> {
        let since = self.now().before(older_than);
        let mut sum = 0;
        loop {
            match self.submit_one(Command::ReleaseStale { since })? {
                Answer::Released { jobs, more } => {
                    sum += jobs;
                    if !more {
                        return Ok(sum);
                    }
                }
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// Sends a command under a lease that is kept elsewhere, such as by a remote worker.
    /// [`Lease`](crate::Lease) is the comfortable way.
    ///
    /// Only the sequence number after the last one applies. The last one, repeated with the same
    /// content, gets its first answer again and changes nothing.
    ///
    /// # Errors
    /// - [`Error::LeaseLost`] if the token is not the job's present one.
    /// - [`Error::OutOfSequence`] or [`Error::Altered`] if the sequence number does not fit.
    /// - else as the methods of [`Lease`](crate::Lease).
    pub fn submit(&self, command: LeaseCommand) -> Result<Receipt> {
        match self.submit_one(Command::held(command))? {
            Answer::Receipt(receipt) => Ok(receipt),
            other => Err(unexpected(&other)),
        }
    }

    /// Sends many commands to be applied in order and, as far as the engine allows, in one
    /// transaction. Each gets its own answer; one that is refused does not stop the others.
    pub fn submit_many(
        &self,
        commands: impl IntoIterator<Item = LeaseCommand>,
    ) -> Vec<Result<Receipt>> {
        let now = self.now();
        let checked: Vec<Result<Stamped>> = commands
            .into_iter()
            .map(|command| {
                let command = Command::held(command);
                command.check().map(|()| Stamped { now, command })
            })
            .collect();
        let mut verdicts: Vec<Result<()>> = Vec::with_capacity(checked.len());
        let mut accepted = Vec::with_capacity(checked.len());
        for command in checked {
            verdicts.push(command.map(|command| accepted.push(command)));
        }
        let mut answers = self.inner.committer.submit_all(accepted).into_iter();
        let mut answer = |()| match answers.next() {
            Some(Ok(Answer::Receipt(receipt))) => Ok(receipt),
            Some(Ok(other)) => Err(unexpected(&other)),
            Some(Err(error)) => Err(error),
            None => Err(Error::Closed),
        };
        verdicts.into_iter().map(|verdict| verdict.and_then(&mut answer)).collect()
    }

    // Tiers

    /// Takes records from elsewhere into the tiers, in one transaction. Answers whether they were
    /// new: an import whose id is among the last 1,024 adds nothing.
    ///
    /// # Errors
    /// - [`Error::UnknownWorker`] if a record names a worker the store does not know.
    /// - [`Error::ImportAltered`] if the id was used for other records.
    /// - [`Error::Invalid`] if totals contradict themselves or their period, or would make a
    ///   worker's totals too large to add up exactly.
    pub fn import(&self, import: Import) -> Result<bool> {
        match self.submit_one(Command::import(import))? {
            Answer::Stored { new } => Ok(new),
            other => Err(unexpected(&other)),
        }
    }

    /// The caps that the file has.
    ///
    /// # Errors
    /// What the storage meets.
    pub fn caps(&self) -> Result<Caps> {
        Ok(self.snapshot()?.caps())
    }

    /// Changes caps; those left `None` stay. A lowered cap is reached in steps: the first is taken
    /// at once, and one with every commit that follows. [`settle`](Store::settle) takes the rest.
    ///
    /// # Errors
    /// [`Error::Invalid`] if a cap is 0.
    pub fn set_caps(&self, change: impl Into<CapsChange>) -> Result<()> {
        self.submit_one(Command::SetCaps(change.into())).map(|_| ())
    }

    /// Finishes what lowered caps and deleted jobs left to do, in bounded steps between which
    /// other callers' commands are committed.
    ///
    /// # Errors
    /// What the storage meets.
    pub fn settle(&self) -> Result<()> {
        while self.snapshot()?.is_settling() {
            self.submit_one(Command::Settle)?;
        }
        Ok(())
    }

    // Reading

    /// All that is stored, as of now. See [`Snapshot`] for the questions it answers.
    ///
    /// # Errors
    /// What the storage meets.
    pub fn snapshot(&self) -> Result<Snapshot> {
        let stretches = self.inner.stretches.read();
        let committer = &self.inner.committer;
        snapshot(committer.engine()?, self.now(), &stretches)
            // Closed meanwhile: that is then the reason.
            .map_err(|error| committer.engine().err().unwrap_or(error))
    }

    /// What is known of the worker of this name; `None` if it never registered.
    ///
    /// # Errors
    /// What the storage meets.
    pub fn find_worker(&self, name: &str) -> Result<Option<WorkerInfo>> {
        self.snapshot()?.worker_named(name)
    }

    /// The time by the clock of the store.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    // Upkeep

    /// Returns once everything answered so far is on disk. Of use under [`Durability::Relaxed`].
    ///
    /// # Errors
    /// What the storage meets.
    pub fn flush(&self) -> Result<()> {
        self.submit_one(Command::Flush).map(|_| ())
    }

    /// Gives unused space of the file back to the file system. Writers wait meanwhile.
    ///
    /// # Errors
    /// [`Error::InUse`] while a snapshot is held.
    pub fn compact(&self) -> Result<()> {
        self.inner.committer.while_still(|engine| Ok(engine.compact()?))
    }

    /// Opens the storage again in place, after an [`Error::Uncertain`] or [`Error::Storage`] made
    /// the store stop writing. Workers and leases stay valid; see [`Lease::retry`]. Snapshots taken
    /// before cannot be relied on afterwards.
    ///
    /// [`Lease::retry`]: crate::Lease::retry
    ///
    /// # Errors
    /// As [`Builder::open`]; the store then stays stopped, and this can be tried again.
    pub fn reopen(&self) -> Result<()> {
        let mut stretches = self.inner.stretches.write();
        *stretches = Arc::default();
        self.inner.committer.reopen()?;
        tracing::info!(path = %self.inner.path.display(), "store reopened");
        Ok(())
    }

    /// Closes the store: takes no more commands, answers all that wait, syncs, and lets the file
    /// go. Handles that still exist get [`Error::Closed`] from then on; a lease among them is not
    /// given back but lapses. Closing twice does nothing.
    ///
    /// # Errors
    /// What the storage meets; the store is closed all the same.
    pub fn close(&self) -> Result<()> {
        self.inner.close()
    }

    pub(crate) fn submit_one(&self, command: Command) -> Result<Answer> {
        command.check()?;
        self.inner.committer.submit(Stamped { now: self.now(), command })
    }

    pub(crate) fn events(&self) -> &Events {
        self.inner.committer.events()
    }

    pub(crate) fn keep_alive(&self, lease: &Arc<Held>, interval: Duration) -> Result<()> {
        let mut keeper = self.inner.keeper.lock();
        if keeper.is_none() {
            *keeper = Some(Keeper::start()?);
        }
        if let Some(keeper) = &*keeper {
            keeper.keep(lease, interval);
        }
        Ok(())
    }

    /// Sequence number of the last command under the lease of a job, and the job's cursor.
    pub(crate) fn lease_position(&self, job: JobId) -> Result<(u64, u64)> {
        let snapshot = self.inner.committer.engine()?.snapshot()?;
        let row: Option<tables::JobRow> = tables::load(&*snapshot, &crate::key::job(job))?;
        row.map(|row| (row.sequence, row.cursor)).ok_or(Error::UnknownJob(job))
    }
}

fn snapshot(engine: &dyn Engine, now: Timestamp, stretches: &Arc<Stretches>) -> Result<Snapshot> {
    Snapshot::new(engine.snapshot()?, now, engine.stored_bytes()?, stretches.clone())
}

/// A store opened for reading only, as beside a writer in another process.
pub struct Reader {
    engine: Arc<dyn Engine>,
    clock: Arc<dyn Clock>,
    stretches: Arc<Stretches>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl Reader {
    /// All that is stored, as of now.
    ///
    /// # Errors
    /// What the storage meets.
    pub fn snapshot(&self) -> Result<Snapshot> {
        snapshot(&*self.engine, self.clock.now(), &self.stretches)
    }
}
