//! A forked child and the store of its parent: calls return [`Error::Forked`], drops leave the file
//! and its locks alone, nothing waits for threads that the child lacks, and the parent works on.
#![cfg(unix)]
#![allow(missing_docs)]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use milepost::{
    Durability, Error, JobStatus, Lease, NewJob, NewWorker, Reader, Result, Sharing, Snapshot,
    Store, Worker,
};
use milepost_tests_fork::{
    ask_lease, ask_snapshot, ask_store, ask_worker, assert_forked, assert_locked, fork,
    fork_within, give_to_child, in_child,
};
use tempfile::TempDir;

const MINUTE: Duration = Duration::from_secs(60);
const RELAXED: Durability = Durability::Relaxed { max_delay: Duration::from_millis(2) };
const DURABILITIES: [Durability; 2] = [Durability::Immediate, RELAXED];

/// A store with everything that can be inherited by a child.
struct Fleet {
    store: Store,
    worker: Worker,
    lease: Lease,
    view: Snapshot,
    path: PathBuf,
    _folder: TempDir,
}

impl Fleet {
    fn new(durability: Durability) -> Fleet {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("scan.milepost");
        let store = Store::builder(&path).durability(durability).open().unwrap();
        store.create_job(NewJob::new("a", 0..1_000_000)).unwrap();
        let worker = store.register_worker(NewWorker::new("w").kind("pc")).unwrap();
        let lease = worker.request(MINUTE).keep_alive().send().unwrap().leased().unwrap();
        let view = store.snapshot().unwrap();
        view.workers(None, 10).unwrap();
        Fleet { store, worker, lease, view, path, _folder: folder }
    }
}

fn checkpoint(lease: &mut Lease) -> Result<u64> {
    Ok(lease.checkpoint(lease.next_batch(1).expect("positions are left"))?.cursor)
}

/// Calls everything, and drops everything.
fn use_in_child(fleet: Fleet) {
    let Fleet { store, worker, mut lease, view, path: _, _folder: folder } = fleet;
    // The folder belongs to the parent.
    std::mem::forget(folder);

    ask_store(&store, lease.job(), lease.token());
    ask_worker(&worker, lease.job());
    ask_lease(&mut lease);
    ask_snapshot(&view, lease.job(), &worker);
    assert!(format!("{store:?}{worker:?}{lease:?}{view:?}").contains("scan.milepost"));

    drop(view);
    drop(lease);
    drop(worker);
    drop(store);
}

#[test]
fn every_call_in_a_forked_child_is_refused_and_every_drop_leaves_the_parent_alone() {
    for durability in DURABILITIES {
        let mut fleet = Fleet::new(durability);
        for _ in 0..3 {
            checkpoint(&mut fleet.lease).unwrap();

            fleet = give_to_child(fleet, use_in_child);

            assert_locked(&fleet.path);
            in_child(|| assert_locked(&fleet.path));
            checkpoint(&mut fleet.lease).unwrap();
        }
        fleet.view.verify().unwrap();
        let job = fleet.store.snapshot().unwrap().job(fleet.lease.job()).unwrap().unwrap();
        assert_eq!((job.status, job.cursor), (JobStatus::Leased, 6));

        let Fleet { store, worker, lease, view, path, _folder } = fleet;
        drop((store, worker, lease, view));
        let store = Store::open(&path).unwrap();
        store.snapshot().unwrap().verify().unwrap();
    }
}

#[test]
fn a_child_that_panics_unwinds_through_the_store_of_its_parent() {
    let fleet = Fleet::new(RELAXED);

    let mut fleet = give_to_child(fleet, |fleet| {
        let Fleet { store, worker, lease, view, path: _, _folder: folder } = fleet;
        std::mem::forget(folder);
        let unwound = catch_unwind(AssertUnwindSafe(move || {
            let _dropped = (view, lease, worker, store);
            resume_unwind(Box::new(()));
        }));
        assert!(unwound.is_err());
    });

    assert_locked(&fleet.path);
    checkpoint(&mut fleet.lease).unwrap();
}

/// Has threads end, also when a child has failed.
struct StopOnDrop<'s>(&'s AtomicBool);

