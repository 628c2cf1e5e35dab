//! How records become rows: tables, keys, codec.

pub(crate) mod access;
pub(crate) mod codec;
mod fields;
#[cfg(test)]
mod golden;
pub(crate) mod key;
pub(crate) mod meta;
pub(crate) mod rows;
pub mod tables;
