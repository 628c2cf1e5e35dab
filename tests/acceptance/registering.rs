//! Registering workers, and finding them again.

use milepost::{Action, Batch, Error, LeaseCommand, NewJob, NewWorker};

use crate::support::{MINUTE, Scene, lease};

#[test]
fn a_worker_is_registered_once_and_keeps_what_is_not_given_again() {
    let scene = Scene::new();
    let first = NewWorker::new("pc-01").kind("gpu").metadata("os", "linux").metadata("cores", "8");
    let id = scene.register_worker(first).unwrap().id();

    assert_eq!(scene.register_worker("pc-01").unwrap().id(), id);
    let view = scene.snapshot().unwrap();
    assert_eq!(view.worker(id).unwrap().unwrap().kind, "gpu");
    assert_eq!(view.worker_metadata(id).unwrap().unwrap().len(), 2);

    scene.register_worker(NewWorker::new("pc-01").kind("pc").metadata("os", "bsd")).unwrap();
    let view = scene.snapshot().unwrap();
    assert_eq!(view.worker(id).unwrap().unwrap().kind, "pc");
    let metadata = view.worker_metadata(id).unwrap().unwrap();
    assert_eq!(metadata.into_iter().collect::<Vec<_>>(), [("os".to_string(), "bsd".to_string())]);
}

#[test]
fn a_worker_without_a_kind_has_the_default_one() {
    let scene = Scene::new();

    let worker = scene.register_worker("pc-01".to_string()).unwrap();

    let info = scene.snapshot().unwrap().worker(worker.id()).unwrap().unwrap();
    assert_eq!((info.name.as_str(), info.kind.as_str()), ("pc-01", "worker"));
    assert_eq!(scene.snapshot().unwrap().fleet_by_kind().unwrap()[0].kind, "worker");
}

#[test]
fn a_worker_is_found_by_name_without_being_registered() {
    let scene = Scene::new();
    let registered = scene.pc("pc-01");

    assert!(scene.worker("pc-02").unwrap().is_none());
    assert!(scene.snapshot().unwrap().worker_named("pc-02").unwrap().is_none());
    let found = scene.worker("pc-01").unwrap().unwrap();
    assert_eq!((found.id(), found.name()), (registered.id(), "pc-01"));
    scene.jobs(&["a"]);
    assert_eq!(lease(&found).worker(), registered.id());
}

/// An error text is cut to 512 bytes wherever it comes from, and an empty one is no error.
#[test]
fn error_texts_are_cut_everywhere_alike_and_an_empty_one_is_none() {
    let scene = Scene::new();
    let job = scene.create_job(NewJob::new("a", 0..100)).unwrap();
    let worker = scene.pc("pc-01");
    let mut held = lease(&worker);
    let token = held.token();
    let error = || scene.snapshot().unwrap().job(job).unwrap().unwrap().last_error;
    let send = |sequence: u64, action: Action| {
        // As it arrives from elsewhere: nothing has cut it yet.
        let json = serde_json::to_string(&LeaseCommand::new(job, token, sequence, action)).unwrap();
        scene
            .submit(serde_json::from_str(&json.replace("LONG", &"x".repeat(600))).unwrap())
            .unwrap()
    };

    held.checkpoint(held.next_batch(10).unwrap().with_error("")).unwrap();
    assert_eq!(error(), None);
    send(2, Action::Checkpoint(Batch::new(10..20, MINUTE).with_error("LONG")));
    assert_eq!(error().unwrap().len(), 512);
    let totals = scene.snapshot().unwrap().lifetime(&worker).unwrap().totals;
    assert_eq!((totals.batches, totals.errors), (2, 1));
    send(3, Action::Fail { reason: "LONG".into(), batch: None });
    assert_eq!(error().unwrap().len(), 512);
    held.abandon();
    lease(&worker).fail("").unwrap();
    assert_eq!(error().unwrap(), "no reason was given");
}

/// Promise 13.
#[test]
fn metadata_is_held_to_its_limits() {
    let scene = Scene::new();
    let full = (0..16).fold(NewWorker::new("full"), |worker, n| {
        worker.metadata(format!("{n:064}"), "v".repeat(256))
    });
    let cases = [
        (full.clone().metadata("one more", ""), "the list of metadata has a length of 17"),
        (NewWorker::new("a").metadata("", "v"), "the metadata key is empty"),
        (NewWorker::new("a").metadata("k".repeat(65), "v"), "the metadata key has a length of 65"),
        (
            NewWorker::new("a").metadata("k", "v".repeat(257)),
            "the metadata value has a length of 257",
        ),
        (NewWorker::new("a").kind(""), "the worker kind is empty"),
    ];

    for (worker, why) in cases {
        let error = scene.register_worker(worker).unwrap_err();
        assert!(matches!(error, Error::InvalidLength { .. }));
        assert!(error.to_string().starts_with(why), "{error}");
    }

    scene.register_worker(full.metadata(format!("{:064}", 0), "")).unwrap();
    assert!(scene.worker("a").unwrap().is_none());
    let worker = scene.worker("full").unwrap().unwrap();
    assert_eq!(scene.snapshot().unwrap().worker_metadata(worker.id()).unwrap().unwrap().len(), 16);
    scene.jobs(&["a"]);
    drop(worker.next_lease(MINUTE).unwrap());
}
