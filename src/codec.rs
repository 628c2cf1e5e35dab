//! How records become bytes: a version byte, then bincode. The only file that names bincode.
//!
//! The bytes are frozen: the tests of `golden` hold them, and a new layout needs a new version.
//! Decoding is bounded, so a corrupt length is an error and not an allocation.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::de::Decoder;
use bincode::enc::Encoder;
use bincode::error::{DecodeError, EncodeError};
pub(crate) use bincode::{Decode, Encode};
use xxhash_rust::xxh3::xxh3_64;

use crate::record::Totals;
use crate::time::{Day, Month, Timestamp};

/// The version that every record starts with.
pub(crate) const VERSION: u8 = 1;

/// No record is longer: the longest is a finding with 64 KiB of payload.
const LIMIT: usize = 1 << 17;

const CONFIG: Configuration<LittleEndian, Varint, Limit<LIMIT>> =
    bincode::config::standard().with_limit::<LIMIT>();

/// The bytes of a record.
pub(crate) fn encode<T: Encode>(record: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    bytes.push(VERSION);
    append(record, &mut bytes);
    bytes
}

/// The record of some bytes, or what is wrong with them.
pub(crate) fn decode<T: Decode<()>>(bytes: &[u8]) -> Result<T, String> {
    let Some((version, rest)) = bytes.split_first() else { return Err("it is empty".into()) };
    if *version != VERSION {
        return Err(format!("it has record version {version}, not {VERSION}"));
    }
    let (record, used) = bincode::decode_from_slice(rest, CONFIG).map_err(|e| e.to_string())?;
    if used != rest.len() {
        return Err(format!("{} bytes follow its end", rest.len() - used));
    }
    Ok(record)
}

/// A fingerprint of a value's content, the same in every build: XXH3, 64 bits.
pub(crate) fn digest<T: Encode>(value: &T) -> u64 {
    let mut bytes = Vec::with_capacity(64);
    append(value, &mut bytes);
    xxh3_64(&bytes)
}

fn append<T: Encode>(value: &T, bytes: &mut Vec<u8>) {
    // Only a writer that fails or a sequence of unknown length can fail; a vector and our types
    // are neither.
    let encoded = bincode::encode_into_std_write(value, bytes, bincode::config::standard());
    debug_assert!(encoded.is_ok(), "encoding into memory cannot fail");
}

impl Encode for Timestamp {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.as_micros().encode(encoder)
    }
}

impl<C> Decode<C> for Timestamp {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Timestamp::from_micros(i64::decode(decoder)?)
            .map_err(|e| DecodeError::OtherString(e.to_string()))
    }
}

bincode::impl_borrow_decode!(Timestamp);
bincode::impl_borrow_decode!(Totals);

impl Encode for Day {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.number().encode(encoder)
    }
}

impl Encode for Month {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.number().encode(encoder)
    }
}

/// Totals are most of what a full store holds, so they are kept tight: both rates or none, and
/// the last time as its distance from the first.
impl Encode for Totals {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        (self.batches, self.errors, self.items, self.duration_us).encode(encoder)?;
        self.min_rate.zip(self.max_rate).encode(encoder)?;
        let times = self.first_at.zip(self.last_at);
        times
            .map(|(first, last)| (first, last.as_micros().abs_diff(first.as_micros())))
            .encode(encoder)
    }
}

impl<C> Decode<C> for Totals {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let (batches, errors, items, duration_us) = Decode::decode(decoder)?;
        let rates: Option<(f64, f64)> = Decode::decode(decoder)?;
        let times: Option<(Timestamp, u64)> = Decode::decode(decoder)?;
        let last_at = times
            .map(|(first, span)| {
                first
                    .as_micros()
                    .checked_add_unsigned(span)
                    .and_then(|micros| Timestamp::from_micros(micros).ok())
                    .ok_or(DecodeError::Other("a last time outside the calendar"))
            })
            .transpose()?;
        Ok(Totals {
            batches,
            errors,
            items,
            duration_us,
            min_rate: rates.map(|(min, _)| min),
            max_rate: rates.map(|(_, max)| max),
            first_at: times.map(|(first, _)| first),
            last_at,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_corrupt_length_is_an_error_and_not_an_allocation() {
        // A byte string that claims 2^63 bytes, and one that claims one more than the limit.
        for length in [1u64 << 63, LIMIT as u64 + 1] {
            let mut bytes = vec![VERSION, 253];
            bytes.extend(length.to_le_bytes());
            assert!(decode::<Vec<u8>>(&bytes).is_err());
            assert!(decode::<String>(&bytes).is_err());
        }
    }

    #[test]
    fn other_versions_empty_and_overlong_records_are_refused() {
        let bytes = encode(&7u64);
        assert_eq!(decode::<u64>(&bytes), Ok(7));
        assert!(decode::<u64>(&[]).is_err());
        assert!(decode::<u64>(&[2, 7]).unwrap_err().contains("version 2"));
        assert!(decode::<u64>(&[1, 7, 0]).unwrap_err().contains("1 bytes follow"));
    }
}
