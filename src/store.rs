//! The store: commands, snapshots, closing.

mod jobs;
mod upkeep;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::clock::{Clock, ClockWatch};
use crate::commit::{Committer, Flusher};
use crate::error::{Error, Result};
use crate::keepalive::{Deadline, Keeper, KeptAlive};
use crate::process::Process;
use crate::query::{ChunkSums, Snapshot};
use crate::schema::{access, key, rows};
use crate::storage::Engine;
use crate::sync::{Mutex, RwLock};
use crate::time::Timestamp;
use crate::types::command::{Answer, Command, Stamped};
use crate::types::{Grant, JobId};
use crate::waiting::Waiters;

/// A store of jobs and of what workers did. Cheap to clone; all clones are one store.
///
/// It closes when the last handle (store, worker or lease) is dropped, or by
/// [`close`](Store::close). Calls block until they are committed.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

struct Inner {
    process: Process,
    committer: Arc<Committer>,
    clock: Arc<dyn Clock>,
    clock_watch: ClockWatch,
    path: PathBuf,
    is_shared: bool,
    waiters: Arc<Waiters>,
    keeper: Mutex<Option<Keeper>>,
    flusher: Mutex<Option<Flusher>>,
    /// Whether a caller that gets an error of the storage reopens it.
    reopens: bool,
    /// When that was last tried.
    last_attempt: Mutex<Option<Instant>>,
    /// Sums over history that snapshots share. Locked while the storage is reopened, so that no
    /// snapshot uses sums from before for records from after.
    chunk_sums: RwLock<Arc<ChunkSums>>,
}

impl Inner {
    fn close(&self) -> Result<()> {
        let closed = self.committer.close();
        self.waiters.wake_all();
        if let Some(keeper) = self.keeper.lock().take() {
            keeper.stop();
        }
        if let Some(flusher) = self.flusher.lock().take() {
            flusher.stop();
        }
        closed
    }

    /// What a forked child does in place of closing: it closes its descriptors and leaks the rest,
    /// which is of no use without the threads that are missing here, and may hold locks of theirs.
    fn leave(&mut self) {
        self.committer.leave();
        std::mem::forget(self.committer.clone());
        std::mem::forget(std::mem::replace(&mut self.keeper, Mutex::new(None)));
        std::mem::forget(std::mem::replace(&mut self.flusher, Mutex::new(None)));
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if !self.process.is_current() {
            return self.leave();
        }
        if let Err(error) = self.close() {
            tracing::error!(path = %self.path.display(), error = &error as &dyn std::error::Error, "a store could not be closed in order");
        }
    }
}

impl fmt::Debug for Store {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Store").field("path", &self.inner.path).finish_non_exhaustive()
    }
}

impl Store {
    pub(crate) fn start(
        committer: Arc<Committer>,
        clock: Arc<dyn Clock>,
        path: PathBuf,
        is_shared: bool,
        reopens: bool,
        flusher: Option<Flusher>,
    ) -> Store {
        Store {
            inner: Arc::new(Inner {
                process: Process::current(),
                committer,
                clock,
                clock_watch: ClockWatch::default(),
                path,
                is_shared,
                waiters: Arc::default(),
                keeper: Mutex::new(None),
                flusher: Mutex::new(flusher),
                reopens,
                last_attempt: Mutex::default(),
                chunk_sums: RwLock::default(),
            }),
        }
    }

    /// Where the store is kept.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    // Reading

