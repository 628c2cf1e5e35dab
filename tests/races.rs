//! Many threads lease, checkpoint, renew, give up, cancel, compact, close and reopen at random, on
//! one store: a job has one holder at a time, every call is answered, everything is counted once
//! (promises 2, 3, 4 and 13), and nobody waits for more than a few commits.
//!
//! `src/commit/explored.rs` tries many schedules of the same in small; this is the whole, at speed.

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "these are tests")]

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use fastrand::Rng;
use milepost::testing::{Engine, EngineResult, EngineSnapshot, Flush, MemoryEngine, Write};
use milepost::{
    Batch, Builder, Error, JobId, JobStatus, Lease, LeaseOutcome, ManualClock, NewJob, NewWorker,
    Result, Scope, Store, Timestamp, Worker,
};

use support::within;

const THREADS: u64 = 8;
const JOBS: u64 = 10;
const POSITIONS: u64 = 8_000;
const MINUTE: Duration = Duration::from_secs(60);
const FEW: u64 = 4;
/// How long a test may take before somebody is thought to wait for ever.
const PATIENCE: Duration = Duration::from_secs(120);

/// What is true of a job, as far as threads were told.
#[derive(Default)]
struct Truth {
    tokens: BTreeSet<u64>,
    /// Tokens up to this one are void.
    retired: u64,
    holder: Option<u64>,
}

/// What the threads share for as long as one of them does not close the store.
struct Race<'l> {
    store: Store,
    ledger: &'l Ledger,
    steps: AtomicU64,
    /// After so many steps somebody closes the store.
    closes_after: u64,
}

/// What is known of all jobs, outside of the store.
struct Ledger {
    jobs: BTreeMap<JobId, Mutex<Truth>>,
    /// How often each position was acknowledged.
    done: Vec<AtomicU64>,
    batches: AtomicU64,
    lost: AtomicU64,
}

impl Ledger {
    fn granted(&self, lease: &Lease) {
        let token = lease.token().get();
        let mut truth = self.jobs[&lease.job()].lock().unwrap();
        assert!(truth.tokens.insert(token), "a token was issued twice");
        // One that was cancelled before its holder heard of it is no longer held.
        if token > truth.retired && truth.tokens.last() == Some(&token) {
            assert_eq!(truth.holder.replace(token), None, "two hold one job");
        }
    }

    /// Before a holder gives a job up, and after it lost it.
    fn given_up(&self, lease: &Lease) {
        let mut truth = self.jobs[&lease.job()].lock().unwrap();
        truth.holder = truth.holder.filter(|token| *token != lease.token().get());
    }

    /// Once a job was called off.
    fn cancelled(&self, job: JobId, token: u64) {
        let mut truth = self.jobs[&job].lock().unwrap();
        truth.retired = token;
        truth.holder = None;
    }

