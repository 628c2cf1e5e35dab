//! Bad input: each kind gets its own clear error, and changes nothing. [`refused`] compares a dump
//! of the whole store before and after (promise 13).

use std::time::Duration;

use milepost::{
    Action, Batch, Error, Import, JobId, JobStatus, LeaseCommand, NewJob, Receipt, Token, WorkerId,
};

use crate::ledger::{past, totals_of_day};
use crate::support::{MINUTE, NOON, Scene, advance, at, day, dump, lease, month, refused};

/// A store with something in it, so that a command could break something.
fn scene() -> Scene {
    let scene = Scene::with(|builder| builder.history_limit(2));
    scene.jobs(&["a"]);
    let mut lease = lease(&scene.pc("pc-01"));
    for _ in 0..4 {
        advance(&mut lease, 10);
    }
    lease.abandon();
    scene
}

#[track_caller]
fn says(error: &Error, words: &[&str]) {
    let text = error.to_string();
    for word in words {
        assert!(text.contains(word), "{text:?} does not say {word:?}");
    }
    let first = text.chars().next().unwrap_or_default();
    assert!(!first.is_uppercase() && !text.ends_with('.'), "{text:?} is not a clause");
}

#[test]
fn empty_and_overlong_worker_names_and_kinds_are_refused() {
    let scene = scene();
    let long = "n".repeat(256);

    says(&refused(&scene, || scene.worker("", "pc")), &["worker name", "empty"]);
    says(&refused(&scene, || scene.worker(&long, "pc")), &["worker name", "256", "255"]);
    says(&refused(&scene, || scene.worker("pc-02", "")), &["worker kind", "empty"]);
    says(&refused(&scene, || scene.worker("pc-02", &long[..65])), &["worker kind", "65", "64"]);
    scene.worker(&long[..255], &long[..64]).unwrap();
}

#[test]
fn empty_and_overlong_prefixes_are_refused() {
    let scene = scene();
    let create = |prefix: &[u8]| scene.create_job(NewJob::new(prefix, 0..10));

    says(&refused(&scene, || create(b"")), &["prefix", "empty"]);
    says(&refused(&scene, || create(&[7; 256])), &["prefix", "256", "255"]);
    let request = || scene.pc("pc-01").request(MINUTE).of_prefix([7; 256]).lease();
    scene.pc("pc-01");
    let before = dump(&scene);
    says(&request().unwrap_err(), &["prefix", "256"]);
    assert!(dump(&scene) == before);
    create(&[7; 255]).unwrap();
}

#[test]
#[expect(clippy::reversed_empty_ranges, reason = "that is what is refused")]
fn empty_and_reversed_ranges_are_refused() {
    let scene = scene();
    for range in [5..5, 9..3, u64::MAX..u64::MAX] {
        let words = format!("{}..{}", range.start, range.end);
        let error = refused(&scene, || scene.create_job(NewJob::new("b", range.clone())));
        assert!(matches!(error, Error::EmptyRange { .. }));
        says(&error, &[&words]);
        refused(&scene, || scene.find_or_create_job(NewJob::new("b", range)));
    }
}

#[test]
fn a_range_that_overlaps_another_job_of_its_prefix_is_refused_naming_that_job() {
    let scene = scene();
    let middle = scene.create_job(NewJob::new("b", 100..200)).unwrap();
    for range in [100..200, 150..160, 50..101, 199..300, 0..1_000] {
        let error = refused(&scene, || scene.create_job(NewJob::new("b", range.clone())));
        assert!(matches!(error, Error::Overlap { other: Some(other), .. } if other == middle));
        says(&error, &[&format!("job {middle}"), "100..200"]);
    }
    // All or none: the second of these is free, and not created either.
    let jobs = || [NewJob::new("b", 150..160), NewJob::new("b", 300..400)];
    refused(&scene, || scene.create_jobs(jobs()));
    let among = || [NewJob::new("c", 0..10), NewJob::new("d", 0..10), NewJob::new("c", 9..20)];
    says(&refused(&scene, || scene.create_jobs(among())), &["another job of the same call"]);
    let other_range = NewJob::new("b", 100..201);
    refused(&scene, || scene.find_or_create_job(other_range));

    for neighbour in [0..100, 200..300] {
        scene.create_job(NewJob::new("b", neighbour)).unwrap();
    }
    scene.create_job(NewJob::new("bb", 100..200)).unwrap();
}

#[test]
fn unknown_jobs_and_workers_are_named() {
    let scene = scene();
    let unknown = JobId::from_number(1_234);
    type Call = fn(&Scene, JobId) -> milepost::Result<()>;
    let calls: [Call; 4] = [
        |scene, job| scene.cancel_job(job),
        |scene, job| scene.retry_job(job),
        |scene, job| scene.delete_job(job),
        |scene, job| {
            let (token, action) = (Token::from_number(1), Action::Renew);
            scene.submit(LeaseCommand { job, token, sequence: 1, action }).map(|_| ())
        },
    ];
    for call in calls {
        says(&refused(&scene, || call(&scene, unknown)), &["no job 1234"]);
    }
    let worker = scene.pc("pc-01");
    let late = || worker.late_finding(unknown, "key", "payload");
    says(&refused(&scene, late), &["no job 1234"]);
    let nobody = WorkerId::from_number(77);
    let import = || scene.import(Import::new("id").history(past(nobody, at(NOON), 1, 1)));
    says(&refused(&scene, import), &["no worker number 77"]);
    assert!(scene.find_worker("nobody").unwrap().is_none());
}

