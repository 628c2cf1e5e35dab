//! Findings of jobs, by job, by time and by key.

use crate::rules::index::known_job;
use crate::rules::outcome::{Applied, split_damage};
use crate::rules::workers::known_worker;
use crate::schema::access::{first_key, keys, load, store, undecodable};
use crate::schema::key;
use crate::schema::rows::{Control, FindingRow, JobRow};
use crate::schema::tables;
use crate::storage::{EngineError, EngineResult, Order, Write};
use crate::time::Timestamp;
use crate::types::{FindingOutcome, JobId, NewFinding, WorkerId};

/// Stores a finding that comes alone. It is late if the worker does not hold the job.
pub(crate) fn add_finding(
    txn: &mut dyn Write,
    now: Timestamp,
    worker: WorkerId,
    job: JobId,
    finding: &NewFinding,
) -> Applied<FindingOutcome> {
    known_worker(txn, worker)?;
    let mut row = known_job(txn, job)?;
    let holds = row.token_live && row.holder == Some(worker);
    let new = insert_finding(txn, job, &mut row, worker, now, finding, !holds)?;
    if new {
        store(txn, &key::job(job), &row)?;
    }
    Ok(if new { FindingOutcome::Stored } else { FindingOutcome::AlreadyStored })
}

/// Stores a finding unless the job has one under this key already, and counts it in the job's row,
/// which the caller stores.
pub(super) fn insert_finding(
    txn: &mut dyn Write,
    job: JobId,
    row: &mut JobRow,
    worker: WorkerId,
    now: Timestamp,
    finding: &NewFinding,
    late: bool,
) -> EngineResult<bool> {
    let key = key::finding(job, &finding.key);
    if txn.get(tables::FINDINGS, &key, &mut |_| {})? {
        return Ok(false);
    }
    if finding.unique_in_store {
        let same = key::Under::new(key::of_name(&finding.key));
        if first_key(txn, tables::FINDINGS_BY_KEY, same.range(), Order::Ascending)?.is_some() {
            return Ok(false);
        }
    }
    let stored = FindingRow { payload: finding.payload.clone(), worker, found_at: now, late };
    store(txn, &key, &stored)?;
    txn.put(tables::FINDINGS_BY_TIME, &key::finding_by_time(now, job, &finding.key), &[])?;
    txn.put(tables::FINDINGS_BY_KEY, &key::finding_by_key(&finding.key, job), &[])?;
    row.findings += 1;
    Ok(true)
}

/// Removes a finding by its key in the table of findings.
fn remove_finding(txn: &mut dyn Write, key: &[u8]) -> EngineResult<()> {
    let (job, name) =
        key::as_finding(key).ok_or_else(|| undecodable(tables::FINDINGS, key, key::MALFORMED))?;
    if let Some(row) = load::<FindingRow>(txn, key)? {
        txn.delete(tables::FINDINGS_BY_TIME, &key::finding_by_time(row.found_at, job, name))?;
    }
    txn.delete(tables::FINDINGS_BY_KEY, &key::finding_by_key(name, job))?;
    txn.delete(tables::FINDINGS, key)
}

/// How many jobs one step looks at that have a damaged finding.
const DAMAGED_JOBS: usize = 16;

/// Removes up to `most` findings of deleted jobs. A job with a damaged finding keeps that one and
/// those after it, and has its next turn after all others. Returns what is wrong with the first.
pub(super) fn sweep_findings(
    txn: &mut dyn Write,
    control: &mut Control,
    most: usize,
) -> EngineResult<Option<EngineError>> {
    let (mut left, mut damaged, mut damage) = (most, 0, None);
    while left > 0
        && damaged < control.deleting.len().min(DAMAGED_JOBS)
        && let Some(id) = control.deleting.pop()
    {
        match split_damage(remove_findings_of(txn, id, &mut left))? {
            Ok(()) if left > 0 => {}
            Ok(()) => control.deleting.push(id),
            Err(error) => {
                control.deleting.insert(0, id);
                damaged += 1;
                damage.get_or_insert(error);
            }
        }
    }
    Ok(damage)
}

/// Removes up to `left` findings of a job, and counts them off.
fn remove_findings_of(txn: &mut dyn Write, job: JobId, left: &mut usize) -> EngineResult<()> {
    let under = key::Under::new(key::job(job));
    for key in keys(txn, tables::FINDINGS, under.range(), Order::Ascending, *left)? {
        remove_finding(txn, &key)?;
        *left -= 1;
    }
    Ok(())
}
