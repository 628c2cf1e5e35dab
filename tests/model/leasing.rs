//! What the model does about leases, and under them.

use std::ops::Range;
use std::time::Duration;

use milepost::{FailOutcome, JobStatus, Receipt, Timestamp};

use crate::plain::{Done, LeaseOutcome, NewJob, Plain, PlainJob, Refused, Tried, Wanted};
use crate::tiers::Record;

/// A clock that went back by less goes unnoticed.
const TOLERANCE: Duration = Duration::from_secs(60);

impl Plain {
    /// Held jobs whose leases have expired.
    pub fn expired(&self) -> Vec<u64> {
        self.held_if(|row| row.deadline <= self.now)
    }

    /// Held jobs whose deadlines lie further ahead than their leases are long.
    pub fn far_ahead(&self) -> Vec<u64> {
        self.held_if(|row| {
            row.deadline.saturating_duration_since(self.now) > row.length + TOLERANCE
        })
    }

    fn held_if(&self, holds: impl Fn(&PlainJob) -> bool) -> Vec<u64> {
        let held = self.jobs.values().filter(|row| row.job.status == JobStatus::Leased);
        held.filter(|row| holds(row)).map(|row| row.job.id).collect()
    }

    /// Puts a job whose lease has expired back in the queue.
    pub fn expire(&mut self, id: u64) {
        self.jobs.get_mut(&id).unwrap().job.status = JobStatus::Pending;
    }

    /// Waiting jobs whose last leases expired.
    pub fn returned(&self) -> Vec<u64> {
        let waiting = self.jobs.values().filter(|row| row.job.status == JobStatus::Pending);
        waiting.filter(|row| row.token_is_live).map(|row| row.job.id).collect()
    }

    /// Takes a deadline that the store brought forward, if it is the right one.
    pub fn bring_forward(&mut self, id: u64, shown: Option<Timestamp>) {
        let now = self.now;
        let row = self.jobs.get_mut(&id).unwrap();
        if shown == Some(now.saturating_add(row.length)) {
            row.deadline = now.saturating_add(row.length);
        }
    }

    pub fn is_wanted(&self, id: u64, wanted: &Wanted) -> bool {
        match wanted {
            Wanted::Any => true,
            Wanted::Prefix(prefix) => self.jobs[&id].job.prefix == *prefix,
            Wanted::Job(job) => *job == id,
        }
    }

    /// Counts an attempt if the lease before expired without progress; false if it was the last.
    pub fn attempt(&mut self, id: u64) -> bool {
        let (now, since_jump) = (self.now, self.since_jump);
        let row = self.jobs.get_mut(&id).unwrap();
        let expired = row.job.status == JobStatus::Pending && row.token_is_live;
        let jumped = since_jump.is_some_and(|since| since < row.length);
        if !expired || row.job.cursor != row.leased_cursor || jumped {
            return true;
        }
        row.job.attempts += 1;
        if row.job.max_attempts.is_none_or(|max| row.job.attempts < max) {
            return true;
        }
        row.job.last_error = Some(format!(
            "its lease expired without progress; attempt {} was the last",
            row.job.attempts
        ));
        row.end(JobStatus::Failed, now);
        false
    }

    /// Leases a job, after those that have expired were put back.
    pub fn lease(
        &mut self,
        worker: u32,
        length: Duration,
        wanted: &Wanted,
        resume: bool,
    ) -> Refused<LeaseOutcome> {
        loop {
            let Some(id) = self.choose(worker, wanted, resume)? else {
                let held = self.jobs.values().filter(|row| row.job.status == JobStatus::Leased);
                let held = held.filter(|row| self.is_wanted(row.job.id, wanted));
                let until = held.map(|row| row.deadline).min();
                return Ok(
                    until.map_or(LeaseOutcome::Finished, |until| LeaseOutcome::Busy { until })
                );
            };
            if self.attempt(id) {
                return self.grant(worker, length, id);
            }
        }
    }

