//! Leases that are renewed in the background. The clock is set by hand; what is waited for is that
//! the background thread looks at it, which it does at least once a second.

use std::any::Any;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;
use std::time::Duration;

use milepost::testing::{Fault, MemoryEngine};
use milepost::{
    Builder, Clock, Durability, Error, Lease, ManualClock, NewJob, NewWorker, Store, Worker,
};

use crate::storage::{Counting, Disk, Watched};
use crate::support::{MINUTE, NOON, Scene, advance, at, lease, relaxed};
use crate::threads::eventually;

/// A lease so short that the thread looks at it many times a second.
const SHORT: Duration = Duration::from_millis(30);

const INSTANT: Duration = Duration::from_micros(1);

fn kept_alive(worker: &Worker, length: Duration) -> Lease {
    let request = worker.request(length).keep_alive();
    request.send().unwrap().leased().expect("a job was waiting")
}

/// Lets nearly all of a short lease pass, and waits for the renewal that follows.
#[track_caller]
fn await_renewal(clock: &ManualClock, lease: &Lease) {
    clock.advance(SHORT - INSTANT);
    let renewed = clock.now().saturating_add(SHORT);
    eventually(|| lease.deadline() == renewed);
}

/// Promise 3.
#[test]
fn a_lease_that_is_kept_alive_is_renewed_in_the_background_until_it_is_dropped() {
    let scene = Scene::in_memory();
    let job = scene.jobs(&["a"])[0];
    let (worker, other) = (scene.pc("a"), scene.pc("b"));
    let mut kept = kept_alive(&worker, SHORT);

    for _ in 0..3 {
        await_renewal(&scene.clock, &kept);
        assert!(other.request(MINUTE).send().unwrap().leased().is_none());
    }
    assert_eq!(advance(&mut kept, 10), 10, "its commands stay in sequence");
    drop(kept);

    let mut next = lease(&other);
    assert_eq!((next.job(), next.resumed_at(), next.attempts()), (job, 10, 0));
    next.renew().unwrap();
}

/// Promises 3 and 12.
#[test]
fn a_lease_that_is_kept_alive_outlives_a_clock_that_jumps() {
    let scene = Scene::in_memory();
    scene.jobs(&["a"]);
    let kept = kept_alive(&scene.pc("a"), MINUTE);

    for now in ["2026-02-15T12:00:00Z", "2027-02-15T12:00:00Z"] {
        scene.clock.set(at(now));
        eventually(|| kept.deadline() == at(now).saturating_add(MINUTE));
        assert!(scene.pc("b").request(MINUTE).send().unwrap().leased().is_none(), "{now}");
    }
}

/// Promises 4 and 11: the renewal comes first to a store that was rolled back, but the holder is
/// the one to learn of it.
#[test]
fn a_holder_learns_of_lost_checkpoints_though_its_lease_is_kept_alive() {
    let disk = Arc::new(Disk::default());
    let clock = ManualClock::at(at(NOON));
    let store = relaxed(Builder::on_device(disk.clone())).clock(clock.clone()).open().unwrap();
    let job = store.create_job(NewJob::new("a", 0..1_000)).unwrap();
    let mut kept =
        kept_alive(&store.register_worker(NewWorker::new("w").kind("pc")).unwrap(), SHORT);
    for _ in 0..30 {
        advance(&mut kept, 10);
    }
    store.flush().unwrap();
    for _ in 0..20 {
        advance(&mut kept, 10);
    }
    let long = kept.next_batch(100).unwrap();

    disk.fails.store(true, Ordering::SeqCst);
    assert!(store.flush().unwrap_err().needs_reopen());
    disk.fails.store(false, Ordering::SeqCst);
    store.reopen().unwrap();
    await_renewal(&clock, &kept);
    let error = kept.checkpoint(long).unwrap_err();

    assert!(matches!(error, Error::RolledBack { cursor: 300, .. }), "{error:?}");
    assert_eq!(kept.next_batch(100).unwrap().range(), 300..400);
    while kept.next_batch(100).is_some() {
        advance(&mut kept, 100);
    }
    let view = store.snapshot().unwrap();
    view.verify().unwrap();
    let job = view.job(job).unwrap().unwrap();
    assert_eq!((job.items, job.batches), (1_000, 30 + 7));
}

/// Promises 4 and 13.
#[test]
fn a_renewal_in_the_background_is_repeated_after_a_failure_and_does_not_concern_the_holder() {
    for fault in [Fault::Call, Fault::CommitLost, Fault::CommitKept, Fault::Panic] {
        let engine = Arc::new(MemoryEngine::new());
        let scene = Scene::on(engine.clone());
        scene.jobs(&["a"]);
        let mut kept = kept_alive(&scene.pc("w"), SHORT);
        let long = kept.next_batch(1_000).unwrap();

        engine.fail_after(0, fault);
        scene.clock.advance(SHORT - INSTANT);
        eventually(|| !engine.fault_is_pending());
        scene.reopen().unwrap();
        let renewed = scene.now().saturating_add(SHORT);
        eventually(|| kept.deadline() == renewed);
        await_renewal(&scene.clock, &kept);

        assert!(!kept.is_unanswered(), "{fault:?}");
        assert!(scene.pc("other").request(MINUTE).send().unwrap().leased().is_none(), "{fault:?}");
        assert_eq!(kept.checkpoint(long).unwrap().cursor, 1_000);
    }
}

