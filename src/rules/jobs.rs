//! Creating and ending jobs.

use std::ops::ControlFlow;

use crate::error::Error;
use crate::rules::index::{NewJobs, announce_end, change, known_job, load_job, remove};
use crate::rules::outcome::{Applied, Failure};
use crate::schema::access::{first_key, load_from, undecodable};
use crate::schema::key;
use crate::schema::rows::{Control, JobRow, Number};
use crate::schema::tables;
use crate::storage::{Order, Write};
use crate::time::Timestamp;
use crate::types::command::Event;
use crate::types::{FindOrCreateOutcome, JobId, JobStatus, NewJob, Token};

/// Creates all of the jobs, or none.
pub(crate) fn create(
    txn: &mut dyn Write,
    control: &mut Control,
    now: Timestamp,
    jobs: &[NewJob],
    events: &mut Vec<Event>,
) -> Applied<Vec<JobId>> {
    check_among_themselves(jobs)?;
    for job in jobs {
        check_neighbours(txn, job)?;
    }
    let mut ids = Vec::with_capacity(jobs.len());
    let mut new = NewJobs::default();
    for job in jobs {
        ids.push(insert(txn, control, &mut new, now, job)?);
    }
    new.finish(txn, events)?;
    Ok(ids)
}

/// Finds the jobs with exactly these prefixes and ranges, and creates those that are missing: all
/// of them, or none.
pub(crate) fn find_or_create(
    txn: &mut dyn Write,
    control: &mut Control,
    now: Timestamp,
    jobs: &[NewJob],
    events: &mut Vec<Event>,
) -> Applied<Vec<FindOrCreateOutcome>> {
    check_among_themselves(jobs)?;
    let mut outcomes = Vec::with_capacity(jobs.len());
    for job in jobs {
        let found: Option<Number> =
            load_from(txn, tables::JOB_RANGES, &key::job_range(&job.prefix, job.start))?;
        outcomes.push(match found {
            Some(Number(number)) if load_job(txn, JobId(number))?.end == job.end => {
                Some(JobId(number))
            }
            _ => {
                check_neighbours(txn, job)?;
                None
            }
        });
    }
    let mut new = NewJobs::default();
    let mut found = Vec::with_capacity(jobs.len());
    for (job, outcome) in jobs.iter().zip(outcomes) {
        found.push(match outcome {
            Some(id) => FindOrCreateOutcome::Found(id),
            None => FindOrCreateOutcome::Created(insert(txn, control, &mut new, now, job)?),
        });
    }
    new.finish(txn, events)?;
    Ok(found)
}

fn check_among_themselves(jobs: &[NewJob]) -> Result<(), Error> {
    let mut sorted: Vec<&NewJob> = jobs.iter().collect();
    sorted.sort_by_key(|job| (&job.prefix, job.start));
    for pair in sorted.windows(2) {
        if pair[0].prefix == pair[1].prefix && pair[1].start < pair[0].end {
            return Err(Error::RangeOverlap {
                start: pair[1].start,
                end: pair[1].end,
                other: None,
                other_start: pair[0].start,
                other_end: pair[0].end,
            });
        }
    }
    Ok(())
}

/// Jobs of one prefix do not overlap, so a new one can only overlap its two neighbours.
fn check_neighbours(txn: &dyn Write, job: &NewJob) -> Applied<()> {
    use std::ops::Bound::{Excluded, Included};

    let first = key::of_prefix(&job.prefix);
    let at = key::job_range(&job.prefix, job.start);
    let last = key::job_range(&job.prefix, job.end);
    let before = (Included(&first[..]), Excluded(&at[..]));
    let within = (Included(&at[..]), Excluded(&last[..]));
    for (range, order) in [(before, Order::Descending), (within, Order::Ascending)] {
        let mut neighbour = None;
        txn.scan(tables::JOB_RANGES, range, order, &mut |key, value| {
            neighbour = Some((key.to_vec(), crate::schema::codec::decode::<Number>(value)));
            ControlFlow::Break(())
        })?;
        let Some((key, id)) = neighbour else { continue };
        let id = JobId(id.map_err(|why| undecodable(tables::JOB_RANGES, &key, &why))?.0);
        let other = load_job(txn, id)?;
        if other.start < job.end && job.start < other.end {
            return Err(Failure::Rejected(Error::RangeOverlap {
                start: job.start,
                end: job.end,
                other: Some(id),
                other_start: other.start,
                other_end: other.end,
            }));
        }
    }
    Ok(())
}

