//! Granting leases.
//!
//! A request reads the heads of the queues and the earliest entries of the lease index, so its cost
//! does not depend on how many jobs wait or how many leases are held.

use std::cmp::Reverse;
use std::ops::{Bound, ControlFlow};
use std::time::Duration;

use crate::error::Error;
use crate::rules::expiry::{self, deadline};
use crate::rules::index::{announce_end, change, known_job, load_job, prefix};
use crate::rules::jobs::end;
use crate::rules::on_demand::{self, Next};
use crate::rules::outcome::{Applied, Failure, split_damage};
use crate::rules::workers::known_worker;
use crate::schema::access::{ALL, first_key, load, parsed, store, undecodable};
use crate::schema::key;
use crate::schema::rows::{Control, JobRow, PrefixRow, WorkerRow};
use crate::schema::tables;
use crate::storage::{EngineError, EngineResult, KeyRange, Order, Write};
use crate::time::Timestamp;
use crate::types::command::{Event, LeaseAnswer, LeaseTerms, Stamped, Wanted};
use crate::types::{Grant, JobId, JobStatus, Prefix, Token};

/// How many jobs at the front of a queue one request tries, if rows cannot be read or jobs have
/// used up their attempts.
const CANDIDATES: usize = 16;

/// How many of its own leases a worker that resumes one looks at.
const HELD: usize = 256;

/// Grants a lease, or returns the time at which one may become available.
pub(super) fn lease(
    txn: &mut dyn Write,
    control: &mut Control,
    stamped: &Stamped,
    request: &LeaseTerms,
    events: &mut Vec<Event>,
) -> Applied<LeaseAnswer> {
    let now = stamped.now;
    let worker = known_worker(txn, request.worker)?;
    let wanted_job = match &request.wanted {
        Wanted::Job(id) => Some((*id, known_job(txn, *id)?)),
        Wanted::Prefix(wanted) => {
            let sums: Option<PrefixRow> = load(txn, wanted)?;
            if request.on_demand.is_none() {
                let Some(PrefixRow { jobs: [pending, leased, ..], .. }) = sums else {
                    return Err(Error::UnknownPrefix(Prefix(wanted.clone())).into());
                };
                if pending == 0 && leased == 0 {
                    return Ok(LeaseAnswer::Finished);
                }
            }
            None
        }
        Wanted::Any => None,
    };
    expiry::watch_clock(control, now);
    if request.resume
        && let Some((id, row)) = own_lease(txn, now, request)?
    {
        let grant = grant(txn, control, now, request, worker, id, row)?;
        return Ok(LeaseAnswer::Granted(grant));
    }
    let repairing = expiry::repair_deadlines(txn, control, now)?;
    let more_expired = match &wanted_job {
        Some((id, row)) => {
            expiry::expire_if_due(txn, control, now, *id, row, events)?;
            false
        }
        None => expiry::expire_due(txn, control, now, events)?,
    };

    let mut unreadable = None;
    for _ in 0..CANDIDATES {
        let Some((id, row)) = next_candidate(txn, request, &worker, &mut unreadable)? else {
            if repairing || more_expired {
                return Ok(LeaseAnswer::Again);
            }
            if let (Some(on_demand), Wanted::Prefix(wanted)) = (&request.on_demand, &request.wanted)
                && !prefix(txn, wanted)?.paused
            {
                match on_demand::create_next(txn, control, now, wanted, on_demand)? {
                    Next::Created(id) => {
                        let row = load_job(txn, id)?;
                        let grant = grant(txn, control, now, request, worker, id, row)?;
                        return Ok(LeaseAnswer::Granted(grant));
                    }
                    Next::Further => return Ok(LeaseAnswer::Again),
                    Next::Nothing => {}
                }
            }
            return nothing_waits(txn, control, now, request, unreadable);
        };
        if let Some(row) = used_up(txn, control, stamped, id, row, events)? {
            let grant = grant(txn, control, now, request, worker, id, row)?;
            return Ok(LeaseAnswer::Granted(grant));
        }
    }
    Ok(LeaseAnswer::Again)
}

