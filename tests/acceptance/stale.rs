//! Jobs whose holders make no progress: released in one call.

use milepost::{JobId, JobStatus, NewJob};

use crate::support::{DAY, MINUTE, Scene, advance, refused};

/// Promises 3 and 12.
#[test]
fn jobs_long_without_a_checkpoint_are_handed_back_in_one_call() {
    let scene = Scene::new();
    let jobs = scene.jobs(&["quiet", "busy", "fresh", "waiting"]);
    let worker = scene.pc("a");
    let get = |job: JobId| worker.request(10 * DAY).of_job(job).send().unwrap().leased().unwrap();
    let (mut quiet, mut busy) = (get(jobs[0]), get(jobs[1]));
    advance(&mut quiet, 10);
    scene.clock.advance(2 * DAY);
    quiet.renew().unwrap();
    advance(&mut busy, 10);
    let mut fresh = get(jobs[2]);

    assert_eq!(scene.release_stale(2 * DAY).unwrap(), 0, "exactly as old is not older");
    assert_eq!(scene.release_stale(DAY).unwrap(), 1);

    let error = refused(&scene, || quiet.renew());
    assert!(error.to_string().contains("released"), "{error}");
    let job = scene.snapshot().unwrap().job(jobs[0]).unwrap().unwrap();
    assert_eq!((job.status, job.cursor, job.attempts), (JobStatus::Pending, 10, 0));
    busy.renew().unwrap();
    fresh.renew().unwrap();
    assert_eq!(scene.release_stale(DAY).unwrap(), 0);
}

/// Promises 3 and 14: more than one step of them.
#[test]
fn any_number_of_stale_jobs_is_handed_back_at_once() {
    let scene = Scene::in_memory();
    let jobs = (0..700).map(|n| NewJob::new("keys", n..n + 1));
    scene.create_jobs(jobs).unwrap();
    let worker = scene.pc("a");
    for _ in 0..700 {
        worker.request(10 * DAY).send().unwrap().leased().unwrap().abandon();
    }
    scene.clock.advance(DAY);

    assert_eq!(scene.release_stale(MINUTE).unwrap(), 700);

    assert_eq!(scene.snapshot().unwrap().job_counts().pending, 700);
}
