//! Requests for leases, and their results.

use std::ops::Range;
use std::time::{Duration, Instant};

use crate::cancel::CancellationToken;
use crate::error::Result;
use crate::lease::Lease;
use crate::store::{Store, unexpected};
use crate::time::Timestamp;
use crate::types::command::{Answer, Command, LeaseAnswer, LeaseTerms, OnDemand, Wanted};
use crate::types::{JobId, Prefix, WorkerId};
use crate::waiting::Seen;

/// A request for a lease: narrowed down by its methods, then sent.
///
/// ```
/// # use milepost::{LeaseOutcome, NewJob, Store};
/// # use std::time::Duration;
/// # let store = Store::in_memory()?;
/// # store.create_job(NewJob::new("site-7", 0..10))?;
/// let worker = store.register_worker("pc-01")?;
/// let request = worker.request(Duration::from_secs(60)).of_prefix("site-7").resume();
/// match request.send()? {
///     LeaseOutcome::Leased(lease) => println!("go on at {}", lease.cursor()),
///     LeaseOutcome::Busy(busy) => println!("all jobs are leased, at least one until {}", busy.until()),
///     LeaseOutcome::Finished => println!("nothing is left to do"),
///     other => println!("{other:?}"),
/// }
/// # Ok::<(), milepost::Error>(())
/// ```
#[derive(Debug, Clone)]
#[must_use = "a request does nothing until it is sent"]
pub struct LeaseRequest {
    store: Store,
    cancellation: Option<CancellationToken>,
    terms: LeaseTerms,
    keep_alive: bool,
    /// Of a job that is created on demand.
    max_attempts: Option<u32>,
}

impl LeaseRequest {
    pub(crate) fn new(
        store: &Store,
        cancellation: Option<&CancellationToken>,
        worker: WorkerId,
        length: Duration,
    ) -> LeaseRequest {
        LeaseRequest {
            store: store.clone(),
            cancellation: cancellation.cloned(),
            terms: LeaseTerms::new(worker, length),
            keep_alive: false,
            max_attempts: None,
        }
    }

    /// Prefers a job that this worker still holds to any other, so that a restarted worker goes on
    /// at once instead of waiting for its own old lease to expire. The lease gets a
    /// new token, so a handle that still exists for the old one loses it.
    ///
    /// Of a worker that holds more than 256 jobs, the 256 oldest are considered, unless
    /// [`of_job`](LeaseRequest::of_job) names one.
    pub fn resume(mut self) -> LeaseRequest {
        self.terms.resume = true;
        self
    }

    /// Requests only jobs of this prefix.
    pub fn of_prefix(mut self, prefix: impl Into<Prefix>) -> LeaseRequest {
        self.terms.wanted = Wanted::Prefix(prefix.into().0);
        self
    }

    /// Creates a job if none waits, over the next positions of the prefix that belong to no job:
    /// the first within `within`, at most `positions` of them. Workers that ask at the same time get
    /// ranges that do not overlap, and gaps that deleted jobs left are filled. Needs
    /// [`of_prefix`](LeaseRequest::of_prefix).
    ///
    /// Jobs of the prefix that wait, such as one that a crashed worker left, are leased first.
    /// The request is finished once all positions belong to jobs and these have ended.
    ///
    /// ```
    /// # use milepost::Store;
    /// # use std::time::Duration;
    /// # let store = Store::in_memory()?;
    /// let worker = store.register_worker("pc-01")?;
    /// let minute = Duration::from_secs(60);
    /// let next = || worker.request(minute).of_prefix("demo").or_next_range(400, 0..1_000).wait();
    ///
    /// let mut ranges = Vec::new();
    /// while let Some(mut lease) = next()?.leased() {
    ///     ranges.push(lease.range());
    ///     while let Some(batch) = lease.next_batch(100) {
    ///         lease.checkpoint(batch)?;
    ///     }
    /// }
    /// assert_eq!(ranges, [0..400, 400..800, 800..1_000]);
    /// # Ok::<(), milepost::Error>(())
    /// ```
    pub fn or_next_range(mut self, positions: u64, within: Range<u64>) -> LeaseRequest {
        let max_attempts = self.max_attempts;
        self.terms.on_demand = Some(OnDemand { positions, within, max_attempts });
        self
    }

    /// Limits the attempts at a job that [`or_next_range`](LeaseRequest::or_next_range) creates, as
    /// [`NewJob::max_attempts`](crate::NewJob::max_attempts) does.
    pub fn max_attempts(mut self, attempts: u32) -> LeaseRequest {
        self.max_attempts = Some(attempts);
        if let Some(on_demand) = &mut self.terms.on_demand {
            on_demand.max_attempts = Some(attempts);
        }
        self
    }

    /// Spreads workers over the prefixes: requests a job of the prefix of which the fewest jobs are
    /// leased, among the first 16 prefixes whose jobs have the highest priority, instead of one with
    /// the prefix that this worker last worked on.
    pub fn spread(mut self) -> LeaseRequest {
        self.terms.spread = true;
        self
    }

    /// Requests only this job.
    pub fn of_job(mut self, job: JobId) -> LeaseRequest {
        self.terms.wanted = Wanted::Job(job);
        self
    }

    /// Renews the lease from a background thread, for as long as the handle lives, whenever a third
    /// of its length has passed without a checkpoint: for batches that may take longer than the
    /// lease. [`Lease::deadline`] includes these renewals. If one fails, it is repeated. A worker
    /// that hangs keeps its job; [`Store::release_stale`] finds such jobs.
    pub fn keep_alive(mut self) -> LeaseRequest {
        self.keep_alive = true;
        self
    }

