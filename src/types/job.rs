//! Jobs as they are created, and what becomes of them.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::config::limits;
use crate::error::{Error, Result, check_length};
use crate::schema::codec::{Decode, Encode};

/// A job to be created: a prefix and a half-open range of positions.
#[derive(Debug, Clone, PartialEq, Eq, Encode)]
pub struct NewJob {
    pub(crate) prefix: Vec<u8>,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) priority: i32,
    pub(crate) max_attempts: Option<u32>,
}

impl NewJob {
    /// A job over the positions `range` of `prefix`, with priority 0 and any number of attempts.
    #[must_use]
    pub fn new(prefix: impl Into<Vec<u8>>, range: Range<u64>) -> NewJob {
        NewJob {
            prefix: prefix.into(),
            start: range.start,
            end: range.end,
            priority: 0,
            max_attempts: None,
        }
    }

    /// Sets the priority: higher ones are leased first. The default is 0.
    #[must_use]
    pub fn priority(mut self, priority: i32) -> NewJob {
        self.priority = priority;
        self
    }

    /// Gives the job up as [`JobStatus::Failed`] once this many attempts have failed. By default
    /// it is tried for ever. A failed attempt is a call of [`Lease::fail`] or a lease that lapsed.
    ///
    /// [`Lease::fail`]: crate::Lease::fail
    #[must_use]
    pub fn max_attempts(mut self, attempts: u32) -> NewJob {
        self.max_attempts = Some(attempts);
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        check_length("prefix", self.prefix.len(), 1, limits::PREFIX)?;
        if self.start >= self.end {
            return Err(Error::EmptyRange { start: self.start, end: self.end });
        }
        if self.max_attempts == Some(0) {
            return Err(Error::invalid("a job needs at least one attempt: max_attempts is 0"));
        }
        Ok(())
    }
}

/// What became of a job so far.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode,
)]
#[serde(rename_all = "snake_case")]
pub enum JobStatus {
    /// It waits for a worker.
    Pending,
    /// A worker holds it.
    Leased,
    /// Every position of it is done.
    Completed,
    /// It was given up after its last attempt.
    Failed,
    /// It was called off.
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
