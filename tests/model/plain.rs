//! The model: what a store is, without indexes, tables or transactions.

use std::collections::BTreeMap;
use std::time::Duration;

use milepost::{Caps, ImportOutcome, JobStatus, Receipt, Timestamp, Totals};

use crate::state::{Finding, Job, SOURCES, State, Worker};
use crate::tiers::{Record, Tiers, add};

/// Why the model refuses a command: what an error of the store has to say, too.
pub type Refused<T> = Result<T, String>;

#[derive(Debug, Clone)]
pub struct Plain {
    pub now: Timestamp,
    /// How long ago the clock jumped, if it did.
    pub since_jump: Option<Duration>,
    pub caps: Caps,
    pub workers: Vec<Worker>,
    pub jobs: BTreeMap<u64, PlainJob>,
    pub created: u64,
    pub tiers: Tiers,
    pub findings: BTreeMap<(u64, Vec<u8>), Finding>,
    /// By source and number.
    pub imports: BTreeMap<String, BTreeMap<u64, Vec<Imported>>>,
}

/// A job, and what the store does not show of it.
#[derive(Debug, Clone)]
pub struct PlainJob {
    pub job: Job,
    /// Who holds it, or held it last.
    holder: Option<u32>,
    deadline: Timestamp,
    length: Duration,
    token_is_live: bool,
    /// Where the cursor was when the token was issued.
    leased_cursor: u64,
    sequence: u64,
    last: Option<(Done, Receipt)>,
}

/// A clock that went back by less goes unnoticed.
const TOLERANCE: Duration = Duration::from_secs(60);

/// What a lease command does.
#[derive(Debug, Clone, PartialEq)]
pub enum Done {
    Checkpoint {
        from: u64,
        to: u64,
        items: u64,
        duration_us: u64,
        error: Option<String>,
        finding: Option<(Vec<u8>, Vec<u8>)>,
    },
    Renew,
    Fail(String),
    Release,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Imported {
    History(Record),
    Day(u32, milepost::Day, Totals),
    Month(u32, milepost::Month, Totals),
    Lifetime(u32, Totals),
}

#[derive(Debug, Clone, PartialEq)]
pub enum Wanted {
    Any,
    Prefix(Vec<u8>),
    Job(u64),
}

/// The answer to a request for a lease.
#[derive(Debug, Clone, PartialEq)]
pub enum Leasing {
    Leased { job: u64, token: u64, cursor: u64, deadline: Timestamp, attempts: u32 },
    Busy { until: Timestamp },
    Finished,
}

pub struct NewJob {
    pub prefix: Vec<u8>,
    pub start: u64,
    pub end: u64,
    pub priority: i32,
    pub max_attempts: Option<u32>,
}

impl NewJob {
    fn overlaps(&self, prefix: &[u8], start: u64, end: u64) -> bool {
        self.prefix == prefix && self.start < end && start < self.end
    }
}

impl Plain {
    pub fn new(now: Timestamp, caps: Caps) -> Plain {
        Plain {
            now,
            since_jump: None,
            caps,
            workers: Vec::new(),
            jobs: BTreeMap::new(),
            created: 0,
            tiers: Tiers::default(),
            findings: BTreeMap::new(),
            imports: BTreeMap::new(),
        }
    }

    /// Everything it holds.
    pub fn state(&self) -> State {
        let mut counts = [0; 5];
        self.jobs.values().for_each(|row| counts[row.job.status as usize] += 1);
        let jobs = self.jobs.values().map(|row| {
            let is_held = row.job.status == JobStatus::Leased;
            Job {
                holder: row.holder.filter(|_| is_held),
                deadline: Some(row.deadline).filter(|_| is_held),
                ..row.job.clone()
            }
        });
        let mut state = State {
            caps: self.caps,
            workers: self.workers.clone(),
            jobs: jobs.collect(),
            counts,
            history: self.tiers.history.iter().cloned().collect(),
            days: self.tiers.days.clone().into_iter().collect(),
            months: self.tiers.months.clone().into_iter().collect(),
            lifetimes: Vec::new(),
            everything: Vec::new(),
            findings: self.findings.values().cloned().collect(),
            imports: SOURCES.map(|source| self.last_import(source)),
        };
        for worker in &mut state.workers {
            let archived = self.tiers.lifetimes.get(&worker.id).copied().unwrap_or_default();
            let mut everything = archived.totals;
            for record in state.history.iter().filter(|record| record.worker == worker.id) {
                add(&mut everything, &record.totals());
            }
            worker.last_seen = worker.last_seen.max(everything.last_at.unwrap_or(Timestamp::MIN));
            state.lifetimes.push(archived);
            state.everything.push(everything);
        }
        state
    }

