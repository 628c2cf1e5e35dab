//! The acceptance criteria, one test each, by name.
//!
//! Time is fed in by a [`ManualClock`](milepost::ManualClock). Each test cites the promises of
//! `docs/design.md` that it holds, and every store is verified when its test is over: see
//! [`support::Scene`].

#![expect(clippy::unwrap_used, reason = "these are tests")]

#[path = "acceptance/bad_input.rs"]
mod bad_input;
#[path = "acceptance/caps.rs"]
mod caps;
#[path = "acceptance/child.rs"]
mod child;
#[path = "acceptance/failures.rs"]
mod failures;
#[path = "acceptance/files.rs"]
mod files;
#[path = "acceptance/leases.rs"]
mod leases;
#[path = "acceptance/ledger.rs"]
mod ledger;
#[path = "acceptance/scan.rs"]
mod scan;
#[path = "acceptance/support.rs"]
mod support;
#[path = "acceptance/tiers.rs"]
mod tiers;
