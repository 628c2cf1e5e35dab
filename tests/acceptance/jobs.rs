//! Jobs: creating, finding, calling off, trying again, deleting.

use milepost::testing::tables;
use milepost::{
    Batch, BatchOutcome, Error, FindOrCreateOutcome, JobId, JobStatus, LeaseOutcome, NewJob,
};

use crate::support::{DAY, MINUTE, Scene, advance, lease, refused, rows};

/// Promise 2.
#[test]
fn many_jobs_are_created_in_one_step_and_their_ids_come_in_order() {
    let scene = Scene::new();

    let jobs = (0..1_000).map(|n| NewJob::new("keys", n * 10..n * 10 + 10));
    let ids = scene.create_jobs(jobs).unwrap();

    assert_eq!(ids.len(), 1_000);
    assert!(ids.is_sorted_by(|a, b| a < b));
    let view = scene.snapshot().unwrap();
    assert_eq!(view.job_counts().pending, 1_000);
    let job = view.job(ids[7]).unwrap().unwrap();
    assert_eq!((job.start, job.end, job.cursor, job.status), (70, 80, 70, JobStatus::Pending));
}

/// Promises 2 and 13.
#[test]
fn an_overlap_names_the_job_that_stands_in_the_way() {
    let scene = Scene::new();
    let stands = scene.create_job(NewJob::new("site", 100..200)).unwrap();
    scene.create_job(NewJob::new("site", 300..400)).unwrap();

    for range in [100..200, 199..201, 50..101, 120..130, 0..1_000, 199..300] {
        let new = NewJob::new("site", range.clone());
        let error = refused(&scene, || scene.create_job(new));

        let Error::RangeOverlap { start, end, other, other_start, other_end } = error else {
            panic!("{range:?}: {error:?}");
        };
        assert_eq!(start..end, range);
        assert_eq!((other, other_start..other_end), (Some(stands), 100..200));
        let text = error.to_string();
        assert!(text.contains(&format!("job {stands}")) && text.contains("100..200"), "{text}");
    }
}

/// Promise 2.
#[test]
fn ranges_that_touch_and_other_prefixes_do_not_overlap() {
    let scene = Scene::new();
    scene.create_job(NewJob::new("site", 100..200)).unwrap();

    for (prefix, range) in [
        ("site", 0..100),
        ("site", 200..201),
        ("site", 201..u64::MAX),
        ("sit", 100..200),
        ("site2", 100..200),
        ("site\0", 100..200),
    ] {
        scene.create_job(NewJob::new(prefix, range)).unwrap();
    }

    assert_eq!(rows(&scene, tables::JOBS), 7);
}

/// Promises 2 and 13.
#[test]
fn of_many_jobs_with_one_overlap_none_is_created() {
    let scene = Scene::new();
    let stands = scene.create_job(NewJob::new("site", 500..600)).unwrap();
    let ten = || (0..10).map(|n| NewJob::new("site", n * 10..n * 10 + 10));

    let with_stored = ten().chain([NewJob::new("site", 550..560)]);
    let error = refused(&scene, || scene.create_jobs(with_stored));
    assert!(
        matches!(error, Error::RangeOverlap { other: Some(job), .. } if job == stands),
        "{error:?}"
    );

    let among_themselves = ten().chain([NewJob::new("site", 99..101)]);
    let error = refused(&scene, || scene.create_jobs(among_themselves));
    assert!(matches!(error, Error::RangeOverlap { other: None, start: 99, .. }), "{error:?}");
    assert!(error.to_string().contains("another job of the same call"), "{error}");
}

/// Promise 2.
#[test]
fn find_or_create_finds_the_same_job_again_whatever_became_of_it() {
    let scene = Scene::new();
    let macro_job = || NewJob::new("site", 0..1_000).priority(5);

    let created = scene.find_or_create_job(macro_job()).unwrap();
    assert!(created.is_created());
    let job = created.id();
    assert_eq!(scene.find_or_create_job(macro_job()).unwrap(), FindOrCreateOutcome::Found(job));
    let mut held = lease(&scene.pc("a"));
    advance(&mut held, 1_000);
    assert_eq!(scene.find_or_create_job(macro_job()).unwrap(), FindOrCreateOutcome::Found(job));
    assert_eq!(scene.find_or_create_job(macro_job()).unwrap(), FindOrCreateOutcome::Found(job));

    let error = refused(&scene, || scene.find_or_create_job(NewJob::new("site", 0..999)));
    assert!(
        matches!(error, Error::RangeOverlap { other: Some(other), .. } if other == job),
        "{error:?}"
    );
    scene.delete_job(job).unwrap();
    let again = scene.find_or_create_job(macro_job()).unwrap();
    assert!(again.is_created() && again.id() > job, "a number is never given out twice");
}

