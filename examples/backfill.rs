//! A backfill with failures and Ctrl-C: rows of a table are copied in ranges that are handed out on
//! demand. Some ranges fail at first, one fails for good.
//!
//! ```sh
//! cargo run --release --example backfill -- backfill.milepost
//! ```
//!
//! Stop it with Ctrl-C: each worker finishes its batch and releases its job. Start it again: it goes
//! on. Without a path it works in a temporary file.
//!
//! What it teaches: `or_next_range`, `CancellationToken`, `fail_with` and `max_attempts`, and how to
//! see what failed.

mod support;

use std::env;
use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use milepost::{CancellationToken, JobFilter, JobStatus, NewWorker, Store, Worker};

use support::{Result, figure, print_table};

/// Rows of the table.
const ROWS: u64 = 1_000_000;
/// Rows of a job, and of a batch.
const JOB: u64 = 50_000;
const BATCH: u64 = 10_000;
const LEASE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    support::exit_code(run(&mut io::stdout().lock()))
}

fn run(out: &mut dyn Write) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = env::args_os().nth(1).map_or(folder.path().join("backfill.milepost"), PathBuf::from);
    let store = Store::open(path)?;

    let stop = CancellationToken::new();
    let on_ctrl_c = stop.clone();
    ctrlc::set_handler(move || on_ctrl_c.cancel())?;

    thread::scope(|threads| -> Result<()> {
        let mut workers = Vec::new();
        for n in 0..4 {
            let worker = NewWorker::new(format!("copier-{n}")).kind("copier");
            let worker = store.register_worker(worker)?.cancelled_by(&stop);
            let stop = &stop;
            workers.push(threads.spawn(move || work(&worker, stop)));
        }
        for worker in workers {
            worker.join().map_err(|_| "a worker panicked")??;
        }
        Ok(())
    })?;
    report(out, &store)
}

/// Takes one range after the other until none is left, or it is told to stop.
fn work(worker: &Worker, stop: &CancellationToken) -> Result<()> {
    let request =
        worker.request(LEASE).of_prefix("orders").or_next_range(JOB, 0..ROWS).max_attempts(3);
    while let Some(mut lease) = request.clone().wait()?.leased() {
        while let Some(batch) = lease.next_batch(BATCH) {
            if stop.is_cancelled() {
                break; // Dropping the lease releases the job.
            }
            match copy(batch.range().start, lease.attempts()) {
                Ok(()) => drop(lease.checkpoint(batch)?),
                Err(why) => {
                    lease.fail_with(batch.with_items(0), why)?;
                    break;
                }
            }
        }
    }
    Ok(())
}

/// Here the rows would be copied. Some cannot be read at first, and some never.
fn copy(first: u64, attempts: u32) -> Result<(), String> {
    thread::sleep(Duration::from_millis(1));
    match first / BATCH {
        42 => Err(format!("row {first} cannot be decoded")),
        n if n % 20 == 5 && attempts == 0 => Err("the connection was reset".into()),
        _ => Ok(()),
    }
}

fn report(out: &mut dyn Write, store: &Store) -> Result<()> {
    let view = store.snapshot()?;
    let Some(progress) = view.progress("orders")? else { return Ok(()) };
    writeln!(out, "{} of {} rows are copied", figure(progress.done), figure(ROWS))?;
    let failed = view.find_jobs(&JobFilter::default().status(JobStatus::Failed), None, 100)?;
    let rows = failed.items.into_iter().map(|job| {
        let why = job.last_error.unwrap_or_default();
        [figure(job.start), figure(job.cursor), job.attempts.to_string(), why]
    });
    print_table(out, "Failed for good", ["from row", "copied up to", "attempts", "why"], rows)?;
    view.verify()?;
    Ok(())
}
