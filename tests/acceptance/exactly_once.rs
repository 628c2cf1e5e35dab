//! Whole workloads that meet a failure somewhere, and count everything once all the same.

#![expect(clippy::unwrap_used, reason = "a workload is a helper of tests")]

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use milepost::testing::{Fault, Flush, MemoryEngine};
use milepost::{Batch, Builder, Error, Import, ManualClock, NewJob, NewWorker, Scope};
use parking_lot::Mutex;

use crate::ledger::past;
use crate::storage::{Disk, Watch, Watched};
use crate::support::{DAY, MINUTE, NOON, Scene, advance, at, lease, relaxed};

/// Promises 4 and 13: whichever call or commit fails, and in whichever way.
#[test]
fn wherever_a_workload_fails_repeating_uncertain_commands_leads_to_exactly_once_totals() {
    for fault in [Fault::Call, Fault::Panic, Fault::CommitLost, Fault::CommitKept] {
        let mut met = 0;
        while fails_at(met, fault) {
            met += 1;
        }
        assert!(met >= 12, "{fault:?} was met {met} times");
    }
}

/// Runs a workload whose n-th call or commit fails; says whether it came to that.
fn fails_at(n: u64, fault: Fault) -> bool {
    let engine = Arc::new(MemoryEngine::new());
    let scene = Scene::on(engine.clone());
    scene
        .set_caps(milepost::Caps::default().with_history(2).with_daily(2).with_monthly(2))
        .unwrap();
    scene.jobs(&["a"]);
    let worker = scene.pc("pc-01");
    let mut lease = worker.request(1_000 * DAY).send().unwrap().leased().unwrap();
    engine.fail_after(n, fault);

    while let Some(range) =
        lease.next_batch(10).map(|batch| batch.range()).filter(|range| range.start < 120)
    {
        scene.clock.advance(17 * DAY);
        let batch = Batch::new(range, Duration::from_millis(3));
        let mut outcome = lease.checkpoint(batch.clone()).map(|outcome| outcome.cursor);
        while let Err(error) = outcome {
            assert!(error.needs_reopen(), "{fault:?} at {n}: {error:?}");
            scene.reopen().unwrap();
            outcome = match lease.retry().unwrap() {
                Some(_) => Ok(lease.cursor()),
                None => lease.checkpoint(batch.clone()).map(|outcome| outcome.cursor),
            };
        }
    }

    let totals = scene.snapshot().unwrap().lifetime(&worker).unwrap().totals;
    assert_eq!((totals.batches, totals.items), (12, 120), "{fault:?} at {n}");
    !engine.fault_is_pending()
}

/// Promise 11: what may wait for its sync is synced when the store is closed, and when it is
/// opened again in place.
#[test]
fn a_relaxed_store_loses_nothing_when_it_is_closed_or_reopened_in_order() {
    let mut scene = Scene::with(relaxed);
    scene.jobs(&["a"]);
    let mut lease = lease(&scene.pc("pc-01"));
    for _ in 0..70 {
        advance(&mut lease, 1);
    }
    scene.reopen().unwrap();
    scene.clock.advance(Duration::from_secs(1));
    assert_eq!(lease.renew().unwrap(), scene.now().saturating_add(MINUTE));
    for _ in 0..10 {
        advance(&mut lease, 1);
    }
    scene.flush().unwrap();
    advance(&mut lease, 1);
    lease.abandon();

    scene.reopen_with(|builder| builder);

    let job = scene.snapshot().unwrap().jobs(None, 1).unwrap().pop().unwrap();
    assert_eq!((job.cursor, job.batches), (81, 81));
}

/// Promises 4 and 11: what a relaxed store acknowledged and lost is the newest part, and a lease
/// learns where it is and goes on from there.
#[test]
fn after_a_relaxed_store_lost_its_newest_commits_a_lease_goes_on_from_where_it_is() {
    for lost in [1, 63, 64, 65, 200] {
        let disk = Arc::new(Disk::default());
        let clock = ManualClock::at(at(NOON));
        let builder = relaxed(Builder::on_device(disk.clone())).clock(clock.clone());
        let store = builder.history_limit(9).open().unwrap();
        let job = store.create_job(NewJob::new("a", 0..10_000)).unwrap();
        let mut lease = lease(&store.register_worker(NewWorker::new("w").kind("pc")).unwrap());
        for _ in 0..30 {
            advance(&mut lease, 10);
        }
        store.flush().unwrap();
        clock.advance(MINUTE / 2);
        for _ in 0..lost {
            advance(&mut lease, 10);
        }

        disk.fails.store(true, Ordering::SeqCst);
        assert!(store.flush().unwrap_err().needs_reopen());
        disk.fails.store(false, Ordering::SeqCst);
        store.reopen().unwrap();
        let range = lease.next_batch(10).unwrap().range();
        let error = lease.checkpoint(Batch::new(range, DAY)).unwrap_err();

        assert!(matches!(error, Error::RolledBack { cursor: 300, .. }), "{lost}: {error:?}");
        assert_eq!((lease.cursor(), lease.deadline()), (300, at(NOON).saturating_add(MINUTE)));
        while lease.next_batch(100).is_some() {
            advance(&mut lease, 100);
        }
        let view = store.snapshot().unwrap();
        view.verify().unwrap();
        let totals = view.lifetime(Scope::Fleet).unwrap().totals;
        assert_eq!((totals.items, totals.batches), (10_000, 30 + 97), "{lost} lost");
        assert_eq!(view.job(job).unwrap().unwrap().batches, 30 + 97);
    }
}

/// Promise 10: under Relaxed, too, a snapshot shows everything that was acknowledged.
#[test]
fn a_snapshot_of_a_relaxed_store_shows_what_is_not_synced_yet() {
    let scene = Scene::with(relaxed);
    scene.jobs(&["a"]);
    let mut lease = lease(&scene.pc("pc-01"));

    for n in 1..=200 {
        advance(&mut lease, 1);
        let view = scene.snapshot().unwrap();
        assert_eq!(view.job(lease.job()).unwrap().unwrap().cursor, n);
    }
}

/// Notes how each transaction is to be stored.
#[derive(Default)]
struct Flushes(Mutex<Vec<Flush>>);

impl Watch for Flushes {
    fn before_commit(&self, flush: Flush) {
        self.0.lock().push(flush);
    }
}

/// Promise 10: a snapshot may wait for what is gathered, so nothing large is.
#[test]
fn a_large_command_of_a_relaxed_store_is_not_gathered_with_others() {
    let engine = Watched::<Flushes>::new();
    let builder = relaxed(Builder::on_engine(engine.clone()));
    let store = builder.clock(ManualClock::at(at(NOON))).open().unwrap();
    store.create_job(NewJob::new("a", 0..1_000)).unwrap();
    let worker = store.register_worker(NewWorker::new("pc-01").kind("pc")).unwrap();
    let mut lease = lease(&worker);
    let import = |number, records| {
        let record = past(worker.id(), at(NOON), 1, 1);
        (0..records).fold(Import::new("log", number), |import, _| import.history(record.clone()))
    };
    engine.0.lock().clear();

    advance(&mut lease, 10);
    store.import(import(1, 256)).unwrap();
    store.import(import(2, 257)).unwrap();
    let mut batch = lease.next_batch(10).unwrap();
    (0..5u8).for_each(|n| batch.add_finding([n], vec![0; 60 * 1024]));
    lease.checkpoint(batch).unwrap();

    use Flush::{Later, LaterAlone};
    assert_eq!(*engine.0.lock(), [Later, Later, LaterAlone, LaterAlone]);
}
