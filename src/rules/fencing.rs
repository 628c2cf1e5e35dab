//! Commands under a lease: token, sequence number, cursor.

use crate::error::{Error, Lost};
use crate::rules::findings::insert_finding;
use crate::rules::jobs::{change, end, index, known_job, unindex};
use crate::rules::leasing::{deadline, give_back};
use crate::rules::outcome::Applied;
use crate::rules::workers::touch_worker;
use crate::schema::key;
use crate::schema::rows::{Control, HistoryRow, JobRow};
use crate::schema::tables::{store, undecodable};
use crate::storage::{EngineResult, Table, Write};
use crate::time::Timestamp;
use crate::types::command::{Action, LeaseCommand, Receipt};
use crate::types::{Batch, JobId, JobStatus, Token, WorkerId};

/// Applies a lease command: the next one of its lease, or a repetition of the last one. A
/// checkpoint yields the record for history.
pub(crate) fn held(
    txn: &mut dyn Write,
    control: &mut Control,
    now: Timestamp,
    command: &LeaseCommand,
    digest: u64,
) -> Applied<(Receipt, Option<HistoryRow>)> {
    let LeaseCommand { job: id, token, sequence, action } = command;
    let id = *id;
    let mut row = known_job(txn, id)?;
    if let Some(first_answer) = check_turn(id, &row, *token, *sequence, digest)? {
        return Ok((first_answer, None));
    }
    check_action(id, &row, action)?;

    row.sequence = *sequence;
    row.digest = digest;
    let holder = row.holder;
    match action {
        Action::Checkpoint { to, batch, .. } => {
            let worker =
                holder.ok_or_else(|| undecodable(Table::Jobs, &key::job(id), "nobody holds it"))?;
            for finding in &batch.findings {
                insert_finding(txn, id, worker, now, finding, false)?;
            }
            let record = advance(&mut row, *to, batch, worker, id, now);
            let receipt = hold_on(txn, control, id, row, now, |row| Receipt::Moved {
                cursor: row.cursor,
                deadline: row.deadline,
            })?;
            Ok((receipt, Some(record)))
        }
        Action::Renew => {
            let receipt = hold_on(txn, control, id, row, now, |row| Receipt::Renewed {
                deadline: row.deadline,
            })?;
            Ok((receipt, None))
        }
        Action::Complete => {
            let receipt = Receipt::Completed;
            finish(txn, control, id, row, receipt, |row| end(row, JobStatus::Completed, now))?;
            touch_worker(txn, holder, now)?;
            Ok((receipt, None))
        }
        Action::Release => {
            let receipt = Receipt::Released;
            finish(txn, control, id, row, receipt, give_back)?;
            touch_worker(txn, holder, now)?;
            Ok((receipt, None))
        }
        Action::Fail { reason } => {
            let attempts = row.attempts.saturating_add(1);
            let gave_up = row.max_attempts.is_some_and(|max| attempts >= max);
            let receipt = Receipt::Failed { attempts, gave_up };
            finish(txn, control, id, row, receipt, |row| {
                row.attempts = attempts;
                row.last_error = Some(reason.clone());
                if gave_up { end(row, JobStatus::Failed, now) } else { give_back(row) }
            })?;
            touch_worker(txn, holder, now)?;
            Ok((receipt, None))
        }
    }
}

/// Checks token and sequence number; gives the first answer where the command is a repetition.
fn check_turn(
    job: JobId,
    row: &JobRow,
    token: Token,
    sequence: u64,
    digest: u64,
) -> Result<Option<Receipt>, Error> {
    if token != row.token {
        return Err(Error::LeaseLost { job, token, why: Lost::Superseded });
    }
    if sequence == row.sequence
        && let Some(answer) = Receipt::from_kept(row.answer)
    {
        return if digest == row.digest {
            Ok(Some(answer))
        } else {
            Err(Error::Altered { job, sequence })
        };
    }
    if !row.token_live {
        let why = match row.status {
            JobStatus::Completed => Lost::Completed,
            JobStatus::Failed => Lost::Failed,
            JobStatus::Cancelled => Lost::Cancelled,
            JobStatus::Pending | JobStatus::Leased => Lost::Released,
        };
        return Err(Error::LeaseLost { job, token, why });
    }
    let expected = row.sequence + 1;
    if sequence != expected {
        return Err(Error::OutOfSequence { job, sequence, expected });
    }
    Ok(None)
}

fn check_action(job: JobId, row: &JobRow, action: &Action) -> Result<(), Error> {
    let JobRow { cursor, end, .. } = *row;
    match *action {
        Action::Checkpoint { from, to, .. } if from != cursor || to <= cursor || to > end => {
            Err(Error::Cursor { job, from, to, cursor, end })
        }
        Action::Complete if cursor < end => Err(Error::Incomplete { job, left: end - cursor }),
        _ => Ok(()),
    }
}

/// Moves the cursor over a batch, and gives the record of that.
fn advance(
    row: &mut JobRow,
    to: u64,
    batch: &Batch,
    worker: WorkerId,
    job: JobId,
    now: Timestamp,
) -> HistoryRow {
    let start = std::mem::replace(&mut row.cursor, to);
    row.batches += 1;
    row.items += u128::from(batch.items);
    row.duration_us += u128::from(batch.duration_us);
    row.checkpoint_at = Some(now);
    if batch.error.is_some() {
        row.last_error.clone_from(&batch.error);
    }
    HistoryRow {
        worker,
        job: Some(job),
        start,
        end: to,
        items: batch.items,
        duration_us: batch.duration_us,
        finished_at: now,
        error: batch.error.clone(),
    }
}

/// Stores a job that stays with its holder, its lease renewed.
fn hold_on(
    txn: &mut dyn Write,
    control: &mut Control,
    id: JobId,
    mut row: JobRow,
    now: Timestamp,
    receipt: impl FnOnce(&JobRow) -> Receipt,
) -> EngineResult<Receipt> {
    let new_deadline = deadline(now, row.length_us);
    let index_holds = row.status == JobStatus::Leased && row.indexed <= new_deadline;
    if index_holds {
        // The usual case: one row is written, and the index is left to be put right later.
        row.deadline = new_deadline;
        let receipt = receipt(&row);
        row.answer = receipt.kept();
        store(txn, &key::job(id), &row)?;
        return Ok(receipt);
    }
    // The lease had lapsed and nobody took the job, or the clock went back.
    unindex(txn, control, id, &row)?;
    row.status = JobStatus::Leased;
    row.deadline = new_deadline;
    index(txn, control, id, &mut row)?;
    let receipt = receipt(&row);
    row.answer = receipt.kept();
    store(txn, &key::job(id), &row)?;
    Ok(receipt)
}

/// Stores a job that its holder gives up.
fn finish(
    txn: &mut dyn Write,
    control: &mut Control,
    id: JobId,
    mut row: JobRow,
    receipt: Receipt,
    ending: impl FnOnce(&mut JobRow),
) -> EngineResult<()> {
    change(txn, control, id, &mut row, |row| {
        row.answer = receipt.kept();
        ending(row);
    })
}
