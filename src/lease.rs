//! A job that is held: its cursor, and the commands that move it.

#[cfg(all(test, shuttle))]
mod explored;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use crate::error::{Error, Lost, Result};
use crate::keepalive::{Deadline, KeptAlive};
use crate::store::Store;
use crate::time::Timestamp;
use crate::types::command::{Action, Grant, LeaseCommand, Receipt};
use crate::types::{Batch, JobId, Prefix, Token, WorkerId, short};

/// Why an attempt failed whose lease was dropped by a panic.
const PANICKED: &str = "the worker panicked";

/// A job that is held. Dropping it releases the job; if a panic drops it, the attempt counts as failed.
///
/// ```
/// # use milepost::{NewJob, Store};
/// # use std::time::Duration;
/// # let store = Store::in_memory()?;
/// # store.create_job(NewJob::new(b"demo", 0..10))?;
/// # let worker = store.worker("pc-01", "pc")?;
/// while let Some(mut lease) = worker.lease(Duration::from_secs(60))?.wait()? {
///     while let Some(batch) = lease.next_batch(4) {
///         lease.checkpoint(batch)?;
///     }
/// }
/// # Ok::<(), milepost::Error>(())
/// ```
#[must_use = "dropping a lease releases its job"]
pub struct Lease {
    store: Store,
    worker: WorkerId,
    grant: Grant,
    /// Sequence number of the last command that was acknowledged.
    sequence: u64,
    cursor: u64,
    deadline: Arc<Deadline>,
    /// Whether this handle has ended the lease.
    ended: bool,
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
            .field("range", &self.grant.range)
            .field("cursor", &self.cursor)
            .finish_non_exhaustive()
    }
}