/// Promise 4: a renewal comes between a checkpoint and its repetition.
#[test]
fn an_unanswered_checkpoint_is_repeated_once_though_its_lease_is_kept_alive() {
    for fault in [Fault::CommitLost, Fault::CommitKept] {
        let engine = Arc::new(MemoryEngine::new());
        let scene = Scene::on(engine.clone());
        let job = scene.jobs(&["a"])[0];
        let mut kept = kept_alive(&scene.pc("w"), SHORT);
        let batch = kept.next_batch(10).unwrap();

        engine.fail_after(0, fault);
        kept.checkpoint(batch).unwrap_err();
        scene.reopen().unwrap();
        await_renewal(&scene.clock, &kept);
        kept.retry().unwrap().expect("the checkpoint was unanswered");

        assert_eq!(kept.cursor(), 10);
        let job = scene.snapshot().unwrap().job(job).unwrap().unwrap();
        assert_eq!((job.cursor, job.batches), (10, 1), "{fault:?}");
    }
}

/// Promise 14.
#[test]
fn renewals_that_are_due_share_commits() {
    const LEASES: u64 = 1_500;
    let engine = Watched::<Counting>::new();
    let scene = Scene::on(engine.clone());
    scene.create_jobs((0..LEASES).map(|n| NewJob::new("a", n..n + 1))).unwrap();
    let worker = scene.pc("w");
    let kept: Vec<Lease> = (0..LEASES).map(|_| kept_alive(&worker, MINUTE)).collect();
    engine.take();

    scene.clock.advance(MINUTE / 2);
    let renewed = scene.now().saturating_add(MINUTE);
    eventually(|| kept.iter().all(|lease| lease.deadline() == renewed));

    let commits = engine.take().len();
    assert!(commits <= 3, "{commits} commits");
    kept.into_iter().for_each(Lease::abandon);
}

/// A lease that is silent is renewed, one whose holder has just renewed it is not.
#[test]
fn what_the_holder_renews_is_not_renewed_in_the_background() {
    let scene = Scene::in_memory();
    scene.jobs(&["a", "b"]);
    let worker = scene.pc("w");
    let (silent, mut busy) = (kept_alive(&worker, MINUTE), kept_alive(&worker, MINUTE));

    for _ in 0..3 {
        scene.clock.advance(MINUTE / 4);
        let by_holder = busy.renew().unwrap();
        scene.clock.advance(MINUTE / 6);
        let in_background = scene.now().saturating_add(MINUTE);
        eventually(|| silent.deadline() == in_background);
        assert_eq!(busy.deadline(), by_holder);
    }
}

/// A third of a lease passes while another thread takes and ends leases all the time.
#[test]
fn leases_that_come_and_go_do_not_delay_the_renewal_of_others() {
    let scene = Scene::in_memory();
    scene.create_jobs([NewJob::new("kept", 0..10), NewJob::new("short", 0..10)]).unwrap();
    let (worker, other) = (scene.pc("w"), scene.pc("other"));
    let request = worker.request(SHORT).of_prefix("kept").keep_alive();
    let kept = request.send().unwrap().leased().unwrap();

    thread::scope(|threads| {
        let renewing = threads.spawn(|| {
            for _ in 0..20 {
                await_renewal(&scene.clock, &kept);
            }
        });
        while !renewing.is_finished() {
            let request = other.request(1_000 * MINUTE).of_prefix("short").keep_alive();
            drop(request.send().unwrap().leased().unwrap());
        }
    });
}

/// Promise 13. On the clock of the system, so that a renewal is nearly always under way.
#[test]
fn the_file_is_free_once_the_store_is_closed_or_dropped_though_leases_were_kept_alive() {
    let delay = Duration::from_millis(1);
    for durability in [Durability::Immediate, Durability::Relaxed { max_delay: delay }] {
        let folder = tempfile::tempdir().unwrap();
        let open = || Store::builder(folder.path().join("scan.milepost")).durability(durability);
        // Each order of the four handles twice, after closing the store and without that.
        for round in 0..2 * 2 * 24 {
            let store = open().open().unwrap();
            store.find_or_create_job(NewJob::new("a", 0..10)).unwrap();
            let worker = store.register_worker(NewWorker::new("w").kind("pc")).unwrap();
            let request = worker.request(SHORT / 10).keep_alive().resume();
            let kept = request.wait().unwrap().leased().unwrap();
            let view = store.snapshot().unwrap();
            let first = kept.deadline();
            eventually(|| kept.deadline() > first);

            if round % 2 == 0 {
                store.close().unwrap();
                open().open().unwrap().close().unwrap();
            }
            let mut handles: Vec<Box<dyn Any>> =
                vec![Box::new(kept), Box::new(worker), Box::new(view), Box::new(store)];
            let mut order = round / 2;
            while !handles.is_empty() {
                drop(handles.remove(order % handles.len()));
                order /= handles.len() + 1;
            }
        }
    }
}
