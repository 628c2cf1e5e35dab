//! The acceptance criteria, one test each, by name.
//!
//! Time is fed in by a [`ManualClock`](milepost::ManualClock); nothing sleeps. Each test cites the
//! promises of `docs/design.md` that it holds, and every store is verified when its test is over:
//! see [`support::Scene`].

#[path = "acceptance/bad_input.rs"]
mod bad_input;
#[path = "acceptance/bad_leases.rs"]
mod bad_leases;
#[path = "acceptance/calendar.rs"]
mod calendar;
#[path = "acceptance/caps.rs"]
mod caps;
#[path = "acceptance/engines.rs"]
mod engines;
#[path = "acceptance/exactly_once.rs"]
mod exactly_once;
#[path = "acceptance/failures.rs"]
mod failures;
#[path = "acceptance/files.rs"]
mod files;
#[path = "acceptance/findings.rs"]
mod findings;
#[path = "acceptance/imports.rs"]
mod imports;
#[path = "acceptance/jobs.rs"]
mod jobs;
#[path = "acceptance/leases.rs"]
mod leases;
#[path = "acceptance/ledger.rs"]
mod ledger;
#[path = "acceptance/lowering.rs"]
mod lowering;
#[path = "acceptance/overtaken.rs"]
mod overtaken;
#[path = "acceptance/process.rs"]
mod process;
#[path = "acceptance/scan.rs"]
mod scan;
#[path = "acceptance/sharing.rs"]
mod sharing;
#[path = "acceptance/support.rs"]
mod support;
#[path = "acceptance/threads.rs"]
mod threads;
#[path = "acceptance/tiers.rs"]
mod tiers;
