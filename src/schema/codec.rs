//! How records become bytes: a version byte, then bincode. The only file that names bincode.
//!
//! The bytes are frozen: the tests of `golden` hold them, and a new layout needs a new version.
//! Decoding is bounded, so a corrupt length is an error and not an allocation.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::de::Decoder;
use bincode::de::read::Reader;
use bincode::enc::Encoder;
use bincode::enc::write::Writer;
use bincode::error::{DecodeError, EncodeError};
pub(crate) use bincode::{Decode, Encode};
use xxhash_rust::xxh3::xxh3_64;

use crate::schema::rows::HistoryRow;
use crate::time::{Day, Month, Timestamp};
use crate::types::{Batch, Totals};

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
bincode::impl_borrow_decode!(Day);
bincode::impl_borrow_decode!(Month);
bincode::impl_borrow_decode!(Totals);
bincode::impl_borrow_decode!(HistoryRow);

/// A number in as many bytes as it needs, seven bits in each, the lowest first: the unsigned
/// LEB128 of DWARF. bincode's own form takes nine bytes for what exceeds 32 bits, as most times
/// and durations in microseconds do.
#[derive(Debug)]
struct Tight<N>(N);

impl<N: Copy + Into<u128>> Encode for Tight<N> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let mut number: u128 = self.0.into();
        let mut bytes = [0; 19];
        let mut length = 0;
        loop {
            bytes[length] = number as u8 & 0x7f;
            number >>= 7;
            length += 1;
            if number == 0 {
                return encoder.writer().write(&bytes[..length]);
            }
            bytes[length - 1] |= 0x80;
        }
    }
}

impl<C, N: TryFrom<u128>> Decode<C> for Tight<N> {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        /// Bytes that hold 128 bits, and of these the ones that fill a machine word.
        const MOST: usize = 19;
        const WORD: usize = 9;

        let mut word = 0u64;
        let mut number = 0u128;
        for at in 0..MOST {
            let mut byte = [0];
            decoder.reader().read(&mut byte)?;
            let bits = byte[0] & 0x7f;
            if at < WORD {
                word |= u64::from(bits) << (7 * at);
            } else if at == MOST - 1 && bits > 3 {
                break;
            } else {
                number |= u128::from(bits) << (7 * at);
            }
            if byte[0] & 0x80 == 0 {
                let fits = N::try_from(number | u128::from(word));
                return fits.map(Tight).map_err(|_| DecodeError::Other("a number is too large"));
            }
        }
        Err(DecodeError::Other("a number has no end"))
    }
}

/// A time as a tight number: those after 1970 are even, those before odd.
fn tight_time(at: Timestamp) -> Tight<u64> {
    let micros = at.as_micros();
    Tight((micros << 1 ^ micros >> 63) as u64)
}

fn time(tight: Tight<u64>) -> Result<Timestamp, DecodeError> {
    let micros = (tight.0 >> 1) as i64 ^ -((tight.0 & 1) as i64);
    Timestamp::from_micros(micros).map_err(|e| DecodeError::OtherString(e.to_string()))
}

/// The worker stands first, as bincode writes it: see [`HistoryRow::mark`].
impl Encode for HistoryRow {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        (self.worker, self.job, Tight(self.start)).encode(encoder)?;
        // A range is checked before it comes here; kept this way, any range survives.
        Tight(self.end.wrapping_sub(self.start)).encode(encoder)?;
        (Tight(self.items), Tight(self.duration_us)).encode(encoder)?;
        (tight_time(self.finished_at), self.completed, &self.error).encode(encoder)
    }
}

impl<C> Decode<C> for HistoryRow {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let (worker, job) = Decode::decode(decoder)?;
        let (Tight(start), Tight(length)): (Tight<u64>, Tight<u64>) = Decode::decode(decoder)?;
        let (Tight(items), Tight(duration_us)) = Decode::decode(decoder)?;
        let finished_at = time(Decode::decode(decoder)?)?;
        let (completed, error) = Decode::decode(decoder)?;
        let end = start.wrapping_add(length);
        Ok(HistoryRow {
            worker,
            job,
            start,
            end,
            items,
            duration_us,
            finished_at,
            completed,
            error,
        })
    }
}

/// What tells two batches apart: for digests, never stored.
impl Encode for Batch {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        (self.start, self.end, self.items, self.duration_us()).encode(encoder)?;
        (&self.error, &self.findings).encode(encoder)
    }
}

impl Encode for Day {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.number().encode(encoder)
    }
}

impl<C> Decode<C> for Day {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Day::from_number(i32::decode(decoder)?).map_err(|e| DecodeError::OtherString(e.to_string()))
    }
}

impl Encode for Month {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.number().encode(encoder)
    }
}

impl<C> Decode<C> for Month {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        Month::from_number(i32::decode(decoder)?)
            .map_err(|e| DecodeError::OtherString(e.to_string()))
    }
}

/// Totals are most of what a full store holds, so they are kept tight: both rates or none, and
/// the last time as its distance from the first.
impl Encode for Totals {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        (Tight(self.batches), Tight(self.errors)).encode(encoder)?;
        (Tight(self.items), Tight(self.duration_us)).encode(encoder)?;
        self.min_rate.zip(self.max_rate).encode(encoder)?;
        let times = self.first_at.zip(self.last_at);
        let span = |first: Timestamp, last: Timestamp| last.as_micros().abs_diff(first.as_micros());
        times.map(|(first, last)| (tight_time(first), Tight(span(first, last)))).encode(encoder)
    }
}

impl<C> Decode<C> for Totals {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        let (Tight(batches), Tight(errors)) = Decode::decode(decoder)?;
        let (Tight(items), Tight(duration_us)) = Decode::decode(decoder)?;
        let rates: Option<(f64, f64)> = Decode::decode(decoder)?;
        let times: Option<(Tight<u64>, Tight<u64>)> = Decode::decode(decoder)?;
        let times = times
            .map(|(first, Tight(span))| {
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
            items,
            duration_us,
            min_rate: rates.map(|(min, _)| min),
            max_rate: rates.map(|(_, max)| max),
            first_at: times.map(|(first, _)| first),
            last_at: times.map(|(_, last)| last),
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
    fn tight_numbers_survive_and_those_that_do_not_fit_are_refused() {
        for shift in 0..128 {
            for number in [u128::MAX >> shift, 1 << shift, (1 << shift) + 1] {
                let bytes = encode(&Tight(number));
                assert_eq!(decode::<Tight<u128>>(&bytes).unwrap().0, number);
                assert!(
                    bytes.len() <= 1 + (128 - number.leading_zeros() as usize).div_ceil(7).max(1)
                );
                let fits = decode::<Tight<u64>>(&bytes).map(|tight| tight.0).ok();
                assert_eq!(fits, u64::try_from(number).ok());
            }
        }
        for micros in [0, 1, -1, i64::from(i32::MIN), Timestamp::MIN.as_micros()] {
            let at = Timestamp::from_micros(micros).unwrap();
            assert_eq!(time(tight_time(at)).unwrap(), at);
        }
        let endless = [&[VERSION][..], &[0xff; 18], &[4]].concat();
        assert!(decode::<Tight<u128>>(&endless).is_err());
        assert!(decode::<Tight<u64>>(&[VERSION, 0x80]).is_err());
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
