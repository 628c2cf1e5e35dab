//! The status of a job.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The status of a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
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
    pub(crate) const ALL: [JobStatus; 5] = [
        JobStatus::Pending,
        JobStatus::Leased,
        JobStatus::Completed,
        JobStatus::Failed,
        JobStatus::Cancelled,
    ];

    /// All of them, in the order of a job's life.
    #[must_use]
    pub fn all() -> &'static [JobStatus] {
        &JobStatus::ALL
    }
}

impl FromStr for JobStatus {
    type Err = ParseStatusError;

    fn from_str(text: &str) -> Result<JobStatus, ParseStatusError> {
        let status = JobStatus::ALL.into_iter().find(|status| status.to_string() == text);
        status.ok_or(ParseStatusError(()))
    }
}

/// A text is not the name of a status of jobs.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the statuses of jobs are pending, leased, completed, failed and cancelled")]
pub struct ParseStatusError(());

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
