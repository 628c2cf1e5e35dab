//! Applying commands in order.

use crate::error::{Error, Result};
use crate::rules::contain::{Shared, Transaction, contained};
use crate::rules::history::HistoryTail;
use crate::rules::outcome::Applied;
use crate::rules::retention;
use crate::rules::{expiry, fencing, findings, imports, jobs, leasing, workers};
use crate::schema::meta;
use crate::storage::{EngineError, EngineResult, Write};
use crate::types::Receipt;
use crate::types::command::{Answer, Command, Effects, Reply, Stamped};

type Results = Vec<Result<Reply>>;

/// Applies commands in order, then runs a step of retention. A command that fails changes nothing,
/// and the others are applied as if it had not been sent.
pub(crate) fn apply_all(
    txn: &mut dyn Write,
    commands: &[&Stamped],
    results: &mut Results,
) -> EngineResult<Effects> {
    let txn = &mut Transaction::new(txn);
    let control = match meta::control(txn) {
        Ok(control) => control,
        Err(EngineError::DamagedRow(what)) => {
            refuse(commands, results, &Error::Corrupted { what });
            return Ok(Effects::default());
        }
        Err(error) => return Err(error),
    };
    let before = control.clone();
    let mut shared = Shared { control, tail: HistoryTail::default() };
    let mut effects = Effects::default();
    for stamped in commands {
        let result = contained(txn, &mut shared, |txn, shared| apply_one(txn, shared, stamped))?;
        effects.must_be_synced |= completes_a_job(&result);
        results.push(result);
    }
    // A transaction of nothing but rejected commands changes nothing.
    if results.iter().all(Result::is_err) {
        return Ok(effects);
    }
    effects.left_over = retention::settle(txn, &mut shared)?;
    for (stamped, result) in commands.iter().zip(results) {
        if let Command::Settle = stamped.command
            && result.is_ok()
        {
            let more = shared.control.is_settling();
            *result = effects.left_over.clone().map_or(Ok(Answer::Settling { more }.into()), Err);
        }
    }
    if shared.control != before {
        meta::store_control(txn, &shared.control)?;
    }
    Ok(effects)
}

/// Fails every command that needs the control row: all but those that only request a sync.
fn refuse(commands: &[&Stamped], results: &mut Results, error: &Error) {
    results.extend(commands.iter().map(|stamped| match stamped.command {
        Command::Flush => Ok(Answer::Done.into()),
        _ => Err(error.clone()),
    }));
}

/// A completed job is never undone. A checkpoint shows only when it is applied whether it completes
/// its job.
fn completes_a_job(result: &Result<Reply>) -> bool {
    matches!(result, Ok(Reply { answer: Answer::Receipt(Receipt::Completed), .. }))
}

fn apply_one(txn: &mut dyn Write, shared: &mut Shared, stamped: &Stamped) -> Applied<Reply> {
    let Shared { control, tail } = shared;
    let now = stamped.now;
    let mut events = Vec::new();
    let answer = match &stamped.command {
        Command::Register(new) => Answer::Worker(workers::register(txn, control, now, new)?),
        Command::Create(new) => Answer::Jobs(jobs::create(txn, control, now, new, &mut events)?),
        Command::FindOrCreate(new) => {
            Answer::Found(jobs::find_or_create(txn, control, now, new, &mut events)?)
        }
        Command::Restart { job, from } => {
            jobs::restart(txn, control, *job, *from, &mut events)?;
            Answer::Done
        }
        Command::Lease(request) => {
            Answer::Lease(leasing::lease(txn, control, stamped, request, &mut events)?)
        }
        Command::Held(command) => {
            let (receipt, record) = fencing::held(txn, control, now, command, &mut events)?;
            if let Some(record) = record {
                tail.append(txn, &record)?;
            }
            Answer::Receipt(receipt)
        }
        Command::KeepAlive { job, token } => {
            Answer::KeptAlive { deadline: fencing::keep_alive(txn, control, now, *job, *token)? }
        }
        Command::Cancel(job) => {
            jobs::cancel(txn, control, now, *job, &mut events)?;
            Answer::Done
        }
        Command::Retry(job) => {
            jobs::retry(txn, control, *job, &mut events)?;
            Answer::Done
        }
        Command::Delete(job) => {
            jobs::delete(txn, control, *job)?;
            Answer::Done
        }
        Command::ReleaseStale { since, after } => {
            let (jobs, next) = expiry::release_stale(txn, control, *since, *after, &mut events)?;
            Answer::Released { jobs, next }
        }
        Command::Late { worker, job, finding } => {
            Answer::Finding(findings::add_finding(txn, now, *worker, *job, finding)?)
        }
        Command::Import(import) => Answer::Imported(imports::import(txn, control, tail, import)?),
        Command::Report { worker, counters } => {
            Answer::Reported(imports::report(txn, control, tail, now, *worker, counters)?)
        }
        Command::SetCaps(change) => {
            retention::set_caps(txn, control, *change)?;
            Answer::Done
        }
        Command::Settle => Answer::Settling { more: false },
        Command::Flush => Answer::Done,
    };
    Ok(Reply { answer, events })
}
