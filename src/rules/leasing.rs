//! Handing out leases, and taking them back when they expire.

use std::ops::ControlFlow;

use crate::rules::jobs::{change, end, known_job, load_job};
use crate::rules::outcome::{Applied, step};
use crate::rules::workers::known_worker;
use crate::schema::key;
use crate::schema::rows::{Answered, Control, JobRow, LeaseIndexRow, WorkerRow};
use crate::schema::tables::{ALL, each, first_key, keys, store, undecodable};
use crate::storage::{EngineResult, Order, Table, Write};
use crate::time::Timestamp;
use crate::types::command::{Grant, LeaseAnswer, LeaseRequest, Wanted};
use crate::types::{JobId, JobStatus, Token};

/// Hands out a lease, or says when there may be one.
pub(crate) fn lease(
    txn: &mut dyn Write,
    control: &mut Control,
    now: Timestamp,
    request: &LeaseRequest,
) -> Applied<LeaseAnswer> {
    let worker = known_worker(txn, request.worker)?;
    if let Wanted::Job(id) = &request.wanted {
        known_job(txn, *id)?;
    }
    put_right(txn, control, now, Sweep::Ends)?;
    if let Some(id) = choose(txn, now, request, &worker)? {
        return Ok(LeaseAnswer::Granted(grant(txn, control, now, request, worker, id)?));
    }
    // Nothing waits: look at every lease, so that none is missed whose clock jumped.
    if put_right(txn, control, now, Sweep::All)? > 0 {
        return Ok(LeaseAnswer::Again);
    }
    Ok(match next_free(txn, request)? {
        Some(until) => LeaseAnswer::Busy { until },
        None => LeaseAnswer::Finished,
    })
}

/// Which leases are looked at for having lapsed.
#[derive(Clone, Copy, PartialEq)]
enum Sweep {
    /// Those with the earliest deadlines, and those with the latest (a clock that went back
    /// leaves them far ahead).
    Ends,
    All,
}

/// Puts lapsed leases back in the queue, at most a step of them, and says how many it changed.
fn put_right(
    txn: &mut dyn Write,
    control: &mut Control,
    now: Timestamp,
    sweep: Sweep,
) -> EngineResult<usize> {
    let most = step(txn);
    let mut due: Vec<(Timestamp, JobId)> = Vec::new();
    let mut look = |order: Order| {
        each(txn, ALL, order, |key, index: LeaseIndexRow| {
            let (Some(indexed), Some(id)) = (key::lease_deadline(key), key::last_job(key)) else {
                return ControlFlow::Continue(());
            };
            if sweep == Sweep::All || has_lapsed(now, indexed, index.length_us) {
                if !due.contains(&(indexed, id)) {
                    due.push((indexed, id));
                }
            } else {
                return ControlFlow::Break(());
            }
            if sweep == Sweep::Ends && due.len() >= most {
                ControlFlow::Break(())
            } else {
                ControlFlow::Continue(())
            }
        })
    };
    look(Order::Ascending)?;
    if sweep == Sweep::Ends {
        look(Order::Descending)?;
    }
    let mut changed = 0;
    for (indexed, id) in due {
        if changed == most {
            break;
        }
        let mut row = load_leased(txn, indexed, id)?;
        if has_lapsed(now, row.deadline, row.length_us) {
            change(txn, control, id, &mut row, |row| lapse(row, now))?;
            changed += 1;
        } else if sweep == Sweep::Ends && row.indexed != row.deadline {
            // It was renewed since it was indexed: put the index right.
            change(txn, control, id, &mut row, |_| {})?;
        }
    }
    Ok(changed)
}

/// A job that the index of leases names: were it not held under this deadline, putting it right
/// would leave the entry where it is, and never end.
fn load_leased(txn: &dyn Write, indexed: Timestamp, id: JobId) -> EngineResult<JobRow> {
    let row = load_job(txn, id)?;
    if row.status != JobStatus::Leased || row.indexed != indexed {
        let why = "its job is not held under this deadline";
        return Err(undecodable(Table::JobLeases, &key::lease(indexed, id), why));
    }
    Ok(row)
}

/// Whether a deadline has passed. One further ahead than the lease is long counts as passed, too:
/// the clock it was set by has gone back, and the job must not stay held until that time returns.
fn has_lapsed(now: Timestamp, deadline: Timestamp, length_us: u64) -> bool {
    deadline <= now
        || deadline.since(now).as_micros() > u128::from(length_us) + TOLERANCE.as_micros()
}

/// How far a clock may have gone back unnoticed. A command is stamped before it waits for its turn,
/// so it may be applied after one that was stamped later, and must not take the other's lease for
/// one of the future.
const TOLERANCE: std::time::Duration = std::time::Duration::from_secs(60);

/// A lapsed lease counts as an attempt. Its token stays good as long as nobody takes the job.
fn lapse(row: &mut JobRow, now: Timestamp) {
    row.attempts = row.attempts.saturating_add(1);
    if row.max_attempts.is_some_and(|max| row.attempts >= max) {
        end(row, JobStatus::Failed, now);
        row.last_error = Some(format!("its lease lapsed; attempt {} was the last", row.attempts));
    } else {
        row.status = JobStatus::Pending;
    }
}

