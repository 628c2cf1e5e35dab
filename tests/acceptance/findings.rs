//! Findings: kept with the checkpoint that reports them, one under each key of a job.

use std::time::Duration;

use milepost::{Action, Batch, Error, FindingOutcome, LeaseCommand, NewFinding, NewJob, limits};

use crate::support::{DAY, MINUTE, Scene, advance, at, dump, lease, refused};

/// Promise 4.
#[test]
fn a_finding_is_stored_with_the_checkpoint_that_reports_it_or_not_at_all() {
    let scene = Scene::new();
    let job = scene.jobs(&["a"])[0];
    let worker = scene.pc("a");
    let mut lease = lease(&worker);
    let found = |from: u64, to: u64| Batch::new(from..to, MINUTE).with_finding([7u8], "payload");

    let error = refused(&scene, || lease.checkpoint(found(0, 2_000)));
    assert!(matches!(error, Error::CursorMismatch { .. }), "{error:?}");
    lease.checkpoint(found(0, 10)).unwrap();

    let findings = scene.snapshot().unwrap().findings_of(job, None, usize::MAX).unwrap();
    assert_eq!(findings.len(), 1);
    let finding = &findings[0];
    assert_eq!((&finding.key[..], &finding.payload[..]), (&[7u8][..], &b"payload"[..]));
    assert_eq!((finding.job, finding.worker, finding.late), (job, worker.id(), false));
    assert_eq!(finding.found_at, at(crate::support::NOON));
}

/// Promise 4.
#[test]
fn findings_are_unique_by_job_and_key_and_the_first_one_stays() {
    let scene = Scene::new();
    let jobs = scene.jobs(&["a", "b"]);
    let worker = scene.pc("w");
    for _ in 0..2 {
        let mut lease = lease(&worker);
        for n in 0..3u64 {
            let range = lease.next_batch(1).unwrap().range();
            let batch = Batch::new(range, MINUTE)
                .with_finding("key", format!("payload {n}"))
                .with_finding("key", "the second one of the batch");
            lease.checkpoint(batch).unwrap();
        }
        lease.abandon();
    }

    let view = scene.snapshot().unwrap();
    let all = view.findings(None, 10).unwrap();
    assert_eq!(all.iter().map(|finding| finding.job).collect::<Vec<_>>(), jobs);
    assert!(all.iter().all(|finding| finding.payload == b"payload 0"));
}

/// Promise 4.
#[test]
fn a_checkpoint_that_is_repeated_adds_no_finding() {
    let scene = Scene::new();
    scene.jobs(&["a"]);
    let held = lease(&scene.pc("a"));
    let batch = Batch::new(0..10, MINUTE).with_finding("one", "1").with_finding("two", "2");
    let command = LeaseCommand::new(held.job(), held.token(), 1, Action::Checkpoint(batch));
    held.abandon();
    scene.submit(command.clone()).unwrap();
    let before = dump(&scene);

    scene.submit(command).unwrap();

    assert!(dump(&scene) == before);
    assert_eq!(scene.snapshot().unwrap().findings(None, 10).unwrap().len(), 2);
}

/// Promise 3.
#[test]
fn a_worker_that_lost_its_lease_can_still_hand_in_a_finding_and_it_is_marked_late() {
    let scene = Scene::new();
    let job = scene.jobs(&["a"])[0];
    let (slow, other) = (scene.pc("slow"), scene.pc("other"));
    let mut lost = lease(&slow);
    scene.clock.advance(DAY);
    let mut taken = lease(&other);
    let batch = Batch::new(0..10, MINUTE).with_finding("late", "payload");
    assert!(matches!(lost.checkpoint(batch), Err(Error::LeaseLost { .. })));

    let late = |payload: &str| slow.add_finding(job, NewFinding::new("late", payload)).unwrap();
    assert_eq!(late("payload"), FindingOutcome::Stored);
    let before = dump(&scene);
    assert_eq!(late("other payload"), FindingOutcome::AlreadyStored, "the first one stays");
    assert!(dump(&scene) == before);
    let batch =
        Batch::new(0..10, MINUTE).with_finding("late", "in time").with_finding("key", "in time");
    taken.checkpoint(batch).unwrap();

    let findings = scene.snapshot().unwrap().findings_of(job, None, usize::MAX).unwrap();
    let found: Vec<_> = findings.iter().map(|f| (&f.key[..], f.late, f.worker)).collect();
    assert_eq!(found, [(&b"key"[..], false, other.id()), (&b"late"[..], true, slow.id())]);
    assert_eq!(findings[1].payload, b"payload");
}

