//! What the store takes and returns, in the words of the model.

use std::fmt::Debug;
use std::time::Duration;

use milepost::{Action, Batch, Error, JobId, NewFinding};

use crate::plain::{Done, LeaseOutcome, NewJob, Tried};
use crate::step;

pub fn id(job: u64) -> JobId {
    JobId::from(job)
}

pub fn prefix(number: u8) -> Vec<u8> {
    // The first is the beginning of the second, and the third is no text.
    [&b"a"[..], b"aa", b"\xff\x00", b"nowhere"][usize::from(number) % 4].to_vec()
}

pub fn new_job(job: &step::NewJob) -> milepost::NewJob {
    let range = job.start..job.start + job.length;
    let mut new = milepost::NewJob::new(prefix(job.prefix), range).priority(job.priority);
    if let Some(done) = job.done {
        new = new.cursor(job.start + done.min(job.length));
    }
    match job.max_attempts {
        Some(attempts) => new.max_attempts(attempts),
        None => new,
    }
}

pub fn plain_job(job: &step::NewJob) -> NewJob {
    NewJob {
        prefix: prefix(job.prefix),
        start: job.start,
        end: job.start + job.length,
        priority: job.priority,
        max_attempts: job.max_attempts,
        cursor: job.start + job.done.map_or(0, |done| done.min(job.length)),
    }
}

pub fn action(done: &Done) -> Action {
    match done {
        Done::Checkpoint(tried) => Action::Checkpoint(batch(tried)),
        Done::Renew => Action::Renew,
        Done::Heartbeat(note) => Action::Heartbeat { note: note.clone() },
        Done::Fail(reason, tried) => {
            Action::Fail { reason: reason.clone(), batch: tried.as_ref().map(batch) }
        }
        Done::Release => Action::Release,
    }
}

fn batch(tried: &Tried) -> Batch {
    let Tried { from, to, items, duration_us, error, finding } = tried;
    let took = Duration::from_micros(*duration_us);
    let mut batch = Batch::new(*from..*to, took).with_items(*items);
    if let Some(error) = error {
        batch = batch.with_error(error.clone());
    }
    if let Some((key, payload, unique_in_store)) = finding {
        batch.extend([new_finding(key.clone(), payload.clone(), *unique_in_store)]);
    }
    batch
}

pub fn new_finding(key: Vec<u8>, payload: Vec<u8>, unique_in_store: bool) -> NewFinding {
    let finding = NewFinding::new(key, payload);
    if unique_in_store { finding.unique_in_store() } else { finding }
}

pub fn name(done: &Done) -> &'static str {
    match done {
        Done::Checkpoint(_) => "checkpoint",
        Done::Renew => "renew",
        Done::Heartbeat(_) => "heartbeat",
        Done::Fail(_, None) => "fail",
        Done::Fail(_, Some(_)) => "fail with a batch",
        Done::Release => "release",
    }
}

pub fn leasing(answer: milepost::LeaseOutcome) -> LeaseOutcome {
    match answer {
        milepost::LeaseOutcome::Leased(lease) => {
            let leased = LeaseOutcome::Leased {
                job: lease.job().get(),
                token: lease.token().get(),
                cursor: lease.cursor(),
                deadline: lease.deadline(),
                attempts: lease.attempts(),
            };
            // Commands are sent without the handle, which would give the job back now.
            lease.abandon();
            leased
        }
        milepost::LeaseOutcome::Busy(busy) => LeaseOutcome::Busy { until: busy.until() },
        milepost::LeaseOutcome::Finished => LeaseOutcome::Finished,
        other => panic!("{other:?}"),
    }
}

/// What an error says, as the model says it.
pub fn tag(error: Error) -> String {
    match error {
        Error::LeaseLost { why, .. } => format!("lost: {why:?}"),
        Error::OutOfSequence { expected, .. } => format!("out of sequence: {expected}"),
        Error::CommandAltered { .. } => "altered".into(),
        Error::CursorMismatch { cursor, end, .. } => format!("cursor: {cursor} of {end}"),
        Error::WrongStatus { status, .. } => format!("status: {status:?}"),
        Error::RangeOverlap { .. } => "overlap".into(),
        Error::EmptyRange { .. } => "empty range".into(),
        Error::UnknownJob(job) => format!("unknown job {job}"),
        Error::UnknownPrefix(_) => "unknown prefix".into(),
        Error::UnknownWorker(name) => {
            format!("unknown worker {}", name.trim_start_matches("number "))
        }
        Error::ImportAltered { .. } => "altered".into(),
        Error::Invalid { what } if what.contains("went back") => "went back".into(),
        Error::Invalid { what } if what.contains(" errors in ") => "errors".into(),
        Error::Invalid { what } if what.contains("cannot restart") => "out of range".into(),
        other => format!("{other}"),
    }
}

pub fn same<T: PartialEq + Debug>(store: T, model: T) -> Result<(), String> {
    if store == model {
        return Ok(());
    }
    Err(format!("the store has\n{store:#?}\nand the model\n{model:#?}"))
}
