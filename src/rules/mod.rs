//! The rules of the store. Each command is data; applying it reads and validates before its first
//! write, because a transaction cannot be rolled back in part: a rejected command must leave it as
//! it was.

mod apply;
mod expiry;
mod fencing;
mod findings;
mod imports;
mod index;
mod jobs;
mod leasing;
mod outcome;
mod retention;
pub(crate) mod tiers;
mod workers;

pub(crate) use apply::apply_all;
pub(crate) use retention::Evicted;
