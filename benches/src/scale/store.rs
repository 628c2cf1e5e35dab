//! The store that is measured. Every command of the library is called here, and every question in
//! `questions`: nothing else knows the library.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use milepost::{
    Batch, CapsChange, Durability, Import, LeaseOutcome, ManualClock, NewJob, NewWorker, PastBatch,
    Snapshot, Store, Timestamp, Totals,
};

pub(super) use milepost::{JobId, Lease, Worker};

use crate::sides::{CACHE_BYTES, MAX_DELAY, milepost_file};

/// Positions of every job.
const POSITIONS: u64 = 1_000_000;
/// Positions of every batch.
const BATCH: u64 = 10;
/// How long a lease lasts, in simulated time.
const LEASE: Duration = Duration::from_secs(3_600);
/// Noon of 2026-03-02 in UTC, in seconds.
const START_SECS: i64 = 1_772_452_800;
/// Simulated time between two checkpoints.
const STEP: Duration = Duration::from_millis(1);
/// Jobs created in one transaction.
const CREATED: u64 = 10_000;
/// Records of one import.
const IMPORTED: usize = 1_000;

/// A store on a file, `Relaxed`, with a clock that is moved by hand.
pub(super) struct Measured {
    store: Store,
    clock: ManualClock,
    path: PathBuf,
}

impl Measured {
    /// Makes a store in a folder that keeps so many records of history.
    pub(super) fn new(folder: &Path, history: u32) -> Result<Measured> {
        let clock = ManualClock::at(Timestamp::from_secs(START_SECS));
        let measured = Measured::open(milepost_file(folder), clock)?;
        measured.store.set_caps(CapsChange::default().with_history(history))?;
        Ok(measured)
    }

    fn open(path: PathBuf, clock: ManualClock) -> Result<Measured> {
        let store = Store::builder(&path)
            .clock(clock.clone())
            .cache_bytes(CACHE_BYTES)
            .durability(Durability::Relaxed { max_delay: MAX_DELAY })
            .open()?;
        Ok(Measured { store, clock, path })
    }

    /// Closes the store. Calls through handles that still exist fail from then on.
    pub(super) fn close(&self) -> Result<()> {
        Ok(self.store.close()?)
    }

    /// Opens a store again that was closed.
    pub(super) fn reopen(self) -> Result<Measured> {
        let Measured { store, clock, path } = self;
        drop(store);
        Measured::open(path, clock)
    }

    pub(super) fn flush(&self) -> Result<()> {
        Ok(self.store.flush()?)
    }

    pub(super) fn compact(&self) -> Result<()> {
        Ok(self.store.compact()?)
    }

    pub(super) fn file_bytes(&self) -> Result<u64> {
        Ok(std::fs::metadata(&self.path)?.len())
    }

    /// Lets simulated time pass.
    pub(super) fn advance(&self, by: Duration) {
        self.clock.advance(by);
    }

    /// Lets every lease expire.
    pub(super) fn expire_all(&self) {
        self.advance(2 * LEASE);
    }

    pub(super) fn snapshot(&self) -> Result<Snapshot> {
        Ok(self.store.snapshot()?)
    }

    pub(super) fn register(&self, number: u64) -> Result<Worker> {
        Ok(self.store.register_worker(NewWorker::new(worker_name(number)).kind(kind(number)))?)
    }

    /// Creates jobs of a prefix, the first from a position that is `first` jobs from 0.
    pub(super) fn create(&self, prefix: &str, first: u64, count: u64) -> Result<Vec<JobId>> {
        let job = |n: u64| NewJob::new(prefix, n * POSITIONS..(n + 1) * POSITIONS);
        let mut ids = Vec::new();
        for from in (first..first + count).step_by(CREATED as usize) {
            let to = (from + CREATED).min(first + count);
            ids.extend(self.store.create_jobs((from..to).map(job))?);
        }
        Ok(ids)
    }

    /// Creates a job with the prefix and range of one that was deleted.
    pub(super) fn create_again(&self, lease: &Lease) -> Result<JobId> {
        Ok(self.store.create_job(NewJob::new(lease.prefix(), lease.range()))?)
    }

    pub(super) fn cancel(&self, job: JobId) -> Result<()> {
        Ok(self.store.cancel_job(job)?)
    }

    pub(super) fn retry(&self, job: JobId) -> Result<()> {
        Ok(self.store.retry_job(job)?)
    }

    pub(super) fn delete(&self, job: JobId) -> Result<()> {
        Ok(self.store.delete_job(job)?)
    }

    /// Releases the leases that nothing was heard of since a moment ago.
    pub(super) fn release_stale(&self, expected: u64) -> Result<()> {
        let released = self.store.release_stale(STEP)?;
        ensure!(released == expected, "{released} leases were stale, not {expected}");
        Ok(())
    }

    /// Lowers the cap on history, and settles.
    pub(super) fn lower_history(&self, records: u32) -> Result<()> {
        self.store.set_caps(CapsChange::default().with_history(records))?;
        Ok(self.store.settle()?)
    }

