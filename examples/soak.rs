//! A long run: simulated months of work a minute, with crashes and restarts in between, and
//! nothing may drift.
//!
//! ```sh
//! cargo run --release --example soak -- --hours 1 --workers 4
//! ```
//!
//! A child process works for some seconds, each checkpoint ten simulated minutes after the one
//! before, and is then killed; the next one goes on. After every kill the file is opened and
//! checked, and a row is printed: size, memory, open file descriptors, the 99th percentile of
//! checkpoints, and what `verify()` looked at. When one of them drifts, the run fails.

mod support;

use std::io::{self, BufRead, BufReader, Write};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use milepost::{ManualClock, NewJob, NewWorker, Scope, Store, Timestamp};

use support::{Result, bytes, figure, print_table};

/// How long a child works before it is killed.
const TURN: Duration = Duration::from_secs(4);
const LEASE: Duration = Duration::from_secs(86_400);
const JOB: u64 = 2_000_000;
const BATCH: u64 = 100;
/// Simulated time between two checkpoints of the fleet.
const STEP: Duration = Duration::from_secs(600);

/// What may not be exceeded, once the tiers have filled up.
const MOST_BYTES: u64 = 8 << 20;
const MOST_MEMORY_KIB: u64 = 96 << 10;
const MOST_DESCRIPTORS: usize = 24;
const MOST_P99: Duration = Duration::from_secs(1);

/// Works for a long time, with crashes, and fails when anything drifts.
#[derive(Parser)]
struct Options {
    /// How many hours to run; may be a fraction.
    #[arg(long, value_name = "H", default_value_t = 1.0 / 60.0)]
    hours: f64,
    /// How many workers, each a thread of the process that is killed.
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=256))]
    workers: u64,
    /// What a child works on, until it is killed.
    #[arg(long, hide = true, num_args = 2)]
    child: Vec<String>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    support::exit_code(match &options.child[..] {
        [path, now] => work(Path::new(path), now, options.workers),
        _ => soak(&mut io::stdout().lock(), &options),
    })
}

fn open(path: &Path, now: Timestamp) -> Result<(Store, ManualClock)> {
    let clock = ManualClock::at(now);
    let since = Instant::now();
    loop {
        let builder = Store::builder(path).history_limit(5_000).daily_limit(400).monthly_limit(60);
        match builder.clock(clock.clone()).open() {
            Ok(store) => return Ok((store, clock)),
            // One who was killed is not quite gone yet.
            Err(milepost::Error::Locked { .. }) if since.elapsed() < TURN => {}
            Err(error) => return Err(error.into()),
        }
    }
}

/// The child: works until it is killed, and tells once a second how that goes.
fn work(path: &Path, now: &str, workers: u64) -> Result<()> {
    let (store, clock) = &open(path, now.parse()?)?;
    let stop = &AtomicBool::new(false);
    thread::scope(|threads| {
        let run = |n| {
            threads.spawn(move || {
                let end = work_as(store, clock, n, stop);
                // As when the parent is gone, and nobody reads what is told.
                stop.store(true, Ordering::Relaxed);
                end
            })
        };
        let running: Vec<_> = (0..workers).map(run).collect();
        for thread in running {
            thread.join().unwrap_or_else(|panic| resume_unwind(panic))?;
        }
        Ok(())
    })
}

fn work_as(store: &Store, clock: &ManualClock, n: u64, stop: &AtomicBool) -> Result<()> {
    let worker = store.register_worker(NewWorker::new(format!("worker-{n}")).kind("soak"))?;
    let mut times = Vec::new();
    let mut told = Instant::now();
    loop {
        let leased =
            worker.request(LEASE).of_prefix(format!("range-{n}")).resume().send()?.leased();
        let mut lease = leased.ok_or("there is a job for each worker")?;
        while let Some(batch) = lease.next_batch(BATCH) {
            if stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            clock.advance(STEP);
            let batch = batch.with_duration(Duration::from_millis(300)).with_items(BATCH - n);
            let started = Instant::now();
            lease.checkpoint(batch)?;
            times.push(started.elapsed());
            if n == 0 && told.elapsed() > TURN / 8 {
                times.sort_unstable();
                let p99 = times[times.len() * 99 / 100];
                let mut out = io::stdout().lock();
                writeln!(
                    out,
                    "{} {} {} {}",
                    store.now(),
                    p99.as_micros(),
                    memory_kib(),
                    descriptors()
                )?;
                out.flush()?;
                times.clear();
                told = Instant::now();
            }
        }
        // A range without end: what is done makes room for the next part.
        let end = lease.range().end;
        store.create_job(NewJob::new(format!("range-{n}"), end..end + JOB))?;
        store.delete_job(lease.job())?;
    }
}

