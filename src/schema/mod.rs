//! The layout of the file: tables, keys and the encoding of records.

pub(crate) mod access;
pub(crate) mod codec;
mod fields;
#[cfg(test)]
mod golden;
pub(crate) mod key;
pub(crate) mod meta;
pub(crate) mod rows;
pub mod tables;
