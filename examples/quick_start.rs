//! The program of the README: it makes `scan.milepost` in the current folder, scans 2^20 positions,
//! and prints what was done each day. Run again, it finds that nothing is left to do.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "it is what the program is for")]

use milepost::{NewJob, Scope, Store};
use std::process::ExitCode;
use std::time::Duration;

fn scan() -> milepost::Result<()> {
    let store = Store::open("scan.milepost")?;

    // A key space of 2^20 positions, cut into four jobs. Run again, this finds them.
    store.find_or_create_jobs((0..4).map(|n| NewJob::new("demo", n << 18..(n + 1) << 18)))?;

    // Every worker, in any thread (or process, see "Sharing a file"), runs this loop.
    let worker = store.register_worker("pc-01")?;
    while let Some(mut lease) = worker.next_lease(Duration::from_secs(60))? {
        while let Some(mut batch) = lease.next_batch(100_000) {
            for position in batch.range() {
                if position.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 44 == 0 {
                    batch.add_finding(position.to_be_bytes(), "a hit");
                }
            }
            // The cursor, the history record and the findings are stored together, or not at all.
            // The checkpoint that reaches the end of the job completes it.
            lease.checkpoint(batch)?;
        }
    }

    // A snapshot has what a dashboard shows, all as of one instant.
    let view = store.snapshot()?;
    for day in view.daily(&worker, ..)? {
        println!("{}  {} items", day.day, day.totals.items);
    }
    assert_eq!(view.lifetime(Scope::Fleet)?.totals.items, 1 << 20);
    assert_eq!(view.job_counts().completed, 4);
    view.verify()?;
    Ok(())
}

fn main() -> ExitCode {
    match scan() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
