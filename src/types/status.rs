//! The status of a job.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The status of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// It waits for a worker.
    Pending,
    /// A worker holds it.
    Leased,
    /// Every position of it is done.
    Completed,
    /// Its last attempt failed.
    Failed,
    /// It was cancelled.
    Cancelled,
}

impl JobStatus {
    /// All of them, in the order of a job's life.
    pub const ALL: [JobStatus; 5] = [
        JobStatus::Pending,
        JobStatus::Leased,
        JobStatus::Completed,
        JobStatus::Failed,
        JobStatus::Cancelled,
    ];
}

impl fmt::Display for JobStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            JobStatus::Pending => "pending",
            JobStatus::Leased => "leased",
            JobStatus::Completed => "completed",
            JobStatus::Failed => "failed",
            JobStatus::Cancelled => "cancelled",
        })
    }
}
