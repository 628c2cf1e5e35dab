//! What an operator does with a store: looks at it, puts failed jobs back in the queue, and cleans
//! up.
//!
//! ```sh
//! cargo run --release --example operator -- scan.milepost            # what is there
//! cargo run --release --example operator -- scan.milepost retry     # failed jobs, once more
//! cargo run --release --example operator -- scan.milepost clean     # completed jobs are deleted
//! ```
//!
//! What it teaches: opening only what exists, lists by filter in pages, and changing many jobs at
//! once. Without a path it makes a small store to show.

mod support;

use std::env;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use milepost::{JobFilter, JobStatus, NewJob, Store};

use support::{Result, figure, print_table, time};

fn main() -> ExitCode {
    support::exit_code(run(&mut io::stdout().lock()))
}

fn run(out: &mut dyn Write) -> Result<()> {
    let mut arguments = env::args().skip(1);
    let Some(path) = arguments.next() else { return show(out, &sample()?) };
    // A path that is mistyped must not become an empty store.
    let store = Store::builder(path).create(false).open()?;
    match arguments.next().as_deref() {
        None => show(out, &store)?,
        Some("retry") => {
            let retried = store.retry_jobs(&JobFilter::default().status(JobStatus::Failed))?;
            writeln!(out, "{} jobs wait once more", figure(retried))?;
        }
        Some("clean") => {
            let deleted = store.delete_jobs(&JobFilter::default().status(JobStatus::Completed))?;
            store.compact()?;
            writeln!(out, "{} completed jobs are deleted", figure(deleted))?;
        }
        Some(other) => return Err(format!("{other:?} is neither `retry` nor `clean`").into()),
    }
    store.close()?;
    Ok(())
}

fn show(out: &mut dyn Write, store: &Store) -> Result<()> {
    let view = store.snapshot()?;
    for status in JobStatus::all() {
        let filter = JobFilter::default().status(*status);
        let (mut rows, mut next) = (Vec::new(), None);
        loop {
            let page = view.find_jobs(&filter, next.as_ref(), 1_000)?;
            rows.extend(page.items.into_iter().map(|job| {
                let since = job.ended_at.or(job.leased_at).unwrap_or(job.created_at);
                let share = format!("{:.0} %", job.share() * 100.0);
                let error = job.last_error.unwrap_or_default();
                [job.id.to_string(), job.prefix.to_string(), share, time(since), error]
            }));
            next = page.next;
            if next.is_none() {
                break;
            }
        }
        if !rows.is_empty() {
            print_table(
                out,
                &format!("{status}"),
                ["job", "prefix", "done", "since", "error"],
                rows,
            )?;
        }
    }
    Ok(())
}

/// A store in memory with a job of most statuses.
fn sample() -> Result<Store> {
    let store = Store::in_memory()?;
    store
        .create_jobs((0..5u64).map(|n| NewJob::new("demo", n * 10..n * 10 + 10).max_attempts(1)))?;
    let worker = store.register_worker("pc-01")?;
    let next = || worker.next_lease(Duration::from_secs(60));
    if let (Some(mut completed), Some(mut failed), Some(held)) = (next()?, next()?, next()?) {
        completed.checkpoint(completed.next_batch(10).ok_or("it is new")?)?;
        failed.fail("the disk of pc-01 is full")?;
        store.cancel_job(4.into())?;
        held.abandon();
    }
    Ok(store)
}
