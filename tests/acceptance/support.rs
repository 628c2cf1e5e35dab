//! What the tests share: a store under a clock set by hand, and ways to look at all of it.

#![expect(clippy::unwrap_used, reason = "these are the helpers of tests")]

use std::fmt::Debug;
use std::ops::Deref;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use milepost::testing::{Engine, MemoryEngine, Table};
use milepost::{
    Batch, Builder, Day, Error, Lease, ManualClock, Month, NewJob, NewWorker, Store, Timestamp,
    Worker,
};
use tempfile::TempDir;

/// Noon of the day on which every test begins.
pub const NOON: &str = "2026-02-16T12:00:00Z";

pub const MINUTE: Duration = Duration::from_secs(60);
pub const DAY: Duration = Duration::from_secs(86_400);
pub const YEAR: Duration = Duration::from_secs(365 * 86_400);

pub fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub fn day(text: &str) -> Day {
    text.parse().unwrap()
}

pub fn month(text: &str) -> Month {
    text.parse().unwrap()
}

/// The day so many days after 2020-01-01.
pub fn nth_day(n: i32) -> Day {
    Day::from_number(day("2020-01-01").number() + n).unwrap()
}

/// The month so many months after 1900-01.
pub fn nth_month(n: i32) -> Month {
    Month::from_number(month("1900-01").number() + n).unwrap()
}

/// What an error says, and what each of its causes says.
pub fn with_causes(error: &dyn std::error::Error) -> String {
    let causes = std::iter::successors(Some(error), |error| error.source());
    causes.map(ToString::to_string).collect::<Vec<_>>().join(": ")
}

/// A store and its clock. Whatever a test did with it, it is verified when the test is over.
pub struct Scene {
    store: Store,
    pub clock: ManualClock,
    pub path: PathBuf,
    /// Whether the test closed the store itself, and looked at it in another way.
    pub closed: bool,
    _folder: Option<TempDir>,
}

impl Deref for Scene {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

impl Drop for Scene {
    fn drop(&mut self) {
        if !std::thread::panicking() && !self.closed {
            self.store.snapshot().unwrap().verify().unwrap();
        }
    }
}

impl Scene {
    /// A new store in a file of its own, with default settings.
    pub fn new() -> Scene {
        Scene::with(|builder| builder)
    }

    /// A new store in a file of its own, with other settings.
    pub fn with(settings: impl FnOnce(Builder) -> Builder) -> Scene {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scan.milepost");
        let clock = ManualClock::at(at(NOON));
        let store = settings(Store::builder(&path)).clock(clock.clone()).open().unwrap();
        Scene { store, clock, path, closed: false, _folder: Some(folder) }
    }

    /// A new store on an engine of the test's own.
    pub fn on(engine: Arc<dyn Engine>) -> Scene {
        let clock = ManualClock::at(at(NOON));
        let store = Builder::on_engine(engine).clock(clock.clone()).open().unwrap();
        Scene { store, clock, path: PathBuf::new(), closed: false, _folder: None }
    }

    /// A new store in memory.
    pub fn in_memory() -> Scene {
        Scene::on(Arc::new(MemoryEngine::new()))
    }

    /// Closes the file and opens it again, as the next run of a program would.
    pub fn reopen_with(&mut self, settings: impl FnOnce(Builder) -> Builder) {
        self.store.close().unwrap();
        self.store = settings(Store::builder(&self.path)).clock(self.clock.clone()).open().unwrap();
    }

    /// A worker of kind `pc`.
    pub fn pc(&self, name: &str) -> Worker {
        self.register_worker(NewWorker::new(name).kind("pc")).unwrap()
    }

    /// Creates one job of 1,000 positions for each prefix, and leases nothing.
    pub fn jobs(&self, prefixes: &[&str]) -> Vec<milepost::JobId> {
        self.create_jobs(prefixes.iter().map(|prefix| NewJob::new(*prefix, 0..1_000))).unwrap()
    }
}

/// Keeps what a store syncs for the end of a test: for those that make thousands of commits.
pub fn relaxed(builder: Builder) -> Builder {
    builder.durability(milepost::Durability::Relaxed { max_delay: DAY })
}

/// A lease of a minute; there must be a job to have.
#[track_caller]
pub fn lease(worker: &Worker) -> Lease {
    worker.request(MINUTE).send().unwrap().leased().expect("a job was waiting")
}

/// One checkpoint over the next positions, a microsecond for each.
#[track_caller]
pub fn advance(lease: &mut Lease, positions: u64) -> u64 {
    let range = lease.next_batch(positions).expect("positions are left").range();
    lease.checkpoint(Batch::new(range, Duration::from_micros(positions))).unwrap().cursor
}

/// Every row of a store.
pub type Dump = Vec<(Table, Vec<u8>, Vec<u8>)>;

pub fn dump(store: &Store) -> Dump {
    let mut rows = Vec::new();
    store
        .snapshot()
        .unwrap()
        .dump(|table, key, value| rows.push((table, key.to_vec(), value.to_vec())))
        .unwrap();
    rows
}

/// How many rows a table has.
pub fn rows(store: &Store, table: Table) -> usize {
    store.snapshot().unwrap().size().unwrap().tables[table.name()].rows as usize
}

/// Makes a call that must be refused, and checks that it left no trace (promise 13).
#[track_caller]
pub fn refused<T: Debug>(store: &Store, call: impl FnOnce() -> milepost::Result<T>) -> Error {
    let before = dump(store);

    let error = call().unwrap_err();

    assert!(dump(store) == before, "refused with {error:?}, but something changed");
    error
}
