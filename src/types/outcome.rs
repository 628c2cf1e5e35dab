//! What became of a call.

use serde::{Deserialize, Serialize};

use crate::types::JobId;

/// What a checkpoint did.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CheckpointOutcome {
    /// Where the cursor is now.
    pub cursor: u64,
    /// Whether the job is completed, and the lease with it ended.
    pub completed: bool,
    /// Whether the worker should take no further job once it has ended this one.
    pub draining: bool,
}

/// What a batch did to its job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum BatchOutcome {
    /// Its positions are done.
    #[default]
    Done,
    /// Its positions are done, and with them the job.
    Completed,
    /// The attempt failed: its positions are to be done again.
    Failed,
}

/// What became of a job whose attempt failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FailOutcome {
    /// It waits for another attempt.
    Requeued {
        /// How many attempts in a row have failed. A lease that moved the cursor is not one of them.
        attempts: u32,
    },
    /// That was its last attempt: it is [`Failed`](crate::JobStatus::Failed).
    Failed {
        /// How many attempts in a row have failed.
        attempts: u32,
    },
}

impl FailOutcome {
    /// Whether that was the job's last attempt.
    #[must_use]
    pub fn is_failed(self) -> bool {
        matches!(self, FailOutcome::Failed { .. })
    }
}

/// What became of a finding.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FindingOutcome {
    /// It was stored.
    Stored,
    /// A finding under this key is stored already, and stays as it is.
    AlreadyStored,
}

/// A job that was looked for by its prefix and range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum FindOrCreateOutcome {
    /// It was there, with this id.
    Found(JobId),
    /// It was created, with this id.
    Created(JobId),
}

impl FindOrCreateOutcome {
    /// The id of the job.
    #[must_use]
    pub fn id(self) -> JobId {
        match self {
            FindOrCreateOutcome::Found(id) | FindOrCreateOutcome::Created(id) => id,
        }
    }

    /// Whether it was created by this call.
    #[must_use]
    pub fn is_created(self) -> bool {
        matches!(self, FindOrCreateOutcome::Created(_))
    }
}
