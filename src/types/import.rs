//! Imports of records from other systems.

use serde::{Deserialize, Serialize};

use crate::config::limits;
use crate::error::{Error, Result, check_length};
use crate::time::{Day, Month, Timestamp};
use crate::types::{PastBatch, Totals, WorkerId};

/// Records to be added to the tiers in one transaction: for backfills, migrations and logs of other
/// systems.
///
/// A history record counts as a live batch. A daily record is added to its day, its month and the
/// lifetime; a monthly one to its month and the lifetime; a lifetime one to the lifetime. The caps
/// are enforced in the same transaction.
///
/// # Repeating an import
///
/// An import is identified by its source and its number. The source names where the records come
/// from, such as a file or a log; the number grows from one import of the source to the next, as
/// the offsets of a log do. The store keeps the last number of each source, so an import is
/// applied once, however long ago that was:
///
/// | number | what happens |
/// |---|---|
/// | the first of its source, or above its last one | applied; gaps are allowed |
/// | the last one, with the same records | nothing: [`ImportOutcome::AlreadyApplied`] |
/// | the last one, with other records | refused: [`Error::ImportAltered`] |
/// | below the last one | nothing: [`ImportOutcome::AlreadyApplied`], whatever the records are |
///
/// So send the imports of one source in ascending order. Programs that import at the same time need
/// a source each. After a restart, continue after
/// [`Snapshot::last_import`](crate::Snapshot::last_import).
///
/// # Limits
///
/// Each source is a row that is never removed, like a worker's. Use few of them, and new numbers
/// rather than new sources.
///
/// The totals of all imports of a store may add up to 2^63 - 1 batches, 2^127 - 1 items and 2^127 - 1
/// microseconds, so that no sum over all workers can overflow.
///
/// ```
/// use milepost::{Import, ImportOutcome, Store, Totals};
///
/// let store = Store::in_memory()?;
/// let worker = store.register_worker("pc-01")?;
/// let month = Totals::new(40, 4_000_000);
/// let import = Import::new("old-server", 7).monthly(worker.id(), "2026-01".parse()?, month);
///
/// assert_eq!(store.import(import.clone())?, ImportOutcome::Applied);
/// assert_eq!(store.import(import)?, ImportOutcome::AlreadyApplied);
/// assert_eq!(store.snapshot()?.last_import("old-server")?, Some(7));
/// # Ok::<(), milepost::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Import {
    pub(crate) source: String,
    pub(crate) number: u64,
    pub(crate) records: Vec<ImportRecord>,
}

/// The result of an import.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum ImportOutcome {
    /// Its records were added.
    Applied,
    /// Nothing was added: the store has an import of the source with this number or a higher one.
    AlreadyApplied,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum ImportRecord {
    History(PastBatch),
    Daily(WorkerId, Day, Totals),
    Monthly(WorkerId, Month, Totals),
    Lifetime(WorkerId, Totals),
}

impl Import {
    /// An empty import. The name of the source has 1 to 64 bytes; `number` grows from one import of
    /// the source to the next.
    #[must_use]
    pub fn new(source: impl Into<String>, number: u64) -> Import {
        Import { source: source.into(), number, records: Vec::new() }
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
        check_length("import source", self.source.len(), 1, limits::IMPORT_SOURCE)?;
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

    /// The totals of a record that does not stand for a single batch.
    pub(crate) fn totals(&self) -> Option<&Totals> {
        match self {
            ImportRecord::History(_) => None,
            ImportRecord::Daily(_, _, totals)
            | ImportRecord::Monthly(_, _, totals)
            | ImportRecord::Lifetime(_, totals) => Some(totals),
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

/// Rejects totals that are not the sum of any batches.
fn check_totals(totals: &Totals, within: impl Fn(Timestamp) -> bool, period: &str) -> Result<()> {
    let rates = [totals.min_rate, totals.max_rate];
    let times = [totals.first_at, totals.last_at];
    let wrong = if totals.batches == 0 {
        "hold no batch"
    } else if totals.errors > totals.batches {
        "have more errors than batches"
    } else if totals.completed > totals.batches {
        "completed more jobs than they have batches"
    } else if rates[0].is_some() != rates[1].is_some() || rates[0] > rates[1] {
        "have a lowest rate above the highest"
    } else if rates.iter().flatten().any(|rate| !rate.is_finite() || *rate < 0.0) {
        "have a rate that is not a number"
    } else if times[0].is_some() != times[1].is_some() || times[0] > times[1] {
        "have a first time after the last"
    } else if !times.into_iter().flatten().all(within) {
        "have a time outside their period"
    } else {
        return Ok(());
    };
    Err(Error::invalid(format!("the totals imported for {period} {wrong}")))
}