pub(super) fn insert(
    txn: &mut dyn Write,
    control: &mut Control,
    new: &mut NewJobs,
    now: Timestamp,
    job: &NewJob,
) -> Applied<JobId> {
    let id = JobId(control.next_job);
    control.next_job += 1;
    let cursor = job.cursor.unwrap_or(job.start);
    let is_done = cursor == job.end;
    let mut row = JobRow {
        prefix: job.prefix.to_vec(),
        start: job.start,
        end: job.end,
        cursor,
        status: if is_done { JobStatus::Completed } else { JobStatus::Pending },
        holder: None,
        token: Token(0),
        token_live: false,
        leased_cursor: cursor,
        sequence: 0,
        digest: 0,
        receipt: None,
        deadline: Timestamp::EPOCH,
        length_us: 0,
        indexed: Timestamp::EPOCH,
        priority: job.priority,
        attempts: 0,
        max_attempts: job.max_attempts,
        batches: 0,
        errors: 0,
        error_positions: 0,
        findings: 0,
        items: 0,
        duration_us: 0,
        created_at: now,
        leased_at: None,
        checkpoint_at: None,
        ended_at: is_done.then_some(now),
        last_error: None,
        note: None,
    };
    txn.put(
        tables::JOB_RANGES,
        &key::job_range(&job.prefix, job.start),
        &crate::schema::codec::encode(&Number(id.0)),
    )?;
    new.insert(txn, control, id, &mut row)?;
    Ok(id)
}

/// Cancels a job, whether or not somebody holds it.
pub(crate) fn cancel(
    txn: &mut dyn Write,
    control: &mut Control,
    now: Timestamp,
    id: JobId,
    events: &mut Vec<Event>,
) -> Applied<()> {
    let mut row = known_job(txn, id)?;
    check_status(id, &row, "cancel", &[JobStatus::Pending, JobStatus::Leased])?;
    change(txn, control, id, &mut row, |row| end(row, JobStatus::Cancelled, now))?;
    Ok(announce_end(txn, control, id, &row, events)?)
}

/// Returns a failed or cancelled job to the queue. Its cursor stays, its attempts start at 0.
pub(crate) fn retry(
    txn: &mut dyn Write,
    control: &mut Control,
    id: JobId,
    events: &mut Vec<Event>,
) -> Applied<()> {
    let mut row = known_job(txn, id)?;
    check_status(id, &row, "retry", &[JobStatus::Failed, JobStatus::Cancelled])?;
    change(txn, control, id, &mut row, |row| {
        row.status = JobStatus::Pending;
        row.attempts = 0;
        row.ended_at = None;
    })?;
    events.push(Event::Available { prefix: row.prefix, jobs: 1 });
    Ok(())
}

/// Moves the cursor of a job that nobody holds to a position of its range, and returns the job to the
/// queue. Its attempts start at 0.
pub(crate) fn restart(
    txn: &mut dyn Write,
    control: &mut Control,
    id: JobId,
    from: Option<u64>,
    events: &mut Vec<Event>,
) -> Applied<()> {
    use JobStatus::{Cancelled, Completed, Failed, Pending};

    let mut row = known_job(txn, id)?;
    check_status(id, &row, "restart", &[Pending, Completed, Failed, Cancelled])?;
    let from = from.unwrap_or(row.start);
    if !(row.start..row.end).contains(&from) {
        let JobRow { start, end, .. } = row;
        let why = format!("job {id} cannot restart from {from}: its range is {start}..{end}");
        return Err(Error::invalid(why).into());
    }
    let waited = row.status == Pending;
    change(txn, control, id, &mut row, |row| {
        row.status = Pending;
        row.cursor = from;
        row.leased_cursor = from;
        // Whoever held it last would go on from where the cursor was.
        row.token_live = false;
        row.attempts = 0;
        row.ended_at = None;
    })?;
    if !waited {
        events.push(Event::Available { prefix: row.prefix, jobs: 1 });
    }
    Ok(())
}

/// Deletes a job that has ended. Its findings are removed in steps, the first of them in the same
/// commit.
pub(crate) fn delete(txn: &mut dyn Write, control: &mut Control, id: JobId) -> Applied<()> {
    /// How many deletions may be waiting for their findings to be removed.
    const DELETIONS: usize = 1024;

    let row = known_job(txn, id)?;
    check_status(
        id,
        &row,
        "delete",
        &[JobStatus::Completed, JobStatus::Failed, JobStatus::Cancelled],
    )?;
    if control.deleting.len() >= DELETIONS {
        return Err(Error::InUse {
            what: "many deleted jobs still have findings: call settle first",
        }
        .into());
    }
    remove(txn, control, id, &row)?;
    txn.delete(tables::JOBS, &key::job(id))?;
    txn.delete(tables::JOB_RANGES, &key::job_range(&row.prefix, row.start))?;
    let findings = key::Under::new(key::job(id));
    if first_key(txn, tables::FINDINGS, findings.range(), Order::Ascending)?.is_some() {
        control.deleting.push(id);
    }
    Ok(())
}

pub(super) fn end(row: &mut JobRow, status: JobStatus, now: Timestamp) {
    row.status = status;
    row.token_live = false;
    row.ended_at = Some(now);
}

fn check_status(
    job: JobId,
    row: &JobRow,
    action: &'static str,
    allowed: &[JobStatus],
) -> Result<(), Error> {
    if allowed.contains(&row.status) {
        return Ok(());
    }
    Err(Error::WrongStatus { job, status: row.status, action })
}
