//! Jobs and leases: who gets what, and what a lease is good for.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use milepost::storage::MemoryEngine;
use milepost::{Batch, Builder, Error, JobId, JobStatus, Leasing, Lost, NewJob};

use crate::support::{DAY, MINUTE, Scene, advance, lease, refused};

fn leased(answer: Leasing) -> JobId {
    let lease = answer.leased().expect("a job was waiting");
    let job = lease.job();
    lease.abandon();
    job
}

/// Promise 2: "the macro job" that covers a whole range.
#[test]
fn of_many_callers_that_find_or_create_a_job_at_once_exactly_one_creates_it() {
    let scene = Scene::new();
    let created = AtomicUsize::new(0);

    let ids: BTreeSet<JobId> = std::thread::scope(|threads| {
        let callers: Vec<_> = (0..16)
            .map(|_| {
                threads.spawn(|| {
                    let job = NewJob::new("macro", 0..1 << 32);
                    let (id, new) = scene.find_or_create_job(job).unwrap();
                    created.fetch_add(new.into(), Ordering::Relaxed);
                    id
                })
            })
            .collect();
        callers.into_iter().map(|caller| caller.join().unwrap()).collect()
    });

    assert_eq!((created.into_inner(), ids.len()), (1, 1));
    assert_eq!(scene.snapshot().unwrap().job_counts().pending, 1);
}

/// Promise 3: never two holders at once.
#[test]
fn from_however_many_threads_no_job_ever_has_two_holders() {
    let scene = Scene::in_memory();
    scene.create_jobs((0..40).map(|n| NewJob::new("keys", n * 10..(n + 1) * 10))).unwrap();
    let holders: Vec<AtomicUsize> = (0..41).map(|_| AtomicUsize::new(0)).collect();

    std::thread::scope(|threads| {
        for number in 0..12 {
            let worker = scene.pc(&format!("pc-{number}"));
            let holders = &holders;
            threads.spawn(move || {
                while let Some(mut lease) = worker.lease(DAY).unwrap().wait().unwrap() {
                    let job = lease.job().number() as usize;
                    assert_eq!(holders[job].fetch_add(1, Ordering::SeqCst), 0, "job {job}");
                    while lease.next_batch(5).is_some() {
                        advance(&mut lease, 5);
                    }
                    assert_eq!(holders[job].fetch_sub(1, Ordering::SeqCst), 1, "job {job}");
                    lease.complete().unwrap();
                }
            });
        }
    });

    let view = scene.snapshot().unwrap();
    assert_eq!(view.job_counts().completed, 40);
    assert_eq!(view.lifetime(milepost::Scope::Fleet).unwrap().totals.items, 400);
}

#[test]
fn a_restarted_worker_takes_up_its_own_unexpired_lease_at_once() {
    let mut scene = Scene::new();
    scene.jobs(&["a", "b"]);
    let mut crashed = lease(&scene.pc("pc-01"));
    let (job, old_token) = (crashed.job(), crashed.token());
    advance(&mut crashed, 300);
    crashed.abandon();
    scene.reopen_with(|builder| builder);
    let worker = scene.pc("pc-01");

    let resumed = worker.request(MINUTE).resume().lease().unwrap().leased().unwrap();

    assert_eq!((resumed.job(), resumed.cursor()), (job, 300));
    assert!(resumed.token() > old_token, "it is fenced off from what it was before");
    assert_eq!(resumed.attempts(), 0, "and no attempt has failed");
}

#[test]
fn a_worker_gets_jobs_of_the_prefix_it_last_worked_on_first() {
    let scene = Scene::new();
    let jobs = scene
        .create_jobs([
            NewJob::new("b", 0..10),
            NewJob::new("a", 0..10),
            NewJob::new("b", 10..20),
            NewJob::new("urgent", 0..10).priority(9),
        ])
        .unwrap();
    let worker = scene.pc("pc-01");
    lease_and_complete(&worker, jobs[1]);
    lease_and_complete(&worker, jobs[0]);

    assert_eq!(leased(worker.lease(MINUTE).unwrap()), jobs[2]);
}

fn lease_and_complete(worker: &milepost::Worker, job: JobId) {
    let mut lease = worker.request(MINUTE).of_job(job).lease().unwrap().leased().unwrap();
    advance(&mut lease, 10);
    lease.complete().unwrap();
}