impl Lease {
    pub(crate) fn new(
        store: &Store,
        worker: WorkerId,
        grant: Grant,
        keep_alive: bool,
    ) -> Result<Lease> {
        let mut lease = Lease {
            store: store.clone(),
            worker,
            sequence: 0,
            cursor: grant.cursor,
            deadline: Arc::new(Deadline::new(grant.deadline)),
            ended: false,
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
    pub fn prefix(&self) -> Prefix {
        Prefix(self.grant.prefix.clone())
    }

    /// All positions of the job.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.grant.range.clone()
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
        self.worker
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

    /// The next batch to work on, of at most `most` positions; `None` at the end of the job. Its
    /// clock starts now. Nothing is marked as done by asking.
    #[must_use]
    pub fn next_batch(&self, most: u64) -> Option<Batch> {
        let start = self.cursor;
        let end = start.saturating_add(most).min(self.grant.range.end);
        (start < end).then(|| Batch::begin(start..end))
    }

    /// Moves the cursor from the start of a batch to its end and records the batch, with its
    /// findings, in one transaction. Returns where the cursor is now. It also renews the lease, and at
    /// the end of the job's range completes the job.
    ///
    /// # Errors
    /// - [`Error::LeaseLost`] if the job was given to another or ended: nothing was changed.
    /// - [`Error::CursorMismatch`] if the batch does not start at the cursor, is empty or ends past the
    ///   end of the job.
    /// - [`Error::InvalidLength`] if the batch holds too much.
    /// - [`Error::Uncertain`] if the commit failed; see [`retry`](Lease::retry).
    /// - [`Error::RolledBack`] if a relaxed store lost its latest commits, and the cursor with
    ///   them: go on from [`next_batch`](Lease::next_batch).
    pub fn checkpoint(&mut self, mut batch: Batch) -> Result<u64> {
        batch.stop();
        self.send(Action::Checkpoint(batch))?;
        Ok(self.cursor)
    }

    /// Extends the lease by its length from now, without a checkpoint. Returns the new deadline.
    ///
    /// # Errors
    /// As [`checkpoint`](Lease::checkpoint).
    pub fn renew(&mut self) -> Result<Timestamp> {
        self.send(Action::Renew)?;
        Ok(self.deadline())
    }

    /// Releases the job as a failed attempt. Returns whether that was its last one, so that it is
    /// `Failed` now. Of a longer reason the first 512 bytes are kept.
    ///
    /// # Errors
    /// As [`checkpoint`](Lease::checkpoint).
    pub fn fail(&mut self, reason: impl Into<String>) -> Result<bool> {
        let reason = short(reason.into());
        let receipt = self.send(Action::Fail { reason })?;
        Ok(matches!(receipt, Receipt::Failed { gave_up: true, .. }))
    }

    /// Releases the job, so that another worker can go on with it. Dropping the lease does the same,
    /// but cannot report an error.
    ///
    /// # Errors
    /// As [`checkpoint`](Lease::checkpoint).
    pub fn release(&mut self) -> Result<()> {
        self.send(Action::Release)?;
        Ok(())
    }

    /// Drops the handle without releasing the job: it stays held until its deadline, as after a
    /// crash. Its worker can take it up again with [`Request::resume`](crate::Request::resume).
    pub fn abandon(mut self) {
        self.ended = true;
    }

    /// Sends the command whose commit failed again, once the store was reopened. If it was stored,
    /// this returns its result; if not, it is applied now. It never counts twice. Returns `None` if
    /// there is no such command.
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

impl Lease {
    /// Sends the next command of the lease.
    fn send(&mut self, action: Action) -> Result<Receipt> {
        let Grant { job, token, .. } = self.grant;
        if self.ended {
            return Err(Error::LeaseLost { job, token, why: Lost::Ended });
        }
        if self.unanswered.is_some() {
            return Err(Error::Unanswered { job });
        }
        self.deliver(LeaseCommand { job, token, sequence: self.sequence + 1, action })
    }

    fn deliver(&mut self, command: LeaseCommand) -> Result<Receipt> {
        let sequence = command.sequence;
        let result = self.store.submit(command.clone());
        match &result {
            // Only once the store is reopened can anybody tell what became of it.
            Err(Error::Uncertain { .. }) => self.unanswered = Some(command),
            // Not applied this time: what was unanswered before still is.
            Err(
                Error::Stopped { .. }
                | Error::Storage { .. }
                | Error::Corrupted { .. }
                | Error::Internal { .. }
                | Error::TransactionTooLarge
                | Error::InUse { .. }
                | Error::Closed
                | Error::Forked,
            ) => {}
            Err(Error::OutOfSequence { expected, .. }) if *expected <= self.sequence => {
                return self.roll_back();
            }
            Err(Error::LeaseLost { .. } | Error::UnknownJob(_)) => {
                self.unanswered = None;
                self.kept_alive = None;
            }
            Err(_) => self.unanswered = None,
            Ok(receipt) => self.acknowledge(sequence, *receipt),
        }
        result
    }

    fn acknowledge(&mut self, sequence: u64, receipt: Receipt) {
        self.unanswered = None;
        self.sequence = sequence;
        match receipt {
            Receipt::Moved { cursor, deadline } => {
                self.cursor = cursor;
                self.deadline.set(deadline);
            }
            Receipt::Renewed { deadline } => self.deadline.set(deadline),
            Receipt::Completed | Receipt::Failed { .. } | Receipt::Released => {
                if receipt == Receipt::Completed {
                    self.cursor = self.grant.range.end;
                }
                self.ended = true;
                self.kept_alive = None;
            }
        }
    }

    /// Goes back to where the store is, after a relaxed one lost its latest commits.
    fn roll_back(&mut self) -> Result<Receipt> {
        let job = self.grant.job;
        let (sequence, cursor, deadline) = self.store.lease_position(job)?;
        self.sequence = sequence;
        self.cursor = cursor;
        self.deadline.set(deadline);
        self.unanswered = None;
        Err(Error::RolledBack { job, cursor })
    }

    /// Ends the lease as its drop does: a panic of the worker is a failed attempt.
    fn end_by_drop(&mut self) -> Result<()> {
        // A command of unknown result is repeated first, or the next one is out of sequence.
        let settled = self.retry();
        if self.unanswered.is_some() {
            return settled.map(|_| ());
        }
        match self.give_up() {
            Err(Error::RolledBack { .. }) => self.give_up(),
            ended => ended,
        }
    }

    fn give_up(&mut self) -> Result<()> {
        if self.ended {
            Ok(())
        } else if std::thread::panicking() {
            self.fail(PANICKED).map(|_| ())
        } else {
            self.release()
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.ended && self.kept_alive.is_none() {
            return;
        }
        // The parent of a forked child still holds the job.
        if self.store.check_process().is_err() {
            return std::mem::forget(self.kept_alive.take());
        }
        if self.ended {
            return;
        }
        let Grant { job, token, .. } = self.grant;
        match self.end_by_drop() {
            Ok(()) => {}
            Err(error @ (Error::LeaseLost { .. } | Error::UnknownJob(_))) => {
                tracing::debug!(%job, %token, %error, "a dropped lease was already lost");
            }
            Err(error) => {
                tracing::warn!(%job, %token, error = &error as &dyn std::error::Error, "a dropped lease could not be released, and may stay held until its deadline");
            }
        }
    }
}
