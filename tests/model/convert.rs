//! What the store takes and returns, in the words of the model.

use std::fmt::Debug;
use std::time::Duration;

use milepost::{Action, Batch, Error, JobId};

use crate::plain::{Done, Leasing, NewJob};
use crate::step;

pub fn id(job: u64) -> JobId {
    JobId::from_number(job)
}

pub fn prefix(number: u8) -> Vec<u8> {
    // The first is the beginning of the second, and the third is no text.
    [&b"a"[..], b"aa", b"\xff\x00", b"nowhere"][usize::from(number) % 4].to_vec()
}

pub fn new_job(job: &step::NewJob) -> milepost::NewJob {
    let range = job.start..job.start + job.length;
    let new = milepost::NewJob::new(prefix(job.prefix), range).priority(job.priority);
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
    }
}

pub fn action(done: &Done) -> Action {
    match done {
        Done::Checkpoint { from, to, items, duration_us, error, finding } => {
            let took = Duration::from_micros(*duration_us);
            let mut batch = Batch::of(&(*from..*to), took).items(*items);
            if let Some(error) = error {
                batch = batch.error(error.clone());
            }
            if let Some((key, payload)) = finding {
                batch = batch.finding(key.clone(), payload.clone());
            }
            Action::Checkpoint(batch)
        }
        Done::Renew => Action::Renew,
        Done::Fail(reason) => Action::Fail { reason: reason.clone() },
        Done::Release => Action::Release,
    }
}

pub fn name(done: &Done) -> &'static str {
    match done {
        Done::Checkpoint { .. } => "checkpoint",
        Done::Renew => "renew",
        Done::Fail(_) => "fail",
        Done::Release => "release",
    }
}

pub fn leasing(answer: milepost::Leasing) -> Leasing {
    match answer {
        milepost::Leasing::Leased(lease) => {
            let leased = Leasing::Leased {
                job: lease.job().number(),
                token: lease.token().number(),
                cursor: lease.cursor(),
                deadline: lease.deadline(),
                attempts: lease.attempts(),
            };
            // Commands are sent without the handle, which would give the job back now.
            lease.abandon();
            leased
        }
        milepost::Leasing::Busy(busy) => Leasing::Busy { until: busy.until() },
        milepost::Leasing::Finished => Leasing::Finished,
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
        Error::UnknownWorker(name) => {
            format!("unknown worker {}", name.trim_start_matches("number "))
        }
        Error::ImportAltered { .. } => "altered".into(),
        other => format!("{other}"),
    }
}

pub fn same<T: PartialEq + Debug>(store: T, model: T) -> Result<(), String> {
    if store == model {
        return Ok(());
    }
    Err(format!("the store has\n{store:#?}\nand the model\n{model:#?}"))
}
