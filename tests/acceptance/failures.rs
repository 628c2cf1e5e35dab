//! The storage fails: every call returns, nothing is half done, and an uncertain command is
//! applied once after reopening.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread;

use milepost::testing::{Fault, MemoryEngine};
use milepost::{
    Action, Batch, Builder, Error, Import, ImportOutcome, JobStatus, Lease, LeaseCommand,
    LeaseOutcome, ManualClock, NewJob, NewWorker, Receipt,
};

use crate::ledger::past;
use crate::storage::Disk;
use crate::support::{MINUTE, NOON, Scene, advance, at, dump, lease, with_causes};

const FAULTS: [Fault; 4] = [Fault::Call, Fault::CommitLost, Fault::CommitKept, Fault::Panic];

fn scene() -> (Scene, Arc<MemoryEngine>) {
    let engine = Arc::new(MemoryEngine::new());
    (Scene::on(engine.clone()), engine)
}

/// A lease of 0..1,000 after one checkpoint to 100.
fn begun(scene: &Scene) -> Lease {
    scene.jobs(&["a"]);
    let mut lease = lease(&scene.pc("w"));
    advance(&mut lease, 100);
    lease
}

fn second(lease: &mut Lease) -> milepost::Result<u64> {
    let batch = Batch::new(100..200, MINUTE).with_finding("key", "payload");
    Ok(lease.checkpoint(batch)?.cursor)
}

/// The errors of a failure, and of everything after it.
#[track_caller]
fn assert_kind(fault: Fault, error: &Error) {
    match fault {
        Fault::Call => assert!(matches!(error, Error::Storage { .. }), "{error:?}"),
        _ => assert!(error.is_uncertain(), "{fault:?}: {error:?}"),
    }
    assert!(error.needs_reopen(), "{error:?}");
    assert!(std::error::Error::source(error).is_some(), "the cause is told: {error:?}");
}

/// Promises 4, 7 and 13.
#[test]
fn a_checkpoint_is_stored_exactly_once_whichever_call_of_the_storage_fails() {
    let (twin, _) = scene();
    let mut undisturbed = begun(&twin);
    second(&mut undisturbed).unwrap();
    let expected = dump(&twin);
    undisturbed.abandon();

    for fault in FAULTS {
        let mut met = 0;
        for calls in 0.. {
            let (scene, engine) = scene();
            let mut lease = begun(&scene);
            let before = dump(&scene);
            engine.fail_after(calls, fault);
            let answer = second(&mut lease);
            if engine.fault_is_pending() {
                answer.expect("nothing failed");
                lease.abandon();
                break;
            }
            met += 1;

            let error = answer.unwrap_err();
            assert_kind(fault, &error);
            assert_eq!(lease.is_unanswered(), fault != Fault::Call);
            let after = dump(&scene);
            assert!(
                after == before || after == expected,
                "{fault:?} {calls}: nothing is half done"
            );
            scene.reopen().unwrap();
            match lease.retry().unwrap() {
                Some(receipt) => assert!(matches!(receipt, Receipt::Moved { cursor: 200, .. })),
                None => assert_eq!(second(&mut lease).unwrap(), 200),
            }

            assert!(dump(&scene) == expected, "{fault:?} {calls}");
            assert_eq!((lease.cursor(), lease.is_unanswered()), (200, false));
            assert_eq!(lease.retry().unwrap(), None);
            lease.abandon();
        }
        let least = if matches!(fault, Fault::Call | Fault::Panic) { 5 } else { 1 };
        assert!(met >= least, "{fault:?} was met {met} times only");
    }
}

/// Promise 13.
#[test]
fn after_a_failure_the_store_stops_writing_but_not_reading_until_it_is_reopened() {
    for fault in FAULTS {
        let (scene, engine) = scene();
        let mut lease = begun(&scene);
        let worker = scene.pc("w");
        engine.fail_after(0, fault);
        let failed = scene.create_job(NewJob::new("b", 0..10)).unwrap_err();
        assert_kind(fault, &failed);
        let before = dump(&scene);

        let refusals = [
            scene.create_job(NewJob::new("c", 0..10)).unwrap_err(),
            scene.register_worker(NewWorker::new("new").kind("pc")).unwrap_err(),
            worker.request(MINUTE).send().unwrap_err(),
            second(&mut lease).unwrap_err(),
            scene
                .import(Import::new("i", 1).history(past(worker.id(), scene.now(), 1, 1)))
                .unwrap_err(),
            scene.flush().unwrap_err(),
        ];

        for error in refusals {
            assert!(matches!(error, Error::Stopped { .. }), "{fault:?}: {error:?}");
            assert!(error.needs_reopen() && !error.is_uncertain());
            let text = error.to_string();
            assert!(text.contains("stopped writing") && text.contains("reopen"), "{text}");
        }
        assert!(dump(&scene) == before, "and nothing was sent to the storage");
        assert!(!lease.is_unanswered(), "a command that was not sent needs no retry");
        scene.reopen().unwrap();
        assert_eq!(second(&mut lease).unwrap(), 200);
    }
}

