//! Figures, ratios and targets, and their JSON.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, Result};
use hdrhistogram::Histogram;
use serde::Serialize;

use crate::machine::Machine;
use crate::run::Sample;

/// Everything a comparison found.
#[derive(Debug, Serialize)]
pub struct Report {
    /// Where it ran.
    pub machine: Machine,
    /// How it ran: name and value.
    pub settings: BTreeMap<&'static str, String>,
    /// What was measured.
    pub figures: Vec<Figure>,
    /// What that means for the targets.
    pub ratios: Vec<Ratio>,
    /// How long the calls took whose percentiles are among the figures.
    #[serde(skip)]
    pub curves: Vec<Curve>,
    /// What could not be measured, and why; printed with the next section.
    #[serde(skip)]
    pub notes: Vec<String>,
}

/// How long the calls of one side took.
#[derive(Debug, Clone)]
pub struct Curve {
    /// What was measured.
    pub row: String,
    /// Of which side.
    pub side: String,
    /// In nanoseconds.
    pub latency: Histogram<u64>,
}

/// One figure of one side.
#[derive(Debug, Clone, Serialize)]
pub struct Figure {
    /// What was measured: the row of a table, and after a colon its column.
    pub name: String,
    /// Of which side.
    pub side: String,
    /// How much.
    pub value: f64,
    /// Of what.
    pub unit: &'static str,
    /// How many checkpoints or calls it was measured over.
    #[serde(skip)]
    pub count: u64,
}

/// A row of the table of targets, or a ratio that is only reported.
#[derive(Debug, Clone, Serialize)]
pub struct Ratio {
    /// What is compared.
    pub name: String,
    /// milepost's figure: the median of the rounds.
    pub ours: f64,
    /// The rival's; `None` where milepost's own figure is held against the target.
    pub rival: Option<f64>,
    /// The median over the rounds of ours by the rival's (for times, the other way round), each
    /// pair taken in one round. Without a rival, ours. For sizes, where the name says so, the
    /// percentage by which ours is smaller.
    pub ratio: f64,
    /// The lowest of a round.
    pub low: f64,
    /// The highest of a round.
    pub high: f64,
    /// What the ratio has to reach, or stay under; `None` where it is only reported.
    pub target: Option<f64>,
    /// Which of the two.
    #[serde(skip)]
    pub bound: Bound,
    /// Whether it does; `None` without a target.
    pub met: Option<bool>,
    /// Why there is no target.
    #[serde(skip)]
    pub remark: Option<&'static str>,
}

/// Which side of a target is the good one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bound {
    /// The ratio has to be this high.
    AtLeast,
    /// The ratio may be this high.
    AtMost,
}

/// A target.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Target {
    /// At least so much.
    AtLeast(f64),
    /// At most so much.
    AtMost(f64),
    /// None: reported only.
    None,
    /// One that a quick run cannot hold anything against.
    FullOnly,
}

/// How a row is marked that a quick run cannot hold against its target.
pub(crate) const FULL_ONLY: &str = "full only";

impl Ratio {
    /// Compares the figures of both sides, round by round.
    #[must_use]
    pub fn of(name: impl Into<String>, ours: &[f64], rival: &[f64], target: Target) -> Ratio {
        let rounds: Vec<f64> = ours.iter().zip(rival).map(|(ours, rival)| ours / rival).collect();
        Ratio::new(name.into(), median(ours), Some(median(rival)), &rounds, target)
    }

    /// Compares the times of both sides: how many times faster milepost is, round by round.
    #[must_use]
    pub fn faster(name: impl Into<String>, ours: &[f64], rival: &[f64], target: Target) -> Ratio {
        let rounds: Vec<f64> = ours.iter().zip(rival).map(|(ours, rival)| rival / ours).collect();
        Ratio::new(name.into(), median(ours), Some(median(rival)), &rounds, target)
    }

    /// Compares two sizes: by how many percent milepost's is smaller.
    #[must_use]
    pub fn smaller(name: impl Into<String>, ours: f64, rival: f64, target: Target) -> Ratio {
        Ratio::new(name.into(), ours, Some(rival), &[100.0 * (1.0 - ours / rival)], target)
    }

    /// Holds milepost's own figures against a target.
    #[must_use]
    pub fn own(name: impl Into<String>, ours: &[f64], target: Target) -> Ratio {
        Ratio::new(name.into(), median(ours), None, ours, target)
    }

    fn new(
        mut name: String,
        ours: f64,
        rival: Option<f64>,
        rounds: &[f64],
        target: Target,
    ) -> Ratio {
        let ratio = median(rounds);
        let (target, bound, met, remark) = match target {
            Target::AtLeast(least) => (Some(least), Bound::AtLeast, Some(ratio >= least), None),
            Target::AtMost(most) => (Some(most), Bound::AtMost, Some(ratio <= most), None),
            Target::None => (None, Bound::AtLeast, None, Some("reported only")),
            Target::FullOnly => (None, Bound::AtLeast, None, Some(FULL_ONLY)),
        };
        if remark == Some(FULL_ONLY) {
            name.push_str(" (full only)");
        }
        let low = rounds.iter().copied().fold(f64::INFINITY, f64::min);
        let high = rounds.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        Ratio { name, ours, rival, ratio, low, high, target, bound, met, remark }
    }
}

