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
    /// What each worker last reported: session, items and errors.
    pub reported: BTreeMap<u32, (u8, u64, u64)>,
    /// By source and number.
    pub imports: BTreeMap<String, BTreeMap<u64, Vec<Imported>>>,
}

/// A job, and what the store does not show of it.
#[derive(Debug, Clone)]
pub struct PlainJob {
    pub job: Job,
    /// Who holds it, or held it last.
    pub holder: Option<u32>,
    pub deadline: Timestamp,
    pub length: Duration,
    pub token_is_live: bool,
    /// Where the cursor was when the token was issued.
    pub leased_cursor: u64,
    pub sequence: u64,
    pub last: Option<(Done, Receipt)>,
}

/// What a lease command does.
#[derive(Debug, Clone, PartialEq)]
pub enum Done {
    Checkpoint(Tried),
    Renew,
    Heartbeat(String),
    Fail(String, Option<Tried>),
    Release,
}

/// A batch, done or tried in vain.
#[derive(Debug, Clone, PartialEq)]
pub struct Tried {
    pub from: u64,
    pub to: u64,
    pub items: u64,
    pub duration_us: u64,
    pub error: Option<String>,
    /// Key and payload, and whether the key is to be unique in the whole store.
    pub finding: Option<(Vec<u8>, Vec<u8>, bool)>,
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
pub enum LeaseOutcome {
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
    pub cursor: u64,
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
            reported: BTreeMap::new(),
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
                completed_by: row
                    .job
                    .completed_by
                    .filter(|_| row.job.status == JobStatus::Completed),
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

    pub fn worker(&mut self, id: u32) -> Refused<&mut Worker> {
        let found = self.workers.iter_mut().find(|worker| worker.id == id);
        found.ok_or_else(|| format!("unknown worker {id}"))
    }

    pub fn job(&mut self, id: u64) -> Refused<&mut PlainJob> {
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

    pub fn insert(&mut self, job: &NewJob) -> u64 {
        self.created += 1;
        let is_done = job.cursor == job.end;
        let row = PlainJob {
            job: Job {
                id: self.created,
                prefix: job.prefix.clone(),
                start: job.start,
                end: job.end,
                cursor: job.cursor,
                status: if is_done { JobStatus::Completed } else { JobStatus::Pending },
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
                ended_at: is_done.then_some(self.now),
                last_error: None,
                note: None,
                completed_by: None,
            },
            holder: None,
            deadline: Timestamp::EPOCH,
            length: Duration::ZERO,
            token_is_live: false,
            leased_cursor: job.cursor,
            sequence: 0,
            last: None,
        };
        self.jobs.insert(self.created, row);
        self.created
    }

    pub fn find(
        &mut self,
        job: u64,
        key: &[u8],
        payload: &[u8],
        worker: u32,
        [late, unique_in_store]: [bool; 2],
    ) -> bool {
        let is_new = match unique_in_store {
            true => !self.findings.keys().any(|(_, known)| known == key),
            false => !self.findings.contains_key(&(job, key.to_vec())),
        };
        if is_new {
            let (found_at, payload) = (self.now, payload.to_vec());
            let finding = Finding { job, key: key.to_vec(), payload, worker, found_at, late };
            self.findings.insert((job, key.to_vec()), finding);
        }
        is_new
    }

    /// A finding that comes alone: late if the worker does not hold the job.
    pub fn alone(&mut self, worker: u32, job: u64, key: &[u8], unique: bool) -> Refused<bool> {
        self.worker(worker)?;
        let row = self.job(job)?;
        let late = !(row.token_is_live && row.holder == Some(worker));
        Ok(self.find(job, key, b"alone", worker, [late, unique]))
    }

    /// Puts a job that nobody holds at a position, back in the queue.
    pub fn start_over(&mut self, id: u64, from: u64) -> Refused<()> {
        let row = self.job(id)?;
        row.must_be(&[
            JobStatus::Pending,
            JobStatus::Completed,
            JobStatus::Failed,
            JobStatus::Cancelled,
        ])?;
        if from < row.job.start || from >= row.job.end {
            return Err("out of range".into());
        }
        row.job.status = JobStatus::Pending;
        row.job.cursor = from;
        row.leased_cursor = from;
        row.token_is_live = false;
        row.job.attempts = 0;
        row.job.ended_at = None;
        Ok(())
    }

    /// What a worker has counted in a session, of which what is new counts on the present day.
    pub fn report(&mut self, worker: u32, session: u8, items: u64, errors: u64) -> Refused<Totals> {
        self.worker(worker)?;
        let last = self.reported.get(&worker).filter(|last| last.0 == session);
        let (_, before, wrong) = last.copied().unwrap_or((session, 0, 0));
        if items < before || errors < wrong {
            return Err("went back".into());
        }
        let (items_added, errors_added) = (items - before, errors - wrong);
        if errors_added > 1 {
            return Err("errors".into());
        }
        if items_added + errors_added == 0 {
            return Ok(Totals::default());
        }
        self.reported.insert(worker, (session, items, errors));
        let added = Totals::new(1, items_added.into())
            .with_errors(errors_added)
            .with_times(self.now, self.now);
        self.tiers.add_day(worker, self.now.day(), &added);
        self.tiers.prune(self.caps);
        Ok(added)
    }

    /// The first free positions of a prefix within a range, at most so many.
    pub fn free(&self, prefix: &[u8], positions: u64, start: u64, end: u64) -> Option<(u64, u64)> {
        let mut jobs: Vec<_> =
            self.jobs.values().filter(|row| row.job.prefix == prefix).map(|row| &row.job).collect();
        jobs.sort_by_key(|job| job.start);
        let mut at = start;
        for job in jobs {
            if job.start > at {
                break;
            }
            at = at.max(job.end);
        }
        let next = self.jobs.values().filter(|row| row.job.prefix == prefix && row.job.start > at);
        let next = next.map(|row| row.job.start).min().unwrap_or(u64::MAX);
        (at < end).then(|| (at, next.min(end).min(at.saturating_add(positions))))
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
        let since = self.now.saturating_sub(older_than);
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