    pub fn register(&mut self, name: &str, kind: &str) -> u32 {
        let now = self.now;
        if let Some(worker) = self.workers.iter_mut().find(|worker| worker.name == name) {
            worker.kind = kind.to_string();
            worker.last_seen = worker.last_seen.max(now);
            return worker.id;
        }
        let id = self.workers.len() as u32 + 1;
        self.workers.push(Worker {
            id,
            name: name.to_string(),
            kind: kind.to_string(),
            first_seen: now,
            last_seen: now,
            last_prefix: None,
        });
        id
    }

    fn worker(&mut self, id: u32) -> Refused<&mut Worker> {
        let found = self.workers.iter_mut().find(|worker| worker.id == id);
        found.ok_or_else(|| format!("unknown worker {id}"))
    }

    fn job(&mut self, id: u64) -> Refused<&mut PlainJob> {
        self.jobs.get_mut(&id).ok_or_else(|| format!("unknown job {id}"))
    }

    pub fn create(&mut self, jobs: &[NewJob]) -> Refused<Vec<u64>> {
        if jobs.iter().any(|job| job.start >= job.end) {
            return Err("empty range".into());
        }
        for (at, job) in jobs.iter().enumerate() {
            let others = jobs[..at].iter().any(|o| job.overlaps(&o.prefix, o.start, o.end));
            if others || self.overlapping(job) {
                return Err("overlap".into());
            }
        }
        Ok(jobs.iter().map(|job| self.insert(job)).collect())
    }

    pub fn find_or_create(&mut self, job: &NewJob) -> Refused<(u64, bool)> {
        if job.start >= job.end {
            return Err("empty range".into());
        }
        let same = |row: &&PlainJob| {
            row.job.prefix == job.prefix && (row.job.start, row.job.end) == (job.start, job.end)
        };
        if let Some(row) = self.jobs.values().find(same) {
            return Ok((row.job.id, false));
        }
        if self.overlapping(job) {
            return Err("overlap".into());
        }
        Ok((self.insert(job), true))
    }

    fn overlapping(&self, job: &NewJob) -> bool {
        self.jobs.values().any(|row| job.overlaps(&row.job.prefix, row.job.start, row.job.end))
    }

    fn insert(&mut self, job: &NewJob) -> u64 {
        self.created += 1;
        let row = PlainJob {
            job: Job {
                id: self.created,
                prefix: job.prefix.clone(),
                start: job.start,
                end: job.end,
                cursor: job.start,
                status: JobStatus::Pending,
                holder: None,
                token: 0,
                deadline: None,
                priority: job.priority,
                attempts: 0,
                max_attempts: job.max_attempts,
                batches: 0,
                items: 0,
                duration_us: 0,
                created_at: self.now,
                leased_at: None,
                checkpoint_at: None,
                ended_at: None,
                last_error: None,
            },
            holder: None,
            deadline: Timestamp::EPOCH,
            length: Duration::ZERO,
            token_is_live: false,
            leased_cursor: job.start,
            sequence: 0,
            last: None,
        };
        self.jobs.insert(self.created, row);
        self.created
    }

    /// Held jobs whose leases have expired.
    pub fn expired(&self) -> Vec<u64> {
        self.held_if(|row| row.deadline <= self.now)
    }

    /// Held jobs whose deadlines lie further ahead than their leases are long.
    pub fn far_ahead(&self) -> Vec<u64> {
        self.held_if(|row| row.deadline.since(self.now) > row.length + TOLERANCE)
    }

    fn held_if(&self, holds: impl Fn(&PlainJob) -> bool) -> Vec<u64> {
        let held = self.jobs.values().filter(|row| row.job.status == JobStatus::Leased);
        held.filter(|row| holds(row)).map(|row| row.job.id).collect()
    }

