//! Instants, days and months, all in UTC.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use jiff::civil::Date;
use jiff::tz::Offset;
use jiff::{SignedDuration, Span};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::error::{Error, Result, time_out_of_range};

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

    /// The instant so many microseconds after (or, if negative, before) 1970.
    ///
    /// # Errors
    /// [`Error::Invalid`] outside the years -9999 to 9999.
    pub fn from_micros(micros: i64) -> Result<Timestamp> {
        if (Self::MIN.0..=Self::MAX.0).contains(&micros) {
            Ok(Timestamp(micros))
        } else {
            Err(time_out_of_range(micros))
        }
    }

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

    /// This instant moved forward, held at [`Timestamp::MAX`].
    #[must_use]
    pub fn after(self, duration: Duration) -> Timestamp {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self::clamped(self.0.saturating_add(micros))
    }

    /// This instant moved back, held at [`Timestamp::MIN`].
    #[must_use]
    pub fn before(self, duration: Duration) -> Timestamp {
        let micros = i64::try_from(duration.as_micros()).unwrap_or(i64::MAX);
        Self::clamped(self.0.saturating_sub(micros))
    }

    /// The time from `earlier` to this instant; zero if this one is not later.
    #[must_use]
    pub fn since(self, earlier: Timestamp) -> Duration {
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

impl FromStr for Timestamp {
    type Err = Error;

    fn from_str(text: &str) -> Result<Timestamp> {
        let parsed: jiff::Timestamp = text
            .parse()
            .map_err(|e| Error::invalid(format!("{text:?} is not an RFC 3339 time: {e}")))?;
        Timestamp::from_micros(parsed.as_microsecond())
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

    /// The day of a date.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the calendar has no such day.
    pub fn new(year: i16, month: i8, day: i8) -> Result<Day> {
        Date::new(year, month, day)
            .map(Day::from_date)
            .map_err(|e| Error::invalid(format!("{year}-{month}-{day} is not a day: {e}")))
    }

    /// The day so many days after (or before) 1970-01-01.
    ///
    /// # Errors
    /// [`Error::Invalid`] outside the years -9999 to 9999.
    pub fn from_number(number: i32) -> Result<Day> {
        if !(Day::MIN..=Day::MAX).contains(&number) {
            return Err(Error::invalid(format!("day {number} is outside the calendar")));
        }
        Ok(Day(number))
    }

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

impl FromStr for Day {
    type Err = Error;

    fn from_str(text: &str) -> Result<Day> {
        text.parse()
            .map(Day::from_date)
            .map_err(|e| Error::invalid(format!("{text:?} is not a day such as 2026-02-16: {e}")))
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

    /// A month of a year; January is 1.
    ///
    /// # Errors
    /// [`Error::Invalid`] if the calendar has no such month.
    pub fn new(year: i16, month: i8) -> Result<Month> {
        Date::new(year, month, 1)
            .map(Month::from_date)
            .map_err(|e| Error::invalid(format!("{year}-{month} is not a month: {e}")))
    }

    /// The month so many months after (or before) 1970-01.
    ///
    /// # Errors
    /// [`Error::Invalid`] outside the years -9999 to 9999.
    pub fn from_number(number: i32) -> Result<Month> {
        if !(Month::MIN..=Month::MAX).contains(&number) {
            return Err(Error::invalid(format!("month {number} is outside the calendar")));
        }
        Ok(Month(number))
    }

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

impl FromStr for Month {
    type Err = Error;

    fn from_str(text: &str) -> Result<Month> {
        Date::strptime("%Y-%m-%d", format!("{text}-01"))
            .map(Month::from_date)
            .map_err(|e| Error::invalid(format!("{text:?} is not a month such as 2026-02: {e}")))
    }
}

/// Serializes and deserializes a type by its `Display` and `FromStr`.
macro_rules! serde_as_text {
    ($($name:ty),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

serde_as_text!(Timestamp, Day, Month);

#[cfg(test)]
mod tests {
    use super::*;

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
