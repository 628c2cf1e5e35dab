//! The rules hold on every engine: one that runs transactions again, and one with small limits,
//! end with the same rows and the same answers as a file.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use milepost::testing::tables;
use milepost::testing::{Engine, EngineResult, EngineSnapshot, Flush, MemoryEngine, Write};
use milepost::{
    Action, Batch, Builder, Caps, CapsChange, Error, Import, JobStatus, LeaseCommand, NewJob,
};

use crate::ledger::{Ledger, past, totals_of_day};
use crate::support::{
    DAY, Dump, MINUTE, Scene, advance, dump, lease, nth_day, nth_month, refused, rows,
};

/// What a distributed engine allows in one transaction by default.
const OPERATIONS: usize = 128;
const BYTES: usize = 3 << 19;

fn engines() -> [(&'static str, Scene); 4] {
    let limited = MemoryEngine::new().limits(OPERATIONS, BYTES);
    let both = MemoryEngine::new().rerun().limits(OPERATIONS, BYTES);
    [
        ("in memory", Scene::in_memory()),
        ("run again", Scene::on(Arc::new(MemoryEngine::default().rerun()))),
        ("limited", Scene::on(Arc::new(limited))),
        ("limited and run again", Scene::on(Arc::new(both))),
    ]
}

/// Runs a workload on a file and on each engine, and compares all answers and all rows.
#[track_caller]
fn assert_same_everywhere(workload: impl Fn(&Scene) -> Vec<String>) {
    let run = |scene: &Scene| -> (Vec<String>, Dump) {
        let answers = workload(scene);
        scene.settle().expect("the store is open");
        (answers, dump(scene))
    };
    let (answers, rows) = run(&Scene::new());
    assert!(!answers.is_empty());
    for (name, scene) in engines() {
        let (other_answers, other_rows) = run(&scene);
        assert_eq!(other_answers, answers, "{name}");
        assert!(other_rows == rows, "{name}: other rows than in a file");
    }
}

/// Promises 3 and 4.
#[test]
fn jobs_and_leases_come_out_the_same_on_every_engine() {
    assert_same_everywhere(|scene| {
        let mut answers = Vec::new();
        let jobs = scene.jobs(&["a", "b", "c", "d"]);
        let (first, second) = (scene.pc("first"), scene.pc("second"));
        let mut lost = lease(&first);
        advance(&mut lost, 10);
        scene.clock.advance(MINUTE);
        let mut taken = second.request(MINUTE).of_job(jobs[0]).send().unwrap().leased().unwrap();
        answers.push(format!("{:?}", lost.checkpoint(Batch::new(10..20, MINUTE))));
        answers.push(format!("{:?}", taken.fail("no luck")));
        answers.push(format!("{:?}", scene.create_job(NewJob::new("a", 5..6))));
        answers.push(format!("{:?}", scene.find_or_create_job(NewJob::new("e", 0..9))));
        scene.cancel_job(jobs[1]).unwrap();
        scene.retry_job(jobs[1]).unwrap();
        scene.cancel_job(jobs[2]).unwrap();
        scene.delete_job(jobs[2]).unwrap();
        while let Some(mut lease) = second.request(MINUTE).send().unwrap().leased() {
            while lease.next_batch(1).is_some() {
                answers.push(format!("{:?}", advance(&mut lease, 400)));
            }
        }
        answers
    });
}

/// Promises 5 to 8.
#[test]
fn retention_comes_out_the_same_on_every_engine() {
    assert_same_everywhere(|scene| {
        let caps = Caps::default().with_history(40).with_daily(6).with_monthly(3);
        scene.set_caps(caps).unwrap();
        let mut ledger = Ledger::default();
        scene.jobs(&["a", "b"]);
        let mut leases = [lease(&scene.pc("a")), lease(&scene.pc("b"))];
        for n in 0..150 {
            scene.clock.advance(Duration::from_secs(70_000));
            ledger.checkpoint(&mut leases[n % 2], scene.now(), 1 + n as u64 % 5, n as u64);
        }
        leases.into_iter().for_each(drop);
        for n in 0..20 {
            let totals = totals_of_day(nth_day(n), n as u64);
            let worker = scene.pc("a").id();
            ledger.note_day(worker, nth_day(n), totals);
            let import = Import::new("days", n as u64);
            scene.import(import.daily(worker, nth_day(n), totals)).unwrap();
        }
        ledger.assert_conserved(scene);
        vec![format!("{:?}", scene.snapshot().map(|view| view.caps()))]
    });
}

/// Promises 4 and 14: a leader that meets the limit halves its batch.
#[test]
fn commands_sent_together_are_split_where_the_engine_allows_less() {
    assert_same_everywhere(|scene| {
        scene.create_job(NewJob::new("keys", 0..1_000)).unwrap();
        let lease = lease(&scene.pc("a"));
        let (job, token) = (lease.job(), lease.token());
        lease.abandon();
        let answers = scene.submit_many((0..500u64).map(|n| {
            // Every tenth is a checkpoint that is out of place.
            let from = if n % 10 == 9 { 0 } else { n - n / 10 };
            let batch = Batch::new(from..from + 1, Duration::from_micros(n));
            let action = Action::Checkpoint(batch);
            LeaseCommand::new(job, token, n - n / 10 + 1, action)
        }));
        assert_eq!(answers.iter().filter(|answer| answer.is_ok()).count(), 450);
        answers.iter().map(|answer| format!("{answer:?}")).collect()
    });
}

/// Promises 5 to 8 and 14: each step fits into the smallest transaction.
#[test]
fn lowered_caps_are_met_within_the_limits_of_the_engine() {
    for (name, scene) in engines() {
        let mut ledger = Ledger::default();
        let worker = scene.pc("a").id();
        for n in 0..200 {
            let at = scene.now().saturating_sub(Duration::from_secs((200 - n) * 40_000));
            ledger.import(&scene, past(worker, at, n, n));
        }
        for n in 0..60 {
            let totals = totals_of_day(nth_month(n).first_day(), n as u64);
            ledger.note_month(worker, nth_month(n), totals);
            let import = Import::new("months", n as u64);
            scene.import(import.monthly(worker, nth_month(n), totals)).unwrap();
        }

        scene
            .set_caps(milepost::Caps::default().with_history(1).with_daily(1).with_monthly(1))
            .unwrap();
        scene.settle().unwrap();

        assert_eq!(rows(&scene, tables::HISTORY), 1, "{name}");
        assert_eq!(rows(&scene, tables::DAILY), 1, "{name}");
        assert_eq!(rows(&scene, tables::MONTHLY), 1, "{name}");
        ledger.assert_conserved(&scene);
    }
}

/// Promises 13 and 14.
#[test]
fn a_single_command_over_the_limit_is_refused_as_too_large_and_changes_nothing() {
    let scene = Scene::on(Arc::new(MemoryEngine::new().limits(OPERATIONS, BYTES)));
    scene.jobs(&["a"]);
    let mut lease = lease(&scene.pc("a"));
    let many = |findings: u32| {
        let batch = Batch::new(0..1, Duration::ZERO);
        (0..findings).fold(batch, |batch, n| batch.with_finding(n.to_be_bytes(), "it"))
    };

    let too_many = refused(&scene, || lease.checkpoint(many(500)));
    let jobs = (0..100).map(|n| NewJob::new("b", n..n + 1));
    let too_many_jobs = refused(&scene, || scene.create_jobs(jobs));

    for error in [too_many, too_many_jobs] {
        assert!(matches!(error, Error::TransactionTooLarge), "{error:?}");
        assert!(error.to_string().contains("larger transaction than"), "{error}");
    }
    assert_eq!(lease.checkpoint(many(30)).unwrap().cursor, 1, "the lease goes on with less");
}

/// Promises 13 and 14: a step towards a lowered cap took room that the command needed.
#[test]
fn settling_leaves_a_command_its_room() {
    let most_findings = |history: u32| {
        let scene = Scene::on(Arc::new(MemoryEngine::new().limits(OPERATIONS, BYTES)));
        scene.jobs(&["a"]);
        let mut lease = lease(&scene.pc("a"));
        for n in 0..300 {
            let batch = past(lease.worker(), scene.now(), n, n);
            scene.import(Import::new("history", n).history(batch)).unwrap();
        }
        scene.set_caps(CapsChange::default().with_history(history)).unwrap();
        let settling = scene.snapshot().unwrap().is_settling();
        let fits = |findings: &u32| {
            let batch = Batch::new(0..1, Duration::ZERO);
            let batch =
                (0..*findings).fold(batch, |batch, n| batch.with_finding(n.to_be_bytes(), ""));
            lease.checkpoint(batch).is_ok()
        };
        ((1..OPERATIONS as u32).rev().find(fits), settling)
    };

    let (at_the_cap, settling) = most_findings(300);
    assert!(!settling && at_the_cap > Some(30));
    assert_eq!(most_findings(1), (at_the_cap, true));
}

/// Promises 13 and 14.
#[test]
fn a_job_with_many_findings_is_deleted_in_steps() {
    let scene = Scene::on(Arc::new(MemoryEngine::new().limits(OPERATIONS, BYTES)));
    let job = scene.create_job(NewJob::new("a", 0..30)).unwrap();
    let mut lease = lease(&scene.pc("a"));
    for n in 0..30u64 {
        let mut batch = lease.next_batch(1).unwrap();
        for key in 0..30u64 {
            batch.add_finding((n * 30 + key).to_be_bytes(), "it");
        }
        lease.checkpoint(batch).unwrap();
    }
    assert_eq!(rows(&scene, tables::FINDINGS), 900);

    scene.delete_job(job).unwrap();

    assert_eq!((rows(&scene, tables::FINDINGS), rows(&scene, tables::JOBS)), (0, 0));
}

/// Promises 3 and 12.
#[test]
fn many_leases_expire_at_once_on_every_engine() {
    for (name, scene) in engines() {
        for n in 0..300u64 {
            scene.create_job(NewJob::new("keys", n * 10..n * 10 + 10)).unwrap();
        }
        let crashed = scene.pc("crashed");
        for _ in 0..300 {
            lease(&crashed).abandon();
        }
        assert!(crashed.request(MINUTE).send().unwrap().leased().is_none());

        scene.clock.advance(DAY);
        let worker = scene.pc("other");
        let mut held = Vec::new();
        while let Some(lease) = worker.request(MINUTE).send().unwrap().leased() {
            held.push(lease);
        }

        assert_eq!(held.len(), 300, "{name}");
        let counts = scene.snapshot().unwrap().job_counts();
        assert_eq!(counts.leased, 300);
        held.into_iter().for_each(milepost::Lease::abandon);
        let jobs = scene.snapshot().unwrap().jobs(None, 300).unwrap();
        assert!(jobs.iter().all(|job| job.status == JobStatus::Leased && job.attempts == 1));
    }
}

/// Promise 3: also of a lease that no step has come to yet.
#[test]
fn an_expired_lease_is_not_resumed_however_many_there_are() {
    for (name, scene) in engines() {
        let jobs = (0..20).map(|n| NewJob::new("keys", n * 10..n * 10 + 10));
        scene.create_jobs(jobs).unwrap();
        let worker = scene.pc("w");
        for _ in 0..20 {
            lease(&worker).abandon();
        }
        scene.clock.advance(MINUTE);

        let again = worker.request(MINUTE).resume().send().unwrap().leased().unwrap();

        assert_eq!(again.attempts(), 1, "{name}: job {} had expired", again.job());
    }
}

/// An engine on which somebody else opens a store, and creates a job, just before the first
/// transaction.
struct Raced {
    engine: Arc<MemoryEngine>,
    is_raced: AtomicBool,
}

impl Engine for Raced {
    fn snapshot(&self) -> EngineResult<Arc<dyn EngineSnapshot>> {
        self.engine.snapshot()
    }

    fn write(
        &self,
        flush: Flush,
        transaction: &mut dyn FnMut(&mut dyn Write) -> EngineResult<()>,
    ) -> EngineResult<()> {
        if !self.is_raced.swap(true, Ordering::SeqCst) {
            let faster = Scene::on(self.engine.clone());
            faster.set_caps(Caps::default().with_history(77)).unwrap();
            faster.jobs(&["faster"]);
        }
        self.engine.write(flush, transaction)
    }

    fn stored_bytes(&self) -> EngineResult<u64> {
        self.engine.stored_bytes()
    }

    fn reopen(&self) -> milepost::Result<()> {
        self.engine.reopen()
    }

    fn close(&self) -> EngineResult<()> {
        self.engine.close()
    }
}

/// Promise 1: the second of two that open an empty engine at once leaves the store of the first.
#[test]
fn of_two_that_open_an_empty_engine_at_once_one_makes_the_store() {
    let engine = Arc::new(MemoryEngine::new());
    let raced = Raced { engine, is_raced: AtomicBool::new(false) };

    let scene = Scene::on(Arc::new(raced));

    scene.jobs(&["slower"]);
    let view = scene.snapshot().unwrap();
    assert_eq!(view.caps().history, 77);
    assert_eq!(view.job_counts().all(), 2);
}

/// Promise 13.
#[test]
fn an_engine_without_a_store_cannot_be_read() {
    let engine = Arc::new(MemoryEngine::new());

    let error = Builder::on_engine(engine.clone()).open_read_only().expect_err("it is empty");

    assert!(matches!(error, Error::NotAStore { .. }), "{error:?}");
    assert_eq!(engine.stored_bytes().unwrap(), 0, "nothing was written");
}
