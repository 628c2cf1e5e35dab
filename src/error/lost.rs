//! What becomes of leases.

use std::fmt;

use serde::{Deserialize, Serialize};

/// What became of a lease that is no longer held.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Lost {
    /// The job was leased again under a later token, or this token was never issued.
    Superseded,
    /// The lease was released, by its holder or by `release_stale`.
    Released,
    /// The job was completed.
    Completed,
    /// The job was given up after its last attempt.
    Failed,
    /// The job was cancelled.
    Cancelled,
    /// This handle already ended its lease.
    Ended,
}

impl fmt::Display for Lost {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Lost::Superseded => "the job was leased again under a newer token",
            Lost::Released => "the lease was released",
            Lost::Completed => "the job is completed",
            Lost::Failed => "the job has failed",
            Lost::Cancelled => "the job was cancelled",
            Lost::Ended => "this handle already ended its lease",
        })
    }
}
