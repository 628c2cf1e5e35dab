//! What a worker did between two checkpoints.

use std::ops::Range;
use std::time::Duration;

use crate::config::limits;
use crate::error::{Result, check_length};
use crate::schema::codec::Encode;

/// A result worth keeping, to be stored under a key that is unique within its job.
#[derive(Debug, Clone, PartialEq, Eq, Encode)]
pub struct NewFinding {
    pub(crate) key: Vec<u8>,
    pub(crate) payload: Vec<u8>,
}

impl NewFinding {
    /// A finding of 1 to 255 bytes of key and up to 64 KiB of payload.
    #[must_use]
    pub fn new(key: impl Into<Vec<u8>>, payload: impl Into<Vec<u8>>) -> NewFinding {
        NewFinding { key: key.into(), payload: payload.into() }
    }

    pub(crate) fn check(&self) -> Result<()> {
        check_length("finding key", self.key.len(), 1, limits::FINDING_KEY)?;
        check_length("finding payload", self.payload.len(), 0, limits::FINDING_PAYLOAD)
    }
}

/// What a worker did between two checkpoints.
///
/// ```
/// use milepost::Batch;
/// use std::time::Duration;
///
/// let plain = Batch::of(&(0..1_000), Duration::from_millis(20));
/// let eventful = Batch::of(&(0..1_000), Duration::from_millis(20))
///     .items(990)
///     .error("10 rows had no date")
///     .finding(b"row-17", b"payload");
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Encode)]
pub struct Batch {
    pub(crate) items: u64,
    pub(crate) duration_us: u64,
    pub(crate) error: Option<String>,
    pub(crate) findings: Vec<NewFinding>,
}

impl Batch {
    /// A batch over the positions of `range` that took `duration`, with one item a position.
    ///
    /// The duration is kept in whole microseconds. A batch of no duration has no rate.
    #[must_use]
    pub fn of(range: &Range<u64>, duration: Duration) -> Batch {
        Batch {
            items: range.end.saturating_sub(range.start),
            duration_us: u64::try_from(duration.as_micros()).unwrap_or(u64::MAX),
            error: None,
            findings: Vec::new(),
        }
    }

    /// Sets how many items were handled, where that is not the number of positions.
    #[must_use]
    pub fn items(mut self, items: u64) -> Batch {
        self.items = items;
        self
    }

    /// Sets how long the batch took, where that is known only at its end.
    #[must_use]
    pub fn took(mut self, duration: Duration) -> Batch {
        self.duration_us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        self
    }

    /// Notes that something went wrong, although the batch is done. Of a longer text the first
    /// 512 bytes are kept.
    #[must_use]
    pub fn error(mut self, error: impl Into<String>) -> Batch {
        self.error = Some(short(error.into()));
        self
    }

    /// Adds a finding, stored in the same transaction as the checkpoint. If the job already has
    /// a finding under this key, the first one stays.
    #[must_use]
    pub fn finding(mut self, key: impl Into<Vec<u8>>, payload: impl Into<Vec<u8>>) -> Batch {
        self.findings.push(NewFinding::new(key, payload));
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        if let Some(error) = &self.error {
            check_length("batch error", error.len(), 0, limits::ERROR)?;
        }
        check_length("list of findings", self.findings.len(), 0, limits::FINDINGS)?;
        self.findings.iter().try_for_each(NewFinding::check)
    }
}

/// Cuts an error text to the length that is kept, between characters.
pub(crate) fn short(mut text: String) -> String {
    let mut end = text.len().min(limits::ERROR);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    text.truncate(end);
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_long_error_is_cut_between_characters() {
        let batch = Batch::of(&(0..1), Duration::ZERO).error("é".repeat(400));
        assert_eq!(batch.error.as_ref().map(String::len), Some(512));

        let odd = Batch::of(&(0..1), Duration::ZERO).error(format!("x{}", "é".repeat(400)));
        assert_eq!(odd.error.as_ref().map(String::len), Some(511));
        assert!(odd.check().is_ok());
    }
}
