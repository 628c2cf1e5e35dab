//! The disk fails at every read, write, sync and change of length of a workload, once or for good:
//! an error, never a panic or a hang; every caller gets an answer; and after reopening, repeating
//! what has none counts everything exactly once (promises 4, 11 and 13).

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use milepost::testing::Device;
use milepost::{
    Batch, Builder, Durability, Error, Lease, Lost, ManualClock, NewJob, NewWorker, Result, Scope,
    Store,
};
use parking_lot::Mutex;

const EIO: i32 = 5;
const ENOSPC: i32 = 28;
const DAY: Duration = Duration::from_secs(86_400);
const POSITIONS: u64 = 120;
const RELAXED: Durability = Durability::Relaxed { max_delay: DAY };

#[derive(Debug, Clone, Copy, PartialEq)]
enum Call {
    Read,
    Write,
    Sync,
    SetLength,
}

/// A failure to come: after so many calls of a kind, once or from then on.
#[derive(Debug, Clone, Copy)]
struct Fault {
    call: Call,
    after: u64,
    for_good: bool,
    errno: i32,
}

/// A disk in memory that fails as it is told.
#[derive(Debug, Default)]
struct Disk {
    bytes: Mutex<Vec<u8>>,
    fault: Mutex<Option<Fault>>,
    failures: AtomicU64,
}

impl Disk {
    fn pass(&self, call: Call) -> io::Result<()> {
        let mut planned = self.fault.lock();
        let Some(fault) = planned.as_mut().filter(|fault| fault.call == call) else {
            return Ok(());
        };
        if fault.after > 0 {
            fault.after -= 1;
            return Ok(());
        }
        let errno = fault.errno;
        if !fault.for_good {
            *planned = None;
        }
        self.failures.fetch_add(1, Ordering::SeqCst);
        Err(io::Error::from_raw_os_error(errno))
    }

    fn has_failed(&self) -> bool {
        self.failures.load(Ordering::SeqCst) > 0
    }

    fn mend(&self) {
        *self.fault.lock() = None;
    }
}