/// What the child told last.
struct Told {
    now: Timestamp,
    p99: Duration,
    memory_kib: u64,
    descriptors: usize,
}

/// Lets a child work for a while, and kills it.
fn turn(path: &Path, now: Timestamp, workers: u64) -> Result<Told> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["--workers", &workers.to_string(), "--child"])
        .arg(path)
        .arg(now.to_string())
        .stdout(Stdio::piped())
        .spawn()?;
    let output = child.stdout.take().ok_or("its output was piped")?;
    let started = Instant::now();
    let mut told = None;
    for line in BufReader::new(output).lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        if let [now, p99, memory_kib, descriptors] = words[..] {
            told = Some(Told {
                now: now.parse()?,
                p99: Duration::from_micros(p99.parse()?),
                memory_kib: memory_kib.parse()?,
                descriptors: descriptors.parse()?,
            });
        }
        if started.elapsed() > TURN {
            child.kill()?;
        }
    }
    child.wait()?;
    told.ok_or_else(|| "the child told nothing".into())
}

fn soak(out: &mut dyn Write, options: &Options) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let path: PathBuf = folder.path().join("soak.milepost");
    let start: Timestamp = "2026-01-01T00:00:00Z".parse()?;
    let (store, _) = open(&path, start)?;
    store.create_jobs((0..options.workers).map(|n| NewJob::new(format!("range-{n}"), 0..JOB)))?;
    store.close()?;

    let until = Instant::now() + Duration::from_secs_f64(options.hours * 3_600.0);
    let (mut now, mut rows, mut kills, mut batches) = (start, Vec::new(), 0u64, 0);
    let every = (options.hours * 3_600.0 / TURN.as_secs_f64() / 15.0).ceil().max(1.0) as u64;
    while Instant::now() < until {
        let told = turn(&path, now, options.workers)?;
        kills += 1;
        let opened = Instant::now();
        let (store, _) = open(&path, told.now)?;
        let opening = opened.elapsed();
        now = told.now;
        let view = store.snapshot()?;
        let verified = view.verify()?;
        let size = view.size()?.stored_bytes;
        let totals = view.lifetime(Scope::Fleet)?.totals;
        drop(view);
        store.close()?;

        assert!(totals.batches > batches, "nothing was done, or something was lost");
        batches = totals.batches;
        assert!(size <= MOST_BYTES, "the file has grown to {size} bytes");
        assert!(told.memory_kib <= MOST_MEMORY_KIB, "memory has grown to {} KiB", told.memory_kib);
        assert!(told.descriptors <= MOST_DESCRIPTORS, "{} descriptors are open", told.descriptors);
        assert!(told.p99 <= MOST_P99, "checkpoints take {:?}", told.p99);
        let row = [
            now.day().to_string(),
            figure(kills),
            figure(batches),
            bytes(size),
            bytes(told.memory_kib << 10),
            told.descriptors.to_string(),
            format!("{:.1} ms", told.p99.as_secs_f64() * 1e3),
            format!("{:.0} ms", opening.as_secs_f64() * 1e3),
            figure(verified.rows),
        ];
        writeln!(out, "{}", row.join("  "))?;
        if kills == 1 || kills.is_multiple_of(every) || Instant::now() >= until {
            rows.push(row);
        }
    }
    let header =
        ["date", "kills", "checkpoints", "file", "memory", "files", "p99", "opening", "verified"];
    print_table(out, "Every figure as it was, after a kill each", header, rows)?;
    let (kills, batches) = (figure(kills), figure(batches));
    writeln!(out, "\n{kills} kills, {batches} checkpoints, and nothing drifted")?;
    Ok(())
}

/// Memory of this process, in KiB; 0 where that cannot be told.
fn memory_kib() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.trim().trim_end_matches(" kB").parse().ok()).unwrap_or_default()
}

/// Open file descriptors of this process; 0 where that cannot be told.
fn descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(0, Iterator::count)
}
