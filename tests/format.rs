//! A file of format 1, made once and kept: what was stored then is read now.
//!
//! A change of keys, records or tables that old files do not survive fails here. The file was made
//! by `cargo test --test format -- --ignored`, which is to be run again only for a new format,
//! under a new name.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::path::{Path, PathBuf};
use std::time::Duration;

use milepost::{
    Batch, Caps, Import, JobId, JobStatus, ManualClock, NewJob, NewWorker, PastBatch, Store,
    Totals, WorkerId,
};

const NOW: &str = "2026-02-16T12:00:00Z";

fn stored() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/format-1.milepost")
}

fn totals(items: u128, at: &str) -> Totals {
    let at = at.parse().unwrap();
    Totals::new(7, items)
        .with_errors(2)
        .with_completed(1)
        .with_duration(Duration::from_micros(123_456_789_012))
        .with_rates(0.25, 1e9)
        .with_times(at, at)
}

#[test]
#[ignore = "makes the file that the other test reads"]
fn make_the_stored_file() {
    let path = stored();
    assert!(!path.exists(), "a stored file is never made again");
    let clock = ManualClock::at(NOW.parse().unwrap());
    let store = Store::builder(&path).clock(clock.clone()).open().unwrap();
    store
        .set_caps(milepost::Caps::default().with_history(5).with_daily(3).with_monthly(2))
        .unwrap();
    store
        .create_jobs([
            NewJob::new("alpha", 0..1_000).priority(3).max_attempts(9),
            NewJob::new([0xff, 0x00], 1 << 40..(1 << 40) + 10).priority(-3),
            NewJob::new("done", 0..10),
            NewJob::new("failed", 0..10).max_attempts(1),
            NewJob::new("cancelled", 0..10),
        ])
        .unwrap();
    let (anne, bert) = (
        store.register_worker(NewWorker::new("anne").kind("pc")).unwrap(),
        store.register_worker(NewWorker::new("bert").kind("gpu")).unwrap(),
    );
    let day = Duration::from_secs(86_400);
    let lease = |worker: &milepost::Worker, job| {
        let job = JobId::from(job);
        worker.request(100 * day).of_job(job).send().unwrap().leased().unwrap()
    };
    let mut done = lease(&bert, 3);
    let batch = Batch::new(0..10, Duration::from_secs(2)).with_finding("key", "payload");
    done.checkpoint(batch).unwrap();
    lease(&bert, 4).fail("no luck").unwrap();
    store.cancel_job(JobId::from(5)).unwrap();
    let mut held = lease(&anne, 1);
    for n in 0..20u64 {
        clock.advance(9 * day);
        let range = held.next_batch(20).unwrap().range();
        let took = Duration::from_millis(100 + n);
        let batch = Batch::new(range, took).with_items(19);
        held.checkpoint(if n == 18 { batch.with_error("it timed out") } else { batch }).unwrap();
    }
    held.abandon();
    bert.add_finding(JobId::from(3), milepost::NewFinding::new("late", [0, 255])).unwrap();
    let import = Import::new("backfill", 300)
        .history(PastBatch::new(bert.id(), 5..6, "1999-12-31T23:59:59.999999Z".parse().unwrap()))
        .daily(bert.id(), "2024-02-29".parse().unwrap(), totals(5, "2024-02-29T23:59:59Z"))
        .monthly(bert.id(), "2023-12".parse().unwrap(), totals(6, "2023-12-31T00:00:00Z"))
        .lifetime(bert.id(), totals(u128::from(u64::MAX) + 7, "1969-07-20T20:17:40Z"));
    store.import(import).unwrap();
    store.settle().unwrap();
    store.compact().unwrap();
    store.close().unwrap();
}

#[test]
fn a_stored_file_of_format_1_holds_what_was_stored() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("copy.milepost");
    std::fs::copy(stored(), &path).unwrap();
    let clock = ManualClock::at("2026-08-15T12:00:00Z".parse().unwrap());
    let store = Store::builder(&path).clock(clock).check_on_open(true).open().unwrap();

    let view = store.snapshot().unwrap();
    let verified = view.verify().unwrap();
    assert_eq!((verified.workers, verified.jobs, verified.history), (2, 5, 5));
    assert_eq!((verified.findings, verified.import_sources), (2, 1));
    assert_eq!(view.caps(), Caps::default().with_history(5).with_daily(3).with_monthly(2));

    let jobs = view.jobs(None, 10).unwrap();
    let statuses: Vec<JobStatus> = jobs.iter().map(|job| job.status).collect();
    use JobStatus::{Cancelled, Completed, Failed, Leased, Pending};
    assert_eq!(statuses, [Leased, Pending, Completed, Failed, Cancelled]);
    let held = &jobs[0];
    assert_eq!((held.cursor, held.batches, held.items, held.priority), (400, 20, 380, 3));
    assert_eq!((held.token.get(), held.max_attempts), (1, Some(9)));
    assert_eq!(held.last_error.as_deref(), Some("it timed out"));
    assert_eq!(held.deadline.unwrap().to_string(), "2026-11-23T12:00:00Z");
    assert_eq!(*jobs[1].prefix, [0xff, 0x00]);
    assert_eq!(jobs[3].last_error.as_deref(), Some("no luck"));

    let (anne, bert) = (WorkerId::from(1), WorkerId::from(2));
    assert_eq!(view.worker_named("anne").unwrap().unwrap().id, anne);
    assert_eq!(view.lifetime(anne).unwrap().totals.batches, 20);
    let life = view.lifetime(bert).unwrap().totals;
    assert_eq!(life.items, u128::from(u64::MAX) + 7 + 5 + 6 + 10 + 1);
    assert_eq!(life.first_at.unwrap().to_string(), "1969-07-20T20:17:40Z");
    let days: Vec<String> = view
        .archived()
        .daily(anne, ..)
        .unwrap()
        .iter()
        .map(|day| format!("{} {}", day.day, day.totals.items))
        .collect();
    assert_eq!(days, ["2026-06-22 19", "2026-07-01 19", "2026-07-10 19"]);
    assert_eq!(view.archived().monthly(anne, ..).unwrap().len(), 2);
    let found = view.findings(None, 10).unwrap();
    assert_eq!((&found[0].key[..], &found[0].payload[..]), (&b"key"[..], &b"payload"[..]));
    assert_eq!((&found[1].payload[..], found[1].late), (&[0, 255][..], true));

    // And work goes on in it.
    let worker = store.register_worker(NewWorker::new("anne").kind("pc")).unwrap();
    let minute = Duration::from_secs(60);
    let mut lease = worker.request(minute).resume().send().unwrap().leased().unwrap();
    assert_eq!((lease.job(), lease.cursor()), (JobId::from(1), 400));
    let range = lease.next_batch(600).unwrap().range();
    lease.checkpoint(Batch::new(range, minute)).unwrap();
    store.snapshot().unwrap().verify().unwrap();
}