/// The middle of some values; 0 without any.
#[must_use]
pub fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    match sorted.len() {
        0 => 0.0,
        length if length % 2 == 1 => sorted[length / 2],
        length => (sorted[length / 2 - 1] + sorted[length / 2]) / 2.0,
    }
}

impl Report {
    /// Begins a report.
    #[must_use]
    pub fn new(machine: Machine, settings: Vec<(&'static str, String)>) -> Report {
        let settings = settings.into_iter().collect();
        Report {
            machine,
            settings,
            figures: Vec::new(),
            ratios: Vec::new(),
            notes: Vec::new(),
            curves: Vec::new(),
        }
    }

    /// Adds one figure.
    pub fn figure(
        &mut self,
        name: String,
        side: impl ToString,
        value: f64,
        unit: &'static str,
        count: u64,
    ) {
        self.figures.push(Figure { name, side: side.to_string(), value, unit, count });
    }

    /// Adds what the rounds of one side say: checkpoints a second, and percentiles over all
    /// rounds where the calls of it are worth telling apart.
    ///
    /// # Errors
    /// None in practice.
    pub fn samples(
        &mut self,
        row: &str,
        side: impl ToString,
        rounds: &[Sample],
        percentiles: bool,
    ) -> Result<()> {
        let side = side.to_string();
        let count = rounds.iter().map(|sample| sample.count).sum();
        let speeds: Vec<f64> = rounds.iter().map(Sample::per_second).collect();
        self.figure(format!("{row}: per second"), &side, median(&speeds), "1/s", count);
        if percentiles {
            let mut all = crate::run::latencies();
            for sample in rounds {
                all.add(&sample.latency)?;
            }
            for (column, quantile) in [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)] {
                let micros = all.value_at_quantile(quantile) as f64 / 1e3;
                self.figure(format!("{row}: {column}"), &side, micros, "us", count);
            }
            self.curves.push(Curve { row: row.to_string(), side, latency: all });
        }
        Ok(())
    }

    /// The figure of one name and side.
    #[must_use]
    pub fn find(&self, name: &str, side: &str) -> Option<f64> {
        self.figures
            .iter()
            .find(|figure| figure.name == name && figure.side == side)
            .map(|figure| figure.value)
    }

    /// Writes everything as JSON.
    ///
    /// # Errors
    /// What the file system meets.
    pub fn write_json(&self, path: &Path) -> Result<()> {
        let text = serde_json::to_string_pretty(self)?;
        std::fs::write(path, text + "\n").with_context(|| format!("writing {}", path.display()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ratio_is_the_median_of_the_rounds() {
        let ratio = Ratio::of("", &[10.0, 20.0, 90.0], &[10.0, 10.0, 30.0], Target::AtLeast(2.0));

        assert_eq!((ratio.ratio, ratio.low, ratio.high), (2.0, 1.0, 3.0));
        assert_eq!(ratio.met, Some(true));
    }

    #[test]
    fn times_are_compared_the_other_way_round() {
        let ratio = Ratio::faster("", &[2.0], &[5.0], Target::AtLeast(3.0));

        assert_eq!((ratio.ratio, ratio.met), (2.5, Some(false)));
    }

    #[test]
    fn a_size_is_smaller_by_so_many_percent() {
        assert_eq!(Ratio::smaller("", 1.0, 4.0, Target::AtLeast(75.0)).met, Some(true));
        assert_eq!(Ratio::smaller("", 1.1, 4.0, Target::AtLeast(75.0)).met, Some(false));
    }

    #[test]
    fn what_a_quick_run_cannot_say_has_no_target_and_is_marked() {
        let ratio = Ratio::own("decay", &[0.5], Target::FullOnly);

        assert_eq!((ratio.target, ratio.met), (None, None));
        assert_eq!(ratio.name, "decay (full only)");
    }

    #[test]
    fn the_json_has_the_keys_that_were_promised() {
        let mut report =
            Report::new(Machine::this(Path::new("/")), vec![("extent", "quick".into())]);
        report.figure("row: column".into(), "side", 1.0, "ms", 10);
        report.ratios.push(Ratio::own("own", &[1.0], Target::AtMost(2.0)));

        let json = serde_json::to_value(&report).unwrap();

        let keys = |value: &serde_json::Value| -> Vec<String> {
            let mut keys: Vec<_> = value.as_object().unwrap().keys().cloned().collect();
            keys.sort();
            keys
        };
        assert_eq!(keys(&json), ["figures", "machine", "ratios", "settings"]);
        assert_eq!(keys(&json["figures"][0]), ["name", "side", "unit", "value"]);
        let of_ratio = ["high", "low", "met", "name", "ours", "ratio", "rival", "target"];
        assert_eq!(keys(&json["ratios"][0]), of_ratio);
    }
}
