//! Leases that are dropped: by a worker that is done, by one that panics, while the store fails.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::sync::atomic::Ordering;

use milepost::testing::{Fault, MemoryEngine};
use milepost::{Builder, JobStatus, Lease, ManualClock, NewJob, NewWorker, Store};

use crate::caps::Warnings;
use crate::files::in_a_folder;
use crate::storage::Disk;
use crate::support::{NOON, Scene, advance, at, lease, relaxed};

/// Drops a lease as a worker does that panics.
fn panic_with(lease: Lease) {
    let panicked = catch_unwind(AssertUnwindSafe(|| {
        let _lease = lease;
        // As `panic!`, but without its message.
        resume_unwind(Box::new("the poison"));
    }));
    assert_eq!(*panicked.unwrap_err().downcast::<&str>().unwrap(), "the poison");
}

/// Promise 3.
#[test]
fn a_job_whose_workers_panic_fails_after_its_last_attempt() {
    let scene = Scene::in_memory();
    let job = scene.create_job(NewJob::new("a", 0..1_000).max_attempts(3)).unwrap();
    let worker = scene.pc("w");

    for attempts in 1..=3 {
        panic_with(lease(&worker));

        let job = scene.snapshot().unwrap().job(job).unwrap().unwrap();
        assert_eq!(job.attempts, attempts);
        assert_eq!(job.last_error.as_deref(), Some("the worker panicked"));
        assert_eq!(job.status == JobStatus::Failed, attempts == 3);
    }
}

/// A lease that is dropped by another thread, or once its worker is done, is no failed attempt.
#[test]
fn a_lease_that_is_dropped_without_a_panic_counts_no_attempt() {
    let scene = Scene::in_memory();
    let job = scene.jobs(&["a"])[0];

    let caught = catch_unwind(AssertUnwindSafe(|| {
        drop(lease(&scene.pc("w")));
        resume_unwind(Box::new(()));
    }));
    assert!(caught.is_err());

    let job = scene.snapshot().unwrap().job(job).unwrap().unwrap();
    assert_eq!((job.status, job.attempts, job.last_error), (JobStatus::Pending, 0, None));
}

/// Promise 4: a checkpoint has no result yet when the worker panics.
#[test]
fn a_panic_settles_the_unanswered_checkpoint_before_the_attempt_fails() {
    for fault in [Fault::CommitLost, Fault::CommitKept] {
        let engine = Arc::new(MemoryEngine::new());
        let scene = Scene::on(engine.clone());
        let job = scene.jobs(&["a"])[0];
        let mut held = lease(&scene.pc("w"));
        let batch = held.next_batch(10).unwrap();
        engine.fail_after(0, fault);
        held.checkpoint(batch).unwrap_err();
        scene.reopen().unwrap();

        panic_with(held);

        let job = scene.snapshot().unwrap().job(job).unwrap().unwrap();
        assert_eq!((job.cursor, job.batches), (10, 1), "{fault:?}");
        assert_eq!(job.last_error.as_deref(), Some("the worker panicked"), "{fault:?}");
        assert_eq!(lease(&scene.pc("other")).resumed_at(), 10);
    }
}

/// Promise 13: a second panic would abort the process.
#[test]
fn a_worker_that_panics_while_the_store_fails_unwinds_all_the_same() {
    for fault in [Fault::Call, Fault::CommitLost, Fault::CommitKept, Fault::Panic] {
        let engine = Arc::new(MemoryEngine::new());
        let scene = Scene::on(engine.clone());
        scene.jobs(&["a"]);
        let held = lease(&scene.pc("w"));
        engine.fail_after(0, fault);

        panic_with(held);

        assert!(scene.create_job(NewJob::new("b", 0..1)).unwrap_err().needs_reopen(), "{fault:?}");
        scene.reopen().unwrap();
    }
}

