//! A job that is held: its cursor, and the commands that move it.

mod deliver;
#[cfg(all(test, shuttle))]
mod explored;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::error::Result;
use crate::keepalive::{Deadline, KeptAlive};
use crate::store::Store;
use crate::time::Timestamp;
use crate::types::{
    Action, Batch, CheckpointOutcome, FailOutcome, Grant, JobId, LeaseCommand, Prefix, Receipt,
    Token, WorkerId,
};

/// A job that is held. Dropping it releases the job; if a panic drops it, the attempt counts as failed.
///
/// ```
/// # use milepost::{NewJob, Store};
/// # use std::time::Duration;
/// # let store = Store::in_memory()?;
/// # store.create_job(NewJob::new(b"demo", 0..10))?;
/// # let worker = store.register_worker("pc-01")?;
/// while let Some(mut lease) = worker.next_lease(Duration::from_secs(60))? {
///     while let Some(batch) = lease.next_batch(4) {
///         lease.checkpoint(batch)?;
///     }
/// }
/// # Ok::<(), milepost::Error>(())
/// ```
#[must_use = "dropping a lease releases its job"]
pub struct Lease {
    store: Store,
    /// The lease as it was granted.
    grant: Grant,
    /// Sequence number of the last command that was acknowledged.
    sequence: u64,
    cursor: u64,
    deadline: Arc<Deadline>,
    /// Whether this handle has ended the lease.
    ended: bool,
    /// Whether a call has returned that the lease is lost.
    lost: bool,
    /// A command that may or may not have been stored.
    unanswered: Option<LeaseCommand>,
    /// While the lease is renewed in the background.
    kept_alive: Option<KeptAlive>,
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("job", &self.grant.job)
            .field("token", &self.grant.token)
            .field("range", &self.range())
            .field("cursor", &self.cursor)
            .finish_non_exhaustive()
    }
}

impl Lease {
    pub(crate) fn new(store: &Store, grant: Grant, keep_alive: bool) -> Result<Lease> {
        let mut lease = Lease {
            store: store.clone(),
            sequence: grant.sequence,
            cursor: grant.cursor,
            deadline: Arc::new(Deadline::new(grant.deadline)),
            ended: false,
            lost: false,
            unanswered: None,
            kept_alive: None,
            grant,
        };
        if keep_alive {
            // If this fails, the lease is dropped and with it released.
            lease.kept_alive = Some(store.keep_alive(&lease.grant, &lease.deadline)?);
        }
        Ok(lease)
    }

    /// The job that is held.
    #[must_use]
    pub fn job(&self) -> JobId {
        self.grant.job
    }

    /// The prefix of the job.
    #[must_use]
    pub fn prefix(&self) -> &Prefix {
        &self.grant.prefix
    }

