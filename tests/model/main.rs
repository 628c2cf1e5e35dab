//! Random commands from many workers, against the store and against a plain model of it.
//!
//! After every step both have given the same answer and hold the same state, field by field, and
//! the store passes `verify()`. The model knows no indexes, no folding and no steps: it looks at
//! every job, moves one record at a time, and can be read in one sitting. This holds promises 1 to
//! 9, 12 and 13 of `docs/design.md`, and 10 for the snapshots that are held across writes.
//!
//! A case that fails is made smaller, printed, and kept in `tests/model/main.proptest-regressions`.
//! Millions of steps: `MODEL_CASES=80000 cargo test --release --test model -- --ignored`.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "these are tests")]

mod convert;
mod device;
mod drive;
mod imports;
mod leasing;
mod plain;
mod requests;
mod state;
mod step;
mod tiers;

use std::cell::RefCell;
use std::sync::Arc;
use std::time::Duration;

use milepost::testing::MemoryEngine;
use milepost::{Builder, Durability, Store};
use proptest::test_runner::{Config, FileFailurePersistence, TestCaseError, TestRunner};

use device::MemoryDevice;
use drive::{Coverage, Place, run};
use step::{Step, steps};

/// Steps of one case.
const STEPS: usize = 250;

/// What is accepted now and refused then in each test, or the test says little.
const COMMANDS: [&str; 16] = [
    "cancel",
    "checkpoint",
    "create",
    "delete",
    "fail",
    "find or create",
    "finding alone",
    "next range",
    "start over",
    "report",
    "heartbeat",
    "fail with a batch",
    "lease",
    "release",
    "renew",
    "retry",
];

fn check(cases: u32, place: impl Fn() -> Place) {
    let seeds = FileFailurePersistence::WithSource("proptest-regressions");
    let config = Config {
        cases,
        max_shrink_iters: 20_000,
        failure_persistence: Some(Box::new(seeds)),
        source_file: Some(file!()),
        ..Config::default()
    };
    let coverage = RefCell::new(Coverage::new());
    TestRunner::new(config)
        .run(&steps(STEPS), |steps: Vec<Step>| {
            for (command, [accepted, refused]) in
                run(place(), &steps).map_err(TestCaseError::fail)?
            {
                let mut coverage = coverage.borrow_mut();
                let sum = coverage.entry(command).or_default();
                *sum = [sum[0] + accepted, sum[1] + refused];
            }
            Ok(())
        })
        .unwrap_or_else(|failure| panic!("{failure}"));
    let coverage = coverage.into_inner();
    println!("accepted and refused: {coverage:?}");
    // A few cases may leave one out.
    for command in COMMANDS.into_iter().filter(|_| cases >= 100) {
        let [accepted, refused] = coverage[command];
        assert!(accepted > 0 && refused > 0, "{command} is one or the other only: {coverage:?}");
    }
}

fn on_redb() -> Place {
    let device = MemoryDevice::new();
    Place::new(true, move || Builder::on_device(device.clone()))
}

/// Commits that wait for their sync, for as long as any run takes.
fn relaxed() -> Place {
    let device = MemoryDevice::new();
    let durability = Durability::Relaxed { max_delay: Duration::from_secs(86_400) };
    Place::new(true, move || Builder::on_device(device.clone()).durability(durability))
}

fn in_memory() -> Place {
    let engine = Arc::new(MemoryEngine::new().rerun());
    Place::new(true, move || Builder::on_engine(engine.clone()))
}

/// As etcd: 128 operations and 1.5 MiB in a transaction.
fn in_little_room() -> Place {
    let engine = Arc::new(MemoryEngine::new().rerun().limits(128, 3 << 19));
    Place::new(false, move || Builder::on_engine(engine.clone()))
}

fn in_a_file() -> Place {
    let folder = tempfile::tempdir().unwrap();
    Place::new(true, move || Store::builder(folder.path().join("model.milepost")))
}

/// The cases of a long run by hand.
fn cases() -> u32 {
    std::env::var("MODEL_CASES").map_or(4_000, |cases| cases.parse().unwrap())
}

#[test]
fn the_store_does_what_the_model_does_on_redb() {
    check(320, on_redb);
}

#[test]
fn the_store_does_what_the_model_does_on_redb_when_commits_may_wait_for_their_sync() {
    check(160, relaxed);
}

#[test]
fn the_store_does_what_the_model_does_in_memory_with_every_transaction_run_twice() {
    check(160, in_memory);
}

#[test]
fn the_store_does_what_the_model_does_in_small_transactions() {
    check(160, in_little_room);
}

#[test]
fn the_store_does_what_the_model_does_in_a_file() {
    check(4, in_a_file);
}

#[test]
#[ignore = "takes half an hour or more: for long runs by hand"]
fn the_store_does_what_the_model_does_for_long_on_redb() {
    check(cases() / 2, on_redb);
    check(cases() / 2, relaxed);
}

#[test]
#[ignore = "takes half an hour or more: for long runs by hand"]
fn the_store_does_what_the_model_does_for_long_in_memory() {
    check(cases() / 2, in_memory);
    check(cases() / 2, in_little_room);
    check(cases() / 100, in_a_file);
}