    /// Sends the request, and returns at once also if no job is available.
    ///
    /// # Errors
    /// - [`Error::UnknownJob`](crate::Error::UnknownJob) or
    ///   [`Error::UnknownPrefix`](crate::Error::UnknownPrefix) if it names a job that does not
    ///   exist, or a prefix that no job has.
    /// - [`Error::Invalid`](crate::Error::Invalid) if the length is zero or above ten years.
    /// - [`Error::Thread`](crate::Error::Thread) if a kept-alive lease needs a thread that cannot
    ///   be started.
    /// - [`Error::Storage`](crate::Error::Storage) or
    ///   [`Error::Corrupted`](crate::Error::Corrupted) if the database cannot be read.
    pub fn send(self) -> Result<LeaseOutcome> {
        let store = self.store.clone();
        if self.keep_alive {
            // Before the job is leased: a lease without a handle would be held until it expires.
            store.start_keeper()?;
        }
        loop {
            let waiters = store.waiters()?;
            let seen = waiters.seen(&self.terms.wanted);
            // After what was seen: a token that is cancelled later ends a wait for what comes next.
            if self.cancellation.as_ref().is_some_and(CancellationToken::is_cancelled) {
                return Ok(LeaseOutcome::Cancelled);
            }
            match store.submit_one(Command::Lease(self.terms.clone()))? {
                Answer::Lease(LeaseAnswer::Granted(grant)) => {
                    waiters.granted(grant.job, grant.deadline);
                    let lease = Lease::new(&store, grant, self.keep_alive)?;
                    return Ok(LeaseOutcome::Leased(lease));
                }
                Answer::Lease(LeaseAnswer::Busy { until }) => {
                    return Ok(LeaseOutcome::Busy(Busy { until, seen, request: self }));
                }
                Answer::Lease(LeaseAnswer::Finished) => return Ok(LeaseOutcome::Finished),
                Answer::Lease(LeaseAnswer::Again) => {}
                other => return Err(unexpected(&other)),
            }
        }
    }

    /// Sends the request, and waits while others hold all wanted jobs that are left. A job becomes
    /// available when its holder releases it, or when its lease expires. Never returns
    /// [`LeaseOutcome::Busy`].
    ///
    /// # Errors
    /// As [`send`](LeaseRequest::send); [`Error::Closed`](crate::Error::Closed) if the store is
    /// closed meanwhile.
    pub fn wait(self) -> Result<LeaseOutcome> {
        self.send()?.wait()
    }

    /// As [`wait`](LeaseRequest::wait), but returns [`LeaseOutcome::Busy`] once `most` has passed.
    ///
    /// # Errors
    /// As [`wait`](LeaseRequest::wait).
    pub fn wait_at_most(self, most: Duration) -> Result<LeaseOutcome> {
        let began = Instant::now();
        let mut outcome = self.send()?;
        loop {
            let left = most.saturating_sub(began.elapsed());
            match outcome {
                LeaseOutcome::Busy(busy) if !left.is_zero() => outcome = busy.wait_at_most(left)?,
                outcome => return Ok(outcome),
            }
        }
    }
}

/// The result of a request for a lease.
#[derive(Debug)]
#[must_use = "dropping a lease releases its job"]
#[non_exhaustive]
pub enum LeaseOutcome {
    /// A job was leased.
    Leased(Lease),
    /// Every wanted job that is left is leased to a worker.
    Busy(Busy),
    /// Nothing is left to do: no wanted job is waiting or leased.
    Finished,
    /// The worker is being drained: it should take no further job.
    Drained,
    /// The worker's [`CancellationToken`] was cancelled.
    Cancelled,
}

impl LeaseOutcome {
    /// Waits while others hold all wanted jobs that are left: as [`LeaseRequest::wait`], for a request
    /// that was sent before.
    ///
    /// # Errors
    /// As [`LeaseRequest::wait`].
    pub fn wait(self) -> Result<LeaseOutcome> {
        let mut outcome = self;
        while let LeaseOutcome::Busy(busy) = outcome {
            outcome = busy.wait_at_most(Duration::MAX)?;
        }
        Ok(outcome)
    }

    /// The lease, if there is one.
    #[must_use]
    pub fn leased(self) -> Option<Lease> {
        match self {
            LeaseOutcome::Leased(lease) => Some(lease),
            _ => None,
        }
    }
}

/// All wanted jobs are leased by others.
#[derive(Debug)]
pub struct Busy {
    until: Timestamp,
    /// What had happened before the request.
    seen: Seen,
    request: LeaseRequest,
}

impl Busy {
    /// The earliest time at which one of those leases may expire.
    #[must_use]
    pub fn until(&self) -> Timestamp {
        self.until
    }

    /// Repeats the request once a job may have become available, a lease may have expired, or
    /// `most` has passed, whichever is first. In between, the caller may do other things: nothing
    /// that happened since the last request is missed.
    ///
    /// # Errors
    /// As [`LeaseRequest::wait`].
    pub fn wait_at_most(self, most: Duration) -> Result<LeaseOutcome> {
        let store = self.request.store.clone();
        let most = store.others_write().map_or(most, |look| most.min(look));
        let wanted = &self.request.terms.wanted;
        let woken = store.waiters()?.wait(wanted, self.seen, self.until, most, &|| store.now());
        let result = self.request.send()?;
        match &result {
            LeaseOutcome::Leased(lease) if woken.is_for(lease.prefix()) => woken.done(),
            LeaseOutcome::Busy(_) => woken.done(),
            _ => drop(woken),
        }
        Ok(result)
    }
}
