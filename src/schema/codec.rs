//! The encoding of records: a version byte, then bincode. Only this file uses bincode directly.
//!
//! The layout is frozen: the tests in `golden` compare bytes, and a new layout needs a new version.
//! Decoding is bounded, so a corrupt length is an error and not an allocation.
//!
//! Records implement the two traits of this module, which are private to the crate, so that no
//! public type shows how it is stored.

use std::collections::BTreeMap;

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::de::read::Reader;
use bincode::enc::write::Writer;
pub(crate) use bincode::{
    de::Decoder,
    enc::Encoder,
    error::{DecodeError, EncodeError},
};
use xxhash_rust::xxh3::xxh3_64;

/// The version that every record starts with.
pub(crate) const VERSION: u8 = 1;

/// No record is longer: the longest is a finding with 64 KiB of payload.
const LIMIT: usize = 1 << 17;

const CONFIG: Configuration<LittleEndian, Varint, Limit<LIMIT>> =
    bincode::config::standard().with_limit::<LIMIT>();

/// A value that can be written into a record.
pub(crate) trait Encode {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError>;
}

/// A value that can be read from a record.
pub(crate) trait Decode: Sized {
    fn decode<D: Decoder>(decoder: &mut D) -> Result<Self, DecodeError>;
}

/// The bytes of a record.
pub(crate) fn encode<T: Encode>(record: &T) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(64);
    bytes.push(VERSION);
    append(record, &mut bytes);
    bytes
}

/// Decodes a record. The error says what is wrong with the bytes.
pub(crate) fn decode<T: Decode>(bytes: &[u8]) -> Result<T, String> {
    let Some((version, rest)) = bytes.split_first() else { return Err("it is empty".into()) };
    if *version != VERSION {
        return Err(format!("it has record version {version}, not {VERSION}"));
    }
    let (Wire(record), used) =
        bincode::decode_from_slice(rest, CONFIG).map_err(|error| error.to_string())?;
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
    let encoded = bincode::encode_into_std_write(Wire(value), bytes, bincode::config::standard());
    debug_assert!(encoded.is_ok(), "encoding into memory cannot fail");
}

/// Adapts a value to the traits of bincode.
struct Wire<T>(T);

impl<T: Encode> bincode::Encode for Wire<&T> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.0.encode(encoder)
    }
}

impl<C, T: Decode> bincode::Decode<C> for Wire<T> {
    fn decode<D: Decoder<Context = C>>(decoder: &mut D) -> Result<Self, DecodeError> {
        T::decode(decoder).map(Wire)
    }
}

/// Implements the traits for types that use bincode's own encoding.
macro_rules! as_bincode_does {
    ($($type:ty),*) => {$(
        impl Encode for $type {
            fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
                bincode::Encode::encode(self, encoder)
            }
        }

        impl Decode for $type {
            fn decode<D: Decoder>(decoder: &mut D) -> Result<Self, DecodeError> {
                bincode::Decode::decode(decoder)
            }
        }
    )*};
}

as_bincode_does!(u8, u32, u64, u128, i32, i64, f64, bool, String, Vec<u8>, [u64; 5]);

impl<T: Encode> Encode for &T {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        (*self).encode(encoder)
    }
}

impl<T: Encode> Encode for Option<T> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        self.is_some().encode(encoder)?;
        self.as_ref().map_or(Ok(()), |value| value.encode(encoder))
    }
}

impl<T: Decode> Decode for Option<T> {
    fn decode<D: Decoder>(decoder: &mut D) -> Result<Self, DecodeError> {
        let is_some = bool::decode(decoder)?;
        is_some.then(|| T::decode(decoder)).transpose()
    }
}

/// Pairs in the order of their keys.
impl<K: Encode + Ord, V: Encode> Encode for BTreeMap<K, V> {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        (self.len() as u64).encode(encoder)?;
        self.iter().try_for_each(|(key, value)| (key, value).encode(encoder))
    }
}

impl<K: Decode + Ord, V: Decode> Decode for BTreeMap<K, V> {
    fn decode<D: Decoder>(decoder: &mut D) -> Result<Self, DecodeError> {
        let length = u64::decode(decoder)?;
        (0..length).map(|_| <(K, V)>::decode(decoder)).collect()
    }
}

