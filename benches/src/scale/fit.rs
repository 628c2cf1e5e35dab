//! How fast a cost grows with a size.

use super::costs::Growth;

/// The exponent of a logarithm: log N grows as N^0.10 between 10^3 and 10^6, and as N^0.17 between
/// 10 and 10^5.
const LOGARITHM: f64 = 0.15;
/// What is left to noise and to caches. A store of 10^6 rows fits neither into those of the
/// processor nor into the 16 MiB of redb: a cost that doubles for that reason within the last two
/// decades adds 0.15, one that grows by half adds 0.09. The slowest growth that code could have by
/// mistake, a square root, has 0.5.
const TOLERANCE: f64 = 0.10;
/// The largest sizes, which decide. A cost of `a + b N` hides its second part as long as N is
/// small, and one that is bounded by a step of so many rows grows until N reaches it.
const LAST: usize = 3;

/// The exponents of a growth: cost is proportional to size to this power.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Exponent {
    /// Over all sizes.
    pub(super) all: f64,
    /// Over the largest three.
    pub(super) last: f64,
}

impl Exponent {
    /// Fits a line through the logarithms of sizes and costs; `None` if there are not two sizes.
    pub(super) fn of(points: &[(u64, f64)]) -> Option<Exponent> {
        let logarithms: Vec<(f64, f64)> = points
            .iter()
            .map(|(size, cost)| ((*size).max(1) as f64, *cost))
            .filter(|(_, cost)| *cost > 0.0)
            .map(|(size, cost)| (size.log10(), cost.log10()))
            .collect();
        let last = logarithms.len().saturating_sub(LAST);
        Some(Exponent { all: slope(&logarithms)?, last: slope(&logarithms[last..])? })
    }

    /// Whether it is more than an operation may have.
    pub(super) fn exceeds(self, growth: Growth) -> bool {
        self.last > most(growth)
    }
}

/// The largest exponent that an operation may have.
pub(super) fn most(growth: Growth) -> f64 {
    match growth {
        Growth::Path | Growth::Keyed => LOGARITHM + TOLERANCE,
        Growth::Whole => 1.0 + TOLERANCE,
    }
}

/// The slope of the line with the least squares.
fn slope(points: &[(f64, f64)]) -> Option<f64> {
    let count = points.len() as f64;
    let mean = |of: fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / count;
    let (x, y) = (mean(|point| point.0), mean(|point| point.1));
    let spread: f64 = points.iter().map(|point| (point.0 - x).powi(2)).sum();
    let together: f64 = points.iter().map(|point| (point.0 - x) * (point.1 - y)).sum();
    (spread > 0.0).then(|| together / spread)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(cost: impl Fn(f64) -> f64) -> Exponent {
        let sizes = [1_000, 10_000, 100_000, 1_000_000];
        Exponent::of(&sizes.map(|size| (size, cost(size as f64)))).unwrap()
    }

    #[test]
    fn the_exponent_is_that_of_the_power() {
        let square = of(|n| 3.0 * n * n);

        assert!((square.all - 2.0).abs() < 1e-9);
        assert!((square.last - 2.0).abs() < 1e-9);
    }

    #[test]
    fn a_logarithm_is_allowed_on_the_path_and_a_root_is_not() {
        assert!(!of(f64::ln).exceeds(Growth::Path));
        assert!(!of(|_| 8.0).exceeds(Growth::Path));
        assert!(of(f64::sqrt).exceeds(Growth::Path));
        assert!(of(f64::sqrt).exceeds(Growth::Keyed));
    }

    #[test]
    fn a_proportional_cost_is_allowed_only_where_every_row_is_looked_at() {
        assert!(!of(|n| n).exceeds(Growth::Whole));
        assert!(of(|n| n.powf(1.5)).exceeds(Growth::Whole));
        assert!(of(|n| n).exceeds(Growth::Path));
    }

    #[test]
    fn growth_that_begins_late_counts_and_growth_that_ends_early_does_not() {
        let late = of(|n| 8.0 + n / 20_000.0);
        let ended = of(|n| n.min(30_000.0));

        assert!(late.last > late.all && late.exceeds(Growth::Path));
        assert!(ended.all > LOGARITHM + TOLERANCE && !ended.exceeds(Growth::Path));
    }

    #[test]
    fn one_size_has_no_exponent_and_nothing_counts_as_one() {
        assert_eq!(Exponent::of(&[(10, 1.0)]), None);
        let flat = Exponent::of(&[(0, 2.0), (10, 2.0), (100, 2.0)]).unwrap();
        assert_eq!((flat.all, flat.last), (0.0, 0.0));
    }
}
