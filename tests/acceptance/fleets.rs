//! What else fleets say of their jobs: heartbeats, attempts that failed, jobs that begin again.

use milepost::{
    Batch, Error, FailOutcome, FindOrCreateOutcome, FindingOutcome, JobId, JobStatus, Lost,
    NewFinding, NewJob, PastBatch,
};

use crate::ledger::Ledger;
use crate::support::{DAY, MINUTE, Scene, advance, lease};

/// Promises 4 and 8.
#[test]
fn a_failed_attempt_records_its_batch_and_moves_nothing() {
    let scene = Scene::with(|builder| builder.history_limit(1));
    let job = scene.create_job(NewJob::new("a", 0..100).max_attempts(2)).unwrap();
    let worker = scene.pc("pc-01");
    let tried = |n: u64| Batch::new(0..10, MINUTE).with_items(n).with_finding("trace", "line 7");

    let first = lease(&worker).fail_with(tried(3), "it broke").unwrap();
    let second = lease(&worker).fail_with(tried(4), "it broke again").unwrap();

    assert_eq!(first, FailOutcome::Requeued { attempts: 1 });
    assert_eq!(second, FailOutcome::Failed { attempts: 2 });
    let view = scene.snapshot().unwrap();
    let stored = view.job(job).unwrap().unwrap();
    assert_eq!((stored.cursor, stored.batches, stored.items), (0, 2, 7));
    assert_eq!(
        (stored.duration, stored.last_error.as_deref()),
        (2 * MINUTE, Some("it broke again"))
    );
    let totals = view.lifetime(&worker).unwrap().totals;
    assert_eq!((totals.batches, totals.errors, totals.items, totals.completed), (2, 2, 7, 0));
    let newest: PastBatch = view.newest_history(None, 1).unwrap().remove(0).batch;
    assert_eq!(
        (newest.start, newest.end, newest.error.as_deref()),
        (0, 10, Some("it broke again"))
    );
    assert_eq!(view.findings_of(job, None, 9).unwrap().len(), 1);
}

/// Promise 3: an expired lease that nobody took is forgiven, also for this. What was tried was once
/// counted before the job had left the sums of its prefix, which is verified when the test is over.
#[test]
fn a_failed_attempt_under_an_expired_lease_records_its_batch() {
    let scene = Scene::new();
    let jobs = scene.jobs(&["a", "b"]);
    let worker = scene.pc("slow");
    let mut slow = worker.request(MINUTE).of_job(jobs[0]).send().unwrap().leased().unwrap();
    scene.clock.advance(2 * MINUTE);
    // This request returns the expired job to the queue, and takes the other one.
    let other = scene.pc("other").request(MINUTE).of_prefix("b").send().unwrap();

    let outcome = slow.fail_with(Batch::new(0..10, MINUTE), "too slow").unwrap();

    assert_eq!(outcome, FailOutcome::Requeued { attempts: 1 });
    let view = scene.snapshot().unwrap();
    assert_eq!(view.progress("a").unwrap().unwrap().done, 0);
    assert_eq!(view.lifetime(&worker).unwrap().totals.duration(), MINUTE);
    drop(other);
}

/// Promise 2: a batch that does not start at the cursor is refused, also if it failed.
#[test]
fn a_failed_attempt_at_other_positions_is_refused() {
    let scene = Scene::new();
    scene.jobs(&["a"]);
    let mut held = lease(&scene.pc("pc-01"));
    advance(&mut held, 100);

    let error = held.fail_with(Batch::new(0..100, MINUTE), "an old one").unwrap_err();

    assert!(matches!(error, Error::CursorMismatch { .. }), "{error:?}");
    advance(&mut held, 100);
}

