//! A worker process is killed in the middle of a scan, and another one goes on from its last
//! checkpoint.
//!
//! ```sh
//! cargo run --release --example crash_resume
//! ```
//!
//! What it teaches: a lease that nobody renews lapses, its job goes to whoever waits for it, and
//! the cursor is where the last acknowledged checkpoint put it. What was done before the crash
//! stays counted for the worker that did it.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

#[path = "support/mod.rs"]
mod support;

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use milepost::{Batch, NewJob, Scope, Store};

use support::{figure, print_table};

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

const POSITIONS: u64 = 2_000_000;
const BATCH: u64 = 10_000;
/// How soon a silent worker is given up.
const LEASE: Duration = Duration::from_secs(1);
/// After how many checkpoints the first worker is killed.
const CHECKPOINTS: usize = 50;

fn main() -> Result<()> {
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(path) => work_until_killed(Path::new(&path)),
        None => crash_and_resume(),
    }
}

/// The child: checkpoints, and says how far it got each time that was acknowledged.
fn work_until_killed(path: &Path) -> Result<()> {
    let store = Store::open(path)?;
    let worker = store.worker("first", "process")?;
    let mut lease = worker.lease(LEASE)?.leased().ok_or("there must be a job")?;
    while let Some(range) = lease.next_batch(BATCH) {
        let started = Instant::now();
        search(&range);
        lease.checkpoint(range.end, Batch::of(&range, started.elapsed()))?;
        println!("{}", lease.cursor());
    }
    Err("it was to be killed before the end".into())
}

fn crash_and_resume() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("crash.milepost");
    let store = Store::open(&path)?;
    let job = store.create_job(NewJob::new(b"demo", 0..POSITIONS))?;
    // The child is to have the file for itself.
    store.close()?;

    let acknowledged = run_and_kill(&path)?;
    println!("the first worker was killed after position {}", figure(acknowledged));

    // Opening repairs what the kill left behind: acknowledged checkpoints are all there.
    let store = Store::open(&path)?;
    let worker = store.worker("second", "process")?;
    let waited = Instant::now();
    let mut lease = worker.lease(LEASE)?.wait()?.ok_or("the job must come free")?;
    println!(
        "the second worker took over at position {}, after {:.1} s",
        figure(lease.resumed_at()),
        waited.elapsed().as_secs_f64()
    );
    let resumed_at = lease.resumed_at();
    // The kill may have come between a commit and the line that reports it.
    assert!(
        resumed_at == acknowledged || resumed_at == acknowledged + BATCH,
        "resumed at {resumed_at}, but {acknowledged} was acknowledged last"
    );

    while let Some(range) = lease.next_batch(BATCH) {
        let started = Instant::now();
        search(&range);
        lease.checkpoint(range.end, Batch::of(&range, started.elapsed()))?;
    }
    lease.complete()?;

    let view = store.snapshot()?;
    let mut rows = Vec::new();
    for worker in view.workers()? {
        let totals = view.lifetime(worker.id)?.totals;
        rows.push([worker.name, figure(totals.batches), figure(totals.items)]);
    }
    print_table("What each worker did", ["worker", "checkpoints", "positions"], rows);

    let first = view.worker_named("first")?.ok_or("it registered")?;
    let second = view.worker_named("second")?.ok_or("it registered")?;
    assert_eq!(view.lifetime(first.id)?.totals.items, u128::from(resumed_at));
    assert_eq!(view.lifetime(second.id)?.totals.items, u128::from(POSITIONS - resumed_at));
    assert_eq!(view.lifetime(Scope::Fleet)?.totals.items, u128::from(POSITIONS));
    let done = view.job(job)?.ok_or("it was not deleted")?;
    assert_eq!((done.cursor, done.attempts), (POSITIONS, 1), "the lapse counts as an attempt");
    view.verify()?;
    println!("\nevery position was counted once, for the worker that did it");
    Ok(())
}

/// Starts the child, kills it after some checkpoints, and says which position was acknowledged
/// last.
fn run_and_kill(path: &Path) -> Result<u64> {
    let mut child =
        Command::new(std::env::current_exe()?).arg(path).stdout(Stdio::piped()).spawn()?;
    let output = child.stdout.take().ok_or("its output was piped")?;
    let mut acknowledged = 0;
    for (at, line) in BufReader::new(output).lines().enumerate() {
        acknowledged = line?.parse()?;
        if at + 1 == CHECKPOINTS {
            // On Unix this is SIGKILL: the process gets no chance to do anything in order. What it
            // had printed by then is read to the end.
            child.kill()?;
        }
    }
    child.wait()?;
    if acknowledged < CHECKPOINTS as u64 * BATCH {
        return Err("the first worker ended too soon".into());
    }
    Ok(acknowledged)
}

/// Stands for the work.
fn search(range: &std::ops::Range<u64>) {
    let hits = range.clone().filter(|position| position.wrapping_mul(0x9E37_79B9) % 65_536 == 0);
    std::hint::black_box(hits.count());
}
