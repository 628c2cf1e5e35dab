//! What a test put in, kept record by record and added up by plain code that shares nothing with
//! the store's own.

#![expect(clippy::unwrap_used, reason = "these are the helpers of tests")]

use std::collections::BTreeSet;
use std::time::Duration;

use milepost::{
    Batch, BatchOutcome, Day, Import, ImportOutcome, Lease, Month, PastBatch, Store, Timestamp,
    Totals, WorkerId,
};

#[derive(Clone, Default)]
pub struct Ledger {
    entries: Vec<Entry>,
}

#[derive(Clone)]
struct Entry {
    worker: WorkerId,
    month: Option<Month>,
    day: Option<Day>,
    totals: Totals,
}

impl Ledger {
    /// Makes a checkpoint over the next positions that took so long, and notes it.
    #[track_caller]
    pub fn checkpoint(&mut self, lease: &mut Lease, now: Timestamp, positions: u64, micros: u64) {
        let range = lease.next_batch(positions).expect("positions are left").range();
        let batch = Batch::new(range.clone(), Duration::from_micros(micros));
        let completed = lease.checkpoint(batch).unwrap().completed;
        let mut done = past(lease.worker(), now, range.end - range.start, micros);
        if completed {
            done.outcome = BatchOutcome::Completed;
        }
        self.note(&done);
    }

    /// Notes a batch.
    pub fn note(&mut self, batch: &PastBatch) {
        let micros = batch.duration.as_micros() as f64;
        let rate = (micros > 0.0).then(|| batch.items as f64 * 1_000_000.0 / micros);
        let mut totals = Totals::new(1, u128::from(batch.items))
            .with_errors(if batch.error.is_some() { 1 } else { 0 })
            .with_completed(if batch.outcome == BatchOutcome::Completed { 1 } else { 0 })
            .with_duration(batch.duration)
            .with_times(batch.finished_at, batch.finished_at);
        (totals.min_rate, totals.max_rate) = (rate, rate);
        self.note_day(batch.worker, batch.finished_at.day(), totals);
    }

    pub fn note_day(&mut self, worker: WorkerId, day: Day, totals: Totals) {
        self.entries.push(Entry { worker, month: Some(day.month()), day: Some(day), totals });
    }

    pub fn note_month(&mut self, worker: WorkerId, month: Month, totals: Totals) {
        self.entries.push(Entry { worker, month: Some(month), day: None, totals });
    }

    pub fn note_lifetime(&mut self, worker: WorkerId, totals: Totals) {
        self.entries.push(Entry { worker, month: None, day: None, totals });
    }

    /// Imports a batch, and notes it.
    pub fn import(&mut self, store: &Store, batch: PastBatch) {
        self.note(&batch);
        let import = Import::new("ledger", self.entries.len() as u64).history(batch);
        assert_eq!(store.import(import).unwrap(), ImportOutcome::Applied);
    }

    pub fn lifetime(&self, worker: WorkerId) -> Totals {
        self.sum(|entry| entry.worker == worker)
    }

    pub fn month(&self, worker: WorkerId, month: Month) -> Totals {
        self.sum(|entry| entry.worker == worker && entry.month == Some(month))
    }

    pub fn day(&self, worker: WorkerId, day: Day) -> Totals {
        self.sum(|entry| entry.worker == worker && entry.day == Some(day))
    }

    fn sum(&self, counts: impl Fn(&Entry) -> bool) -> Totals {
        let mut sum = Totals::default();
        for entry in self.entries.iter().filter(|entry| counts(entry)) {
            add(&mut sum, &entry.totals);
        }
        sum
    }

    /// Every number that was put in is still there, exactly once and in every field: in each
    /// worker's lifetime, and in every day and month of it that has not left (promise 8).
    #[track_caller]
    pub fn assert_conserved(&self, store: &Store) {
        let view = store.snapshot().unwrap();
        let workers: BTreeSet<WorkerId> = self.entries.iter().map(|entry| entry.worker).collect();
        for worker in workers {
            let life = view.lifetime(worker).unwrap();
            assert_eq!(life.totals, self.lifetime(worker), "lifetime of worker {worker}");
            let mut sum = life.rolled;
            for month in view.monthly(worker, ..).unwrap() {
                assert_eq!(
                    month.totals,
                    self.month(worker, month.month),
                    "{} of worker {worker}",
                    month.month
                );
                add(&mut sum, &month.totals);
            }
            assert_eq!(sum, life.totals, "what left and the months of worker {worker}");
            for day in view.daily(worker, ..).unwrap() {
                assert_eq!(day.totals, self.day(worker, day.day), "{} of worker {worker}", day.day);
            }
        }
    }
}

/// Adds up by the book: sums, extremes, first and last.
pub fn add(sum: &mut Totals, more: &Totals) {
    sum.batches += more.batches;
    sum.errors += more.errors;
    sum.completed += more.completed;
    sum.items += more.items;
    *sum = sum.with_duration(sum.duration() + more.duration());
    if let Some(rate) = more.min_rate {
        sum.min_rate =
            Some(sum.min_rate.map_or(rate, |lowest| if rate < lowest { rate } else { lowest }));
    }
    if let Some(rate) = more.max_rate {
        sum.max_rate =
            Some(sum.max_rate.map_or(rate, |highest| if rate > highest { rate } else { highest }));
    }
    if let Some(time) = more.first_at {
        sum.first_at =
            Some(sum.first_at.map_or(time, |first| if time < first { time } else { first }));
    }
    if let Some(time) = more.last_at {
        sum.last_at = Some(sum.last_at.map_or(time, |last| if time > last { time } else { last }));
    }
}

/// A batch done elsewhere.
pub fn past(worker: WorkerId, finished_at: Timestamp, items: u64, duration_us: u64) -> PastBatch {
    PastBatch::new(worker, 0..items, finished_at).with_duration(Duration::from_micros(duration_us))
}

/// Totals of a day, told apart by `n`: every field differs from those of other days.
pub fn totals_of_day(day: Day, n: u64) -> Totals {
    let at = |secs| day.start().saturating_add(Duration::from_secs(secs));
    Totals::new(10 + n, u128::from(1_000 + n))
        .with_errors(n % 7)
        .with_completed(n % 5)
        .with_duration(Duration::from_micros(3_000_000 + n))
        .with_rates(1.0 / (n + 1) as f64, 1_000.0 + n as f64)
        .with_times(at(n % 3_600), at(80_000 + n % 3_600))
}
