//! Jobs as they are created.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::config::limits;
use crate::error::{Error, Result, check_length};
use crate::types::Prefix;

/// A job to be created: a prefix and a half-open range of positions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewJob {
    pub(crate) prefix: Prefix,
    pub(crate) start: u64,
    pub(crate) end: u64,
    pub(crate) priority: i32,
    pub(crate) max_attempts: Option<u32>,
    pub(crate) cursor: Option<u64>,
}

impl NewJob {
    /// A job over the positions `range` of `prefix`, with priority 0 and any number of attempts.
    #[must_use]
    pub fn new(prefix: impl Into<Prefix>, range: Range<u64>) -> NewJob {
        NewJob {
            prefix: prefix.into(),
            start: range.start,
            end: range.end,
            priority: 0,
            max_attempts: None,
            cursor: None,
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

    /// Marks the positions before this one as done elsewhere, as for a migration. At the end of the
    /// range, the job is created as completed.
    #[must_use]
    pub fn cursor(mut self, cursor: u64) -> NewJob {
        self.cursor = Some(cursor);
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        check_length("prefix", self.prefix.len(), 1, limits::PREFIX)?;
        if self.start >= self.end {
            return Err(Error::EmptyRange { start: self.start, end: self.end });
        }
        if let Some(cursor) = self.cursor
            && !(self.start..=self.end).contains(&cursor)
        {
            let (start, end) = (self.start, self.end);
            let why = format!("a cursor at {cursor} does not lie within the range {start}..{end}");
            return Err(Error::invalid(why));
        }
        if self.max_attempts == Some(0) {
            return Err(Error::invalid("a job needs at least one attempt: max_attempts is 0"));
        }
        Ok(())
    }
}
