//! Files that were damaged: cut, flipped bit by bit, overwritten with noise.
//!
//! Opened with `check_on_open`, a file gives the right answers or an error. Opened plainly, redb
//! verifies no checksums, so an answer may be wrong: but it comes, in bounded time and memory, and
//! a panic inside redb is an error that stops the store and does not unwind into the caller.
//!
//! More files: `HOSTILE_SEEDS=100 cargo test --release --test hostile_bytes -- --ignored`.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::hash::{DefaultHasher, Hash, Hasher};
use std::io;
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use milepost::testing::Device;
use milepost::{Batch, Builder, Error, ManualClock, NewJob, NewWorker, Result, Scope, Store};
use parking_lot::Mutex;

use support::within;

/// How long anything may take with one file.
const PATIENCE: Duration = Duration::from_secs(240);
/// How large a damaged file may make the file.
const LARGEST: u64 = 1 << 30;

#[derive(Debug)]
struct Disk(Mutex<Vec<u8>>);

impl Device for Disk {
    fn length(&self) -> io::Result<u64> {
        Ok(self.0.lock().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.0.lock();
        let end = (offset as usize).checked_add(out.len());
        let found = end.and_then(|end| bytes.get(offset as usize..end));
        out.copy_from_slice(found.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?);
        Ok(())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        if length > LARGEST {
            return Err(io::Error::from(io::ErrorKind::StorageFull));
        }
        self.0.lock().resize(length as usize, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut bytes = self.0.lock();
        let from = offset as usize;
        let place = from.checked_add(data.len()).and_then(|end| bytes.get_mut(from..end));
        place.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?.copy_from_slice(data);
        Ok(())
    }
}

fn builder(bytes: Vec<u8>) -> Builder {
    let clock = ManualClock::at("2026-02-16T12:00:00Z".parse().unwrap());
    Builder::on_device(Arc::new(Disk(Mutex::new(bytes)))).clock(clock).cache_bytes(1 << 20)
}

/// The bytes of a store with something in every table, closed in order.
fn good() -> Vec<u8> {
    let clock = ManualClock::at("2026-01-01T12:00:00Z".parse().unwrap());
    let disk = Arc::new(Disk(Mutex::new(Vec::new())));
    let store = Builder::on_device(disk.clone()).clock(clock.clone()).open().unwrap();
    store
        .set_caps(milepost::Caps::default().with_history(60).with_daily(20).with_monthly(3))
        .unwrap();
    for n in 0..6u64 {
        store.create_job(NewJob::new("keys", n * 100..(n + 1) * 100)).unwrap();
    }
    for n in 0..3 {
        let worker = store.register_worker(NewWorker::new(format!("pc-{n}")).kind("pc")).unwrap();
        let year = Duration::from_secs(365 * 86_400);
        let mut lease = worker.request(year).send().unwrap().leased().unwrap();
        while let Some(range) = lease.next_batch(1).map(|batch| batch.range()) {
            clock.advance(Duration::from_secs(20_000));
            let batch = Batch::new(range.clone(), Duration::from_secs(3));
            let batch =
                batch.with_finding(range.end.to_be_bytes(), [9; 40]).with_error("it timed out");
            lease.checkpoint(batch).unwrap();
        }
        if n == 0 {
            lease.abandon();
        }
    }
    store.close().unwrap();
    disk.0.lock().clone()
}

/// Everything that a store can be asked, in short.
fn ask(store: &Store) -> Result<u64> {
    let mut hasher = DefaultHasher::new();
    let view = store.snapshot()?;
    for worker in view.workers(None, usize::MAX)? {
        format!("{worker:?}").hash(&mut hasher);
        format!("{:?}", view.daily(worker.id, ..)?).hash(&mut hasher);
        format!("{:?}", view.monthly(worker.id, ..)?).hash(&mut hasher);
    }
    format!("{:?}", view.lifetime(Scope::Fleet)?).hash(&mut hasher);
    format!("{:?}", view.jobs(None, 1_000)?).hash(&mut hasher);
    format!("{:?}", view.newest_history(None, 1_000)?).hash(&mut hasher);
    format!("{:?}", view.findings(None, 1_000)?).hash(&mut hasher);
    format!("{:?}", view.progress_by_prefix(None, usize::MAX)?).hash(&mut hasher);
    format!("{:?}", view.leases(None, usize::MAX)?).hash(&mut hasher);
    view.size()?;
    view.verify()?;
    Ok(hasher.finish())
}

/// Works on a store, as if nothing were wrong with it.
fn work(store: &Store) -> Result<()> {
    let worker = store.register_worker(NewWorker::new("pc-0").kind("pc"))?;
    store.find_or_create_job(NewJob::new("more", 0..100))?;
    let lease = worker.request(Duration::from_secs(60)).resume().send()?.leased();
    if let Some(mut lease) = lease {
        for _ in 0..5 {
            if let Some(range) = lease.next_batch(3).map(|batch| batch.range()) {
                lease.checkpoint(Batch::new(range, Duration::from_secs(1)))?;
            }
        }
        lease.release()?;
    }
    store.set_caps(milepost::Caps::default().with_history(5).with_daily(2).with_monthly(1))?;
    store.settle()
}

fn damaged(good: &[u8], rng: &mut Rng) -> Vec<u8> {
    let mut bytes = good.to_vec();
    let length = bytes.len();
    match rng.u64(..8) {
        0 => bytes.truncate(rng.usize(..length)),
        1 => {
            let from = rng.usize(..length);
            let to = (from + rng.usize(1..=9_000)).min(bytes.len());
            rng.fill(&mut bytes[from..to]);
        }
        2 => {
            // One page in the place of another.
            let mut page = || rng.usize(..length / 4096) * 4096;
            let (from, to) = (page(), page());
            bytes.copy_within(from..from + 4096, to);
        }
        _ => {
            for _ in 0..rng.u64(1..=3) {
                bytes[rng.usize(..length)] ^= 1 << rng.u64(..8);
            }
        }
    }
    bytes
}

/// What became of damaged files.
#[derive(Debug, Default)]
struct Tally {
    files: u64,
    /// Opened with a check.
    refused: u64,
    right: u64,
    /// Opened without one.
    opened: u64,
    wrong: u64,
    failed: u64,
    stopped: u64,
    unclosed: u64,
}

/// Checks that a file which is not opened is said to be damaged, and nothing else.
#[track_caller]
fn assert_refused(error: &Error) {
    assert!(matches!(error, Error::Corrupted { .. } | Error::NotAStore { .. }), "{error:?}");
}

/// Damages files in many ways, and uses each with and without a check when it is opened.
fn damage(seed: u64, files: u64) -> Tally {
    let good = good();
    let answers = ask(&builder(good.clone()).open().unwrap()).unwrap();
    // Shown where the test fails.
    println!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let mut tally = Tally::default();
    for _ in 0..files {
        let bytes = damaged(&good, &mut rng);
        tally.files += 1;
        match builder(bytes.clone()).check_on_open(true).open() {
            Ok(store) => {
                assert_eq!(ask(&store).unwrap(), answers, "seed {seed}: checked, but wrong");
                work(&store).unwrap();
                tally.right += 1;
            }
            Err(error) => {
                assert_refused(&error);
                tally.refused += 1;
            }
        }
        // Plainly: whatever it says, it says it.
        let store = match builder(bytes).open() {
            Ok(store) => store,
            Err(error) => {
                assert_refused(&error);
                continue;
            }
        };
        tally.opened += 1;
        match ask(&store) {
            Ok(found) if found == answers => {}
            Ok(_) => tally.wrong += 1,
            Err(_) => tally.failed += 1,
        }
        // A row that cannot be decoded fails what needs it; a damaged engine stops the store.
        if let Err(Error::Storage { .. } | Error::Uncertain { .. }) = work(&store) {
            let after = store.register_worker(NewWorker::new("pc-9").kind("pc"));
            assert!(after.is_err(), "seed {seed}: a store that is damaged has stopped writing");
            tally.stopped += 1;
        }
        tally.unclosed += u64::from(store.close().is_err());
    }
    tally
}

#[test]
fn damaged_files_return_the_right_result_or_an_error_when_checked_and_never_panic() {
    let tally = within(PATIENCE, || damage(1, 400));

    println!("{tally:?}");
    assert!(tally.refused > 100 && tally.right > 20, "{tally:?}");
    // Without a check all of it happens, or what comes after opening is not tested.
    assert!(tally.opened > tally.right && tally.wrong > 0, "{tally:?}");
    assert!(tally.failed > 0 && tally.stopped > 0, "{tally:?}");
}

#[test]
fn noise_is_no_store() {
    let mut rng = Rng::with_seed(99);
    for length in [1, 511, 4096, 100_000] {
        let mut noise = vec![0; length];
        rng.fill(&mut noise);
        let opened = builder(noise).open();
        assert!(matches!(opened, Err(Error::NotAStore { .. })), "{length} bytes: {opened:?}");
    }
}

/// Each seed in a process of its own, which must come to its end: a panic while another one unwinds
/// would end it.
#[test]
#[ignore = "takes minutes: for long runs by hand"]
fn thousands_of_damaged_files() {
    let seeds: u64 = std::env::var("HOSTILE_SEEDS").map_or(50, |seeds| seeds.parse().unwrap());
    for seed in 2..2 + seeds {
        let child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "one_seed_of_damaged_files", "--ignored", "--nocapture"])
            .envs([("HOSTILE_SEED", seed.to_string()), ("RUST_BACKTRACE", "1".into())])
            .output()
            .unwrap();
        let (said, cried) =
            (String::from_utf8_lossy(&child.stdout), String::from_utf8_lossy(&child.stderr));
        assert!(child.status.success(), "seed {seed}: {said}{cried}");
        let tally = said.lines().find(|line| line.contains("Tally")).unwrap();
        println!("seed {seed}: {tally}");
    }
}

#[test]
#[ignore = "one of the processes of the test above"]
fn one_seed_of_damaged_files() {
    let seed = std::env::var("HOSTILE_SEED").map_or(2, |seed| seed.parse().unwrap());
    println!("{:?}", within(PATIENCE, move || damage(seed, 400)));
}
