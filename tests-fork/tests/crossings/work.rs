//! What happens in a cell.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use milepost::{
    Batch, Builder, Clock, Error, JobId, JobStatus, Lease, LeaseOutcome, ManualClock, NewJob,
    NewWorker, Store, Worker,
};
use milepost_tests_fork::Child;

use crate::cell::{Cell, Fault, Then};
use crate::check::{check, finish, in_another_process};
use crate::disk::Disk;

pub const LENGTH: Duration = Duration::from_secs(60);
pub const POSITIONS: u64 = 200;
pub const BATCH: u64 = 10;
pub const HOLDER: &str = "holder";
const YEAR: Duration = Duration::from_secs(365 * 86_400);
const NOON: &str = "2026-02-16T12:00:00Z";

pub struct Scene {
    pub cell: Cell,
    pub path: PathBuf,
    pub disk: Arc<Disk>,
    clock: ManualClock,
    /// A forked child that has inherited everything, and lives until the end.
    pub child: Option<Child>,
    /// Where each job's cursor was acknowledged to be.
    pub acknowledged: BTreeMap<JobId, u64>,
}

/// All handles of the store, dropped in this order.
pub struct Fleet {
    pub leases: Vec<Lease>,
    pub worker: Worker,
    pub store: Store,
}

pub fn run(cell: Cell) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("crossing.milepost");
    let clock = ManualClock::at(NOON.parse().unwrap());
    let disk = Arc::new(Disk::at(&path));
    let acknowledged = BTreeMap::new();
    let mut scene = Scene { cell, path, disk, clock, child: None, acknowledged };
    let jobs = scene.prepare();

    let mut fleet = scene.fleet(&jobs);
    scene.work(&mut fleet.leases, 3);
    fleet.store.flush().unwrap();
    let flushed = scene.acknowledged.clone();
    scene.work(&mut fleet.leases, 2);

    let fleet = scene.fault(fleet);
    let open = scene.follow(fleet);
    match cell.then {
        Then::AnotherProcess => in_another_process(&scene.path),
        _ => {
            let store = open.unwrap_or_else(|| scene.open());
            // Leases expire that others hold.
            finish(&store, &mut || scene.clock.advance(2 * LENGTH));
            store.close().unwrap();
        }
    }
    if let Some(mut child) = scene.child.take() {
        child.tell(b'.');
        child.join();
    }
    check(&scene, &jobs, if cell.may_lose() { &flushed } else { &scene.acknowledged });
}

impl Scene {
    /// Makes the jobs, and damages the row of one job more if that is the fault.
    fn prepare(&self) -> Vec<JobId> {
        let store = self.on_device().open().unwrap();
        let range = |n: u64| n * POSITIONS..(n + 1) * POSITIONS;
        // It comes first in the queue, so that every request for a lease meets it.
        let damaged = store.create_job(NewJob::new("crossing", range(99)).priority(9)).unwrap();
        let jobs = (0..self.cell.jobs()).map(|n| NewJob::new("crossing", range(n)).max_attempts(3));
        let jobs = store.create_jobs(jobs).unwrap();
        if self.cell.fault != Fault::DamagedRow {
            store.cancel_job(damaged).unwrap();
            store.delete_job(damaged).unwrap();
        }
        store.close().unwrap();
        if self.cell.fault == Fault::DamagedRow {
            damage(&self.path, damaged);
        }
        jobs
    }

    fn open(&self) -> Store {
        let builder = match self.cell.on_a_file() {
            true => Store::builder(&self.path),
            false => self.on_device(),
        };
        builder.clock(self.clock.clone()).durability(self.cell.durability()).open().unwrap()
    }

    fn on_device(&self) -> Builder {
        Builder::on_device(self.disk.clone()).clock(self.clock.clone())
    }

    /// Opens the store, and leases every job.
    fn fleet(&self, jobs: &[JobId]) -> Fleet {
        let store = self.open();
        let worker = store.register_worker(NewWorker::new(HOLDER).kind("pc")).unwrap();
        let leases = jobs.iter().map(|_| self.lease(&worker)).collect();
        Fleet { leases, worker, store }
    }

