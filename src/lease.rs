//! Workers and the leases they hold.

#[cfg(all(test, shuttle))]
mod explored;

use std::fmt;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::command::{
    Action, Answer, Command, Grant, LeaseAnswer, LeaseCommand, LeaseRequest, Receipt, Wanted,
};
use crate::error::{Error, Lost, Result};
use crate::query::Scope;
use crate::record::{Batch, JobId, NewFinding, Prefix, Token, WorkerId, short};
use crate::store::Store;
use crate::sync::{Mutex, MutexGuard};
use crate::time::Timestamp;

/// The longest that a waiting worker sleeps before it looks again: another process may have given
/// a job back without this one hearing of it, and clocks may jump.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// A named process or thread that takes leases. Made by [`Store::worker`]; cheap to clone.
#[derive(Clone)]
pub struct Worker {
    store: Store,
    id: WorkerId,
    name: Arc<str>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("id", &self.id).field("name", &self.name).finish()
    }
}

impl From<&Worker> for Scope<'_> {
    fn from(worker: &Worker) -> Self {
        Scope::Worker(worker.id)
    }
}

impl Worker {
    pub(crate) fn new(store: Store, id: WorkerId, name: &str) -> Worker {
        Worker { store, id, name: name.into() }
    }

    /// The number that stands for this worker in the store.
    #[must_use]
    pub fn id(&self) -> WorkerId {
        self.id
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Asks for a job to hold for `length`: one with the prefix this worker last worked on, else
    /// the one of highest priority, else the oldest. A job whose lease lapsed counts as waiting.
    ///
    /// Every checkpoint and renewal starts the time of the lease afresh, so it says how soon a
    /// silent worker is given up, not how long a job may take.
    ///
    /// # Errors
    /// [`Error::Invalid`] if `length` is zero or above ten years; else what the storage meets.
    pub fn lease(&self, length: Duration) -> Result<Leasing> {
        self.request(length).lease()
    }

    /// Asks for a job in more detail: one of a prefix, a certain one, one already held.
    pub fn request(&self, length: Duration) -> Request {
        Request {
            worker: self.clone(),
            lease: LeaseRequest::new(self.id, length),
            keep_alive: false,
        }
    }

    /// Hands in a finding for a job whose lease was lost. It is marked late. If the job has a
    /// finding under this key already, that one stays, and the answer is false.
    ///
    /// # Errors
    /// [`Error::UnknownJob`] if the job does not exist (any more); [`Error::Length`] if key or
    /// payload are too long.
    pub fn late_finding(
        &self,
        job: JobId,
        key: impl Into<Vec<u8>>,
        payload: impl Into<Vec<u8>>,
    ) -> Result<bool> {
        let finding = NewFinding::new(key, payload);
        match self.store.submit_one(Command::Late { worker: self.id, job, finding })? {
            Answer::Stored { new } => Ok(new),
            other => Err(unexpected(&other)),
        }
    }
}

/// A request for a lease, to be narrowed down and then sent by [`lease`](Request::lease).
#[derive(Debug, Clone)]
#[must_use = "a request does nothing until it is sent by `lease`"]
pub struct Request {
    worker: Worker,
    lease: LeaseRequest,
    keep_alive: bool,
}

impl Request {
    /// Takes up a lease that this worker still holds, before any other job: so that a restarted
    /// worker goes on at once instead of waiting for its own old lease to lapse. The lease gets a
    /// new token, so a handle that still exists for the old one loses it.
    pub fn resume(mut self) -> Request {
        self.lease.resume = true;
        self
    }

    /// Takes only jobs of this prefix.
    pub fn of_prefix(mut self, prefix: impl Into<Vec<u8>>) -> Request {
        self.lease.wanted = Wanted::Prefix(prefix.into());
        self
    }

    /// Takes only this job.
    pub fn of_job(mut self, job: JobId) -> Request {
        self.lease.wanted = Wanted::Job(job);
        self
    }

    /// Renews the lease from a background thread, three times in its length, for as long as the
    /// handle lives: for batches that may take longer than the lease. A worker that hangs then
    /// keeps its job; [`Store::release_stale`] finds such jobs.
    pub fn keep_alive(mut self) -> Request {
        self.keep_alive = true;
        self
    }

