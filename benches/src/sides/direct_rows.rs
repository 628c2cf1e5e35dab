//! The rows of the tables, as milepost keeps them.

use std::time::Duration;

use anyhow::{Context, Result};
use bincode::de::Decoder;
use bincode::de::read::Reader;
use bincode::enc::Encoder;
use bincode::enc::write::Writer;
use bincode::error::{DecodeError, EncodeError};
use bincode::{Decode, Encode};
use milepost::{Timestamp, Totals};
use redb::ReadableTable;

use super::shared::batch_totals;

pub(super) type Table<'t> = redb::Table<'t, &'static [u8], &'static [u8]>;

pub(super) fn load<R: Decode<()>>(table: &Table<'_>, key: &[u8]) -> Result<Option<R>> {
    table.get(key)?.map(|value| decode(value.value())).transpose()
}

pub(super) fn store(table: &mut Table<'_>, key: &[u8], row: &impl Encode) -> Result<()> {
    let mut bytes = Vec::with_capacity(64);
    bytes.push(1);
    bincode::encode_into_std_write(row, &mut bytes, bincode::config::standard())?;
    table.insert(key, bytes.as_slice())?;
    Ok(())
}

pub(super) fn decode<R: Decode<()>>(bytes: &[u8]) -> Result<R> {
    let rest = bytes.strip_prefix(&[1]).context("an unknown version of a record")?;
    Ok(bincode::decode_from_slice(rest, bincode::config::standard())?.0)
}

#[derive(Encode, Decode)]
pub(super) struct Control {
    pub(super) caps: CapsRow,
    pub(super) next_job: u64,
    pub(super) next_worker: u32,
    pub(super) jobs: [u64; 5],
    pub(super) history_settling: bool,
    pub(super) workers_settling: Option<u32>,
    pub(super) deleting: Vec<u64>,
    pub(super) latest: i64,
    pub(super) repairing: Option<(i64, u64)>,
}

#[derive(Encode, Decode)]
pub(super) struct CapsRow {
    pub(super) history: u32,
    pub(super) daily: u32,
    pub(super) monthly: u32,
}

#[derive(Encode, Decode)]
pub(super) struct JobRow {
    pub(super) prefix: Vec<u8>,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) cursor: u64,
    pub(super) status: Status,
    pub(super) holder: Option<u32>,
    pub(super) token: u64,
    pub(super) token_live: bool,
    pub(super) leased_cursor: u64,
    pub(super) sequence: u64,
    pub(super) digest: u64,
    pub(super) receipt: Option<Receipt>,
    pub(super) deadline: i64,
    pub(super) length_us: u64,
    pub(super) indexed: i64,
    pub(super) priority: i32,
    pub(super) attempts: u32,
    pub(super) max_attempts: Option<u32>,
    pub(super) batches: u64,
    pub(super) errors: u64,
    pub(super) error_positions: u64,
    pub(super) findings: u64,
    pub(super) items: u128,
    pub(super) duration_us: u128,
    pub(super) created_at: i64,
    pub(super) leased_at: Option<i64>,
    pub(super) checkpoint_at: Option<i64>,
    pub(super) ended_at: Option<i64>,
    pub(super) last_error: Option<String>,
    pub(super) note: Option<String>,
}

#[derive(PartialEq, Encode, Decode)]
pub(super) enum Status {
    Pending,
    Leased,
    Completed,
    Failed,
    Cancelled,
}

#[derive(Encode, Decode)]
pub(super) enum Receipt {
    Moved { cursor: u64, deadline: i64 },
    Renewed { deadline: i64 },
    Completed,
    Failed { attempts: u32, gave_up: bool },
    Released,
}

pub(super) struct HistoryRow {
    pub(super) worker: u32,
    pub(super) job: Option<u64>,
    pub(super) start: u64,
    pub(super) end: u64,
    pub(super) items: u64,
    pub(super) duration_us: u64,
    pub(super) finished_at: i64,
    pub(super) completed: bool,
    pub(super) error: Option<String>,
}

impl HistoryRow {
    pub(super) fn totals(&self) -> Result<Totals> {
        batch_totals(
            self.items as i64,
            self.duration_us as i64,
            self.error.is_some(),
            self.finished_at,
        )
        .map(|totals| totals.with_completed(self.completed.into()))
    }
}

/// A number in LEB128, as milepost writes those of history and totals.
struct Leb128(u128);

impl Encode for Leb128 {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let (mut number, mut bytes, mut length) = (self.0, [0; 19], 0);
        while number > 0x7f {
            bytes[length] = number as u8 | 0x80;
            number >>= 7;
            length += 1;
        }
        bytes[length] = number as u8;
        encoder.writer().write(&bytes[..=length])
    }
}

bincode::impl_borrow_decode!(Leb128);

