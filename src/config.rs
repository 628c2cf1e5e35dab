//! Caps, durability, sharing and limits: what a builder sets.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// The lengths beyond which input is refused.
pub mod limits {
    /// Bytes of a prefix.
    pub const PREFIX: usize = 255;
    /// Bytes of a worker's name.
    pub const NAME: usize = 255;
    /// Bytes of a worker's kind.
    pub const KIND: usize = 64;
    /// Bytes of the note of a heartbeat.
    pub const NOTE: usize = 256;
    /// Bytes of the name of a session of counters.
    pub const SESSION: usize = 64;
    /// Pairs of a worker's metadata.
    pub const METADATA: usize = 16;
    /// Bytes of a key of a worker's metadata.
    pub const METADATA_KEY: usize = 64;
    /// Bytes of a value of a worker's metadata.
    pub const METADATA_VALUE: usize = 256;
    /// Bytes of an error text; longer ones are cut.
    pub const ERROR: usize = 512;
    /// Bytes of a finding's key.
    pub const FINDING_KEY: usize = 255;
    /// Bytes of a finding's payload.
    pub const FINDING_PAYLOAD: usize = 64 * 1024;
    /// Findings of one checkpoint.
    pub const FINDINGS: usize = 1024;
    /// Bytes of the name of an import's source. The number of sources is not limited; each is a
    /// row that stays.
    pub const IMPORT_SOURCE: usize = 64;
}

/// How many records each tier keeps. Caps are stored in the file.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Caps {
    /// History records over all workers.
    pub history: u32,
    /// Daily rows of each worker.
    pub daily: u32,
    /// Monthly rows of each worker.
    pub monthly: u32,
}

impl Caps {
    /// Sets how many history records are kept, over all workers.
    #[must_use]
    pub fn with_history(mut self, records: u32) -> Caps {
        self.history = records;
        self
    }

    /// Sets how many daily rows of each worker are kept.
    #[must_use]
    pub fn with_daily(mut self, rows: u32) -> Caps {
        self.daily = rows;
        self
    }

    /// Sets how many monthly rows of each worker are kept.
    #[must_use]
    pub fn with_monthly(mut self, rows: u32) -> Caps {
        self.monthly = rows;
        self
    }
}

impl Default for Caps {
    /// 10,000 history records, and 1,000 days and 1,000 months of each worker.
    fn default() -> Caps {
        Caps { history: 10_000, daily: 1_000, monthly: 1_000 }
    }
}

/// A change of some of the caps; those left `None` stay as the file has them.
///
/// ```
/// use milepost::CapsChange;
///
/// let change = CapsChange::default().with_history(50_000).with_daily(400);
/// assert_eq!((change.history, change.daily, change.monthly), (Some(50_000), Some(400), None));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub struct CapsChange {
    /// The new cap on history records.
    pub history: Option<u32>,
    /// The new cap on each worker's daily rows.
    pub daily: Option<u32>,
    /// The new cap on each worker's monthly rows.
    pub monthly: Option<u32>,
}

impl From<Caps> for CapsChange {
    fn from(caps: Caps) -> CapsChange {
        CapsChange {
            history: Some(caps.history),
            daily: Some(caps.daily),
            monthly: Some(caps.monthly),
        }
    }
}

impl CapsChange {
    /// Sets the cap on history records, over all workers.
    #[must_use]
    pub fn with_history(mut self, records: u32) -> CapsChange {
        self.history = Some(records);
        self
    }

    /// Sets the cap on each worker's daily rows.
    #[must_use]
    pub fn with_daily(mut self, rows: u32) -> CapsChange {
        self.daily = Some(rows);
        self
    }

    /// Sets the cap on each worker's monthly rows.
    #[must_use]
    pub fn with_monthly(mut self, rows: u32) -> CapsChange {
        self.monthly = Some(rows);
        self
    }

    /// The changes that the environment names: `WORKER_HISTORY_LIMIT`, `WORKER_DAILY_STATS_LIMIT` and
    /// `WORKER_MONTHLY_STATS_LIMIT`. A variable that is not set, or is empty, changes nothing.
    ///
    /// Zero or less stands for the default, and under 100 is accepted; both log a warning.
    ///
    /// # Errors
    /// [`Error::InvalidVariable`] if a variable is not a whole number, or is above 4,294,967,295.
    pub fn from_env() -> Result<CapsChange> {
        CapsChange::from_lookup(|name| {
            std::env::var_os(name).map(|v| v.to_string_lossy().into_owned())
        })
    }