impl Drop for StopOnDrop<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Locks are held by threads that the child lacks, wherever they were at the time of the fork.
#[test]
fn no_child_waits_for_a_thread_that_it_lacks() {
    for durability in DURABILITIES {
        let fleet = Fleet::new(durability);
        let Fleet { store, worker, view, path, .. } = &fleet;
        let (stop, acknowledged) = (AtomicBool::new(false), AtomicU64::new(0));
        let busy = |n: u64| {
            let job = store.create_job(NewJob::new(format!("busy {n}"), 0..u64::MAX)).unwrap();
            let request = worker.request(MINUTE).of_job(job).keep_alive();
            let mut lease = request.send().unwrap().leased().unwrap();
            while !stop.load(Ordering::SeqCst) {
                checkpoint(&mut lease).unwrap();
                acknowledged.fetch_add(1, Ordering::SeqCst);
                if n == 0 {
                    store.snapshot().unwrap().workers(None, 10).unwrap();
                }
            }
            lease.abandon();
        };

        thread::scope(|threads| {
            let _stop = StopOnDrop(&stop);
            (0..3).for_each(|n| drop(threads.spawn(move || busy(n))));
            for _ in 0..100 {
                in_child(|| {
                    ask_store(store, fleet.lease.job(), fleet.lease.token());
                    ask_worker(worker, fleet.lease.job());
                    ask_snapshot(view, fleet.lease.job(), worker);
                    assert!(fleet.lease.next_batch(1).is_some());
                });
                assert_locked(path);
            }
        });

        let Fleet { store, worker, lease, view, path, _folder } = fleet;
        lease.abandon();
        drop((store, worker, view));
        let store = Store::open(&path).unwrap();
        let view = store.snapshot().unwrap();
        view.verify().unwrap();
        let done = view.jobs(None, 10).unwrap().iter().map(|job| job.cursor).sum::<u64>();
        assert_eq!(done, acknowledged.load(Ordering::SeqCst), "{durability:?}");
    }
}

/// A store keeps sums of what its snapshots read, under a lock. What a snapshot has added up before,
/// it finds without reading.
#[test]
fn no_child_waits_for_a_snapshot_that_is_being_asked() {
    let Fleet { store, worker, mut lease, view: _, path: _, _folder } = Fleet::new(RELAXED);
    // So many that the sums of some chunks are looked up for each question.
    for _ in 0..600 {
        checkpoint(&mut lease).unwrap();
    }
    let view = store.snapshot().unwrap();
    let since = view.newest_history(None, 200).unwrap()[199].batch.finished_at;
    view.finished_since(since).unwrap();

    let stop = AtomicBool::new(false);
    thread::scope(|threads| {
        let _stop = StopOnDrop(&stop);
        for _ in 0..2 {
            threads.spawn(|| {
                while !stop.load(Ordering::SeqCst) {
                    view.finished_since(since).unwrap();
                }
            });
        }
        for _ in 0..300 {
            in_child(|| {
                assert_forked(view.finished_since(since));
                ask_snapshot(&view, lease.job(), &worker);
            });
        }
    });
}

/// redb has to read on in the child, and cannot.
#[test]
fn a_child_that_is_forked_while_rows_are_shown_gets_no_more_of_them() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scan.milepost");
    // Nothing is cached, so that each page is read from the file.
    let store = Store::builder(&path).durability(RELAXED).cache_bytes(0).open().unwrap();
    store.create_job(NewJob::new("a", 0..1_000)).unwrap();
    let worker = store.register_worker(NewWorker::new("w").kind("pc")).unwrap();
    let mut lease = worker.request(MINUTE).send().unwrap().leased().unwrap();
    for _ in 0..600 {
        checkpoint(&mut lease).unwrap();
    }
    let view = store.snapshot().unwrap();

    let mut rows = 0;
    fork_within(|fork| {
        let mut forked = false;
        let shown = view.dump(|table, _, _| {
            if table.name() == "history" {
                forked |= rows == 0 && fork();
                rows += 1;
            }
        });
        match forked {
            true => assert_forked(shown),
            false => shown.unwrap(),
        }
    });

    assert_eq!(rows, 600, "the parent is shown all of them");
    view.verify().unwrap();
}

/// The defect that this file is about: a second opener wrote beside the parent.
#[test]
fn what_the_parent_commits_after_a_child_dropped_the_store_survives() {
    let mut fleet = give_to_child(Fleet::new(Durability::Immediate), use_in_child);

    let path = fleet.path.clone();
    let second = fork(|_| {
        for _ in 0..20 {
            assert_locked(&path);
        }
    });
    for _ in 0..48 {
        checkpoint(&mut fleet.lease).unwrap();
    }
    second.join();

    let Fleet { store, worker, lease, view, path, _folder } = fleet;
    let job = lease.job();
    lease.abandon();
    drop((store, worker, view));
    let store = Store::open(&path).unwrap();
    let view = store.snapshot().unwrap();
    view.verify().unwrap();
    assert_eq!(view.job(job).unwrap().unwrap().cursor, 48);
}