impl<C> Decode<C> for Leb128 {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let mut number = 0;
        for shift in (0..).step_by(7).take(19) {
            let mut byte = [0];
            decoder.reader().read(&mut byte)?;
            number |= u128::from(byte[0] & 0x7f) << shift;
            if byte[0] < 0x80 {
                return Ok(Leb128(number));
            }
        }
        Err(DecodeError::Other("a number has no end"))
    }
}

fn zigzag(time: i64) -> Leb128 {
    Leb128(u128::from((time << 1 ^ time >> 63) as u64))
}

fn unzigzag(tight: &Leb128) -> i64 {
    (tight.0 >> 1) as i64 ^ -((tight.0 & 1) as i64)
}

impl Encode for HistoryRow {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let numbers = [self.start, self.end - self.start, self.items, self.duration_us];
        (self.worker, self.job).encode(encoder)?;
        numbers.into_iter().try_for_each(|n| Leb128(n.into()).encode(encoder))?;
        (zigzag(self.finished_at), self.completed, &self.error).encode(encoder)
    }
}

bincode::impl_borrow_decode!(HistoryRow);

impl<C> Decode<C> for HistoryRow {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let (worker, job) = Decode::decode(decoder)?;
        let [start, length, items, duration_us]: [Leb128; 4] = Decode::decode(decoder)?;
        let (time, completed, error): (Leb128, _, _) = Decode::decode(decoder)?;
        let start = start.0 as u64;
        Ok(HistoryRow {
            worker,
            job,
            start,
            end: start + length.0 as u64,
            items: items.0 as u64,
            duration_us: duration_us.0 as u64,
            finished_at: unzigzag(&time),
            completed,
            error,
        })
    }
}

#[derive(Clone, Copy, Default)]
pub(super) struct Sums(pub(super) Totals);

impl Encode for Sums {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let Totals { batches, errors, completed, items, .. } = self.0;
        let Totals { min_rate, max_rate, first_at, last_at, .. } = self.0;
        let duration_us = self.0.duration().as_micros();
        let numbers = [batches.into(), errors.into(), completed.into(), items, duration_us];
        numbers.into_iter().try_for_each(|number| Leb128(number).encode(encoder))?;
        min_rate.zip(max_rate).encode(encoder)?;
        let times = first_at.zip(last_at).map(|(first, last)| {
            let (first, last) = (first.as_micros(), last.as_micros());
            (zigzag(first), Leb128(last.abs_diff(first).into()))
        });
        times.encode(encoder)
    }
}

bincode::impl_borrow_decode!(Sums);

impl<C> Decode<C> for Sums {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let [batches, errors, completed, items, duration_us]: [Leb128; 5] =
            Decode::decode(decoder)?;
        let rates: Option<(f64, f64)> = Decode::decode(decoder)?;
        let times: Option<(Leb128, Leb128)> = Decode::decode(decoder)?;
        let at = |micros| Timestamp::from_micros(micros).unwrap_or(Timestamp::EPOCH);
        let mut totals = Totals::new(batches.0 as u64, items.0)
            .with_errors(errors.0 as u64)
            .with_completed(completed.0 as u64)
            .with_duration(Duration::from_micros(duration_us.0 as u64));
        totals.min_rate = rates.map(|(min, _)| min);
        totals.max_rate = rates.map(|(_, max)| max);
        totals.first_at = times.as_ref().map(|(first, _)| at(unzigzag(first)));
        totals.last_at = times.map(|(first, span)| at(unzigzag(&first) + span.0 as i64));
        Ok(Sums(totals))
    }
}

#[derive(Clone, Copy, Default, Encode, Decode)]
pub(super) struct MonthlyRow {
    pub(super) totals: Sums,
    pub(super) rolled: Rolled,
}

#[derive(Default, Encode, Decode)]
pub(super) struct LifetimeRow {
    pub(super) totals: Sums,
    pub(super) rolled: Rolled,
    pub(super) days: u32,
    pub(super) months: u32,
    /// The newest day and month, by their numbers.
    pub(super) day: Option<(i32, Sums)>,
    pub(super) month: Option<(i32, MonthlyRow)>,
}

#[derive(Clone, Copy, Default, Encode, Decode)]
pub(super) enum Rolled {
    #[default]
    Nothing,
    Everything,
    Part(Sums),
}

impl Rolled {
    pub(super) fn of(&self, totals: &Totals) -> Totals {
        match self {
            Rolled::Nothing => Totals::default(),
            Rolled::Everything => *totals,
            Rolled::Part(part) => part.0,
        }
    }

    pub(super) fn new(part: Totals, totals: &Totals) -> Rolled {
        if part.is_empty() {
            Rolled::Nothing
        } else if part == *totals {
            Rolled::Everything
        } else {
            Rolled::Part(Sums(part))
        }
    }
}
