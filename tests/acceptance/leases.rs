//! Leases: who gets which job, for how long, and what a token is worth.

use std::time::Duration;

use milepost::{
    Action, Batch, Error, JobId, Lease, LeaseCommand, LeaseOutcome, LeaseRequest, Lost, NewJob,
    Receipt, Worker,
};

use crate::support::{DAY, MINUTE, Scene, YEAR, advance, lease, refused};

#[track_caller]
fn lease_of(worker: &Worker, job: JobId) -> milepost::Lease {
    let request = worker.request(MINUTE).of_job(job);
    request.send().expect("the store is open").leased().expect("it is waiting")
}

/// Promise 3.
#[test]
fn a_worker_that_restarts_resumes_its_own_lease_at_once() {
    let scene = Scene::new();
    let jobs = scene.jobs(&["a", "b"]);
    let mut before = lease(&scene.pc("restarts"));
    advance(&mut before, 100);
    let old = before.token();

    let worker = scene.pc("restarts");
    let mut after = worker.request(MINUTE).resume().send().unwrap().leased().unwrap();

    assert_eq!((after.job(), after.resumed_at(), after.attempts()), (jobs[0], 100, 0));
    assert_eq!(after.token().get(), old.get() + 1, "it comes under a new token");
    let error = refused(&scene, || before.renew());
    assert!(matches!(error, Error::LeaseLost { why: Lost::Superseded, .. }), "{error:?}");
    advance(&mut after, 10);
}

/// Promise 3.
#[test]
fn without_asking_for_it_a_worker_gets_another_job_than_the_one_it_holds() {
    let scene = Scene::new();
    let jobs = scene.jobs(&["a", "b"]);
    let worker = scene.pc("a");
    let _held = lease(&worker);

    assert_eq!(lease(&worker).job(), jobs[1]);
}

/// Promise 3.
#[test]
fn resuming_takes_neither_the_lease_of_another_worker_nor_an_expired_one() {
    let scene = Scene::new();
    let jobs = scene.jobs(&["a", "b"]);
    let (first, second) = (scene.pc("first"), scene.pc("second"));
    lease(&first).abandon();

    let other = second.request(MINUTE).resume().send().unwrap().leased().unwrap();
    assert_eq!(other.job(), jobs[1], "the first one's is not its own");
    scene.clock.advance(MINUTE);
    let again = first.request(MINUTE).resume().send().unwrap().leased().unwrap();

    assert_eq!((again.job(), again.attempts()), (jobs[0], 1), "it expired, which is an attempt");
}

/// Promise 3.
#[test]
fn resuming_is_narrowed_to_the_job_or_prefix_asked_for() {
    let scene = Scene::new();
    let jobs = scene.jobs(&["a", "b", "c"]);
    let worker = scene.pc("a");
    lease_of(&worker, jobs[0]).abandon();
    lease_of(&worker, jobs[1]).abandon();

    let b = worker.request(MINUTE).resume().of_prefix("b").send().unwrap().leased().unwrap();
    let c = worker.request(MINUTE).resume().of_job(jobs[2]).send().unwrap().leased().unwrap();

    assert_eq!((b.job(), b.token().get()), (jobs[1], 2));
    assert_eq!((c.job(), c.token().get()), (jobs[2], 1));
}

/// Promise 3.
#[test]
fn jobs_go_by_the_workers_last_prefix_then_by_priority_then_by_age() {
    let scene = Scene::new();
    let create = |prefix: &str, start: u64, priority: i32| {
        scene.create_job(NewJob::new(prefix, start..start + 10).priority(priority)).unwrap()
    };
    let known = create("known", 0, 0);
    let worker = scene.pc("a");
    let mut first = lease(&worker);
    advance(&mut first, 10);
    let low = create("other", 0, -5);
    let old = create("other", 10, 0);
    let young = create("another", 0, 0);
    let high = create("other", 20, 9);
    let highest = create("another", 10, i32::MAX);
    let known_low = create("known", 10, i32::MIN);
    let known_high = create("known", 20, 1);

    assert_eq!(first.job(), known);
    // A new worker has no prefix yet; each one's first lease gives it one.
    let order: Vec<JobId> = (0..2)
        .map(|n| {
            let lease = lease(&scene.pc(&format!("new {n}")));
            let job = lease.job();
            lease.abandon();
            job
        })
        .collect();
    assert_eq!(order, [highest, high], "by priority");
    let own = [lease(&worker), lease(&worker)];
    assert_eq!(own.each_ref().map(milepost::Lease::job), [known_high, known_low], "by prefix");
    let rest = ["x", "y", "z"].map(|name| lease(&scene.pc(name)));
    assert_eq!(rest.each_ref().map(milepost::Lease::job), [old, young, low], "by age");
}

