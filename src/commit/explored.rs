//! The group commit under an explorer of schedules: many orders in which threads can run, by chance
//! and by priorities that change (PCT), each run through to its end. A deadlock is a failure.
//!
//! ```text
//! RUSTFLAGS="--cfg shuttle" cargo test --profile explore --lib explored
//! ```
//!
//! Queue and groups are small here, so that few callers fill them.

mod callers;
mod watched;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use callers::{Callers, Then, create};
use shuttle::rand::{Rng, thread_rng};
use shuttle::scheduler::{PctScheduler, RandomScheduler};
use shuttle::{Config, Runner};
pub(crate) use watched::Watched;

use super::*;
use crate::storage::{EngineResult, Fault, Flush};
use crate::types::command::Command;

const SEED: u64 = 20_260_216;

/// Runs a test under as many schedules of each kind as `SCHEDULES` says, or a share of 1,000.
pub(crate) fn explore(share: usize, test: impl Fn() + Send + Sync + 'static) {
    let schedules = match std::env::var("SCHEDULES") {
        Ok(number) => number.parse().expect("SCHEDULES is a number"),
        Err(_) => 1_000 / share,
    };
    let mut config = Config::new();
    config.stack_size = 1 << 18;
    let test = Arc::new(test);
    let once = test.clone();
    Runner::new(RandomScheduler::new_from_seed(SEED, schedules), config.clone())
        .run(move || once());
    Runner::new(PctScheduler::new_from_seed(SEED, 3, schedules), config).run(move || test());
    println!("{schedules} random schedules, and as many by PCT");
}

/// A number below `sides` that a replayed schedule gives again.
pub(crate) fn roll(sides: u64) -> u64 {
    thread_rng().gen_range(0..sides)
}

/// Promises 4 and 13.
#[test]
fn every_caller_gets_its_own_results_and_they_are_true() {
    explore(1, || {
        let callers = Callers::on(Watched::new());
        // Few positions, so that some commands are refused for overlap.
        callers.submit_from(4, 2, Some(9));
        callers.exclusively_from(1);
        let outcomes = callers.join();

        outcomes.agree_with_the_store();
        assert!(
            outcomes.all().all(|answer| matches!(answer, Ok(_) | Err(Error::RangeOverlap { .. })))
        );
    });
}

/// Promise 4. Each position once, so that nothing hides behind another's command.
#[test]
fn after_a_failed_commit_every_caller_returns_and_nothing_is_written_until_reopened() {
    explore(1, || {
        let engine = Watched::new();
        let callers = Callers::on(engine.clone());
        let fault = [Fault::Call, Fault::CommitLost, Fault::CommitKept][roll(3) as usize];
        engine.memory.fail_after(roll(if fault == Fault::Call { 60 } else { 5 }), fault);
        callers.submit_from(4, 2, None);
        if roll(2) == 0 {
            callers.reopen_from(1);
        }
        let outcomes = callers.join();

        outcomes.agree_with_the_store();
        assert!(outcomes.all().all(|answer| match answer {
            Ok(_) | Err(Error::Stopped { .. }) => true,
            Err(Error::Storage { .. }) => fault == Fault::Call,
            Err(Error::Uncertain { .. }) => fault != Fault::Call,
            Err(_) => false,
        }));
        if engine.is_broken() {
            let refused = callers.committer.submit(create(900));
            assert!(matches!(refused, Err(Error::Stopped { .. })), "{refused:?}");
            callers.committer.reopen().unwrap();
        }
        assert!(engine.memory.fault_is_pending() || callers.committer.submit(create(901)).is_ok());
    });
}

/// Promise 13. Few schedules: shuttle prints each panic, though it is caught.
#[test]
fn a_panic_of_the_engine_leaves_no_caller_waiting() {
    explore(20, || {
        let engine = Watched::new();
        let callers = Callers::on(engine.clone());
        engine.memory.fail_after(roll(40), Fault::Panic);
        callers.submit_from(3, 2, None);
        callers.panic_exclusively();
        let outcomes = callers.join();

        outcomes.agree_with_the_store();
        callers.committer.reopen().unwrap();
        callers.committer.close().unwrap();
    });
}