/// Promises 2 and 4.
#[test]
fn the_checkpoint_that_reaches_the_end_completes_the_job() {
    let scene = Scene::new();
    let job = scene.create_job(NewJob::new("site", 100..1_100)).unwrap();
    let worker = scene.pc("a");
    let mut lease = lease(&worker);
    advance(&mut lease, 999);
    assert_eq!(scene.snapshot().unwrap().job(job).unwrap().unwrap().status, JobStatus::Leased);

    advance(&mut lease, 1);

    let view = scene.snapshot().unwrap();
    assert_eq!(view.job(job).unwrap().unwrap().status, JobStatus::Completed);
    let outcomes: Vec<BatchOutcome> =
        view.newest_history(None, 2).unwrap().iter().map(|record| record.batch.outcome).collect();
    assert_eq!(outcomes, [BatchOutcome::Completed, BatchOutcome::Done]);
    assert!(lease.next_batch(1).is_none());
    assert!(matches!(worker.request(MINUTE).send().unwrap(), LeaseOutcome::Finished));
}

/// Promise 2: a batch cannot be checkpointed as if it began elsewhere.
#[test]
fn a_batch_that_does_not_start_at_the_cursor_is_refused() {
    let scene = Scene::new();
    let job = scene.create_job(NewJob::new("site", 0..100)).unwrap();
    let mut lease = lease(&scene.pc("a"));
    let (first, twice) = (lease.next_batch(10).unwrap(), lease.next_batch(10).unwrap());
    lease.checkpoint(first).unwrap();

    for batch in [twice, Batch::new(90..100, MINUTE), Batch::new(11..20, MINUTE)] {
        let error = refused(&scene, || lease.checkpoint(batch));
        assert!(matches!(error, Error::CursorMismatch { cursor: 10, .. }), "{error:?}");
    }

    let mut cut = lease.next_batch(10).unwrap();
    cut.truncate(15);
    assert_eq!(lease.checkpoint(cut).unwrap().cursor, 15);
    let stored = scene.snapshot().unwrap().job(job).unwrap().unwrap();
    assert_eq!((stored.cursor, stored.items), (15, 15));
}

/// Promise 3.
#[test]
fn a_job_fails_after_its_last_attempt_and_goes_on_from_its_cursor_until_then() {
    let scene = Scene::new();
    let job = scene.create_job(NewJob::new("site", 0..1_000).max_attempts(3)).unwrap();
    let worker = scene.pc("a");

    let mut first = lease(&worker);
    advance(&mut first, 30);
    assert!(!first.fail("it had come as far as 30").unwrap().is_failed());
    for attempt in 0..3 {
        let mut lease = lease(&worker);
        assert_eq!((lease.attempts(), lease.resumed_at()), (attempt, 30));
        assert_eq!(lease.fail(format!("attempt {attempt}")).unwrap().is_failed(), attempt == 2);
    }

    let view = scene.snapshot().unwrap();
    let failed = view.job(job).unwrap().unwrap();
    assert_eq!((failed.status, failed.attempts, failed.cursor), (JobStatus::Failed, 3, 30));
    assert_eq!(failed.last_error.as_deref(), Some("attempt 2"));
    assert!(matches!(worker.request(MINUTE).send().unwrap(), LeaseOutcome::Finished));
}

