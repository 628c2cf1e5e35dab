//! Records from elsewhere.

use crate::config::limits;
use crate::error::{Error, Result, check_length};
use crate::time::{Day, Month, Timestamp};
use crate::types::{JobId, Totals, WorkerId};

/// Records from elsewhere, to be taken into the tiers in one transaction: for backfills and tests.
///
/// The id makes it safe to repeat: an import whose id is among the last 1,024 adds nothing.
///
/// A history record counts as a live batch. A daily record is added to its day, its month and the
/// lifetime; a monthly one to its month and the lifetime; a lifetime one to the lifetime. The caps
/// are enforced in the same transaction.
#[derive(Debug, Clone, PartialEq)]
pub struct Import {
    pub(crate) id: String,
    pub(crate) records: Vec<ImportRecord>,
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) enum ImportRecord {
    History(PastBatch),
    Daily(WorkerId, Day, Totals),
    Monthly(WorkerId, Month, Totals),
    Lifetime(WorkerId, Totals),
}

/// A batch that was done elsewhere, or earlier.
#[derive(Debug, Clone, PartialEq)]
pub struct PastBatch {
    /// Who did it.
    pub worker: WorkerId,
    /// The job it belonged to, if there is one here.
    pub job: Option<JobId>,
    /// First position covered.
    pub start: u64,
    /// One past the last position covered.
    pub end: u64,
    /// Items handled.
    pub items: u64,
    /// Time it took, in microseconds.
    pub duration_us: u64,
    /// When it was finished.
    pub finished_at: Timestamp,
    /// What went wrong, if anything did.
    pub error: Option<String>,
}

impl Import {
    /// An empty import under an id of 1 to 64 bytes, chosen by the caller.
    #[must_use]
    pub fn new(id: impl Into<String>) -> Import {
        Import { id: id.into(), records: Vec::new() }
    }

    /// Adds one batch to history.
    #[must_use]
    pub fn history(mut self, batch: PastBatch) -> Import {
        self.records.push(ImportRecord::History(batch));
        self
    }

    /// Adds totals to a worker's day.
    #[must_use]
    pub fn daily(mut self, worker: WorkerId, day: Day, totals: Totals) -> Import {
        self.records.push(ImportRecord::Daily(worker, day, totals));
        self
    }

    /// Adds totals to a worker's month.
    #[must_use]
    pub fn monthly(mut self, worker: WorkerId, month: Month, totals: Totals) -> Import {
        self.records.push(ImportRecord::Monthly(worker, month, totals));
        self
    }

    /// Adds totals to a worker's lifetime.
    #[must_use]
    pub fn lifetime(mut self, worker: WorkerId, totals: Totals) -> Import {
        self.records.push(ImportRecord::Lifetime(worker, totals));
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        check_length("import id", self.id.len(), 1, limits::IMPORT_ID)?;
        self.records.iter().try_for_each(ImportRecord::check)
    }
}

impl ImportRecord {
    pub(crate) fn worker(&self) -> WorkerId {
        match self {
            ImportRecord::History(batch) => batch.worker,
            ImportRecord::Daily(worker, ..)
            | ImportRecord::Monthly(worker, ..)
            | ImportRecord::Lifetime(worker, ..) => *worker,
        }
    }

    fn check(&self) -> Result<()> {
        match self {
            ImportRecord::History(batch) => {
                if batch.start > batch.end {
                    return Err(Error::EmptyRange { start: batch.start, end: batch.end });
                }
                check_length(
                    "batch error",
                    batch.error.as_ref().map_or(0, String::len),
                    0,
                    limits::ERROR,
                )
            }
            ImportRecord::Daily(_, day, totals) => {
                check_totals(totals, |at| at.day() == *day, &format!("the day {day}"))
            }
            ImportRecord::Monthly(_, month, totals) => {
                check_totals(totals, |at| at.day().month() == *month, &format!("the month {month}"))
            }
            ImportRecord::Lifetime(_, totals) => check_totals(totals, |_| true, "the lifetime"),
        }
    }
}

/// Refuses totals that no batches could add up to.
fn check_totals(totals: &Totals, within: impl Fn(Timestamp) -> bool, period: &str) -> Result<()> {
    let rates = [totals.min_rate, totals.max_rate];
    let times = [totals.first_at, totals.last_at];
    let wrong = if totals.batches == 0 {
        "hold no batch"
    } else if totals.errors > totals.batches {
        "have more errors than batches"
    } else if rates[0].is_some() != rates[1].is_some() || rates[0] > rates[1] {
        "have a lowest rate above the highest"
    } else if rates.iter().flatten().any(|rate| !rate.is_finite() || *rate < 0.0) {
        "have a rate that is no number"
    } else if times[0].is_some() != times[1].is_some() || times[0] > times[1] {
        "have a first time after the last"
    } else if !times.into_iter().flatten().all(within) {
        "have a time outside their period"
    } else {
        return Ok(());
    };
    Err(Error::invalid(format!("the totals imported for {period} {wrong}")))
}