    /// All that is stored, as of now. See [`Snapshot`] for its queries.
    ///
    /// ```
    /// # use milepost::Store;
    /// # let store = Store::in_memory()?;
    /// let view = store.snapshot()?;
    /// assert_eq!(view.job_counts().all(), 0);
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Storage`] or [`Error::Corrupted`] if the database cannot be read;
    /// [`Error::Uncertain`] if a relaxed store could not commit what the snapshot would show.
    pub fn snapshot(&self) -> Result<Snapshot> {
        self.check_process()?;
        let chunk_sums = self.inner.chunk_sums.read();
        let committer = &self.inner.committer;
        snapshot(committer.engine()?, self.now(), &chunk_sums)
            // Closed meanwhile: that is then the reason.
            .map_err(|error| committer.engine().err().unwrap_or(error))
    }

    /// The time by the clock of the store.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.inner.clock.now()
    }

    /// Refuses calls in a forked child, before any lock is taken.
    pub(crate) fn check_process(&self) -> Result<()> {
        self.inner.process.check()
    }

    pub(crate) fn submit_one(&self, command: Command) -> Result<Answer> {
        let stamped = self.stamp(command)?;
        // Commands can be large: a copy is made only where it may be needed.
        let again = self.inner.reopens.then(|| stamped.clone());
        let mut result = self.inner.committer.submit(stamped);
        if let Err(error) = &result
            && let Some(again) = again
            && self.recovers_from(error)
            && may_repeat(&again.command, error)
        {
            result = self.inner.committer.submit(again);
        }
        let reply = result?;
        self.inner.waiters.notify(reply.events);
        Ok(reply.answer)
    }

    /// Reopens the storage after an error of it, if the store is to do so by itself. Returns whether
    /// it takes commands again.
    fn recovers_from(&self, error: &Error) -> bool {
        /// Between two attempts, callers get the error at once.
        const PAUSE: Duration = Duration::from_secs(1);

        if !error.needs_reopen() {
            return false;
        }
        let mut last = self.inner.last_attempt.lock();
        if !self.inner.committer.is_stopped() {
            // Another caller was faster.
            return true;
        }
        if last.is_some_and(|last| last.elapsed() < PAUSE) {
            return false;
        }
        *last = Some(Instant::now());
        tracing::warn!(%error, "reopening the store after an error");
        let reopened = self.reopen();
        if let Err(error) = &reopened {
            tracing::error!(
                error = error as &dyn std::error::Error,
                "the store cannot be reopened yet"
            );
        }
        reopened.is_ok()
    }

    /// Checks a command, and gives it the time.
    fn stamp(&self, mut command: Command) -> Result<Stamped> {
        self.check_process()?;
        command.cut_texts();
        command.check()?;
        let (now, since_clock_jump) = self.inner.clock_watch.now(&*self.inner.clock);
        Ok(Stamped { now, since_clock_jump, command })
    }

    /// How often to look for what other processes did, where there may be some that write.
    pub(crate) fn others_write(&self) -> Option<Duration> {
        self.inner.is_shared.then_some(Duration::from_secs(1))
    }

    pub(crate) fn waiters(&self) -> Result<&Waiters> {
        self.check_process()?;
        Ok(&self.inner.waiters)
    }

    pub(crate) fn waiters_arc(&self) -> &Arc<Waiters> {
        &self.inner.waiters
    }

    /// Starts the thread that renews leases unless it runs already.
    pub(crate) fn start_keeper(&self) -> Result<()> {
        self.check_process()?;
        self.inner.committer.engine()?;
        self.with_keeper(|_| ())
    }

    /// Renews a lease in the background until the result is dropped.
    pub(crate) fn keep_alive(&self, grant: &Grant, deadline: &Arc<Deadline>) -> Result<KeptAlive> {
        self.with_keeper(|keeper| keeper.keep(grant.job, grant.token, grant.length, deadline))
    }

    fn with_keeper<T>(&self, run: impl FnOnce(&Keeper) -> T) -> Result<T> {
        let Inner { committer, clock, keeper, .. } = &*self.inner;
        let mut keeper = keeper.lock();
        let keeper = match &mut *keeper {
            Some(keeper) => keeper,
            none => none.insert(Keeper::start(committer.clone(), clock.clone())?),
        };
        Ok(run(keeper))
    }

    /// Renews at once all leases that are kept alive.
    pub(crate) fn renew_kept_alive(&self) {
        if let Some(keeper) = &*self.inner.keeper.lock() {
            keeper.renew_all();
        }
    }

    /// Sequence number of the last command under the lease of a job, the job's cursor, and when the
    /// lease expires.
    pub(crate) fn lease_position(&self, job: JobId) -> Result<(u64, u64, Timestamp)> {
        let snapshot = self.inner.committer.engine()?.snapshot()?;
        let row: Option<rows::JobRow> = access::load(&*snapshot, &key::job(job))?;
        row.map(|row| (row.sequence, row.cursor, row.deadline)).ok_or(Error::UnknownJob(job))
    }
}

/// Whether a command that failed so can be sent again without being applied twice.
fn may_repeat(command: &Command, error: &Error) -> bool {
    match command {
        // Its sequence number shows whether it was applied.
        Command::Held(_) => true,
        _ => !error.is_uncertain(),
    }
}

pub(crate) fn snapshot(
    engine: &dyn Engine,
    now: Timestamp,
    sums: &Arc<ChunkSums>,
) -> Result<Snapshot> {
    Snapshot::new(engine.snapshot()?, now, engine.stored_bytes()?, sums.clone())
}

pub(crate) fn unexpected(answer: &Answer) -> Error {
    Error::invalid(format!("a command returned the result of another kind: {answer:?}"))
}