/// The job to grant next. A job whose row cannot be read is skipped, so that it does not block the
/// others; the first such error is stored in `unreadable`.
fn next_candidate(
    txn: &dyn Write,
    request: &LeaseTerms,
    worker: &WorkerRow,
    unreadable: &mut Option<EngineError>,
) -> EngineResult<Option<(JobId, JobRow)>> {
    let mut first_of = |prefix: &[u8]| first_readable(txn, prefix, unreadable);
    match &request.wanted {
        Wanted::Job(id) => {
            let row = load_job(txn, *id)?;
            Ok((row.status == JobStatus::Pending).then_some((*id, row)))
        }
        Wanted::Prefix(prefix) => first_of(prefix),
        Wanted::Any => {
            if request.spread {
                return least_leased(txn, unreadable);
            }
            if let Some(prefix) = &worker.last_prefix
                && let Some(candidate) = first_of(prefix)?
            {
                return Ok(Some(candidate));
            }
            let mut prefixes: Vec<Vec<u8>> = Vec::new();
            txn.scan(tables::JOB_QUEUE, ALL, Order::Ascending, &mut |_, prefix| {
                prefixes.push(prefix.to_vec());
                if prefixes.len() < CANDIDATES {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                }
            })?;
            for prefix in prefixes {
                if let Some(candidate) = first_of(&prefix)? {
                    return Ok(Some(candidate));
                }
            }
            Ok(None)
        }
    }
}