/// Promise 3.
#[test]
fn a_job_of_a_workers_last_prefix_comes_before_one_of_higher_priority() {
    let scene = Scene::new();
    scene.create_job(NewJob::new("mine", 0..10)).unwrap();
    let worker = scene.pc("a");
    lease(&worker).abandon();
    let mine = scene.create_job(NewJob::new("mine", 10..20)).unwrap();
    let urgent = scene.create_job(NewJob::new("urgent", 0..10).priority(100)).unwrap();

    let (first, second) = (lease(&worker), lease(&worker));

    assert_eq!((first.job(), second.job()), (mine, urgent));
}

/// Promise 3: the work it holds is half done.
#[test]
fn an_expired_lease_is_not_starved_by_jobs_that_wait() {
    let scene = Scene::new();
    let old = scene.create_job(NewJob::new("keys", 0..1_000)).unwrap();
    let mut crashed = lease(&scene.pc("crashed"));
    advance(&mut crashed, 500);
    crashed.abandon();
    for n in 1..50 {
        scene.create_job(NewJob::new("keys", n * 1_000..n * 1_000 + 1_000)).unwrap();
    }

    scene.clock.advance(MINUTE);
    let next = lease(&scene.pc("other"));

    assert_eq!((next.job(), next.resumed_at()), (old, 500));
}

/// Promise 3.
#[test]
fn a_lease_of_a_named_job_or_of_a_prefix_is_of_nothing_else() {
    let scene = Scene::new();
    let jobs = scene.jobs(&["a", "ab", "b"]);
    let worker = scene.pc("w");

    let of_prefix = worker.request(MINUTE).of_prefix("ab").send().unwrap().leased().unwrap();
    let of_job = lease_of(&worker, jobs[2]);
    let busy = worker.request(MINUTE).of_job(jobs[2]).send().unwrap();
    let ended = scene.create_job(NewJob::new("none", 0..10)).unwrap();
    scene.cancel_job(ended).unwrap();
    let none = worker.request(MINUTE).of_prefix("none").send().unwrap();

    assert_eq!((of_prefix.job(), of_job.job()), (jobs[1], jobs[2]));
    assert!(matches!(busy, LeaseOutcome::Busy(_)), "although another job waits");
    assert!(matches!(none, LeaseOutcome::Finished), "although another job waits");
}

/// Promise 3.
#[test]
fn the_outcome_distinguishes_all_jobs_leased_from_nothing_left_to_do() {
    let scene = Scene::new();
    scene.jobs(&["a", "b"]);
    let worker = scene.pc("w");
    let mut first = lease(&worker);
    scene.clock.advance(Duration::from_secs(10));
    let mut second = worker.request(10 * MINUTE).send().unwrap().leased().unwrap();

    let LeaseOutcome::Busy(busy) = worker.request(MINUTE).send().unwrap() else {
        panic!("both are held")
    };
    assert_eq!(busy.until(), first.deadline());
    scene.clock.advance(Duration::from_secs(40));
    first.renew().unwrap();
    let LeaseOutcome::Busy(busy) = worker.request(MINUTE).send().unwrap() else {
        panic!("both are held")
    };
    assert_eq!(busy.until(), scene.now().saturating_add(MINUTE), "it was renewed");

    advance(&mut first, 1_000);
    let LeaseOutcome::Busy(busy) = worker.request(MINUTE).send().unwrap() else {
        panic!("one is held")
    };
    assert_eq!(busy.until(), second.deadline());
    advance(&mut second, 1_000);
    assert!(matches!(worker.request(MINUTE).send().unwrap(), LeaseOutcome::Finished));
}

/// Promise 3.
#[test]
fn waiting_takes_over_the_job_of_a_crashed_worker() {
    let scene = Scene::new();
    scene.jobs(&["a"]);
    let mut crashed = lease(&scene.pc("crashed"));
    advance(&mut crashed, 300);
    crashed.abandon();
    let asked = scene.pc("other").request(MINUTE).send().unwrap();
    assert!(matches!(asked, LeaseOutcome::Busy(_)));

    scene.clock.advance(MINUTE);
    let lease = asked.wait().unwrap().leased().unwrap();

    assert_eq!(lease.resumed_at(), 300);
}