    /// Leases a waiting job of a prefix, or else a new one over its next free positions.
    pub fn next_range(
        &mut self,
        worker: u32,
        length: Duration,
        prefix: &[u8],
        positions: u64,
        within: &Range<u64>,
    ) -> Refused<LeaseOutcome> {
        self.worker(worker)?;
        if within.is_empty() {
            return Err("empty range".into());
        }
        let wanted = Wanted::Prefix(prefix.to_vec());
        let found = match self.lease(worker, length, &wanted, false) {
            Err(why) if why == "unknown prefix" => LeaseOutcome::Finished,
            found => found?,
        };
        if matches!(found, LeaseOutcome::Leased { .. }) {
            return Ok(found);
        }
        let Some((start, end)) = self.free(prefix, positions, within.start, within.end) else {
            return Ok(found);
        };
        let (prefix, cursor) = (prefix.to_vec(), start);
        let job = NewJob { prefix, start, end, priority: 0, max_attempts: None, cursor };
        let id = self.insert(&job);
        self.grant(worker, length, id)
    }

    fn choose(&mut self, worker: u32, wanted: &Wanted, resume: bool) -> Refused<Option<u64>> {
        let now = self.now;
        let last_prefix = self.worker(worker)?.last_prefix.clone();
        match wanted {
            Wanted::Job(id) => drop(self.job(*id)?),
            Wanted::Prefix(prefix) => {
                if !self.jobs.values().any(|row| row.job.prefix == *prefix) {
                    return Err("unknown prefix".into());
                }
            }
            Wanted::Any => {}
        }
        let is_wanted = |row: &&PlainJob| self.is_wanted(row.job.id, wanted);
        let in_order = |row: &&PlainJob| (-row.job.priority, row.job.id);
        let held = || self.jobs.values().filter(|row| row.job.status == JobStatus::Leased);
        let waiting = || {
            let waiting = self.jobs.values().filter(|row| row.job.status == JobStatus::Pending);
            waiting.filter(is_wanted)
        };
        let own = held()
            .filter(is_wanted)
            .find(|row| resume && row.holder == Some(worker) && row.deadline > now);
        let familiar = waiting()
            .filter(|row| last_prefix.as_ref() == Some(&row.job.prefix))
            .min_by_key(in_order);
        let chosen = own.or(familiar).or_else(|| waiting().min_by_key(in_order));
        Ok(chosen.map(|row| row.job.id))
    }

    fn grant(&mut self, worker: u32, length: Duration, id: u64) -> Refused<LeaseOutcome> {
        let now = self.now;
        let row = self.jobs.get_mut(&id).unwrap();
        row.job.status = JobStatus::Leased;
        row.job.token += 1;
        row.job.leased_at = Some(now);
        row.holder = Some(worker);
        row.length = length;
        row.deadline = now.saturating_add(length);
        row.token_is_live = true;
        row.leased_cursor = row.job.cursor;
        row.job.note = None;
        row.job.completed_by = None;
        row.sequence = 0;
        row.last = None;
        let leased = LeaseOutcome::Leased {
            job: id,
            token: row.job.token,
            cursor: row.job.cursor,
            deadline: row.deadline,
            attempts: row.job.attempts,
        };
        let prefix = row.job.prefix.clone();
        let worker = self.worker(worker)?;
        worker.last_prefix = Some(prefix);
        worker.last_seen = worker.last_seen.max(now);
        Ok(leased)
    }

