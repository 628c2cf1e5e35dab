//! Several processes on one file, and one that watches them.
//!
//! ```sh
//! cargo run --release --example processes
//! ```
//!
//! The program starts itself once for each worker. The workers share the file, and the first process
//! prints how far they are, until all is done.
//!
//! What it teaches: `Sharing::MultiWriter`, progress with a rate and an estimate, and that a process
//! needs to know nothing of the others.

mod support;

use std::env;
use std::io::{self, Write};
use std::path::Path;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::Duration;

use milepost::{NewJob, NewWorker, Rate, Sharing, Store};

use support::{Result, figure, or_dash, percent, print_table, rate, time};

const WORKERS: u32 = 3;
const POSITIONS: u64 = 60_000;
const BATCH: u64 = 1_000;
const LEASE: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let out = &mut io::stdout().lock();
    let mut arguments = env::args().skip(1);
    support::exit_code(match (arguments.next(), arguments.next()) {
        (Some(path), Some(name)) => work(Path::new(&path), name),
        _ => watch(out),
    })
}

fn open(path: &Path) -> milepost::Result<Store> {
    Store::builder(path).sharing(Sharing::MultiWriter).open()
}

fn work(path: &Path, name: String) -> Result<()> {
    let worker = open(path)?.register_worker(NewWorker::new(name).kind("process"))?;
    while let Some(mut lease) = worker.next_lease(LEASE)? {
        while let Some(batch) = lease.next_batch(BATCH) {
            thread::sleep(Duration::from_millis(20)); // Here would be the work.
            lease.checkpoint(batch)?;
        }
    }
    Ok(())
}

fn watch(out: &mut dyn Write) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("shared.milepost");
    let store = open(&path)?;
    store.create_jobs(
        (0..6).map(|n| NewJob::new("demo", n * POSITIONS / 6..(n + 1) * POSITIONS / 6)),
    )?;
    let mut workers = Vec::new();
    for n in 1..=WORKERS {
        workers.push(Command::new(env::current_exe()?).arg(&path).arg(format!("pc-{n}")).spawn()?);
    }

    while workers.iter_mut().any(|worker| matches!(worker.try_wait(), Ok(None))) {
        thread::sleep(Duration::from_millis(200));
        let Some(progress) = store.snapshot()?.progress("demo")? else { continue };
        if progress.open == 0 {
            continue; // They are about to learn that nothing is left.
        }
        let speed = match progress.rate {
            Rate::Moving { per_second, .. } => rate(Some(per_second)),
            _ => "-".into(),
        };
        let eta = or_dash(progress.eta.map(time));
        writeln!(out, "{:>8}  {speed:>10}  done at {eta}", percent(progress.share))?;
    }
    for worker in &mut workers {
        if !worker.wait()?.success() {
            return Err("a worker has failed".into());
        }
    }

    let view = store.snapshot()?;
    let rows = view
        .leaderboard(10)?
        .into_iter()
        .map(|entry| [entry.name, figure(entry.totals.batches), figure(entry.totals.completed)]);
    print_table(out, "Who did it", ["worker", "batches", "jobs completed"], rows)?;
    assert_eq!(view.job_counts().completed, 6);
    view.verify()?;
    Ok(())
}