    /// Puts a job whose lease has expired back in the queue.
    pub fn expire(&mut self, id: u64) {
        self.jobs.get_mut(&id).unwrap().job.status = JobStatus::Pending;
    }

    /// Takes a deadline that the store brought forward, if it is the right one.
    pub fn bring_forward(&mut self, id: u64, shown: Option<Timestamp>) {
        let now = self.now;
        let row = self.jobs.get_mut(&id).unwrap();
        if shown == Some(now.after(row.length)) {
            row.deadline = now.after(row.length);
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
    fn attempt(&mut self, id: u64) -> bool {
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
    ) -> Refused<Leasing> {
        loop {
            let Some(id) = self.choose(worker, wanted, resume)? else {
                let held = self.jobs.values().filter(|row| row.job.status == JobStatus::Leased);
                let held = held.filter(|row| self.is_wanted(row.job.id, wanted));
                let until = held.map(|row| row.deadline).min();
                return Ok(until.map_or(Leasing::Finished, |until| Leasing::Busy { until }));
            };
            if self.attempt(id) {
                return self.grant(worker, length, id);
            }
        }
    }

    fn choose(&mut self, worker: u32, wanted: &Wanted, resume: bool) -> Refused<Option<u64>> {
        let now = self.now;
        let last_prefix = self.worker(worker)?.last_prefix.clone();
        if let Wanted::Job(id) = wanted {
            self.job(*id)?;
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

    fn grant(&mut self, worker: u32, length: Duration, id: u64) -> Refused<Leasing> {
        let now = self.now;
        let row = self.jobs.get_mut(&id).unwrap();
        row.job.status = JobStatus::Leased;
        row.job.token += 1;
        row.job.leased_at = Some(now);
        row.holder = Some(worker);
        row.length = length;
        row.deadline = now.after(length);
        row.token_is_live = true;
        row.leased_cursor = row.job.cursor;
        row.sequence = 0;
        row.last = None;
        let leased = Leasing::Leased {
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
            Done::Checkpoint { from, to, .. } if *from != cursor || *to <= cursor || *to > end => {
                return Err(format!("cursor: {cursor} of {end}"));
            }
            Done::Checkpoint { to, items, duration_us, error, .. } => {
                row.job.cursor = *to;
                row.job.batches += 1;
                row.job.items += u128::from(*items);
                row.job.duration_us += u128::from(*duration_us);
                row.job.checkpoint_at = Some(now);
                if error.is_some() {
                    row.job.last_error = error.clone();
                }
                row.job.attempts = 0;
                if *to == end {
                    row.end(JobStatus::Completed, now);
                    Receipt::Completed
                } else {
                    row.renew(now);
                    Receipt::Moved { cursor: *to, deadline: row.deadline }
                }
            }
            Done::Renew => {
                row.renew(now);
                Receipt::Renewed { deadline: row.deadline }
            }
            Done::Release => {
                row.give_back();
                Receipt::Released
            }
            Done::Fail(reason) => {
                if cursor == row.leased_cursor {
                    row.job.attempts += 1;
                }
                row.job.last_error = Some(reason.clone());
                let gave_up = row.job.attempts > 0
                    && row.job.max_attempts.is_some_and(|max| row.job.attempts >= max);
                if gave_up {
                    row.end(JobStatus::Failed, now)
                } else {
                    row.give_back()
                }
                Receipt::Failed { attempts: row.job.attempts, gave_up }
            }
        };
        row.sequence = sequence;
        row.last = Some((done.clone(), receipt));
        let worker = row.holder.unwrap();

        if let Done::Checkpoint { from, to, items, duration_us, error, finding } = done {
            if let Some((key, payload)) = finding {
                self.find(id, key, payload, worker, false);
            }
            self.tiers.add_record(Record {
                id: 0,
                worker,
                job: Some(id),
                start: *from,
                end: *to,
                items: *items,
                duration_us: *duration_us,
                finished_at: now,
                error: error.clone(),
            });
            self.tiers.prune(self.caps);
        }
        if !matches!(done, Done::Renew) && !matches!(receipt, Receipt::Moved { .. }) {
            let worker = self.worker(worker)?;
            worker.last_seen = worker.last_seen.max(now);
        }
        Ok(receipt)
    }

    fn find(&mut self, job: u64, key: &[u8], payload: &[u8], worker: u32, late: bool) -> bool {
        let is_new = !self.findings.contains_key(&(job, key.to_vec()));
        if is_new {
            let (found_at, payload) = (self.now, payload.to_vec());
            let finding = Finding { job, key: key.to_vec(), payload, worker, found_at, late };
            self.findings.insert((job, key.to_vec()), finding);
        }
        is_new
    }

    pub fn late(&mut self, worker: u32, job: u64, key: &[u8], payload: &[u8]) -> Refused<bool> {
        self.worker(worker)?;
        self.job(job)?;
        Ok(self.find(job, key, payload, worker, true))
    }

    pub fn cancel(&mut self, id: u64) -> Refused<()> {
        let now = self.now;
        let row = self.job(id)?;
        row.must_be(&[JobStatus::Pending, JobStatus::Leased])?;
        row.end(JobStatus::Cancelled, now);
        Ok(())
    }

    pub fn retry(&mut self, id: u64) -> Refused<()> {
        let row = self.job(id)?;
        row.must_be(&[JobStatus::Failed, JobStatus::Cancelled])?;
        row.job.status = JobStatus::Pending;
        row.job.attempts = 0;
        row.job.ended_at = None;
        Ok(())
    }

    pub fn delete(&mut self, id: u64) -> Refused<()> {
        let row = self.job(id)?;
        row.must_be(&[JobStatus::Completed, JobStatus::Failed, JobStatus::Cancelled])?;
        self.jobs.remove(&id);
        self.findings.retain(|(job, _), _| *job != id);
        Ok(())
    }

    pub fn release_stale(&mut self, older_than: Duration) -> u64 {
        let since = self.now.before(older_than);
        let mut released = 0;
        for row in self.jobs.values_mut().filter(|row| row.job.status == JobStatus::Leased) {
            if row.job.leased_at.max(row.job.checkpoint_at) < Some(since) {
                row.give_back();
                released += 1;
            }
        }
        released
    }

    /// The number of the last import of a source.
    pub fn last_import(&self, source: &str) -> Option<u64> {
        self.imports.get(source)?.keys().max().copied()
    }

    pub fn import(
        &mut self,
        source: &str,
        number: u64,
        records: &[Imported],
    ) -> Refused<ImportOutcome> {
        let last = self.last_import(source);
        if last > Some(number) {
            return Ok(ImportOutcome::AlreadyApplied);
        }
        if last == Some(number) {
            let same = self.imports[source][&number] == records;
            return if same { Ok(ImportOutcome::AlreadyApplied) } else { Err("altered".into()) };
        }
        for record in records {
            let (Imported::Day(worker, ..)
            | Imported::Month(worker, ..)
            | Imported::Lifetime(worker, _)
            | Imported::History(Record { worker, .. })) = record;
            self.worker(*worker)?;
        }
        for record in records {
            match record {
                Imported::History(record) => self.tiers.add_record(record.clone()),
                Imported::Day(worker, day, totals) => self.tiers.add_day(*worker, *day, totals),
                Imported::Month(worker, month, totals) => {
                    self.tiers.add_month(*worker, *month, totals)
                }
                Imported::Lifetime(worker, totals) => self.tiers.add_lifetime(*worker, totals),
            }
        }
        self.tiers.prune(self.caps);
        let imports = self.imports.entry(source.to_string()).or_default();
        imports.insert(number, records.to_vec());
        Ok(ImportOutcome::Applied)
    }

    pub fn set_caps(&mut self, caps: Caps) {
        self.caps = caps;
        self.tiers.prune(caps);
    }
}

impl PlainJob {
    fn renew(&mut self, now: Timestamp) {
        self.job.status = JobStatus::Leased;
        self.deadline = now.after(self.length);
    }

    fn give_back(&mut self) {
        self.job.status = JobStatus::Pending;
        self.token_is_live = false;
    }

    fn end(&mut self, status: JobStatus, now: Timestamp) {
        self.job.status = status;
        self.job.ended_at = Some(now);
        self.token_is_live = false;
    }

    fn must_be(&self, allowed: &[JobStatus]) -> Refused<()> {
        let status = self.job.status;
        if allowed.contains(&status) { Ok(()) } else { Err(format!("status: {status:?}")) }
    }
}
