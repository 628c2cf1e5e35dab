//! A small store for tests of queries, whose rows can be edited directly.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use super::Snapshot;
use crate::builder::Builder;
use crate::clock::ManualClock;
use crate::schema::access;
use crate::schema::rows::{Control, Row};
use crate::storage::{Engine, Flush, MemoryEngine, Table, Write};
use crate::store::Store;
use crate::time::{Day, Month, Timestamp};
use crate::types::{Batch, Import, JobId, NewJob, PastBatch, Totals, WorkerId};
use crate::{Lease, Worker};

pub(crate) const MINUTE: Duration = Duration::from_secs(60);

pub(crate) struct Scene {
    engine: Arc<MemoryEngine>,
    pub(crate) clock: ManualClock,
    pub(crate) store: Store,
}

impl Scene {
    /// An empty store at noon on 2026-02-16 that keeps `history` records.
    pub(crate) fn new(history: u32) -> Scene {
        let engine = Arc::new(MemoryEngine::new());
        let clock = ManualClock::at(at("2026-02-16T12:00:00Z"));
        let store = Builder::on_engine(engine.clone())
            .clock(clock.clone())
            .history_limit(history)
            .open()
            .unwrap();
        Scene { engine, clock, store }
    }

    pub(crate) fn view(&self) -> Snapshot {
        self.store.snapshot().unwrap()
    }

    pub(crate) fn worker(&self, name: &str) -> Worker {
        self.store
            .register_worker(crate::NewWorker::new(name).kind(name.split('-').next().unwrap()))
            .unwrap()
    }

    pub(crate) fn job(&self, prefix: &str, start: u64, end: u64) -> JobId {
        self.store.create_job(NewJob::new(prefix, start..end)).unwrap()
    }

    /// Leases a certain job for an hour.
    pub(crate) fn lease(&self, worker: &Worker, job: JobId) -> Lease {
        worker.request(60 * MINUTE).of_job(job).send().unwrap().leased().unwrap()
    }

    /// Checkpoints `positions` positions of a job that took one second, a minute after the last.
    pub(crate) fn checkpoint(&self, lease: &mut Lease, positions: u64) {
        self.clock.advance(MINUTE);
        let range = lease.cursor()..lease.cursor() + positions;
        lease.checkpoint(Batch::new(range, Duration::from_secs(1))).unwrap();
    }

    /// Checkpoints `positions` positions of a job in a batch that takes `time`, and advances the
    /// clock by it.
    pub(crate) fn work(&self, lease: &mut Lease, positions: u64, time: Duration) {
        self.clock.advance(time);
        self.report(lease, positions, time);
    }

    /// Checkpoints `positions` positions of a job in a batch that reports `time` as its duration.
    /// The clock does not move.
    pub(crate) fn report(&self, lease: &mut Lease, positions: u64, time: Duration) {
        let range = lease.cursor()..lease.cursor() + positions;
        lease.checkpoint(Batch::new(range, time)).unwrap();
    }

    /// Imports live batches of one second each, finished at these times.
    pub(crate) fn history(&self, source: &str, worker: WorkerId, batches: &[(&str, u64)]) {
        let import = batches.iter().fold(Import::new(source, 1), |import, (finished_at, items)| {
            import.history(past(worker, None, 0..*items, at(finished_at)))
        });
        self.store.import(import).unwrap();
    }

    /// Imports a live batch of a job that took one second and is finished now.
    pub(crate) fn past(&self, id: &str, worker: WorkerId, job: JobId, range: Range<u64>) {
        let batch = past(worker, Some(job), range, self.store.now());
        self.store.import(Import::new(id, 1).history(batch)).unwrap();
    }

    /// Edits rows of the store directly, past its rules.
    pub(crate) fn tamper(&self, change: impl Fn(&mut dyn Write)) {
        self.engine
            .write(Flush::Now, &mut |txn| {
                change(txn);
                Ok(())
            })
            .unwrap();
    }

    pub(crate) fn put<R: Row>(&self, key: &[u8], row: &R) {
        self.tamper(|txn| access::store(txn, key, row).unwrap());
    }

    pub(crate) fn delete(&self, table: Table, key: &[u8]) {
        self.tamper(|txn| txn.delete(table, key).unwrap());
    }

    pub(crate) fn edit<R: Row>(&self, key: &[u8], change: impl Fn(&mut R)) {
        self.tamper(|txn| {
            let mut row = access::load(txn, key).unwrap().expect("the row to be edited is there");
            change(&mut row);
            access::store(txn, key, &row).unwrap();
        });
    }

    pub(crate) fn control(&self, change: impl Fn(&mut Control)) {
        self.edit(b"control", change);
    }
}

pub(crate) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

pub(crate) fn day(text: &str) -> Day {
    text.parse().unwrap()
}

pub(crate) fn month(text: &str) -> Month {
    text.parse().unwrap()
}

/// A batch of one second.
pub(crate) fn past(
    worker: WorkerId,
    job: Option<JobId>,
    range: Range<u64>,
    finished_at: Timestamp,
) -> PastBatch {
    let batch = PastBatch::new(worker, range, finished_at).with_duration(Duration::from_secs(1));
    PastBatch { job, ..batch }
}

/// The totals of one batch of one second.
pub(crate) fn batch(items: u64, finished_at: &str) -> Totals {
    past(WorkerId(1), None, 0..items, at(finished_at)).totals()
}
