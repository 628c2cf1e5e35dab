//! Findings of jobs.

use crate::rules::jobs::known_job;
use crate::rules::outcome::Applied;
use crate::rules::workers::known_worker;
use crate::schema::key;
use crate::schema::rows::FindingRow;
use crate::schema::tables::store;
use crate::storage::{EngineResult, Table, Write};
use crate::time::Timestamp;
use crate::types::{JobId, NewFinding, WorkerId};

/// Takes in a finding from a worker that no longer holds the job. Says whether it was new.
pub(crate) fn late_finding(
    txn: &mut dyn Write,
    now: Timestamp,
    worker: WorkerId,
    job: JobId,
    finding: &NewFinding,
) -> Applied<bool> {
    known_worker(txn, worker)?;
    known_job(txn, job)?;
    Ok(insert_finding(txn, job, worker, now, finding, true)?)
}

/// Stores a finding unless the job has one under this key already.
pub(super) fn insert_finding(
    txn: &mut dyn Write,
    job: JobId,
    worker: WorkerId,
    now: Timestamp,
    finding: &NewFinding,
    late: bool,
) -> EngineResult<bool> {
    let key = key::finding(job, &finding.key);
    if txn.get(Table::Findings, &key, &mut |_| {})? {
        return Ok(false);
    }
    let row = FindingRow { payload: finding.payload.clone(), worker, found_at: now, late };
    store(txn, &key, &row)?;
    Ok(true)
}
