//! The indexes of jobs: which of them list a job of each status, and the sums of each prefix.

use std::collections::BTreeMap;

use crate::error::Error;
use crate::rules::outcome::Applied;
use crate::schema::access::{first_key, load, missing, store, undecodable};
use crate::schema::key;
use crate::schema::rows::{Control, JobRow, PrefixRow};
use crate::schema::tables;
use crate::storage::{EngineResult, Order, Read, Table, Write};
use crate::types::command::{Event, Wanted};
use crate::types::{JobId, JobStatus};

/// A job that an index refers to.
pub(super) fn load_job(txn: &(impl Read + ?Sized), id: JobId) -> EngineResult<JobRow> {
    load(txn, &key::job(id))?.ok_or_else(|| missing(tables::JOBS, &key::job(id)))
}

/// A job that a caller named.
pub(super) fn known_job(txn: &(impl Read + ?Sized), id: JobId) -> Applied<JobRow> {
    Ok(load(txn, &key::job(id))?.ok_or(Error::UnknownJob(id))?)
}

/// The row of a prefix; the default if it has no job.
pub(super) fn prefix(txn: &(impl Read + ?Sized), prefix: &[u8]) -> EngineResult<PrefixRow> {
    Ok(load(txn, prefix)?.unwrap_or_default())
}

/// Tells waiting workers that a leased job was returned to the queue.
pub(super) fn announce_return(id: JobId, row: &JobRow, events: &mut Vec<Event>) {
    events.push(Event::Available { prefix: row.prefix.clone(), jobs: 1 });
    events.push(Event::Returned(id));
}

/// Tells waiting workers that a job has ended, and whether it was the last one that they wait for.
pub(super) fn announce_end(
    txn: &dyn Write,
    control: &Control,
    id: JobId,
    row: &JobRow,
    events: &mut Vec<Event>,
) -> EngineResult<()> {
    let nothing_left = |[pending, leased, ..]: [u64; 5]| pending == 0 && leased == 0;
    events.push(Event::NothingLeft(Wanted::Job(id)));
    if nothing_left(prefix(txn, &row.prefix)?.jobs) {
        events.push(Event::NothingLeft(Wanted::Prefix(row.prefix.clone())));
    }
    if nothing_left(control.jobs) {
        events.push(Event::NothingLeft(Wanted::Any));
    }
    Ok(())
}

/// Changes a job, updates its indexes, and stores it.
pub(super) fn change<T>(
    txn: &mut dyn Write,
    control: &mut Control,
    id: JobId,
    row: &mut JobRow,
    change: impl FnOnce(&mut JobRow) -> T,
) -> EngineResult<T> {
    let mut sums = prefix(txn, &row.prefix)?;
    leave(txn, control, &mut sums, id, row)?;
    let waited = row.status == JobStatus::Pending;
    let result = change(row);
    enter(txn, control, &mut sums, id, row)?;
    if waited || row.status == JobStatus::Pending {
        refresh_head(txn, &row.prefix, &mut sums)?;
    }
    store(txn, &row.prefix, &sums)?;
    store(txn, &key::job(id), row)?;
    Ok(result)
}

/// Adds new jobs to the indexes in bulk: the row of each prefix is written once.
#[derive(Default)]
pub(super) struct NewJobs(BTreeMap<Vec<u8>, (PrefixRow, usize)>);

impl NewJobs {
    pub(super) fn insert(
        &mut self,
        txn: &mut dyn Write,
        control: &mut Control,
        id: JobId,
        row: &mut JobRow,
    ) -> EngineResult<()> {
        if !self.0.contains_key(&row.prefix) {
            self.0.insert(row.prefix.clone(), (prefix(txn, &row.prefix)?, 0));
        }
        let Some((sums, many)) = self.0.get_mut(&row.prefix) else { return Ok(()) };
        *many += usize::from(row.status == JobStatus::Pending);
        sums.positions += u128::from(row.positions());
        enter(txn, control, sums, id, row)?;
        store(txn, &key::job(id), row)
    }

    pub(super) fn finish(self, txn: &mut dyn Write, events: &mut Vec<Event>) -> EngineResult<()> {
        for (prefix, (mut sums, jobs)) in self.0 {
            refresh_head(txn, &prefix, &mut sums)?;
            store(txn, &prefix, &sums)?;
            if jobs > 0 {
                events.push(Event::Available { prefix, jobs });
            }
        }
        Ok(())
    }
}

/// Removes a job from every index. The row of a prefix without jobs is deleted.
pub(super) fn remove(
    txn: &mut dyn Write,
    control: &mut Control,
    id: JobId,
    row: &JobRow,
) -> EngineResult<()> {
    let mut sums = prefix(txn, &row.prefix)?;
    leave(txn, control, &mut sums, id, row)?;
    sums.positions = sums.positions.saturating_sub(u128::from(row.positions()));
    let (first, known) = sums.covered;
    if row.start < known && first < row.end {
        sums.covered = (first, row.start.max(first));
    }
    if sums.jobs == [0; 5] {
        txn.delete(tables::PREFIXES, &row.prefix)
    } else {
        store(txn, &row.prefix, &sums)
    }
}

