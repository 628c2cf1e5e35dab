//! Counters that workers keep themselves.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::config::limits;
use crate::error::{Error, Result, check_length};

/// What a worker has counted since it began, for workers that report sums and not single batches:
/// reported by [`Worker::report`](crate::Worker::report), again and again, with ever higher numbers.
/// What was added since the last report counts on the day of the report.
///
/// Numbers begin again at zero with a new session, such as a start of the worker's process. Within
/// one session they only grow, so a report that is lost, repeated or late makes no difference.
///
/// ```
/// use milepost::{Counters, Store};
///
/// let store = Store::in_memory()?;
/// let worker = store.register_worker("pc-01")?;
/// worker.report(&Counters::new("run 1").items(1_000))?;
/// worker.report(&Counters::new("run 1").items(1_500))?;
/// worker.report(&Counters::new("run 2").items(200))?;
/// assert_eq!(store.snapshot()?.lifetime(&worker)?.totals.items, 1_700);
/// # Ok::<(), milepost::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    pub(crate) session: String,
    pub(crate) batches: u64,
    pub(crate) errors: u64,
    pub(crate) items: u128,
    pub(crate) duration_us: u128,
}

impl Counters {
    /// Counters at zero. The name of the session has 1 to 64 bytes.
    #[must_use]
    pub fn new(session: impl Into<String>) -> Counters {
        Counters { session: session.into(), batches: 0, errors: 0, items: 0, duration_us: 0 }
    }

    /// Sets how many batches were done. A report that adds none counts as one.
    #[must_use]
    pub fn batches(mut self, batches: u64) -> Counters {
        self.batches = batches;
        self
    }

    /// Sets how many of them reported an error.
    #[must_use]
    pub fn errors(mut self, errors: u64) -> Counters {
        self.errors = errors;
        self
    }

    /// Sets how many items were handled.
    #[must_use]
    pub fn items(mut self, items: u128) -> Counters {
        self.items = items;
        self
    }

    /// Sets the time spent, in whole microseconds.
    #[must_use]
    pub fn duration(mut self, duration: Duration) -> Counters {
        self.duration_us = duration.as_micros();
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        check_length("session", self.session.len(), 1, limits::SESSION)
    }

    /// What was added since other counters of the same session.
    pub(crate) fn since(&self, last: &Counters) -> Result<Counters> {
        let went_back = || {
            let session = &self.session;
            Error::invalid(format!(
                "the counters of session {session:?} went back: begin another one"
            ))
        };
        Ok(Counters {
            session: self.session.clone(),
            batches: self.batches.checked_sub(last.batches).ok_or_else(went_back)?,
            errors: self.errors.checked_sub(last.errors).ok_or_else(went_back)?,
            items: self.items.checked_sub(last.items).ok_or_else(went_back)?,
            duration_us: self.duration_us.checked_sub(last.duration_us).ok_or_else(went_back)?,
        })
    }
}
