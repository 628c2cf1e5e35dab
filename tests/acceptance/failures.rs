//! Storage that fails, panics, runs closures twice or allows little, and stores that close while
//! others wait: every caller gets an answer, and nothing is counted twice.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use milepost::storage::{Fault, MemoryEngine, Table};
use milepost::{Action, Batch, Error, Import, Lease, LeaseCommand, NewJob, Receipt, Scope, Store};

use crate::ledger::{Ledger, past};
use crate::support::{DAY, Dump, MINUTE, Scene, advance, dump, lease, rows};

fn engine() -> Arc<MemoryEngine> {
    Arc::new(MemoryEngine::new())
}

fn batch(lease: &Lease) -> (u64, Batch) {
    let range = lease.next_batch(10).expect("positions are left");
    (range.end, Batch::of(&range, Duration::from_millis(3)))
}

/// Promises 4 and 13.
#[test]
fn a_checkpoint_whose_commit_failed_is_retried_and_counted_once_whether_it_was_stored_or_not() {
    for fault in [Fault::CommitLost, Fault::CommitKept, Fault::Panic, Fault::Call] {
        let engine = engine();
        let scene = Scene::on(engine.clone());
        scene.jobs(&["a"]);
        let mut lease = lease(&scene.pc("pc-01"));
        advance(&mut lease, 10);

        engine.fail_after(0, fault);
        let (to, done) = batch(&lease);
        let failed = lease.checkpoint(to, done.clone()).unwrap_err();
        assert!(!engine.fault_is_pending());
        assert!(failed.needs_reopen(), "{failed:?}");
        let stopped = scene.pc_is_refused();
        assert!(matches!(stopped, Error::Stopped { .. }), "{stopped:?}");
        scene.snapshot().unwrap().verify().unwrap();

        scene.reopen().unwrap();
        if failed.is_uncertain() {
            assert!(lease.is_unanswered());
            let too_soon = lease.renew().unwrap_err();
            assert!(matches!(too_soon, Error::Unanswered { .. }), "{too_soon:?}");
            let receipt = lease.retry().unwrap().expect("there was one without an answer");
            assert!(matches!(receipt, Receipt::Moved { cursor: 20, .. }));
        } else {
            assert_eq!(lease.retry().unwrap(), None, "it was not stored");
            lease.checkpoint(to, done).unwrap();
        }

        assert_eq!(lease.retry().unwrap(), None);
        assert_eq!(lease.cursor(), 20);
        let totals = scene.snapshot().unwrap().lifetime(Scope::Fleet).unwrap().totals;
        assert_eq!((totals.batches, totals.items), (2, 20), "{fault:?}");
        advance(&mut lease, 10);
    }
}

impl Scene {
    fn pc_is_refused(&self) -> Error {
        self.worker("another", "pc").unwrap_err()
    }
}

/// Promises 4 and 13: whichever call or commit fails, and in whichever way.
#[test]
fn wherever_a_workload_fails_repeating_what_has_no_answer_gives_exactly_once_totals() {
    for fault in [Fault::Call, Fault::Panic, Fault::CommitLost, Fault::CommitKept] {
        let mut n = 0;
        loop {
            let engine = engine();
            let scene = Scene::on(engine.clone());
            scene.set_caps(milepost::Caps { history: 2, daily: 2, monthly: 2 }).unwrap();
            scene.jobs(&["a"]);
            let worker = scene.pc("pc-01");
            let mut lease = worker.lease(1_000 * DAY).unwrap().leased().unwrap();
            engine.fail_after(n, fault);

            while lease.next_batch(10).is_some() && lease.cursor() < 120 {
                scene.clock.advance(17 * DAY);
                let (to, done) = batch(&lease);
                let mut outcome = lease.checkpoint(to, done.clone());
                while let Err(error) = outcome {
                    assert!(error.needs_reopen(), "{fault:?} at {n}: {error:?}");
                    scene.reopen().unwrap();
                    outcome = match lease.retry().unwrap() {
                        Some(_) => Ok(lease.cursor()),
                        None => lease.checkpoint(to, done.clone()),
                    };
                }
            }

            let totals = scene.snapshot().unwrap().lifetime(&worker).unwrap().totals;
            assert_eq!((totals.batches, totals.items), (12, 120), "{fault:?} at {n}");
            scene.snapshot().unwrap().verify().unwrap();
            if engine.fault_is_pending() {
                break;
            }
            n += 1;
        }
        assert!(n >= 12, "{fault:?} was met {n} times");
    }
}

