//! Input that is wrong whatever the store holds: each gets its own clear error, and changes
//! nothing.

use std::time::Duration;

use milepost::{Error, JobId, NewJob, NewWorker, WorkerId, limits};

use crate::support::{MINUTE, Scene, advance, dump, lease, refused};

/// A store in which every table has a row, so that a change would show.
fn scene() -> Scene {
    let scene = Scene::with(|builder| builder.history_limit(1));
    scene.jobs(&["a", "b", "c"]);
    let worker = scene.pc("w");
    for _ in 0..2 {
        let mut lease = lease(&worker);
        advance(&mut lease, 10);
        worker
            .add_finding(lease.job(), milepost::NewFinding::new("key", "payload"))
            .expect("the job exists");
        lease.abandon();
    }
    scene
}

#[track_caller]
fn assert_length<T: std::fmt::Debug>(
    scene: &Scene,
    call: impl FnOnce() -> milepost::Result<T>,
    text: &str,
) {
    let error = refused(scene, call);
    assert!(matches!(error, Error::InvalidLength { .. }), "{error:?}");
    assert_eq!(error.to_string(), text);
}

/// Promise 13.
#[test]
fn an_empty_worker_name_or_kind_is_refused() {
    let scene = scene();

    assert_length(
        &scene,
        || scene.register_worker(NewWorker::new("").kind("pc")),
        "the worker name is empty",
    );
    assert_length(
        &scene,
        || scene.register_worker(NewWorker::new("a").kind("")),
        "the worker kind is empty",
    );
}

/// Promise 13.
#[test]
fn an_overlong_worker_name_or_kind_is_refused_and_one_at_the_limit_is_taken() {
    let scene = scene();
    let (name, kind) = ("n".repeat(limits::NAME), "k".repeat(limits::KIND));

    let over = format!("{name}n");
    let text = "the worker name has a length of 256, over the limit of 255";
    assert_length(&scene, || scene.register_worker(NewWorker::new(&over).kind("pc")), text);
    let bytes = "ä".repeat(128);
    assert_length(&scene, || scene.register_worker(NewWorker::new(&bytes).kind("pc")), text);
    let over = format!("{kind}k");
    let text = "the worker kind has a length of 65, over the limit of 64";
    assert_length(&scene, || scene.register_worker(NewWorker::new("a").kind(&over)), text);

    let worker = scene.register_worker(NewWorker::new(&name).kind(&kind)).unwrap();
    assert_eq!(scene.snapshot().unwrap().worker_named(&name).unwrap().unwrap().id, worker.id());
}

/// Promise 13.
#[test]
fn an_empty_prefix_is_refused() {
    let scene = scene();
    let text = "the prefix is empty";

    assert_length(&scene, || scene.create_job(NewJob::new("", 0..10)), text);
    assert_length(&scene, || scene.find_or_create_job(NewJob::new("", 0..10)), text);
    let worker = scene.pc("w");
    assert_length(&scene, || worker.request(MINUTE).of_prefix("").send(), text);
}

/// Promise 13.
#[test]
fn an_overlong_prefix_is_refused_and_one_at_the_limit_is_taken() {
    let scene = scene();
    let longest = vec![0xff; limits::PREFIX];
    let over = vec![0xff; limits::PREFIX + 1];
    let text = "the prefix has a length of 256, over the limit of 255";

    assert_length(&scene, || scene.create_job(NewJob::new(over.clone(), 0..10)), text);
    assert_length(&scene, || scene.find_or_create_job(NewJob::new(over.clone(), 0..10)), text);
    let worker = scene.pc("w");
    assert_length(&scene, || worker.request(MINUTE).of_prefix(over.clone()).send(), text);

    let job = scene.create_job(NewJob::new(longest.clone(), 0..u64::MAX)).unwrap();
    let lease = worker.request(MINUTE).of_prefix(longest).send().unwrap().leased().unwrap();
    assert_eq!(lease.job(), job);
}

/// Promises 2 and 13.
#[test]
#[expect(clippy::reversed_empty_ranges, reason = "reversed ranges are what is tested")]
fn an_empty_or_reversed_range_is_refused() {
    let scene = scene();
    for range in [0..0, 7..7, 10..5, u64::MAX..u64::MAX, u64::MAX..0] {
        for create in [true, false] {
            let job = NewJob::new("new", range.clone());
            let error = refused(&scene, || match create {
                true => scene.create_job(job).map(|_| ()),
                false => scene.find_or_create_job(job).map(|_| ()),
            });

            assert!(matches!(error, Error::EmptyRange { .. }), "{error:?}");
            let text = format!("the range {}..{} holds no position", range.start, range.end);
            assert_eq!(error.to_string(), text);
        }
    }

    scene.create_job(NewJob::new("new", u64::MAX - 1..u64::MAX)).expect("one position is enough");
}

/// Promise 13: one bad job among many.
#[test]
fn of_many_jobs_with_one_that_is_refused_none_is_created() {
    let scene = scene();
    let good = || (0..5).map(|n| NewJob::new("new", n * 10..n * 10 + 10));

    for bad in [NewJob::new("", 0..1), NewJob::new("new", 60..60), NewJob::new("a", 0..1)] {
        refused(&scene, || scene.create_jobs(good().chain([bad])));
    }

    scene.create_jobs(good()).unwrap();
}

