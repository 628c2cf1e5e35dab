//! What happens in a cell.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use milepost::{
    Builder, Error, JobId, JobStatus, Lease, Leasing, ManualClock, NewJob, Scope, Store, Worker,
};

use crate::cell::{Cell, Fault, Then};
use crate::disk::Disk;

const LENGTH: Duration = Duration::from_secs(60);
const YEAR: Duration = Duration::from_secs(365 * 86_400);
const POSITIONS: u64 = 200;
const BATCH: u64 = 10;
const NOON: &str = "2026-02-16T12:00:00Z";
const CHILD: &str = "MILEPOST_CROSSING";

struct Scene {
    cell: Cell,
    path: PathBuf,
    disk: Arc<Disk>,
    clock: ManualClock,
    /// Where each job's cursor was acknowledged to be.
    acknowledged: BTreeMap<JobId, u64>,
}

pub fn run(cell: Cell) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("crossing.milepost");
    let clock = ManualClock::at(NOON.parse().unwrap());
    let jobs = prepare(cell, &path, &clock);
    let disk = Arc::new(Disk::at(&path));
    let mut scene = Scene { cell, path, disk, clock, acknowledged: BTreeMap::new() };

    let store = scene.open();
    let worker = store.worker("holder", "pc").unwrap();
    let mut leases: Vec<Lease> = jobs.iter().map(|_| scene.lease(&worker)).collect();
    scene.work(&mut leases, 3);
    store.flush().unwrap();
    let flushed = scene.acknowledged.clone();
    scene.work(&mut leases, 2);

    scene.fault(&store, &mut leases);
    let remains = scene.follow(store, leases);
    match scene.cell.then {
        Then::AnotherProcess => in_another_process(&scene.path),
        _ => {
            let store = remains.unwrap_or_else(|| scene.open());
            scene.check_acknowledged(&store, &flushed);
            scene.finish(&store);
        }
    }
    scene.check(&jobs);
}

/// Makes the store and its jobs, and damages the row of one job more if that is the fault.
fn prepare(cell: Cell, path: &Path, clock: &ManualClock) -> Vec<JobId> {
    let store = Store::builder(path).clock(clock.clone()).open().unwrap();
    let range = |n: u64| n * POSITIONS..(n + 1) * POSITIONS;
    // It comes first in the queue, so that every request for a lease meets it.
    let damaged = store.create_job(NewJob::new("crossing", range(99)).priority(9)).unwrap();
    let jobs = (0..cell.jobs()).map(|n| NewJob::new("crossing", range(n)).max_attempts(3));
    let jobs = store.create_jobs(jobs).unwrap();
    if cell.fault != Fault::DamagedRow {
        store.cancel_job(damaged).unwrap();
        store.delete_job(damaged).unwrap();
    }
    store.close().unwrap();
    if cell.fault == Fault::DamagedRow {
        let table = redb::TableDefinition::<&[u8], &[u8]>::new("jobs");
        let database = redb::Database::open(path).unwrap();
        let txn = database.begin_write().unwrap();
        let key = damaged.number().to_be_bytes();
        txn.open_table(table).unwrap().insert(&key[..], &b"\x01damaged"[..]).unwrap();
        txn.commit().unwrap();
    }
    jobs
}

impl Scene {
    fn open(&self) -> Store {
        let builder = Builder::on_device(self.disk.clone()).clock(self.clock.clone());
        builder.durability(self.cell.durability()).open().unwrap()
    }

    fn lease(&self, worker: &Worker) -> Lease {
        let request = worker.request(LENGTH);
        let request = if self.cell.keep_alive { request.keep_alive() } else { request };
        request.lease().unwrap().leased().expect("a job waits for each lease")
    }

    /// Checkpoints so many batches under every lease, all of which must hold.
    fn work(&mut self, leases: &mut [Lease], batches: u64) {
        for lease in leases {
            for _ in 0..batches {
                let cursor = checkpoint(lease).unwrap();
                self.acknowledged.insert(lease.job(), cursor);
            }
        }
    }

