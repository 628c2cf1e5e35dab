//! Leases that expire, and those that are taken back.
//!
//! The lease index lists held jobs by deadline. Its entries may lag behind renewals, by half a
//! lease length at most unless nobody renewed, but never lie behind the true deadline.

use std::ops::{Bound, ControlFlow};
use std::time::Duration;

use crate::rules::index::change;
use crate::rules::index::load_job;
use crate::rules::outcome::{Applied, split_damage, step};
use crate::schema::access::{ALL, parsed, undecodable};
use crate::schema::key;
use crate::schema::rows::{Control, JobRow};
use crate::schema::tables;
use crate::storage::{EngineResult, KeyRange, Order, Read, Write};
use crate::time::Timestamp;
use crate::types::{JobId, JobStatus};

/// How many due entries one request handles.
const DUE: usize = 32;

/// How many entries that cannot be handled are passed over on the way.
const PASSED_OVER: usize = 256;

/// What a step has done.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Expired {
    /// How many jobs it put back in the queue.
    pub(super) jobs: usize,
    /// Whether more leases may be due.
    pub(super) more: bool,
}

/// How far apart stamps may be applied out of order: a command is stamped before it waits for its
/// turn. A clock that goes back by less is not noticed.
const TOLERANCE: Duration = Duration::from_secs(60);

/// When a lease of this length expires unless it is renewed.
pub(super) fn deadline(now: Timestamp, length_us: u64) -> Timestamp {
    now.after(Duration::from_micros(length_us))
}

/// Puts jobs back in the queue whose leases have expired, and moves entries that lag behind a
/// renewal: a few of each.
///
/// An expired lease costs nothing yet: its token stays good until somebody else takes the job.
pub(super) fn expire_due(
    txn: &mut dyn Write,
    control: &mut Control,
    now: Timestamp,
) -> EngineResult<Expired> {
    let last = key::lease(now, JobId(u64::MAX));
    let most = DUE.min(step(txn));
    let mut due = entries(txn, (Bound::Unbounded, Bound::Included(&last)), most + PASSED_OVER)?;
    let (mut handled, mut jobs) = (0, 0);
    due.reverse();
    while let Some((indexed, id)) = due.pop() {
        if handled == most {
            return Ok(Expired { jobs, more: true });
        }
        match split_damage(held_job(txn, indexed, id))? {
            Ok(row) => {
                jobs += usize::from(expire_or_move(txn, control, now, id, row)?);
                handled += 1;
            }
            Err(error) => tracing::error!(job = %id, %error, "a held job is passed over"),
        }
    }
    Ok(Expired { jobs, more: false })
}

/// As [`expire_due`], for one job.
pub(super) fn expire_if_due(
    txn: &mut dyn Write,
    control: &mut Control,
    now: Timestamp,
    id: JobId,
    row: &JobRow,
) -> EngineResult<Expired> {
    let mut jobs = 0;
    if row.status == JobStatus::Leased && row.deadline <= now {
        jobs += usize::from(expire_or_move(txn, control, now, id, row.clone())?);
    }
    Ok(Expired { jobs, more: false })
}

fn expire_or_move(
    txn: &mut dyn Write,
    control: &mut Control,
    now: Timestamp,
    id: JobId,
    mut row: JobRow,
) -> EngineResult<bool> {
    let expired = row.deadline <= now;
    change(txn, control, id, &mut row, |row| {
        if expired {
            row.status = JobStatus::Pending;
        }
    })?;
    Ok(expired)
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
            Err(error) => tracing::error!(%error, "an entry of the lease index is passed over"),
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

/// The first deadline in the index that lies ahead.
pub(super) fn first_deadline_after(
    txn: &(impl Read + ?Sized),
    now: Timestamp,
) -> EngineResult<Option<Timestamp>> {
    let last = key::lease(now, JobId(u64::MAX));
    let ahead = (Bound::Excluded(&last[..]), Bound::Unbounded);
    Ok(entries(txn, ahead, 1)?.first().map(|(deadline, _)| *deadline))
}

// A clock that is set back

/// Remembers that a deadline was set by this time: a minute apart at least, so that it costs
/// nothing.
pub(super) fn note_time(control: &mut Control, now: Timestamp) {
    if now.since(control.latest) >= TOLERANCE {
        control.latest = now;
    }
}

/// Notices that the clock was set back. Deadlines that it set before lie too far ahead then, and
/// would hold jobs until that time comes again: they are brought forward, in steps.
pub(super) fn watch_clock(control: &mut Control, now: Timestamp) {
    if control.latest.since(now) > TOLERANCE {
        tracing::warn!(from = %control.latest, to = %now, "the clock was set back");
        control.latest = now;
        control.repairing = Some((Timestamp::MIN, JobId(0)));
    }
}

/// Takes a step of bringing deadlines forward that lie further ahead than their leases are long.
/// Returns whether more is left to do.
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
                if row.deadline > latest.after(TOLERANCE) {
                    change(txn, control, id, &mut row, |row| row.deadline = latest)?;
                }
            }
            Err(error) => tracing::error!(job = %id, %error, "a held job is passed over"),
        }
    }
    Ok(control.repairing.is_some())
}

// Stale jobs

/// Releases jobs that have seen neither lease nor checkpoint since a time, a step at a time, in the
/// order of the lease index. Returns how many, and where the next step begins.
pub(super) fn release_stale(
    txn: &mut dyn Write,
    control: &mut Control,
    since: Timestamp,
    after: Option<(Timestamp, JobId)>,
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
                released += 1;
            }
            Err(error) => tracing::error!(job = %id, %error, "a held job is passed over"),
        }
    }
    Ok((released, next))
}

pub(super) fn give_back(row: &mut JobRow) {
    row.status = JobStatus::Pending;
    row.token_live = false;
}
