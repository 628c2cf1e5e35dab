//! The acceptance criteria, one test each, by name.
//!
//! Time is fed in by a [`ManualClock`](milepost::ManualClock); nothing sleeps. Each test cites the
//! promises of `docs/design.md` that it holds, and every store is verified when its test is over:
//! see [`support::Scene`].

mod bad_input;
mod bad_leases;
mod calendar;
mod caps;
mod closures;
mod damaged_rows;
mod dropped;
mod engines;
mod exactly_once;
mod failures;
mod files;
mod findings;
mod imports;
mod jobs;
mod keep_alive;
mod leases;
mod ledger;
mod lowering;
mod overtaken;
mod process;
mod scan;
mod sharing;
mod support;
mod threads;
mod tiers;
