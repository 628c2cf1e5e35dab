//! Times made of numbers and texts, which may be none.

use std::str::FromStr;

use jiff::civil::Date;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::{Day, Month, Timestamp};
use crate::error::{Error, Result};

impl Timestamp {
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

impl Day {
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
}

impl FromStr for Day {
    type Err = Error;

    fn from_str(text: &str) -> Result<Day> {
        text.parse()
            .map(Day::from_date)
            .map_err(|e| Error::invalid(format!("{text:?} is not a day such as 2026-02-16: {e}")))
    }
}

impl Month {
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
}

impl FromStr for Month {
    type Err = Error;

    fn from_str(text: &str) -> Result<Month> {
        Date::strptime("%Y-%m-%d", format!("{text}-01"))
            .map(Month::from_date)
            .map_err(|e| Error::invalid(format!("{text:?} is not a month such as 2026-02: {e}")))
    }
}

/// Refuses a time that calendars cannot show.
fn time_out_of_range(micros: i64) -> Error {
    Error::invalid(format!(
        "{micros} microseconds is outside the calendar: times run from {} to {}",
        Timestamp::MIN,
        Timestamp::MAX
    ))
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
