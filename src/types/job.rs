//! Jobs as they are created.

use std::ops::Range;

use crate::config::limits;
use crate::error::{Error, Result, check_length};

/// A job to be created: a prefix and a half-open range of positions.
#[derive(Debug, Clone, PartialEq, Eq)]
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

    /// Marks the job as [`JobStatus::Failed`](crate::JobStatus::Failed) once this many attempts in
    /// a row have failed. By default there is no limit. An attempt fails when a lease ends without
    /// having moved the cursor: by [`Lease::fail`], by a panic of its holder, or by expiry once
    /// another worker takes the job.
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
