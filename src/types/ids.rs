//! Ids, tokens and prefixes.

use std::fmt;
use std::ops::Deref;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Defines a number that names one kind of thing and cannot be mistaken for another.
macro_rules! number {
    ($(#[$doc:meta])* $name:ident($inner:ty)) => {
        $(#[$doc])*
        #[derive(
            Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
        )]
        #[serde(transparent)]
        pub struct $name(pub(crate) $inner);

        impl $name {
            /// The number itself.
            #[must_use]
            pub const fn get(self) -> $inner {
                self.0
            }
        }

        /// Not checked here: a call that uses an unknown id fails.
        impl From<$inner> for $name {
            fn from(number: $inner) -> Self {
                Self(number)
            }
        }

        impl From<$name> for $inner {
            fn from(id: $name) -> Self {
                id.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Display::fmt(&self.0, f)
            }
        }
    };
}

number! {
    /// Names one job. Newer jobs have higher numbers, and no number is used twice.
    JobId(u64)
}
number! {
    /// Names one worker.
    WorkerId(u32)
}
number! {
    /// Fences one lease of one job: it grows by one with each new lease of that job.
    Token(u64)
}

/// The bytes that say which key space (or site, or table) a job belongs to.
///
/// It is made from text or bytes, and displays, serializes and parses as its text where that is
/// UTF-8 without control characters, and as `0x` and hexadecimal digits otherwise.
///
/// ```
/// use milepost::Prefix;
///
/// assert_eq!(Prefix::from("site-7").to_string(), "site-7");
/// assert_eq!(Prefix::from([0xff, 0x00]).to_string(), "0xff00");
/// assert_eq!("0xff00".parse(), Ok(Prefix::from([0xff, 0x00])));
/// ```
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(pub(crate) Vec<u8>);

impl Prefix {
    /// Its bytes.
    #[must_use]
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// Its bytes.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

impl<T: Into<Vec<u8>>> From<T> for Prefix {
    fn from(bytes: T) -> Prefix {
        Prefix(bytes.into())
    }
}

impl From<&Prefix> for Prefix {
    fn from(prefix: &Prefix) -> Prefix {
        prefix.clone()
    }
}

impl Deref for Prefix {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl AsRef<[u8]> for Prefix {
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(&self.0) {
            Ok(text) if !text.chars().any(char::is_control) && !text.starts_with("0x") => {
                f.pad(text)
            }
            _ => f.pad(&format!("0x{}", Hex(&self.0))),
        }
    }
}

impl fmt::Debug for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Prefix").field(&format_args!("{self}")).finish()
    }
}

impl FromStr for Prefix {
    type Err = ParsePrefixError;

    fn from_str(text: &str) -> Result<Prefix, ParsePrefixError> {
        match text.strip_prefix("0x") {
            Some(digits) => parse_hex(digits).map(Prefix).ok_or(ParsePrefixError(())),
            None => Ok(text.into()),
        }
    }
}

/// A text that starts with `0x` is not a prefix: what follows is not hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a prefix that starts with 0x needs an even number of hexadecimal digits after it")]
pub struct ParsePrefixError(());

/// Bytes that display as hexadecimal digits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hex<'b>(pub(crate) &'b [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// Parses hexadecimal digits, two for each byte.
pub(crate) fn parse_hex(digits: &str) -> Option<Vec<u8>> {
    let nibble = |digit: u8| char::from(digit).to_digit(16);
    let byte = |pair: &[u8]| match *pair {
        [high, low] => u8::try_from(nibble(high)? << 4 | nibble(low)?).ok(),
        _ => None,
    };
    digits.as_bytes().chunks(2).map(byte).collect()
}

impl Serialize for Prefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Prefix {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_shows_as_text_where_it_is_text_and_can_be_parsed_again() {
        for (bytes, text) in [
            (&b"site-7"[..], "site-7"),
            (b"two words", "two words"),
            ("größe".as_bytes(), "größe"),
            (b"a\nb", "0x610a62"),
            (b"\xff\x00", "0xff00"),
            (b"0xff00", "0x307866663030"),
        ] {
            let prefix = Prefix::from(bytes);

            assert_eq!(prefix.to_string(), text);
            assert_eq!(text.parse(), Ok(prefix));
        }
        assert_eq!(format!("{:>5}", Prefix::from("abc")), "  abc");
    }

    #[test]
    fn what_is_not_hexadecimal_after_0x_is_no_prefix() {
        for text in ["0x1", "0xfg", "0x+1", "0xé"] {
            assert_eq!(text.parse::<Prefix>(), Err(ParsePrefixError(())), "{text}");
        }
        assert_eq!("0xFf".parse(), Ok(Prefix::from([0xff])));
    }
}