#[test]
fn what_a_jobs_status_does_not_allow_is_refused() {
    let scene = scene();
    let job = JobId::from_number(1);

    let error = refused(&scene, || scene.retry_job(job));
    assert!(matches!(error, Error::Status { status: JobStatus::Leased, .. }));
    says(&error, &["retry job 1", "leased"]);
    says(&refused(&scene, || scene.delete_job(job)), &["delete job 1", "leased"]);
    scene.cancel_job(job).unwrap();
    says(&refused(&scene, || scene.cancel_job(job)), &["cancel job 1", "cancelled"]);
    let none = || scene.create_job(NewJob::new("b", 0..1).max_attempts(0));
    says(&refused(&scene, none), &["max_attempts"]);
}

/// Promises 3 and 4.
#[test]
fn foreign_and_stale_tokens_and_wrong_sequence_numbers_are_refused() {
    let scene = scene();
    let (worker, job) = (scene.pc("pc-02"), JobId::from_number(1));
    scene.clock.advance(MINUTE);
    let held = worker.request(MINUTE).of_job(job).lease().unwrap().leased().unwrap();
    let token = held.token();
    held.abandon();
    let renew = |token: Token, sequence: u64| {
        scene.submit(LeaseCommand { job, token, sequence, action: Action::Renew })
    };

    for wrong in [0, token.number() - 1, token.number() + 1, u64::MAX] {
        let error = refused(&scene, || renew(Token::from_number(wrong), 1));
        assert!(matches!(error, Error::LeaseLost { .. }), "{error:?}");
        says(&error, &[&format!("token {wrong}")]);
    }
    for wrong in [0, 2, u64::MAX] {
        let error = refused(&scene, || renew(token, wrong));
        assert!(matches!(error, Error::OutOfSequence { expected: 1, .. }), "{error:?}");
    }
    let first = renew(token, 1).unwrap();
    scene.clock.advance(Duration::from_secs(9));
    let before = dump(&scene);
    assert_eq!(renew(token, 1).unwrap(), first, "repeated, it gets its first answer");
    assert!(dump(&scene) == before);
    let release =
        || scene.submit(LeaseCommand { job, token, sequence: 1, action: Action::Release });
    says(&refused(&scene, release), &["command 1 of job 1", "other content"]);
}

/// Promises 2 and 4.
#[test]
fn cursors_behind_past_the_end_and_repeated_are_refused() {
    let scene = scene();
    let (worker, job) = (scene.pc("pc-01"), JobId::from_number(1));
    let lease = worker.request(MINUTE).resume().lease().unwrap().leased().unwrap();
    let (token, cursor) = (lease.token(), lease.cursor());
    lease.abandon();
    assert_eq!(cursor, 40);
    let checkpoint = |sequence: u64, from: u64, to: u64| {
        let batch = Batch::of(&(from..to), Duration::from_secs(1));
        let action = Action::Checkpoint { from, to, batch };
        scene.submit(LeaseCommand { job, token, sequence, action })
    };

    for (from, to) in [(30, 50), (50, 60), (40, 40), (40, 39), (40, 1_001), (40, u64::MAX)] {
        let error = refused(&scene, || checkpoint(1, from, to));
        assert!(matches!(error, Error::Cursor { cursor: 40, end: 1_000, .. }), "{error:?}");
    }
    says(&checkpoint(1, 40, 1_001).unwrap_err(), &["past the end", "1000"]);
    says(&checkpoint(1, 30, 50).unwrap_err(), &["starts at 30", "cursor is at 40"]);
    says(&checkpoint(1, 40, 40).unwrap_err(), &["forward from 40"]);

    let moved = checkpoint(1, 40, 50).unwrap();
    let before = dump(&scene);
    assert_eq!(checkpoint(1, 40, 50).unwrap(), moved, "the same again adds nothing");
    assert!(dump(&scene) == before);
    assert!(matches!(moved, Receipt::Moved { cursor: 50, .. }));
    let error = refused(&scene, || checkpoint(2, 40, 50));
    assert!(matches!(error, Error::Cursor { .. }), "done already, and not the last command");
}

#[test]
fn completing_early_says_how_much_is_left() {
    let scene = scene();
    let worker = scene.pc("pc-01");
    let mut lease = worker.request(MINUTE).resume().lease().unwrap().leased().unwrap();

    let error = refused(&scene, || lease.complete());

    assert!(matches!(error, Error::Incomplete { left: 960, .. }));
    says(&error, &["job 1", "960"]);
    advance(&mut lease, 960);
    lease.complete().unwrap();
}