/// Promise 13.
#[test]
fn a_job_of_no_attempts_is_refused() {
    let scene = scene();

    let job = NewJob::new("new", 0..10).max_attempts(0);
    let error = refused(&scene, || scene.create_job(job));

    assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
    assert!(error.to_string().contains("at least one attempt"), "{error}");
}

/// Promise 13.
#[test]
fn an_unknown_job_is_named() {
    let scene = scene();
    let worker = scene.pc("w");
    let unknown = JobId::from(4_711);

    let errors = [
        refused(&scene, || scene.cancel_job(unknown)),
        refused(&scene, || scene.retry_job(unknown)),
        refused(&scene, || scene.delete_job(unknown)),
        refused(&scene, || worker.request(MINUTE).of_job(unknown).send()),
        refused(&scene, || {
            worker.add_finding(unknown, milepost::NewFinding::new("key", "payload"))
        }),
    ];

    for error in errors {
        assert!(matches!(error, Error::UnknownJob(job) if job == unknown), "{error:?}");
        assert_eq!(error.to_string(), "there is no job 4711");
    }
    let view = scene.snapshot().unwrap();
    assert_eq!(view.job(unknown).unwrap(), None);
    assert!(view.findings_of(unknown, None, usize::MAX).unwrap().is_empty());
}

/// Promise 13.
#[test]
fn a_worker_that_never_registered_is_not_found_and_has_no_statistics() {
    let scene = scene();
    let view = scene.snapshot().unwrap();
    let unknown = WorkerId::from(4_711);

    assert_eq!(scene.snapshot().unwrap().worker_named("nobody").unwrap(), None);
    assert_eq!(view.worker(unknown).unwrap(), None);
    assert!(view.lifetime(unknown).unwrap().totals.is_empty());
}

/// Promise 13.
#[test]
fn a_lease_of_no_time_or_of_more_than_ten_years_is_refused() {
    let scene = scene();
    let worker = scene.pc("w");
    let ten_years = Duration::from_secs(10 * 366 * 86_400);
    let micro = Duration::from_micros(1);

    for length in [Duration::ZERO, Duration::from_nanos(999), ten_years + micro, Duration::MAX] {
        let error = refused(&scene, || worker.request(length).send());
        assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
        assert!(error.to_string().contains("from a microsecond to ten years"), "{error}");
    }

    drop(worker.request(micro).send().unwrap().leased().expect("exactly the least"));
    drop(worker.request(ten_years).send().unwrap().leased().expect("exactly the most"));
}

/// Promise 2.
#[test]
fn a_prefix_that_is_not_utf_8_is_a_prefix_like_any_other() {
    let scene = scene();
    let prefixes: [&[u8]; 5] = [b"\xff\xfe", b"\xff\xfe\x00", b"\x00", b"\xc3\x28", b"\xff"];
    for prefix in prefixes {
        scene.create_job(NewJob::new(prefix, 0..100)).unwrap();
    }
    let worker = scene.pc("w");

    for prefix in prefixes {
        let mut lease = worker.request(MINUTE).of_prefix(prefix).send().unwrap().leased().unwrap();
        assert_eq!(lease.prefix().as_bytes(), prefix);
        advance(&mut lease, 100);
        let view = scene.snapshot().unwrap();
        assert_eq!(view.jobs_of_prefix(prefix, None, usize::MAX).unwrap().len(), 1);
        assert_eq!(view.progress(prefix).unwrap().unwrap().done, 100);
        assert_eq!(
            view.worker(worker.id()).unwrap().unwrap().last_prefix,
            Some(lease.prefix().clone())
        );
    }

    let error = refused(&scene, || scene.create_job(NewJob::new(b"\xff\xfe", 50..60)));
    assert!(matches!(error, Error::RangeOverlap { .. }), "{error:?}");
    let names: Vec<String> = scene
        .snapshot()
        .unwrap()
        .prefixes(None, usize::MAX)
        .unwrap()
        .iter()
        .map(ToString::to_string)
        .collect();
    assert!(names.contains(&"0xfffe".to_string()), "{names:?}");
}

/// Promise 14: a text is not a reason to refuse what was done.
#[test]
fn an_overlong_error_text_is_cut_and_not_refused() {
    let scene = Scene::new();
    let job = scene.jobs(&["a"])[0];
    let mut held = lease(&scene.pc("w"));

    let batch = milepost::Batch::new(0..10, MINUTE).with_error("é".repeat(1_000));
    held.checkpoint(batch).unwrap();
    held.fail("x".repeat(1_000)).unwrap();

    let view = scene.snapshot().unwrap();
    assert_eq!(
        view.find_history(&milepost::HistoryFilter::default().errors(), None, 1).unwrap()[0]
            .batch
            .error
            .as_ref()
            .unwrap()
            .len(),
        limits::ERROR
    );
    assert_eq!(view.job(job).unwrap().unwrap().last_error, Some("x".repeat(limits::ERROR)));
}

/// What `refused` compares is every row there is: a check of the check.
#[test]
fn a_dump_shows_every_change() {
    let scene = scene();
    let before = dump(&scene);

    scene.register_worker(NewWorker::new("one more").kind("pc")).unwrap();

    let after = dump(&scene);
    assert!(after != before);
    assert_eq!(after.len(), before.len() + 2, "a row and its name");
}
