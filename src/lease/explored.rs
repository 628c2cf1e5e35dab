//! Leases under an explorer of schedules, on the whole store, with the thread that keeps them alive;
//! see `commit/explored.rs`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use shuttle::thread;

use super::*;
use crate::builder::Builder;
use crate::clock::ManualClock;
use crate::commit::explored::{Watched, explore, roll};
use crate::error::Error;
use crate::query::Scope;
use crate::storage::Fault;
use crate::types::NewJob;

const LENGTH: Duration = Duration::from_secs(60);
const JOBS: u64 = 2;
const POSITIONS: u64 = 3;
const WORKERS: u64 = 3;
/// How often leases are renewed in the background.
const ROUNDS: u32 = 10;

/// A few workers and a few jobs, and what is true of them whatever the store says.
struct Fleet {
    engine: Arc<Watched>,
    clock: ManualClock,
    store: Store,
    held: [AtomicBool; JOBS as usize],
    /// How many positions are done, as far as its holder was told.
    done: AtomicU64,
    closes: bool,
}

impl Fleet {
    fn new(closes: bool) -> Arc<Fleet> {
        let engine = Watched::new();
        let clock = ManualClock::at(Timestamp::EPOCH);
        let store = Builder::on_engine(engine.clone()).clock(clock.clone()).open().unwrap();
        let range = |n| n * POSITIONS..(n + 1) * POSITIONS;
        store.create_jobs((0..JOBS).map(|n| NewJob::new("a", range(n)))).unwrap();
        let (held, done) = (Default::default(), AtomicU64::new(0));
        Arc::new(Fleet { engine, clock, store, held, done, closes })
    }

    /// Does something until it succeeds; `None` once the store is closed.
    fn persist<T>(&self, mut act: impl FnMut() -> Result<T>) -> Option<T> {
        loop {
            match act() {
                Ok(done) => return Some(done),
                Err(Error::Closed) if self.closes => return None,
                Err(error) => assert!(error.needs_reopen(), "{error:?}"),
            }
            match self.store.reopen() {
                Ok(()) => {}
                Err(Error::Closed) if self.closes => return None,
                Err(error) => panic!("{error:?}"),
            }
        }
    }

    /// One command of a lease, which is applied exactly once whatever fails.
    fn send<T>(&self, lease: &mut Lease, act: impl Fn(&mut Lease) -> Result<T>) -> Option<()> {
        self.persist(|| settle(lease, &act))
    }

    /// Gives a job back. Where that was stored though the commit failed, another may have it by the
    /// time it is repeated.
    fn release(&self, lease: &mut Lease) -> Option<()> {
        self.persist(|| match (lease.is_unanswered(), settle(lease, &Lease::release)) {
            (true, Err(Error::LeaseLost { .. })) => Ok(()),
            (_, answer) => answer,
        })
    }

    /// Works until nothing is left to do, or the store is closed.
    fn work(&self, name: &str) -> Option<()> {
        let worker =
            self.persist(|| self.store.register_worker(crate::NewWorker::new(name).kind("pc")))?;
        // A lease whose commit failed may have been stored, and is taken up.
        let request = worker.request(LENGTH).resume().keep_alive();
        while let Some(mut lease) = self.persist(|| Ok(request.clone().wait()?.leased()))? {
            let held = &self.held[(lease.range().start / POSITIONS) as usize];
            assert!(!held.swap(true, Ordering::SeqCst), "two hold one job");
            if let Some(batch) = lease.next_batch(1 + roll(2)) {
                let range = batch.range();
                let batch = batch.with_duration(LENGTH);
                self.send(&mut lease, |lease| lease.checkpoint(batch.clone()))?;
                self.done.fetch_add(range.end - range.start, Ordering::SeqCst);
            }
            held.store(false, Ordering::SeqCst);
            if lease.next_batch(1).is_some() {
                self.release(&mut lease)?;
            }
        }
        Some(())
    }

    /// Has leases renewed in the background, in time: no time passes but here.
    fn pass_time(&self) {
        for _ in 0..ROUNDS {
            self.clock.advance(LENGTH / (ROUNDS + 1));
            self.store.renew_kept_alive();
        }
    }

    /// Has all of them work at once, and the store closed meanwhile if that is to be; then what is
    /// stored is what they were told.
    fn run(self: Arc<Fleet>) {
        let work = |n| {
            let fleet = self.clone();
            thread::spawn(move || fleet.work(&format!("pc-{n}")))
        };
        let working: Vec<_> = (0..WORKERS).map(work).collect();
        let fleet = self.clone();
        let passing = thread::spawn(move || fleet.pass_time());
        if self.closes {
            self.store.close().unwrap();
        }
        passing.join().unwrap();
        let ended = working.into_iter().filter_map(|worker| worker.join().unwrap()).count();

        self.engine.assert_in_order();
        let view = self.engine.view();
        view.verify().unwrap();
        let items = view.lifetime(Scope::Fleet).unwrap().totals.items;
        assert_eq!(items, u128::from(self.done.load(Ordering::SeqCst)));
        if !self.closes {
            assert_eq!((ended as u64, items), (WORKERS, u128::from(JOBS * POSITIONS)));
            assert_eq!(view.job_counts().completed, JOBS);
        }
    }
}

/// Sends a command, unless it was sent before and has no answer yet. A renewal in the background
/// never is that command.
fn settle<T>(lease: &mut Lease, act: &impl Fn(&mut Lease) -> Result<T>) -> Result<()> {
    match lease.retry()? {
        Some(Receipt::Renewed { .. }) => panic!("nobody sent a renewal"),
        Some(_) => Ok(()),
        None => act(lease).map(|_| ()),
    }
}

/// Promises 3 and 4. A worker that waits for a job must be woken when it is released: no time
/// passes here.
#[test]
fn a_job_has_one_holder_at_a_time_and_everything_is_counted_once() {
    explore(5, || Fleet::new(false).run());
}

/// Promises 4 and 13.
#[test]
fn a_commit_that_fails_loses_no_result_of_a_lease() {
    explore(5, || {
        let fleet = Fleet::new(false);
        let fault = [Fault::CommitLost, Fault::CommitKept][roll(2) as usize];
        fleet.engine.memory.fail_after(roll(12), fault);
        fleet.run();
    });
}

/// Promise 13.
#[test]
fn closing_sends_all_workers_home() {
    explore(5, || Fleet::new(true).run());
}

/// Promise 13.
#[test]
fn a_snapshot_is_taken_or_refused_while_the_store_closes() {
    explore(5, || {
        let fleet = Fleet::new(true);
        let store = fleet.store.clone();
        let reading = thread::spawn(move || store.snapshot().map(|_| ()));
        fleet.store.close().unwrap();

        let read = reading.join().unwrap();
        assert!(matches!(read, Ok(()) | Err(Error::Closed)), "{read:?}");
    });
}
