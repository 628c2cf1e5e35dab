//! Creating and ending jobs, and commands under leases that are kept elsewhere.

use std::time::Duration;

use super::{Store, unexpected};
use crate::error::{Error, Result};
use crate::query::JobFilter;
use crate::types::command::{Answer, Command, Stamped};
use crate::types::{FindOrCreateOutcome, JobId, JobStatus, LeaseCommand, NewJob, Receipt};

impl Store {
    /// Creates a job.
    ///
    /// ```
    /// # use milepost::{NewJob, Store};
    /// # let store = Store::in_memory()?;
    /// let job = store.create_job(NewJob::new("site-7", 0..1_000).priority(5))?;
    /// assert_eq!(store.snapshot()?.job(job)?.expect("it exists").left(), 1_000);
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`Error::InvalidLength`] if the prefix is empty or longer than 255 bytes.
    /// - [`Error::EmptyRange`] if the range holds no position.
    /// - [`Error::RangeOverlap`] if another job of the prefix covers some of it.
    pub fn create_job(&self, job: NewJob) -> Result<JobId> {
        let created = self.create_jobs([job])?;
        created.first().copied().ok_or_else(|| Error::invalid("no job was created"))
    }

    /// Creates many jobs in one transaction: all of them, or none. The ids come in the order of
    /// the jobs.
    ///
    /// ```
    /// # use milepost::{NewJob, Store};
    /// # let store = Store::in_memory()?;
    /// let jobs = (0..10u64).map(|n| NewJob::new("site-7", n * 100..(n + 1) * 100));
    /// assert_eq!(store.create_jobs(jobs)?.len(), 10);
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`create_job`](Store::create_job), for the first job that is refused.
    pub fn create_jobs(&self, jobs: impl IntoIterator<Item = NewJob>) -> Result<Vec<JobId>> {
        match self.submit_one(Command::Create(jobs.into_iter().collect()))? {
            Answer::Jobs(ids) => Ok(ids),
            other => Err(unexpected(&other)),
        }
    }

    /// Finds the job with exactly this prefix and range, or creates it: of two callers at once, one
    /// creates it.
    ///
    /// ```
    /// # use milepost::{NewJob, Store};
    /// # let store = Store::in_memory()?;
    /// let first = store.find_or_create_job(NewJob::new("site-7", 0..100))?;
    /// let second = store.find_or_create_job(NewJob::new("site-7", 0..100))?;
    /// assert!(first.is_created() && !second.is_created());
    /// assert_eq!(first.id(), second.id());
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`create_job`](Store::create_job): a job with another range that overlaps is in the way.
    pub fn find_or_create_job(&self, job: NewJob) -> Result<FindOrCreateOutcome> {
        let found = self.find_or_create_jobs([job])?;
        found.first().copied().ok_or_else(|| Error::invalid("no job was found or created"))
    }

    /// Finds the jobs with exactly these prefixes and ranges, and creates those that are missing, in
    /// one transaction: all of them, or none. The outcomes come in the order of the jobs.
    ///
    /// ```
    /// # use milepost::{NewJob, Store};
    /// # let store = Store::in_memory()?;
    /// let jobs = || (0..10u64).map(|n| NewJob::new("site-7", n * 100..(n + 1) * 100));
    /// store.find_or_create_jobs(jobs())?;
    /// let found = store.find_or_create_jobs(jobs())?;
    /// assert!(found.iter().all(|outcome| !outcome.is_created()));
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`create_job`](Store::create_job), for the first job that is refused.
    pub fn find_or_create_jobs(
        &self,
        jobs: impl IntoIterator<Item = NewJob>,
    ) -> Result<Vec<FindOrCreateOutcome>> {
        match self.submit_one(Command::FindOrCreate(jobs.into_iter().collect()))? {
            Answer::Found(outcomes) => Ok(outcomes),
            other => Err(unexpected(&other)),
        }
    }

    /// Cancels a job that is waiting or held. Its holder's next command gets
    /// [`Error::LeaseLost`].
    ///
    /// ```
    /// # use milepost::{NewJob, Store};
    /// # let store = Store::in_memory()?;
    /// let job = store.create_job(NewJob::new("site-7", 0..100))?;
    /// store.cancel_job(job)?;
    /// assert_eq!(store.snapshot()?.job_counts().cancelled, 1);
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::UnknownJob`]; [`Error::WrongStatus`] if it has ended.
    pub fn cancel_job(&self, job: JobId) -> Result<()> {
        self.submit_one(Command::Cancel(job)).map(|_| ())
    }

    /// Puts a failed or cancelled job back in the queue, to resume from its cursor, with no attempt
    /// counted.
    ///
    /// ```
    /// # use milepost::{NewJob, Store};
    /// # let store = Store::in_memory()?;
    /// # let job = store.create_job(NewJob::new("site-7", 0..100))?;
    /// # store.cancel_job(job)?;
    /// store.retry_job(job)?;
    /// assert_eq!(store.snapshot()?.job_counts().pending, 1);
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::UnknownJob`]; [`Error::WrongStatus`] if it neither failed nor was cancelled.
    pub fn retry_job(&self, job: JobId) -> Result<()> {
        self.submit_one(Command::Retry(job)).map(|_| ())
    }

    /// Returns a job to the queue, to be done again from a position of its range, or from its start.
    /// No attempt is counted. What was done before stays counted, and counts again when it is done
    /// again.
    ///
    /// ```
    /// # use milepost::{NewJob, Store};
    /// # let store = Store::in_memory()?;
    /// # let job = store.create_job(NewJob::new("site-7", 0..100).cursor(100))?;
    /// store.restart_job(job, Some(50))?;
    /// assert_eq!(store.snapshot()?.job(job)?.expect("it exists").cursor, 50);
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::UnknownJob`]; [`Error::WrongStatus`] while it is leased; [`Error::Invalid`] if the
    /// position is not in its range.
    pub fn restart_job(&self, job: JobId, from: Option<u64>) -> Result<()> {
        self.submit_one(Command::Restart { job, from }).map(|_| ())
    }

    /// Deletes a job that has ended, with its findings. What workers did for it stays counted.
    ///
    /// ```
    /// # use milepost::{NewJob, Store};
    /// # let store = Store::in_memory()?;
    /// # let job = store.create_job(NewJob::new("site-7", 0..100).cursor(100))?;
    /// store.delete_job(job)?;
    /// assert!(store.snapshot()?.job(job)?.is_none());
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::UnknownJob`]; [`Error::WrongStatus`] if it has not ended.
    pub fn delete_job(&self, job: JobId) -> Result<()> {
        self.submit_one(Command::Delete(job))?;
        // The job is gone. What is left of its findings goes with later commits.
        if let Err(error) = self.settle() {
            tracing::warn!(%job, error = &error as &dyn std::error::Error, "findings of a deleted job are still to be removed");
        }
        Ok(())
    }

    /// Cancels the waiting and leased jobs that a filter leaves, in steps between which other callers'
    /// commands are committed. Returns how many it cancelled. Jobs that end meanwhile are passed over.
    ///
    /// ```
    /// # use milepost::{JobFilter, NewJob, Store};
    /// # let store = Store::in_memory()?;
    /// store.create_jobs((0..10u64).map(|n| NewJob::new("site-7", n * 10..n * 10 + 10)))?;
    /// assert_eq!(store.cancel_jobs(&JobFilter::default().prefix("site-7"))?, 10);
    /// assert_eq!(store.delete_jobs(&JobFilter::default())?, 10);
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Storage`] or [`Error::Corrupted`] if the database cannot be read or written: some jobs
    /// may have been cancelled by then, and calling it again does the rest.
    pub fn cancel_jobs(&self, filter: &JobFilter) -> Result<u64> {
        self.each_job(filter, &[JobStatus::Pending, JobStatus::Leased], Command::Cancel)
    }

    /// Returns the failed and cancelled jobs that a filter leaves to the queue, in steps as
    /// [`cancel_jobs`](Store::cancel_jobs), each as [`retry_job`](Store::retry_job) does. Returns how
    /// many.
    ///
    /// ```
    /// # use milepost::{NewJob, Store};
    /// # let store = Store::in_memory()?;
    /// # let job = store.create_job(NewJob::new("site-7", 0..100))?;
    /// # store.cancel_job(job)?;
    /// use milepost::JobFilter;
    ///
    /// assert_eq!(store.retry_jobs(&JobFilter::default().prefix("site-7"))?, 1);
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`cancel_jobs`](Store::cancel_jobs).
    pub fn retry_jobs(&self, filter: &JobFilter) -> Result<u64> {
        self.each_job(filter, &[JobStatus::Failed, JobStatus::Cancelled], Command::Retry)
    }

    /// Deletes the jobs that have ended and that a filter leaves, with their findings, in steps as
    /// [`cancel_jobs`](Store::cancel_jobs). Returns how many.
    ///
    /// ```
    /// # use milepost::{NewJob, Store};
    /// # let store = Store::in_memory()?;
    /// # store.create_job(NewJob::new("site-7", 0..100).cursor(100))?;
    /// use milepost::{JobFilter, JobStatus};
    ///
    /// let completed = JobFilter::default().status(JobStatus::Completed);
    /// assert_eq!(store.delete_jobs(&completed)?, 1);
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`cancel_jobs`](Store::cancel_jobs).
    pub fn delete_jobs(&self, filter: &JobFilter) -> Result<u64> {
        let ended = [JobStatus::Completed, JobStatus::Failed, JobStatus::Cancelled];
        self.each_job(filter, &ended, Command::Delete)
    }

    /// Sends a command for every job that a filter leaves and that has one of these statuses.
    fn each_job(
        &self,
        filter: &JobFilter,
        statuses: &[JobStatus],
        command: fn(JobId) -> Command,
    ) -> Result<u64> {
        /// How many jobs are changed in one transaction.
        const STEP: usize = 256;

        let wanted = filter.among(statuses);
        let (mut changed, mut after) = (0, None);
        loop {
            // A snapshot for each page: one that is held lets the file grow.
            let page = self.snapshot()?.find_jobs(&wanted, after.as_ref(), STEP)?;
            let commands = page.items.iter().map(|job| self.stamp(command(job.id)));
            let commands = commands.collect::<Result<Vec<_>>>()?;
            for result in self.inner.committer.submit_all(commands) {
                match result {
                    Ok(reply) => {
                        self.inner.waiters.notify(reply.events);
                        changed += 1;
                    }
                    // Somebody else was faster.
                    Err(Error::UnknownJob(_) | Error::WrongStatus { .. }) => {}
                    Err(error) => return Err(error),
                }
            }
            if self.snapshot()?.is_settling() {
                self.settle()?;
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(changed),
            }
        }
    }

    /// Ends the leases of all jobs that have had neither a checkpoint nor a new lease for
    /// this long, and returns how many. It counts as no attempt. Their holders' next commands get
    /// [`Error::LeaseLost`].
    ///
    /// ```
    /// # use milepost::{NewJob, Store};
    /// # use std::time::Duration;
    /// # let store = Store::in_memory()?;
    /// # let job = store.create_job(NewJob::new("demo", 0..100))?;
    /// # let worker = store.register_worker("pc-01")?;
    /// # let mut lease = worker.next_lease(Duration::from_secs(60))?.expect("a job waits");
    /// let released = store.release_stale(Duration::from_secs(3_600))?;
    /// assert_eq!(released, 0, "it was leased a moment ago");
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Storage`] or [`Error::Corrupted`] if the database cannot be read.
    pub fn release_stale(&self, older_than: Duration) -> Result<u64> {
        let since = self.now().saturating_sub(older_than);
        let (mut sum, mut after) = (0, None);
        loop {
            match self.submit_one(Command::ReleaseStale { since, after })? {
                Answer::Released { jobs, next } => {
                    sum += jobs;
                    after = next;
                    if next.is_none() {
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
    /// content, gets its first result again and changes nothing.
    ///
    /// ```
    /// # use milepost::{NewJob, Store};
    /// # use std::time::Duration;
    /// # let store = Store::in_memory()?;
    /// # let job = store.create_job(NewJob::new("demo", 0..100))?;
    /// # let worker = store.register_worker("pc-01")?;
    /// # let mut lease = worker.next_lease(Duration::from_secs(60))?.expect("a job waits");
    /// use milepost::{Action, Receipt};
    ///
    /// let grant = lease.grant();
    /// lease.abandon();
    /// let receipt = store.submit(grant.command(Action::Release))?;
    /// assert_eq!(receipt, Receipt::Released);
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`Error::LeaseLost`] if the token is not the job's present one.
    /// - [`Error::OutOfSequence`] or [`Error::CommandAltered`] if the sequence number does not fit.
    /// - else as the methods of [`Lease`](crate::Lease).
    pub fn submit(&self, command: LeaseCommand) -> Result<Receipt> {
        match self.submit_one(Command::Held(command))? {
            Answer::Receipt(receipt) => Ok(receipt),
            other => Err(unexpected(&other)),
        }
    }

    /// Sends many commands to be applied in order, up to 1,024 of them in one transaction. Other
    /// callers take turns between transactions. Each command gets its own result; one that is
    /// refused does not stop the others, but after a failure of the storage none is applied.
    ///
    /// ```
    /// # use milepost::{NewJob, Store};
    /// # use std::time::Duration;
    /// # let store = Store::in_memory()?;
    /// # let job = store.create_job(NewJob::new("demo", 0..100))?;
    /// # let worker = store.register_worker("pc-01")?;
    /// # let mut lease = worker.next_lease(Duration::from_secs(60))?.expect("a job waits");
    /// use milepost::Action;
    ///
    /// let grant = lease.grant();
    /// lease.abandon();
    /// let results = store.submit_many([grant.command(Action::Renew)]);
    /// assert!(results[0].is_ok());
    /// # Ok::<(), milepost::Error>(())
    /// ```
    pub fn submit_many(
        &self,
        commands: impl IntoIterator<Item = LeaseCommand>,
    ) -> Vec<Result<Receipt>> {
        let checked: Vec<Result<Stamped>> =
            commands.into_iter().map(|command| self.stamp(Command::Held(command))).collect();
        let mut verdicts: Vec<Result<()>> = Vec::with_capacity(checked.len());
        let mut accepted = Vec::with_capacity(checked.len());
        for command in checked {
            verdicts.push(command.map(|command| accepted.push(command)));
        }
        let mut answers = self.inner.committer.submit_all(accepted).into_iter();
        let mut answer = |()| match answers.next() {
            Some(Ok(reply)) => {
                self.inner.waiters.notify(reply.events);
                match reply.answer {
                    Answer::Receipt(receipt) => Ok(receipt),
                    other => Err(unexpected(&other)),
                }
            }
            Some(Err(error)) => Err(error),
            None => Err(Error::Closed),
        };
        verdicts.into_iter().map(|verdict| verdict.and_then(&mut answer)).collect()
    }
}
