//! Leases that expire, deadlines after the clock was set back, and release of stale jobs.
//!
//! The lease index lists leased jobs by deadline. A renewal may leave the entry of its job as it
//! is, so the deadline of an entry may be earlier than the true one, but is never later.

use std::ops::{Bound, ControlFlow};
use std::time::Duration;

use crate::rules::index::{announce_return, change, load_job};
use crate::rules::outcome::{Applied, split_damage, step};
use crate::schema::access::{ALL, parsed, undecodable};
use crate::schema::key;
use crate::schema::rows::{Control, JobRow};
use crate::schema::tables;
use crate::storage::{EngineResult, KeyRange, Order, Read, Write};
use crate::time::Timestamp;
use crate::types::command::Event;
use crate::types::{JobId, JobStatus};

/// How many due entries one request handles.
const DUE: usize = 32;

/// How many entries that cannot be handled one request skips.
const PASSED_OVER: usize = 256;

/// How far back the time of a command may lie from that of the one before without the clock
/// counting as set back. Commands get their time before they wait in line, so they can be applied
/// out of order.
const TOLERANCE: Duration = Duration::from_secs(60);

/// When a lease of this length expires unless it is renewed.
pub(super) fn deadline(now: Timestamp, length_us: u64) -> Timestamp {
    now.saturating_add(Duration::from_micros(length_us))
}

/// Returns jobs whose leases have expired to the queue, and updates index entries that an earlier
/// renewal left unchanged: a bounded number of each. Returns whether more may be due.
///
/// This does not yet end the lease: its token stays valid until another lease of the job is
/// granted.
pub(super) fn expire_due(
    txn: &mut dyn Write,
    control: &mut Control,
    now: Timestamp,
    events: &mut Vec<Event>,
) -> EngineResult<bool> {
    let last = key::lease(now, JobId(u64::MAX));
    let most = DUE.min(step(txn));
    let mut due = entries(txn, (Bound::Unbounded, Bound::Included(&last)), most + PASSED_OVER)?;
    let mut handled = 0;
    due.reverse();
    while let Some((indexed, id)) = due.pop() {
        if handled == most {
            return Ok(true);
        }
        match split_damage(held_job(txn, indexed, id))? {
            Ok(row) => {
                expire_or_move(txn, control, now, id, row, events)?;
                handled += 1;
            }
            Err(error) => tracing::error!(job = %id, %error, "skipping a leased job"),
        }
    }
    Ok(false)
}

/// Returns one job to the queue if its lease has expired.
pub(super) fn expire_if_due(
    txn: &mut dyn Write,
    control: &mut Control,
    now: Timestamp,
    id: JobId,
    row: &JobRow,
    events: &mut Vec<Event>,
) -> EngineResult<()> {
    if row.status == JobStatus::Leased && row.deadline <= now {
        expire_or_move(txn, control, now, id, row.clone(), events)?;
    }
    Ok(())
}

fn expire_or_move(
    txn: &mut dyn Write,
    control: &mut Control,
    now: Timestamp,
    id: JobId,
    mut row: JobRow,
    events: &mut Vec<Event>,
) -> EngineResult<()> {
    let expired = row.deadline <= now;
    change(txn, control, id, &mut row, |row| {
        if expired {
            row.status = JobStatus::Pending;
        }
    })?;
    if expired {
        announce_return(id, &row, events);
    }
    Ok(())
}