    pub fn held(&mut self, id: u64, token: u64, sequence: u64, done: &Done) -> Refused<Receipt> {
        let now = self.now;
        let row = self.job(id)?;
        if row.job.token != token {
            return Err("lost: Superseded".into());
        }
        if sequence == row.sequence
            && let Some((last, receipt)) = &row.last
        {
            return if last == done { Ok(*receipt) } else { Err("altered".into()) };
        }
        if !row.token_is_live {
            return Err(match row.job.status {
                JobStatus::Completed => "lost: Completed".into(),
                JobStatus::Failed => "lost: Failed".into(),
                JobStatus::Cancelled => "lost: Cancelled".into(),
                _ => "lost: Released".into(),
            });
        }
        if sequence != row.sequence + 1 {
            return Err(format!("out of sequence: {}", row.sequence + 1));
        }
        let (cursor, end) = (row.job.cursor, row.job.end);
        let receipt = match done {
            Done::Checkpoint(Tried { from, to, .. })
            | Done::Fail(_, Some(Tried { from, to, .. }))
                if *from != cursor || *to <= cursor || *to > end =>
            {
                return Err(format!("cursor: {cursor} of {end}"));
            }
            Done::Checkpoint(tried) => {
                row.job.cursor = tried.to;
                row.count(tried);
                row.job.checkpoint_at = Some(now);
                if tried.error.is_some() {
                    row.job.last_error = tried.error.clone();
                }
                row.job.attempts = 0;
                if tried.to == end {
                    row.job.completed_by = row.holder;
                    row.end(JobStatus::Completed, now);
                    Receipt::Completed
                } else {
                    row.renew(now);
                    Receipt::Moved { cursor: tried.to, deadline: row.deadline }
                }
            }
            Done::Renew => {
                row.renew(now);
                Receipt::Renewed { deadline: row.deadline }
            }
            Done::Heartbeat(note) => {
                row.job.note = Some(note.clone());
                row.renew(now);
                Receipt::Renewed { deadline: row.deadline }
            }
            Done::Release => {
                row.give_back();
                Receipt::Released
            }
            Done::Fail(reason, tried) => {
                if let Some(tried) = tried {
                    row.count(tried);
                }
                if cursor == row.leased_cursor {
                    row.job.attempts += 1;
                }
                row.job.last_error = Some(reason.clone());
                let gave_up = row.job.attempts > 0
                    && row.job.max_attempts.is_some_and(|max| row.job.attempts >= max);
                let attempts = row.job.attempts;
                Receipt::Failed(if gave_up {
                    row.end(JobStatus::Failed, now);
                    FailOutcome::Failed { attempts }
                } else {
                    row.give_back();
                    FailOutcome::Requeued { attempts }
                })
            }
        };
        row.sequence = sequence;
        row.last = Some((done.clone(), receipt));
        let worker = row.holder.unwrap();

        if let Done::Checkpoint(tried) | Done::Fail(_, Some(tried)) = done {
            let Tried { from, to, items, duration_us, error, finding } = tried;
            if let Some((key, payload, unique)) = finding {
                self.find(id, key, payload, worker, [false, *unique]);
            }
            let error = match done {
                Done::Fail(reason, _) => &Some(reason.clone()),
                _ => error,
            };
            self.tiers.add_record(Record {
                id: 0,
                worker,
                job: Some(id),
                start: *from,
                end: *to,
                items: *items,
                duration_us: *duration_us,
                finished_at: now,
                completed: receipt == Receipt::Completed,
                error: error.clone(),
            });
            self.tiers.prune(self.caps);
        }
        if !matches!(done, Done::Renew | Done::Heartbeat(_))
            && !matches!(receipt, Receipt::Moved { .. })
        {
            let worker = self.worker(worker)?;
            worker.last_seen = worker.last_seen.max(now);
        }
        Ok(receipt)
    }
}

impl PlainJob {
    fn count(&mut self, tried: &Tried) {
        self.job.batches += 1;
        self.job.items += u128::from(tried.items);
        self.job.duration_us += u128::from(tried.duration_us);
    }

    fn renew(&mut self, now: Timestamp) {
        self.job.status = JobStatus::Leased;
        self.deadline = now.saturating_add(self.length);
    }

    pub fn give_back(&mut self) {
        self.job.status = JobStatus::Pending;
        self.token_is_live = false;
    }

    pub fn end(&mut self, status: JobStatus, now: Timestamp) {
        self.job.status = status;
        self.job.ended_at = Some(now);
        self.token_is_live = false;
    }

    pub fn must_be(&self, allowed: &[JobStatus]) -> Refused<()> {
        let status = self.job.status;
        if allowed.contains(&status) { Ok(()) } else { Err(format!("status: {status:?}")) }
    }
}
