//! Creating and ending jobs, and commands under leases that are kept elsewhere.

use std::time::Duration;

use super::{Store, unexpected};
use crate::error::{Error, Result};
use crate::types::command::{Answer, Command, LeaseCommand, Receipt, Stamped};
use crate::types::{JobId, NewJob};

impl Store {
    /// Creates a job.
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
    /// # Errors
    /// As [`create_job`](Store::create_job), for the first job that is refused.
    pub fn create_jobs(&self, jobs: impl IntoIterator<Item = NewJob>) -> Result<Vec<JobId>> {
        match self.submit_one(Command::Create(jobs.into_iter().collect()))? {
            Answer::Jobs(ids) => Ok(ids),
            other => Err(unexpected(&other)),
        }
    }

    /// Finds the job with exactly this prefix and range, or creates it. Returns its id, and
    /// whether it was created: of two callers at once, one gets `true`.
    ///
    /// # Errors
    /// As [`create_job`](Store::create_job): a job with another range that overlaps is in the way.
    pub fn find_or_create_job(&self, job: NewJob) -> Result<(JobId, bool)> {
        match self.submit_one(Command::FindOrCreate(job))? {
            Answer::Found { job, created } => Ok((job, created)),
            other => Err(unexpected(&other)),
        }
    }

    /// Cancels a job that is waiting or held. Its holder's next command gets
    /// [`Error::LeaseLost`].
    ///
    /// # Errors
    /// [`Error::UnknownJob`]; [`Error::WrongStatus`] if it has ended.
    pub fn cancel_job(&self, job: JobId) -> Result<()> {
        self.submit_one(Command::Cancel(job)).map(|_| ())
    }

    /// Puts a failed or cancelled job back in the queue, to resume from its cursor, with no attempt
    /// counted.
    ///
    /// # Errors
    /// [`Error::UnknownJob`]; [`Error::WrongStatus`] if it neither failed nor was cancelled.
    pub fn retry_job(&self, job: JobId) -> Result<()> {
        self.submit_one(Command::Retry(job)).map(|_| ())
    }

    /// Deletes a job that has ended, with its findings. What workers did for it stays counted.
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

    /// Ends the leases of all jobs that have had neither a checkpoint nor a new lease for
    /// this long, and returns how many. It counts as no attempt. Their holders' next commands get
    /// [`Error::LeaseLost`].
    ///
    /// # Errors
    /// [`Error::Storage`] or [`Error::Corrupted`] if the database cannot be read.
    pub fn release_stale(&self, older_than: Duration) -> Result<u64> {
        let since = self.now().before(older_than);
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