/// How many warnings it is worth to drop a lease.
fn warnings_of(drop: impl FnOnce()) -> usize {
    let warnings = Warnings::default();
    tracing::subscriber::with_default(warnings.clone(), drop);
    let texts = warnings.texts.lock();
    assert!(texts.iter().all(|text| text.contains("held until its deadline")), "{texts:?}");
    texts.len()
}

#[test]
fn a_dropped_lease_that_stays_held_is_a_warning_and_one_that_was_lost_is_not() {
    let engine = Arc::new(MemoryEngine::new());
    let scene = Scene::on(engine.clone());
    let jobs = scene.jobs(&["a", "b", "c"]);
    let worker = scene.pc("w");
    let (stays_held, lost, released) = (lease(&worker), lease(&worker), lease(&worker));
    scene.cancel_job(jobs[1]).unwrap();

    assert_eq!(warnings_of(|| drop(released)), 0);
    assert_eq!(warnings_of(|| drop(lost)), 0);
    engine.fail_after(0, Fault::CommitLost);
    scene.flush().unwrap_err();
    assert_eq!(warnings_of(|| drop(stays_held)), 1);

    scene.reopen().unwrap();
}

/// Promise 4: there is nothing left to release once the completion was repeated.
#[test]
fn a_dropped_lease_whose_unanswered_command_completes_the_job_is_settled() {
    for fault in [Fault::CommitLost, Fault::CommitKept] {
        let engine = Arc::new(MemoryEngine::new());
        let scene = Scene::on(engine.clone());
        let job = scene.jobs(&["a"])[0];
        let mut held = lease(&scene.pc("w"));
        advance(&mut held, 900);
        let rest = held.next_batch(100).unwrap();
        engine.fail_after(0, fault);
        held.checkpoint(rest).unwrap_err();
        scene.reopen().unwrap();

        assert_eq!(warnings_of(|| drop(held)), 0);

        let job = scene.snapshot().unwrap().job(job).unwrap().unwrap();
        assert_eq!(job.status, JobStatus::Completed, "{fault:?}");
    }
}

/// Promises 4 and 11: a relaxed store lost its newest commits before the lease was dropped.
#[test]
fn a_lease_that_is_dropped_after_a_rollback_gives_its_job_back() {
    let disk = Arc::new(Disk::default());
    let clock = ManualClock::at(at(NOON));
    let store = relaxed(Builder::on_device(disk.clone())).clock(clock).open().unwrap();
    store.create_job(NewJob::new("a", 0..1_000)).unwrap();
    let worker = store.register_worker(NewWorker::new("w").kind("pc")).unwrap();
    let mut held = lease(&worker);
    advance(&mut held, 10);
    store.flush().unwrap();
    advance(&mut held, 10);
    disk.fails.store(true, Ordering::SeqCst);
    store.flush().unwrap_err();
    disk.fails.store(false, Ordering::SeqCst);
    store.reopen().unwrap();

    drop(held);

    assert_eq!(lease(&worker).resumed_at(), 10);
}

/// Promise 14: it need not be repaired, and a reader can open it at once.
#[test]
fn a_store_that_a_panic_drops_is_closed_in_order() {
    for settings in [|builder| builder, relaxed] {
        let (_folder, path) = in_a_folder("scan.milepost");
        let panicked = catch_unwind(AssertUnwindSafe(|| {
            let store = settings(Store::builder(&path)).open().unwrap();
            store.create_job(NewJob::new("a", 0..1_000)).unwrap();
            let mut held = lease(&store.register_worker(NewWorker::new("w").kind("pc")).unwrap());
            advance(&mut held, 100);
            resume_unwind(Box::new(()));
        }));
        assert!(panicked.is_err());

        let view = Store::builder(&path).open_read_only().unwrap().snapshot().unwrap();

        let jobs = view.jobs(None, 10).unwrap();
        assert_eq!((jobs[0].cursor, jobs[0].status), (100, JobStatus::Pending));
    }
}
