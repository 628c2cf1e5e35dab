//! The encoding of the types that fields of records have.

use crate::config::Caps;
use crate::schema::codec::{
    Decode, DecodeError, Decoder, Encode, EncodeError, Encoder, Leb128, decode_list, encode_list,
};
use crate::time::{Day, Month, Timestamp};
use crate::types::{
    Action, Batch, BatchOutcome, FailOutcome, Import, ImportRecord, JobId, JobStatus, NewFinding,
    PastBatch, Receipt, Token, Totals, WorkerId,
};

macro_rules! numbers {
    ($($name:ident),*) => {$(
        impl Encode for $name {
            fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
                self.0.encode(encoder)
            }
        }

        impl Decode for $name {
            fn decode<D: Decoder>(decoder: &mut D) -> Result<Self, DecodeError> {
                Decode::decode(decoder).map($name)
            }
        }
    )*};
}

numbers!(JobId, WorkerId, Token);

impl Encode for Vec<JobId> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        encode_list(self, encoder)
    }
}

impl Decode for Vec<JobId> {
    fn decode<D: Decoder>(decoder: &mut D) -> Result<Self, DecodeError> {
        decode_list(decoder)
    }
}

impl Encode for JobStatus {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        (*self as u8).encode(encoder)
    }
}

impl Decode for JobStatus {
    fn decode<D: Decoder>(decoder: &mut D) -> Result<Self, DecodeError> {
        let status = JobStatus::ALL.get(usize::from(u8::decode(decoder)?));
        status.copied().ok_or(DecodeError::Other("an unknown job status"))
    }
}

impl Encode for BatchOutcome {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        (*self as u8).encode(encoder)
    }
}

impl Decode for BatchOutcome {
    fn decode<D: Decoder>(decoder: &mut D) -> Result<Self, DecodeError> {
        match u8::decode(decoder)? {
            0 => Ok(BatchOutcome::Done),
            1 => Ok(BatchOutcome::Completed),
            2 => Ok(BatchOutcome::Failed),
            _ => Err(DecodeError::Other("an unknown outcome of a batch")),
        }
    }
}

impl Encode for Caps {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        (self.history, self.daily, self.monthly).encode(encoder)
    }
}

impl Decode for Caps {
    fn decode<D: Decoder>(decoder: &mut D) -> Result<Self, DecodeError> {
        let (history, daily, monthly) = Decode::decode(decoder)?;
        Ok(Caps { history, daily, monthly })
    }
}

// Time

impl Encode for Timestamp {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.as_micros().encode(encoder)
    }
}

impl Decode for Timestamp {
    fn decode<D: Decoder>(decoder: &mut D) -> Result<Self, DecodeError> {
        Timestamp::from_micros(Decode::decode(decoder)?)
            .map_err(|error| DecodeError::OtherString(error.to_string()))
    }
}

macro_rules! periods {
    ($($name:ident),*) => {$(
        impl Encode for $name {
            fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
                self.number().encode(encoder)
            }
        }

        impl Decode for $name {
            fn decode<D: Decoder>(decoder: &mut D) -> Result<Self, DecodeError> {
                $name::from_number(Decode::decode(decoder)?)
                    .map_err(|error| DecodeError::OtherString(error.to_string()))
            }
        }
    )*};
}

periods!(Day, Month);

/// A time as a LEB128 number: those after 1970 are even, those before odd.
pub(super) fn leb128_time(at: Timestamp) -> Leb128<u64> {
    let micros = at.as_micros();
    Leb128((micros << 1 ^ micros >> 63) as u64)
}

pub(super) fn time(number: Leb128<u64>) -> Result<Timestamp, DecodeError> {
    let micros = (number.0 >> 1) as i64 ^ -((number.0 & 1) as i64);
    Timestamp::from_micros(micros).map_err(|error| DecodeError::OtherString(error.to_string()))
}

// Totals

/// Most bytes of a full store are totals, so their encoding is short: both rates or none, and the
/// last time as its distance from the first.
impl Encode for Totals {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        (Leb128(self.batches), Leb128(self.errors), Leb128(self.completed)).encode(encoder)?;
        (Leb128(self.items), Leb128(self.duration_us)).encode(encoder)?;
        self.min_rate.zip(self.max_rate).encode(encoder)?;
        let times = self.first_at.zip(self.last_at);
        let span = |first: Timestamp, last: Timestamp| last.as_micros().abs_diff(first.as_micros());
        times.map(|(first, last)| (leb128_time(first), Leb128(span(first, last)))).encode(encoder)
    }
}

