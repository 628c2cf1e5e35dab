//! Everything that a store holds, in a form that the model can show too.

use milepost::{Caps, Day, JobStatus, Month, Scope, Snapshot, Timestamp, Totals};

use crate::tiers::{Record, Rolling};

#[derive(Debug, Clone, PartialEq)]
pub struct State {
    pub caps: Caps,
    pub workers: Vec<Worker>,
    pub jobs: Vec<Job>,
    pub counts: [u64; 5],
    pub history: Vec<Record>,
    pub days: Vec<((u32, Day), Totals)>,
    pub months: Vec<((u32, Month), Rolling)>,
    pub lifetimes: Vec<Rolling>,
    /// Of each worker, archived and live.
    pub everything: Vec<Totals>,
    pub findings: Vec<Finding>,
    /// The last number of each source of [`SOURCES`].
    pub imports: [Option<u64>; 4],
}

/// Where imports come from. The last one is for many imports at once.
pub const SOURCES: [&str; 4] = ["server", "server-2", "log", "many"];

#[derive(Debug, Clone, PartialEq)]
pub struct Worker {
    pub id: u32,
    pub name: String,
    pub kind: String,
    pub first_seen: Timestamp,
    pub last_seen: Timestamp,
    pub last_prefix: Option<Vec<u8>>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Job {
    pub id: u64,
    pub prefix: Vec<u8>,
    pub start: u64,
    pub end: u64,
    pub cursor: u64,
    pub status: JobStatus,
    pub holder: Option<u32>,
    pub token: u64,
    pub deadline: Option<Timestamp>,
    pub priority: i32,
    pub attempts: u32,
    pub max_attempts: Option<u32>,
    pub batches: u64,
    pub items: u128,
    pub duration_us: u128,
    pub created_at: Timestamp,
    pub leased_at: Option<Timestamp>,
    pub checkpoint_at: Option<Timestamp>,
    pub ended_at: Option<Timestamp>,
    pub last_error: Option<String>,
    pub note: Option<String>,
    pub completed_by: Option<u32>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Finding {
    pub job: u64,
    pub key: Vec<u8>,
    pub payload: Vec<u8>,
    pub worker: u32,
    pub found_at: Timestamp,
    pub late: bool,
}

/// What a snapshot shows.
pub fn observe(view: &Snapshot) -> milepost::Result<State> {
    let archived = view.archived();
    let workers: Vec<Worker> = view.workers(None, usize::MAX)?.into_iter().map(worker).collect();
    let mut state = State {
        caps: view.caps(),
        workers: Vec::new(),
        jobs: view.jobs(None, usize::MAX)?.into_iter().map(job).collect(),
        counts: {
            let counts = view.job_counts();
            [counts.pending, counts.leased, counts.completed, counts.failed, counts.cancelled]
        },
        history: view.newest_history(None, usize::MAX)?.into_iter().rev().map(record).collect(),
        days: Vec::new(),
        months: Vec::new(),
        lifetimes: Vec::new(),
        everything: Vec::new(),
        findings: view.findings(None, usize::MAX)?.into_iter().map(finding).collect(),
        imports: [None; 4],
    };
    for (last, source) in state.imports.iter_mut().zip(SOURCES) {
        *last = view.last_import(source)?;
    }
    for worker in &workers {
        let id = milepost::WorkerId::from(worker.id);
        let scope = || Scope::Worker(id);
        state.days.extend(
            archived.daily(scope(), ..)?.iter().map(|day| ((worker.id, day.day), day.totals)),
        );
        state.months.extend(archived.monthly(scope(), ..)?.iter().map(|month| {
            let row = Rolling { totals: month.totals, rolled: month.rolled };
            ((worker.id, month.month), row)
        }));
        let life = archived.lifetime(scope())?;
        state.lifetimes.push(Rolling { totals: life.totals, rolled: life.rolled });
        state.everything.push(view.lifetime(scope())?.totals);
    }
    state.workers = workers;
    Ok(state)
}

fn worker(worker: milepost::WorkerInfo) -> Worker {
    Worker {
        id: worker.id.get(),
        name: worker.name,
        kind: worker.kind,
        first_seen: worker.first_seen,
        last_seen: worker.last_seen,
        last_prefix: worker.last_prefix.map(|prefix| prefix.to_vec()),
    }
}

fn job(job: milepost::Job) -> Job {
    Job {
        id: job.id.get(),
        prefix: job.prefix.to_vec(),
        start: job.start,
        end: job.end,
        cursor: job.cursor,
        status: job.status,
        holder: job.holder.map(milepost::WorkerId::get),
        token: job.token.get(),
        deadline: job.deadline,
        priority: job.priority,
        attempts: job.attempts,
        max_attempts: job.max_attempts,
        batches: job.batches,
        items: job.items,
        duration_us: job.duration.as_micros(),
        created_at: job.created_at,
        leased_at: job.leased_at,
        checkpoint_at: job.checkpoint_at,
        ended_at: job.ended_at,
        last_error: job.last_error,
        note: job.note,
        completed_by: job.completed_by.map(milepost::WorkerId::get),
    }
}

fn record(record: milepost::HistoryRecord) -> Record {
    let milepost::HistoryRecord { id, batch, .. } = record;
    Record {
        id,
        worker: batch.worker.get(),
        job: batch.job.map(milepost::JobId::get),
        start: batch.start,
        end: batch.end,
        items: batch.items,
        duration_us: batch.duration.as_micros() as u64,
        finished_at: batch.finished_at,
        completed: batch.outcome == milepost::BatchOutcome::Completed,
        error: batch.error,
    }
}

fn finding(finding: milepost::Finding) -> Finding {
    Finding {
        job: finding.job.get(),
        key: finding.key,
        payload: finding.payload,
        worker: finding.worker.get(),
        found_at: finding.found_at,
        late: finding.late,
    }
}
