//! Instants, days and months, all in UTC.

mod parse;

use std::fmt;
use std::time::{Duration, SystemTime};

use jiff::civil::Date;
use jiff::tz::Offset;
use jiff::{SignedDuration, Span};

const EPOCH: Date = Date::constant(1970, 1, 1);

/// An instant in UTC, in whole microseconds since 1970-01-01T00:00:00Z.
///
/// It displays, serializes and parses as RFC 3339.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(i64);

impl Timestamp {
    /// The earliest instant, in the year -9999.
    pub const MIN: Timestamp = Timestamp(-377_705_023_201 * 1_000_000);
    /// The latest instant, in the year 9999.
    pub const MAX: Timestamp = Timestamp(253_402_207_200 * 1_000_000);
    /// 1970-01-01T00:00:00Z.
    pub const EPOCH: Timestamp = Timestamp(0);

    /// The instant so many seconds after 1970, held within [`Timestamp::MIN`] and
    /// [`Timestamp::MAX`].
    #[must_use]
    pub fn from_secs(secs: i64) -> Timestamp {
        Self::clamped(secs.saturating_mul(1_000_000))
    }

    /// Microseconds since 1970.
    #[must_use]
    pub fn as_micros(self) -> i64 {
        self.0
    }

    /// The instant so many milliseconds after 1970, held within [`Timestamp::MIN`] and
    /// [`Timestamp::MAX`].
    #[must_use]
    pub fn from_millis(millis: i64) -> Timestamp {
        Self::clamped(millis.saturating_mul(1_000))
    }

    /// Whole milliseconds since 1970, rounded down.
    #[must_use]
    pub fn as_millis(self) -> i64 {
        self.0.div_euclid(1_000)
    }

    /// This instant moved forward, held at [`Timestamp::MAX`].
    #[must_use]
    pub fn saturating_add(self, duration: Duration) -> Timestamp {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self::clamped(self.0.saturating_add(micros))
    }

    /// This instant moved back, held at [`Timestamp::MIN`].
    #[must_use]
    pub fn saturating_sub(self, duration: Duration) -> Timestamp {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self::clamped(self.0.saturating_sub(micros))
    }

    /// The time from `earlier` to this instant; zero if this one is not later.
    #[must_use]
    pub fn saturating_duration_since(self, earlier: Timestamp) -> Duration {
        Duration::from_micros(u64::try_from(self.0.saturating_sub(earlier.0)).unwrap_or(0))
    }

    /// The UTC day this instant falls on.
    #[must_use]
    pub fn day(self) -> Day {
        Day::from_date(Offset::UTC.to_datetime(self.to_jiff()).date())
    }

    pub(crate) fn clamped(micros: i64) -> Timestamp {
        Timestamp(micros.clamp(Self::MIN.0, Self::MAX.0))
    }

    fn to_jiff(self) -> jiff::Timestamp {
        // Cannot fail: every constructor keeps to jiff's own range.
        jiff::Timestamp::from_microsecond(self.0).unwrap_or_default()
    }
}

impl From<SystemTime> for Timestamp {
    /// In whole microseconds, rounded down, and held within [`Timestamp::MIN`] and
    /// [`Timestamp::MAX`].
    fn from(time: SystemTime) -> Timestamp {
        match time.duration_since(SystemTime::UNIX_EPOCH) {
            Ok(after) => Timestamp::EPOCH.saturating_add(after),
            Err(error) => {
                let before = error.duration();
                // A part of a microsecond before 1970 belongs to the microsecond before it.
                let up = Duration::from_nanos(u64::from(before.subsec_nanos() % 1_000 > 0) * 1_000);
                Timestamp::EPOCH.saturating_sub(before.saturating_add(up))
            }
        }
    }
}

impl From<Timestamp> for SystemTime {
    fn from(at: Timestamp) -> SystemTime {
        let distance = Duration::from_micros(at.0.unsigned_abs());
        let time = match at.0 < 0 {
            true => SystemTime::UNIX_EPOCH.checked_sub(distance),
            false => SystemTime::UNIX_EPOCH.checked_add(distance),
        };
        // Some systems cannot express the earliest times.
        time.unwrap_or(SystemTime::UNIX_EPOCH)
    }
}

impl From<jiff::Timestamp> for Timestamp {
    /// In whole microseconds, rounded down, and held within [`Timestamp::MIN`] and
    /// [`Timestamp::MAX`].
    fn from(at: jiff::Timestamp) -> Timestamp {
        Timestamp::clamped(at.as_nanosecond().div_euclid(1_000) as i64)
    }
}

impl From<Timestamp> for jiff::Timestamp {
    fn from(at: Timestamp) -> jiff::Timestamp {
        at.to_jiff()
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.to_jiff(), f)
    }
}

impl fmt::Debug for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A UTC calendar day, counted in days since 1970-01-01.
///
/// It displays, serializes and parses as `2026-02-16`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Day(i32);

impl Day {
    /// The calendar's first day and last, as numbers: rows name so many that each should not have
    /// to be looked up there.
    const MIN: i32 = -4_371_587;
    const MAX: i32 = 2_932_896;

    /// Days since 1970-01-01.
    #[must_use]
    pub fn number(self) -> i32 {
        self.0
    }

    /// The month this day belongs to.
    #[must_use]
    pub fn month(self) -> Month {
        Month::from_date(self.date())
    }

    /// The first instant of this day.
    #[must_use]
    pub fn start(self) -> Timestamp {
        Timestamp::clamped(i64::from(self.0).saturating_mul(86_400_000_000))
    }