    /// All positions of the job.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.grant.start..self.grant.end
    }

    /// The next position that is not done yet.
    #[must_use]
    pub fn cursor(&self) -> u64 {
        self.cursor
    }

    /// Where the cursor was when the job was leased: everything before it was done by others, or
    /// earlier, and need not be repeated.
    #[must_use]
    pub fn resumed_at(&self) -> u64 {
        self.grant.cursor
    }

    /// How many attempts at this job have failed so far.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.grant.attempts
    }

    /// The worker that holds it.
    #[must_use]
    pub fn worker(&self) -> WorkerId {
        self.grant.worker
    }

    /// The token that fences this lease.
    #[must_use]
    pub fn token(&self) -> Token {
        self.grant.token
    }

    /// When the lease expires, unless a checkpoint or renewal comes first.
    #[must_use]
    pub fn deadline(&self) -> Timestamp {
        self.deadline.get()
    }

    /// The lease as data, as of now: for a holder in another process, or after a restart. The
    /// handle goes on as before; [`abandon`](Lease::abandon) it to hold the lease by its data alone.
    /// See [`Grant`].
    #[must_use]
    pub fn grant(&self) -> Grant {
        Grant {
            cursor: self.cursor,
            sequence: self.sequence,
            deadline: self.deadline(),
            ..self.grant.clone()
        }
    }

    /// The next batch to work on, of at most `most` positions (0 counts as 1); `None` at the end of
    /// the job. Its clock starts now. Nothing is marked as done by asking.
    ///
    /// ```
    /// # use milepost::{NewJob, Store};
    /// # use std::time::Duration;
    /// # let store = Store::in_memory()?;
    /// # let job = store.create_job(NewJob::new("demo", 0..100))?;
    /// # let worker = store.register_worker("pc-01")?;
    /// # let mut lease = worker.next_lease(Duration::from_secs(60))?.expect("a job waits");
    /// let batch = lease.next_batch(40).expect("nothing is done yet");
    /// assert_eq!(batch.range(), 0..40);
    /// # Ok::<(), milepost::Error>(())
    /// ```
    #[must_use]
    pub fn next_batch(&self, most: u64) -> Option<Batch> {
        let start = self.cursor;
        let end = start.saturating_add(most.max(1)).min(self.grant.end);
        (start < end).then(|| Batch::begin(start..end))
    }

    /// Moves the cursor from the start of a batch to its end and records the batch, with its
    /// findings, in one transaction. It also renews the lease, and at the end of the job's range
    /// completes the job.
    ///
    /// ```
    /// # use milepost::{NewJob, Store};
    /// # use std::time::Duration;
    /// # let store = Store::in_memory()?;
    /// # let job = store.create_job(NewJob::new("demo", 0..100))?;
    /// # let worker = store.register_worker("pc-01")?;
    /// # let mut lease = worker.next_lease(Duration::from_secs(60))?.expect("a job waits");
    /// let batch = lease.next_batch(100).expect("nothing is done yet");
    /// let outcome = lease.checkpoint(batch)?;
    /// assert_eq!((outcome.cursor, outcome.completed), (100, true));
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`Error::LeaseLost`](crate::Error::LeaseLost) if the job was given to another or ended: nothing was changed.
    /// - [`Error::CursorMismatch`](crate::Error::CursorMismatch) if the batch does not start at the cursor, is empty or ends past the
    ///   end of the job.
    /// - [`Error::InvalidLength`](crate::Error::InvalidLength) if the batch holds too much.
    /// - [`Error::Uncertain`](crate::Error::Uncertain) if the commit failed; see [`retry`](Lease::retry).
    /// - [`Error::RolledBack`](crate::Error::RolledBack) if a relaxed store lost its latest commits, and the cursor with
    ///   them: go on from [`next_batch`](Lease::next_batch).
    pub fn checkpoint(&mut self, mut batch: Batch) -> Result<CheckpointOutcome> {
        batch.stop();
        let receipt = self.send(Action::Checkpoint(batch))?;
        let completed = receipt == Receipt::Completed;
        Ok(CheckpointOutcome { cursor: self.cursor, completed, draining: false })
    }

    /// Extends the lease by its length from now, without a checkpoint. Returns the new deadline.
    ///
    /// ```
    /// # use milepost::{NewJob, Store};
    /// # use std::time::Duration;
    /// # let store = Store::in_memory()?;
    /// # let job = store.create_job(NewJob::new("demo", 0..100))?;
    /// # let worker = store.register_worker("pc-01")?;
    /// # let mut lease = worker.next_lease(Duration::from_secs(60))?.expect("a job waits");
    /// let deadline = lease.renew()?;
    /// assert_eq!(deadline, lease.deadline());
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`checkpoint`](Lease::checkpoint).
    pub fn renew(&mut self) -> Result<Timestamp> {
        self.send(Action::Renew)?;
        Ok(self.deadline())
    }

    /// Releases the job as a failed attempt, unless this lease has moved its cursor. Of a longer
    /// reason the first 512 bytes are kept.
    ///
    /// ```
    /// # use milepost::{NewJob, Store};
    /// # use std::time::Duration;
    /// # let store = Store::in_memory()?;
    /// # let job = store.create_job(NewJob::new("demo", 0..100))?;
    /// # let worker = store.register_worker("pc-01")?;
    /// # let mut lease = worker.next_lease(Duration::from_secs(60))?.expect("a job waits");
    /// let outcome = lease.fail("the disk is full")?;
    /// assert!(!outcome.is_failed(), "another attempt may be made");
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`checkpoint`](Lease::checkpoint).
    pub fn fail(&mut self, reason: impl Into<String>) -> Result<FailOutcome> {
        self.fail_as(reason.into(), None)
    }

    /// As [`fail`](Lease::fail), and records the batch that was tried in vain: its duration, its items
    /// and its findings count, with the reason as its error, but the cursor stays. Where less was
    /// handled than one item per position, say so by [`Batch::with_items`].
    ///
    /// ```
    /// # use milepost::{NewJob, Store};
    /// # use std::time::Duration;
    /// # let store = Store::in_memory()?;
    /// # let job = store.create_job(NewJob::new("demo", 0..100))?;
    /// # let worker = store.register_worker("pc-01")?;
    /// # let mut lease = worker.next_lease(Duration::from_secs(60))?.expect("a job waits");
    /// let batch = lease.next_batch(40).expect("nothing is done yet");
    /// // Eleven of the forty items could be handled.
    /// lease.fail_with(batch.with_items(11), "the connection was reset")?;
    /// let totals = store.snapshot()?.lifetime(&worker)?.totals;
    /// assert_eq!((totals.items, totals.errors), (11, 1));
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`checkpoint`](Lease::checkpoint).
    pub fn fail_with(
        &mut self,
        mut batch: Batch,
        reason: impl Into<String>,
    ) -> Result<FailOutcome> {
        batch.stop();
        self.fail_as(reason.into(), Some(batch))
    }

    /// Renews the lease, and notes on the job how it is going, for [`Job::note`](crate::Job::note):
    /// for work whose progress is not a position. Returns the new deadline. The note has at most 256
    /// bytes; it goes with the lease.
    ///
    /// ```
    /// # use milepost::{NewJob, Store};
    /// # use std::time::Duration;
    /// # let store = Store::in_memory()?;
    /// # let job = store.create_job(NewJob::new("demo", 0..100))?;
    /// # let worker = store.register_worker("pc-01")?;
    /// # let mut lease = worker.next_lease(Duration::from_secs(60))?.expect("a job waits");
    /// lease.heartbeat("page 3 of 9")?;
    /// let shown = store.snapshot()?.job(job)?.expect("it exists");
    /// assert_eq!(shown.note.as_deref(), Some("page 3 of 9"));
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`checkpoint`](Lease::checkpoint).
    pub fn heartbeat(&mut self, note: impl Into<String>) -> Result<Timestamp> {
        self.send(Action::Heartbeat { note: note.into() })?;
        Ok(self.deadline())
    }

    /// Releases the job, so that another worker can go on with it. Dropping the lease does the same,
    /// but cannot report an error.
    ///
    /// ```
    /// # use milepost::{NewJob, Store};
    /// # use std::time::Duration;
    /// # let store = Store::in_memory()?;
    /// # let job = store.create_job(NewJob::new("demo", 0..100))?;
    /// # let worker = store.register_worker("pc-01")?;
    /// # let mut lease = worker.next_lease(Duration::from_secs(60))?.expect("a job waits");
    /// lease.release()?;
    /// assert_eq!(store.snapshot()?.job_counts().pending, 1);
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`checkpoint`](Lease::checkpoint).
    pub fn release(&mut self) -> Result<()> {
        self.send(Action::Release)?;
        Ok(())
    }

    /// Drops the handle without releasing the job: it stays held until its deadline, as after a
    /// crash. Its worker can take it up again with [`Request::resume`](crate::LeaseRequest::resume).
    ///
    /// ```
    /// # use milepost::{NewJob, Store};
    /// # use std::time::Duration;
    /// # let store = Store::in_memory()?;
    /// # let job = store.create_job(NewJob::new("demo", 0..100))?;
    /// # let worker = store.register_worker("pc-01")?;
    /// # let mut lease = worker.next_lease(Duration::from_secs(60))?.expect("a job waits");
    /// lease.abandon();
    /// let request = worker.request(Duration::from_secs(60)).resume();
    /// assert!(request.send()?.leased().is_some(), "it is taken up again");
    /// # Ok::<(), milepost::Error>(())
    /// ```
    pub fn abandon(mut self) {
        self.ended = true;
    }

    /// Sends the command whose commit failed again, once the store was reopened. If it was stored,
    /// this returns its result; if not, it is applied now. It never counts twice. Returns `None` if
    /// there is no such command.
    ///
    /// ```
    /// # use milepost::{NewJob, Store};
    /// # use std::time::Duration;
    /// # let store = Store::in_memory()?;
    /// # let job = store.create_job(NewJob::new("demo", 0..100))?;
    /// # let worker = store.register_worker("pc-01")?;
    /// # let mut lease = worker.next_lease(Duration::from_secs(60))?.expect("a job waits");
    /// assert!(lease.retry()?.is_none(), "every command was acknowledged");
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// As the command itself.
    pub fn retry(&mut self) -> Result<Option<Receipt>> {
        match self.unanswered.clone() {
            Some(command) => self.deliver(command).map(Some),
            None => Ok(None),
        }
    }

    /// Whether the result of a command of this lease is unknown; see [`retry`](Lease::retry).
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        self.unanswered.is_some()
    }
}