/// Adds a row to the indexes of its status.
fn enter(
    txn: &mut dyn Write,
    control: &mut Control,
    sums: &mut PrefixRow,
    id: JobId,
    row: &mut JobRow,
) -> EngineResult<()> {
    control.jobs[row.status as usize] += 1;
    sums.jobs[row.status as usize] += 1;
    if row.status != JobStatus::Leased {
        sums.done += u128::from(row.done());
        sums.busy_us += row.duration_us;
    }
    match row.status {
        JobStatus::Pending => {
            let key = key::queue_by_prefix(&row.prefix, row.priority, id);
            txn.put(tables::JOB_QUEUE_BY_PREFIX, &key, &[])
        }
        JobStatus::Leased => {
            let Some(holder) = row.holder else {
                return Err(undecodable(
                    tables::JOBS,
                    &key::job(id),
                    "it is leased but has no holder",
                ));
            };
            row.indexed = row.deadline;
            txn.put(tables::JOB_LEASES, &key::lease(row.indexed, id), &[])?;
            txn.put(tables::JOB_HOLDERS, &key::holder(holder, id), &[])
        }
        JobStatus::Completed | JobStatus::Failed | JobStatus::Cancelled => {
            txn.put(tables::JOBS_ENDED, &ended_key(id, row)?, &[])
        }
    }
}

/// Removes a row from the indexes of its status.
fn leave(
    txn: &mut dyn Write,
    control: &mut Control,
    sums: &mut PrefixRow,
    id: JobId,
    row: &JobRow,
) -> EngineResult<()> {
    count_down(&mut control.jobs, row.status, tables::META, b"control")?;
    count_down(&mut sums.jobs, row.status, tables::PREFIXES, &row.prefix)?;
    if row.status != JobStatus::Leased {
        sums.done = sums.done.saturating_sub(u128::from(row.done()));
        sums.busy_us = sums.busy_us.saturating_sub(row.duration_us);
    }
    match row.status {
        JobStatus::Pending => {
            let key = key::queue_by_prefix(&row.prefix, row.priority, id);
            txn.delete(tables::JOB_QUEUE_BY_PREFIX, &key)
        }
        JobStatus::Leased => {
            txn.delete(tables::JOB_LEASES, &key::lease(row.indexed, id))?;
            row.holder
                .map_or(Ok(()), |holder| txn.delete(tables::JOB_HOLDERS, &key::holder(holder, id)))
        }
        JobStatus::Completed | JobStatus::Failed | JobStatus::Cancelled => {
            txn.delete(tables::JOBS_ENDED, &ended_key(id, row)?)
        }
    }
}

fn count_down(
    counts: &mut [u64; 5],
    status: JobStatus,
    table: Table,
    key: &[u8],
) -> EngineResult<()> {
    let count = &mut counts[status as usize];
    *count = count.checked_sub(1).ok_or_else(|| {
        undecodable(table, key, &format!("it counts too few jobs that are {status}"))
    })?;
    Ok(())
}

fn ended_key(id: JobId, row: &JobRow) -> EngineResult<Vec<u8>> {
    let ended_at = row.ended_at.ok_or_else(|| {
        let why = format!("it is {}, but not since any time", row.status);
        undecodable(tables::JOBS, &key::job(id), &why)
    })?;
    Ok(key::job_ended(&row.prefix, row.status, ended_at, id))
}

/// Makes the queue list the first waiting job of a prefix, or none while the prefix is paused.
fn refresh_head(txn: &mut dyn Write, prefix: &[u8], sums: &mut PrefixRow) -> EngineResult<()> {
    let under = key::Under::new(key::of_prefix(prefix));
    let first = match sums.paused {
        true => None,
        false => first_key(txn, tables::JOB_QUEUE_BY_PREFIX, under.range(), Order::Ascending)?,
    };
    let head = first.map(|first| {
        key::as_queue_by_prefix(&first)
            .map(|(_, priority, id)| (priority, id))
            .ok_or_else(|| undecodable(tables::JOB_QUEUE_BY_PREFIX, &first, key::MALFORMED))
    });
    let head = head.transpose()?;
    if head != sums.head {
        if let Some((priority, id)) = sums.head {
            txn.delete(tables::JOB_QUEUE, &key::queue(priority, id))?;
        }
        if let Some((priority, id)) = head {
            txn.put(tables::JOB_QUEUE, &key::queue(priority, id), prefix)?;
        }
        sums.head = head;
    }
    Ok(())
}