/// The first entries of a range of the lease index.
fn entries(
    txn: &(impl Read + ?Sized),
    range: KeyRange<'_>,
    most: usize,
) -> EngineResult<Vec<(Timestamp, JobId)>> {
    let mut entries = Vec::new();
    txn.scan(tables::JOB_LEASES, range, Order::Ascending, &mut |key, _| {
        match parsed(tables::JOB_LEASES, key, key::as_lease) {
            Ok(entry) => entries.push(entry),
            Err(error) => tracing::error!(%error, "skipping an entry of the lease index"),
        }
        if entries.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    Ok(entries)
}

/// A job that the lease index lists.
fn held_job(txn: &dyn Write, indexed: Timestamp, id: JobId) -> EngineResult<JobRow> {
    let row = load_job(txn, id)?;
    if row.status != JobStatus::Leased || row.indexed != indexed {
        let why = "its job is not held under this deadline";
        return Err(undecodable(tables::JOB_LEASES, &key::lease(indexed, id), why));
    }
    Ok(row)
}

/// The first deadline in the index that is later than `now`.
pub(super) fn first_deadline_after(
    txn: &(impl Read + ?Sized),
    now: Timestamp,
) -> EngineResult<Option<Timestamp>> {
    let last = key::lease(now, JobId(u64::MAX));
    let ahead = (Bound::Excluded(&last[..]), Bound::Unbounded);
    Ok(entries(txn, ahead, 1)?.first().map(|(deadline, _)| *deadline))
}

// A clock that is set back

/// Records the latest time at which a deadline was set, at most once a minute, so that the control
/// row is rarely written.
pub(super) fn note_time(control: &mut Control, now: Timestamp) {
    if now.saturating_duration_since(control.latest) >= TOLERANCE {
        control.latest = now;
    }
}

/// Detects that the clock was set back. Deadlines that were set before are then too far in the
/// future and would keep their jobs leased too long, so later steps shorten them.
pub(super) fn watch_clock(control: &mut Control, now: Timestamp) {
    if control.latest.saturating_duration_since(now) > TOLERANCE {
        tracing::warn!(from = %control.latest, to = %now, "the clock was set back");
        control.latest = now;
        control.repairing = Some((Timestamp::MIN, JobId(0)));
    }
}

/// Shortens a bounded number of deadlines that are further in the future than their leases are
/// long. Returns whether more are left.
pub(super) fn repair_deadlines(
    txn: &mut dyn Write,
    control: &mut Control,
    now: Timestamp,
) -> EngineResult<bool> {
    let Some((after, job)) = control.repairing else { return Ok(false) };
    let most = step(txn);
    let from = key::lease(after, job);
    let page = entries(txn, (Bound::Excluded(&from), Bound::Unbounded), most)?;
    control.repairing = if page.len() == most { page.last().copied() } else { None };
    for (indexed, id) in page {
        match split_damage(held_job(txn, indexed, id))? {
            Ok(mut row) => {
                let latest = deadline(now, row.length_us);
                if row.deadline > latest.saturating_add(TOLERANCE) {
                    change(txn, control, id, &mut row, |row| row.deadline = latest)?;
                }
            }
            Err(error) => tracing::error!(job = %id, %error, "skipping a leased job"),
        }
    }
    Ok(control.repairing.is_some())
}

// Stale jobs

/// Releases a bounded number of jobs that had neither a lease nor a checkpoint since a time, in the
/// order of the lease index. Returns how many, and where the next step begins.
pub(super) fn release_stale(
    txn: &mut dyn Write,
    control: &mut Control,
    since: Timestamp,
    after: Option<(Timestamp, JobId)>,
    events: &mut Vec<Event>,
) -> Applied<(u64, Option<(Timestamp, JobId)>)> {
    let most = step(txn);
    let from = after.map(|(deadline, job)| key::lease(deadline, job));
    let range = match &from {
        Some(key) => (Bound::Excluded(&key[..]), Bound::Unbounded),
        None => ALL,
    };
    let page = entries(txn, range, most)?;
    let next = if page.len() == most { page.last().copied() } else { None };
    let mut released = 0;
    for (indexed, id) in page {
        match split_damage(held_job(txn, indexed, id))? {
            Ok(row) if row.leased_at.max(row.checkpoint_at).is_some_and(|last| last >= since) => {}
            Ok(mut row) => {
                change(txn, control, id, &mut row, give_back)?;
                announce_return(id, &row, events);
                released += 1;
            }
            Err(error) => tracing::error!(job = %id, %error, "skipping a leased job"),
        }
    }
    Ok((released, next))
}

pub(super) fn give_back(row: &mut JobRow) {
    row.status = JobStatus::Pending;
    row.token_live = false;
}