    fn fault(&mut self, store: &Store, leases: &mut Vec<Lease>) {
        match self.cell.fault {
            Fault::None | Fault::DamagedRow => {}
            Fault::FailedCommit => {
                self.disk.fail(true);
                let outcome = checkpoint(&mut leases[0]);
                // A relaxed store may acknowledge it before the disk has failed.
                match outcome {
                    Ok(cursor) if self.cell.relaxed => {
                        self.acknowledged.insert(leases[0].job(), cursor);
                    }
                    outcome => assert!(outcome.unwrap_err().needs_reopen()),
                }
                assert!(store.flush().unwrap_err().needs_reopen());
                self.disk.fail(false);
            }
            Fault::Rollback => {
                self.disk.fail(true);
                assert!(store.flush().unwrap_err().needs_reopen());
                self.disk.fail(false);
            }
            Fault::PanicInWorker => {
                let held = leases.remove(0);
                let job = held.job();
                let panicked = thread::spawn(move || {
                    let _held = held;
                    panic!("the worker was told to panic");
                });
                assert!(panicked.join().is_err());
                let job = store.snapshot().unwrap().job(job).unwrap().unwrap();
                assert_eq!(job.status, JobStatus::Pending, "the job is free at once");
            }
            Fault::PanicInClosure => {
                let view = store.snapshot().unwrap();
                let shown = catch_unwind(AssertUnwindSafe(|| {
                    view.dump(|_, _, _| panic!("the closure was told to panic"))
                }));
                let text = shown.expect_err("the panic belongs to the caller");
                let text = text.downcast_ref::<&str>().copied();
                assert_eq!(text, Some("the closure was told to panic"));
            }
            Fault::ClockSetBack => {
                use milepost::Clock;
                self.clock.set(self.clock.now().before(YEAR));
            }
            Fault::ExpiredLease => {
                self.clock.advance(2 * LENGTH);
                // One that is kept alive may have been renewed meanwhile: then nobody gets its job.
                let other = store.worker("other", "pc").unwrap();
                while let Leasing::Leased(lease) = other.lease(LENGTH).unwrap() {
                    lease.abandon();
                }
            }
        }
    }

    /// What comes after the fault. Returns the store if it is still open.
    fn follow(&mut self, store: Store, mut leases: Vec<Lease>) -> Option<Store> {
        match self.cell.then {
            Then::Reopen => {
                store.reopen().unwrap();
                leases.iter_mut().for_each(|lease| self.go_on(lease));
                drop(leases);
                Some(store)
            }
            Then::Retry => {
                for lease in &mut leases {
                    // What has no answer gets none before the store is reopened.
                    let early = lease.retry();
                    assert_eq!(early.is_err(), lease.is_unanswered(), "{early:?}");
                }
                store.reopen().unwrap();
                for lease in &mut leases {
                    if let Err(error) = lease.retry() {
                        self.expected(&error);
                    }
                    assert!(!lease.is_unanswered());
                    self.go_on(lease);
                }
                drop(leases);
                Some(store)
            }
            Then::Drop | Then::AnotherProcess => {
                if self.cell.then == Then::AnotherProcess {
                    // As a process that is killed: it releases nothing.
                    leases.drain(..).for_each(Lease::abandon);
                }
                drop(leases);
                None
            }
            Then::Close => {
                // After a fault of the disk it may say so; it is closed all the same.
                if let Err(error) = store.close() {
                    let fault = self.cell.fault;
                    let of_the_disk = matches!(fault, Fault::FailedCommit | Fault::Rollback);
                    assert!(of_the_disk, "{:?}: {error}", self.cell);
                }
                for lease in &mut leases {
                    let error = checkpoint(lease).unwrap_err();
                    let closed = matches!(error, Error::Closed | Error::LeaseLost { .. });
                    let unanswered = matches!(error, Error::Unanswered { .. });
                    assert!(
                        closed || (unanswered && self.cell.fault == Fault::FailedCommit),
                        "{error}"
                    );
                }
                None
            }
        }
    }

    /// The holder goes on as the documentation says, for a few batches.
    fn go_on(&mut self, lease: &mut Lease) {
        for _ in 0..5 {
            match checkpoint(lease) {
                Ok(cursor) => drop(self.acknowledged.insert(lease.job(), cursor)),
                Err(Error::Unanswered { .. }) => {
                    if let Err(error) = lease.retry() {
                        self.expected(&error);
                    }
                }
                Err(error) => self.expected(&error),
            }
        }
    }

    fn expected(&self, error: &Error) {
        let lost = matches!(self.cell.fault, Fault::ExpiredLease | Fault::ClockSetBack);
        match error {
            Error::LeaseLost { .. } => assert!(lost, "{:?}: {error}", self.cell),
            Error::RolledBack { .. } => assert!(self.cell.relaxed, "{:?}: {error}", self.cell),
            _ => panic!("{:?}: {error:?}", self.cell),
        }
    }