/// Promise 13.
#[test]
fn when_a_commit_fails_every_caller_that_waits_gets_an_answer() {
    let engine = engine();
    let scene = Scene::on(engine.clone());
    scene.create_jobs((0..32).map(|n| NewJob::new("keys", n << 32..(n + 1) << 32))).unwrap();
    let applied = AtomicU64::new(0);

    let uncertain = std::thread::scope(|threads| {
        let callers: Vec<_> = (0..32)
            .map(|n| {
                let mut lease = lease(&scene.pc(&format!("pc-{n}")));
                let applied = &applied;
                threads.spawn(move || {
                    loop {
                        let (to, done) = batch(&lease);
                        match lease.checkpoint(to, done) {
                            Ok(_) => applied.fetch_add(1, Ordering::Relaxed),
                            Err(error) => {
                                assert!(error.needs_reopen(), "{error:?}");
                                let uncertain = error.is_uncertain();
                                lease.abandon();
                                return uncertain;
                            }
                        };
                    }
                })
            })
            .collect();
        engine.fail_after(5, Fault::CommitKept);
        callers.into_iter().map(|caller| u64::from(caller.join().unwrap())).sum::<u64>()
    });

    assert!(uncertain >= 1, "those of the failed commit do not know its outcome");
    let stored = scene.snapshot().unwrap().lifetime(Scope::Fleet).unwrap().totals.batches;
    assert_eq!(stored, applied.into_inner() + uncertain, "this commit was kept");
}

/// Promise 13.
#[test]
fn a_store_that_closes_answers_everybody() {
    let scene = Scene::new();
    scene.create_jobs((0..16).map(|n| NewJob::new("keys", n << 32..(n + 1) << 32))).unwrap();
    let path = scene.path().to_path_buf();

    let acknowledged: u64 = std::thread::scope(|threads| {
        let callers: Vec<_> = (0..16)
            .map(|n| {
                let mut lease = lease(&scene.pc(&format!("pc-{n}")));
                threads.spawn(move || {
                    let mut applied = 0;
                    loop {
                        let (to, done) = batch(&lease);
                        match lease.checkpoint(to, done) {
                            Ok(_) => applied += 1,
                            Err(error) => {
                                assert!(matches!(error, Error::Closed), "{error:?}");
                                return applied;
                            }
                        }
                    }
                })
            })
            .collect();
        while scene.snapshot().unwrap().newest_history(100).unwrap().len() < 100 {
            std::thread::yield_now();
        }
        scene.close().unwrap();
        callers.into_iter().map(|caller| caller.join().unwrap()).sum()
    });

    assert!(matches!(scene.snapshot(), Err(Error::Closed)));
    assert!(matches!(scene.worker("late", "pc"), Err(Error::Closed)));
    scene.close().unwrap();
    let again = Store::open(&path).unwrap();
    again.snapshot().unwrap().verify().unwrap();
    let stored = again.snapshot().unwrap().lifetime(Scope::Fleet).unwrap().totals.batches;
    assert_eq!(stored, acknowledged, "what was acknowledged is stored, and nothing else");
}

/// Promise 11: what Relaxed holds back is written when the store is flushed or closed.
#[test]
fn a_relaxed_store_loses_nothing_when_it_is_closed_in_order() {
    let mut scene = Scene::with(crate::support::relaxed);
    scene.jobs(&["a"]);
    let mut lease = lease(&scene.pc("pc-01"));
    for _ in 0..20 {
        advance(&mut lease, 10);
    }
    scene.flush().unwrap();
    advance(&mut lease, 10);
    lease.abandon();

    scene.reopen_with(|builder| builder);

    let job = scene.snapshot().unwrap().jobs(None, 1).unwrap().pop().unwrap();
    assert_eq!((job.cursor, job.batches), (210, 21));
}

