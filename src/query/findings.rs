//! What jobs found.

use std::collections::HashSet;
use std::ops::Bound;

use serde::{Serialize, Serializer};

use super::{Snapshot, rows};
use crate::error::Result;
use crate::schema::key;
use crate::schema::rows::FindingRow;
use crate::schema::tables::hex;
use crate::storage::KeyRange;
use crate::time::Timestamp;
use crate::types::{JobId, WorkerId};

/// A result that was reported with a checkpoint, or late.
///
/// Key and payload serialize as plain hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Finding {
    /// The job it belongs to.
    pub job: JobId,
    /// Its key, unique within the job.
    #[serde(serialize_with = "as_hex")]
    pub key: Vec<u8>,
    /// What was found.
    #[serde(serialize_with = "as_hex")]
    pub payload: Vec<u8>,
    /// Who found it.
    pub worker: WorkerId,
    /// When it was stored.
    pub found_at: Timestamp,
    /// Whether it was handed in by a worker that no longer held the job.
    pub late: bool,
}

fn as_hex<S: Serializer>(bytes: &[u8], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&hex(bytes))
}

impl Snapshot {
    /// What was found for a job, by key.
    ///
    /// # Errors
    /// What the storage meets.
    pub fn findings_of(&self, job: JobId) -> Result<Vec<Finding>> {
        self.findings_in(key::Under::new(key::job(job)).range(), usize::MAX)
    }

    /// What was found for all jobs, by job and key: at most `limit` of it, from the one behind
    /// `after` on. To turn the page, pass job and key of the last one seen.
    ///
    /// # Errors
    /// What the storage meets.
    pub fn findings(&self, after: Option<(JobId, &[u8])>, limit: usize) -> Result<Vec<Finding>> {
        let after = after.map(|(job, name)| key::finding(job, name));
        let from = after.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        self.findings_in((from, Bound::Unbounded), limit)
    }

    fn findings_in(&self, range: KeyRange<'_>, limit: usize) -> Result<Vec<Finding>> {
        // A deleted job's findings are gone, though some may wait to be removed.
        let deleted: HashSet<JobId> = self.control().deleting.iter().copied().collect();
        self.collect(range, limit, rows::finding, |(job, key), row: FindingRow| {
            let FindingRow { payload, worker, found_at, late } = row;
            (!deleted.contains(&job)).then_some(Finding {
                job,
                key,
                payload,
                worker,
                found_at,
                late,
            })
        })
    }
}
