//! Commands under a lease: token, sequence number, cursor.

use std::time::Duration;

use crate::error::{Error, Lost};
use crate::rules::expiry::{deadline, give_back, note_time};
use crate::rules::findings::insert_finding;
use crate::rules::index::known_job;
use crate::rules::index::{announce_end, announce_return, change};
use crate::rules::jobs::end;
use crate::rules::outcome::Applied;
use crate::rules::workers::touch_worker;
use crate::schema::access::{store, undecodable};
use crate::schema::codec;
use crate::schema::key;
use crate::schema::rows::{Control, HistoryRow, JobRow};
use crate::schema::tables;
use crate::storage::{EngineResult, Write};
use crate::time::Timestamp;
use crate::types::command::Event;
use crate::types::{
    Action, Batch, BatchOutcome, FailOutcome, JobId, JobStatus, LeaseCommand, PastBatch, Receipt,
    Token, WorkerId,
};

/// Applies a lease command: the next one of its lease, or a repetition of the last one. A
/// checkpoint also returns the record for history.
pub(super) fn held(
    txn: &mut dyn Write,
    control: &mut Control,
    now: Timestamp,
    command: &LeaseCommand,
    events: &mut Vec<Event>,
) -> Applied<(Receipt, Option<HistoryRow>)> {
    let LeaseCommand { job: id, token, sequence, action } = command;
    let id = *id;
    let digest = codec::digest(action);
    let mut row = known_job(txn, id)?;
    if let Some(first_receipt) = check_turn(id, &row, *token, *sequence, digest)? {
        return Ok((first_receipt, None));
    }
    let holder =
        row.holder.ok_or_else(|| undecodable(tables::JOBS, &key::job(id), "it has no holder"))?;
    row.sequence = *sequence;
    row.digest = digest;
    let (receipt, record) = match action {
        Action::Checkpoint(batch) => {
            check_batch(id, &row, batch)?;
            for finding in &batch.findings {
                insert_finding(txn, id, &mut row, holder, now, finding, false)?;
            }
            let (receipt, record) = advance(txn, control, now, id, &mut row, holder, batch)?;
            (receipt, Some(record))
        }
        Action::Renew => {
            let renewed = |row: &mut JobRow| {
                let deadline = row.deadline;
                issue(row, Receipt::Renewed { deadline })
            };
            (renew(txn, control, now, id, &mut row, renewed)?, None)
        }
        Action::Heartbeat { note } => {
            let renewed = |row: &mut JobRow| {
                row.note = Some(note.clone());
                let deadline = row.deadline;
                issue(row, Receipt::Renewed { deadline })
            };
            (renew(txn, control, now, id, &mut row, renewed)?, None)
        }
        Action::Release => {
            row.receipt = Some(Receipt::Released);
            change(txn, control, id, &mut row, give_back)?;
            touch_worker(txn, holder, now)?;
            (Receipt::Released, None)
        }
        Action::Fail { reason, batch } => {
            let record = match batch {
                Some(batch) => {
                    check_batch(id, &row, batch)?;
                    for finding in &batch.findings {
                        insert_finding(txn, id, &mut row, holder, now, finding, false)?;
                    }
                    let mut record = record(holder, id, batch, now);
                    record.batch.outcome = BatchOutcome::Failed;
                    record.batch.error = Some(reason.clone());
                    Some(record)
                }
                None => None,
            };
            let tried = record.as_ref().map(|record| &record.batch);
            let receipt = fail(txn, control, now, id, &mut row, reason, tried)?;
            touch_worker(txn, holder, now)?;
            (receipt, record)
        }
    };
    match receipt {
        Receipt::Moved { .. } | Receipt::Renewed { .. } => {}
        Receipt::Completed | Receipt::Failed(FailOutcome::Failed { .. }) => {
            announce_end(txn, control, id, &row, events)?;
        }
        Receipt::Released | Receipt::Failed(FailOutcome::Requeued { .. }) => {
            announce_return(id, &row, events);
        }
    }
    Ok((receipt, record))
}

/// Renews a lease in the background: sets the deadline, and changes nothing else of the job.
/// Returns the new deadline.
pub(super) fn keep_alive(
    txn: &mut dyn Write,
    control: &mut Control,
    now: Timestamp,
    id: JobId,
    token: Token,
) -> Applied<Timestamp> {
    let mut row = known_job(txn, id)?;
    check_is_newest(id, &row, token)?;
    check_is_live(id, &row)?;
    Ok(renew(txn, control, now, id, &mut row, |row| row.deadline)?)
}

/// Checks token and sequence number. Returns the stored receipt if the command is a repetition.
fn check_turn(
    job: JobId,
    row: &JobRow,
    token: Token,
    sequence: u64,
    digest: u64,
) -> Result<Option<Receipt>, Error> {
    check_is_newest(job, row, token)?;
    if sequence == row.sequence
        && let Some(first) = row.receipt
    {
        return if digest == row.digest {
            Ok(Some(first))
        } else {
            Err(Error::CommandAltered { job, sequence })
        };
    }
    check_is_live(job, row)?;
    let expected = row.sequence + 1;
    if sequence != expected {
        return Err(Error::OutOfSequence { job, sequence, expected });
    }
    Ok(None)
}

fn check_is_newest(job: JobId, row: &JobRow, token: Token) -> Result<(), Error> {
    if token == row.token {
        return Ok(());
    }
    // A token that was never issued is not superseded by the newest one's holder.
    let is_older = token < row.token;
    let (holder, since) = (row.holder.filter(|_| is_older), row.leased_at.filter(|_| is_older));
    Err(Error::LeaseLost { job, token, why: Lost::Superseded, holder, since })
}