/// Promise 3: a job that kills its workers ends as failed, and not in a loop.
#[test]
fn a_lease_that_expires_without_progress_counts_once_another_worker_takes_the_job() {
    let scene = Scene::new();
    let job = scene.create_job(NewJob::new("site", 0..1_000).max_attempts(2)).unwrap();
    let worker = scene.pc("a");

    for attempt in 0..2 {
        let lease = lease(&worker);
        assert_eq!(lease.attempts(), attempt);
        lease.abandon();
        scene.clock.advance(MINUTE);
    }

    assert!(matches!(worker.request(MINUTE).send().unwrap(), LeaseOutcome::Finished));
    let failed = scene.snapshot().unwrap().job(job).unwrap().unwrap();
    assert_eq!((failed.status, failed.attempts), (JobStatus::Failed, 2));
    assert!(failed.last_error.unwrap().contains("lease expired without progress"));
}

/// Promise 3: progress resets the count, so what ends a lease now and then never ends a long job.
#[test]
fn a_job_that_makes_progress_never_fails_however_often_its_leases_end() {
    let scene = Scene::new();
    scene.create_job(NewJob::new("site", 0..1_000).max_attempts(2)).unwrap();
    let worker = scene.pc("a");
    for n in 0..20 {
        let mut lease = lease(&worker);
        assert!(lease.attempts() <= 1, "after {n}");
        if n % 2 == 0 {
            advance(&mut lease, 10);
        }
        lease.abandon();
        scene.clock.advance(DAY);
    }
    assert_eq!(lease(&worker).resumed_at(), 100);
}

/// Promise 3: an expiry that nobody used costs nothing, and one lease never counts twice.
#[test]
fn a_lease_counts_one_attempt_at_most() {
    let scene = Scene::new();
    let job = scene.create_job(NewJob::new("site", 0..1_000).max_attempts(2)).unwrap();
    let (worker, other) = (scene.pc("a"), scene.pc("other"));
    let mut held = lease(&worker);
    let ended = scene.create_job(NewJob::new("nowhere", 0..10)).unwrap();
    scene.cancel_job(ended).unwrap();
    for _ in 0..5 {
        scene.clock.advance(DAY);
        assert!(matches!(
            other.request(MINUTE).of_prefix("nowhere").send().unwrap(),
            LeaseOutcome::Finished
        ));
    }
    let attempts = || scene.snapshot().unwrap().job(job).unwrap().unwrap().attempts;
    assert_eq!(attempts(), 0, "nobody took the job");

    assert!(!held.fail("it expired, and then it failed").unwrap().is_failed());
    assert_eq!(attempts(), 1);
    scene.clock.advance(DAY);
    let again = lease(&worker);
    assert_eq!(again.attempts(), 1);
}

/// Promise 12: after a jump of the clock, what expired within one lease length counts nothing.
#[test]
fn a_jump_of_the_clock_fails_no_job() {
    let scene = Scene::new();
    let jobs = (0..3).map(|n| NewJob::new("site", n * 10..n * 10 + 10).max_attempts(1));
    let jobs = scene.create_jobs(jobs).unwrap();
    let (worker, other) = (scene.pc("a"), scene.pc("other"));
    (0..3).for_each(|_| lease(&worker).abandon());

    scene.clock.set(scene.now().saturating_add(DAY));
    (0..3).for_each(|_| lease(&other).abandon());
    let statuses = || -> Vec<JobStatus> {
        let view = scene.snapshot().unwrap();
        jobs.iter().map(|job| view.job(*job).unwrap().unwrap().status).collect()
    };
    assert_eq!(statuses(), [JobStatus::Leased; 3]);

    scene.clock.advance(DAY);
    assert!(matches!(worker.request(MINUTE).send().unwrap(), LeaseOutcome::Finished));
    assert_eq!(statuses(), [JobStatus::Failed; 3], "time that passed counts");
}

/// Promise 3.
#[test]
fn a_job_without_max_attempts_is_tried_for_ever() {
    let scene = Scene::new();
    scene.jobs(&["a"]);
    let worker = scene.pc("a");

    for _ in 0..50 {
        assert!(!lease(&worker).fail("again").unwrap().is_failed());
    }

    assert_eq!(lease(&worker).attempts(), 50);
}

/// Promise 3.
#[test]
fn a_cancelled_job_is_lost_to_its_holder_and_leased_no_more() {
    let scene = Scene::new();
    let jobs = scene.jobs(&["a", "b"]);
    let worker = scene.pc("a");
    let mut held = lease(&worker);
    advance(&mut held, 10);

    scene.cancel_job(jobs[0]).unwrap();
    scene.cancel_job(jobs[1]).unwrap();

    let error = refused(&scene, || held.checkpoint(Batch::new(10..20, std::time::Duration::ZERO)));
    assert!(error.to_string().contains("cancelled"), "{error}");
    assert!(matches!(worker.request(MINUTE).send().unwrap(), LeaseOutcome::Finished));
    assert_eq!(scene.snapshot().unwrap().job_counts().cancelled, 2);
}