/// Promise 3.
#[test]
fn a_lease_expires_at_its_deadline_and_not_before() {
    let scene = Scene::new();
    scene.jobs(&["a"]);
    let held = lease(&scene.pc("a"));
    let other = scene.pc("b");
    assert_eq!(held.deadline(), scene.now().saturating_add(MINUTE));
    held.abandon();

    scene.clock.advance(MINUTE - Duration::from_micros(1));
    assert!(other.request(MINUTE).send().unwrap().leased().is_none());
    scene.clock.advance(Duration::from_micros(1));
    assert!(other.request(MINUTE).send().unwrap().leased().is_some());
}

/// Promise 3.
#[test]
fn a_holder_whose_lease_expired_may_go_on_while_its_job_is_not_leased_again() {
    let scene = Scene::new();
    scene.jobs(&["a", "b"]);
    let (slow, other) = (scene.pc("slow"), scene.pc("other"));
    let mut first = lease(&slow);

    scene.clock.advance(DAY);
    advance(&mut first, 10);
    assert_eq!(first.deadline(), scene.now().saturating_add(MINUTE), "a checkpoint renews");

    // It goes back to the queue when somebody asks for a job, and may be taken back from there.
    scene.clock.advance(DAY);
    let of_b = other.request(MINUTE).of_prefix("b").send().unwrap();
    let _second = of_b.leased().expect("a job was waiting");
    assert_eq!(scene.snapshot().unwrap().job_counts().pending, 1);
    assert_eq!(first.renew().unwrap(), scene.now().saturating_add(MINUTE));
    assert!(other.request(MINUTE).send().unwrap().leased().is_none(), "it is held again");
    advance(&mut first, 990);
}

/// Promises 3 and 13.
#[test]
fn a_retired_token_may_not_go_on() {
    type Retire = fn(&Scene, &mut milepost::Lease);
    let retire: [(&str, Lost, Retire); 5] = [
        ("released", Lost::Released, |_, lease| lease.release().expect("it is held")),
        ("failed", Lost::Released, |_, lease| {
            assert!(!lease.fail("no luck").expect("it is held").is_failed())
        }),
        ("stale", Lost::Released, |scene, _| {
            scene.clock.advance(DAY);
            assert_eq!(scene.release_stale(MINUTE).expect("the store is open"), 1);
        }),
        ("cancelled", Lost::Cancelled, |scene, lease| {
            scene.cancel_job(lease.job()).expect("it is held");
        }),
        ("completed", Lost::Completed, |_, lease| {
            advance(lease, 500);
            advance(lease, 500);
        }),
    ];
    for (name, why, retire) in retire {
        let scene = Scene::new();
        scene.jobs(&["a"]);
        let mut held = lease(&scene.pc("a"));
        retire(&scene, &mut held);
        let sequence = if why == Lost::Completed { 3 } else { 2 };

        let (job, token) = (held.job(), held.token());
        for action in [Action::Renew, Action::Release] {
            let command = LeaseCommand::new(job, token, sequence, action);
            let error = refused(&scene, || scene.submit(command));

            assert!(
                matches!(error, Error::LeaseLost { why: found, .. } if found == why),
                "{name}: {error:?}"
            );
        }
    }
}

/// Promise 3.
#[test]
fn renewing_extends_the_lease_without_a_checkpoint() {
    let scene = Scene::new();
    let job = scene.jobs(&["a"])[0];
    let mut held = lease(&scene.pc("a"));

    for _ in 0..10 {
        scene.clock.advance(Duration::from_secs(59));
        assert_eq!(held.renew().unwrap(), scene.now().saturating_add(MINUTE));
        assert!(scene.pc("b").request(MINUTE).send().unwrap().leased().is_none());
    }

    let stored = scene.snapshot().unwrap().job(job).unwrap().unwrap();
    assert_eq!((stored.cursor, stored.batches, stored.deadline), (0, 0, Some(held.deadline())));
}

/// Promise 3.
#[test]
fn dropping_a_lease_gives_the_job_back_with_no_attempt_counted() {
    let scene = Scene::new();
    scene.jobs(&["a"]);
    let mut held = lease(&scene.pc("a"));
    advance(&mut held, 10);
    let token = held.token();

    drop(held);

    let next = lease(&scene.pc("b"));
    assert_eq!((next.resumed_at(), next.attempts()), (10, 0));
    assert_eq!(next.token().get(), token.get() + 1);
}