fn check_is_live(job: JobId, row: &JobRow) -> Result<(), Error> {
    if row.token_live {
        return Ok(());
    }
    let why = match row.status {
        JobStatus::Completed => Lost::Completed,
        JobStatus::Failed => Lost::Failed,
        JobStatus::Cancelled => Lost::Cancelled,
        JobStatus::Pending | JobStatus::Leased => Lost::Released,
    };
    let since = row.ended_at;
    Err(Error::LeaseLost { job, token: row.token, why, holder: None, since })
}

/// A batch must start at the cursor, whatever failed before, so that no position is skipped.
fn check_batch(job: JobId, row: &JobRow, batch: &Batch) -> Result<(), Error> {
    let JobRow { cursor, end, .. } = *row;
    let (from, to) = (batch.start, batch.end);
    if from != cursor || to <= from || to > end {
        return Err(Error::CursorMismatch { job, from, to, cursor, end });
    }
    Ok(())
}

/// Moves the cursor to the end of a batch, and returns the record for history.
fn advance(
    txn: &mut dyn Write,
    control: &mut Control,
    now: Timestamp,
    id: JobId,
    row: &mut JobRow,
    worker: WorkerId,
    batch: &Batch,
) -> EngineResult<(Receipt, HistoryRow)> {
    let mut record = record(worker, id, batch, now);
    if batch.end < row.end {
        let receipt = renew(txn, control, now, id, row, |row| {
            add_batch(row, &record.batch);
            let (cursor, deadline) = (row.cursor, row.deadline);
            issue(row, Receipt::Moved { cursor, deadline })
        })?;
        return Ok((receipt, record));
    }
    record.batch.outcome = BatchOutcome::Completed;
    change(txn, control, id, row, |row| {
        add_batch(row, &record.batch);
        row.receipt = Some(Receipt::Completed);
        end(row, JobStatus::Completed, now);
    })?;
    touch_worker(txn, worker, now)?;
    Ok((Receipt::Completed, record))
}

/// The record of a batch for history.
fn record(worker: WorkerId, job: JobId, batch: &Batch, now: Timestamp) -> HistoryRow {
    let batch = PastBatch {
        worker,
        job: Some(job),
        start: batch.start,
        end: batch.end,
        items: batch.items,
        duration: Duration::from_micros(batch.duration_us()),
        finished_at: now,
        outcome: BatchOutcome::Done,
        error: batch.error.clone(),
    };
    HistoryRow { batch }
}

/// Moves the cursor of a job to the end of a batch, and counts the batch.
fn add_batch(row: &mut JobRow, batch: &PastBatch) {
    row.cursor = batch.end;
    row.attempts = 0;
    row.checkpoint_at = Some(batch.finished_at);
    count(row, batch);
}

/// Counts a batch of a job.
fn count(row: &mut JobRow, batch: &PastBatch) {
    row.batches += 1;
    row.items += u128::from(batch.items);
    row.duration_us += u128::from(batch.duration_us());
    if batch.error.is_some() {
        row.errors += 1;
        row.error_positions += batch.end - batch.start;
        row.last_error.clone_from(&batch.error);
    }
}

/// Renews the lease of a job and stores its row.
///
/// Usually this writes only the row of the job. The lease index is updated as well once its entry
/// is half a lease length too early, if the lease had expired and nobody took the job, or if the
/// clock was set back.
fn renew<T>(
    txn: &mut dyn Write,
    control: &mut Control,
    now: Timestamp,
    id: JobId,
    row: &mut JobRow,
    update: impl FnOnce(&mut JobRow) -> T,
) -> EngineResult<T> {
    let deadline = deadline(now, row.length_us);
    let half = Duration::from_micros(row.length_us / 2);
    let index_may_lag = row.status == JobStatus::Leased
        && row.indexed <= deadline
        && row.indexed.saturating_duration_since(now) >= half;
    let update = |row: &mut JobRow| {
        row.status = JobStatus::Leased;
        row.deadline = deadline;
        update(row)
    };
    note_time(control, now);
    if index_may_lag {
        let result = update(row);
        store(txn, &key::job(id), row)?;
        return Ok(result);
    }
    change(txn, control, id, row, update)
}

/// Stores a receipt in the row of its job, for a repetition of the command.
fn issue(row: &mut JobRow, receipt: Receipt) -> Receipt {
    row.receipt = Some(receipt);
    receipt
}

/// Releases a job, counts what was tried, and counts an attempt if this lease has not moved its cursor.
fn fail(
    txn: &mut dyn Write,
    control: &mut Control,
    now: Timestamp,
    id: JobId,
    row: &mut JobRow,
    reason: &str,
    tried: Option<&PastBatch>,
) -> EngineResult<Receipt> {
    if row.cursor == row.leased_cursor {
        row.attempts = row.attempts.saturating_add(1);
    }
    let attempts = row.attempts;
    let was_last = attempts > 0 && row.max_attempts.is_some_and(|max| attempts >= max);
    let outcome = match was_last {
        false => FailOutcome::Requeued { attempts },
        true => FailOutcome::Failed { attempts },
    };
    if was_last {
        tracing::warn!(job = %id, attempts, reason, "a job failed for good");
    }
    let receipt = Receipt::Failed(outcome);
    change(txn, control, id, row, |row| {
        row.receipt = Some(receipt);
        if let Some(batch) = tried {
            count(row, batch);
        }
        row.last_error = Some(reason.to_string());
        if was_last { end(row, JobStatus::Failed, now) } else { give_back(row) }
    })?;
    Ok(receipt)
}
