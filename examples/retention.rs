//! Years of work in seconds: every tier at its cap, and no number lost.
//!
//! ```sh
//! cargo run --release --example retention
//! ```
//!
//! What it teaches: history, days and months fill up to their caps and stay there, what leaves them
//! stands in the coarser tiers, and the file stops growing. The clock is set by hand.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

#[path = "support/mod.rs"]
mod support;

use std::error::Error;
use std::time::Duration;

use milepost::storage::Table;
use milepost::{Batch, Durability, Lease, ManualClock, NewJob, Scope, Store, Worker};

use support::{bytes, figure, print_table};

const CHECKPOINTS: u64 = 60_000;
const WORKERS: u64 = 3;
const BATCH: u64 = 1_000;
/// Of simulated time, between two checkpoints of the fleet.
const STEP: Duration = Duration::from_secs(45 * 60);
const LEASE: Duration = Duration::from_secs(86_400);

/// Small, so that all of them are reached.
const HISTORY: u32 = 2_000;
const DAYS: u32 = 365;
const MONTHS: u32 = 24;

fn main() -> Result<(), Box<dyn Error>> {
    let folder = tempfile::tempdir()?;
    let clock = ManualClock::at("2020-01-01T00:00:00Z".parse()?);
    let store = Store::builder(folder.path().join("retention.milepost"))
        .history_limit(HISTORY)
        .daily_limit(DAYS)
        .monthly_limit(MONTHS)
        // Nothing here has to survive a loss of power.
        .durability(Durability::Relaxed { max_delay: Duration::from_secs(1) })
        .clock(clock.clone())
        .open()?;

    let mut held = Vec::new();
    for number in 1..=WORKERS {
        store.create_job(NewJob::new(format!("range-{number}"), 0..CHECKPOINTS * BATCH))?;
        let worker = store.worker(&format!("pc-{number}"), "pc")?;
        let lease = worker.lease(LEASE)?.leased().ok_or("there is a job for each")?;
        held.push((worker, lease));
    }

    let mut rows = Vec::new();
    let mut sums = vec![0; WORKERS as usize];
    for n in 1..=CHECKPOINTS {
        clock.advance(STEP);
        let worker = (n % WORKERS) as usize;
        sums[worker] += u128::from(checkpoint(&mut held[worker].1, n)?);
        if n % (CHECKPOINTS / 10) == 0 {
            rows.push(row(&store, n)?);
        }
    }
    print_table(
        "Rows of each tier as time goes by",
        ["checkpoints", "date", "history", "daily", "monthly", "lifetime", "file"],
        rows,
    );
    check(&store, &held, &sums)
}

fn checkpoint(lease: &mut Lease, n: u64) -> milepost::Result<u64> {
    let Some(range) = lease.next_batch(BATCH) else { return Ok(0) };
    let items = BATCH - n % 7;
    let mut batch = Batch::of(&range, Duration::from_millis(400 + n % 90)).items(items);
    if n.is_multiple_of(1_000) {
        batch = batch.error("timed out, and tried again");
    }
    lease.checkpoint(range.end, batch)?;
    Ok(items)
}

fn row(store: &Store, checkpoints: u64) -> milepost::Result<[String; 7]> {
    let view = store.snapshot()?;
    view.verify()?;
    let size = view.size()?;
    let rows = |table| figure(size.rows(table));
    Ok([
        figure(checkpoints),
        view.taken_at().day().to_string(),
        rows(Table::History),
        rows(Table::Daily),
        rows(Table::Monthly),
        rows(Table::Lifetime),
        bytes(size.stored_bytes),
    ])
}

fn check(store: &Store, held: &[(Worker, Lease)], sums: &[u128]) -> Result<(), Box<dyn Error>> {
    let view = store.snapshot()?;
    let size = view.size()?;
    assert_eq!(size.rows(Table::History), HISTORY.into());
    assert_eq!(size.rows(Table::Daily), WORKERS * u64::from(DAYS));
    assert_eq!(size.rows(Table::Monthly), WORKERS * u64::from(MONTHS));
    assert_eq!(size.rows(Table::Jobs), WORKERS);

    let mut rows = Vec::new();
    for ((worker, _), sum) in held.iter().zip(sums) {
        let all = view.lifetime(worker)?.totals;
        let archived = view.archived().lifetime(worker)?.totals;
        let live: u128 = view
            .newest_history_of_worker(worker.id(), usize::MAX)?
            .iter()
            .map(|batch| u128::from(batch.items))
            .sum();
        assert_eq!(archived.items + live, *sum, "archived and live are all there ever was");
        assert_eq!(all.items, *sum);
        rows.push([
            worker.name().to_string(),
            figure(*sum),
            figure(archived.items),
            figure(live),
            figure(all.errors),
        ]);
    }
    print_table("Items of each worker", ["worker", "put in", "archived", "live", "errors"], rows);
    let verified = view.verify()?;
    assert_eq!(view.lifetime(Scope::Fleet)?.totals.batches, CHECKPOINTS);
    println!(
        "\nverify(): {} rows in order; {} batches since 2020, and none lost",
        figure(verified.rows),
        figure(CHECKPOINTS),
    );
    Ok(())
}