    fn from_date(date: Date) -> Day {
        // Cannot overflow: jiff's calendar spans about 7.3 million days.
        Day(i32::try_from(EPOCH.duration_until(date).as_hours() / 24).unwrap_or(0))
    }

    fn date(self) -> Date {
        EPOCH.saturating_add(SignedDuration::from_hours(24 * i64::from(self.0)))
    }
}

impl fmt::Display for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.date(), f)
    }
}

impl fmt::Debug for Day {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// A UTC calendar month, counted in months since 1970-01.
///
/// It displays, serializes and parses as `2026-02`.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Month(i32);

impl Month {
    /// The calendar's first month and last, as numbers.
    const MIN: i32 = -143_628;
    const MAX: i32 = 96_359;

    /// Months since 1970-01.
    #[must_use]
    pub fn number(self) -> i32 {
        self.0
    }

    /// The first day of this month.
    #[must_use]
    pub fn first_day(self) -> Day {
        Day::from_date(self.date())
    }

    /// The last day of this month.
    #[must_use]
    pub fn last_day(self) -> Day {
        Day::from_date(self.date().last_of_month())
    }

    fn from_date(date: Date) -> Month {
        Month((i32::from(date.year()) - 1970) * 12 + i32::from(date.month()) - 1)
    }

    fn date(self) -> Date {
        EPOCH.saturating_add(Span::new().try_months(self.0).unwrap_or_default())
    }
}

impl fmt::Display for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(&self.date().strftime("%Y-%m"), f)
    }
}

impl fmt::Debug for Month {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_of_the_system_and_of_jiff_convert_and_are_rounded_down() {
        for nanos in
            [0i64, 1, 999, 1_000, 1_001, -1, -999, -1_000, -1_001, 1_771_243_200_000_000_001]
        {
            let distance = Duration::from_nanos(nanos.unsigned_abs());
            let system = match nanos < 0 {
                true => SystemTime::UNIX_EPOCH - distance,
                false => SystemTime::UNIX_EPOCH + distance,
            };
            let of_jiff = jiff::Timestamp::from_nanosecond(nanos.into()).unwrap();
            let micros = nanos.div_euclid(1_000);

            assert_eq!(Timestamp::from(system).as_micros(), micros, "{nanos}");
            assert_eq!(Timestamp::from(of_jiff).as_micros(), micros, "{nanos}");
            assert_eq!(Timestamp::from(system).as_millis(), nanos.div_euclid(1_000_000));
        }
        for at in [Timestamp::MIN, Timestamp::from_millis(-1), Timestamp::EPOCH, Timestamp::MAX] {
            assert_eq!(Timestamp::from(SystemTime::from(at)), at);
            assert_eq!(Timestamp::from(jiff::Timestamp::from(at)), at);
        }
        assert_eq!(Timestamp::from(jiff::Timestamp::MAX), Timestamp::MAX);
    }

    #[test]
    fn the_range_is_that_of_the_calendar() {
        assert_eq!(Timestamp::MIN.0, jiff::Timestamp::MIN.as_microsecond());
        assert!(Timestamp::MAX.0 <= jiff::Timestamp::MAX.as_microsecond());
        assert!(Timestamp::from_micros(i64::MAX).is_err());
        for (number, date) in [(Day::MIN, Date::MIN), (Day::MAX, Date::MAX)] {
            assert_eq!(Day::from_number(number).unwrap(), Day::from_date(date));
            assert_eq!(Day(number).date(), date);
        }
        for (number, date) in [(Month::MIN, Date::MIN), (Month::MAX, Date::MAX)] {
            assert_eq!(Month::from_number(number).unwrap(), Month::from_date(date));
        }
        assert!(Day::from_number(Day::MIN - 1).is_err() && Day::from_number(Day::MAX + 1).is_err());
        assert!(Month::from_number(Month::MIN - 1).is_err());
        assert!(Month::from_number(Month::MAX + 1).is_err());
        assert_eq!(Timestamp::MIN.to_string().parse::<Timestamp>().unwrap(), Timestamp::MIN);
        assert_eq!(Timestamp::MAX.to_string().parse::<Timestamp>().unwrap(), Timestamp::MAX);
    }

    #[test]
    fn an_instant_belongs_to_the_day_it_falls_on() {
        for (time, day) in [
            ("1970-01-01T00:00:00Z", "1970-01-01"),
            ("1969-12-31T23:59:59.999999Z", "1969-12-31"),
            ("2024-02-29T23:59:59.999999Z", "2024-02-29"),
            ("2024-03-01T00:00:00Z", "2024-03-01"),
            ("2025-12-31T23:59:59Z", "2025-12-31"),
        ] {
            let at: Timestamp = time.parse().unwrap();
            assert_eq!(at.day().to_string(), day);
            assert_eq!(at.day().month().to_string(), day[..7]);
        }
    }

    #[test]
    fn days_and_months_survive_their_numbers_and_their_text() {
        for number in [-4_371_000, -1, 0, 1, 59, 11_016, 20_500, 2_900_000] {
            let day = Day::from_number(number).unwrap();
            assert_eq!(day.number(), number);
            assert_eq!(day.to_string().parse::<Day>().unwrap(), day);
            assert_eq!(day.start().day(), day);
            let month = day.month();
            assert_eq!(Month::from_number(month.number()).unwrap(), month);
            assert!(month.first_day() <= day && day <= month.last_day());
        }
        let february: Month = "2024-02".parse().unwrap();
        assert_eq!(february.last_day().to_string(), "2024-02-29");
        assert!("2024-13".parse::<Month>().is_err());
        assert!("2023-02-29".parse::<Day>().is_err());
        assert!(Month::from_number(i32::MAX).is_err());
        assert!(Day::from_number(i32::MIN).is_err());
    }
}