    fn moved(&self, positions: Range<u64>) {
        self.batches.fetch_add(1, Ordering::SeqCst);
        for position in positions {
            self.done[position as usize].fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Race<'_> {
    /// Calls a job off, whoever holds it, and puts it back into the queue.
    fn cancel(&self, job: JobId) -> Result<()> {
        match self.store.cancel_job(job) {
            Ok(()) => {}
            Err(Error::WrongStatus { .. }) => return Ok(()),
            Err(error) => return Err(error),
        }
        let token = self.store.snapshot()?.job(job)?.unwrap().token.get();
        self.ledger.cancelled(job, token);
        self.store.retry_job(job)
    }

    /// What may happen beside the work.
    fn disturb(&self, rng: &mut Rng) -> Result<()> {
        let job = *self.ledger.jobs.keys().nth(rng.u64(..JOBS) as usize).unwrap();
        match rng.u64(..8) {
            0 => self.store.reopen(),
            1 => self.store.snapshot()?.verify().map(|_| ()),
            2 => self.store.flush(),
            3 => match self.store.compact() {
                Err(Error::InUse { .. }) => Ok(()),
                compacted => compacted,
            },
            4 | 5 => self.cancel(job),
            _ => Ok(()),
        }
    }

    /// One command of a lease; says whether it still holds afterwards.
    fn go_on(&self, lease: &mut Lease, rng: &mut Rng) -> Result<bool> {
        let kind = rng.u64(..12);
        if kind == 0 {
            return lease.renew().map(|_| true);
        }
        if let Some(range) =
            lease.next_batch(rng.u64(1..=40)).filter(|_| kind > 2).map(|batch| batch.range())
        {
            lease.checkpoint(Batch::new(range.clone(), Duration::from_millis(3)))?;
            self.ledger.moved(range);
            return Ok(true);
        }
        self.ledger.given_up(lease);
        match kind {
            1 => drop(lease.fail("it was told to")?),
            _ => lease.release()?,
        }
        Ok(false)
    }

    /// Works until nothing is left to do, or the store is closed.
    fn work(&self, worker: &Worker, rng: &mut Rng) -> Result<()> {
        loop {
            let asked = worker.request(MINUTE).resume().send()?;
            let leased = if rng.bool() { asked.leased() } else { asked.wait()?.leased() };
            let Some(mut lease) = leased else {
                if matches!(worker.request(MINUTE).send()?, LeaseOutcome::Finished)
                    && self.is_done()?
                {
                    return Ok(());
                }
                continue;
            };
            self.ledger.granted(&lease);
            loop {
                if self.steps.fetch_add(1, Ordering::SeqCst) == self.closes_after {
                    self.store.close().unwrap();
                }
                if rng.u64(..6) == 0 {
                    self.disturb(rng)?;
                }
                match self.go_on(&mut lease, rng) {
                    Ok(true) => {}
                    Ok(false) => break,
                    Err(Error::LeaseLost { .. }) => {
                        self.ledger.given_up(&lease);
                        self.ledger.lost.fetch_add(1, Ordering::SeqCst);
                        lease.abandon();
                        break;
                    }
                    Err(error) => return Err(error),
                }
            }
        }
    }

    /// A job that was cancelled may be about to come back.
    fn is_done(&self) -> Result<bool> {
        Ok(self.store.snapshot()?.job_counts().completed == JOBS)
    }
}

/// Has all threads work on the file until nothing is left to do, or one of them closed the store;
/// says which.
fn round(path: &Path, number: u64, ledger: &Ledger) -> bool {
    for truth in ledger.jobs.values() {
        // A lease that was held when the store closed is resumed under a new token, or expires.
        truth.lock().unwrap().holder = None;
    }
    let noon: Timestamp = "2026-02-16T12:00:00Z".parse().unwrap();
    let clock = ManualClock::at(noon.saturating_add((2 * number) as u32 * MINUTE));
    let store = Store::builder(path).clock(clock).open().unwrap();
    // One that was called off just before the store closed is still to be put back.
    for job in store.snapshot().unwrap().jobs(None, JOBS as usize).unwrap() {
        if job.status == JobStatus::Cancelled {
            store.retry_job(job.id).unwrap();
        }
    }
    let race = Race { store, ledger, steps: AtomicU64::new(0), closes_after: 150 + 100 * number };
    thread::scope(|threads| {
        let run = |n| {
            let race = &race;
            threads.spawn(move || {
                let seed = number * THREADS + n;
                // Shown where the test fails.
                println!("round {number}, thread {n}: seed {seed}");
                let mut rng = Rng::with_seed(seed);
                let worker =
                    race.store.register_worker(NewWorker::new(format!("pc-{n}")).kind("pc"));
                match worker.and_then(|worker| race.work(&worker, &mut rng)) {
                    Ok(()) => true,
                    Err(Error::Closed) => false,
                    Err(error) => panic!("round {number}, thread {n}: {error:?}"),
                }
            })
        };
        let running: Vec<_> = (0..THREADS).map(run).collect();
        let ended: Vec<bool> = running.into_iter().map(|thread| thread.join().unwrap()).collect();
        ended.into_iter().all(|is_done| is_done)
    })
}

/// Promises 2, 3, 4 and 13.
#[test]
fn whatever_many_threads_do_at_once_a_job_has_one_holder_and_everything_counts_once() {
    within(PATIENCE, || {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("races.milepost");
        let store = Store::builder(&path).history_limit(50).open().unwrap();
        let range = |n| n * POSITIONS..(n + 1) * POSITIONS;
        let ids = store.create_jobs((0..JOBS).map(|n| NewJob::new("keys", range(n)))).unwrap();
        store.close().unwrap();
        let ledger = Ledger {
            jobs: ids.into_iter().map(|id| (id, Mutex::default())).collect(),
            done: (0..JOBS * POSITIONS).map(|_| AtomicU64::new(0)).collect(),
            batches: AtomicU64::new(0),
            lost: AtomicU64::new(0),
        };
        let rounds = (0..).find(|number| round(&path, *number, &ledger)).unwrap();

        let batches = ledger.batches.into_inner();
        let lost = ledger.lost.into_inner();
        println!("closed {rounds} times, {batches} batches, {lost} leases lost");
        assert!(rounds > 1 && lost > 0);
        assert!(ledger.done.iter().all(|times| times.load(Ordering::SeqCst) == 1));
        let store = Store::builder(&path).check_on_open(true).open().unwrap();
        let view = store.snapshot().unwrap();
        view.verify().unwrap();
        assert_eq!(view.job_counts().completed, JOBS);
        let totals = view.lifetime(Scope::Fleet).unwrap().totals;
        assert_eq!((totals.batches, totals.items), (batches, u128::from(JOBS * POSITIONS)));
    });
}

/// An engine in memory whose commits take as long as those of a fast disk, and are counted.
#[derive(Debug, Default)]
struct Slow {
    memory: MemoryEngine,
    commits: AtomicU64,
}

impl Engine for Slow {
    fn snapshot(&self) -> EngineResult<Arc<dyn EngineSnapshot>> {
        self.memory.snapshot()
    }

    fn write(
        &self,
        flush: Flush,
        transaction: &mut dyn FnMut(&mut dyn Write) -> EngineResult<()>,
    ) -> EngineResult<()> {
        let result = self.memory.write(flush, transaction);
        thread::sleep(Duration::from_millis(1));
        self.commits.fetch_add(1, Ordering::SeqCst);
        result
    }

    fn stored_bytes(&self) -> EngineResult<u64> {
        self.memory.stored_bytes()
    }

    fn reopen(&self) -> Result<()> {
        self.memory.reopen()
    }

    fn close(&self) -> EngineResult<()> {
        self.memory.close()
    }
}

/// Has threads checkpoint all the time, while one calls something else; says how many commits were
/// made during the longest call of each kind.
fn longest_waits(other: impl Fn(&Store) + Sync) -> (u64, u64) {
    let engine = Arc::new(Slow { memory: MemoryEngine::new(), commits: AtomicU64::new(0) });
    let store = Builder::on_engine(engine.clone()).open().unwrap();
    let range = |n| n * 400..(n + 1) * 400;
    store.create_jobs((0..THREADS).map(|n| NewJob::new("keys", range(n)))).unwrap();
    let during = |call: &mut dyn FnMut()| {
        let before = engine.commits.load(Ordering::SeqCst);
        call();
        engine.commits.load(Ordering::SeqCst) - before
    };
    let over = AtomicBool::new(false);
    let others = AtomicU64::new(0);
    let longest = AtomicU64::new(0);
    thread::scope(|threads| {
        for n in 0..THREADS {
            let worker =
                store.register_worker(NewWorker::new(format!("pc-{n}")).kind("pc")).unwrap();
            let mut lease = worker.request(MINUTE).send().unwrap().leased().unwrap();
            let (during, longest, over) = (&during, &longest, &over);
            threads.spawn(move || {
                while let Some(range) = lease
                    .next_batch(1)
                    .map(|batch| batch.range())
                    .filter(|_| !over.load(Ordering::SeqCst))
                {
                    let mut batch = Some(Batch::new(range, MINUTE));
                    let waited = during(&mut || {
                        lease.checkpoint(batch.take().unwrap()).unwrap();
                    });
                    longest.fetch_max(waited, Ordering::SeqCst);
                }
            });
        }
        for _ in 0..30 {
            others.fetch_max(during(&mut || other(&store)), Ordering::SeqCst);
        }
        over.store(true, Ordering::SeqCst);
    });
    (longest.into_inner(), others.into_inner())
}

/// Whoever comes while a commit is made waits for that one and is in the next. A busy machine may
/// hold a thread back, so the best of a few tries counts.
#[test]
fn no_caller_waits_for_more_than_a_few_commits() {
    within(PATIENCE, || {
        let tries = (0..5).map(|_| longest_waits(|store| store.compact().unwrap()));
        let tries: Vec<(u64, u64)> = tries.collect();
        println!("commits during the longest checkpoint and the longest compaction: {tries:?}");
        assert!(tries.iter().any(|(checkpoint, _)| *checkpoint <= FEW), "{tries:?}");
        assert!(tries.iter().any(|(_, compaction)| *compaction <= FEW), "{tries:?}");
    });
}
