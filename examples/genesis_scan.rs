//! A real scan: finds the nonce of Bitcoin's genesis block by hashing.
//!
//! ```sh
//! cargo run --release --example genesis_scan
//! ```
//!
//! A position is a nonce, the prefix of the jobs is the block's header without it, and the work is
//! SHA-256 twice. Stop it at any moment (Ctrl-C, `kill -9`) and run it again: it goes on from the
//! last checkpoints, and the totals at the end add up to exactly the positions scanned.
//!
//! What it teaches: jobs that a rerun finds again, workers that take up the leases they died with,
//! findings stored with the checkpoint that reports them, stopping in order, and reading it all
//! back from a snapshot. `scan` is the part to read first.

mod genesis_scan {
    pub mod header;
    pub mod progress;
    pub mod report;
    pub mod scan;
}
mod support;

use std::fs;
use std::io::{self, Write};
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use clap::Parser;
use milepost::{CapsChange, NewJob, Store};

use genesis_scan::header::Puzzle;
use genesis_scan::progress::Progress;
use genesis_scan::report;
use genesis_scan::scan::Scan;
use support::{Result, figure, rate};

/// Nonces around the answer: under ten seconds of work on two cores that have instructions for
/// SHA-256, and some twenty on two that do not.
const WINDOW: Range<u64> = 2_052_000_000..2_116_000_000;
/// All there are.
const FULL: Range<u64> = 0..1 << 32;

/// So few that the batches of one scan reach all tiers.
const HISTORY_LIMIT: u32 = 100;

/// So soon does the system close the files of a process that was killed.
const LETS_GO: Duration = Duration::from_secs(2);

/// What a shell reports for a program that Ctrl-C ended.
const INTERRUPTED: u8 = 130;

/// Finds the nonce of Bitcoin's genesis block by hashing. Stop it at any moment, run it again, and
/// it goes on where it was.
#[derive(Parser)]
struct Options {
    /// Scan all 2^32 nonces, not only a window around the answer.
    #[arg(long)]
    full: bool,
    /// The file that remembers how far the scan is.
    #[arg(long, value_name = "PATH", default_value = "genesis.milepost")]
    store: PathBuf,
    /// Remove that file first, and start over.
    #[arg(long)]
    fresh: bool,
    /// Into how many jobs to cut the nonces.
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    jobs: u64,
    /// How many nonces to hash between two checkpoints.
    #[arg(long, value_name = "N", default_value_t = 250_000, value_parser = clap::value_parser!(u64).range(1..))]
    batch: u64,
    /// How many workers to run; by default one for each core.
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=1_024))]
    workers: Option<u16>,
}

fn main() -> ExitCode {
    // Not locked: the workers show their progress on it.
    support::exit_code(run(&Options::parse(), &mut io::stdout()))
}

fn run(options: &Options, out: &mut dyn Write) -> Result<ExitCode> {
    let puzzle = Puzzle::genesis();
    let nonces = if options.full { FULL } else { WINDOW };
    let store = open(options, &puzzle)?;
    create_jobs(&store, &puzzle, &cut(&nonces, options.jobs), &options.store)?;

    let total = nonces.end - nonces.start;
    let done_before = report::positions_done(&store, &puzzle)?;
    writeln!(out, "{}", greeting(done_before, total))?;
    // Jobs are asked, not positions: one whose last position is done may not be completed yet.
    if !is_completed(&store)? {
        scan(options, &store, &puzzle, done_before, total)?;
    }

    report::check_totals(out, &store, &puzzle)?;
    let is_completed = is_completed(&store)?;
    if is_completed {
        report::check_answer(&store, &puzzle)?;
        report::print(out, &store, &puzzle)?;
    } else {
        let done = report::positions_done(&store, &puzzle)?;
        writeln!(
            out,
            "stopped in order at {} of {} positions; to go on, run it again",
            figure(done),
            figure(total)
        )?;
    }
    store.close()?;
    Ok(if is_completed { ExitCode::SUCCESS } else { ExitCode::from(INTERRUPTED) })
}

fn is_completed(store: &Store) -> milepost::Result<bool> {
    let counts = store.snapshot()?.job_counts();
    Ok(counts.completed == counts.all())
}

