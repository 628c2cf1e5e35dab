//! How records become rows: tables, keys, codec.

pub(crate) mod codec;
mod fields;
#[cfg(test)]
mod golden;
pub(crate) mod key;
pub(crate) mod rows;
pub(crate) mod tables;
