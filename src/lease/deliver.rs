//! Handles made of data; sending the commands of a lease, and ending it when its handle is dropped.

use super::Lease;
use crate::error::{Error, Lost, Result};
use crate::store::Store;
use crate::types::{Action, Batch, FailOutcome, Grant, LeaseCommand, Receipt, short};

/// Why an attempt failed whose lease was dropped by a panic.
const PANICKED: &str = "the worker panicked";

impl Store {
    /// A handle for a lease that is held by its data, as [`Lease::grant`] returned it: in another
    /// process, or after a restart. It is not checked here. If the lease was lost meanwhile, the
    /// first command returns that; if another holder of the same data has sent commands, it returns
    /// [`Error::OutOfSequence`](crate::Error::OutOfSequence) or [`Error::RolledBack`](crate::Error::RolledBack).
    ///
    /// Dropping the handle releases the job.
    ///
    /// ```
    /// # use milepost::{Grant, NewJob, Store};
    /// # use std::time::Duration;
    /// # let store = Store::in_memory()?;
    /// # store.create_job(NewJob::new("demo", 0..10))?;
    /// # let worker = store.register_worker("pc-01")?;
    /// let lease = worker.next_lease(Duration::from_secs(60))?.expect("a job waits");
    /// let sent: String = serde_json::to_string(&lease.grant()).unwrap();
    /// lease.abandon();
    ///
    /// let grant: Grant = serde_json::from_str(&sent).unwrap();
    /// let mut lease = store.lease_from(grant)?;
    /// let batch = lease.next_batch(10).expect("nothing is done yet");
    /// assert!(lease.checkpoint(batch)?.completed);
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed) if the store is closed.
    pub fn lease_from(&self, grant: Grant) -> Result<Lease> {
        self.waiters()?;
        Lease::new(self, grant, false)
    }
}

impl Lease {
    pub(super) fn fail_as(&mut self, reason: String, batch: Option<Batch>) -> Result<FailOutcome> {
        match self.send(Action::Fail { reason: short(reason), batch })? {
            Receipt::Failed(outcome) => Ok(outcome),
            other => Err(Error::invalid(format!("failing a job returned {other:?}"))),
        }
    }

    /// Sends the next command of the lease.
    pub(super) fn send(&mut self, action: Action) -> Result<Receipt> {
        let Grant { job, token, .. } = self.grant;
        if self.ended {
            let (holder, since) = (None, None);
            return Err(Error::LeaseLost { job, token, why: Lost::Ended, holder, since });
        }
        if self.unanswered.is_some() {
            return Err(Error::Unanswered { job });
        }
        self.deliver(LeaseCommand { job, token, sequence: self.sequence + 1, action })
    }

    pub(super) fn deliver(&mut self, command: LeaseCommand) -> Result<Receipt> {
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
                self.lost = true;
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
            Receipt::Completed | Receipt::Failed(_) | Receipt::Released => {
                if receipt == Receipt::Completed {
                    self.cursor = self.grant.end;
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
        let is_over = self.ended || self.lost;
        if is_over && self.kept_alive.is_none() {
            return;
        }
        // The parent of a forked child still holds the job.
        if self.store.check_process().is_err() {
            return std::mem::forget(self.kept_alive.take());
        }
        if is_over {
            return;
        }
        let Grant { job, token, .. } = self.grant;
        match self.end_by_drop() {
            Ok(()) => {}
            Err(error @ (Error::LeaseLost { .. } | Error::UnknownJob(_))) => {
                tracing::info!(%job, %token, %error, "a dropped lease had been lost");
            }
            Err(error) => {
                tracing::warn!(%job, %token, error = &error as &dyn std::error::Error, "a dropped lease could not be released, and may stay held until its deadline");
            }
        }
    }
}