#[test]
fn a_heartbeat_renews_and_leaves_a_note_that_goes_with_the_lease() {
    let scene = Scene::new();
    let job = scene.jobs(&["a"])[0];
    let worker = scene.pc("pc-01");
    let note = || scene.snapshot().unwrap().job(job).unwrap().unwrap().note;
    let mut held = lease(&worker);
    assert_eq!(note(), None);

    scene.clock.advance(MINUTE / 2);
    let deadline = held.heartbeat("page 3 of 9").unwrap();

    assert_eq!(deadline, scene.now().saturating_add(MINUTE));
    assert_eq!(note().as_deref(), Some("page 3 of 9"));
    advance(&mut held, 10);
    assert_eq!(note().as_deref(), Some("page 3 of 9"), "a checkpoint leaves it");
    let error = held.heartbeat("n".repeat(257)).unwrap_err();
    assert!(matches!(error, Error::InvalidLength { .. }), "{error:?}");
    held.release().unwrap();
    drop(lease(&worker));
    assert_eq!(note(), None, "the next lease begins without one");
}

/// Promises 2 and 3: only a job that nobody holds begins again, and who held it last has lost it.
#[test]
fn a_job_begins_again_from_its_start_or_from_a_position() {
    let scene = Scene::new();
    let job = scene.create_job(NewJob::new("a", 10..110).max_attempts(1)).unwrap();
    let worker = scene.pc("pc-01");
    let mut held = lease(&worker);
    advance(&mut held, 50);
    let error = scene.restart_job(job, None).unwrap_err();
    assert!(matches!(error, Error::WrongStatus { status: JobStatus::Leased, .. }), "{error:?}");
    advance(&mut held, 50);

    scene.restart_job(job, Some(60)).unwrap();

    let stored = || scene.snapshot().unwrap().job(job).unwrap().unwrap();
    assert_eq!((stored().status, stored().cursor, stored().attempts), (JobStatus::Pending, 60, 0));
    let again = lease(&worker);
    assert_eq!(again.next_batch(1_000).unwrap().range(), 60..110);
    scene.clock.advance(2 * MINUTE);
    assert!(scene.pc("another").request(MINUTE).send().unwrap().leased().is_none());
    assert_eq!(stored().status, JobStatus::Failed, "that was its only attempt");
    again.abandon();
    scene.restart_job(job, None).unwrap();
    assert_eq!((stored().status, stored().cursor), (JobStatus::Pending, 10));
    assert_eq!(stored().batches, 2, "what was done stays counted");
    for from in [9, 110, 111] {
        let error = scene.restart_job(job, Some(from)).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
    }
    assert!(matches!(scene.restart_job(JobId::from(99), None), Err(Error::UnknownJob(_))));
}

/// Promise 3: an expired lease that nobody took is forgiven, but not across a restart.
#[test]
fn who_held_a_job_before_it_began_again_has_lost_it() {
    let scene = Scene::new();
    let jobs = scene.jobs(&["a", "b"]);
    let mut slow =
        scene.pc("slow").request(MINUTE).of_job(jobs[0]).send().unwrap().leased().unwrap();
    advance(&mut slow, 10);
    scene.clock.advance(2 * MINUTE);
    // The request returns the expired job to the queue, and takes the other one.
    let other = scene.pc("other").request(MINUTE).of_prefix("b").send().unwrap();

    scene.restart_job(jobs[0], None).unwrap();

    let batch = slow.next_batch(10).unwrap();
    let Err(Error::LeaseLost { why: Lost::Released, .. }) = slow.checkpoint(batch) else {
        panic!("its cursor is not where the job is")
    };
    drop(other);
}

