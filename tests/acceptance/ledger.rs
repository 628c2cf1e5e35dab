//! What a test put in, kept record by record and added up by plain code that shares nothing with
//! the store's own.

#![expect(clippy::unwrap_used, reason = "these are the helpers of tests")]

use std::collections::BTreeSet;
use std::time::Duration;

use milepost::{
    Batch, Day, Import, ImportOutcome, Lease, Month, PastBatch, Store, Timestamp, Totals, WorkerId,
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
        let batch = Batch::of(&range, Duration::from_micros(micros));
        lease.checkpoint(batch).unwrap();
        self.note(&past(lease.worker(), now, range.end - range.start, micros));
    }

    /// Notes a batch.
    pub fn note(&mut self, batch: &PastBatch) {
        let rate = (batch.duration_us > 0)
            .then(|| batch.items as f64 * 1_000_000.0 / batch.duration_us as f64);
        let totals = Totals {
            batches: 1,
            errors: if batch.error.is_some() { 1 } else { 0 },
            items: u128::from(batch.items),
            duration_us: u128::from(batch.duration_us),
            min_rate: rate,
            max_rate: rate,
            first_at: Some(batch.finished_at),
            last_at: Some(batch.finished_at),
        };
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
    sum.items += more.items;
    sum.duration_us += more.duration_us;
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
    PastBatch {
        worker,
        job: None,
        start: 0,
        end: items,
        items,
        duration_us,
        finished_at,
        error: None,
    }
}

/// Totals of a day, told apart by `n`: every field differs from those of other days.
pub fn totals_of_day(day: Day, n: u64) -> Totals {
    Totals {
        batches: 10 + n,
        errors: n % 7,
        items: u128::from(1_000 + n),
        duration_us: u128::from(3_000_000 + n),
        min_rate: Some(1.0 / (n + 1) as f64),
        max_rate: Some(1_000.0 + n as f64),
        first_at: Some(day.start().after(Duration::from_secs(n % 3_600))),
        last_at: Some(day.start().after(Duration::from_secs(80_000 + n % 3_600))),
    }
}