    /// Sends the request.
    ///
    /// # Errors
    /// [`Error::UnknownJob`] if it asks for a job that does not exist; [`Error::Invalid`] if the
    /// length of the lease is out of bounds; else what the storage meets.
    pub fn lease(self) -> Result<Leasing> {
        loop {
            match self.worker.store.submit_one(Command::Lease(self.lease.clone()))? {
                Answer::Lease(LeaseAnswer::Granted(grant)) => {
                    return Ok(Leasing::Leased(Lease::new(&self, grant)?));
                }
                Answer::Lease(LeaseAnswer::Busy { until }) => {
                    return Ok(Leasing::Busy(Busy { until, request: self }));
                }
                Answer::Lease(LeaseAnswer::Finished) => return Ok(Leasing::Finished),
                Answer::Lease(LeaseAnswer::Again) => {}
                other => return Err(unexpected(&other)),
            }
        }
    }
}

/// The answer to a request for a lease.
#[derive(Debug)]
#[must_use = "a lease that is dropped is given back"]
pub enum Leasing {
    /// Here is a job.
    Leased(Lease),
    /// Every job that is left is held by somebody.
    Busy(Busy),
    /// Nothing is left to do: no job that was asked for is waiting or held.
    Finished,
}

impl Leasing {
    /// The lease, waiting for one while others hold all that is left; `None` once nothing is left
    /// to do. A job comes free when its holder gives it back, or when its lease lapses.
    ///
    /// # Errors
    /// [`Error::Closed`] if the store is closed meanwhile; else what the storage meets.
    pub fn wait(self) -> Result<Option<Lease>> {
        let mut answer = self;
        loop {
            match answer {
                Leasing::Leased(lease) => return Ok(Some(lease)),
                Leasing::Finished => return Ok(None),
                Leasing::Busy(busy) => answer = busy.wait_at_most(LOOK_AGAIN)?,
            }
        }
    }

    /// The lease, if there is one now.
    #[must_use]
    pub fn leased(self) -> Option<Lease> {
        match self {
            Leasing::Leased(lease) => Some(lease),
            Leasing::Busy(_) | Leasing::Finished => None,
        }
    }
}

/// All jobs that were asked for are held.
#[derive(Debug)]
pub struct Busy {
    until: Timestamp,
    request: Request,
}

impl Busy {
    /// When the first of those leases lapses, unless it is renewed.
    #[must_use]
    pub fn until(&self) -> Timestamp {
        self.until
    }

    /// Asks again once something changed, a lease lapsed or `most` is over, whichever is first.
    ///
    /// # Errors
    /// As [`Request::lease`].
    pub fn wait_at_most(self, most: Duration) -> Result<Leasing> {
        let store = self.request.worker.store.clone();
        let seen = store.events().count();
        // Something may have changed since the answer was given: look before sleeping.
        match self.request.lease()? {
            Leasing::Busy(busy) => {
                let lapses_in =
                    busy.until.since(store.now()).saturating_add(Duration::from_millis(1));
                store.events().wait(seen, most.min(lapses_in));
                busy.request.lease()
            }
            answer => Ok(answer),
        }
    }
}

/// A job that is held. Dropping it gives the job back.
///
/// ```
/// # use milepost::{Batch, NewJob, Store};
/// # use std::time::Duration;
/// # let store = Store::in_memory()?;
/// # store.create_job(NewJob::new(b"demo", 0..10))?;
/// # let worker = store.worker("pc-01", "pc")?;
/// while let Some(mut lease) = worker.lease(Duration::from_secs(60))?.wait()? {
///     while let Some(range) = lease.next_batch(4) {
///         let batch = Batch::of(&range, Duration::from_millis(5));
///         lease.checkpoint(range.end, batch)?;
///     }
///     lease.complete()?;
/// }
/// # Ok::<(), milepost::Error>(())
/// ```
#[must_use = "a lease that is dropped is given back"]
pub struct Lease {
    held: Arc<Held>,
}

/// What a lease shares with the thread that keeps it alive.
pub(crate) struct Held {
    store: Store,
    worker: WorkerId,
    grant: Grant,
    state: Mutex<HeldState>,
}

struct HeldState {
    /// Sequence number of the last command that was answered.
    sequence: u64,
    cursor: u64,
    deadline: Timestamp,
    /// Whether this handle has given the job up.
    ended: bool,
    /// A command that may or may not have been stored.
    unanswered: Option<LeaseCommand>,
}

impl fmt::Debug for Lease {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lease")
            .field("job", &self.held.grant.job)
            .field("token", &self.held.grant.token)
            .field("range", &self.held.grant.range)
            .field("cursor", &self.cursor())
            .finish_non_exhaustive()
    }
}

