//! The rules of jobs and leases: creating, leasing, fencing, moving cursors, ending.
//!
//! Every function reads and validates before its first write, because a transaction cannot be
//! rolled back in part: a rejected command must leave it as it was.

use std::ops::ControlFlow;

use crate::command::{Action, Grant, LeaseAnswer, LeaseCommand, LeaseRequest, Receipt, Wanted};
use crate::error::{Error, Lost};
use crate::key;
use crate::record::{Batch, JobId, JobStatus, NewFinding, NewJob, Token, WorkerId};
use crate::storage::{EngineError, EngineResult, Order, Read, Table, Write};
use crate::tables::{
    ALL, Answered, Control, FindingRow, HistoryRow, JobRow, LeaseIndexRow, Number, WorkerRow, each,
    first_key, keys, load, load_from, missing, store, undecodable,
};
use crate::time::Timestamp;

/// Why a command was not carried out.
pub(crate) enum Failure {
    /// It was refused; the transaction is as it was before it.
    Rejected(Error),
    /// The engine failed, and with it the whole transaction.
    Engine(EngineError),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Rejected(error)
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Failure {
        Failure::Engine(error)
    }
}

pub(crate) type Applied<T> = std::result::Result<T, Failure>;

/// The most lapsed leases, findings or jobs that one command puts right.
pub(crate) const STEP: usize = 256;

/// How many rows a step may handle, given the room left: one can cost some forty operations, where
/// a record makes a day and a month and both push another out with all its days.
pub(crate) fn step(txn: &dyn Write) -> usize {
    STEP.min((txn.room() / 40).max(1))
}

// Workers

/// Finds a worker by name, or gives it the next number.
pub(crate) fn register(
    txn: &mut dyn Write,
    control: &mut Control,
    now: Timestamp,
    name: &str,
    kind: &str,
) -> Applied<WorkerId> {
    let known: Option<Number> = load_from(txn, Table::WorkerNames, name.as_bytes())?;
    let Some(Number(number)) = known else {
        let worker = WorkerId(control.next_worker);
        control.next_worker = control
            .next_worker
            .checked_add(1)
            .ok_or_else(|| Error::invalid("the store cannot number any more workers"))?;
        let row = WorkerRow {
            name: name.to_string(),
            kind: kind.to_string(),
            first_seen: now,
            last_seen: now,
            last_prefix: None,
        };
        txn.put(
            Table::WorkerNames,
            name.as_bytes(),
            &crate::codec::encode(&Number(worker.0.into())),
        )?;
        store(txn, &key::worker(worker), &row)?;
        return Ok(worker);
    };
    let worker = u32::try_from(number)
        .map(WorkerId)
        .map_err(|_| undecodable(Table::WorkerNames, name.as_bytes(), "its number is too large"))?;
    let mut row = load_worker(txn, worker)?;
    row.kind = kind.to_string();
    row.last_seen = row.last_seen.max(now);
    store(txn, &key::worker(worker), &row)?;
    Ok(worker)
}

/// A worker that other rows refer to.
fn load_worker(txn: &(impl Read + ?Sized), worker: WorkerId) -> EngineResult<WorkerRow> {
    load(txn, &key::worker(worker))?.ok_or_else(|| missing(Table::Workers, &key::worker(worker)))
}

/// A worker that a caller named.
pub(crate) fn known_worker(txn: &(impl Read + ?Sized), worker: WorkerId) -> Applied<WorkerRow> {
    Ok(load(txn, &key::worker(worker))?
        .ok_or_else(|| Error::UnknownWorker(format!("number {worker}")))?)
}

fn touch_worker(txn: &mut dyn Write, worker: Option<WorkerId>, now: Timestamp) -> EngineResult<()> {
    let Some(worker) = worker else { return Ok(()) };
    let mut row = load_worker(txn, worker)?;
    if row.last_seen < now {
        row.last_seen = now;
        store(txn, &key::worker(worker), &row)?;
    }
    Ok(())
}

// Creating and ending jobs

/// Creates all of the jobs, or none.
pub(crate) fn create(
    txn: &mut dyn Write,
    control: &mut Control,
    now: Timestamp,
    jobs: &[NewJob],
) -> Applied<Vec<JobId>> {
    check_among_themselves(jobs)?;
    for job in jobs {
        check_neighbours(txn, job)?;
    }
    let mut ids = Vec::with_capacity(jobs.len());
    for job in jobs {
        ids.push(insert(txn, control, now, job)?);
    }
    Ok(ids)
}