#[test]
fn findings_are_unique_in_a_job_or_in_the_store_as_the_caller_says() {
    let scene = Scene::new();
    let jobs = scene.jobs(&["a", "b"]);
    let worker = scene.pc("pc-01");
    let in_job = || NewFinding::new("k", "v");
    let in_store = || NewFinding::new("k", "v").unique_in_store();

    assert_eq!(worker.add_finding(jobs[0], in_job()).unwrap(), FindingOutcome::Stored);
    assert_eq!(worker.add_finding(jobs[1], in_store()).unwrap(), FindingOutcome::AlreadyStored);
    assert_eq!(worker.add_finding(jobs[1], in_job()).unwrap(), FindingOutcome::Stored);

    let mut held = lease(&worker);
    let mut batch = held.next_batch(10).unwrap();
    batch.extend([in_store(), NewFinding::new("kk", "v").unique_in_store()]);
    held.checkpoint(batch).unwrap();
    let keys = |job| {
        let found = scene.snapshot().unwrap().findings_of(job, None, 9).unwrap();
        found.into_iter().map(|finding| String::from_utf8(finding.key).unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(keys(held.job()), ["k", "kk"]);
}

#[test]
fn a_finding_that_comes_alone_is_late_only_from_who_does_not_hold_the_job() {
    let scene = Scene::new();
    let job = scene.jobs(&["a"])[0];
    let (holder, other) = (scene.pc("holder"), scene.pc("other"));
    let mut held = lease(&holder);
    holder.add_finding(job, NewFinding::new("in time", "")).unwrap();
    other.add_finding(job, NewFinding::new("from another", "")).unwrap();
    held.release().unwrap();
    holder.add_finding(job, NewFinding::new("too late", "")).unwrap();

    let late: Vec<_> = scene.snapshot().unwrap().findings_of(job, None, 9).unwrap();

    let late: Vec<(&[u8], bool)> = late.iter().map(|one| (&one.key[..], one.late)).collect();
    assert_eq!(late, [(&b"from another"[..], true), (b"in time", false), (b"too late", true)]);
}

#[test]
fn a_half_done_migration_keeps_its_cursors() {
    let scene = Scene::new();
    let jobs = [
        NewJob::new("a", 0..100).cursor(40),
        NewJob::new("a", 100..200).cursor(100),
        NewJob::new("a", 200..300).cursor(300),
    ];
    for wrong in [NewJob::new("b", 5..10).cursor(4), NewJob::new("b", 5..10).cursor(11)] {
        let error = scene.create_job(wrong).unwrap_err();
        assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
    }

    let ids = scene.create_jobs(jobs.clone()).unwrap();

    let view = scene.snapshot().unwrap();
    let stored = |n: usize| view.job(ids[n]).unwrap().unwrap();
    assert_eq!((stored(0).cursor, stored(0).status), (40, JobStatus::Pending));
    assert_eq!((stored(1).cursor, stored(1).status), (100, JobStatus::Pending));
    assert_eq!((stored(2).cursor, stored(2).status), (300, JobStatus::Completed));
    assert_eq!(view.progress("a").unwrap().unwrap().done, 140);
    assert_eq!(lease(&scene.pc("pc-01")).next_batch(1_000).unwrap().range(), 40..100);

    let again =
        scene.find_or_create_jobs(jobs.into_iter().chain([NewJob::new("c", 0..1)])).unwrap();
    assert_eq!(again[..3], [0, 1, 2].map(|n| FindOrCreateOutcome::Found(ids[n])));
    assert!(again[3].is_created());
    let overlapping = [NewJob::new("d", 0..10), NewJob::new("a", 50..60)];
    assert!(matches!(scene.find_or_create_jobs(overlapping), Err(Error::RangeOverlap { .. })));
    assert!(scene.snapshot().unwrap().progress("d").unwrap().is_none(), "all of them, or none");
}

/// Promises 7 and 8, for records of attempts that failed.
#[test]
fn records_of_failed_attempts_are_folded_like_any_other() {
    let scene = Scene::with(|builder| builder.history_limit(2).daily_limit(1).monthly_limit(1));
    let mut ledger = Ledger::default();
    scene.jobs(&["a"]);
    let worker = scene.pc("pc-01");
    for n in 0..40u64 {
        scene.clock.advance(DAY);
        let mut held = worker.request(MINUTE).resume().send().unwrap().leased().unwrap();
        if n % 3 == 0 {
            let cursor = held.cursor();
            held.fail_with(Batch::new(cursor..cursor + 5, MINUTE), "no luck").unwrap();
            let batch = PastBatch::new(worker.id(), cursor..cursor + 5, scene.now());
            ledger.note(&batch.with_duration(MINUTE).with_error("no luck"));
        } else {
            ledger.checkpoint(&mut held, scene.now(), 10, 1_000);
            held.release().unwrap();
        }
    }

    ledger.assert_conserved(&scene);
}