/// Writes the number of values, then each of them.
pub(crate) fn encode_list<T: Encode, E: Encoder>(
    list: &[T],
    encoder: &mut E,
) -> Result<(), EncodeError> {
    (list.len() as u64).encode(encoder)?;
    list.iter().try_for_each(|value| value.encode(encoder))
}

/// Reads a list written by [`encode_list`].
pub(crate) fn decode_list<T: Decode, D: Decoder>(decoder: &mut D) -> Result<Vec<T>, DecodeError> {
    let length = u64::decode(decoder)?;
    // The vector grows as values are read, so a corrupt length fails at the end of the bytes and
    // allocates nothing.
    (0..length).map(|_| T::decode(decoder)).collect()
}

macro_rules! tuples {
    ($($(($name:ident $at:tt))+;)*) => {$(
        impl<$($name: Encode),+> Encode for ($($name,)+) {
            fn encode<En: Encoder>(&self, encoder: &mut En) -> Result<(), EncodeError> {
                $(self.$at.encode(encoder)?;)+
                Ok(())
            }
        }

        impl<$($name: Decode),+> Decode for ($($name,)+) {
            fn decode<De: Decoder>(decoder: &mut De) -> Result<Self, DecodeError> {
                Ok(($($name::decode(decoder)?,)+))
            }
        }
    )*};
}

tuples! {
    (A 0) (B 1);
    (A 0) (B 1) (C 2);
    (A 0) (B 1) (C 2) (F 3);
}

/// Defines a record, written field by field in the order of its definition.
macro_rules! record {
    ($(#[$meta:meta])* $vis:vis struct $name:ident {
        $($(#[$field_meta:meta])* $field_vis:vis $field:ident: $type:ty,)*
    }) => {
        $(#[$meta])*
        $vis struct $name {
            $($(#[$field_meta])* $field_vis $field: $type,)*
        }

        impl $crate::schema::codec::Encode for $name {
            fn encode<E: $crate::schema::codec::Encoder>(
                &self,
                encoder: &mut E,
            ) -> Result<(), $crate::schema::codec::EncodeError> {
                $($crate::schema::codec::Encode::encode(&self.$field, encoder)?;)*
                Ok(())
            }
        }

        impl $crate::schema::codec::Decode for $name {
            fn decode<D: $crate::schema::codec::Decoder>(
                decoder: &mut D,
            ) -> Result<Self, $crate::schema::codec::DecodeError> {
                Ok($name {
                    $($field: $crate::schema::codec::Decode::decode(decoder)?,)*
                })
            }
        }
    };
}
pub(crate) use record;

/// A number in as many bytes as it needs, seven bits in each, the lowest first: the unsigned
/// LEB128 of DWARF. bincode's own form takes nine bytes for what exceeds 32 bits, as most times
/// and durations in microseconds do.
#[derive(Debug)]
pub(crate) struct Leb128<N>(pub(crate) N);

impl<N: Copy + Into<u128>> Encode for Leb128<N> {
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

impl<N: TryFrom<u128>> Decode for Leb128<N> {
    fn decode<D: Decoder>(decoder: &mut D) -> Result<Self, DecodeError> {
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
                return fits.map(Leb128).map_err(|_| DecodeError::Other("a number is too large"));
            }
        }
        Err(DecodeError::Other("a number has no end"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::fields;
    use crate::time::Timestamp;

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
    fn leb128_numbers_survive_and_those_that_do_not_fit_are_refused() {
        for shift in 0..128 {
            for number in [u128::MAX >> shift, 1 << shift, (1 << shift) + 1] {
                let bytes = encode(&Leb128(number));
                assert_eq!(decode::<Leb128<u128>>(&bytes).unwrap().0, number);
                assert!(
                    bytes.len() <= 1 + (128 - number.leading_zeros() as usize).div_ceil(7).max(1)
                );
                let fits = decode::<Leb128<u64>>(&bytes).map(|number| number.0).ok();
                assert_eq!(fits, u64::try_from(number).ok());
            }
        }
        for micros in [0, 1, -1, i64::from(i32::MIN), Timestamp::MIN.as_micros()] {
            let at = Timestamp::from_micros(micros).unwrap();
            assert_eq!(fields::time(fields::leb128_time(at)).unwrap(), at);
        }
        let endless = [&[VERSION][..], &[0xff; 18], &[4]].concat();
        assert!(decode::<Leb128<u128>>(&endless).is_err());
        assert!(decode::<Leb128<u64>>(&[VERSION, 0x80]).is_err());
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