/// Promise 13.
#[test]
fn closing_completes_waiting_commands_and_returns_once_the_store_is_closed() {
    explore(1, || {
        let engine = Watched::new();
        let callers = Callers::on(engine.clone());
        callers.submit_from(3, 2, None);
        match roll(3) {
            0 => callers.exclusively_from(1),
            1 => callers.reopen_from(1),
            _ => {}
        }
        callers.close_from(2);
        let outcomes = callers.join();

        outcomes.agree_with_the_store();
        assert!(outcomes.all().all(|answer| matches!(answer, Ok(_) | Err(Error::Closed))));
        let late = callers.committer.submit(create(900));
        assert!(matches!(late, Err(Error::Closed)), "{late:?}");
        assert!(matches!(callers.committer.reopen(), Err(Error::Closed)));
    });
}

/// Promise 13: a panic while closing, a failure while closing, or a store that had stopped.
#[test]
fn closing_ends_whatever_the_engine_does() {
    explore(20, || {
        let engine = Watched::new();
        let callers = Callers::on(engine.clone());
        match roll(3) {
            0 => engine.panics_at_last.store(true, Ordering::SeqCst),
            1 => engine.memory.fail_after(roll(3), Fault::CommitLost),
            _ => engine.memory.fail_after(roll(3), Fault::CommitKept),
        }
        callers.submit_from(2, 1, None);
        callers.close_from(2);
        let outcomes = callers.join();

        outcomes.agree_with_the_store();
        assert!(matches!(callers.committer.exclusively(|_| Ok(())), Err(Error::Closed)));
    });
}

/// Promise 13: of a group, only the command that encounters a damaged row is refused.
#[test]
fn a_command_that_fails_after_its_first_write_fails_alone() {
    explore(2, || {
        let engine = Watched::damaged();
        let callers = Callers::on(engine.clone());
        callers.submit_from(2, 2, None);
        callers.fail_from(100);
        callers.fail_from(110);
        match roll(3) {
            0 => callers.exclusively_from(1),
            1 => callers.reopen_from(1),
            _ => engine.memory.fail_after(roll(3), Fault::CommitLost),
        }
        let outcomes = callers.join();

        outcomes.agree_with_the_store();
        assert!(engine.is_broken() || outcomes.all().all(Result::is_ok));
    });
}

/// Promise 13: what no thread waits for is committed by whoever leads, and its completion may
/// submit again.
#[test]
fn completions_that_no_thread_waits_for_get_their_results() {
    explore(2, || {
        let engine = Watched::new();
        let callers = Callers::on(engine.clone());
        callers.complete_from(2, 100, if roll(2) == 0 { Then::Nothing } else { Then::Again });
        callers.submit_from(2, 1, None);
        let disturbance = roll(4);
        match disturbance {
            0 => callers.exclusively_from(1),
            1 => callers.close_from(1),
            2 => engine.memory.fail_after(roll(3), Fault::CommitLost),
            _ => {}
        }
        let outcomes = callers.join();

        outcomes.agree_with_the_store();
        assert!([1, 2].contains(&disturbance) || outcomes.all().all(Result::is_ok));
        assert!(outcomes.all().count() >= 6, "everybody gets a result");
    });
}

/// Promise 13. Few schedules: shuttle prints each panic, though it is caught.
#[test]
fn a_completion_that_panics_affects_no_other() {
    explore(20, || {
        let callers = Callers::on(Watched::new());
        callers.complete_from(1, 100, Then::Panic);
        callers.submit_from(2, 2, None);
        callers.exclusively_from(1);
        let outcomes = callers.join();

        outcomes.agree_with_the_store();
        assert!(outcomes.all().count() >= 6 && outcomes.all().all(Result::is_ok));
        callers.committer.close().unwrap();
    });
}

/// Promise 13: nobody is overtaken by a caller with many commands, which get their results in
/// order.
#[test]
fn a_caller_with_several_groups_takes_turns_with_others() {
    explore(2, || {
        let engine = Watched::new();
        let callers = Callers::on(engine.clone());
        callers.submit_at_once(100..108);
        callers.submit_from(2, 2, None);
        match roll(4) {
            0 => callers.close_from(1),
            1 => callers.reopen_from(1),
            2 => engine.memory.fail_after(roll(4), Fault::CommitLost),
            _ => {}
        }
        let outcomes = callers.join();

        outcomes.agree_with_the_store();
    });
}

/// Promise 14, and a caller whose commands need several transactions.
#[test]
fn commands_too_large_for_one_transaction_complete_in_order() {
    explore(4, || {
        let callers = Callers::on(Watched::limited(8));
        callers.submit_at_once(100..108);
        callers.submit_from(2, 2, None);
        let outcomes = callers.join();

        outcomes.agree_with_the_store();
        assert!(outcomes.all().all(Result::is_ok));
    });
}