/// The first waiting job of that prefix of which the fewest jobs are leased, among those whose first
/// job has the highest priority: as many of them as one request looks at.
fn least_leased(
    txn: &dyn Write,
    unreadable: &mut Option<EngineError>,
) -> EngineResult<Option<(JobId, JobRow)>> {
    let mut heads: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    txn.scan(tables::JOB_QUEUE, ALL, Order::Ascending, &mut |key, prefix| {
        heads.push((key.to_vec(), prefix.to_vec()));
        if heads.len() < CANDIDATES { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    let mut prefixes = Vec::new();
    for (key, head) in heads {
        let (priority, _) = parsed(tables::JOB_QUEUE, &key, key::as_queue)?;
        let [_, leased, ..] = prefix(txn, &head)?.jobs;
        prefixes.push((Reverse(priority), leased, head));
    }
    prefixes.sort_by_key(|(priority, leased, _)| (*priority, *leased));
    for (_, _, prefix) in prefixes {
        if let Some(candidate) = first_readable(txn, &prefix, unreadable)? {
            return Ok(Some(candidate));
        }
    }
    Ok(None)
}

/// The first waiting job of a prefix whose row can be read; none while the prefix is paused.
fn first_readable(
    txn: &dyn Write,
    wanted: &[u8],
    unreadable: &mut Option<EngineError>,
) -> EngineResult<Option<(JobId, JobRow)>> {
    let Some((priority, head)) = prefix(txn, wanted)?.head else { return Ok(None) };
    let mut next = key::queue_by_prefix(wanted, priority, head);
    let under = key::Under::new(key::of_prefix(wanted));
    for _ in 0..CANDIDATES {
        let (_, _, id) = parsed(tables::JOB_QUEUE_BY_PREFIX, &next, key::as_queue_by_prefix)?;
        match split_damage(waiting_job(txn, id))? {
            Ok(row) => return Ok(Some((id, row))),
            Err(error) => {
                tracing::error!(job = %id, %error, "skipping a waiting job");
                unreadable.get_or_insert(error);
            }
        }
        let rest: KeyRange<'_> = (Bound::Excluded(&next), under.range().1);
        match first_key(txn, tables::JOB_QUEUE_BY_PREFIX, rest, Order::Ascending)? {
            Some(key) => next = key,
            None => break,
        }
    }
    Ok(None)
}

/// A job that a queue lists.
fn waiting_job(txn: &dyn Write, id: JobId) -> EngineResult<JobRow> {
    let row = load_job(txn, id)?;
    if row.status != JobStatus::Pending {
        let why = format!("it is queued, but {}", row.status);
        return Err(undecodable(tables::JOBS, &key::job(id), &why));
    }
    Ok(row)
}

/// Counts an attempt if the previous lease expired without having moved the cursor. Returns the
/// row, or `None` if that was the last attempt of the job, which has then failed.
fn used_up(
    txn: &mut dyn Write,
    control: &mut Control,
    stamped: &Stamped,
    id: JobId,
    mut row: JobRow,
    events: &mut Vec<Event>,
) -> EngineResult<Option<JobRow>> {
    let expired = row.token_live && row.cursor == row.leased_cursor;
    let length = Duration::from_micros(row.length_us);
    if !expired || stamped.since_clock_jump.is_some_and(|since| since < length) {
        return Ok(Some(row));
    }
    row.attempts = row.attempts.saturating_add(1);
    if row.max_attempts.is_none_or(|max| row.attempts < max) {
        return Ok(Some(row));
    }
    change(txn, control, id, &mut row, |row| {
        let attempts = row.attempts;
        row.last_error =
            Some(format!("its lease expired without progress; attempt {attempts} was the last"));
        end(row, JobStatus::Failed, stamped.now);
    })?;
    announce_end(txn, control, id, &row, events)?;
    tracing::warn!(job = %id, attempts = row.attempts, "a job failed for good: its leases expired without progress");
    Ok(None)
}

/// An unexpired lease that the worker already holds: the first of those that this looks at.
fn own_lease(
    txn: &dyn Write,
    now: Timestamp,
    request: &LeaseTerms,
) -> EngineResult<Option<(JobId, JobRow)>> {
    let mut held: Vec<Vec<u8>> = Vec::new();
    match request.wanted {
        Wanted::Job(id) => {
            let key = key::holder(request.worker, id);
            if txn.get(tables::JOB_HOLDERS, &key, &mut |_| ())? {
                held.push(key.to_vec());
            }
        }
        Wanted::Any | Wanted::Prefix(_) => {
            let under = key::Under::new(key::worker(request.worker));
            txn.scan(tables::JOB_HOLDERS, under.range(), Order::Ascending, &mut |key, _| {
                held.push(key.to_vec());
                if held.len() < HELD { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            })?;
        }
    }
    for key in held {
        let (_, id) = parsed(tables::JOB_HOLDERS, &key, key::as_holder)?;
        match split_damage(load_job(txn, id))? {
            Ok(row) if row.status != JobStatus::Leased || row.holder != Some(request.worker) => {
                let why = "its job is not held by this worker";
                return Err(undecodable(tables::JOB_HOLDERS, &key, why));
            }
            Ok(row) if is_wanted(&request.wanted, id, &row) && row.deadline > now => {
                return Ok(Some((id, row)));
            }
            Ok(_) => {}
            Err(error) => tracing::error!(job = %id, %error, "skipping a leased job"),
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
    request: &LeaseTerms,
    mut worker: WorkerRow,
    id: JobId,
    mut row: JobRow,
) -> EngineResult<Grant> {
    if let Some(before) = row.holder.filter(|before| row.token_live && *before != request.worker) {
        tracing::info!(job = %id, from = %before, to = %request.worker, cursor = row.cursor, "an expired lease was taken over");
    }
    change(txn, control, id, &mut row, |row| {
        row.status = JobStatus::Leased;
        row.holder = Some(request.worker);
        row.token = Token(row.token.0 + 1);
        row.token_live = true;
        row.leased_cursor = row.cursor;
        row.sequence = 0;
        row.digest = 0;
        row.receipt = None;
        row.length_us = request.length_us;
        row.deadline = deadline(now, request.length_us);
        row.leased_at = Some(now);
        row.note = None;
    })?;
    expiry::note_time(control, now);
    worker.last_prefix = Some(row.prefix.clone());
    worker.last_seen = worker.last_seen.max(now);
    store(txn, &key::worker(request.worker), &worker)?;
    Ok(Grant {
        job: id,
        worker: request.worker,
        token: row.token,
        sequence: row.sequence,
        prefix: Prefix(row.prefix),
        start: row.start,
        end: row.end,
        cursor: row.cursor,
        deadline: row.deadline,
        length: Duration::from_micros(row.length_us),
        attempts: row.attempts,
    })
}

/// Returns when the next lease of a wanted job may expire, or that nothing is left to do. If all
/// that is left are waiting jobs that cannot be read, that is an error.
fn nothing_waits(
    txn: &dyn Write,
    control: &Control,
    now: Timestamp,
    request: &LeaseTerms,
    unreadable: Option<EngineError>,
) -> Applied<LeaseAnswer> {
    let [pending, leased, ..] = match &request.wanted {
        Wanted::Any => control.jobs,
        Wanted::Prefix(wanted) => prefix(txn, wanted)?.jobs,
        Wanted::Job(id) => {
            let row = known_job(txn, *id)?;
            return Ok(match row.status {
                JobStatus::Leased | JobStatus::Pending => LeaseAnswer::Busy { until: row.deadline },
                _ => LeaseAnswer::Finished,
            });
        }
    };
    if pending == 0 && leased == 0 {
        return Ok(LeaseAnswer::Finished);
    }
    if leased == 0
        && let Some(error) = unreadable
    {
        return Err(Failure::Engine(error));
    }
    // Entries are never later than the true deadlines, so nothing can expire before the first one.
    let next = expiry::first_deadline_after(txn, now)?;
    Ok(LeaseAnswer::Busy { until: next.unwrap_or(Timestamp::MAX) })
}