    /// Lowers the cap on each worker's days, and settles.
    pub(super) fn lower_daily(&self, rows: u32) -> Result<()> {
        self.store.set_caps(CapsChange::default().with_daily(rows))?;
        Ok(self.store.settle()?)
    }

    /// Imports the last `days` days of each worker.
    pub(super) fn import_days(&self, workers: &[Worker], days: u64) -> Result<()> {
        for (n, some) in workers.chunks(IMPORTED).enumerate() {
            let mut import = Import::new(format!("days {n}"), 1);
            for worker in some {
                for back in 1..=days {
                    let at = self.store.now().saturating_sub(Duration::from_secs(86_400 * back));
                    import = import.daily(worker.id(), at.day(), totals(at));
                }
            }
            self.store.import(import)?;
        }
        Ok(())
    }

    /// Imports history of some workers, who worked in turn.
    pub(super) fn import_history(
        &self,
        workers: &[Worker],
        job: JobId,
        records: u64,
    ) -> Result<()> {
        let all: Vec<u64> = (0..records).collect();
        for (n, some) in all.chunks(IMPORTED).enumerate() {
            let mut import = Import::new(format!("history {n}"), 1);
            for at in some {
                let worker = workers[*at as usize % workers.len()].id();
                let range = at * BATCH..(at + 1) * BATCH;
                let batch = PastBatch::new(worker, range, self.store.now());
                import = import.history(batch.with_job(job).with_duration(STEP));
                self.clock.advance(STEP);
            }
            self.store.import(import)?;
        }
        Ok(())
    }

    /// Makes a checkpoint of the next few positions.
    pub(super) fn checkpoint(&self, lease: &mut Lease) -> Result<()> {
        self.checkpoint_with(lease, |batch| batch)
    }

    /// Makes a checkpoint with findings, whose keys are `first` and those after it.
    pub(super) fn find(&self, lease: &mut Lease, first: u64, count: u64) -> Result<()> {
        let findings = |batch: Batch| {
            (first..first + count)
                .fold(batch, |batch, key| batch.with_finding(key.to_be_bytes(), b"a hit"))
        };
        self.checkpoint_with(lease, findings)
    }

    fn checkpoint_with(&self, lease: &mut Lease, fill: impl FnOnce(Batch) -> Batch) -> Result<()> {
        self.clock.advance(STEP);
        let batch = lease.next_batch(BATCH).context("the job has no positions left")?;
        lease.checkpoint(fill(batch.with_duration(Duration::from_millis(1))))?;
        Ok(())
    }

    /// Completes a job with one checkpoint of all that is left.
    pub(super) fn complete(&self, lease: &mut Lease) -> Result<()> {
        let left = lease.next_batch(u64::MAX).context("the job has no positions left")?;
        lease.checkpoint(left.with_duration(Duration::from_millis(1)))?;
        Ok(())
    }
}

/// Requests any job, and gets one.
pub(super) fn lease(worker: &Worker) -> Result<Lease> {
    worker.request(LEASE).send()?.leased().context("no job is waiting")
}

/// Requests a job of a prefix, and gets one.
pub(super) fn lease_of_prefix(worker: &Worker, prefix: &str) -> Result<Lease> {
    let request = worker.request(LEASE).of_prefix(prefix);
    request.send()?.leased().context("no job of the prefix is waiting")
}

/// Requests any job, and gets none because all are held.
pub(super) fn find_none(worker: &Worker) -> Result<()> {
    ensure!(matches!(worker.request(LEASE).send()?, LeaseOutcome::Busy(_)), "a job was waiting");
    Ok(())
}

/// Waits for a job; `None` once the store is closed or nothing is left to do.
pub(super) fn wait(worker: &Worker) -> Result<Option<Lease>> {
    match worker.next_lease(LEASE) {
        Err(milepost::Error::Closed) => Ok(None),
        other => Ok(other?),
    }
}

pub(super) fn renew(lease: &mut Lease) -> Result<()> {
    lease.renew()?;
    Ok(())
}

pub(super) fn release(mut lease: Lease) -> Result<()> {
    Ok(lease.release()?)
}

/// Drops handles without releasing their jobs.
pub(super) fn abandon(leases: impl IntoIterator<Item = Lease>) {
    leases.into_iter().for_each(Lease::abandon);
}

/// Stores a finding for a job that the worker does not hold.
pub(super) fn find_late(worker: &Worker, job: JobId, key: u64) -> Result<()> {
    worker.add_finding(job, milepost::NewFinding::new(key.to_be_bytes(), b"late"))?;
    Ok(())
}

pub(super) fn worker_name(number: u64) -> String {
    format!("worker-{number:06}")
}

fn kind(number: u64) -> &'static str {
    ["cloud", "gpu", "pc"][(number % 3) as usize]
}

/// The totals of one batch at a time.
fn totals(at: Timestamp) -> Totals {
    let rate = BATCH as f64 * 1e3;
    Totals::new(1, BATCH.into()).with_duration(STEP).with_rates(rate, rate).with_times(at, at)
}
