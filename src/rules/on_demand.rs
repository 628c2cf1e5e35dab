//! Ranges handed out on demand: the next free positions of a prefix become a job.

use std::ops::{Bound, ControlFlow, Range};

use crate::rules::index::{NewJobs, load_job, prefix};
use crate::rules::jobs::insert;
use crate::rules::outcome::Applied;
use crate::schema::access::{parsed, store, undecodable};
use crate::schema::codec;
use crate::schema::key;
use crate::schema::rows::{Control, Number};
use crate::schema::tables;
use crate::storage::{EngineResult, Order, Write};
use crate::time::Timestamp;
use crate::types::command::OnDemand;
use crate::types::{JobId, NewJob};

/// How many jobs one request passes in its search for free positions.
const PASSED: usize = 256;

/// How many neighbours are read together.
const STEP: usize = 16;

/// What was found at the end of the search.
pub(super) enum Next {
    /// A new job over free positions. It waits, and nobody has been told of it.
    Created(JobId),
    /// There may be free positions further on: search again.
    Further,
    /// All positions belong to jobs.
    Nothing,
}

/// Creates a job over the first free positions within a range.
///
/// The row of the prefix notes which positions are known to be covered, so that a search begins
/// where the last one ended. A job that is deleted shortens that.
pub(super) fn create_next(
    txn: &mut dyn Write,
    control: &mut Control,
    now: Timestamp,
    wanted: &[u8],
    on_demand: &OnDemand,
) -> Applied<Next> {
    let within = on_demand.within.clone();
    let (first, known) = prefix(txn, wanted)?.covered;
    let continues = first <= within.start && within.start <= known;
    let (first, from) = if continues { (first, known) } else { (within.start, within.start) };
    let free = first_free(txn, wanted, from..within.end)?;

    let (next, covered) = match free {
        Free::Range(free) => {
            let end = free.start.saturating_add(on_demand.positions).min(free.end);
            let job = NewJob {
                max_attempts: on_demand.max_attempts,
                ..NewJob::new(wanted, free.start..end)
            };
            let mut new = NewJobs::default();
            let id = insert(txn, control, &mut new, now, &job)?;
            // Its job is leased at once: no waiting worker has to know of it.
            new.finish(txn, &mut Vec::new())?;
            (Next::Created(id), end)
        }
        Free::NotUpTo(at) if at < within.end => (Next::Further, at),
        Free::NotUpTo(at) => (Next::Nothing, at),
    };
    let mut sums = prefix(txn, wanted)?;
    if sums.covered != (first, covered) && sums.jobs != [0; 5] {
        sums.covered = (first, covered);
        store(txn, wanted, &sums)?;
    }
    Ok(next)
}

enum Free {
    /// These positions belong to no job.
    Range(Range<u64>),
    /// All positions before this one belong to jobs.
    NotUpTo(u64),
}

/// The first free positions within a range, as far as a bounded search sees.
fn first_free(txn: &dyn Write, prefix: &[u8], within: Range<u64>) -> EngineResult<Free> {
    let mut at = within.start;
    // The job that begins before may reach into the range.
    let (low, here) = (key::of_prefix(prefix), key::job_range(prefix, at));
    let before = (Bound::Included(&low[..]), Bound::Excluded(&here[..]));
    for (_, id) in neighbours(txn, before, Order::Descending, 1)? {
        at = at.max(load_job(txn, id)?.end);
    }
    for _ in 0..PASSED / STEP {
        if at >= within.end {
            return Ok(Free::NotUpTo(at));
        }
        let (from, to) = (key::job_range(prefix, at), key::job_range(prefix, within.end));
        let ahead = (Bound::Included(&from[..]), Bound::Excluded(&to[..]));
        let page = neighbours(txn, ahead, Order::Ascending, STEP)?;
        let is_last = page.len() < STEP;
        for (start, id) in page {
            if start > at {
                return Ok(Free::Range(at..start));
            }
            at = load_job(txn, id)?.end;
        }
        if is_last && at < within.end {
            return Ok(Free::Range(at..within.end));
        }
    }
    Ok(Free::NotUpTo(at))
}

/// The starts and ids of some jobs of a prefix.
fn neighbours(
    txn: &dyn Write,
    range: crate::storage::KeyRange<'_>,
    order: Order,
    most: usize,
) -> EngineResult<Vec<(u64, JobId)>> {
    let mut rows: Vec<(Vec<u8>, Vec<u8>)> = Vec::new();
    txn.scan(tables::JOB_RANGES, range, order, &mut |key, value| {
        rows.push((key.to_vec(), value.to_vec()));
        if rows.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
    })?;
    let mut found = Vec::with_capacity(rows.len());
    for (key, value) in rows {
        let (_, start) = parsed(tables::JOB_RANGES, &key, key::as_job_range)?;
        let Number(number) =
            codec::decode(&value).map_err(|why| undecodable(tables::JOB_RANGES, &key, &why))?;
        found.push((start, JobId(number)));
    }
    Ok(found)
}
