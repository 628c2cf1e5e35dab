//! Exact sums over batches.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Exact sums over batches. Averages are not stored: they are computed when read.
///
/// `merge` is associative and commutative, and `Totals::default()` changes nothing.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Totals {
    /// Number of batches.
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

    /// Adds other totals to these. A sum that does not fit saturates; see
    /// [`checked_add`](Totals::checked_add).
    pub fn merge(&mut self, other: &Totals) {
        // Saturation cannot happen within a store: batches are counted one by one, and the totals
        // of all imports are limited.
        self.batches = self.batches.saturating_add(other.batches);
        self.errors = self.errors.saturating_add(other.errors);
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
        let micros = self.duration_us.checked_div(u128::from(self.batches))?;
        Some(Duration::from_micros(u64::try_from(micros).unwrap_or(u64::MAX)))
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

    #[test]
    fn a_sum_that_does_not_fit_is_refused_and_the_largest_that_fits_is_not() {
        let one = Totals { batches: 1, errors: 1, items: 1, duration_us: 1, ..Totals::default() };
        let fields: [fn(&mut Totals); 4] = [
            |totals| totals.batches = u64::MAX - 1,
            |totals| totals.errors = u64::MAX - 1,
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