#[test]
fn else_jobs_go_by_priority_and_then_by_age() {
    let scene = Scene::new();
    let jobs = scene
        .create_jobs([
            NewJob::new("low", 0..10).priority(-1),
            NewJob::new("old", 0..10),
            NewJob::new("new", 0..10),
            NewJob::new("high", 0..10).priority(i32::MAX),
            NewJob::new("lowest", 0..10).priority(i32::MIN),
        ])
        .unwrap();

    let order: Vec<JobId> =
        (0..5).map(|n| leased(scene.pc(&format!("pc-{n}")).lease(MINUTE).unwrap())).collect();

    assert_eq!(order, [jobs[3], jobs[1], jobs[2], jobs[0], jobs[4]]);
}

#[test]
fn a_job_whose_lease_lapsed_does_not_starve_behind_newer_ones() {
    let scene = Scene::new();
    let old = scene.jobs(&["a"])[0];
    let mut crashed = lease(&scene.pc("crashed"));
    advance(&mut crashed, 500);
    crashed.abandon();
    scene.jobs(&["b", "c", "d"]);
    scene.clock.advance(MINUTE);

    assert_eq!(leased(scene.pc("next").lease(MINUTE).unwrap()), old);
}

#[test]
fn a_lease_of_one_named_job_or_of_one_prefix_can_be_asked_for() {
    let scene = Scene::new();
    let jobs = scene.jobs(&["a", "b", "c"]);
    let worker = scene.pc("pc-01");

    let named = worker.request(MINUTE).of_job(jobs[2]).lease().unwrap();
    assert_eq!(leased(named), jobs[2]);
    let of_prefix = worker.request(MINUTE).of_prefix("b").lease().unwrap();
    assert_eq!(leased(of_prefix), jobs[1]);
    assert!(matches!(
        worker.request(MINUTE).of_prefix("nowhere").lease().unwrap(),
        Leasing::Finished
    ));
    let taken = worker.request(MINUTE).of_job(jobs[2]).lease().unwrap();
    assert!(matches!(taken, Leasing::Busy(busy) if busy.until() == scene.now().after(MINUTE)));
    let unknown = JobId::from_number(99);
    let error = refused(&scene, || worker.request(MINUTE).of_job(unknown).lease());
    assert!(matches!(error, Error::UnknownJob(job) if job == unknown), "{error:?}");
}

#[test]
fn the_answer_tells_all_leased_now_from_nothing_left_to_do() {
    let scene = Scene::new();
    let (first, second) = (scene.pc("first"), scene.pc("second"));
    assert!(matches!(first.lease(MINUTE).unwrap(), Leasing::Finished));
    scene.jobs(&["a"]);

    let mut held = lease(&first);
    let Leasing::Busy(busy) = second.lease(MINUTE).unwrap() else { panic!("it is held") };
    assert_eq!(busy.until(), scene.now().after(MINUTE));
    advance(&mut held, 1_000);
    held.complete().unwrap();

    assert!(matches!(second.lease(MINUTE).unwrap(), Leasing::Finished));
}

/// The wait is for an event and not for time: the clock stands still.
#[test]
fn a_waiting_worker_gets_a_job_as_soon_as_it_is_given_back() {
    let scene = Scene::in_memory();
    scene.jobs(&["a"]);
    let held = lease(&scene.pc("first"));
    let second = scene.pc("second");

    let waiting = std::thread::spawn(move || {
        let lease = second.lease(MINUTE).unwrap().wait().unwrap().expect("it came free");
        lease.job()
    });
    drop(held);

    assert_eq!(waiting.join().unwrap(), JobId::from_number(1));
}

/// Promise 3.
#[test]
fn a_holder_whose_deadline_has_passed_but_whose_job_nobody_took_may_go_on() {
    let scene = Scene::new();
    scene.jobs(&["a"]);
    let worker = scene.pc("pc-01");
    let mut slow = lease(&worker);
    advance(&mut slow, 100);
    scene.clock.advance(10 * MINUTE);
    let other = scene.pc("other");
    // Somebody who looks finds the job free, and puts it back in the queue.
    let prefix = other.request(MINUTE).of_prefix("nothing").lease().unwrap();
    assert!(matches!(prefix, Leasing::Finished));
    assert_eq!(scene.snapshot().unwrap().job_counts().pending, 1);

    advance(&mut slow, 100);

    let job = scene.snapshot().unwrap().job(slow.job()).unwrap().unwrap();
    assert_eq!((job.status, job.cursor), (JobStatus::Leased, 200));
    assert_eq!(job.deadline, Some(scene.now().after(MINUTE)));
    assert!(matches!(other.lease(MINUTE).unwrap(), Leasing::Busy(_)));
}

