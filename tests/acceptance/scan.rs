//! A scan from start to end, also across crashes.

use std::time::Duration;

use milepost::testing::tables;
use milepost::{Action, Batch, Error, JobStatus, LeaseCommand, Lost, NewJob, Receipt};

use crate::ledger::Ledger;
use crate::support::{MINUTE, Scene, advance, lease, refused, relaxed, rows};

/// Promises 1, 2 and 4.
#[test]
fn one_worker_completes_a_job_with_many_checkpoints() {
    let scene = Scene::new();
    let job = scene.create_job(NewJob::new("site", 500..10_500)).unwrap();
    let worker = scene.pc("pc-01");

    let mut lease = lease(&worker);
    let mut cursors = vec![lease.cursor()];
    while lease.next_batch(300).is_some() {
        cursors.push(advance(&mut lease, 300));
    }

    assert_eq!(cursors.len(), 1 + 34);
    assert!(cursors.is_sorted_by(|a, b| a < b), "a cursor only moves forward: {cursors:?}");
    let view = scene.snapshot().unwrap();
    let done = view.job(job).unwrap().unwrap();
    assert_eq!((done.status, done.cursor), (JobStatus::Completed, 10_500));
    let totals = view.lifetime(&worker).unwrap().totals;
    assert_eq!((totals.batches, totals.items), (34, 10_000));
    assert!(worker.next_lease(MINUTE).unwrap().is_none());
}

/// Promises 3 and 4.
#[test]
fn several_workers_work_on_different_prefixes_at_once() {
    let scene = Scene::new();
    scene.jobs(&["alpha", "beta", "gamma", "delta"]);

    std::thread::scope(|threads| {
        for prefix in ["alpha", "beta", "gamma", "delta"] {
            let worker = scene.pc(prefix);
            threads.spawn(move || {
                let request = worker.request(MINUTE).of_prefix(prefix);
                let mut lease = request.send().unwrap().leased().expect("nobody else wants it");
                assert_eq!(lease.prefix().as_bytes(), prefix.as_bytes());
                while lease.next_batch(50).is_some() {
                    advance(&mut lease, 50);
                }
            });
        }
    });

    let view = scene.snapshot().unwrap();
    assert_eq!(view.job_counts().completed, 4);
    for prefix in ["alpha", "beta", "gamma", "delta"] {
        let worker = view.worker_named(prefix).unwrap().expect("it registered");
        let totals = view.lifetime(worker.id).unwrap().totals;
        assert_eq!((totals.batches, totals.items), (20, 1_000), "{prefix}");
    }
}

/// Promises 3 and 11.
#[test]
fn a_second_worker_starts_from_the_crashed_ones_last_checkpoint_and_not_from_zero() {
    let mut scene = Scene::new();
    scene.create_job(NewJob::new("keys", 0..2_000_000)).unwrap();
    let mut crashed = lease(&scene.pc("first"));
    for _ in 0..10 {
        advance(&mut crashed, 100_000);
    }
    crashed.abandon();
    scene.reopen_with(|builder| builder);
    let second = scene.pc("second");

    let too_early = second.request(MINUTE).send().unwrap().leased();
    scene.clock.advance(MINUTE);
    let mut lease = lease(&second);

    assert!(too_early.is_none(), "the first worker's lease had not expired yet");
    assert_eq!(lease.resumed_at(), 1_000_000);
    assert_eq!(lease.next_batch(100).unwrap().range(), 1_000_000..1_000_100);
    advance(&mut lease, 1_000_000);
}

/// Promise 8.
#[test]
fn the_statistics_of_the_crashed_worker_and_of_its_successor_are_kept_apart() {
    let scene = Scene::new();
    let mut ledger = Ledger::default();
    scene.create_job(NewJob::new("keys", 0..2_000_000)).unwrap();
    let (first, second) = (scene.pc("first"), scene.pc("second"));

    let mut crashed = lease(&first);
    for micros in 1..=10 {
        ledger.checkpoint(&mut crashed, scene.now(), 100_000, micros);
    }
    crashed.abandon();
    scene.clock.advance(MINUTE);
    let mut taken_over = lease(&second);
    for micros in 1..=4 {
        ledger.checkpoint(&mut taken_over, scene.now(), 250_000, 1_000 * micros);
    }

    let view = scene.snapshot().unwrap();
    let (first_life, second_life) =
        (view.lifetime(&first).unwrap(), view.lifetime(&second).unwrap());
    assert_eq!((first_life.totals.batches, first_life.totals.items), (10, 1_000_000));
    assert_eq!((second_life.totals.batches, second_life.totals.items), (4, 1_000_000));
    ledger.assert_conserved(&scene);
}

