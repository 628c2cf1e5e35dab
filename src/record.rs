//! The words of the store: ids, jobs, batches, findings and totals.

use std::fmt;
use std::ops::{Deref, Range};
use std::time::Duration;

use serde::{Deserialize, Serialize, Serializer};

use crate::codec::{Decode, Encode};
use crate::config::limits;
use crate::error::{Error, Result, check_length};
use crate::time::{Day, Month, Timestamp};

/// Defines a number that names one kind of thing and cannot be mistaken for another.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, Encode, Decode,
        )]
        #[serde(transparent)]
        pub struct $name(pub(crate) $inner);

        impl $name {
            /// The number itself.
            #[must_use]
            pub fn number(self) -> $inner {
                self.0
            }

            /// The id with this number, as once told by [`number`](Self::number). Whether the
            /// store knows it shows when it is used.
            #[must_use]
            pub fn from_number(number: $inner) -> Self {
                Self(number)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number! {
    /// Names one job. Numbers grow with age and are never given out twice.
    JobId(u64)
}
number! {
    /// Names one worker.
    WorkerId(u32)
}
number! {
    /// Fences one lease of one job: it grows by one with each new lease of that job.
    Token(u64)
}

/// The bytes that say which key space (or site, or table) a job belongs to.
///
/// It displays and serializes as its text where that is plain ASCII, and as `0x` and hexadecimal
/// digits otherwise.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(pub(crate) Vec<u8>);

impl Deref for Prefix {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(&self.0) {
            Ok(text) if self.0.iter().all(u8::is_ascii_graphic) && !text.starts_with("0x") => {
                f.pad(text)
            }
            _ => {
                f.write_str("0x")?;
                self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}

impl Serialize for Prefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

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

/// Exact sums over batches. Averages are never kept: they are taken when read.
///
/// `merge` is associative and commutative, and `Totals::default()` changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// How many batches.
    pub batches: u64,
    /// How many of them reported an error.
    pub errors: u64,
    /// Items handled.
    pub items: u128,
    /// Time spent, in microseconds.
    pub duration_us: u128,
    /// The lowest rate of a batch, in items per second; `None` if none had a duration.
    pub min_rate: Option<f64>,
    /// The highest rate of a batch, in items per second; `None` if none had a duration.
    pub max_rate: Option<f64>,
    /// When the earliest batch finished.
    pub first_at: Option<Timestamp>,
    /// When the latest batch finished.
    pub last_at: Option<Timestamp>,
}

impl Totals {
    /// The totals of one batch.
    pub(crate) fn of_batch(
        items: u64,
        duration_us: u64,
        failed: bool,
        finished_at: Timestamp,
    ) -> Totals {
        let rate = rate(u128::from(items), u128::from(duration_us));
        Totals {
            batches: 1,
            errors: u64::from(failed),
            items: items.into(),
            duration_us: duration_us.into(),
            min_rate: rate,
            max_rate: rate,
            first_at: Some(finished_at),
            last_at: Some(finished_at),
        }
    }

    /// Adds other totals to these.
    pub fn merge(&mut self, other: &Totals) {
        // Saturation is out of reach: what comes in is bounded, and imports are checked.
        self.batches = self.batches.saturating_add(other.batches);
        self.errors = self.errors.saturating_add(other.errors);
        self.items = self.items.saturating_add(other.items);
        self.duration_us = self.duration_us.saturating_add(other.duration_us);
        self.min_rate = either(self.min_rate, other.min_rate, f64::min);
        self.max_rate = either(self.max_rate, other.max_rate, f64::max);
        self.first_at = either(self.first_at, other.first_at, Ord::min);
        self.last_at = either(self.last_at, other.last_at, Ord::max);
    }

    /// The average rate in items per second: all items over all time. `None` without time.
    #[must_use]
    pub fn rate(&self) -> Option<f64> {
        rate(self.items, self.duration_us)
    }

    /// The average duration of a batch; `None` without batches.
    #[must_use]
    pub fn mean_duration(&self) -> Option<Duration> {
        let micros = self.duration_us.checked_div(u128::from(self.batches))?;
        Some(Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)))
    }

    /// Whether nothing was added up here.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Totals::default()
    }
}

impl Extend<Totals> for Totals {
    fn extend<I: IntoIterator<Item = Totals>>(&mut self, others: I) {
        others.into_iter().for_each(|other| self.merge(&other));
    }
}

impl FromIterator<Totals> for Totals {
    fn from_iter<I: IntoIterator<Item = Totals>>(others: I) -> Totals {
        let mut sum = Totals::default();
        sum.extend(others);
        sum
    }
}

