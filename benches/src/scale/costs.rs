//! How long calls take.

use std::time::{Duration, Instant};

use anyhow::Result;
use serde::{Deserialize, Serialize};

/// How the cost of an operation may grow with the store.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Growth {
    /// On the path of a lease or a checkpoint: as the logarithm at most, and `--check` fails
    /// where it is more.
    Path,
    /// Off that path, but it looks at a bounded number of rows: as the logarithm at most.
    Keyed,
    /// It looks at every row: in proportion at most.
    Whole,
}

impl Growth {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Growth::Path => "log, on path",
            Growth::Keyed => "log",
            Growth::Whole => "linear",
        }
    }
}

/// What one operation costs in a store of one size.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cost {
    /// Which operation.
    pub operation: String,
    /// How its cost may grow.
    pub growth: Growth,
    /// Microseconds of one call, or of one unit where the name says `per`.
    pub micros: f64,
    /// The number of calls or units it was measured over.
    pub count: u64,
}

/// Times calls and collects what they cost.
pub(super) struct Meter {
    costs: Vec<Cost>,
    most_time: Duration,
    most_rounds: u64,
    summary: Summary,
}

/// What stands for many samples.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Summary {
    /// The least of the means of short blocks: a mean keeps work that is done every few calls,
    /// and the least drops what other programs of the machine add.
    Undisturbed,
    /// The mean of all: where others of the same store disturb, and that is what is measured.
    Mean,
}

/// One of several rounds, which each make the same calls.
pub(super) struct Round<'a> {
    /// The number of the round, from 0.
    pub(super) n: u64,
    /// By operation, in seconds.
    samples: &'a mut Vec<(&'static str, Growth, Vec<f64>)>,
}

/// Rounds that are made even if they take some time, up to three times as long as the others.
const LEAST_ROUNDS: u32 = 3;
/// From so many samples on, the first is left out: it fills caches.
const WARM: usize = 10;
/// The most samples of a block: so few that most blocks of most operations are over before the
/// scheduler lets another program run.
const BLOCK: usize = 20;

impl Meter {
    /// A meter that repeats calls until one of two bounds is reached.
    pub(super) fn new(most_time: Duration, most_rounds: u64, summary: Summary) -> Meter {
        Meter { costs: Vec::new(), most_time, most_rounds, summary }
    }

    /// Makes rounds of calls, at most as many as given.
    pub(super) fn rounds(
        &mut self,
        most: u64,
        mut round: impl FnMut(&mut Round<'_>) -> Result<()>,
    ) -> Result<()> {
        let mut samples = Vec::new();
        let began = Instant::now();
        for n in 0..most.min(self.most_rounds) {
            let most_time =
                self.most_time * if n < u64::from(LEAST_ROUNDS) { LEAST_ROUNDS } else { 1 };
            if n > 0 && began.elapsed() >= most_time {
                break;
            }
            round(&mut Round { n, samples: &mut samples })?;
        }
        for (operation, growth, samples) in samples {
            self.push(operation, growth, self.summary.of(&samples), samples.len() as u64);
        }
        Ok(())
    }

    /// Repeats one call.
    pub(super) fn repeat<T>(
        &mut self,
        operation: &'static str,
        growth: Growth,
        mut call: impl FnMut(u64) -> Result<T>,
    ) -> Result<()> {
        self.rounds(u64::MAX, |round| {
            let n = round.n;
            round.time(operation, growth, || call(n))?;
            Ok(())
        })
    }

    /// Makes one call that handles many units, and notes the cost of each of them.
    pub(super) fn once<T>(
        &mut self,
        operation: &'static str,
        growth: Growth,
        units: u64,
        call: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let began = Instant::now();
        let result = call()?;
        let each = began.elapsed().as_secs_f64() / units.max(1) as f64;
        self.push(operation, growth, each, units);
        Ok(result)
    }

    fn push(&mut self, operation: &str, growth: Growth, seconds: f64, count: u64) {
        self.costs.push(Cost {
            operation: operation.to_string(),
            growth,
            micros: seconds * 1e6,
            count,
        });
    }

    /// Everything that was measured.
    pub(super) fn into_costs(self) -> Vec<Cost> {
        self.costs
    }
}

impl Round<'_> {
    /// Makes one call of the round.
    pub(super) fn time<T>(
        &mut self,
        operation: &'static str,
        growth: Growth,
        call: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        self.time_each(operation, growth, 1, call)
    }