/// Promise 13.
#[test]
fn every_waiting_caller_gets_an_error_when_the_storage_fails_and_goes_on_after_reopening() {
    const WORKERS: u64 = 8;
    const BATCHES: u64 = 60;
    for fault in FAULTS {
        for calls in [0, 3, 20, 50] {
            let (scene, engine) = scene();
            let jobs = (0..WORKERS).map(|n| NewJob::new("keys", n * 1_000..n * 1_000 + BATCHES));
            scene.create_jobs(jobs).unwrap();
            let leases: Vec<Lease> =
                (0..WORKERS).map(|n| lease(&scene.pc(&format!("worker {n}")))).collect();
            engine.fail_after(calls, fault);
            let step = |lease: &mut Lease| {
                let range = lease.next_batch(1).unwrap().range();
                let key = range.start.to_be_bytes();
                let batch = Batch::new(range, MINUTE).with_finding(key, "it");
                lease.checkpoint(batch)
            };

            let ended: Vec<(Lease, Option<Error>)> = thread::scope(|threads| {
                let work = |mut lease: Lease| {
                    while lease.next_batch(1).is_some() {
                        if let Err(error) = step(&mut lease) {
                            return (lease, Some(error));
                        }
                    }
                    (lease, None)
                };
                let running: Vec<_> =
                    leases.into_iter().map(|lease| threads.spawn(move || work(lease))).collect();
                running.into_iter().map(|thread| thread.join().unwrap()).collect()
            });

            assert!(!engine.fault_is_pending(), "{fault:?} {calls}");
            let errors: Vec<_> = ended.iter().filter_map(|(_, error)| error.as_ref()).collect();
            assert!(errors.iter().all(|error| error.needs_reopen()), "{errors:?}");
            assert!(
                errors.iter().any(|error| !matches!(error, Error::Stopped { .. })),
                "{errors:?}"
            );
            scene.reopen().unwrap();
            for (mut lease, _) in ended {
                lease.retry().unwrap();
                while lease.next_batch(1).is_some() {
                    step(&mut lease).unwrap();
                }
            }

            let view = scene.snapshot().unwrap();
            let records = view.newest_history(None, 10_000).unwrap();
            let starts: HashSet<u64> = records.iter().map(|record| record.batch.start).collect();
            let all = (WORKERS * BATCHES) as usize;
            assert_eq!((records.len(), starts.len()), (all, all), "{fault:?} {calls}: each once");
            assert_eq!(view.findings(None, 10_000).unwrap().len(), all);
            assert_eq!(view.job_counts().completed, WORKERS);
        }
    }
}

/// Promise 4.
#[test]
fn an_unanswered_command_must_be_retried_before_the_next_one() {
    for fault in [Fault::CommitLost, Fault::CommitKept, Fault::Panic] {
        let (scene, engine) = scene();
        let mut lease = begun(&scene);
        engine.fail_after(0, fault);
        second(&mut lease).unwrap_err();

        assert!(matches!(lease.retry(), Err(Error::Stopped { .. })), "not reopened yet");
        assert!(lease.is_unanswered());
        scene.reopen().unwrap();
        let error = lease.renew().unwrap_err();
        assert!(matches!(error, Error::Unanswered { .. }), "{error:?}");
        assert!(error.to_string().contains("call retry first"), "{error}");

        assert!(lease.retry().unwrap().is_some());
        lease.renew().unwrap();
    }
}

/// Promises 3 and 4.
#[test]
fn whatever_ends_a_lease_ends_it_once() {
    type End = fn(&mut Lease) -> milepost::Result<()>;
    let ends: [(End, JobStatus, u32); 3] = [
        (|lease| lease.release(), JobStatus::Pending, 0),
        (|lease| lease.fail("no luck").map(|_| ()), JobStatus::Pending, 1),
        (
            |lease| {
                let rest = lease.cursor()..lease.range().end;
                lease.checkpoint(Batch::new(rest, MINUTE)).map(|_| ())
            },
            JobStatus::Completed,
            0,
        ),
    ];
    for fault in [Fault::CommitLost, Fault::CommitKept, Fault::Panic] {
        for (end, status, attempts) in ends {
            let (scene, engine) = scene();
            begun(&scene).release().unwrap();
            let mut lease = lease(&scene.pc("another"));
            engine.fail_after(0, fault);
            assert!(end(&mut lease).unwrap_err().is_uncertain());

            scene.reopen().unwrap();
            lease.retry().unwrap().expect("it had no answer yet");

            let job = scene.snapshot().unwrap().job(lease.job()).unwrap().unwrap();
            assert_eq!((job.status, job.attempts), (status, attempts));
            assert!(matches!(lease.renew(), Err(Error::LeaseLost { .. })));
        }
    }
}

