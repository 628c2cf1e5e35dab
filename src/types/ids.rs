//! Ids, tokens and prefixes.

use std::fmt;
use std::ops::Deref;

use serde::{Deserialize, Serialize, Serializer};

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
            pub fn number(self) -> $inner {
                self.0
            }

            /// The id with this number, as returned by [`number`](Self::number). It is not checked
            /// here: a call that uses an unknown id fails.
            #[must_use]
            pub fn from_number(number: $inner) -> Self {
                Self(number)
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
/// It displays and serializes as its text where that is plain ASCII, and as `0x` and hexadecimal
/// digits otherwise.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Prefix(pub(crate) Vec<u8>);

impl Deref for Prefix {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.0
    }
}

impl fmt::Display for Prefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match std::str::from_utf8(&self.0) {
            Ok(text) if self.0.iter().all(u8::is_ascii_graphic) && !text.starts_with("0x") => {
                f.pad(text)
            }
            _ => {
                write!(f, "0x{}", Hex(&self.0))
            }
        }
    }
}

/// Bytes that display as hexadecimal digits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Hex<'b>(pub(crate) &'b [u8]);

impl fmt::Display for Hex<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl Serialize for Prefix {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_shows_as_text_only_where_that_is_plain() {
        assert_eq!(Prefix(b"site-7".to_vec()).to_string(), "site-7");
        assert_eq!(Prefix(b"\xff\x00".to_vec()).to_string(), "0xff00");
        assert_eq!(Prefix(b"0xff00".to_vec()).to_string(), "0x307866663030");
        assert_eq!(Prefix(b"two words".to_vec()).to_string(), "0x74776f20776f726473");
    }
}
