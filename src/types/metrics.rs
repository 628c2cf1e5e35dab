//! Counters of a store.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::types::as_text;

/// What a store has done since it was opened, for export to a monitoring system. Returned by
/// [`Store::metrics`](crate::Store::metrics), which costs about a microsecond.
///
/// Everything counts up from zero, save [`queued`](Metrics::queued) and
/// [`waiting_workers`](Metrics::waiting_workers), which are as of now.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Metrics {
    /// Groups of commands that were committed together.
    pub groups: u64,
    /// Commands in these groups, refused ones included: `commands / groups` is the mean size of a
    /// group.
    pub commands: u64,
    /// The most commands in one group.
    pub largest_group: u64,
    /// Time spent applying and committing groups, with their syncs. It serializes as
    /// `commit_time_us`, in microseconds.
    #[serde(rename = "commit_time_us", with = "as_text::micros")]
    pub commit_time: Duration,
    /// The longest time that one group took. It serializes as `longest_commit_us`, in microseconds.
    #[serde(rename = "longest_commit_us", with = "as_text::micros")]
    pub longest_commit: Duration,
    /// Groups of which the storage failed.
    pub failed_groups: u64,
    /// Commands that were refused, by the name of the error: see
    /// [`Error::name`](crate::Error::name).
    pub refused: BTreeMap<String, u64>,
    /// How often the storage was reopened.
    pub reopened: u64,
    /// Callers whose commands wait for a commit.
    pub queued: u64,
    /// Workers that wait for a job.
    pub waiting_workers: u64,
}
