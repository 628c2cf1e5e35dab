//! Cells in which the process is forked. Children call everything, and are refused; some drop what
//! they inherited, some unwind through it, some end with it, and one lives until the cell ends.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::Path;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use milepost::{Builder, Durability, JobId, NewJob, NewWorker, Snapshot, Store, Token};
use milepost_tests_fork::{
    ask_lease, ask_snapshot, ask_store, ask_worker, assert_forked, assert_locked, fork,
    fork_within, give_to_child, in_child,
};

use crate::disk::Disk;
use crate::work::{BATCH, Fleet, Scene, checkpoint};

/// What a child inherits.
struct Inherited {
    view: Snapshot,
    fleet: Fleet,
    /// A job, and the token under which it is held.
    held: (JobId, Token),
}

impl Inherited {
    fn new(fleet: Fleet) -> Inherited {
        let held = (fleet.leases[0].job(), fleet.leases[0].token());
        let view = fleet.store.snapshot().unwrap();
        // A child might use what the snapshot keeps in memory.
        view.fleet_by_kind().unwrap();
        Inherited { view, fleet, held }
    }

    /// Calls everything in a child.
    fn ask(&mut self) {
        let Inherited { view, fleet, held: (job, token) } = self;
        ask_store(&fleet.store, *job, *token);
        ask_worker(&fleet.worker, *job);
        ask_snapshot(view, *job, &fleet.worker);
        fleet.leases.iter_mut().for_each(ask_lease);
    }
}

impl Scene {
    pub fn fork(&mut self, fleet: Fleet) -> Fleet {
        let path = self.path.clone();
        let inherited = give_to_child(Inherited::new(fleet), |mut inherited| {
            inherited.ask();
            in_child(|| inherited.ask());
            drop(inherited);
            assert_locked(&path);
            work_in_a_store_of_its_own(&path.with_extension("child"));
        });
        assert_locked(&self.path);
        self.fork_some(inherited)
    }

    pub fn fork_in_commit(&mut self, mut fleet: Fleet) -> Fleet {
        let mut inherited = Inherited::new(fleet);
        let mut busy = inherited.fleet.leases.remove(0);
        let store = inherited.fleet.store.clone();
        self.disk.shut();
        let committing = thread::spawn(move || {
            let cursor = checkpoint(&mut busy, BATCH).unwrap();
            store.flush().unwrap();
            (busy, cursor)
        });
        self.disk.await_waiter();

        fleet = self.fork_some(inherited);

        self.disk.open();
        let (busy, cursor) = committing.join().unwrap();
        self.acknowledged.insert(busy.job(), cursor);
        fleet.leases.insert(0, busy);
        fleet
    }

    pub fn fork_in_closure(&mut self, fleet: Fleet) -> Fleet {
        let mut inherited = Some(Inherited::new(fleet));
        for unwinds in [true, false] {
            fork_within(|fork| dump_and_fork(&mut inherited, unwinds, fork));
        }
        assert_locked(&self.path);
        self.fork_some(inherited.expect("only children took their copies"))
    }

    /// Forks a child that drops everything, one that unwinds through it, and one that lives on.
    fn fork_some(&mut self, inherited: Inherited) -> Fleet {
        let inherited = give_to_child(inherited, |mut inherited| {
            inherited.ask();
            drop(inherited);
        });
        let mut inherited = give_to_child(inherited, |inherited| {
            let unwound = catch_unwind(AssertUnwindSafe(move || {
                let _inherited = inherited;
                resume_unwind(Box::new(()));
            }));
            assert!(unwound.is_err());
        });
        self.child = Some(fork(|parent| {
            inherited.ask();
            parent.expect(b'.');
            // Whatever the parent has done since, and without dropping anything.
            inherited.ask();
        }));
        let Inherited { view, fleet, .. } = inherited;
        view.verify().unwrap();
        fleet
    }
}

/// Forks while a closure is shown the first row. The child goes on through redb, or unwinds.
fn dump_and_fork(inherited: &mut Option<Inherited>, unwinds: bool, fork: &mut dyn FnMut() -> bool) {
    let Some(Inherited { view, fleet, held }) = inherited else { unreachable!("it is put back") };
    let (mut is_first, mut is_child) = (true, false);
    let shown = catch_unwind(AssertUnwindSafe(|| {
        view.dump(|_, _, _| {
            if std::mem::take(&mut is_first) {
                is_child = fork();
                if is_child {
                    ask_store(&fleet.store, held.0, held.1);
                    ask_snapshot(view, held.0, &fleet.worker);
                }
                if is_child && unwinds {
                    resume_unwind(Box::new(()));
                }
            }
        })
    }));
    if !is_child {
        return shown.expect("nothing panicked").expect("the rows can be read");
    }
    match shown {
        Ok(shown) => assert_forked(shown),
        Err(_) => assert!(unwinds),
    }
    let mut inherited = inherited.take().expect("it is still there");
    inherited.ask();
    drop(inherited);
}

fn work_in_a_store_of_its_own(path: &Path) {
    let store = Store::open(path).unwrap();
    store.create_job(NewJob::new("own", 0..2 * BATCH)).unwrap();
    let worker = store.register_worker(NewWorker::new("child").kind("pc")).unwrap();
    let mut lease = worker.request(Duration::from_secs(60)).send().unwrap().leased().unwrap();
    checkpoint(&mut lease, BATCH).unwrap();
    drop((lease, worker, store));
    let store = Store::open(path).unwrap();
    let view = store.snapshot().unwrap();
    view.verify().unwrap();
    assert_eq!(view.jobs(None, 1).unwrap()[0].cursor, BATCH);
}

/// The thread that syncs holds no handle: so the child drops the last one in the middle of a commit.
#[test]
fn a_child_drops_the_last_handle_while_the_store_syncs() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Arc::new(Disk::at(&folder.path().join("scan.milepost")));
    let durability = Durability::Relaxed { max_delay: Duration::ZERO };
    let store = Builder::on_device(disk.clone()).durability(durability).open().unwrap();
    store.create_job(NewJob::new("a", 0..10 * BATCH)).unwrap();
    let worker = store.register_worker(NewWorker::new("w").kind("pc")).unwrap();
    let leases = vec![worker.request(Duration::from_secs(60)).send().unwrap().leased().unwrap()];
    let mut inherited = Inherited::new(Fleet { leases, worker, store });

    disk.shut();
    checkpoint(&mut inherited.fleet.leases[0], BATCH).unwrap();
    disk.await_waiter();
    let mut inherited = give_to_child(inherited, |mut inherited| {
        inherited.ask();
        drop(inherited);
    });
    disk.open();

    assert_eq!(checkpoint(&mut inherited.fleet.leases[0], BATCH).unwrap(), 2 * BATCH);
    inherited.fleet.store.flush().unwrap();
    inherited.fleet.store.snapshot().unwrap().verify().unwrap();
}
