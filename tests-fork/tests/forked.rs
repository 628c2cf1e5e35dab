//! A forked child and the store of its parent: calls return [`Error::Forked`], drops leave the file
//! and its locks alone, nothing waits for threads that the child lacks, and the parent works on.
#![cfg(unix)]
#![allow(missing_docs)]

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use milepost::{
    Batch, Durability, Error, Import, JobStatus, Lease, LeaseCommand, NewJob, Reader, Result,
    Sharing, Snapshot, Store, Worker,
};
use milepost_tests_fork::{fork, give_to_child, in_child};
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
        let worker = store.worker("w", "pc").unwrap();
        let lease = worker.request(MINUTE).keep_alive().lease().unwrap().leased().unwrap();
        let view = store.snapshot().unwrap();
        view.workers(None, 10).unwrap();
        Fleet { store, worker, lease, view, path, _folder: folder }
    }
}

#[track_caller]
fn assert_forked<T>(result: Result<T>) {
    match result {
        Err(Error::Forked) => {}
        Err(error) => panic!("another error: {error:?}"),
        Ok(_) => panic!("it was done"),
    }
}

#[track_caller]
fn assert_locked(path: &Path) {
    let error = Store::open(path).expect_err("it is open elsewhere");
    assert!(matches!(error, Error::Locked { .. }), "{error:?}");
}

fn checkpoint(lease: &mut Lease) -> Result<u64> {
    lease.checkpoint(lease.next_batch(1).expect("positions are left"))
}

fn ask_store(store: &Store, lease: &Lease) {
    assert_forked(store.worker("x", "pc"));
    assert_forked(store.create_job(NewJob::new("b", 0..10)));
    assert_forked(store.find_or_create_job(NewJob::new("b", 0..10)));
    assert_forked(store.cancel_job(lease.job()));
    assert_forked(store.retry_job(lease.job()));
    assert_forked(store.delete_job(lease.job()));
    assert_forked(store.release_stale(MINUTE));
    let renewal = LeaseCommand {
        job: lease.job(),
        token: lease.token(),
        sequence: 1,
        action: milepost::Action::Renew,
    };
    assert_forked(store.submit(renewal.clone()));
    store.submit_many([renewal.clone(), renewal]).into_iter().for_each(assert_forked);
    assert_forked(store.import(Import::new("log", 1)));
    assert_forked(store.set_caps(milepost::Caps::default()));
    assert_forked(store.settle());
    assert_forked(store.snapshot());
    assert_forked(store.flush());
    assert_forked(store.compact());
    assert_forked(store.reopen());
    assert_forked(store.close());
}

fn ask_snapshot(view: &Snapshot) {
    assert_forked(view.jobs(None, 10));
    assert_forked(view.workers(None, 10));
    assert_forked(view.worker_named("w"));
    assert_forked(view.newest_history(None, 10));
    assert_forked(view.size());
    assert_forked(view.verify());
    assert_forked(view.dump(|_, _, _| ()));
}

/// Calls everything, and drops everything.
fn use_in_child(fleet: Fleet) {
    let Fleet { store, worker, mut lease, view, path: _, _folder: folder } = fleet;
    // The folder belongs to the parent.
    std::mem::forget(folder);

    ask_store(&store, &lease);
    ask_snapshot(&view);
    assert_forked(worker.lease(MINUTE));
    assert_forked(worker.late_finding(lease.job(), "key", "payload"));
    let (cursor, deadline) = (lease.cursor(), lease.deadline());
    assert_forked(checkpoint(&mut lease));
    assert_forked(lease.renew());
    assert_forked(lease.fail("no"));
    assert_forked(lease.release());
    assert_eq!((lease.cursor(), lease.deadline()), (cursor, deadline));
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
            let mut lease = request.lease().unwrap().leased().unwrap();
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
            (0..3).for_each(|n| drop(threads.spawn(move || busy(n))));
            for _ in 0..100 {
                in_child(|| {
                    ask_store(store, &fleet.lease);
                    ask_snapshot(view);
                    assert_forked(worker.lease(MINUTE));
                    assert!(fleet.lease.next_batch(1).is_some());
                });
                assert_locked(path);
            }
            stop.store(true, Ordering::SeqCst);
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
    store.create_job(NewJob::new("a", 0..10)).unwrap();
    let reader: Reader = shared().open_read_only().unwrap();
    let view = reader.snapshot().unwrap();

    let parts = (store, reader, view);
    let (store, reader, view) = give_to_child(parts, |(store, reader, view)| {
        assert_forked(reader.snapshot());
        ask_snapshot(&view);
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
    let worker = store.worker("w", "pc").unwrap();
    let lease = worker.lease(MINUTE).unwrap().leased().unwrap();

    let mut lease = give_to_child(lease, |mut lease| {
        ask_store(&store, &lease);
        let batch = Batch::of(&(0..1), MINUTE);
        assert_forked(lease.checkpoint(batch));
    });

    checkpoint(&mut lease).unwrap();
}