    /// Promise 11: what was acknowledged is there; of what a relaxed store held back, nothing need be.
    fn check_acknowledged(&self, store: &Store, flushed: &BTreeMap<JobId, u64>) {
        let faulty_disk = matches!(self.cell.fault, Fault::FailedCommit | Fault::Rollback);
        let kept = if self.cell.relaxed && faulty_disk { flushed } else { &self.acknowledged };
        let view = store.snapshot().unwrap();
        for (job, cursor) in kept {
            let stored = view.job(*job).unwrap().unwrap();
            assert!(stored.cursor >= *cursor, "{:?}: {job} at {}", self.cell, stored.cursor);
        }
    }

    /// Other workers finish every job that can be had.
    fn finish(&self, store: &Store) {
        finish(store, &mut || self.clock.advance(2 * LENGTH));
        store.close().unwrap();
    }

    /// Promises 2, 4 and 8: every position was done once, and everything adds up.
    fn check(&self, jobs: &[JobId]) {
        let store = Store::builder(&self.path).clock(self.clock.clone()).open().unwrap();
        let view = store.snapshot().unwrap();
        let mut items = 0;
        for job in jobs {
            let stored = view.job(*job).unwrap().unwrap();
            assert_eq!(stored.status, JobStatus::Completed, "{:?}: {stored:?}", self.cell);
            let mut batches = view.newest_history_of_job(*job, None, usize::MAX).unwrap();
            batches.sort_by_key(|batch| batch.start);
            let mut next = stored.start;
            for batch in &batches {
                assert_eq!(batch.start, next, "{:?}: a gap or an overlap", self.cell);
                next = batch.end;
                items += u128::from(batch.items);
            }
            assert_eq!(next, stored.end, "{:?}", self.cell);
            let found = view.findings_of(*job, None, usize::MAX).unwrap().len();
            assert_eq!(found as u64, POSITIONS / BATCH, "{:?}: findings", self.cell);
        }
        assert_eq!(view.lifetime(Scope::Fleet).unwrap().totals.items, items);
        if self.cell.fault == Fault::DamagedRow {
            assert!(matches!(view.verify(), Err(Error::Corrupted { .. })), "it is not hidden");
        } else {
            view.verify().unwrap();
        }
    }
}

fn checkpoint(lease: &mut Lease) -> milepost::Result<u64> {
    let here = lease.cursor()..(lease.cursor() + BATCH).min(lease.range().end);
    let mut batch = milepost::Batch::of(&here, Duration::from_millis(5));
    batch.add_finding(here.start.to_be_bytes(), "a hit");
    lease.checkpoint(batch)
}

/// Finishes every job that can be had; `pass_time` lets leases expire that others hold.
fn finish(store: &Store, pass_time: &mut dyn FnMut()) {
    let worker = store.worker("finisher", "pc").unwrap();
    for _ in 0..100 {
        match worker.lease(LENGTH) {
            Ok(Leasing::Leased(mut lease)) => {
                while lease.next_batch(BATCH).is_some() {
                    checkpoint(&mut lease).unwrap();
                }
            }
            Ok(Leasing::Busy(_)) => pass_time(),
            Ok(Leasing::Finished) => return,
            // Nothing is left but the job whose row cannot be read: the error says so.
            Err(Error::Corrupted { .. }) if store.snapshot().unwrap().job_counts().leased == 0 => {
                return;
            }
            Err(Error::Corrupted { .. }) => pass_time(),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the jobs cannot be finished");
}

/// Opens the file in a process of its own, which finishes the jobs. Its clock is months ahead, so
/// leases that are left have expired.
pub fn in_another_process(path: &Path) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "a_child_process_finishes_the_jobs"]);
    let output = child.env(CHILD, path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

pub fn finish_in_a_child() {
    if let Some(path) = std::env::var_os(CHILD) {
        let store = Store::open(path).unwrap();
        finish(&store, &mut || panic!("nobody holds a job any more"));
        return store.close().unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("crossing.milepost");
    let store = Store::open(&path).unwrap();
    store.create_job(NewJob::new("keys", 0..POSITIONS)).unwrap();
    store.close().unwrap();
    in_another_process(&path);
    let store = Store::open(&path).unwrap();
    assert_eq!(store.snapshot().unwrap().job_counts().completed, 1);
}