/// Promise 3: also when the job is long done.
#[test]
fn a_late_finding_is_taken_for_a_job_that_has_ended_but_not_for_one_that_is_gone() {
    let scene = Scene::new();
    let job = scene.jobs(&["a"])[0];
    let worker = scene.pc("a");
    let mut held = lease(&worker);
    advance(&mut held, 1_000);

    let stored = worker.add_finding(job, NewFinding::new("key", "payload")).unwrap();
    assert_eq!(stored, FindingOutcome::Stored);
    scene.delete_job(job).unwrap();

    let error = refused(&scene, || worker.add_finding(job, NewFinding::new("other", "payload")));
    assert!(matches!(error, Error::UnknownJob(of) if of == job), "{error:?}");
    assert!(scene.snapshot().unwrap().findings(None, 10).unwrap().is_empty());
}

/// Promise 10.
#[test]
fn findings_are_listed_per_job_and_overall_page_by_page() {
    let scene = Scene::new();
    let jobs = scene.jobs(&["a", "b", "c"]);
    let worker = scene.pc("w");
    for (job, count) in jobs.iter().zip([3u8, 0, 4]) {
        for key in 0..count {
            worker.add_finding(*job, NewFinding::new([key], [key])).unwrap();
        }
    }

    let view = scene.snapshot().unwrap();
    assert_eq!(
        jobs.iter()
            .map(|job| view.findings_of(*job, None, usize::MAX).unwrap().len())
            .collect::<Vec<_>>(),
        [3, 0, 4]
    );
    let mut pages = Vec::new();
    let mut after: Option<(milepost::JobId, Vec<u8>)> = None;
    loop {
        let page = view.findings(after.as_ref().map(|(job, key)| (*job, &key[..])), 2).unwrap();
        let Some(last) = page.last() else { break };
        after = Some((last.job, last.key.clone()));
        pages.push(page);
    }
    assert_eq!(pages.iter().map(Vec::len).collect::<Vec<_>>(), [2, 2, 2, 1]);
    assert_eq!(pages.concat(), view.findings(None, usize::MAX).unwrap());
}

/// Promises 13 and 14: exactly the limit is taken, and one over is not.
#[test]
fn findings_at_their_limits_are_taken_and_over_them_refused() {
    let scene = Scene::new();
    scene.create_job(NewJob::new("a", 0..1_000)).unwrap();
    let mut lease = lease(&scene.pc("a"));
    let of = |n: u64| Batch::new(n..n + 1, Duration::ZERO);
    let many = |batch: Batch, count: usize| {
        (0..count).fold(batch, |batch, n| batch.with_finding(n.to_be_bytes(), "it"))
    };

    lease.checkpoint(many(of(0), limits::FINDINGS)).unwrap();
    lease.checkpoint(of(1).with_finding(vec![1; limits::FINDING_KEY], "")).unwrap();
    lease.checkpoint(of(2).with_finding("large", vec![2; limits::FINDING_PAYLOAD])).unwrap();

    for (batch, what) in [
        (
            many(of(3), limits::FINDINGS + 1),
            "the list of findings has a length of 1025, over the limit of 1024",
        ),
        (of(3).with_finding("", ""), "the finding key is empty"),
        (
            of(3).with_finding(vec![1; limits::FINDING_KEY + 1], ""),
            "the finding key has a length of 256",
        ),
        (
            of(3).with_finding("k", vec![2; limits::FINDING_PAYLOAD + 1]),
            "the finding payload has a length of 65537",
        ),
    ] {
        let error = refused(&scene, || lease.checkpoint(batch));
        assert!(matches!(error, Error::InvalidLength { .. }), "{error:?}");
        assert!(error.to_string().starts_with(what), "{error}");
    }
    let stored = scene.snapshot().unwrap().findings_of(lease.job(), None, usize::MAX).unwrap();
    assert_eq!(stored.len(), limits::FINDINGS + 2);
}
