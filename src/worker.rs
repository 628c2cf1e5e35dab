//! Workers, and their requests for leases.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::lease::Lease;
use crate::query::Scope;
use crate::store::{Store, unexpected};
use crate::time::Timestamp;
use crate::types::command::{Answer, Command, LeaseAnswer, LeaseRequest, Wanted};
use crate::types::{JobId, NewFinding, WorkerId};
use crate::waiting::Seen;

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

    /// The number of this worker in the store.
    #[must_use]
    pub fn id(&self) -> WorkerId {
        self.id
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Requests a lease of `length`: of a job with the prefix this worker last worked on, else of
    /// the job with the highest priority, else of the oldest. A job whose lease has expired counts as
    /// waiting.
    ///
    /// Every checkpoint and renewal extends the lease to `length` from then on, so it says after what
    /// silence a worker loses its job, not how long the job may take.
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) if `length` is zero or above ten years; [`Error::Storage`](crate::Error::Storage) or [`Error::Corrupted`](crate::Error::Corrupted) if
    /// the database cannot be read.
    pub fn lease(&self, length: Duration) -> Result<Leasing> {
        self.request(length).lease()
    }

    /// A request for a lease with options: of one prefix, of one job, or of a job already held.
    pub fn request(&self, length: Duration) -> Request {
        Request {
            worker: self.clone(),
            lease: LeaseRequest::new(self.id, length),
            keep_alive: false,
        }
    }

    /// Stores a finding for a job whose lease was lost. It is marked late. If the job has a
    /// finding under this key already, that one stays, and this returns false.
    ///
    /// # Errors
    /// [`Error::UnknownJob`](crate::Error::UnknownJob) if the job does not exist (any more); [`Error::InvalidLength`](crate::Error::InvalidLength) if key or
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
    /// Prefers a job that this worker still holds to any other, so that a restarted worker goes on
    /// at once instead of waiting for its own old lease to expire. The lease gets a
    /// new token, so a handle that still exists for the old one loses it.
    ///
    /// Of a worker that holds more than 256 jobs, the 256 oldest are considered, unless
    /// [`of_job`](Request::of_job) names one.
    pub fn resume(mut self) -> Request {
        self.lease.resume = true;
        self
    }

    /// Requests only jobs of this prefix.
    pub fn of_prefix(mut self, prefix: impl Into<Vec<u8>>) -> Request {
        self.lease.wanted = Wanted::Prefix(prefix.into());
        self
    }

    /// Requests only this job.
    pub fn of_job(mut self, job: JobId) -> Request {
        self.lease.wanted = Wanted::Job(job);
        self
    }

    /// Renews the lease from a background thread, for as long as the handle lives, whenever a third
    /// of its length has passed without a checkpoint: for batches that may take longer than the
    /// lease. [`Lease::deadline`] includes these renewals. If one fails, it is repeated. A worker that
    /// hangs keeps its job; [`Store::release_stale`] finds such jobs.
    pub fn keep_alive(mut self) -> Request {
        self.keep_alive = true;
        self
    }

    /// Sends the request.
    ///
    /// # Errors
    /// [`Error::UnknownJob`](crate::Error::UnknownJob) if it names a job that does not exist; [`Error::Invalid`](crate::Error::Invalid) if the
    /// length of the lease is out of bounds; [`Error::Thread`](crate::Error::Thread) if a kept-alive
    /// lease needs a thread that cannot be started; [`Error::Storage`](crate::Error::Storage) or [`Error::Corrupted`](crate::Error::Corrupted) if
    /// the database cannot be read.
    pub fn lease(self) -> Result<Leasing> {
        let store = self.worker.store.clone();
        if self.keep_alive {
            // Before the job is leased: a lease without a handle would be held until it expires.
            store.start_keeper()?;
        }
        loop {
            let waiters = store.waiters()?;
            let seen = waiters.seen(&self.lease.wanted);
            match store.submit_one(Command::Lease(self.lease.clone()))? {
                Answer::Lease(LeaseAnswer::Granted(grant)) => {
                    waiters.granted(grant.job, grant.deadline);
                    let lease = Lease::new(&store, self.worker.id, grant, self.keep_alive)?;
                    return Ok(Leasing::Leased(lease));
                }
                Answer::Lease(LeaseAnswer::Busy { until }) => {
                    return Ok(Leasing::Busy(Busy { until, seen, request: self }));
                }
                Answer::Lease(LeaseAnswer::Finished) => return Ok(Leasing::Finished),
                Answer::Lease(LeaseAnswer::Again) => {}
                other => return Err(unexpected(&other)),
            }
        }
    }
}

/// The result of a request for a lease.
#[derive(Debug)]
#[must_use = "dropping a lease releases its job"]
pub enum Leasing {
    /// Here is a job.
    Leased(Lease),
    /// Every wanted job that is left is leased to a worker.
    Busy(Busy),
    /// Nothing is left to do: no wanted job is waiting or leased.
    Finished,
}

impl Leasing {
    /// The lease, waiting for one while others hold all that is left; `None` once nothing is left
    /// to do. A job becomes available when its holder releases it, or when its lease expires.
    ///
    /// # Errors
    /// [`Error::Closed`](crate::Error::Closed) if the store is closed meanwhile; [`Error::Storage`](crate::Error::Storage) or [`Error::Corrupted`](crate::Error::Corrupted) if
    /// the database cannot be read.
    pub fn wait(self) -> Result<Option<Lease>> {
        let mut outcome = self;
        loop {
            match outcome {
                Leasing::Leased(lease) => return Ok(Some(lease)),
                Leasing::Finished => return Ok(None),
                Leasing::Busy(busy) => outcome = busy.wait_at_most(Duration::MAX)?,
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

/// All wanted jobs are leased by others.
#[derive(Debug)]
pub struct Busy {
    until: Timestamp,
    /// What had happened before the request.
    seen: Seen,
    request: Request,
}

impl Busy {
    /// The earliest time at which one of those leases may expire.
    #[must_use]
    pub fn until(&self) -> Timestamp {
        self.until
    }

    /// Repeats the request once a job may have become available, a lease may have expired, or `most`
    /// has passed, whichever is first.
    ///
    /// # Errors
    /// As [`Request::lease`].
    pub fn wait_at_most(self, most: Duration) -> Result<Leasing> {
        let store = self.request.worker.store.clone();
        let most = store.others_write().map_or(most, |look| most.min(look));
        let wanted = &self.request.lease.wanted;
        let woken = store.waiters()?.wait(wanted, self.seen, self.until, most, &|| store.now());
        let result = self.request.lease()?;
        match &result {
            Leasing::Leased(lease) if woken.is_for(&lease.prefix()) => woken.done(),
            Leasing::Busy(_) => woken.done(),
            Leasing::Leased(_) | Leasing::Finished => drop(woken),
        }
        Ok(result)
    }
}

impl Store {
    /// Registers the worker of this name, or returns the existing one. The kind (such as `pc` or
    /// `gpu`) groups workers in statistics; another kind replaces the one before.
    ///
    /// A name identifies a worker, but guards nothing: leases are guarded by their tokens.
    ///
    /// # Errors
    /// [`Error::InvalidLength`](crate::Error::InvalidLength) if name or kind is empty, or longer than 255 and 64 bytes.
    pub fn worker(&self, name: &str, kind: &str) -> Result<Worker> {
        let register = Command::Register { name: name.to_string(), kind: kind.to_string() };
        match self.submit_one(register)? {
            Answer::Worker(id) => Ok(Worker::new(self.clone(), id, name)),
            other => Err(unexpected(&other)),
        }
    }
}