    pub(crate) fn from_lookup(lookup: impl Fn(&str) -> Option<String>) -> Result<CapsChange> {
        let default = Caps::default();
        let read = |variable: &'static str, default: u32| -> Result<Option<u32>> {
            let Some(value) = lookup(variable) else { return Ok(None) };
            if value.trim().is_empty() {
                return Ok(None);
            }
            let invalid = |why| Error::InvalidVariable { variable, value: value.clone(), why };
            let number: i128 =
                value.trim().parse().map_err(|_| invalid("is not a whole number"))?;
            if number <= 0 {
                tracing::warn!(variable, value, default, "not above zero: taking the default");
                return Ok(Some(default));
            }
            if number < 100 {
                tracing::warn!(
                    variable,
                    value,
                    "a cap this low makes records leave almost at once"
                );
            }
            u32::try_from(number).map(Some).map_err(|_| invalid("is above 4294967295"))
        };
        Ok(CapsChange {
            history: read("WORKER_HISTORY_LIMIT", default.history)?,
            daily: read("WORKER_DAILY_STATS_LIMIT", default.daily)?,
            monthly: read("WORKER_MONTHLY_STATS_LIMIT", default.monthly)?,
        })
    }

    pub(crate) fn is_empty(&self) -> bool {
        *self == CapsChange::default()
    }

    pub(crate) fn check(&self) -> Result<()> {
        let caps = [("history", self.history), ("daily", self.daily), ("monthly", self.monthly)];
        match caps.iter().find(|(_, cap)| *cap == Some(0)) {
            Some((name, _)) => {
                Err(Error::invalid(format!("the {name} cap is 0: it must be at least 1")))
            }
            None => Ok(()),
        }
    }

    pub(crate) fn apply(self, caps: Caps) -> Caps {
        Caps {
            history: self.history.unwrap_or(caps.history),
            daily: self.daily.unwrap_or(caps.daily),
            monthly: self.monthly.unwrap_or(caps.monthly),
        }
    }

    /// This change, overridden by `other` where that names a cap.
    pub(crate) fn overridden_by(self, other: CapsChange) -> CapsChange {
        CapsChange {
            history: other.history.or(self.history),
            daily: other.daily.or(self.daily),
            monthly: other.monthly.or(self.monthly),
        }
    }
}

/// What an acknowledged command survives.
///
/// | | process killed | power lost |
/// |---|---|---|
/// | `Immediate` | survives | survives |
/// | `Relaxed` | the last `max_delay` may be lost | the last `max_delay` may be lost |
///
/// What is lost under `Relaxed` is always the newest part, never something in between. Commands
/// that hand out or retire a lease, or create something with a number, are stored as under
/// `Immediate` at any durability; only checkpoints, renewals, late findings and imports wait.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Durability {
    /// Every commit is synced to disk before calls return. The default.
    #[default]
    Immediate,
    /// Commits are synced together: a sync starts within `max_delay` of the first commit that
    /// waits for one, and writers wait while one is overdue. After 2,048 commands a sync starts
    /// however soon they came, which keeps the file small when they come fast.
    Relaxed {
        /// The longest that a commit waits before its sync starts.
        max_delay: Duration,
    },
}

/// Which processes may have the file open together. All of them must name the same mode.
///
/// | | who may open it | cost of a commit |
/// |---|---|---|
/// | `Exclusive` | one process | one sync |
/// | `SingleWriter` | one that writes, any number that read | two syncs |
/// | `MultiWriter` | any number that write or read | two syncs, and caches start afresh after another process wrote |
///
/// The shared modes refuse [`Durability::Relaxed`]: a commit held back in one process would be
/// invisible to the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Sharing {
    /// One process; or, while nobody writes, any number that only read. The default.
    #[default]
    Exclusive,
    /// One process writes while others read.
    SingleWriter,
    /// Many processes write, one transaction at a time.
    MultiWriter,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wishes(history: &str) -> Result<CapsChange> {
        CapsChange::from_lookup(|name| {
            (name == "WORKER_HISTORY_LIMIT").then(|| history.to_string())
        })
    }

    #[test]
    fn the_environment_is_read_as_documented() {
        assert_eq!(CapsChange::from_lookup(|_| None).unwrap(), CapsChange::default());
        assert_eq!(wishes("250").unwrap().history, Some(250));
        assert_eq!(wishes(" 250 ").unwrap().daily, None);
        assert_eq!(wishes("99").unwrap().history, Some(99));
        assert_eq!(wishes("0").unwrap().history, Some(10_000));
        assert_eq!(wishes("-5").unwrap().history, Some(10_000));
        assert_eq!(wishes("").unwrap(), CapsChange::default());
        assert_eq!(wishes(" ").unwrap(), CapsChange::default());
    }

    #[test]
    fn what_is_not_a_number_is_named_with_its_variable() {
        for (value, why) in [
            ("many", "is not a whole number"),
            ("1e3", "is not a whole number"),
            ("1.5", "is not a whole number"),
            ("4294967296", "is above 4294967295"),
            ("99999999999999", "is above 4294967295"),
        ] {
            let error = wishes(value).unwrap_err().to_string();
            let expected =
                format!("the environment variable WORKER_HISTORY_LIMIT {why}: {value:?}");
            assert_eq!(error, expected);
        }
    }

    #[test]
    fn a_cap_of_zero_is_refused_and_one_left_out_stays() {
        assert!(CapsChange { daily: Some(0), ..CapsChange::default() }.check().is_err());
        let caps = CapsChange { daily: Some(1), ..CapsChange::default() }.apply(Caps::default());
        assert_eq!(caps, Caps { daily: 1, ..Caps::default() });
    }
}
