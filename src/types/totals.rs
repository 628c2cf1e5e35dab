//! Exact sums over batches.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;
use crate::types::{BatchOutcome, PastBatch};

/// Exact sums over batches. Averages are not stored: they are computed when read.
///
/// `merge` is associative and commutative, and `Totals::default()` changes nothing.
///
/// ```
/// use milepost::Totals;
/// use std::time::Duration;
///
/// let mut sum = Totals::new(2, 1_000).with_duration(Duration::from_secs(4));
/// sum.merge(&Totals::new(1, 200).with_duration(Duration::from_secs(2)).with_errors(1));
/// assert_eq!((sum.batches, sum.items, sum.errors), (3, 1_200, 1));
/// assert_eq!(sum.rate(), Some(200.0));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Totals {
    /// Number of batches.
    pub batches: u64,
    /// How many of them reported an error.
    pub errors: u64,
    /// How many of them completed their job.
    pub completed: u64,
    /// Items handled.
    pub items: u128,
    /// Time spent, in microseconds: exact, where a `Duration` might not hold the sum.
    pub(crate) duration_us: u128,
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
    /// The totals of so many batches that handled so many items, with the other fields at zero or
    /// `None`.
    #[must_use]
    pub fn new(batches: u64, items: u128) -> Totals {
        Totals { batches, items, ..Totals::default() }
    }

    /// Sets how many batches reported an error.
    #[must_use]
    pub fn with_errors(mut self, errors: u64) -> Totals {
        self.errors = errors;
        self
    }

    /// Sets how many batches completed their job.
    #[must_use]
    pub fn with_completed(mut self, completed: u64) -> Totals {
        self.completed = completed;
        self
    }

    /// Sets the time spent, in whole microseconds.
    #[must_use]
    pub fn with_duration(mut self, duration: Duration) -> Totals {
        self.duration_us = duration.as_micros();
        self
    }

    /// Sets the lowest and the highest rate of a batch, in items per second.
    #[must_use]
    pub fn with_rates(mut self, min: f64, max: f64) -> Totals {
        (self.min_rate, self.max_rate) = (Some(min), Some(max));
        self
    }

    /// Sets when the earliest and the latest batch finished.
    #[must_use]
    pub fn with_times(mut self, first: Timestamp, last: Timestamp) -> Totals {
        (self.first_at, self.last_at) = (Some(first), Some(last));
        self
    }

    /// The totals of one batch.
    pub(crate) fn of_batch(batch: &PastBatch) -> Totals {
        let duration_us = u128::from(batch.duration_us());
        let rate = rate(u128::from(batch.items), duration_us);
        Totals {
            batches: 1,
            errors: u64::from(batch.error.is_some()),
            completed: u64::from(batch.outcome == BatchOutcome::Completed),
            items: batch.items.into(),
            duration_us,
            min_rate: rate,
            max_rate: rate,
            first_at: Some(batch.finished_at),
            last_at: Some(batch.finished_at),
        }
    }

    /// Time spent. A sum that a `Duration` cannot hold, which would be 584 billion years, is
    /// returned as [`Duration::MAX`]; [`rate`](Totals::rate) is exact all the same.
    #[must_use]
    pub fn duration(&self) -> Duration {
        duration_of(self.duration_us)
    }

    /// Adds other totals to these. A sum that does not fit saturates; see
    /// [`checked_add`](Totals::checked_add).
    pub fn merge(&mut self, other: &Totals) {
        // Saturation cannot happen within a store: batches are counted one by one, and the totals
        // of all imports are limited.
        self.batches = self.batches.saturating_add(other.batches);
        self.errors = self.errors.saturating_add(other.errors);
        self.completed = self.completed.saturating_add(other.completed);
        self.items = self.items.saturating_add(other.items);
        self.duration_us = self.duration_us.saturating_add(other.duration_us);
        self.min_rate = either(self.min_rate, other.min_rate, f64::min);
        self.max_rate = either(self.max_rate, other.max_rate, f64::max);
        self.first_at = either(self.first_at, other.first_at, Ord::min);
        self.last_at = either(self.last_at, other.last_at, Ord::max);
    }

    /// These totals and other ones added up; `None` if a sum does not fit. The totals of one store
    /// always fit, over any number of workers.
    #[must_use]
    pub fn checked_add(&self, other: &Totals) -> Option<Totals> {
        let mut sum = *self;
        sum.merge(other);
        // Exact, and so equal to the result of `merge` unless that saturated.
        let fits = self.batches.checked_add(other.batches).is_some()
            && self.errors.checked_add(other.errors).is_some()
            && self.completed.checked_add(other.completed).is_some()
            && self.items.checked_add(other.items).is_some()
            && self.duration_us.checked_add(other.duration_us).is_some();
        fits.then_some(sum)
    }

    /// The average rate in items per second: all items divided by all time. `None` if the time is
    /// zero.
    #[must_use]
    pub fn rate(&self) -> Option<f64> {
        rate(self.items, self.duration_us)
    }

    /// The average duration of a batch; `None` without batches.
    #[must_use]
    pub fn mean_duration(&self) -> Option<Duration> {
        self.duration_us.checked_div(u128::from(self.batches)).map(duration_of)
    }

    /// Whether no batch is included.
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