/// Promise 3: each way in which a token retires.
#[test]
fn a_retired_token_moves_no_cursor() {
    type Retire = fn(&Scene, JobId);
    let ways: [(Retire, Lost); 3] = [
        (|scene, job| scene.cancel_job(job).unwrap(), Lost::Cancelled),
        (
            |scene, _| {
                scene.clock.advance(MINUTE);
                assert_eq!(scene.release_stale(MINUTE / 2).unwrap(), 1);
            },
            Lost::Released,
        ),
        (
            |scene, job| {
                scene.clock.advance(MINUTE);
                leased(scene.pc("b").request(MINUTE).of_job(job).lease().unwrap());
            },
            Lost::Superseded,
        ),
    ];
    for (retire, expected) in ways {
        let scene = Scene::new();
        let job = scene.jobs(&["a"])[0];
        let mut late = lease(&scene.pc("a"));
        advance(&mut late, 10);
        retire(&scene, job);

        let range = 10..20;
        let error = refused(&scene, || late.checkpoint(20, Batch::of(&range, Duration::ZERO)));

        assert!(matches!(error, Error::LeaseLost { why, .. } if why == expected), "{error:?}");
        let error = refused(&scene, || late.renew());
        assert!(matches!(error, Error::LeaseLost { .. }), "{error:?}");
    }
}

/// A lease timeout is not a maximum runtime.
#[test]
fn renewals_and_checkpoints_keep_a_lease_for_as_long_as_they_come() {
    let scene = Scene::new();
    scene.jobs(&["a"]);
    let mut long = lease(&scene.pc("pc-01"));
    let other = scene.pc("other");

    for n in 0..100 {
        scene.clock.advance(MINUTE / 2 + Duration::from_secs(20));
        if n % 2 == 0 {
            assert_eq!(long.renew().unwrap(), scene.now().after(MINUTE));
        } else {
            advance(&mut long, 1);
        }
        assert!(matches!(other.lease(MINUTE).unwrap(), Leasing::Busy(_)), "after {n} renewals");
    }

    let job = scene.snapshot().unwrap().job(long.job()).unwrap().unwrap();
    assert_eq!((job.attempts, job.batches, job.cursor), (0, 50, 50));
}

/// The only test here in which real time passes: a lease of a fifth of a second is kept for one.
#[test]
fn a_lease_that_is_kept_alive_outlives_a_batch_longer_than_itself() {
    let store = Builder::on_engine(Arc::new(MemoryEngine::new())).open().unwrap();
    store.create_job(NewJob::new("a", 0..10)).unwrap();
    let length = Duration::from_millis(200);
    let worker = store.worker("pc-01", "pc").unwrap();
    let mut kept = worker.request(length).keep_alive().lease().unwrap().leased().unwrap();
    let first_deadline = kept.deadline();
    let other = store.worker("other", "pc").unwrap();

    let until = std::time::Instant::now() + 5 * length;
    while std::time::Instant::now() < until {
        assert!(matches!(other.lease(length).unwrap(), Leasing::Busy(_)));
        std::thread::sleep(length / 10);
    }

    assert!(kept.deadline() > first_deadline);
    assert_eq!(kept.checkpoint(10, Batch::of(&(0..10), 5 * length)).unwrap(), 10);
    kept.complete().unwrap();
    store.close().unwrap();
}

#[test]
fn dropping_a_lease_gives_the_job_back_and_counts_no_attempt() {
    let scene = Scene::new();
    let job = scene.jobs(&["a"])[0];
    let mut dropped = lease(&scene.pc("first"));
    advance(&mut dropped, 70);
    drop(dropped);

    let next = lease(&scene.pc("second"));

    assert_eq!((next.job(), next.cursor(), next.attempts()), (job, 70, 0));
}