impl Decode for Totals {
    fn decode<D: Decoder>(decoder: &mut D) -> Result<Self, DecodeError> {
        let (Leb128(batches), Leb128(errors), Leb128(completed)) = Decode::decode(decoder)?;
        let (Leb128(items), Leb128(duration_us)) = Decode::decode(decoder)?;
        let rates: Option<(f64, f64)> = Decode::decode(decoder)?;
        let times: Option<(Leb128<u64>, Leb128<u64>)> = Decode::decode(decoder)?;
        let times = times
            .map(|(first, Leb128(span))| {
                let first = time(first)?;
                let last = first
                    .as_micros()
                    .checked_add_unsigned(span)
                    .and_then(|micros| Timestamp::from_micros(micros).ok())
                    .ok_or(DecodeError::Other("a last time outside the calendar"))?;
                Ok::<_, DecodeError>((first, last))
            })
            .transpose()?;
        Ok(Totals {
            batches,
            errors,
            completed,
            items,
            duration_us,
            min_rate: rates.map(|(min, _)| min),
            max_rate: rates.map(|(_, max)| max),
            first_at: times.map(|(first, _)| first),
            last_at: times.map(|(_, last)| last),
        })
    }
}

// Receipts

impl Encode for Receipt {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        match self {
            Receipt::Moved { cursor, deadline } => (0u8, *cursor, *deadline).encode(encoder),
            Receipt::Renewed { deadline } => (1u8, *deadline).encode(encoder),
            Receipt::Completed => 2u8.encode(encoder),
            Receipt::Failed(FailOutcome::Requeued { attempts }) => {
                (3u8, *attempts, false).encode(encoder)
            }
            Receipt::Failed(FailOutcome::Failed { attempts }) => {
                (3u8, *attempts, true).encode(encoder)
            }
            Receipt::Released => 4u8.encode(encoder),
        }
    }
}

impl Decode for Receipt {
    fn decode<D: Decoder>(decoder: &mut D) -> Result<Self, DecodeError> {
        Ok(match u8::decode(decoder)? {
            0 => {
                let (cursor, deadline) = Decode::decode(decoder)?;
                Receipt::Moved { cursor, deadline }
            }
            1 => Receipt::Renewed { deadline: Decode::decode(decoder)? },
            2 => Receipt::Completed,
            3 => {
                let (attempts, is_failed) = Decode::decode(decoder)?;
                Receipt::Failed(match is_failed {
                    false => FailOutcome::Requeued { attempts },
                    true => FailOutcome::Failed { attempts },
                })
            }
            4 => Receipt::Released,
            _ => return Err(DecodeError::Other("an unknown kind of receipt")),
        })
    }
}

// Encodings that are only hashed, to tell commands apart, and never stored.

impl Encode for Action {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        match self {
            Action::Checkpoint(batch) => (0u8, batch).encode(encoder),
            Action::Renew => 1u8.encode(encoder),
            Action::Fail { reason, batch } => (2u8, reason, batch).encode(encoder),
            Action::Release => 3u8.encode(encoder),
            Action::Heartbeat { note } => (4u8, note).encode(encoder),
        }
    }
}

impl Encode for Batch {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        (self.start, self.end, self.items, self.duration_us()).encode(encoder)?;
        self.error.encode(encoder)?;
        encode_list(&self.findings, encoder)
    }
}

impl Encode for NewFinding {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        (&self.key, &self.payload, self.unique_in_store).encode(encoder)
    }
}

impl Encode for Import {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        (&self.source, self.number).encode(encoder)?;
        encode_list(&self.records, encoder)
    }
}

impl Encode for ImportRecord {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        match self {
            ImportRecord::History(batch) => (0u8, batch).encode(encoder),
            ImportRecord::Daily(worker, day, totals) => {
                (1u8, *worker, *day, *totals).encode(encoder)
            }
            ImportRecord::Monthly(worker, month, totals) => {
                (2u8, *worker, *month, *totals).encode(encoder)
            }
            ImportRecord::Lifetime(worker, totals) => (3u8, *worker, *totals).encode(encoder),
        }
    }
}

impl Encode for PastBatch {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        (self.worker, self.job, self.start, self.end).encode(encoder)?;
        (self.items, self.duration_us(), self.finished_at, &self.error).encode(encoder)?;
        self.outcome.encode(encoder)
    }
}
