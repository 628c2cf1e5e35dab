//! Power is lost at every moment of a workload, and of the recovery from that, and once more.
//!
//! A disk in memory records every write, change of length and sync. From its log images are made
//! as a real disk may leave them: what was not synced is lost, kept, there in part, in another
//! order, or torn between sectors. Each image is opened and checked: it verifies, and holds what
//! the store held after some command. Under `Immediate` that is the last one acknowledged, or the
//! one in flight; under `Relaxed` none before the last that was synced (promises 4, 7 and 11).
//!
//! What the store held after each command comes from the same workload on the engine in memory.
//!
//! More images: `POWER_LOSS_SEEDS=200 cargo test --release --test power_loss -- --ignored`.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "these are tests")]

mod disk;
mod script;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use milepost::testing::MemoryEngine;
use milepost::{Builder, Durability, ManualClock, Store};

use disk::{Crash, Disk, Loss};
use script::Script;

const COMMANDS: usize = 120;
const START: &str = "2026-02-16T12:00:00Z";

/// A fingerprint of everything that a store holds.
fn fingerprint(store: &Store) -> u64 {
    let mut hasher = DefaultHasher::new();
    let view = store.snapshot().unwrap();
    view.dump(|table, key, value| (table.name(), key, value).hash(&mut hasher)).unwrap();
    hasher.finish()
}

fn open(builder: Builder) -> (Store, ManualClock) {
    let clock = ManualClock::at(START.parse().unwrap());
    let builder = builder.history_limit(9).daily_limit(3).monthly_limit(2);
    (builder.clock(clock.clone()).open().unwrap(), clock)
}

/// What a store holds when it is ready, and after each command.
fn expected(seed: u64) -> Vec<u64> {
    let (store, clock) = open(Builder::on_engine(Arc::new(MemoryEngine::new())));
    let mut script = Script::new(store.clone(), clock, seed);
    let mut states = vec![fingerprint(&store)];
    for _ in 0..COMMANDS {
        script.step();
        states.push(fingerprint(&store));
    }
    states
}

/// The log of a disk, and where in it commands were acknowledged.
struct Recorded {
    disk: Arc<Disk>,
    /// Where each command was acknowledged, and which one was certainly synced by then.
    acknowledged: Vec<(usize, usize)>,
}

fn record(seed: u64, durability: Durability) -> Recorded {
    let disk = Disk::new(Vec::new());
    let (store, clock) = open(Builder::on_device(disk.clone()).durability(durability));
    let mut script = Script::new(store, clock, seed);
    let mut acknowledged = vec![(disk.position(), 0)];
    let mut synced = 0;
    for command in 1..=COMMANDS {
        if script.step() || durability == Durability::Immediate {
            synced = command;
        }
        acknowledged.push((disk.position(), synced));
    }
    // No orderly end: the disk is looked at as it was when the last command was acknowledged.
    std::mem::forget(script);
    Recorded { disk, acknowledged }
}

/// What was found in the images of disks.
#[derive(Debug, Default)]
struct Images {
    checked: u64,
    /// Without what was acknowledged last.
    older: u64,
    /// With the command that was in flight.
    newer: u64,
}

/// How much an image has to hold: the state after the last synced command, after the last one
/// that was acknowledged, after the one in flight, or any in between.
#[derive(Debug, Clone, Copy)]
struct Bounds {
    synced: usize,
    done: usize,
    in_flight: usize,
}

/// Opens an image, checks it, and gives the log of what opening did to it.
fn check(
    image: Vec<u8>,
    states: &[u64],
    bounds: Bounds,
    images: &mut Images,
    what: &str,
) -> Arc<Disk> {
    let Bounds { synced, done, in_flight } = bounds;
    let disk = Disk::new(image);
    let store = Builder::on_device(disk.clone())
        .open()
        .unwrap_or_else(|error| panic!("{what}: it does not open: {error}"));
    let view = store.snapshot().unwrap();
    view.verify().unwrap_or_else(|error| panic!("{what}: {error}"));
    let found = fingerprint(&store);
    let after = states.iter().position(|state| *state == found);
    assert!(
        states[synced..=in_flight].contains(&found),
        "{what}: it holds what was there after command {after:?}, not {synced} to {in_flight}"
    );
    let differs = found != states[done];
    images.checked += 1;
    images.older += u64::from(differs && states[synced..done].contains(&found));
    images.newer += u64::from(differs && found == states[in_flight]);
    disk
}

/// Loses power at every operation of one recorded run.
fn lose_power(seed: u64, durability: Durability, images: &mut Images) {
    // Shown where the test fails.
    println!("seed {seed}, {durability:?}");
    let states = expected(seed);
    let Recorded { disk, acknowledged } = record(seed, durability);
    let log = disk.log();
    let ready = acknowledged[0].0;
    let mut rng = Rng::with_seed(seed ^ 0xD15C);
    let mut crash = Crash::new(Vec::new());
    for (at, op) in log.iter().enumerate() {
        crash.pass(op);
        let position = at + 1;
        if position < ready {
            continue;
        }
        let (done, synced) = acknowledged
            .iter()
            .enumerate()
            .take_while(|(_, (acknowledged, _))| *acknowledged <= position)
            .map(|(command, (_, synced))| (command, *synced))
            .last()
            .unwrap();
        let loss = Loss::ALL[rng.usize(..Loss::ALL.len())];
        let what = format!("seed {seed}, {durability:?}, operation {position}, {loss:?}");
        let image = crash.image(loss, &mut rng);
        let bounds = Bounds { synced, done, in_flight: (done + 1).min(COMMANDS) };
        let reopened = check(image.clone(), &states, bounds, images, &what);

        // Then the recovery loses power, and the recovery from that.
        let (mut bytes, mut disk) = (image, reopened);
        for depth in 1..=2 {
            let log = disk.log();
            let until = rng.usize(..=log.len());
            let mut crash = Crash::new(bytes);
            log[..until].iter().for_each(|op| crash.pass(op));
            let loss = Loss::ALL[rng.usize(..Loss::ALL.len())];
            bytes = crash.image(loss, &mut rng);
            let what = format!("{what}, then in recovery {depth} at {until}, {loss:?}");
            disk = check(bytes.clone(), &states, bounds, images, &what);
        }
    }
}

const RELAXED: Durability = Durability::Relaxed { max_delay: Duration::from_secs(86_400) };

#[test]
fn what_was_acknowledged_under_immediate_survives_a_loss_of_power_at_any_moment() {
    let mut images = Images::default();
    lose_power(1, Durability::Immediate, &mut images);
    println!("{images:?}");
    assert!(images.checked > 3_000 && images.newer > 0, "{images:?}");
    assert_eq!(images.older, 0, "nothing that was acknowledged is lost");
}

#[test]
fn under_relaxed_a_loss_of_power_at_any_moment_takes_only_the_newest_part() {
    let mut images = Images::default();
    (1..=3).for_each(|seed| lose_power(seed, RELAXED, &mut images));
    println!("{images:?}");
    assert!(images.checked > 1_000 && images.newer > 0, "{images:?}");
    assert!(images.older > 0, "what waits for its sync can be lost: {images:?}");
}

#[test]
#[ignore = "takes minutes: for long runs by hand"]
fn power_is_lost_many_times() {
    let seeds = std::env::var("POWER_LOSS_SEEDS").map_or(50, |seeds| seeds.parse().unwrap());
    let mut images = Images::default();
    for seed in 10..10 + seeds {
        lose_power(seed, Durability::Immediate, &mut images);
        lose_power(seed, RELAXED, &mut images);
        println!("up to seed {seed}: {images:?}");
    }
}
