//! Requests that wait for their turn, in one process and in several.

use std::time::Duration;

use milepost::{Batch, LeaseOutcome, NewJob, NewWorker, Scope, Sharing, Store};

use crate::process::{answer, answers, child};
use crate::support::{MINUTE, NOON, Scene, advance, at, lease};

/// Promise 12. A request gets its time before it waits for its turn. It once took the lease of
/// another one for the work of a clock that has gone back, because that had been stamped later
/// and overtook it, and so took the job away.
#[test]
fn a_request_stamped_before_the_lease_it_finds_does_not_take_it() {
    let scene = Scene::new();
    scene.jobs(&["a"]);
    scene.clock.advance(Duration::from_secs(30));
    let mut overtook = lease(&scene.pc("overtook"));
    scene.clock.set(at(NOON));

    let waited = scene.pc("waited").request(MINUTE).send().unwrap();

    assert!(matches!(waited, LeaseOutcome::Busy(_)), "{waited:?}");
    advance(&mut overtook, 10);
}

/// What a child does: it says in the end how many positions it did.
pub fn work_until_nothing_is_left(path: &str) {
    let store = Store::builder(path).sharing(Sharing::MultiWriter).open().unwrap();
    let worker = store
        .register_worker(NewWorker::new(format!("pc-{}", std::process::id())).kind("pc"))
        .unwrap();
    let mut done = 0;
    while let Some(mut lease) = worker.next_lease(MINUTE).unwrap() {
        while let Some(range) = lease.next_batch(5).map(|batch| batch.range()) {
            let batch = Batch::new(range.clone(), Duration::from_millis(1));
            lease.checkpoint(batch).unwrap();
            done += range.end - range.start;
        }
    }
    answer(done);
}

/// Promises 2, 3 and 4 across processes; this is where the one above was found.
#[test]
fn several_processes_share_a_file_and_do_every_position_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scan.milepost");
    let store = Store::builder(&path).sharing(Sharing::MultiWriter).open().unwrap();
    store.create_jobs((0..12).map(|n| NewJob::new("keys", n * 20..(n + 1) * 20))).unwrap();

    let children: Vec<_> = (0..3)
        .map(|_| {
            let mut command = child("work until nothing is left", path.to_str().unwrap());
            command.stdout(std::process::Stdio::piped()).spawn().unwrap()
        })
        .collect();
    let done: Vec<u64> = children
        .into_iter()
        .map(|child| answers(&child.wait_with_output().unwrap())[0].parse().unwrap())
        .collect();

    let view = store.snapshot().unwrap();
    assert_eq!(done.iter().sum::<u64>(), 240, "{done:?}");
    assert_eq!(view.lifetime(Scope::Fleet).unwrap().totals.items, 240);
    assert_eq!(view.job_counts().completed, 12);
    view.verify().unwrap();
}
