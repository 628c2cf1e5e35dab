//! Stores that recover from errors of the storage by themselves, and what they count.

use std::sync::Arc;
use std::time::Duration;

use milepost::testing::{Fault, MemoryEngine};
use milepost::{
    Batch, Builder, Counters, Error, Import, JobStatus, NewJob, PastBatch, Store, Totals,
};

use crate::support::{DAY, MINUTE, Scene, at, lease};

/// A store in memory whose commits can be made to fail, and its engine.
fn recovering(reopen: bool) -> (Store, Arc<MemoryEngine>) {
    let engine = Arc::new(MemoryEngine::new());
    let store = Builder::on_engine(engine.clone()).reopen_on_error(reopen).open().unwrap();
    (store, engine)
}

/// Promise 4: whether or not the commit that failed had been stored.
#[test]
fn a_checkpoint_whose_commit_fails_counts_once_without_anybody_doing_anything() {
    for fault in [Fault::Call, Fault::CommitLost, Fault::CommitKept, Fault::Panic] {
        let (store, engine) = recovering(true);
        let job = store.create_job(NewJob::new("a", 0..100)).unwrap();
        let worker = store.register_worker("pc-01").unwrap();
        let mut held = worker.next_lease(MINUTE).unwrap().unwrap();

        engine.fail_after(0, fault);
        let outcome = held.checkpoint(Batch::new(0..10, MINUTE)).unwrap();

        assert_eq!(outcome.cursor, 10, "{fault:?}");
        held.checkpoint(Batch::new(10..100, MINUTE)).unwrap();
        let view = store.snapshot().unwrap();
        let stored = view.job(job).unwrap().unwrap();
        assert_eq!((stored.status, stored.items), (JobStatus::Completed, 100), "{fault:?}");
        view.verify().unwrap();
    }
}

/// What may have been stored is not sent twice, but the store goes on.
#[test]
fn a_job_whose_creation_is_uncertain_is_not_created_twice() {
    for (fault, created) in [(Fault::CommitLost, 0), (Fault::CommitKept, 1)] {
        let (store, engine) = recovering(true);

        engine.fail_after(0, fault);
        let error = store.create_job(NewJob::new("a", 0..100)).unwrap_err();

        assert!(error.is_uncertain(), "{error:?}");
        assert_eq!(store.snapshot().unwrap().job_counts().all(), created);
        store.create_job(NewJob::new("b", 0..100)).unwrap();
    }
}

#[test]
fn a_store_that_is_not_told_to_stays_stopped() {
    let (store, engine) = recovering(false);

    engine.fail_after(0, Fault::CommitLost);
    store.create_job(NewJob::new("a", 0..100)).unwrap_err();

    let error = store.create_job(NewJob::new("a", 0..100)).unwrap_err();
    assert!(matches!(error, Error::Stopped { .. }), "{error:?}");
    store.reopen().unwrap();
    store.create_job(NewJob::new("a", 0..100)).unwrap();
}

#[test]
fn a_missing_file_is_an_error_for_who_does_not_want_a_new_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scan.milepost");

    let error = Store::builder(&path).create(false).open().unwrap_err();

    assert!(matches!(&error, Error::Io { path: named, .. } if *named == path), "{error:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made");
    Store::open(&path).unwrap().close().unwrap();
    Store::builder(&path).create(false).open().unwrap();
}

#[test]
fn a_store_counts_what_it_does() {
    let scene = Scene::new();
    let before = scene.metrics().unwrap();
    let job = scene.jobs(&["a"])[0];
    let held = lease(&scene.pc("pc-01"));
    scene.cancel_job(job).unwrap();
    drop(held);
    scene.cancel_job(job).unwrap_err();
    scene.cancel_job(77.into()).unwrap_err();

    let metrics = scene.metrics().unwrap();

    assert_eq!(metrics.commands - before.commands, 7);
    assert_eq!(metrics.groups - before.groups, 7, "nobody shared a commit");
    assert_eq!(metrics.largest_group, 1);
    let refused: Vec<_> = metrics.refused.iter().map(|(name, n)| (name.as_str(), *n)).collect();
    assert_eq!(refused, [("lease_lost", 1), ("unknown_job", 1), ("wrong_status", 1)]);
    assert!(
        Duration::ZERO < metrics.longest_commit && metrics.longest_commit <= metrics.commit_time
    );
    assert_eq!((metrics.failed_groups, metrics.reopened, metrics.queued), (0, 0, 0));
    scene.reopen().unwrap();
    assert_eq!(scene.metrics().unwrap().reopened, 1);
}

/// Promise 8, for sums that workers keep themselves.
#[test]
fn counters_of_a_session_count_what_was_added_since_the_last_report() {
    let scene = Scene::new();
    let worker = scene.pc("pc-01");
    let run = |name: &str, items: u128| Counters::new(name).items(items).duration(MINUTE);

    assert_eq!(worker.report(&run("1", 100).batches(4)).unwrap().batches, 4);
    scene.clock.advance(DAY);
    let added = worker.report(&run("1", 150).batches(4).errors(1)).unwrap();
    assert_eq!((added.batches, added.items, added.errors), (1, 50, 1), "no batch counts as one");
    assert_eq!(worker.report(&run("1", 150).batches(4).errors(1)).unwrap(), Totals::default());
    let error = worker.report(&run("1", 149).batches(4).errors(1)).unwrap_err();
    assert!(error.to_string().contains("went back"), "{error}");
    let error = worker.report(&run("1", 160).batches(4).errors(9)).unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
    worker.report(&run("2", 30).batches(1)).unwrap();

    let view = scene.snapshot().unwrap();
    let all = view.lifetime(&worker).unwrap().totals;
    assert_eq!((all.batches, all.items, all.errors), (6, 180, 1));
    assert_eq!(all.duration(), 2 * MINUTE, "the second report added no time");
    let days: Vec<_> =
        view.daily(&worker, ..).unwrap().iter().map(|day| day.totals.items).collect();
    assert_eq!(days, [100, 80]);

    // Beside imports and batches, and held to the same limit.
    let past = PastBatch::new(worker.id(), 0..5, at("2026-02-01T00:00:00Z"));
    scene.import(Import::new("elsewhere", 1).history(past)).unwrap();
    assert!(matches!(
        worker.report(&Counters::new("3").items(u128::MAX)),
        Err(Error::Invalid { .. })
    ));
    assert!(matches!(worker.report(&Counters::new("")), Err(Error::InvalidLength { .. })));
    assert_eq!(scene.snapshot().unwrap().lifetime(&worker).unwrap().totals.items, 185);
}