/// Promises 3 and 13.
#[test]
fn the_late_checkpoint_of_the_crashed_worker_is_refused_and_changes_nothing() {
    let scene = Scene::new();
    let job = scene.create_job(NewJob::new("keys", 0..2_000_000)).unwrap();
    let mut late = lease(&scene.pc("first"));
    advance(&mut late, 1_000_000);
    scene.clock.advance(MINUTE);
    let second = lease(&scene.pc("second"));

    let range = 1_000_000..1_100_000;
    let error = refused(&scene, || late.checkpoint(Batch::new(range, Duration::ZERO)));

    assert!(
        matches!(error, Error::LeaseLost { job: lost, why: Lost::Superseded, .. } if lost == job),
        "{error:?}"
    );
    assert_eq!(second.cursor(), 1_000_000);
}

/// Promise 1.
#[test]
fn the_jobs_table_stays_at_one_row_through_20_checkpoints() {
    let scene = Scene::new();
    scene.create_job(NewJob::new("keys", 0..20_000)).unwrap();
    let mut lease = lease(&scene.pc("pc-01"));

    for _ in 0..20 {
        advance(&mut lease, 1_000);

        assert_eq!((rows(&scene, tables::JOBS), rows(&scene, tables::JOB_RANGES)), (1, 1));
    }
    assert_eq!(lease.next_batch(1), None);
}

/// Promises 1 and 14.
#[test]
fn the_jobs_table_stays_at_one_row_through_10_000_checkpoints() {
    let scene = Scene::with(relaxed);
    scene.create_job(NewJob::new("keys", 0..20_000)).unwrap();
    let lease = lease(&scene.pc("pc-01"));
    let (job, token) = (lease.job(), lease.token());
    lease.abandon();

    for thousand in 0..10u64 {
        let answers = scene.submit_many((0..1_000).map(|n| {
            let from = thousand * 1_000 + n;
            let batch = Batch::new(from..from + 1, Duration::from_micros(1));
            let action = Action::Checkpoint(batch);
            LeaseCommand::new(job, token, from + 1, action)
        }));

        assert!(
            matches!(answers[999], Ok(Receipt::Moved { cursor, .. }) if cursor == (thousand + 1) * 1_000)
        );
        assert_eq!((rows(&scene, tables::JOBS), rows(&scene, tables::JOB_RANGES)), (1, 1));
    }
}

/// Promises 3 and 4.
#[test]
fn the_loop_of_the_readme_takes_over_the_job_of_a_crashed_worker() {
    let scene = Scene::new();
    scene.create_job(NewJob::new("demo", 0..1_000)).unwrap();
    let mut crashed = lease(&scene.pc("crashed"));
    advance(&mut crashed, 400);
    crashed.abandon();
    let worker = scene.pc("pc-02");

    let asked = worker.request(MINUTE).send().unwrap();
    scene.clock.advance(MINUTE);
    let mut next = asked.wait().unwrap().leased();
    let mut done = Vec::new();
    while let Some(mut lease) = next {
        while let Some(range) = lease.next_batch(250).map(|batch| batch.range()) {
            lease.checkpoint(Batch::new(range.clone(), Duration::from_millis(5))).unwrap();
            done.push(range);
        }
        next = worker.next_lease(MINUTE).unwrap();
    }

    assert_eq!(done, [400..650, 650..900, 900..1_000]);
    assert_eq!(scene.snapshot().unwrap().job_counts().completed, 1);
}

/// Promises 2 and 4: positions go up to the largest number there is.
#[test]
fn a_job_reaches_to_the_last_position_there_is() {
    let scene = Scene::new();
    scene.create_job(NewJob::new("edge", 0..u64::MAX)).unwrap();
    let worker = scene.pc("pc-01");
    let mut lease = lease(&worker);

    advance(&mut lease, u64::MAX - 10);
    assert_eq!(lease.next_batch(100).unwrap().range(), u64::MAX - 10..u64::MAX);
    advance(&mut lease, 100);

    let totals = scene.snapshot().unwrap().lifetime(&worker).unwrap().totals;
    assert_eq!(totals.items, u128::from(u64::MAX));
}