fn either<T>(a: Option<T>, b: Option<T>, choose: impl Fn(T, T) -> T) -> Option<T> {
    match (a, b) {
        (Some(a), Some(b)) => Some(choose(a, b)),
        (a, b) => a.or(b),
    }
}

fn rate(items: u128, duration_us: u128) -> Option<f64> {
    (duration_us > 0).then(|| items as f64 * 1e6 / duration_us as f64)
}

/// Records from elsewhere, to be taken into the tiers in one transaction: for backfills and tests.
///
/// The id makes it safe to repeat: an import whose id is among the last 1,024 adds nothing.
///
/// A history record counts as a live batch. A daily record is added to its day, its month and the
/// lifetime; a monthly one to its month and the lifetime; a lifetime one to the lifetime. The caps
/// are enforced in the same transaction.
#[derive(Debug, Clone, PartialEq, Encode)]
pub struct Import {
    pub(crate) id: String,
    pub(crate) records: Vec<ImportRecord>,
}

#[derive(Debug, Clone, PartialEq, Encode)]
pub(crate) enum ImportRecord {
    History(PastBatch),
    Daily(WorkerId, Day, Totals),
    Monthly(WorkerId, Month, Totals),
    Lifetime(WorkerId, Totals),
}

/// A batch that was done elsewhere, or earlier.
#[derive(Debug, Clone, PartialEq, Encode)]
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_shows_as_text_only_where_that_is_plain() {
        assert_eq!(Prefix(b"site-7".to_vec()).to_string(), "site-7");
        assert_eq!(Prefix(b"\xff\x00".to_vec()).to_string(), "0xff00");
        assert_eq!(Prefix(b"0xff00".to_vec()).to_string(), "0x307866663030");
        assert_eq!(Prefix(b"two words".to_vec()).to_string(), "0x74776f20776f726473");
    }

    #[test]
    fn a_long_error_is_cut_between_characters() {
        let batch = Batch::of(&(0..1), Duration::ZERO).error("é".repeat(400));
        assert_eq!(batch.error.as_ref().map(String::len), Some(512));

        let odd = Batch::of(&(0..1), Duration::ZERO).error(format!("x{}", "é".repeat(400)));
        assert_eq!(odd.error.as_ref().map(String::len), Some(511));
        assert!(odd.check().is_ok());
    }

    #[test]
    fn a_batch_without_duration_has_no_rate() {
        let totals = Totals::of_batch(10, 0, false, Timestamp::EPOCH);
        assert_eq!((totals.rate(), totals.min_rate, totals.max_rate), (None, None, None));
        assert_eq!(Totals::of_batch(10, 2_000_000, true, Timestamp::EPOCH).rate(), Some(5.0));
    }

    #[test]
    fn the_average_rate_is_not_the_mean_of_rates() {
        let mut sum = Totals::of_batch(100, 1_000_000, false, Timestamp::EPOCH);
        sum.merge(&Totals::of_batch(100, 9_000_000, false, Timestamp::EPOCH));
        assert_eq!(sum.rate(), Some(20.0));
        assert_eq!(sum.mean_duration(), Some(Duration::from_secs(5)));
    }

    use proptest::prelude::*;

    fn totals() -> impl Strategy<Value = Totals> {
        let rates = proptest::option::of((0.0..1e12, 0.0..1e12));
        let times = proptest::option::of((any::<i32>(), any::<i32>()));
        let counts = (0..u64::MAX / 4, 0..u64::MAX / 4, 0..u128::MAX / 4, 0..u128::MAX / 4);
        (counts, rates, times).prop_map(|((batches, errors, items, duration_us), rates, times)| {
            let at = |secs: i32| Timestamp::from_secs(i64::from(secs));
            Totals {
                batches,
                errors,
                items,
                duration_us,
                min_rate: rates.map(|(a, b): (f64, f64)| a.min(b)),
                max_rate: rates.map(|(a, b): (f64, f64)| a.max(b)),
                first_at: times.map(|(a, b)| at(a.min(b))),
                last_at: times.map(|(a, b)| at(a.max(b))),
            }
        })
    }

    fn sum(parts: &[Totals]) -> Totals {
        parts.iter().copied().collect()
    }

    proptest! {
        /// What conservation (promise 8) rests on: sums do not depend on grouping or order.
        #[test]
        fn merging_is_associative_and_commutative_and_has_an_identity(
            a in totals(),
            b in totals(),
            c in totals(),
        ) {
            prop_assert_eq!(sum(&[sum(&[a, b]), c]), sum(&[a, sum(&[b, c])]));
            prop_assert_eq!(sum(&[a, b]), sum(&[b, a]));
            prop_assert_eq!(sum(&[a, Totals::default()]), a);
            prop_assert_eq!(sum(&[Totals::default(), a]), a);
        }
    }
}