/// A number of microseconds as a duration; the longest one if it does not fit.
pub(crate) fn duration_of(micros: u128) -> Duration {
    let nanos = (micros % 1_000_000) as u32 * 1_000;
    u64::try_from(micros / 1_000_000).map_or(Duration::MAX, |secs| Duration::new(secs, nanos))
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::WorkerId;

    fn of(items: u64, duration: Duration) -> Totals {
        let batch = PastBatch::new(WorkerId(1), 0..1, Timestamp::EPOCH);
        Totals::of_batch(&batch.with_items(items).with_duration(duration))
    }

    #[test]
    fn a_duration_is_exact_or_the_longest() {
        for micros in [0, 1, 999_999, 1_000_000, u128::from(u64::MAX) * 1_000_000 + 999_999] {
            assert_eq!(duration_of(micros).as_micros(), micros);
        }
        assert_eq!(duration_of((u128::from(u64::MAX) + 1) * 1_000_000), Duration::MAX);
        assert_eq!(duration_of(u128::MAX), Duration::MAX);
    }

    #[test]
    fn a_batch_without_duration_has_no_rate() {
        let totals = of(10, Duration::ZERO);
        assert_eq!((totals.rate(), totals.min_rate, totals.max_rate), (None, None, None));
        assert_eq!(of(10, Duration::from_secs(2)).rate(), Some(5.0));
    }

    #[test]
    fn the_average_rate_is_not_the_mean_of_rates() {
        let mut sum = of(100, Duration::from_secs(1));
        sum.merge(&of(100, Duration::from_secs(9)));
        assert_eq!(sum.rate(), Some(20.0));
        assert_eq!(sum.mean_duration(), Some(Duration::from_secs(5)));
    }

    #[test]
    fn a_sum_that_does_not_fit_is_refused_and_the_largest_that_fits_is_not() {
        let one = Totals::new(1, 1).with_errors(1).with_completed(1);
        let one = one.with_duration(Duration::from_micros(1));
        let fields: [fn(&mut Totals); 5] = [
            |totals| totals.batches = u64::MAX - 1,
            |totals| totals.errors = u64::MAX - 1,
            |totals| totals.completed = u64::MAX - 1,
            |totals| totals.items = u128::MAX - 1,
            |totals| totals.duration_us = u128::MAX - 1,
        ];
        for almost in fields {
            let mut full = Totals::default();
            almost(&mut full);

            let fits = full.checked_add(&one).unwrap();

            assert_eq!(fits, [full, one].into_iter().collect());
            assert_eq!(fits.checked_add(&one), None);
        }
    }

    use proptest::prelude::*;

    fn totals() -> impl Strategy<Value = Totals> {
        let rates = proptest::option::of((0.0..1e12, 0.0..1e12));
        let times = proptest::option::of((any::<i32>(), any::<i32>()));
        let count = || 0..u64::MAX / 4;
        let counts = (count(), count(), count(), 0..u128::MAX / 4, 0..u128::MAX / 4);
        (counts, rates, times).prop_map(|(counts, rates, times)| {
            let (batches, errors, completed, items, duration_us) = counts;
            let at = |secs: i32| Timestamp::from_secs(i64::from(secs));
            Totals {
                batches,
                errors,
                completed,
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
        /// Promise 8 (conservation) depends on this: sums do not depend on grouping or order.
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