#[test]
fn a_prefix_that_is_no_text_works_like_any_other() {
    let scene = scene();
    let prefix = [0xff, 0x00, 0xfe, 0x80];
    let job = scene.create_job(NewJob::new(prefix, 0..100)).unwrap();
    let worker = scene.pc("pc-02");

    let mut held = worker.request(MINUTE).of_prefix(prefix).lease().unwrap().leased().unwrap();
    advance(&mut held, 100);
    held.complete().unwrap();

    let view = scene.snapshot().unwrap();
    assert_eq!(*view.job(job).unwrap().unwrap().prefix, prefix);
    assert_eq!(view.jobs_of_prefix(&prefix).unwrap().len(), 1);
    let progress = view.progress(&prefix).unwrap().unwrap();
    assert_eq!((progress.prefix.to_string(), progress.share), ("0xff00fe80".to_string(), 1.0));
    let error = refused(&scene, || scene.create_job(NewJob::new(prefix, 50..60)));
    assert!(matches!(error, Error::Overlap { .. }));
}

#[test]
fn what_is_too_long_for_a_checkpoint_is_refused_or_cut_as_documented() {
    let scene = scene();
    let worker = scene.pc("pc-01");
    let mut lease = worker.request(MINUTE).resume().lease().unwrap().leased().unwrap();
    let batch = || Batch::of(&(40..50), Duration::ZERO);

    let key = batch().finding([0; 256], []);
    says(&refused(&scene, || lease.checkpoint(50, key)), &["finding key", "256", "255"]);
    let no_key = batch().finding([], "payload");
    says(&refused(&scene, || lease.checkpoint(50, no_key)), &["finding key", "empty"]);
    let payload = batch().finding("key", vec![0; 65_537]);
    says(&refused(&scene, || lease.checkpoint(50, payload)), &["payload", "65537", "65536"]);
    let many = (0..1_025u32).fold(batch(), |batch, n| batch.finding(n.to_be_bytes(), []));
    says(&refused(&scene, || lease.checkpoint(50, many)), &["findings", "1025", "1024"]);

    let full = (0..20u32).fold(batch(), |b, n| b.finding(n.to_be_bytes(), vec![7; 65_536]));
    lease.checkpoint(50, full.error("e".repeat(2_000))).unwrap();
    let view = scene.snapshot().unwrap();
    assert_eq!(view.findings_of(lease.job()).unwrap().len(), 20);
    let error = view.newest_errors(1).unwrap().pop().unwrap().error.unwrap();
    assert_eq!(error.len(), 512);
}

#[test]
fn leases_of_no_time_and_of_centuries_are_refused() {
    let scene = scene();
    let worker = scene.pc("pc-01");

    for length in [Duration::ZERO, Duration::from_secs(1 << 40), Duration::MAX] {
        says(&refused(&scene, || worker.lease(length)), &["lease", "ten years"]);
    }
}

#[test]
fn imports_that_contradict_themselves_or_would_overflow_are_refused_whole() {
    let scene = scene();
    let worker = scene.pc("pc-01").id();
    let good = totals_of_day(day("2026-01-05"), 1);
    let refuse = |import: Import, words: &[&str]| {
        says(&refused(&scene, || scene.import(import)), words);
    };

    refuse(Import::new(""), &["import id", "empty"]);
    refuse(Import::new("i".repeat(65)), &["import id", "65"]);
    let other_day = Import::new("id").daily(worker, day("2026-01-06"), good);
    refuse(other_day, &["2026-01-06", "outside"]);
    let other_month = Import::new("id").monthly(worker, month("2026-02"), good);
    refuse(other_month, &["2026-02", "outside"]);
    let mut wrong = good;
    wrong.batches = 0;
    refuse(Import::new("id").lifetime(worker, wrong), &["no batch"]);
    wrong = good;
    wrong.errors = good.batches + 1;
    refuse(Import::new("id").lifetime(worker, wrong), &["more errors"]);
    wrong = good;
    wrong.max_rate = Some(f64::NAN);
    refuse(Import::new("id").lifetime(worker, wrong), &["rate"]);
    wrong = good;
    wrong.items = u128::MAX;
    let with_a_good_one =
        Import::new("id").daily(worker, day("2026-01-05"), good).lifetime(worker, wrong);
    refuse(with_a_good_one, &["too large"]);

    assert!(scene.import(Import::new("id").daily(worker, day("2026-01-05"), good)).unwrap());
    let other = Import::new("id").monthly(worker, month("2026-01"), good);
    refuse(other, &["\"id\"", "other records"]);
}

#[test]
fn a_lease_that_ended_takes_no_more_commands() {
    let scene = scene();
    let worker = scene.pc("pc-01");
    let mut lease = worker.request(MINUTE).resume().lease().unwrap().leased().unwrap();
    lease.release().unwrap();

    says(&refused(&scene, || lease.release()), &["already ended"]);
    says(&refused(&scene, || lease.renew()), &["already ended"]);
    says(&refused(&scene, || lease.complete()), &["already ended"]);
}
