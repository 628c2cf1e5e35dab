//! Every view of a snapshot, as tables, from a fleet that is made up but always the same.
//!
//! ```sh
//! cargo run --release --example dashboard
//! ```
//!
//! What it teaches: which question has which answer. Each table's title is the call behind it.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

mod dashboard {
    pub mod check;
    pub mod fleet;
    pub mod jobs;
    pub mod stored;
    pub mod tiers;
    pub mod workers;
}
mod support;

use std::error::Error;

use dashboard::fleet::Fleet;
use dashboard::{check, jobs, stored, tiers, workers};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let fleet = Fleet::make(&folder.path().join("dashboard.milepost"))?;

    // One snapshot for all: its answers belong to the same instant, and fit each other.
    let view = fleet.store.snapshot()?;
    println!("a fleet of {} as of {}", view.workers()?.len(), view.taken_at());
    workers::print(&view)?;
    tiers::print(&view)?;
    jobs::print(&view)?;
    stored::print(&view)?;

    check::all(&view, fleet.put_in)?;
    println!("\nall views agree with each other and with what was put in");
    Ok(())
}