fn scan(
    options: &Options,
    store: &Store,
    puzzle: &Puzzle,
    done_before: u64,
    total: u64,
) -> Result<()> {
    let workers = match options.workers {
        Some(workers) => workers.into(),
        None => thread::available_parallelism()?.get(),
    };
    let stop = stop_on_ctrl_c()?;
    let progress = Progress::new(done_before, total)?;
    Scan { store, puzzle, batch: options.batch, progress: &progress, stop: &stop }.run(workers)?;
    progress.say(&format!(
        "{} positions scanned in {:.1} s by {workers} {}, {}",
        figure(progress.done_now()),
        progress.elapsed().as_secs_f64(),
        if workers == 1 { "worker" } else { "workers" },
        rate(Some(progress.rate())),
    ))?;
    Ok(())
}

fn open(options: &Options, puzzle: &Puzzle) -> Result<Store> {
    let mut store = open_file(&options.store)?;
    // Before a cap is lowered or the file removed: whoever named the wrong one gets it back as it was.
    if store.snapshot()?.prefixes(None, 2)?.iter().any(|prefix| **prefix != *puzzle.prefix()) {
        let path = options.store.display();
        return Err(format!("{path} holds other jobs than this scan: name another --store").into());
    }
    if options.fresh {
        store.close()?;
        fs::remove_file(&options.store)?;
        store = open_file(&options.store)?;
    }
    store.set_caps(CapsChange::default().with_history(HISTORY_LIMIT))?;
    Ok(store)
}

/// Opens the file, and says in this program's words why it cannot be, where there is more to say.
fn open_file(path: &Path) -> Result<Store> {
    let started = Instant::now();
    loop {
        match Store::open(path) {
            // A scan that was killed a moment ago may still be letting go of it.
            Err(milepost::Error::Locked { .. }) if started.elapsed() < LETS_GO => {
                thread::sleep(Duration::from_millis(50));
            }
            Err(milepost::Error::Locked { .. }) => {
                let path = path.display();
                return Err(format!(
                    "another scan is at work on {path}: let it end, stop it, or name another --store"
                )
                .into());
            }
            opened => return Ok(opened?),
        }
    }
}

/// Creates the jobs, or finds that an earlier run created the same ones.
fn create_jobs(store: &Store, puzzle: &Puzzle, ranges: &[Range<u64>], path: &Path) -> Result<()> {
    let jobs = ranges.iter().map(|range| NewJob::new(puzzle.prefix(), range.clone()));
    match store.create_jobs(jobs) {
        Ok(_) => Ok(()),
        Err(milepost::Error::RangeOverlap { .. }) if ranges_in(store, puzzle)? == ranges => Ok(()),
        Err(error @ milepost::Error::RangeOverlap { .. }) => Err(format!(
            "{} holds a scan with another --full or --jobs ({error}): run it with the same ones, start over \
             with --fresh, or name another --store",
            path.display()
        )
        .into()),
        Err(error) => Err(error.into()),
    }
}

fn ranges_in(store: &Store, puzzle: &Puzzle) -> milepost::Result<Vec<Range<u64>>> {
    let jobs = store.snapshot()?.jobs_of_prefix(puzzle.prefix(), None, usize::MAX)?;
    Ok(jobs.into_iter().map(|job| job.start..job.end).collect())
}

/// Cuts a range into pieces that differ by one position at most.
fn cut(range: &Range<u64>, pieces: u64) -> Vec<Range<u64>> {
    let edge = |piece| range.start + (range.end - range.start) * piece / pieces;
    (0..pieces).map(|piece| edge(piece)..edge(piece + 1)).collect()
}

fn greeting(done: u64, total: u64) -> String {
    let (done_text, total_text) = (figure(done), figure(total));
    if done == 0 {
        format!("starts: {total_text} positions to scan")
    } else if done < total {
        format!("goes on: {done_text} of {total_text} positions are done, and are not repeated")
    } else {
        format!(
            "all {total_text} positions were done before: nothing to scan (--fresh starts over)"
        )
    }
}

/// A flag that the first Ctrl-C sets. The second one ends the program at once, which is as
/// harmless as `kill -9`.
fn stop_on_ctrl_c() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::Relaxed) {
            process::exit(INTERRUPTED.into());
        }
    })?;
    Ok(stop)
}
