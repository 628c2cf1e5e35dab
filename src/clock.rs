//! The clock that a store reads.

use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::time::Timestamp;

/// Where a store takes the time from.
///
/// A clock decides when leases expire and on which day a batch is counted. One that jumps may
/// expire a lease early or late; it cannot lose or double anything.
pub trait Clock: Send + Sync + 'static {
    /// The present instant.
    fn now(&self) -> Timestamp;

    /// The time since some fixed moment, by a source that never jumps; `None`, the default, if
    /// there is no such source.
    ///
    /// Where it disagrees with [`now`](Clock::now) by more than a second, the clock has jumped. For
    /// the length of a lease after that, a lease that expires counts as no failed attempt.
    fn monotonic(&self) -> Option<Duration> {
        None
    }
}

/// The clock of the operating system, which a store uses by default.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        Timestamp::clamped(jiff::Timestamp::now().as_microsecond())
    }

    fn monotonic(&self) -> Option<Duration> {
        static FIRST: OnceLock<Instant> = OnceLock::new();
        Some(FIRST.get_or_init(Instant::now).elapsed())
    }
}

/// A clock that stands still until it is moved: for tests and simulations.
///
/// Clones share one time.
///
/// ```
/// use milepost::{Clock, ManualClock};
/// use std::time::Duration;
///
/// let clock = ManualClock::at("2026-02-16T12:00:00Z".parse()?);
/// clock.advance(Duration::from_secs(60));
/// assert_eq!(clock.now().to_string(), "2026-02-16T12:01:00Z");
/// # Ok::<(), milepost::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct ManualClock(Arc<Mutex<Hands>>);

#[derive(Debug)]
struct Hands {
    now: Timestamp,
    monotonic: Duration,
}

impl ManualClock {
    /// A clock that shows `now`.
    #[must_use]
    pub fn at(now: Timestamp) -> ManualClock {
        ManualClock(Arc::new(Mutex::new(Hands { now, monotonic: Duration::ZERO })))
    }

    /// Lets time pass.
    pub fn advance(&self, by: Duration) {
        let mut hands = self.0.lock();
        hands.now = hands.now.saturating_add(by);
        hands.monotonic += by;
    }

    /// Sets the clock to any instant, also back, while no time passes: it jumps.
    pub fn set(&self, now: Timestamp) {
        self.0.lock().now = now;
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        self.0.lock().now
    }

    fn monotonic(&self) -> Option<Duration> {
        Some(self.0.lock().monotonic)
    }
}

/// Notices when a clock jumps.
#[derive(Debug, Default)]
pub(crate) struct ClockWatch(Mutex<Seen>);

#[derive(Debug, Default)]
struct Seen {
    last: Option<(Timestamp, Duration)>,
    /// When the latest jump was noticed, by the monotonic source.
    jumped_at: Option<Duration>,
}

/// A clock and its monotonic source may part by this much between two looks at them.
const DISAGREEMENT: Duration = Duration::from_secs(1);

impl ClockWatch {
    /// The present instant, and how long ago the clock jumped, if that was noticed.
    pub(crate) fn now(&self, clock: &dyn Clock) -> (Timestamp, Option<Duration>) {
        let mut seen = self.0.lock();
        let now = clock.now();
        let Some(monotonic) = clock.monotonic() else { return (now, None) };
        if let Some((then, monotonic_then)) = seen.last {
            let passed = monotonic.saturating_sub(monotonic_then);
            let expected = then.saturating_add(passed);
            if now.saturating_duration_since(expected).max(expected.saturating_duration_since(now))
                > DISAGREEMENT
            {
                tracing::warn!(%expected, %now, "the clock jumped");
                seen.jumped_at = Some(monotonic);
            }
        }
        seen.last = Some((now, monotonic));
        (now, seen.jumped_at.map(|at| monotonic.saturating_sub(at)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_jumps_is_noticed_and_one_that_runs_is_not() {
        let clock = ManualClock::at(Timestamp::EPOCH);
        let watch = ClockWatch::default();
        let second = Duration::from_secs(1);
        assert_eq!(watch.now(&clock).1, None);
        clock.advance(1_000 * second);
        assert_eq!(watch.now(&clock).1, None);

        clock.set(clock.now().saturating_add(second));
        assert_eq!(watch.now(&clock).1, None, "a second is not a jump");
        clock.set(clock.now().saturating_add(2 * second));
        assert_eq!(watch.now(&clock).1, Some(Duration::ZERO));
        clock.advance(5 * second);
        assert_eq!(watch.now(&clock).1, Some(5 * second));
        clock.set(clock.now().saturating_sub(9 * second));
        assert_eq!(watch.now(&clock).1, Some(Duration::ZERO), "nor back unnoticed");
    }
}
