//! The rows of days, months and lifetimes.

use super::{Row, wraps};
use crate::schema::codec::{Decode, DecodeError, Decoder, Encode, EncodeError, Encoder, record};
use crate::schema::tables;
use crate::storage::Table;
use crate::time::{Day, Month};
use crate::types::Totals;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct DailyRow(pub(crate) Totals);

wraps!(DailyRow(Totals));

impl Row for DailyRow {
    const TABLE: Table = tables::DAILY;
}

record! {
    #[derive(Debug, Clone, Copy, PartialEq, Default)]
    pub(crate) struct MonthlyRow {
        pub(crate) totals: Totals,
        /// The part of the totals without daily rows: those were removed, or never existed.
        pub(crate) rolled: Rolled,
    }
}

impl Row for MonthlyRow {
    const TABLE: Table = tables::MONTHLY;
}

record! {
    #[derive(Debug, Clone, Copy, PartialEq, Default)]
    pub(crate) struct LifetimeRow {
        pub(crate) totals: Totals,
        /// The part of the totals without monthly rows: those were removed, or never existed.
        pub(crate) rolled: Rolled,
        /// How many daily rows the worker has, the newest included.
        pub(crate) days: u32,
        /// How many monthly rows the worker has, the newest included.
        pub(crate) months: u32,
        pub(crate) day: Newest<Day, DailyRow>,
        pub(crate) month: Newest<Month, MonthlyRow>,
    }
}

impl Row for LifetimeRow {
    const TABLE: Table = tables::LIFETIME;
}

/// The newest row of a worker's tier, if it has any. It is stored in the worker's lifetime row
/// until there is a newer one, because nearly every record belongs to it: a fold then writes one
/// row, not three.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Newest<P, R>(pub(crate) Option<(P, R)>);

impl<P: Encode, R: Encode> Encode for Newest<P, R> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.0.encode(encoder)
    }
}

impl<P: Decode, R: Decode> Decode for Newest<P, R> {
    fn decode<D: Decoder>(decoder: &mut D) -> Result<Self, DecodeError> {
        Decode::decode(decoder).map(Newest)
    }
}

impl<P, R> Default for Newest<P, R> {
    fn default() -> Newest<P, R> {
        Newest(None)
    }
}

/// The rolled part of a row's totals: nothing or all of them for most rows, which costs a byte.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) enum Rolled {
    #[default]
    Nothing,
    Everything,
    Part(Totals),
}

impl Encode for Rolled {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        match self {
            Rolled::Nothing => 0u8.encode(encoder),
            Rolled::Everything => 1u8.encode(encoder),
            Rolled::Part(part) => (2u8, *part).encode(encoder),
        }
    }
}

impl Decode for Rolled {
    fn decode<D: Decoder>(decoder: &mut D) -> Result<Self, DecodeError> {
        match u8::decode(decoder)? {
            0 => Ok(Rolled::Nothing),
            1 => Ok(Rolled::Everything),
            2 => Decode::decode(decoder).map(Rolled::Part),
            _ => Err(DecodeError::Other("an unknown kind of rolled part")),
        }
    }
}

impl Rolled {
    /// The rolled totals of a row with these totals.
    pub(crate) fn of(self, totals: &Totals) -> Totals {
        match self {
            Rolled::Nothing => Totals::default(),
            Rolled::Everything => *totals,
            Rolled::Part(part) => part,
        }
    }

    /// The shortest form of a rolled part.
    pub(crate) fn new(part: Totals, totals: &Totals) -> Rolled {
        if part.is_empty() {
            Rolled::Nothing
        } else if part == *totals {
            Rolled::Everything
        } else {
            Rolled::Part(part)
        }
    }
}
