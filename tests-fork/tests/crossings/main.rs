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
mod disk;
mod work;

use cell::{Cell, Fault, Then};

/// What the child process of a cell runs: see [`work::in_another_process`]. By itself it checks
/// that such a process does finish the jobs.
#[test]
fn a_child_process_finishes_the_jobs() {
    work::finish_in_a_child();
}

#[test]
fn every_crossing_keeps_the_promises() {
    let mut failed = Vec::new();
    let mut ran = 0;
    for fault in Fault::ALL {
        println!("\n{fault:?}");
        for then in Then::ALL {
            let mut line = format!("  {:<16}", format!("{then:?}"));
            for cell in Cell::all(fault, then) {
                let verdict = match cell.cannot_occur() {
                    Some(reason) => reason.to_string(),
                    None => {
                        ran += 1;
                        match std::panic::catch_unwind(|| work::run(cell)) {
                            Ok(()) => "ok".to_string(),
                            Err(_) => {
                                failed.push(cell);
                                "FAILED".to_string()
                            }
                        }
                    }
                };
                line += &format!(" {verdict:<6}");
            }
            println!("{line}");
        }
    }
    println!("\nEach row, from the left: {}", Cell::columns());
    println!("-: {}", Cell::NO_ROLLBACK);
    println!("{ran} cells ran");
    assert!(failed.is_empty(), "{failed:#?}");
    assert_eq!(ran, Fault::ALL.len() * Then::ALL.len() * 8 - Then::ALL.len() * 4);
}