impl Device for Disk {
    fn length(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.pass(Call::Read)?;
        let bytes = self.bytes.lock();
        let found = bytes.get(offset as usize..offset as usize + out.len());
        out.copy_from_slice(found.ok_or_else(|| io::Error::from(io::ErrorKind::UnexpectedEof))?);
        Ok(())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.pass(Call::SetLength)?;
        self.bytes.lock().resize(length as usize, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.pass(Call::Sync)
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.pass(Call::Write)?;
        let from = offset as usize;
        self.bytes.lock()[from..from + data.len()].copy_from_slice(data);
        Ok(())
    }
}

fn builder(disk: &Arc<Disk>, durability: Durability, clock: &ManualClock) -> Builder {
    Builder::on_device(disk.clone())
        .durability(durability)
        .clock(clock.clone())
        .history_limit(3)
        .daily_limit(2)
        .monthly_limit(2)
        // Small, so that pages are read from the disk again.
        .cache_bytes(64 << 10)
}

/// Mends the disk and opens the storage again, as somebody would who saw the error.
fn recover(store: &Store, disk: &Disk) {
    let fails_still = store.reopen().is_err();
    disk.mend();
    if fails_still {
        store.reopen().unwrap();
    }
}

/// One checkpoint over the next positions, repeated until it is known to be stored.
fn checkpoint(store: &Store, disk: &Disk, lease: &mut Lease) {
    let Some(range) = lease.next_batch(10).map(|batch| batch.range()) else { return };
    let key = range.end.to_be_bytes();
    let batch = Batch::new(range, Duration::from_millis(7)).with_finding(key, []);
    let mut outcome = lease.checkpoint(batch.clone());
    loop {
        match outcome {
            Ok(_) => return,
            // What Relaxed lost is done again, from where the lease is now.
            Err(Error::RolledBack { .. }) => return,
            Err(error) => assert!(error.needs_reopen(), "{error:?}"),
        }
        recover(store, disk);
        outcome = match lease.retry() {
            Ok(Some(_)) => return,
            Ok(None) => lease.checkpoint(batch.clone()),
            Err(error) => Err(error),
        };
    }
}

/// Does something until it succeeds.
fn persist<T>(store: &Store, disk: &Disk, act: impl Fn() -> Result<T>) -> T {
    loop {
        match act() {
            Ok(done) => return done,
            Err(error) => assert!(error.needs_reopen(), "{error:?}"),
        }
        recover(store, disk);
    }
}

/// Runs a workload that meets a fault; says whether it did.
fn meets(fault: Fault, durability: Durability) -> bool {
    let disk = Arc::new(Disk::default());
    let clock = ManualClock::at("2026-02-16T12:00:00Z".parse().unwrap());
    let store = builder(&disk, durability, &clock).open().unwrap();
    store.create_job(NewJob::new("a", 0..POSITIONS)).unwrap();
    let worker = store.register_worker(NewWorker::new("pc-01").kind("pc")).unwrap();
    let mut lease = worker.request(1_000 * DAY).send().unwrap().leased().unwrap();

    *disk.fault.lock() = Some(fault);
    while lease.next_batch(10).is_some() {
        clock.advance(11 * DAY);
        checkpoint(&store, &disk, &mut lease);
        if lease.cursor().is_multiple_of(40) {
            persist(&store, &disk, || store.snapshot()?.verify());
            persist(&store, &disk, || store.flush());
        }
    }
    persist(&store, &disk, || store.flush());
    disk.mend();
    // The last checkpoint completed the job, and that is never lost.
    let renewed = lease.renew();
    assert!(matches!(renewed, Err(Error::LeaseLost { why: Lost::Ended, .. })), "{renewed:?}");
    let view = store.snapshot().unwrap();
    view.verify().unwrap();
    let totals = view.lifetime(Scope::Fleet).unwrap().totals;
    assert_eq!((totals.batches, totals.items), (12, 120), "{fault:?}, {durability:?}");
    assert_eq!(view.findings(None, 100).unwrap().len(), 12);
    lease.abandon();
    store.close().unwrap();
    let again = builder(&disk, durability, &clock).check_on_open(true).open().unwrap();
    again.snapshot().unwrap().verify().unwrap();
    disk.has_failed()
}

/// Says how many faults were met.
fn fails_everywhere(durability: Durability) -> u64 {
    let mut faults = 0;
    for call in [Call::Read, Call::Write, Call::Sync, Call::SetLength] {
        for (for_good, errno) in [(false, EIO), (true, EIO), (false, ENOSPC), (true, ENOSPC)] {
            let mut met = 0;
            while meets(Fault { call, after: met, for_good, errno }, durability) {
                met += 1;
            }
            assert!(met > 0 || call == Call::SetLength, "{call:?} was never met");
            faults += met;
        }
    }
    faults
}

#[test]
fn wherever_the_disk_fails_an_immediate_store_counts_once() {
    let faults = fails_everywhere(Durability::Immediate);
    println!("{faults} faults");
    assert!(faults > 900, "{faults} faults");
}

#[test]
fn wherever_the_disk_fails_a_relaxed_store_counts_once() {
    let faults = fails_everywhere(RELAXED);
    println!("{faults} faults");
    assert!(faults > 200, "{faults} faults");
}

/// Opens a store whose disk fails, at each call of a kind in turn, and says how often it did.
/// `mended` looks at each store opened again after that, and at one opened without a failure.
fn opening_fails(bytes: &[u8], call: Call, mended: impl Fn(&Disk, Result<Store>)) -> u64 {
    let clock = ManualClock::at("2026-02-16T12:00:00Z".parse().unwrap());
    for after in 0.. {
        let disk = Arc::new(Disk { bytes: Mutex::new(bytes.to_vec()), ..Disk::default() });
        *disk.fault.lock() = Some(Fault { call, after, for_good: true, errno: EIO });
        let opened = builder(&disk, Durability::Immediate, &clock).open();
        if !disk.has_failed() {
            disk.mend();
            mended(&disk, opened);
            return after;
        }
        let error = opened.and_then(|store| store.close()).unwrap_err();
        assert!(!format!("{error:?}").contains("panicked"), "{call:?} {after}: {error:?}");
        disk.mend();
        mended(&disk, builder(&disk, Durability::Immediate, &clock).open());
    }
    unreachable!("an opening ends")
}

/// A store that cannot be made says so. Once the disk is mended it can be, unless the disk holds
/// what redb had not yet marked as its own: a file gets its name only when it is complete.
#[test]
fn wherever_the_disk_fails_while_a_store_is_made_that_is_an_error() {
    for call in [Call::Read, Call::Write, Call::Sync, Call::SetLength] {
        let failures = opening_fails(&[], call, |disk, opened| {
            let begun = disk.bytes.lock().clone();
            match opened {
                Ok(store) => drop(store.snapshot().unwrap().verify().unwrap()),
                Err(error) => {
                    assert!(matches!(error, Error::NotAStore { .. }), "{call:?}: {error:?}");
                    assert!(!begun.starts_with(b"redb"), "{call:?}: {error:?}");
                }
            }
        });

        assert!(failures > 0, "{call:?} was never met");
    }
}

/// A store that cannot be opened says so, and can be once the disk is mended, with all that was
/// in it: whether it was closed in order, or left as by a crash.
#[test]
fn wherever_the_disk_fails_while_a_store_is_opened_it_can_be_once_the_disk_is_mended() {
    let disk = Arc::new(Disk::default());
    let clock = ManualClock::at("2026-02-16T12:00:00Z".parse().unwrap());
    let store = builder(&disk, Durability::Immediate, &clock).open().unwrap();
    store.create_job(NewJob::new("a", 0..POSITIONS)).unwrap();
    let worker = store.register_worker(NewWorker::new("pc-01").kind("pc")).unwrap();
    let mut lease = worker.request(DAY).send().unwrap().leased().unwrap();
    while let Some(batch) = lease.next_batch(10) {
        lease.checkpoint(batch).unwrap();
    }
    let crashed = disk.bytes.lock().clone();
    store.close().unwrap();
    let closed = disk.bytes.lock().clone();

    let mut failures = 0;
    for bytes in [crashed, closed] {
        for call in [Call::Read, Call::Write, Call::Sync, Call::SetLength] {
            failures += opening_fails(&bytes, call, |_, opened| {
                let store = opened.unwrap();
                let view = store.snapshot().unwrap();
                view.verify().unwrap();
                let totals = view.lifetime(Scope::Fleet).unwrap().totals;
                assert_eq!((totals.batches, totals.items), (12, 120), "{call:?}");
            });
        }
    }
    println!("{failures} failures");
    assert!(failures > 20, "{failures} failures");
}

/// Promise 13, with many callers in one commit.
#[test]
fn wherever_the_disk_fails_every_one_of_many_callers_gets_a_result() {
    let mut faults = 0;
    for after in (0..240).step_by(7) {
        let disk = Arc::new(Disk::default());
        let clock = ManualClock::at("2026-02-16T12:00:00Z".parse().unwrap());
        let store = builder(&disk, Durability::Immediate, &clock).open().unwrap();
        let jobs = (0..6).map(|n| NewJob::new("a", n * POSITIONS..(n + 1) * POSITIONS));
        store.create_jobs(jobs).unwrap();
        let leases: Vec<Lease> = (0..6)
            .map(|n| {
                let worker =
                    store.register_worker(NewWorker::new(format!("pc-{n}")).kind("pc")).unwrap();
                worker.request(1_000 * DAY).send().unwrap().leased().unwrap()
            })
            .collect();
        *disk.fault.lock() =
            Some(Fault { call: Call::Write, after, for_good: after % 2 == 0, errno: EIO });

        std::thread::scope(|threads| {
            for mut lease in leases {
                let (store, disk) = (&store, &disk);
                threads.spawn(move || {
                    while lease.next_batch(10).is_some() {
                        checkpoint(store, disk, &mut lease);
                    }
                    persist(store, disk, || store.flush());
                    lease.abandon();
                });
            }
        });

        let view = store.snapshot().unwrap();
        view.verify().unwrap();
        let totals = view.lifetime(Scope::Fleet).unwrap().totals;
        assert_eq!((totals.batches, totals.items), (72, 720), "after {after} writes");
        faults += u64::from(disk.has_failed());
    }
    println!("{faults} faults");
    assert!(faults > 20, "{faults} faults");
}