#[test]
fn a_job_fails_for_good_after_its_last_attempt_and_can_be_retried() {
    let scene = Scene::new();
    let job = scene.create_job(NewJob::new("a", 0..100).max_attempts(2)).unwrap();
    let worker = scene.pc("pc-01");

    let mut first = lease(&worker);
    advance(&mut first, 30);
    assert!(!first.fail("the network was down").unwrap());
    let mut second = lease(&worker);
    assert_eq!((second.attempts(), second.cursor()), (1, 30));
    assert!(second.fail("the network was still down").unwrap());

    let failed = scene.snapshot().unwrap().job(job).unwrap().unwrap();
    assert_eq!((failed.status, failed.attempts), (JobStatus::Failed, 2));
    assert_eq!(failed.last_error.as_deref(), Some("the network was still down"));
    assert!(matches!(worker.lease(MINUTE).unwrap(), Leasing::Finished));

    scene.retry_job(job).unwrap();
    let again = lease(&worker);
    assert_eq!((again.attempts(), again.cursor()), (0, 30));
}

/// A job that kills its workers ends as failed, and not in a loop.
#[test]
fn a_job_that_kills_every_worker_fails_after_its_last_attempt() {
    let scene = Scene::new();
    let job = scene.create_job(NewJob::new("deadly", 0..100).max_attempts(3)).unwrap();
    let worker = scene.pc("pc-01");

    for attempt in 0..3 {
        let lease = lease(&worker);
        assert_eq!(lease.attempts(), attempt);
        lease.abandon();
        scene.clock.advance(MINUTE);
    }

    assert!(matches!(worker.lease(MINUTE).unwrap(), Leasing::Finished));
    let failed = scene.snapshot().unwrap().job(job).unwrap().unwrap();
    assert_eq!((failed.status, failed.attempts), (JobStatus::Failed, 3));
}

#[test]
fn a_job_can_be_cancelled_retried_completed_and_deleted() {
    let scene = Scene::new();
    let job = scene.jobs(&["a"])[0];
    let worker = scene.pc("pc-01");
    let mut first = lease(&worker);
    advance(&mut first, 400);
    scene.cancel_job(job).unwrap();
    assert_eq!(scene.snapshot().unwrap().job(job).unwrap().unwrap().status, JobStatus::Cancelled);

    scene.retry_job(job).unwrap();
    let mut second = lease(&worker);
    assert_eq!(second.cursor(), 400);
    let batch = Batch::of(&(400..1_000), Duration::ZERO).finding("key", "payload");
    second.checkpoint(1_000, batch).unwrap();
    second.complete().unwrap();
    scene.delete_job(job).unwrap();

    let view = scene.snapshot().unwrap();
    assert!(view.job(job).unwrap().is_none());
    assert!(view.findings_of(job).unwrap().is_empty());
    assert_eq!(view.lifetime(&worker).unwrap().totals.items, 1_000, "what was done stays counted");
    let (again, new) = scene.find_or_create_job(NewJob::new("a", 0..1_000)).unwrap();
    assert!(new && again != job, "its range is free, and its id is not used again");
}

#[test]
fn jobs_long_without_a_checkpoint_are_handed_back_in_one_call() {
    let scene = Scene::new();
    scene.create_jobs((0..600).map(|n| NewJob::new("keys", n..n + 1))).unwrap();
    let worker = scene.pc("hangs");
    for _ in 0..500 {
        worker.lease(100 * DAY).unwrap().leased().unwrap().abandon();
    }
    scene.clock.advance(DAY);
    let mut fresh = lease(&scene.pc("works"));
    advance(&mut fresh, 1);

    assert_eq!(scene.release_stale(DAY / 2).unwrap(), 500);

    let view = scene.snapshot().unwrap();
    assert_eq!((view.job_counts().pending, view.job_counts().leased), (599, 1));
    assert!(view.jobs(None, 600).unwrap().iter().all(|job| job.attempts == 0));
    fresh.complete().unwrap();
}