/// Promises 2 and 3.
#[test]
fn a_failed_or_cancelled_job_can_be_retried_from_its_cursor() {
    let scene = Scene::new();
    let worker = scene.pc("a");
    let failed = scene.create_job(NewJob::new("failed", 0..1_000).max_attempts(1)).unwrap();
    let mut first = lease(&worker);
    advance(&mut first, 100);
    first.fail("no luck").unwrap();
    assert!(lease(&worker).fail("no luck again").unwrap().is_failed());
    let cancelled = scene.create_job(NewJob::new("cancelled", 0..1_000)).unwrap();
    let mut second = lease(&worker);
    advance(&mut second, 200);
    scene.cancel_job(cancelled).unwrap();

    for (job, cursor) in [(failed, 100), (cancelled, 200)] {
        scene.retry_job(job).unwrap();
        let again = worker.request(MINUTE).of_job(job).send().unwrap().leased().unwrap();
        assert_eq!((again.resumed_at(), again.attempts()), (cursor, 0));
        assert_eq!(again.token().get(), if job == failed { 3 } else { 2 });
    }
    assert!(refused(&scene, || second.renew()).to_string().contains("leased again"));
}

/// Promises 8 and 14.
#[test]
fn a_deleted_job_takes_its_findings_along_and_leaves_the_statistics() {
    let scene = Scene::new();
    let job = scene.create_job(NewJob::new("site", 0..10)).unwrap();
    let worker = scene.pc("a");
    let mut lease = lease(&worker);
    let batch = Batch::new(0..10, std::time::Duration::from_secs(1)).with_finding("key", "payload");
    lease.checkpoint(batch).unwrap();

    scene.delete_job(job).unwrap();

    let view = scene.snapshot().unwrap();
    assert_eq!(view.job(job).unwrap(), None);
    assert_eq!(view.findings(None, 10).unwrap(), []);
    for table in [tables::JOBS, tables::JOB_RANGES, tables::FINDINGS, tables::JOB_QUEUE] {
        assert_eq!(rows(&scene, table), 0, "{}", table.name());
    }
    assert_eq!(view.lifetime(&worker).unwrap().totals.items, 10);
    assert_eq!(view.newest_history(None, 1).unwrap()[0].batch.job, Some(job));
    scene.create_job(NewJob::new("site", 0..10)).expect("the range is free again");
}

/// Promise 13.
#[test]
fn what_the_status_of_a_job_does_not_allow_is_refused() {
    let scene = Scene::new();
    let jobs = scene.jobs(&["pending", "leased", "completed", "failed", "cancelled"]);
    let [pending, leased, completed, failed, cancelled] = jobs[..] else { unreachable!() };
    let worker = scene.pc("a");
    let get = |job: JobId| worker.request(MINUTE).of_job(job).send().unwrap().leased().unwrap();
    let _held = get(leased);
    let mut done = get(completed);
    advance(&mut done, 1_000);
    scene.cancel_job(failed).unwrap();
    scene.delete_job(failed).unwrap();
    let new = NewJob::new("failed", 0..1_000).max_attempts(1);
    let failed = scene.create_job(new).unwrap();
    get(failed).fail("no luck").unwrap();
    scene.cancel_job(cancelled).unwrap();

    let check = |action: &str, job: JobId, error: Error| {
        assert!(matches!(error, Error::WrongStatus { job: of, .. } if of == job), "{error:?}");
        assert!(error.to_string().starts_with(&format!("cannot {action} job {job}")), "{error}");
    };
    for job in [completed, failed, cancelled] {
        check("cancel", job, refused(&scene, || scene.cancel_job(job)));
    }
    for job in [pending, leased, completed] {
        check("retry", job, refused(&scene, || scene.retry_job(job)));
    }
    for job in [pending, leased] {
        check("delete", job, refused(&scene, || scene.delete_job(job)));
    }
}