/// Promise 4.
#[test]
fn the_last_command_repeated_gets_its_first_result_and_adds_nothing() {
    let scene = Scene::new();
    scene.jobs(&["a"]);
    let worker = scene.pc("a");
    let held = lease(&worker);
    let (job, token) = (held.job(), held.token());
    held.abandon();
    let batch = Batch::new(0..10, MINUTE).with_finding("key", "payload");
    let to_ten = Action::Checkpoint(batch);
    let rest = Action::Checkpoint(Batch::new(10..1_000, MINUTE));
    let actions = [to_ten, Action::Renew, rest];

    for (action, sequence) in actions.into_iter().zip(1..) {
        let command = LeaseCommand::new(job, token, sequence, action);
        let first = scene.submit(command.clone()).unwrap();
        let before = crate::support::dump(&scene);
        scene.clock.advance(DAY);

        assert_eq!(scene.submit(command).unwrap(), first);
        assert!(crate::support::dump(&scene) == before);
    }
    assert_eq!(scene.snapshot().unwrap().lifetime(&worker).unwrap().totals.batches, 2);
}

/// Promise 4.
#[test]
fn what_ends_a_lease_can_be_repeated_until_the_job_is_leased_again() {
    for (action, receipt) in [
        (Action::Release, Receipt::Released),
        (
            Action::Fail { reason: "no luck".into(), batch: None },
            Receipt::Failed(milepost::FailOutcome::Requeued { attempts: 1 }),
        ),
    ] {
        let scene = Scene::new();
        scene.jobs(&["a"]);
        let held = lease(&scene.pc("a"));
        let command = LeaseCommand::new(held.job(), held.token(), 1, action);
        held.abandon();

        assert_eq!(scene.submit(command.clone()).unwrap(), receipt);
        assert_eq!(scene.submit(command.clone()).unwrap(), receipt);

        let _next = lease(&scene.pc("b"));
        let error = refused(&scene, || scene.submit(command));
        assert!(matches!(error, Error::LeaseLost { why: Lost::Superseded, .. }), "{error:?}");
    }
}

/// Promise 12.
#[test]
fn a_clock_that_jumps_may_end_a_lease_early_but_loses_nothing() {
    let scene = Scene::new();
    let job = scene.jobs(&["a"])[0];
    let mut ahead = lease(&scene.pc("ahead"));
    advance(&mut ahead, 10);

    scene.clock.set(scene.now().saturating_sub(YEAR));
    let other = scene.pc("back");
    assert!(
        other.request(MINUTE).send().unwrap().leased().is_none(),
        "its deadline is brought forward"
    );
    scene.clock.advance(MINUTE);
    let mut back = lease(&other);

    assert_eq!((back.job(), back.resumed_at()), (job, 10));
    assert!(matches!(refused(&scene, || ahead.renew()), Error::LeaseLost { .. }));
    advance(&mut back, 10);
    scene.clock.advance(10 * YEAR);
    advance(&mut back, 10);
    assert_eq!(back.cursor(), 30);
}

/// A worker that resumes looks at a bounded number of the jobs that it holds.
#[test]
fn a_worker_that_holds_many_jobs_resumes_one_of_the_oldest_or_the_one_it_names() {
    let scene = Scene::in_memory();
    let last = |prefix: &str| NewJob::new(prefix, 1_000..2_000);
    let many = (0..255).map(|n| NewJob::new("many", n * 10..n * 10 + 10));
    let jobs = scene.create_jobs(many.chain([last("near"), last("far")])).unwrap();
    let worker = scene.pc("w");
    let held: Vec<Lease> = jobs.iter().map(|_| lease(&worker)).collect();
    held.into_iter().for_each(Lease::abandon);
    let resume = || worker.request(MINUTE).resume();
    let job_of = |request: LeaseRequest| {
        request.send().unwrap().leased().map(|lease| {
            let job = lease.job();
            lease.abandon();
            job
        })
    };

    assert_eq!(job_of(resume()), Some(jobs[0]));
    assert_eq!(job_of(resume().of_prefix("near")), Some(jobs[255]));
    assert_eq!(job_of(resume().of_prefix("far")), None);
    assert_eq!(job_of(resume().of_job(jobs[256])), Some(jobs[256]));

    assert_eq!(job_of(scene.pc("other").request(MINUTE).resume().of_job(jobs[0])), None);
}
