//! Files with damage of every kind and extent: nothing that they hold may panic into the caller, or
//! end the process.
//!
//! redb verifies no checksums of a file that was closed in order, or that was shared between
//! processes. Such a file may be damaged, or be a copy made beside a running writer. Each round runs
//! in a process of its own: a process that is ended is an answer as well.
//!
//! More files: `DAMAGE_ROUNDS=200 cargo test --release --test damaged_files -- --ignored`.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "these are tests")]

use std::ops::RangeInclusive;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use fastrand::Rng;
use milepost::{Lease, ManualClock, NewJob, NewWorker, Result, Sharing, Store};

/// The variable that names the seeds of a round.
const ROUND: &str = "MILEPOST_DAMAGE_ROUND";
const FILES: usize = 60;
const YEAR: Duration = Duration::from_secs(365 * 86_400);

fn checkpoint(lease: &mut Lease, clock: &ManualClock, positions: u64) -> bool {
    let Some(mut batch) = lease.next_batch(positions) else { return false };
    clock.advance(Duration::from_secs(20_000));
    batch.add_finding(batch.range().end.to_be_bytes(), [9; 40]);
    lease.checkpoint(batch.with_duration(Duration::from_secs(3))).unwrap();
    true
}

/// A store with something in every table, and images of its file after each checkpoint. The last one
/// was closed in order.
fn images(path: &Path, sharing: Sharing) -> Vec<Vec<u8>> {
    let mut images = Vec::new();
    let clock = ManualClock::at("2026-01-01T12:00:00Z".parse().unwrap());
    let store = Store::builder(path).sharing(sharing).clock(clock.clone()).open().unwrap();
    store
        .set_caps(milepost::Caps::default().with_history(30).with_daily(10).with_monthly(3))
        .unwrap();
    for n in 0..4 {
        store.create_job(NewJob::new("keys", n * 100..(n + 1) * 100)).unwrap();
        let worker = store.register_worker(NewWorker::new(format!("pc-{n}")).kind("pc")).unwrap();
        let mut lease = worker.request(YEAR).send().unwrap().leased().unwrap();
        while checkpoint(&mut lease, &clock, 5) {
            images.push(std::fs::read(path).unwrap());
        }
    }
    store.close().unwrap();
    images.push(std::fs::read(path).unwrap());
    images
}

/// A file with a few to many places that were overwritten, and a header as it should be.
fn overwritten(good: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = good.to_vec();
    let pages = bytes.len() / 4096;
    for _ in 0..rng.usize(1..12) {
        let page = rng.usize(1..pages) * 4096;
        match rng.u8(0..4) {
            0 => bytes[page + rng.usize(0..4096)] ^= 1 << rng.u8(0..8),
            1 => bytes[page + rng.usize(0..64)] = rng.u8(..),
            2 => rng.fill(&mut bytes[page..page + 4096]),
            _ => {
                let other = rng.usize(1..pages) * 4096;
                bytes.copy_within(other..other + 4096, page);
            }
        }
    }
    bytes
}

/// A copy whose pages are from different moments.
fn torn(images: &[Vec<u8>], rng: &mut Rng) -> Vec<u8> {
    let first = rng.usize(0..images.len() - 4);
    let mut bytes = images[first].clone();
    for page in (0..bytes.len()).step_by(4096) {
        let later = &images[first + rng.usize(0..4)];
        if let Some(found) = later.get(page..page + 4096) {
            bytes[page..page + 4096].copy_from_slice(found);
        }
    }
    bytes
}

fn write(store: &Store) -> Result<()> {
    let worker = store.register_worker(NewWorker::new("pc-0").kind("pc"))?;
    store.create_job(NewJob::new("more", 0..10))?;
    if let Some(mut lease) = worker.request(YEAR).send()?.leased()
        && let Some(batch) = lease.next_batch(3)
    {
        lease.checkpoint(batch)?;
    }
    store.set_caps(milepost::Caps::default().with_history(5).with_daily(2).with_monthly(1))?;
    store.settle()
}

/// Does everything with a file that a program may do. Returns whether it could be opened.
fn use_file(path: &Path, bytes: &[u8], way: usize) -> bool {
    std::fs::write(path, bytes).unwrap();
    if let Ok(reader) = Store::builder(path).open_read_only() {
        let _whatever_it_says = reader.snapshot().and_then(|view| view.verify());
    }
    let Ok(store) = Store::open(path) else { return false };
    let view = store.snapshot();
    if way.is_multiple_of(2) {
        let _whatever_it_says = write(&store);
    }
    if way.is_multiple_of(3) {
        // The file is released in any case, or it could not be opened again in place.
        if let Err(error) = store.reopen() {
            assert!(!matches!(error, milepost::Error::Locked { .. }), "{error:?}");
        }
        let _whatever_it_says = write(&store);
    }
    match way % 4 {
        0 => drop((view, store)),
        1 => drop((store, view)),
        2 => drop(store.close()),
        _ => {
            let _unwound = catch_unwind(AssertUnwindSafe(move || {
                let _dropped_while_unwinding = (view, store);
                std::panic::panic_any(());
            }));
        }
    }
    if let Err(error) = Store::open(path) {
        assert!(!matches!(error, milepost::Error::Locked { .. }), "{error:?}");
    }
    true
}

/// One round of damaged files, in this process. Prints how many could be opened.
#[test]
#[ignore = "one of the processes of the other tests"]
fn one_round() {
    let seed = std::env::var(ROUND).map_or(1, |seed| seed.parse().unwrap());
    let mut rng = Rng::with_seed(seed);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("good.milepost");
    let sharing = *rng.choice(&[Sharing::Exclusive, Sharing::MultiWriter]).unwrap();
    let images = images(&path, sharing);

    let damaged = folder.path().join("damaged.milepost");
    let mut opened = 0;
    for n in 0..FILES {
        let bytes = match n % 2 {
            0 => overwritten(images.last().unwrap(), &mut rng),
            _ => torn(&images, &mut rng),
        };
        opened += usize::from(use_file(&damaged, &bytes, n / 2));
    }
    // What cannot be opened is not used, and a file that is not damaged proves nothing.
    assert!((1..FILES).contains(&opened), "{opened} of {FILES} opened");
    println!("{opened} of {FILES} opened");
}

fn round(seed: u64) -> Output {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "one_round", "--ignored", "--nocapture"])
        .env(ROUND, seed.to_string())
        .output()
        .unwrap()
}

fn rounds(seeds: RangeInclusive<u64>) {
    for seed in seeds {
        let output = round(seed);
        let said = String::from_utf8_lossy(&output.stdout);
        let errors = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "seed {seed}: {}\n{said}{errors}", output.status);
        let opened = said.lines().find(|line| line.ends_with(" opened")).unwrap();
        println!("seed {seed}: {opened}");
    }
}

/// Promise 13.
#[test]
fn no_panic_and_no_end_of_the_process_comes_out_of_a_damaged_file() {
    rounds(1..=4);
}

#[test]
#[ignore = "takes minutes: for long runs by hand"]
fn thousands_of_damaged_files() {
    rounds(1..=std::env::var("DAMAGE_ROUNDS").map_or(50, |rounds| rounds.parse().unwrap()));
}