/// The job that this request should get.
fn choose(
    txn: &dyn Write,
    now: Timestamp,
    request: &LeaseRequest,
    worker: &WorkerRow,
) -> EngineResult<Option<JobId>> {
    if request.resume
        && let Some(own) = own_lease(txn, now, request)?
    {
        return Ok(Some(own));
    }
    let first_of = |prefix: &[u8]| -> EngineResult<Option<JobId>> {
        let under = key::Under::new(key::of_prefix(prefix));
        let first = first_key(txn, Table::JobQueueByPrefix, under.range(), Order::Ascending)?;
        Ok(first.and_then(|key| key::last_job(&key)))
    };
    match &request.wanted {
        Wanted::Job(id) => Ok((load_job(txn, *id)?.status == JobStatus::Pending).then_some(*id)),
        Wanted::Prefix(prefix) => first_of(prefix),
        Wanted::Any => {
            if let Some(prefix) = &worker.last_prefix
                && let Some(id) = first_of(prefix)?
            {
                return Ok(Some(id));
            }
            let first = first_key(txn, Table::JobQueue, ALL, Order::Ascending)?;
            Ok(first.and_then(|key| key::last_job(&key)))
        }
    }
}

/// An unexpired lease that the worker holds already.
fn own_lease(
    txn: &dyn Write,
    now: Timestamp,
    request: &LeaseRequest,
) -> EngineResult<Option<JobId>> {
    let under = key::Under::new(key::worker(request.worker));
    for key in keys(txn, Table::JobHolders, under.range(), Order::Ascending, usize::MAX)? {
        let Some(id) = key::last_job(&key) else { continue };
        let row = load_job(txn, id)?;
        if row.status != JobStatus::Leased || row.holder != Some(request.worker) {
            return Err(undecodable(Table::JobHolders, &key, "its job is not held by this worker"));
        }
        if is_wanted(&request.wanted, id, &row) && !has_lapsed(now, row.deadline, row.length_us) {
            return Ok(Some(id));
        }
    }
    Ok(None)
}

fn is_wanted(wanted: &Wanted, id: JobId, row: &JobRow) -> bool {
    match wanted {
        Wanted::Any => true,
        Wanted::Prefix(prefix) => row.prefix == *prefix,
        Wanted::Job(job) => *job == id,
    }
}

/// Leases a job to the worker under its next token.
fn grant(
    txn: &mut dyn Write,
    control: &mut Control,
    now: Timestamp,
    request: &LeaseRequest,
    mut worker: WorkerRow,
    id: JobId,
) -> Applied<Grant> {
    let mut row = load_job(txn, id)?;
    let is_own = row.status == JobStatus::Leased && row.holder == Some(request.worker);
    if row.status != JobStatus::Pending && !is_own {
        let why = format!("it is queued, but {}", row.status);
        return Err(undecodable(Table::Jobs, &key::job(id), &why).into());
    }
    change(txn, control, id, &mut row, |row| {
        row.status = JobStatus::Leased;
        row.holder = Some(request.worker);
        row.token = Token(row.token.0 + 1);
        row.token_live = true;
        row.sequence = 0;
        row.digest = 0;
        row.answer = Answered::None;
        row.length_us = request.length_us;
        row.deadline = deadline(now, request.length_us);
        row.leased_at = Some(now);
    })?;
    worker.last_prefix = Some(row.prefix.clone());
    worker.last_seen = worker.last_seen.max(now);
    store(txn, &key::worker(request.worker), &worker)?;
    Ok(Grant {
        job: id,
        token: row.token,
        prefix: row.prefix,
        range: row.start..row.end,
        cursor: row.cursor,
        deadline: row.deadline,
        length_us: row.length_us,
        attempts: row.attempts,
    })
}

pub(super) fn deadline(now: Timestamp, length_us: u64) -> Timestamp {
    now.after(std::time::Duration::from_micros(length_us))
}

/// When the next wanted lease lapses; `None` if none is held.
fn next_free(txn: &dyn Write, request: &LeaseRequest) -> EngineResult<Option<Timestamp>> {
    let mut held = Vec::new();
    each(txn, ALL, Order::Ascending, |key, _: LeaseIndexRow| {
        held.extend(key::lease_deadline(key).zip(key::last_job(key)));
        ControlFlow::Continue(())
    })?;
    let mut next: Option<Timestamp> = None;
    for (indexed, id) in held {
        // Indexed deadlines are never later than the true ones, so no later entry can be earlier.
        if next.is_some_and(|next| next <= indexed) {
            break;
        }
        let row = load_job(txn, id)?;
        if is_wanted(&request.wanted, id, &row) {
            next = Some(next.map_or(row.deadline, |next| next.min(row.deadline)));
        }
    }
    Ok(next)
}

/// Hands back, in one step, jobs that have seen neither lease nor checkpoint since a time. Says how
/// many, and whether there may be more.
pub(crate) fn release_stale(
    txn: &mut dyn Write,
    control: &mut Control,
    since: Timestamp,
) -> Applied<(u64, bool)> {
    let most = step(txn);
    let mut released = 0;
    for key in keys(txn, Table::JobLeases, ALL, Order::Ascending, usize::MAX)? {
        let entry = key::lease_deadline(&key).zip(key::last_job(&key));
        let Some((indexed, id)) = entry else { continue };
        let mut row = load_leased(txn, indexed, id)?;
        if row.leased_at.max(row.checkpoint_at).is_some_and(|last| last >= since) {
            continue;
        }
        if released == most {
            return Ok((released as u64, true));
        }
        change(txn, control, id, &mut row, give_back)?;
        released += 1;
    }
    Ok((released as u64, false))
}

pub(super) fn give_back(row: &mut JobRow) {
    row.status = JobStatus::Pending;
    row.token_live = false;
}
