//! Workers.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use crate::cancel::CancellationToken;
use crate::error::Result;
use crate::lease::Lease;
use crate::query::Scope;
use crate::request::LeaseRequest;
use crate::store::{Store, unexpected};
use crate::types::command::{Answer, Command};
use crate::types::{Counters, FindingOutcome, JobId, NewFinding, NewWorker, Totals, WorkerId};

/// A named process or thread that takes leases. Returned by [`Store::register_worker`]; cheap to
/// clone.
#[derive(Clone)]
pub struct Worker {
    store: Store,
    id: WorkerId,
    name: Arc<str>,
    cancellation: Option<CancellationToken>,
}

impl fmt::Debug for Worker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Worker").field("id", &self.id).field("name", &self.name).finish()
    }
}

impl From<&Worker> for Scope {
    fn from(worker: &Worker) -> Self {
        Scope::Worker(worker.id)
    }
}

impl Worker {
    fn new(store: Store, id: WorkerId, name: &str) -> Worker {
        Worker { store, id, name: name.into(), cancellation: None }
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

    /// This worker, stopped by a token: once that is cancelled, it gets no further lease, and
    /// stops waiting for one. Clones made of it are stopped, too.
    #[must_use]
    pub fn cancelled_by(mut self, token: &CancellationToken) -> Worker {
        token.watch(self.store.waiters_arc());
        self.cancellation = Some(token.clone());
        self
    }

    /// Waits for a lease of `length`: of a job with the prefix this worker last worked on, else of
    /// the job with the highest priority, else of the oldest. A job whose lease has expired counts
    /// as waiting. Returns `None` when this worker should stop: nothing is left to do, its
    /// [`CancellationToken`] was cancelled, or it is being drained. [`request`](Worker::request)
    /// has options, and says which of these it was.
    ///
    /// Every checkpoint and renewal extends the lease to `length` from then on, so it says after
    /// what silence a worker loses its job, not how long the job may take.
    ///
    /// ```
    /// # use milepost::{NewJob, Store};
    /// # use std::time::Duration;
    /// # let store = Store::in_memory()?;
    /// # store.create_job(NewJob::new("demo", 0..10))?;
    /// let worker = store.register_worker("pc-01")?;
    /// while let Some(mut lease) = worker.next_lease(Duration::from_secs(60))? {
    ///     while let Some(batch) = lease.next_batch(4) {
    ///         lease.checkpoint(batch)?;
    ///     }
    /// }
    /// # assert_eq!(store.snapshot()?.job_counts().completed, 1);
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`LeaseRequest::wait`].
    pub fn next_lease(&self, length: Duration) -> Result<Option<Lease>> {
        Ok(self.request(length).wait()?.leased())
    }

    /// A request for a lease with options, to be sent by [`LeaseRequest::send`] or
    /// [`LeaseRequest::wait`].
    pub fn request(&self, length: Duration) -> LeaseRequest {
        LeaseRequest::new(&self.store, self.cancellation.as_ref(), self.id, length)
    }

    /// Stores a finding alone, without a checkpoint. It is marked late if this worker does not hold
    /// the job, as when its lease was lost. If there is a finding under this key already, that one
    /// stays.
    ///
    /// # Errors
    /// [`Error::UnknownJob`](crate::Error::UnknownJob) if the job does not exist (any more);
    /// [`Error::InvalidLength`](crate::Error::InvalidLength) if the key or the payload is too long.
    pub fn add_finding(&self, job: JobId, finding: NewFinding) -> Result<FindingOutcome> {
        match self.store.submit_one(Command::Late { worker: self.id, job, finding })? {
            Answer::Finding(outcome) => Ok(outcome),
            other => Err(unexpected(&other)),
        }
    }

    /// Adds what this worker has counted itself since its last report to its statistics, and returns
    /// what that was. See [`Counters`].
    ///
    /// # Errors
    /// [`Error::Invalid`](crate::Error::Invalid) if the counters of this session went back, or there
    /// are more errors than batches; [`Error::InvalidLength`](crate::Error::InvalidLength) if the name
    /// of the session is empty or longer than 64 bytes.
    pub fn report(&self, counters: &Counters) -> Result<Totals> {
        let report = Command::Report { worker: self.id, counters: counters.clone() };
        match self.store.submit_one(report)? {
            Answer::Reported(added) => Ok(added),
            other => Err(unexpected(&other)),
        }
    }
}

impl Store {
    /// Registers the worker of this name, or returns the existing one.
    ///
    /// A name identifies a worker, but guards nothing: leases are guarded by their tokens.
    ///
    /// ```
    /// # use milepost::{NewWorker, Store};
    /// # let store = Store::in_memory()?;
    /// let worker = store.register_worker(NewWorker::new("pc-01").kind("gpu"))?;
    /// assert_eq!(store.register_worker("pc-01")?.id(), worker.id());
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidLength`](crate::Error::InvalidLength) if the name, the kind or a piece of
    /// metadata is empty or too long: see [`NewWorker`].
    pub fn register_worker(&self, worker: impl Into<NewWorker>) -> Result<Worker> {
        let worker = worker.into();
        let name = worker.name.clone();
        match self.submit_one(Command::Register(worker))? {
            Answer::Worker(id) => Ok(Worker::new(self.clone(), id, &name)),
            other => Err(unexpected(&other)),
        }
    }

    /// The worker of this name; `None` if it was never registered.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::Error::Storage) or [`Error::Corrupted`](crate::Error::Corrupted)
    /// if the database cannot be read.
    pub fn worker(&self, name: &str) -> Result<Option<Worker>> {
        let info = self.snapshot()?.worker_named(name)?;
        Ok(info.map(|info| Worker::new(self.clone(), info.id, name)))
    }
}
