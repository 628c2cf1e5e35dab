//! A process killed in the middle of a scan: another worker goes on from its last checkpoint.
//!
//! ```sh
//! cargo run --release --example crash_resume
//! ```
//!
//! The program starts itself a second time, as the worker `victim`, and kills that process once it
//! has said that some checkpoints were acknowledged. Then it opens the file as the worker `heir`,
//! waits for the dead process's lease to expire, and goes on.
//!
//! What it teaches: an acknowledged checkpoint survives `kill -9`, a lease gives the job back when
//! its holder is gone, and each worker's statistics hold what that worker did, and no more.

mod support;

use std::env;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use milepost::{JobStatus, Lease, NewJob, NewWorker, Scope, Store};

use support::{Result, figure, print_table};

const POSITIONS: u64 = 1_000_000;
const BATCH: u64 = 10_000;
/// So soon is the job of a dead worker free again.
const LEASE: Duration = Duration::from_secs(1);
/// The victim is killed in the middle of the batch after this many checkpoints.
const KILLED_AFTER: usize = 30;

fn main() -> ExitCode {
    let out = &mut io::stdout().lock();
    support::exit_code(match env::args_os().nth(1) {
        Some(path) => be_the_victim(out, Path::new(&path)),
        None => watch_and_resume(out),
    })
}

/// Scans, and says after each checkpoint how far the cursor is acknowledged to be.
fn be_the_victim(out: &mut dyn Write, path: &Path) -> Result<()> {
    let store = Store::open(path)?;
    let worker = store.register_worker(NewWorker::new("victim").kind("process"))?;
    let mut lease = worker.request(LEASE).send()?.leased().ok_or("the job is not free")?;
    for _ in 0..KILLED_AFTER {
        checkpoint(&mut lease)?;
        writeln!(out, "{}", lease.cursor())?;
    }
    // A batch that takes longer than this process has to live. Were it killed during a commit, the
    // file would hold the cursor from before or after it: never something in between.
    thread::sleep(Duration::from_secs(60));
    Err("nobody killed this process".into())
}

/// Does the next batch, and tells whether there was one.
fn checkpoint(lease: &mut Lease) -> milepost::Result<bool> {
    let Some(batch) = lease.next_batch(BATCH) else { return Ok(false) };
    thread::sleep(Duration::from_millis(1)); // Here would be the work.
    lease.checkpoint(batch)?;
    Ok(true)
}

fn watch_and_resume(out: &mut dyn Write) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("crash.milepost");
    let job = {
        let store = Store::open(&path)?;
        let job = store.create_job(NewJob::new(b"demo", 0..POSITIONS))?;
        store.close()?;
        job
    };

    let acknowledged = kill_a_scan_at(&path)?;
    writeln!(out, "killed; the last acknowledged cursor is {}", figure(acknowledged))?;

    let started = Instant::now();
    let store = Store::open(&path)?;
    let worker = store.register_worker(NewWorker::new("heir").kind("process"))?;
    let mut lease = worker.next_lease(LEASE)?.ok_or("the job is gone")?;
    let resumed_at = lease.resumed_at();
    writeln!(
        out,
        "the heir has the job after {:.1} s, and goes on from {}",
        started.elapsed().as_secs_f64(),
        figure(resumed_at)
    )?;
    while checkpoint(&mut lease)? {}

    let view = store.snapshot()?;
    print_table(
        out,
        "Lifetime of each worker",
        ["worker", "batches", "items"],
        view.leaderboard(10)?
            .into_iter()
            .map(|entry| [entry.name, figure(entry.totals.batches), figure(entry.totals.items)]),
    )?;

    assert_eq!(acknowledged, KILLED_AFTER as u64 * BATCH);
    assert_eq!(resumed_at, acknowledged, "what was acknowledged is kept, and nothing is repeated");
    let victim = view.worker_named("victim")?.ok_or("the victim is not known")?;
    let of_victim = view.lifetime(victim.id)?.totals;
    let of_heir = view.lifetime(&worker)?.totals;
    assert_eq!(of_victim.items, u128::from(acknowledged));
    assert_eq!(of_heir.items, u128::from(POSITIONS - acknowledged));
    assert_eq!(view.lifetime(Scope::Fleet)?.totals.items, u128::from(POSITIONS));
    let job = view.job(job)?.ok_or("the job is gone")?;
    assert_eq!((job.status, job.done()), (JobStatus::Completed, POSITIONS));
    assert_eq!(job.attempts, 0, "a lease that moved the cursor is no failed attempt");
    let verified = view.verify()?;
    let (all, rows) = (figure(POSITIONS), figure(verified.rows));
    writeln!(out, "\nthe totals add up to {all}; {rows} rows are in order")?;
    store.close()?;
    Ok(())
}

/// Runs the victim, kills it once it has said enough, and answers the last cursor it said.
fn kill_a_scan_at(path: &Path) -> Result<u64> {
    let mut victim = Command::new(env::current_exe()?).arg(path).stdout(Stdio::piped()).spawn()?;
    let output = victim.stdout.take().ok_or("the victim cannot be heard")?;
    let mut acknowledged = 0;
    for line in BufReader::new(output).lines().take(KILLED_AFTER) {
        acknowledged = line?.parse()?;
    }
    // SIGKILL on Unix: no destructor runs, and no handler could.
    victim.kill()?;
    victim.wait()?;
    Ok(acknowledged)
}