    fn lease(&self, worker: &Worker) -> Lease {
        let request = worker.request(LENGTH);
        let request = if self.cell.keep_alive { request.keep_alive() } else { request };
        request.send().unwrap().leased().expect("a job waits for each lease")
    }

    /// Checkpoints so many batches under every lease, all of which must hold.
    fn work(&mut self, leases: &mut [Lease], batches: u64) {
        for lease in leases {
            for _ in 0..batches {
                let cursor = checkpoint(lease, BATCH).unwrap();
                self.acknowledged.insert(lease.job(), cursor);
            }
        }
    }

    fn fault(&mut self, mut fleet: Fleet) -> Fleet {
        let Fleet { store, leases, .. } = &mut fleet;
        match self.cell.fault {
            Fault::None | Fault::DamagedRow => {}
            Fault::FailedCommit => {
                self.disk.fail(true);
                let outcome = checkpoint(&mut leases[0], BATCH);
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
            Fault::ClockSetBack => self.clock.set(self.clock.now().saturating_sub(YEAR)),
            Fault::ExpiredLease => {
                self.clock.advance(2 * LENGTH);
                // One that is kept alive may have been renewed meanwhile: then nobody gets its job.
                let other = store.register_worker(NewWorker::new("other").kind("pc")).unwrap();
                while let LeaseOutcome::Leased(lease) = other.request(LENGTH).send().unwrap() {
                    lease.abandon();
                }
            }
            Fault::Fork => return self.fork(fleet),
            Fault::ForkInCommit => return self.fork_in_commit(fleet),
            Fault::ForkInClosure => return self.fork_in_closure(fleet),
        }
        fleet
    }

    /// What comes after the fault. Returns the store if it is still open.
    fn follow(&mut self, fleet: Fleet) -> Option<Store> {
        let Fleet { mut leases, worker, store } = fleet;
        match self.cell.then {
            Then::Reopen => {
                store.reopen().unwrap();
                leases.iter_mut().for_each(|lease| self.go_on(lease));
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
                Some(store)
            }
            Then::Drop => {
                drop(Fleet { leases, worker, store });
                None
            }
            Then::AnotherProcess => {
                // As if it was killed: nothing is released, and nothing more reaches the device.
                self.disk.fail(true);
                leases.drain(..).for_each(Lease::abandon);
                drop((worker, store));
                None
            }
            Then::Close => {
                self.close(&store, &mut leases);
                None
            }
        }
    }

    /// Closes the store while leases are held, which is refused to them from then on.
    fn close(&self, store: &Store, leases: &mut [Lease]) {
        let fault = self.cell.fault;
        // After a fault of the disk it may say so; it is closed all the same.
        if let Err(error) = store.close() {
            let of_the_disk = matches!(fault, Fault::FailedCommit | Fault::Rollback);
            assert!(of_the_disk, "{:?}: {error}", self.cell);
        }
        for lease in leases {
            match checkpoint(lease, BATCH).unwrap_err() {
                Error::Closed | Error::LeaseLost { .. } => {}
                Error::Unanswered { .. } if fault == Fault::FailedCommit => {}
                error => panic!("{:?}: {error:?}", self.cell),
            }
        }
    }

    /// The holder goes on as the documentation says, for a few batches.
    fn go_on(&mut self, lease: &mut Lease) {
        for _ in 0..5 {
            match checkpoint(lease, BATCH) {
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
}

fn damage(path: &Path, job: JobId) {
    let table = redb::TableDefinition::<&[u8], &[u8]>::new("jobs");
    let database = redb::Database::open(path).unwrap();
    let txn = database.begin_write().unwrap();
    let key = job.get().to_be_bytes();
    txn.open_table(table).unwrap().insert(&key[..], &b"\x01damaged"[..]).unwrap();
    txn.commit().unwrap();
}

/// Checkpoints the next positions, with a finding for every [`BATCH`] of them.
pub fn checkpoint(lease: &mut Lease, positions: u64) -> milepost::Result<u64> {
    let here = lease.cursor()..(lease.cursor() + positions).min(lease.range().end);
    let mut batch = Batch::new(here.clone(), Duration::from_millis(5));
    for position in here.step_by(BATCH as usize) {
        batch.add_finding(position.to_be_bytes(), "a hit");
    }
    Ok(lease.checkpoint(batch)?.cursor)
}