impl Lease {
    fn new(request: &Request, grant: Grant) -> Result<Lease> {
        let state = HeldState {
            sequence: 0,
            cursor: grant.cursor,
            deadline: grant.deadline,
            ended: false,
            unanswered: None,
        };
        let interval = Duration::from_micros((grant.length_us / 3).max(1));
        let lease = Lease {
            held: Arc::new(Held {
                store: request.worker.store.clone(),
                worker: request.worker.id,
                grant,
                state: Mutex::new(state),
            }),
        };
        if request.keep_alive {
            lease.held.store.keep_alive(&lease.held, interval)?;
        }
        Ok(lease)
    }

    /// The job that is held.
    #[must_use]
    pub fn job(&self) -> JobId {
        self.held.grant.job
    }

    /// The prefix of the job.
    #[must_use]
    pub fn prefix(&self) -> Prefix {
        Prefix(self.held.grant.prefix.clone())
    }

    /// All positions of the job.
    #[must_use]
    pub fn range(&self) -> Range<u64> {
        self.held.grant.range.clone()
    }

    /// The next position that is not done yet.
    #[must_use]
    pub fn cursor(&self) -> u64 {
        self.held.state.lock().cursor
    }

    /// Where the cursor was when the job was leased: everything before it was done by others, or
    /// earlier, and need not be repeated.
    #[must_use]
    pub fn resumed_at(&self) -> u64 {
        self.held.grant.cursor
    }

    /// How many attempts at this job have failed so far.
    #[must_use]
    pub fn attempts(&self) -> u32 {
        self.held.grant.attempts
    }

    /// The worker that holds it.
    #[must_use]
    pub fn worker(&self) -> WorkerId {
        self.held.worker
    }

    /// The token that fences this lease.
    #[must_use]
    pub fn token(&self) -> Token {
        self.held.grant.token
    }

    /// When the lease lapses, unless a checkpoint or renewal comes first.
    #[must_use]
    pub fn deadline(&self) -> Timestamp {
        self.held.state.lock().deadline
    }

    /// The next positions to work on, at most `most` of them; `None` at the end of the job.
    /// Nothing is marked as done by asking.
    #[must_use]
    pub fn next_batch(&self, most: u64) -> Option<Range<u64>> {
        let start = self.cursor();
        let end = start.saturating_add(most).min(self.held.grant.range.end);
        (start < end).then_some(start..end)
    }

    /// Moves the cursor to `to` and records the batch that got it there, with its findings, in
    /// one transaction. It also renews the lease. Answers how far the cursor is now.
    ///
    /// # Errors
    /// - [`Error::LeaseLost`] if the job was given to another or ended: nothing was changed.
    /// - [`Error::Cursor`] if `to` does not lie beyond the cursor, or lies past the end.
    /// - [`Error::Length`] if the batch holds too much.
    /// - [`Error::Uncertain`] if the commit failed; see [`retry`](Lease::retry).
    /// - [`Error::RolledBack`] if a relaxed store lost its latest commits, and the cursor with
    ///   them: go on from [`next_batch`](Lease::next_batch).
    pub fn checkpoint(&mut self, to: u64, batch: Batch) -> Result<u64> {
        let state = self.held.state.lock();
        let from = state.cursor;
        self.held.send(state, Action::Checkpoint { from, to, batch })?;
        Ok(self.cursor())
    }

    /// Starts the time of the lease afresh, without a checkpoint. Answers the new deadline.
    ///
    /// # Errors
    /// As [`checkpoint`](Lease::checkpoint).
    pub fn renew(&mut self) -> Result<Timestamp> {
        self.held.send(self.held.state.lock(), Action::Renew)?;
        Ok(self.deadline())
    }

    /// Ends the job: every position of it is done.
    ///
    /// # Errors
    /// [`Error::Incomplete`] if the cursor is not at the end of the range; else as
    /// [`checkpoint`](Lease::checkpoint).
    pub fn complete(&mut self) -> Result<()> {
        self.held.send(self.held.state.lock(), Action::Complete)?;
        Ok(())
    }

    /// Gives the job back as a failed attempt. Answers whether that was its last one, so that it
    /// is `Failed` now. Of a longer reason the first 512 bytes are kept.
    ///
    /// # Errors
    /// As [`checkpoint`](Lease::checkpoint).
    pub fn fail(&mut self, reason: impl Into<String>) -> Result<bool> {
        let reason = short(reason.into());
        let receipt = self.held.send(self.held.state.lock(), Action::Fail { reason })?;
        Ok(matches!(receipt, Receipt::Failed { gave_up: true, .. }))
    }

