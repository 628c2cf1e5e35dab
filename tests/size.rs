//! The formula of `docs/tuning.md` for the size of a file, against real files (promise 14).

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::time::Duration;

use milepost::{
    Batch, Day, Durability, Import, ManualClock, NewJob, NewWorker, PastBatch, Store, Timestamp,
    Totals,
};

/// What a store holds.
#[derive(Debug, Clone, Copy)]
struct Content {
    history: u64,
    workers: u64,
    days: u64,
    months: u64,
}

impl Content {
    /// Bytes of the compacted file at most, by `docs/tuning.md`.
    fn bytes(self) -> u64 {
        let Content { history, workers, days, months } = self;
        (80 << 10) + 50 * history + workers * (600 + 72 * (days + months))
    }
}

fn totals(at: Timestamp, n: u64) -> Totals {
    let first = at.saturating_add(Duration::from_micros(n * 1_234_567 % 3_600_000_000));
    let last = at.saturating_add(Duration::from_micros(80_000_000_000 + n % 1_000_000));
    Totals::new(3_000 + n % 400, u128::from(3_000_000 + n * 977))
        .with_errors(n % 60)
        .with_duration(Duration::from_micros(80_000_000_000 + n * 12_345_678))
        .with_rates(30.0 + n as f64 / 7.0, 40.0 + n as f64 / 3.0)
        .with_times(first, last)
}

/// Fills a store, checkpoints on at the caps, and gives the bytes of its file: live and compacted.
fn sizes(content: Content) -> (u64, u64) {
    let folder = tempfile::tempdir().unwrap();
    let clock = ManualClock::at("2026-02-16T12:00:00Z".parse().unwrap());
    let store = Store::builder(folder.path().join("size.milepost"))
        .history_limit(content.history as u32)
        .daily_limit(content.days as u32)
        .monthly_limit(content.months as u32)
        .durability(Durability::Relaxed { max_delay: Duration::from_secs(3_600) })
        .clock(clock.clone())
        .open()
        .unwrap();
    let today = store.now().day().number();
    for n in 0..content.workers {
        let worker =
            store.register_worker(NewWorker::new(format!("worker-{n:04}")).kind("pc")).unwrap();
        let mut import = Import::new("fill", n);
        for back in (0..content.days as i32).rev() {
            let day = Day::from_number(today - back).unwrap();
            import = import.daily(worker.id(), day, totals(day.start(), back as u64));
        }
        let newest = Day::from_number(today - content.days as i32).unwrap().month().number();
        for back in 0..content.months as i32 {
            let month = milepost::Month::from_number(newest - back).unwrap();
            let of = totals(month.first_day().start(), back as u64);
            import = import.monthly(worker.id(), month, of);
        }
        for past in 0..content.history / content.workers {
            let start = (n << 40) + past * 1_000;
            let finished_at = store.now().saturating_sub(Duration::from_secs(past));
            let mut batch = PastBatch::new(worker.id(), start..start + 1_000, finished_at)
                .with_job(milepost::JobId::from(n + 1))
                .with_items(990 + past % 10)
                .with_duration(Duration::from_micros(25_000_000 + past * 37));
            if past % 50 == 0 {
                batch = batch.with_error("timed out after 3 tries");
            }
            import = import.history(batch);
        }
        store.import(import).unwrap();
        store.create_job(NewJob::new("size", n << 40..(n + 1) << 40)).unwrap();
    }
    let worker = store.register_worker(NewWorker::new("worker-0000").kind("pc")).unwrap();
    let mut lease = worker.request(Duration::from_secs(86_400)).send().unwrap().leased().unwrap();
    for n in 0..2_000 {
        clock.advance(Duration::from_secs(20));
        let range = lease.next_batch(1_000).unwrap().range();
        lease.checkpoint(Batch::new(range, Duration::from_secs(n % 30))).unwrap();
    }
    lease.release().unwrap();
    store.flush().unwrap();
    let live = store.snapshot().unwrap().size().unwrap().stored_bytes;
    store.compact().unwrap();
    let view = store.snapshot().unwrap();
    view.verify().unwrap();
    (live, view.size().unwrap().stored_bytes)
}

#[test]
fn files_are_as_large_as_the_formula_says() {
    for (history, workers, days, months) in [
        (100, 1, 10, 10),
        (10_000, 1, 100, 100),
        (1_000, 20, 100, 100),
        (10_000, 10, 1_000, 1_000),
        (50_000, 4, 500, 200),
        (1_000, 1_000, 30, 12),
    ] {
        let content = Content { history, workers, days, months };

        let (live, compacted) = sizes(content);

        let most = content.bytes();
        let figures = format!("{content:?}: {live} live, {compacted} compacted, {most} by formula");
        assert!(compacted <= most, "{figures}");
        assert!(compacted * 2 >= most, "the formula says far too much: {figures}");
        assert!(live <= 3 * most + (256 << 10), "{figures}");
    }
}
