//! The rules of the store. Each command is data; applying it reads and validates before its first
//! write. A command that fails after its first write is rolled back alone.

mod apply;
mod contain;
mod expiry;
mod fencing;
mod findings;
mod history;
mod imports;
mod index;
mod jobs;
mod leasing;
mod on_demand;
mod outcome;
mod retention;
#[cfg(test)]
mod tests;
pub(crate) mod tiers;
mod workers;

pub(crate) use apply::apply_all;
