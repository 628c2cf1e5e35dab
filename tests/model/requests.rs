//! Requests for leases, of the store and of the model.

use std::ops::Range;
use std::time::Duration;

use milepost::JobStatus;

use crate::convert::{id, leasing, prefix, tag};
use crate::drive::{Lease, Run};
use crate::plain::{LeaseOutcome, Wanted};
use crate::step;

impl Run {
    pub fn lease(
        &mut self,
        worker: u8,
        length: Duration,
        wanted: &step::Wanted,
        resume: bool,
    ) -> Result<(), String> {
        let Some(worker) = self.worker(worker) else { return Ok(()) };
        let mut request = worker.request(length);
        let wanted = match wanted {
            step::Wanted::Any => Wanted::Any,
            step::Wanted::Prefix(number) => Wanted::Prefix(prefix(*number)),
            step::Wanted::Job(job) => Wanted::Job(self.job(*job)),
        };
        request = match &wanted {
            Wanted::Any => request,
            Wanted::Prefix(prefix) => request.of_prefix(prefix.clone()),
            Wanted::Job(job) => request.of_job(id(*job)),
        };
        if resume {
            request = request.resume();
        }
        let answer = request.send().map(leasing).map_err(tag);
        if answer.is_ok() {
            self.follow_expiry(&wanted)?;
        }
        let expected = self.plain.lease(worker.id().get(), length, &wanted, resume);
        match (&answer, &expected) {
            (_, Ok(LeaseOutcome::Leased { job, token, .. })) => {
                self.leases.push(Lease { job: *job, token: *token, sequence: 0, last: None });
            }
            (Ok(LeaseOutcome::Busy { until }), Ok(LeaseOutcome::Busy { until: latest })) => {
                // The store may say an earlier time, as long as it lies ahead.
                if *until > *latest || *until <= self.plain.now {
                    return Err(format!(
                        "the store is busy until {until}, the model until {latest}"
                    ));
                }
                return self.nothing_expired_is_left(&wanted);
            }
            _ => {}
        }
        self.agree("lease", answer, expected)
    }

    /// A lease of the next free positions of a prefix, if no job of it waits.
    pub fn next_range(
        &mut self,
        worker: u8,
        number: u8,
        positions: u64,
        within: Range<u64>,
    ) -> Result<(), String> {
        let Some(worker) = self.worker(worker) else { return Ok(()) };
        let prefix = prefix(number);
        let length = Duration::from_secs(100);
        let request = worker.request(length).of_prefix(prefix.clone());
        let answer = request.or_next_range(positions, within.clone()).send();
        let answer = answer.map(leasing).map_err(tag);
        let wanted = Wanted::Prefix(prefix.clone());
        if answer.is_ok() {
            self.follow_expiry(&wanted)?;
        }
        let expected =
            self.plain.next_range(worker.id().get(), length, &prefix, positions, &within);
        match (&answer, &expected) {
            (_, Ok(LeaseOutcome::Leased { job, token, .. })) => {
                self.leases.push(Lease { job: *job, token: *token, sequence: 0, last: None });
            }
            (Ok(LeaseOutcome::Busy { until }), Ok(LeaseOutcome::Busy { until: latest }))
                if until <= latest && *until > self.plain.now =>
            {
                return self.nothing_expired_is_left(&wanted);
            }
            _ => {}
        }
        self.agree("next range", answer, expected)
    }

    fn nothing_expired_is_left(&self, wanted: &Wanted) -> Result<(), String> {
        let expired = self.plain.expired();
        match expired.iter().find(|job| self.plain.is_wanted(**job, wanted)) {
            Some(job) => Err(format!("the lease of job {job} has expired and was passed over")),
            None => Ok(()),
        }
    }

    /// Puts the jobs back in the queue that the store put back, of those whose leases have expired,
    /// and brings the deadlines forward that it brought forward after the clock was set back.
    ///
    /// Where a transaction holds little, a request may look at a job before those are put back that
    /// come before it in the queue, and find that it has no attempts left.
    fn follow_expiry(&mut self, wanted: &Wanted) -> Result<(), String> {
        let view = self.store.snapshot().map_err(tag)?;
        for job in self.plain.expired() {
            let shown = view.job(id(job)).map_err(tag)?.unwrap();
            let row = &self.plain.jobs[&job].job;
            let is_held_on = shown.status == JobStatus::Leased && shown.token.get() == row.token;
            if !is_held_on {
                self.plain.expire(job);
            }
        }
        for job in self.plain.returned().into_iter().filter(|_| !self.place.roomy) {
            let shown = view.job(id(job)).map_err(tag)?.unwrap();
            let has_failed = shown.status == JobStatus::Failed;
            if has_failed && (!self.plain.is_wanted(job, wanted) || self.plain.attempt(job)) {
                return Err(format!("job {job} has failed, though it had attempts left"));
            }
        }
        for job in self.plain.far_ahead() {
            let shown = view.job(id(job)).map_err(tag)?.unwrap();
            self.plain.bring_forward(job, shown.deadline);
        }
        Ok(())
    }
}
