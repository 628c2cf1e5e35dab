//! The crossings: every durability with and without keep-alive, one lease and many, every fault,
//! and whatever follows it. Each feature was once proven alone, and what was missed stood between
//! them.
//!
//! Each cell works on a few jobs until the fault, does what follows, and lets whoever still holds a
//! lease go on. Then other workers finish the jobs, and the promises are held against what is
//! stored: every position is done exactly once (2 and 4), what was acknowledged is there (11),
//! sums are exact (8), and nobody hangs (13). The matrix is printed: `cargo test -p
//! milepost-tests-fork --test crossings -- --nocapture`; `docs/reliability.md` shows it.
#![cfg(unix)]
#![allow(missing_docs)]

mod cell;
mod check;
mod disk;
mod forking;
mod work;

use std::panic::catch_unwind;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use cell::{Cell, Fault, Then};

/// Cells that run at once: they wait for the disk and for processes.
const THREADS: usize = 8;

/// What the child process of a cell runs: see [`check::in_another_process`]. By itself it checks
/// that such a process does finish the jobs.
#[test]
fn a_child_process_finishes_the_jobs() {
    check::finish_in_a_child();
}

#[test]
fn every_crossing_keeps_the_promises() {
    let cells: Vec<Cell> = Cell::all().collect();
    let verdicts = run(&cells);

    let mut fault = None;
    for (row, verdicts) in cells.chunks(Cell::COLUMNS).zip(verdicts.chunks(Cell::COLUMNS)) {
        if fault.replace(row[0].fault) != Some(row[0].fault) {
            println!("\n{:?}", row[0].fault);
        }
        let verdicts: String = verdicts.iter().map(|verdict| format!(" {verdict:<6}")).collect();
        println!("  {:<16}{verdicts}", format!("{:?}", row[0].then));
    }
    println!("\nEach row, from the left: {}", Cell::columns());
    println!("-: {}", Cell::NO_ROLLBACK);
    let ran = verdicts.iter().filter(|verdict| **verdict != CANNOT_OCCUR).count();
    println!("{ran} cells ran");
    let failed: Vec<_> =
        cells.iter().zip(&verdicts).filter(|(_, verdict)| **verdict == FAILED).collect();
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(ran, (Fault::ALL.len() * Cell::COLUMNS - 4) * Then::ALL.len());
}

const KEPT: &str = "ok";
const FAILED: &str = "FAILED";
const CANNOT_OCCUR: &str = "-";

/// Runs cells on several threads, and returns the verdict of each.
fn run(cells: &[Cell]) -> Vec<&'static str> {
    let verdicts: Vec<OnceLock<&str>> = cells.iter().map(|_| OnceLock::new()).collect();
    let next = AtomicUsize::new(0);
    let work = || {
        loop {
            let at = next.fetch_add(1, Ordering::Relaxed);
            let Some(&cell) = cells.get(at) else { return };
            let verdict = match cell.can_occur() {
                false => CANNOT_OCCUR,
                true => catch_unwind(|| work::run(cell)).map_or(FAILED, |()| KEPT),
            };
            verdicts[at].set(verdict).expect("each cell runs once");
        }
    };
    thread::scope(|threads| {
        for _ in 0..THREADS {
            threads.spawn(work);
        }
    });
    verdicts.into_iter().map(|verdict| verdict.into_inner().expect("all cells ran")).collect()
}
