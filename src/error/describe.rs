//! The texts of errors that have to look at their fields.

use super::lost::Lost;
use crate::time::Timestamp;
use crate::types::ids::{JobId, WorkerId};

/// What became of a lease, by whom and since when.
pub(super) fn describe_loss(
    why: Lost,
    holder: Option<WorkerId>,
    since: Option<Timestamp>,
) -> String {
    let holder = holder.map(|worker| format!(" to worker {worker}")).unwrap_or_default();
    let since = since.map(|at| format!(" at {at}")).unwrap_or_default();
    match why {
        Lost::Superseded => format!("it was leased again{holder}{since}"),
        _ => format!("{why}{since}"),
    }
}

/// What is wrong with the length of something.
pub(super) fn describe_length(what: &str, length: usize, min: usize, max: usize) -> String {
    if length == 0 && min > 0 {
        return format!("the {what} is empty");
    }
    format!("the {what} has a length of {length}, over the limit of {max}")
}

/// Whose range another one overlaps.
pub(super) fn describe_owner(job: Option<JobId>) -> String {
    job.map_or("another job of the same call".into(), |job| {
        format!("job {job} with the same prefix")
    })
}

/// What is wrong with a checkpoint from one position to another.
pub(super) fn describe_mismatch(from: u64, to: u64, cursor: u64, end: u64) -> String {
    if to > end {
        format!("to {to} lies past the end of its range, {end}")
    } else if from != cursor {
        format!("starts at {from}, but its cursor is at {cursor}")
    } else {
        format!("to {to} does not move its cursor forward from {cursor}")
    }
}