    /// Makes one call of the round that handles many units, and notes the cost of each of them.
    pub(super) fn time_each<T>(
        &mut self,
        operation: &'static str,
        growth: Growth,
        units: u64,
        call: impl FnOnce() -> Result<T>,
    ) -> Result<T> {
        let began = Instant::now();
        let result = call()?;
        let each = began.elapsed().as_secs_f64() / units.max(1) as f64;
        match self.samples.iter_mut().find(|(name, ..)| *name == operation) {
            Some((_, _, samples)) => samples.push(each),
            None => self.samples.push((operation, growth, vec![each])),
        }
        Ok(result)
    }
}

impl Summary {
    fn of(self, samples: &[f64]) -> f64 {
        let samples = if samples.len() >= WARM { &samples[1..] } else { samples };
        let size = match self {
            Summary::Undisturbed => (samples.len() / WARM).clamp(1, BLOCK),
            Summary::Mean => samples.len().max(1),
        };
        let mean = |block: &[f64]| block.iter().sum::<f64>() / size as f64;
        samples.chunks_exact(size).map(mean).fold(f64::INFINITY, f64::min)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_busy_moment_is_dropped_and_regular_work_is_not() {
        let mut disturbed = vec![1.0; 101];
        disturbed[31..61].fill(50.0);
        let regular: Vec<f64> = [1.0, 9.0].into_iter().cycle().take(101).collect();

        assert_eq!(Summary::Undisturbed.of(&disturbed), 1.0);
        assert_eq!(Summary::Undisturbed.of(&regular), 5.0);
    }

    #[test]
    fn a_mean_keeps_everything() {
        let mut disturbed = vec![1.0; 101];
        disturbed[31..61].fill(51.0);

        assert_eq!(Summary::Mean.of(&disturbed), 16.0);
    }

    #[test]
    fn the_first_of_many_samples_is_left_out() {
        let many = [[0.5].as_slice(), &[1.0; 20]].concat();

        assert_eq!(Summary::Undisturbed.of(&many), 1.0);
        assert_eq!(Summary::Undisturbed.of(&[0.5, 1.0, 2.0]), 0.5);
    }

    #[test]
    fn rounds_end_by_number_or_by_time() {
        let mut by_number = Meter::new(Duration::from_secs(60), 20, Summary::Mean);
        let mut by_time = Meter::new(Duration::ZERO, 20, Summary::Mean);

        by_number.repeat("fast", Growth::Path, |_| Ok(())).unwrap();
        by_time.repeat("slow", Growth::Path, |_| Ok(())).unwrap();

        assert_eq!(by_number.into_costs()[0].count, 20);
        assert_eq!(by_time.into_costs()[0].count, 1);
    }

    #[test]
    fn one_call_over_many_units_costs_each_of_them_a_share() {
        let mut meter = Meter::new(Duration::ZERO, 1, Summary::Mean);

        let began = Instant::now();
        let call = || {
            std::thread::yield_now();
            Ok(7)
        };
        assert_eq!(meter.once("all", Growth::Keyed, 1_000, call).unwrap(), 7);
        let longest = began.elapsed().as_secs_f64() * 1e6 / 1_000.0;

        let costs = meter.into_costs();
        assert_eq!(costs[0].count, 1_000);
        assert!(costs[0].micros <= longest);
    }
}
