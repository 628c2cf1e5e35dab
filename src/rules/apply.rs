//! Applying commands in order.

use crate::error::Result;
use crate::rules::outcome::{Applied, Failure};
use crate::rules::retention::{self, Evicted, HistoryTail};
use crate::rules::{expiry, fencing, findings, imports, jobs, leasing, workers};
use crate::schema::rows::Control;
use crate::schema::tables;
use crate::storage::{EngineResult, Write};
use crate::types::command::{Answer, Command, Stamped};

type Answers = Vec<Result<Answer>>;

/// Applies commands in order, then lets retention follow.
pub(crate) fn apply_all(
    txn: &mut dyn Write,
    commands: &[&Stamped],
    answers: &mut Answers,
) -> EngineResult<Evicted> {
    let mut control = tables::control(txn)?;
    let before = control.clone();
    let mut tail = HistoryTail::default();
    for stamped in commands {
        answers.push(match apply_one(txn, &mut control, &mut tail, stamped) {
            Ok(answer) => Ok(answer),
            Err(Failure::Rejected(error)) => Err(error),
            Err(Failure::Engine(error)) => return Err(error),
        });
    }
    // A transaction of nothing but rejected commands changes nothing.
    if answers.iter().all(Result::is_err) {
        return Ok(Evicted::default());
    }
    let evicted = retention::settle(txn, &mut control, &mut tail)?;
    for (stamped, answer) in commands.iter().zip(answers) {
        if let (Command::Settle, Ok(Answer::Settling { more })) = (&stamped.command, answer) {
            *more = control.is_settling();
        }
    }
    if control != before {
        tables::store_control(txn, &control)?;
    }
    Ok(evicted)
}

fn apply_one(
    txn: &mut dyn Write,
    control: &mut Control,
    tail: &mut HistoryTail,
    stamped: &Stamped,
) -> Applied<Answer> {
    let now = stamped.now;
    Ok(match &stamped.command {
        Command::Register { name, kind } => {
            Answer::Worker(workers::register(txn, control, now, name, kind)?)
        }
        Command::Create(new) => Answer::Jobs(jobs::create(txn, control, now, new)?),
        Command::FindOrCreate(new) => {
            let (job, created) = jobs::find_or_create(txn, control, now, new)?;
            Answer::Found { job, created }
        }
        Command::Lease(request) => Answer::Lease(leasing::lease(txn, control, stamped, request)?),
        Command::Held { command, digest } => {
            let (receipt, record) = fencing::held(txn, control, now, command, *digest)?;
            if let Some(record) = record {
                tail.append(txn, &record)?;
            }
            Answer::Receipt(receipt)
        }
        Command::Cancel(job) => {
            jobs::cancel(txn, control, now, *job)?;
            Answer::Done
        }
        Command::Retry(job) => {
            jobs::retry(txn, control, *job)?;
            Answer::Done
        }
        Command::Delete(job) => {
            jobs::delete(txn, control, *job)?;
            Answer::Done
        }
        Command::ReleaseStale { since, after } => {
            let (jobs, next) = expiry::release_stale(txn, control, *since, *after)?;
            Answer::Released { jobs, next }
        }
        Command::Late { worker, job, finding } => {
            Answer::Stored { new: findings::late_finding(txn, now, *worker, *job, finding)? }
        }
        Command::Import { import, digest } => {
            Answer::Stored { new: imports::import(txn, control, tail, import, *digest)? }
        }
        Command::SetCaps(change) => {
            retention::set_caps(txn, control, *change)?;
            Answer::Done
        }
        Command::Settle => Answer::Settling { more: false },
        Command::Flush => Answer::Done,
    })
}
