//! Every view of a snapshot, as tables, from a fleet that is made up but always the same.
//!
//! ```sh
//! cargo run --release --example dashboard
//! ```
//!
//! What it teaches: which question has which answer. Each table's title is the call behind it.

mod dashboard {
    pub mod check;
    pub mod fleet;
    pub mod jobs;
    pub mod stored;
    pub mod tiers;
    pub mod workers;
}
mod support;

use std::io::{self, Write};
use std::process::ExitCode;

use dashboard::fleet::Fleet;
use dashboard::{check, jobs, stored, tiers, workers};
use support::Result;

fn main() -> ExitCode {
    support::exit_code(run(&mut io::stdout().lock()))
}

fn run(out: &mut dyn Write) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::make(&folder.path().join("dashboard.milepost"))?;

    // One snapshot for all: its answers belong to the same instant, and fit each other.
    let view = fleet.store.snapshot()?;
    writeln!(out, "a fleet of {} as of {}", view.workers(None, 100)?.len(), view.taken_at())?;
    workers::print(out, &view)?;
    tiers::print(out, &view)?;
    jobs::print(out, &view)?;
    stored::print(out, &view)?;

    check::all(&view, fleet.put_in)?;
    writeln!(out, "\nall views agree with each other and with what was put in")?;
    Ok(())
}