/// Promise 4.
#[test]
fn an_import_left_unanswered_is_repeated_under_its_number() {
    for fault in FAULTS {
        let (scene, engine) = scene();
        let worker = scene.pc("w").id();
        let import = || Import::new("once", 1).history(past(worker, scene.now(), 5, 100));
        engine.fail_after(0, fault);
        assert_kind(fault, &scene.import(import()).unwrap_err());

        scene.reopen().unwrap();
        let outcome = scene.import(import()).unwrap();

        assert_eq!(outcome == ImportOutcome::AlreadyApplied, fault == Fault::CommitKept);
        assert_eq!(scene.snapshot().unwrap().lifetime(worker).unwrap().totals.batches, 1);
    }
}

/// Promise 3: nobody knows its token, so the lease is taken up under another.
#[test]
fn a_lease_left_unanswered_is_resumed_under_a_token_of_its_own() {
    for (fault, token) in [(Fault::CommitLost, 1), (Fault::CommitKept, 2)] {
        let (scene, engine) = scene();
        scene.jobs(&["a"]);
        let worker = scene.pc("w");
        engine.fail_after(0, fault);
        assert!(worker.request(MINUTE).send().unwrap_err().is_uncertain());

        scene.reopen().unwrap();
        let lease = worker.request(MINUTE).resume().send().unwrap().leased().unwrap();

        assert_eq!(lease.token().get(), token);
    }
}

/// Promise 4.
#[test]
fn a_lease_dropped_after_reopening_retries_its_unanswered_command_and_releases_the_job() {
    for fault in [Fault::CommitLost, Fault::CommitKept] {
        let (scene, engine) = scene();
        let mut held = begun(&scene);
        engine.fail_after(0, fault);
        second(&mut held).unwrap_err();

        scene.reopen().unwrap();
        drop(held);

        let next = lease(&scene.pc("other"));
        assert_eq!((next.resumed_at(), next.attempts()), (200, 0), "{fault:?}");
    }
}

/// Promises 4 and 13: a panic of the storage in one transaction answers all that were in it.
#[test]
fn commands_sent_together_all_get_a_result_and_apply_once_when_repeated() {
    for fault in FAULTS {
        let (scene, engine) = scene();
        let begun = begun(&scene);
        let (job, token) = (begun.job(), begun.token());
        begun.abandon();
        let commands = || {
            (0..50u64).map(move |n| {
                let from = 100 + n;
                let batch = Batch::new(from..from + 1, MINUTE);
                let action = Action::Checkpoint(batch);
                LeaseCommand::new(job, token, 2 + n, action)
            })
        };
        engine.fail_after(0, fault);
        let answers = scene.submit_many(commands());
        assert_eq!(answers.len(), 50);
        answers.iter().for_each(|answer| assert_kind(fault, answer.as_ref().unwrap_err()));

        scene.reopen().unwrap();
        let cursor = scene.snapshot().unwrap().job(job).unwrap().unwrap().cursor;
        let unstored = commands().skip((cursor - 100) as usize);
        assert!(scene.submit_many(unstored).iter().all(Result::is_ok));

        let job = scene.snapshot().unwrap().job(job).unwrap().unwrap();
        assert_eq!((job.cursor, job.batches), (150, 51), "{fault:?}");
    }
}

/// Promises 4 and 13.
#[test]
fn when_the_disk_fails_the_store_stops_and_goes_on_after_reopening() {
    let disk = Arc::new(Disk::default());
    let clock = ManualClock::at(at(NOON));
    let store = Builder::on_device(disk.clone()).clock(clock).open().unwrap();
    store.create_job(NewJob::new("a", 0..1_000)).unwrap();
    let worker = store.register_worker(NewWorker::new("w").kind("pc")).unwrap();
    let LeaseOutcome::Leased(mut lease) = worker.request(MINUTE).send().unwrap() else {
        panic!("it is waiting")
    };
    advance(&mut lease, 100);

    disk.fails.store(true, Ordering::SeqCst);
    let error = second(&mut lease).unwrap_err();
    let text = with_causes(&error);
    assert!(error.is_uncertain() && text.ends_with(": the disk is on fire"), "{text}");
    assert!(matches!(
        store.register_worker(NewWorker::new("x").kind("pc")),
        Err(Error::Stopped { .. })
    ));
    assert!(store.reopen().is_err(), "it still fails");
    assert!(
        matches!(store.register_worker(NewWorker::new("x").kind("pc")), Err(Error::Stopped { .. })),
        "and stays stopped"
    );
    disk.fails.store(false, Ordering::SeqCst);
    store.reopen().unwrap();

    assert!(matches!(lease.retry().unwrap(), Some(Receipt::Moved { cursor: 200, .. })));
    let view = store.snapshot().unwrap();
    view.verify().unwrap();
    assert_eq!(view.lifetime(&worker).unwrap().totals.batches, 2);
    assert_eq!(view.findings(None, 10).unwrap().len(), 1);
}