/// Finds the job with exactly this prefix and range, or creates it.
pub(crate) fn find_or_create(
    txn: &mut dyn Write,
    control: &mut Control,
    now: Timestamp,
    job: &NewJob,
) -> Applied<(JobId, bool)> {
    let found: Option<Number> =
        load_from(txn, Table::JobRanges, &key::job_range(&job.prefix, job.start))?;
    if let Some(Number(number)) = found
        && load_job(txn, JobId(number))?.end == job.end
    {
        return Ok((JobId(number), false));
    }
    check_neighbours(txn, job)?;
    Ok((insert(txn, control, now, job)?, true))
}

fn check_among_themselves(jobs: &[NewJob]) -> Result<(), Error> {
    let mut sorted: Vec<&NewJob> = jobs.iter().collect();
    sorted.sort_by_key(|job| (&job.prefix, job.start));
    for pair in sorted.windows(2) {
        if pair[0].prefix == pair[1].prefix && pair[1].start < pair[0].end {
            return Err(Error::Overlap {
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

/// Jobs of one prefix do not overlap, so only the two neighbours can be in the way.
fn check_neighbours(txn: &dyn Write, job: &NewJob) -> Applied<()> {
    use std::ops::Bound::{Excluded, Included};

    let first = key::of_prefix(&job.prefix);
    let at = key::job_range(&job.prefix, job.start);
    let last = key::job_range(&job.prefix, job.end);
    let before = (Included(&first[..]), Excluded(&at[..]));
    let within = (Included(&at[..]), Excluded(&last[..]));
    for (range, order) in [(before, Order::Descending), (within, Order::Ascending)] {
        let mut neighbour = None;
        txn.scan(Table::JobRanges, range, order, &mut |key, value| {
            neighbour = Some((key.to_vec(), crate::codec::decode::<Number>(value)));
            ControlFlow::Break(())
        })?;
        let Some((key, id)) = neighbour else { continue };
        let id = JobId(id.map_err(|why| undecodable(Table::JobRanges, &key, &why))?.0);
        let other = load_job(txn, id)?;
        if other.start < job.end && job.start < other.end {
            return Err(Failure::Rejected(Error::Overlap {
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

fn insert(
    txn: &mut dyn Write,
    control: &mut Control,
    now: Timestamp,
    job: &NewJob,
) -> Applied<JobId> {
    let id = JobId(control.next_job);
    control.next_job += 1;
    let mut row = JobRow {
        prefix: job.prefix.clone(),
        start: job.start,
        end: job.end,
        cursor: job.start,
        status: JobStatus::Pending,
        holder: None,
        token: Token(0),
        token_live: false,
        sequence: 0,
        digest: 0,
        answer: Answered::None,
        deadline: Timestamp::EPOCH,
        length_us: 0,
        indexed: Timestamp::EPOCH,
        priority: job.priority,
        attempts: 0,
        max_attempts: job.max_attempts,
        batches: 0,
        items: 0,
        duration_us: 0,
        created_at: now,
        leased_at: None,
        checkpoint_at: None,
        ended_at: None,
        last_error: None,
    };
    txn.put(
        Table::JobRanges,
        &key::job_range(&job.prefix, job.start),
        &crate::codec::encode(&Number(id.0)),
    )?;
    index(txn, control, id, &mut row)?;
    store(txn, &key::job(id), &row)?;
    Ok(id)
}

/// A job that an index refers to.
fn load_job(txn: &(impl Read + ?Sized), id: JobId) -> EngineResult<JobRow> {
    load(txn, &key::job(id))?.ok_or_else(|| missing(Table::Jobs, &key::job(id)))
}

/// A job that a caller named.
fn known_job(txn: &(impl Read + ?Sized), id: JobId) -> Applied<JobRow> {
    Ok(load(txn, &key::job(id))?.ok_or(Error::UnknownJob(id))?)
}

/// Enters a row into the indexes that its status asks for.
fn index(
    txn: &mut dyn Write,
    control: &mut Control,
    id: JobId,
    row: &mut JobRow,
) -> EngineResult<()> {
    control.jobs[row.status as usize] += 1;
    match row.status {
        JobStatus::Pending => {
            txn.put(Table::JobQueue, &key::queue(row.priority, id), &[])?;
            txn.put(
                Table::JobQueueByPrefix,
                &key::queue_by_prefix(&row.prefix, row.priority, id),
                &[],
            )
        }
        JobStatus::Leased => {
            row.indexed = row.deadline;
            store(txn, &key::lease(row.indexed, id), &LeaseIndexRow { length_us: row.length_us })?;
            match row.holder {
                Some(holder) => txn.put(Table::JobHolders, &key::holder(holder, id), &[]),
                None => Err(undecodable(Table::Jobs, &key::job(id), "it is leased to nobody")),
            }
        }
        JobStatus::Completed | JobStatus::Failed | JobStatus::Cancelled => Ok(()),
    }
}

/// Takes a row out of the indexes that its status had put it in.
fn unindex(
    txn: &mut dyn Write,
    control: &mut Control,
    id: JobId,
    row: &JobRow,
) -> EngineResult<()> {
    let count = &mut control.jobs[row.status as usize];
    *count = count.checked_sub(1).ok_or_else(|| {
        undecodable(
            Table::Meta,
            b"control",
            &format!("it counts too few jobs that are {}", row.status),
        )
    })?;
    match row.status {
        JobStatus::Pending => {
            txn.delete(Table::JobQueue, &key::queue(row.priority, id))?;
            txn.delete(
                Table::JobQueueByPrefix,
                &key::queue_by_prefix(&row.prefix, row.priority, id),
            )
        }
        JobStatus::Leased => {
            txn.delete(Table::JobLeases, &key::lease(row.indexed, id))?;
            row.holder
                .map_or(Ok(()), |holder| txn.delete(Table::JobHolders, &key::holder(holder, id)))
        }
        JobStatus::Completed | JobStatus::Failed | JobStatus::Cancelled => Ok(()),
    }
}

/// Changes a job in a way that its indexes have to follow, and stores it.
fn change(
    txn: &mut dyn Write,
    control: &mut Control,
    id: JobId,
    row: &mut JobRow,
    change: impl FnOnce(&mut JobRow),
) -> EngineResult<()> {
    unindex(txn, control, id, row)?;
    change(row);
    index(txn, control, id, row)?;
    store(txn, &key::job(id), row)
}

/// Calls a job off, whether or not somebody holds it.
pub(crate) fn cancel(
    txn: &mut dyn Write,
    control: &mut Control,
    now: Timestamp,
    id: JobId,
) -> Applied<()> {
    let mut row = known_job(txn, id)?;
    check_status(id, &row, "cancel", &[JobStatus::Pending, JobStatus::Leased])?;
    change(txn, control, id, &mut row, |row| end(row, JobStatus::Cancelled, now))?;
    Ok(())
}

/// Puts a failed or cancelled job back in the queue, where its cursor is, with no attempt counted.
pub(crate) fn retry(txn: &mut dyn Write, control: &mut Control, id: JobId) -> Applied<()> {
    let mut row = known_job(txn, id)?;
    check_status(id, &row, "retry", &[JobStatus::Failed, JobStatus::Cancelled])?;
    change(txn, control, id, &mut row, |row| {
        row.status = JobStatus::Pending;
        row.attempts = 0;
        row.ended_at = None;
    })?;
    Ok(())
}

/// Deletes a job that has ended, and its findings: at once where they are few, otherwise in steps
/// that later commits take.
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
    unindex(txn, control, id, &row)?;
    txn.delete(Table::Jobs, &key::job(id))?;
    txn.delete(Table::JobRanges, &key::job_range(&row.prefix, row.start))?;
    control.deleting.push(id);
    sweep_findings(txn, control)?;
    Ok(())
}

/// Removes a step of the findings of deleted jobs.
pub(crate) fn sweep_findings(txn: &mut dyn Write, control: &mut Control) -> EngineResult<()> {
    let Some(id) = control.deleting.last().copied() else { return Ok(()) };
    let most = step(txn);
    let under = key::Under::new(key::job(id));
    let names = keys(txn, Table::Findings, under.range(), Order::Ascending, most)?;
    for name in &names {
        txn.delete(Table::Findings, name)?;
    }
    if names.len() < most {
        control.deleting.pop();
    }
    Ok(())
}

fn end(row: &mut JobRow, status: JobStatus, now: Timestamp) {
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
    Err(Error::Status { job, status: row.status, action })
}

// Leasing

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

fn deadline(now: Timestamp, length_us: u64) -> Timestamp {
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

fn give_back(row: &mut JobRow) {
    row.status = JobStatus::Pending;
    row.token_live = false;
}

// Commands under a lease

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

// Findings

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
fn insert_finding(
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