/// A workload that touches every rule, with a fixed outcome.
fn workload(scene: &Scene) -> Ledger {
    let mut ledger = Ledger::default();
    scene.set_caps(milepost::Caps { history: 6, daily: 3, monthly: 2 }).unwrap();
    scene.create_jobs((0..6).map(|n| NewJob::new("keys", n * 500..(n + 1) * 500))).unwrap();
    let workers: Vec<_> = (0..5).map(|n| scene.pc(&format!("pc-{n}"))).collect();
    let mut leases: Vec<_> =
        workers.iter().map(|w| w.lease(90 * DAY).unwrap().leased().unwrap()).collect();
    for n in 0..60 {
        scene.clock.advance(7 * DAY);
        ledger.checkpoint(&mut leases[n % 5], scene.now(), 20, n as u64 + 1);
    }
    leases[0].fail("no luck").unwrap();
    leases[1].release().unwrap();
    leases.into_iter().skip(2).for_each(Lease::abandon);
    scene.clock.advance(365 * DAY);
    let next = workers[0].lease(MINUTE).unwrap().leased().unwrap();
    let (job, token, from) = (next.job(), next.token(), next.cursor());
    next.abandon();
    let commands = (0..20u64).map(|n| {
        let range = from + n..from + n + 1;
        ledger.note(&past(workers[0].id(), scene.now(), 1, 9));
        let batch = Batch::of(&range, Duration::from_micros(9)).finding(n.to_be_bytes(), "found");
        let action = Action::Checkpoint { from: range.start, to: range.end, batch };
        LeaseCommand { job, token, sequence: n + 1, action }
    });
    let answers = scene.submit_many(commands);
    assert!(answers.iter().all(Result::is_ok), "{answers:?}");
    let import = (0..3).fold(Import::new("past"), |import, n| {
        let batch = past(workers[2].id(), scene.now(), n, n);
        ledger.note(&batch);
        import.history(batch)
    });
    scene.import(import).unwrap();
    scene.set_caps(milepost::Caps { history: 2, daily: 1, monthly: 1 }).unwrap();
    scene.settle().unwrap();
    scene.cancel_job(job).unwrap();
    scene.delete_job(job).unwrap();
    ledger
}

fn outcome(engine: MemoryEngine) -> Dump {
    let scene = Scene::on(Arc::new(engine));
    workload(&scene).assert_conserved(&scene);
    dump(&scene)
}

/// Section 7 of the design.
#[test]
fn engines_that_run_closures_twice_or_allow_little_end_in_the_same_state() {
    let plain = outcome(MemoryEngine::new());

    assert!(outcome(MemoryEngine::new().rerun()) == plain);
    assert!(outcome(MemoryEngine::new().limits(128, 3 << 19)) == plain);
    assert!(outcome(MemoryEngine::new().rerun().limits(128, 3 << 19)) == plain);
}

/// Section 7 of the design.
#[test]
fn redb_ends_in_the_same_state_as_the_engine_in_memory() {
    let scene = Scene::new();

    workload(&scene).assert_conserved(&scene);

    assert!(dump(&scene) == outcome(MemoryEngine::new()));
}

/// Promise 13.
#[test]
fn a_command_too_large_for_the_engine_is_refused_and_those_beside_it_are_not() {
    let scene = Scene::on(Arc::new(MemoryEngine::new().limits(128, 3 << 19)));
    scene.jobs(&["a"]);
    let held = lease(&scene.pc("pc-01"));
    let (job, token) = (held.job(), held.token());
    held.abandon();
    let before = dump(&scene);

    let many = (0..200).map(|n| NewJob::new("b", n..n + 1));
    let error = scene.create_jobs(many).unwrap_err();
    assert!(matches!(error, Error::TooLarge), "{error:?}");
    assert!(dump(&scene) == before);

    let command = |sequence: u64, range: std::ops::Range<u64>, findings: u32| {
        let batch = (0..findings)
            .fold(Batch::of(&range, Duration::ZERO), |b, n| b.finding(n.to_be_bytes(), []));
        let action = Action::Checkpoint { from: range.start, to: range.end, batch };
        LeaseCommand { job, token, sequence, action }
    };
    let answers =
        scene.submit_many([command(1, 0..10, 3), command(2, 10..20, 500), command(2, 10..20, 4)]);
    assert!(answers[0].is_ok() && answers[2].is_ok(), "{answers:?}");
    assert!(matches!(answers[1], Err(Error::TooLarge)), "{answers:?}");
    assert_eq!(rows(&scene, Table::Findings), 4, "keys 0 to 2, and 3 of the second batch");
}

/// Section 7 of the design: marked at once, removed in steps.
#[test]
fn deleting_a_job_with_many_findings_fits_into_small_transactions() {
    let scene = Scene::on(Arc::new(MemoryEngine::new().limits(128, 3 << 19)));
    let job = scene.jobs(&["a"])[0];
    let mut lease = lease(&scene.pc("pc-01"));
    for n in 0..20u32 {
        let range = lease.next_batch(50).unwrap();
        let batch = (0..60u32).fold(Batch::of(&range, Duration::ZERO), |batch, k| {
            batch.finding((n * 60 + k).to_be_bytes(), "found")
        });
        lease.checkpoint(range.end, batch).unwrap();
    }
    lease.complete().unwrap();
    assert_eq!(rows(&scene, Table::Findings), 1_200);

    scene.delete_job(job).unwrap();

    assert_eq!(rows(&scene, Table::Findings), 0);
    assert!(!scene.snapshot().unwrap().is_settling());
}