/// Promise 4.
#[test]
fn findings_are_stored_with_their_checkpoint_once_by_job_and_key() {
    let scene = Scene::new();
    let jobs = scene.jobs(&["a", "b"]);
    let worker = scene.pc("pc-01");
    let mut first = worker.request(MINUTE).of_job(jobs[0]).lease().unwrap().leased().unwrap();
    let batch = |from: u64| Batch::of(&(from..from + 10), Duration::ZERO);
    first.checkpoint(10, batch(0).finding("k", "one").finding("l", "two")).unwrap();
    first.checkpoint(20, batch(10).finding("k", "another")).unwrap();
    let mut other = worker.request(MINUTE).of_job(jobs[1]).lease().unwrap().leased().unwrap();
    other.checkpoint(10, batch(0).finding("k", "elsewhere")).unwrap();

    let view = scene.snapshot().unwrap();
    let of = |job| -> Vec<(String, String)> {
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        let findings = view.findings_of(job).unwrap().into_iter();
        findings.map(|finding| (text(finding.key), text(finding.payload))).collect()
    };
    let pair = |key: &str, payload: &str| (key.to_string(), payload.to_string());
    assert_eq!(of(jobs[0]), [pair("k", "one"), pair("l", "two")], "the first one stays");
    assert_eq!(of(jobs[1]), [pair("k", "elsewhere")]);
    assert_eq!(view.findings(None, 10).unwrap().len(), 3);
    assert!(view.findings(None, 10).unwrap().iter().all(|finding| !finding.late));
}

/// Promise 3: what was found is worth keeping, though the cursor is somebody else's now.
#[test]
fn a_worker_that_lost_its_lease_can_still_hand_in_a_finding() {
    let scene = Scene::new();
    let job = scene.jobs(&["a"])[0];
    let slow = scene.pc("slow");
    let mut late = lease(&slow);
    scene.clock.advance(MINUTE);
    let mut new = lease(&scene.pc("new"));
    let batch = Batch::of(&(0..10), Duration::ZERO).finding("shared", "by the new one");
    new.checkpoint(10, batch).unwrap();

    let error = refused(&scene, || late.checkpoint(10, Batch::of(&(0..10), Duration::ZERO)));
    assert!(matches!(error, Error::LeaseLost { .. }));
    assert!(slow.late_finding(job, "mine", "worth keeping").unwrap());
    assert!(!slow.late_finding(job, "mine", "again").unwrap());
    assert!(!slow.late_finding(job, "shared", "too late").unwrap());

    let found = scene.snapshot().unwrap().findings_of(job).unwrap();
    let shown: Vec<(&[u8], bool)> = found.iter().map(|f| (&f.key[..], f.late)).collect();
    assert_eq!(shown, [(&b"mine"[..], true), (b"shared", false)]);
    assert_eq!(found[0].worker, slow.id());
    assert_eq!(new.cursor(), 10);
}

/// Promise 12.
#[test]
fn clocks_that_jump_a_year_either_way_lose_no_checkpoint_and_hold_no_job_for_ever() {
    let scene = Scene::new();
    let job = scene.jobs(&["a"])[0];
    scene.clock.advance(365 * DAY);
    let mut ahead = lease(&scene.pc("ahead"));
    advance(&mut ahead, 100);
    ahead.abandon();

    scene.clock.set(crate::support::at(crate::support::NOON));
    let mut next = lease(&scene.pc("next"));

    assert_eq!((next.job(), next.cursor(), next.attempts()), (job, 100, 1));
    advance(&mut next, 100);
    scene.clock.advance(730 * DAY);
    advance(&mut next, 100);
    assert_eq!(next.cursor(), 300);
    let totals = scene.snapshot().unwrap().lifetime(milepost::Scope::Fleet).unwrap().totals;
    assert_eq!((totals.batches, totals.items), (3, 300));
}

/// Promise 12. A request gets its time before it waits for its turn. It once took the lease of
/// another one for the work of a clock that has gone back, because that had been stamped later
/// and overtook it, and so took the job away.
#[test]
fn a_request_stamped_before_the_lease_it_finds_does_not_take_it() {
    let scene = Scene::new();
    scene.jobs(&["a"]);
    scene.clock.advance(Duration::from_secs(30));
    let mut overtook = lease(&scene.pc("overtook"));
    scene.clock.set(crate::support::at(crate::support::NOON));

    let waited = scene.pc("waited").lease(MINUTE).unwrap();

    assert!(matches!(waited, Leasing::Busy(_)), "{waited:?}");
    advance(&mut overtook, 10);
}