    /// Gives the job back for another worker to go on with. Dropping the lease does the same, but
    /// cannot tell whether it worked.
    ///
    /// # Errors
    /// As [`checkpoint`](Lease::checkpoint).
    pub fn release(&mut self) -> Result<()> {
        self.held.send(self.held.state.lock(), Action::Release)?;
        Ok(())
    }

    /// Lets go of the handle without giving the job back: it stays held until its deadline, as
    /// after a crash. Its worker can take it up again with [`Request::resume`].
    pub fn abandon(self) {
        self.held.state.lock().ended = true;
    }

    /// Sends the command again whose commit failed, once the store was reopened, and learns its
    /// answer. It is applied if it was not stored, and answered as the first time if it was: never
    /// twice. Answers `None` if no command is without its answer.
    ///
    /// # Errors
    /// As the command itself.
    pub fn retry(&mut self) -> Result<Option<Receipt>> {
        let state = self.held.state.lock();
        match state.unanswered.clone() {
            Some(command) => self.held.deliver(state, command).map(Some),
            None => Ok(None),
        }
    }

    /// Whether a command of this lease is still without its answer; see [`retry`](Lease::retry).
    #[must_use]
    pub fn is_unanswered(&self) -> bool {
        self.held.state.lock().unanswered.is_some()
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if self.held.state.lock().ended {
            return;
        }
        // A command without an answer has to be settled first, or the release is out of sequence.
        if let Err(error) = self.retry().and_then(|_| self.release()) {
            tracing::debug!(job = %self.job(), %error, "a dropped lease could not be given back");
        }
    }
}

impl Held {
    /// Renews the lease unless its holder is sending a command at this moment, or has to retry one.
    pub(crate) fn renew_if_idle(&self) -> Result<()> {
        match self.state.try_lock() {
            Some(state) if state.ended => Err(Error::LeaseLost {
                job: self.grant.job,
                token: self.grant.token,
                why: Lost::Ended,
            }),
            Some(state) if state.unanswered.is_none() => {
                self.send(state, Action::Renew).map(|_| ())
            }
            _ => Ok(()),
        }
    }

    /// Sends the next command of the lease.
    fn send(&self, state: MutexGuard<'_, HeldState>, action: Action) -> Result<Receipt> {
        let Grant { job, token, .. } = self.grant;
        if state.ended {
            return Err(Error::LeaseLost { job, token, why: Lost::Ended });
        }
        if state.unanswered.is_some() {
            return Err(Error::Unanswered { job });
        }
        let sequence = state.sequence + 1;
        self.deliver(state, LeaseCommand { job, token, sequence, action })
    }

    fn deliver(
        &self,
        mut state: MutexGuard<'_, HeldState>,
        command: LeaseCommand,
    ) -> Result<Receipt> {
        let answer = self.store.submit(command.clone());
        match &answer {
            // Only once the store is reopened can anybody tell what became of it.
            Err(Error::Uncertain { .. }) => state.unanswered = Some(command),
            // Not applied this time: what was unanswered before still is.
            Err(
                Error::Stopped { .. }
                | Error::Storage { .. }
                | Error::Corrupted { .. }
                | Error::TooLarge
                | Error::InUse { .. }
                | Error::Closed,
            ) => {}
            Err(Error::OutOfSequence { expected, .. }) if *expected <= state.sequence => {
                return self.roll_back(&mut state);
            }
            Err(_) => state.unanswered = None,
            Ok(receipt) => {
                state.unanswered = None;
                state.sequence = command.sequence;
                match *receipt {
                    Receipt::Moved { cursor, deadline } => {
                        state.cursor = cursor;
                        state.deadline = deadline;
                    }
                    Receipt::Renewed { deadline } => state.deadline = deadline,
                    Receipt::Completed | Receipt::Failed { .. } | Receipt::Released => {
                        state.ended = true
                    }
                }
            }
        }
        answer
    }

    /// Goes back to where the store is, after a relaxed one lost its latest commits.
    fn roll_back(&self, state: &mut HeldState) -> Result<Receipt> {
        let job = self.grant.job;
        let (sequence, cursor) = self.store.lease_position(job)?;
        state.sequence = sequence;
        state.cursor = cursor;
        state.unanswered = None;
        Err(Error::RolledBack { job, cursor })
    }
}

pub(crate) fn unexpected(answer: &Answer) -> Error {
    Error::invalid(format!("a command was answered as another one is: {answer:?}"))
}