#[test]
fn a_child_that_outlives_its_parent_keeps_the_file_until_it_drops_the_store() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scan.milepost");
    let mut parent = fork(|test| {
        let mut store = Some(Store::open(&path).unwrap());
        store.as_ref().unwrap().create_job(NewJob::new("a", 0..10)).unwrap();
        // The orphan talks to the test through the pipes of its parent.
        let _orphan = fork(|_| {
            test.tell(b'1');
            test.expect(b'2');
            drop(store.take());
            test.tell(b'3');
            test.expect(b'4');
        });
        loop {
            thread::sleep(MINUTE);
        }
    });
    parent.expect(b'1');
    parent.kill();

    let error = Store::open(&path).expect_err("the orphan has it open");
    assert!(matches!(error, Error::Locked { .. }), "{error:?}");
    assert!(error.to_string().contains("forked"), "{error}");

    parent.tell(b'2');
    parent.expect(b'3');
    let store = Store::open(&path).expect("the orphan has closed it, and lives");
    assert_eq!(store.snapshot().unwrap().job_counts().all(), 1);
    parent.tell(b'4');
}

#[test]
fn a_child_works_with_stores_of_its_own() {
    let fleet = Fleet::new(RELAXED);
    in_child(|| {
        let fleet = Fleet::new(RELAXED);
        let Fleet { store, worker, mut lease, view, path, _folder } = fleet;
        for _ in 0..100 {
            checkpoint(&mut lease).unwrap();
        }
        thread::sleep(Duration::from_millis(10));
        assert_locked(&path);
        drop((store, worker, lease, view));
        let store = Store::open(&path).unwrap();
        let view = store.snapshot().unwrap();
        view.verify().unwrap();
        let job = &view.jobs(None, 1).unwrap()[0];
        assert_eq!((job.status, job.cursor), (JobStatus::Pending, 100));
    });

    // The parent's own path, once the parent has closed it.
    fleet.store.close().unwrap();
    in_child(|| {
        let store = Store::open(&fleet.path).unwrap();
        store.create_job(NewJob::new("b", 0..10)).unwrap();
    });
    let store = Store::open(&fleet.path).unwrap();
    assert_eq!(store.snapshot().unwrap().job_counts().all(), 2);
}

#[test]
fn a_child_leaves_the_locks_of_a_shared_file_to_its_parent() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scan.milepost");
    let shared = || Store::builder(&path).sharing(Sharing::SingleWriter);
    let store = shared().open().unwrap();
    let job = store.create_job(NewJob::new("a", 0..10)).unwrap();
    let worker = store.register_worker(NewWorker::new("w").kind("pc")).unwrap();
    let reader: Reader = shared().open_read_only().unwrap();
    let view = reader.snapshot().unwrap();

    let parts = (store, reader, view);
    let (store, reader, view) = give_to_child(parts, |(store, reader, view)| {
        assert_forked(reader.snapshot());
        ask_snapshot(&view, job, &worker);
        drop((view, reader, store));
    });

    in_child(|| {
        let error = shared().open().expect_err("there is one writer");
        assert!(matches!(error, Error::Locked { .. }), "{error:?}");
    });
    for n in 0..50 {
        store.create_job(NewJob::new("b", n..n + 1)).unwrap();
    }
    // The pages that it sees are still kept for it.
    view.verify().unwrap();
    assert_eq!(view.job_counts().all(), 1);
    assert_eq!(reader.snapshot().unwrap().job_counts().all(), 51);
}

#[cfg(target_os = "linux")]
#[test]
fn a_child_closes_its_descriptors() {
    give_to_child(Fleet::new(Durability::Immediate), |fleet| {
        let path = fleet.path.clone();
        let is_open = || {
            let links = std::fs::read_dir("/proc/self/fd").unwrap();
            links
                .filter_map(|link| std::fs::read_link(link.unwrap().path()).ok())
                .any(|to| to == path)
        };
        assert!(is_open());
        use_in_child(fleet);
        assert!(!is_open());
    });
}

#[test]
fn a_store_in_memory_is_refused_in_a_child_as_well() {
    let store = Store::in_memory().unwrap();
    store.create_job(NewJob::new("a", 0..10)).unwrap();
    let worker = store.register_worker(NewWorker::new("w").kind("pc")).unwrap();
    let lease = worker.request(MINUTE).send().unwrap().leased().unwrap();

    let mut lease = give_to_child(lease, |mut lease| {
        ask_store(&store, lease.job(), lease.token());
        ask_lease(&mut lease);
    });

    checkpoint(&mut lease).unwrap();
}
