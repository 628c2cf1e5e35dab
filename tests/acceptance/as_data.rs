//! Commands, results and answers as data, which crosses the borders of processes.

use std::fmt::Debug;
use std::time::Duration;

use milepost::{
    Action, Batch, CapsChange, CheckpointOutcome, Error, FailOutcome, FindOrCreateOutcome,
    FindingOutcome, Grant, Import, ImportOutcome, Job, JobStatus, LeaseCommand, Lost, NewFinding,
    NewJob, NewWorker, PastBatch, Prefix, Receipt, Scope, Totals,
};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::support::{DAY, MINUTE, Scene, at, lease};

/// Sends a value to another process, as it were.
#[track_caller]
fn sent<T: Serialize + DeserializeOwned>(value: &T) -> T {
    serde_json::from_str(&serde_json::to_string(value).unwrap()).unwrap()
}

#[track_caller]
fn assert_survives<T: Serialize + DeserializeOwned + PartialEq + Debug>(value: &T) {
    assert_eq!(&sent(value), value);
}

#[test]
fn commands_and_results_survive_being_sent() {
    let scene = Scene::new();
    let worker = scene.pc("pc-01").id();
    let job = scene.create_job(NewJob::new([0xff, 0], 0..1_000)).unwrap();
    let totals = Totals::new(3, u128::from(u64::MAX) + 5).with_duration(DAY).with_rates(0.5, 2.0);
    let batch = Batch::new(0..10, MINUTE).with_error("é").with_finding([0, 255], "payload");
    let past = PastBatch::new(worker, 0..10, at("2026-02-16T00:00:00.000001Z"));

    for action in [
        Action::Checkpoint(batch),
        Action::Renew,
        Action::Fail { reason: "no luck".into(), batch: None },
        Action::Release,
    ] {
        assert_survives(&LeaseCommand::new(job, 7.into(), 1, action));
    }
    for receipt in [
        Receipt::Moved { cursor: 5, deadline: scene.now() },
        Receipt::Renewed { deadline: scene.now() },
        Receipt::Completed,
        Receipt::Failed(FailOutcome::Requeued { attempts: 2 }),
        Receipt::Failed(FailOutcome::Failed { attempts: 3 }),
        Receipt::Released,
    ] {
        assert_survives(&receipt);
    }
    assert_survives(&NewJob::new([0xff, 0], 5..9).priority(-3).max_attempts(4));
    assert_survives(&NewWorker::new("pc-01").kind("pc").metadata("os", "linux"));
    assert_survives(&NewFinding::new([0, 1], [2, 3]));
    assert_survives(&CapsChange::default().with_daily(7));
    assert_survives(&scene.snapshot().unwrap().caps());
    let import = Import::new("elsewhere", 7)
        .history(past.with_job(job).with_error("no luck").with_duration(MINUTE))
        .daily(worker, "2026-02-16".parse().unwrap(), totals)
        .monthly(worker, "2026-02".parse().unwrap(), totals)
        .lifetime(worker, totals);
    assert_survives(&import);
    assert_survives(&ImportOutcome::Applied);
    assert_survives(&FindingOutcome::AlreadyStored);
    assert_survives(&FindOrCreateOutcome::Created(job));
    assert_survives(&JobStatus::Failed);
    assert_survives(&Lost::Superseded);
    for scope in [Scope::Fleet, Scope::kind("pc"), Scope::Worker(worker)] {
        assert_survives(&scope);
    }
}

/// A batch whose clock runs arrives as one that took the time until it was sent.
#[test]
fn sending_a_batch_stops_its_clock() {
    let scene = Scene::new();
    scene.jobs(&["a"]);
    let lease = lease(&scene.pc("pc-01"));
    let batch = lease.next_batch(10).unwrap();

    let arrived = sent(&batch);

    assert_eq!(arrived.range(), 0..10);
    assert_eq!(arrived.duration(), sent(&arrived).duration());
    assert!(arrived.duration() <= batch.duration());
}

/// Promises 2 to 4: as through a handle.
#[test]
fn a_lease_is_held_by_its_data_alone() {
    let scene = Scene::new();
    let job = scene.jobs(&["a"])[0];
    let held = lease(&scene.pc("pc-01"));
    let mut grant = sent(&held.grant());
    held.abandon();

    // A server passes on what the remote worker sends, also twice.
    while grant.cursor < grant.end {
        let batch = Batch::new(grant.cursor..grant.cursor + 250, MINUTE);
        let command: LeaseCommand = sent(&grant.command(Action::Checkpoint(batch)));
        let receipt = scene.submit(command.clone()).unwrap();
        assert_eq!(scene.submit(command).unwrap(), receipt);
        grant.acknowledge(&sent(&receipt));
    }

    assert_eq!(grant.sequence, 4);
    let stored = scene.snapshot().unwrap().job(job).unwrap().unwrap();
    assert_eq!((stored.status, stored.items), (JobStatus::Completed, 1_000));
}

#[test]
fn a_handle_is_made_of_the_data_of_a_lease() {
    let mut scene = Scene::new();
    let job = scene.jobs(&["a"])[0];
    let mut held = scene.pc("pc-01").next_lease(DAY).unwrap().unwrap();
    held.checkpoint(held.next_batch(100).unwrap()).unwrap();
    let grant: Grant = sent(&held.grant());
    held.abandon();
    scene.reopen_with(|builder| builder);

    let mut taken_up = scene.lease_from(grant.clone()).unwrap();

    assert_eq!((taken_up.job(), taken_up.cursor(), taken_up.range()), (job, 100, 0..1_000));
    assert_eq!(taken_up.prefix(), &Prefix::from("a"));
    let outcome = taken_up.checkpoint(taken_up.next_batch(100).unwrap()).unwrap();
    assert_eq!((outcome.cursor, outcome.completed, outcome.draining), (200, false, false));

    // Whoever has the same data does not know of that.
    let mut second = scene.lease_from(grant).unwrap();
    let error = second.checkpoint(second.next_batch(50).unwrap()).unwrap_err();
    assert!(matches!(error, Error::CommandAltered { .. }), "{error:?}");
    second.abandon();
    taken_up.release().unwrap();
}

#[test]
fn outcomes_say_what_happened() {
    let scene = Scene::new();
    let job = NewJob::new("a", 0..10).max_attempts(2);
    let created = scene.find_or_create_job(job.clone()).unwrap();
    assert!(created.is_created());
    assert_eq!(scene.find_or_create_job(job).unwrap(), FindOrCreateOutcome::Found(created.id()));
    let worker = scene.pc("pc-01");

    assert_eq!(lease(&worker).fail("1").unwrap(), FailOutcome::Requeued { attempts: 1 });
    let last = lease(&worker).fail("2").unwrap();
    assert_eq!(last, FailOutcome::Failed { attempts: 2 });
    assert!(last.is_failed());

    assert_eq!(
        worker.add_finding(created.id(), milepost::NewFinding::new("k", "v")).unwrap(),
        FindingOutcome::Stored
    );
    assert_eq!(
        worker.add_finding(created.id(), milepost::NewFinding::new("k", "w")).unwrap(),
        FindingOutcome::AlreadyStored
    );

    scene.retry_job(created.id()).unwrap();
    let mut held = lease(&worker);
    let outcome: CheckpointOutcome = held.checkpoint(held.next_batch(10).unwrap()).unwrap();
    assert_eq!((outcome.cursor, outcome.completed), (10, true));
}

#[test]
fn handles_can_be_shared_between_threads() {
    fn shared<T: Send + Sync + Debug + 'static>() {}
    fn cheap<T: Clone>() {}

    shared::<milepost::Store>();
    shared::<milepost::Builder>();
    shared::<milepost::Reader>();
    shared::<milepost::Snapshot>();
    shared::<milepost::Worker>();
    shared::<milepost::Lease>();
    shared::<milepost::LeaseRequest>();
    shared::<milepost::LeaseOutcome>();
    shared::<milepost::CancellationToken>();
    shared::<milepost::Error>();
    cheap::<milepost::Store>();
    cheap::<milepost::Snapshot>();
    cheap::<milepost::Worker>();
    cheap::<milepost::LeaseRequest>();
    cheap::<milepost::CancellationToken>();
    cheap::<milepost::Error>();
}

/// A scan in which every kind of answer has something to show.
fn busy_scene() -> Scene {
    let scene = Scene::with(|builder| builder.history_limit(3));
    scene.create_jobs([NewJob::new("a", 0..100), NewJob::new("größe", 0..100)]).unwrap();
    let workers = [scene.pc("pc-01"), scene.pc("pc-02")];
    for worker in &workers {
        let mut held = lease(worker);
        for n in 0..4 {
            scene.clock.advance(MINUTE);
            let batch =
                held.next_batch(10).unwrap().with_duration(MINUTE).with_finding([n], [n; 3]);
            held.checkpoint(if n == 2 { batch.with_error("no luck") } else { batch }).unwrap();
        }
        held.abandon();
    }
    scene
}

/// A table with a header, as a spreadsheet would read it, and back.
#[track_caller]
fn assert_fits_a_table<T: Serialize + DeserializeOwned + PartialEq + Debug>(rows: &[T]) {
    assert!(!rows.is_empty(), "there is nothing to show");
    let mut writer = csv::Writer::from_writer(Vec::new());
    rows.iter().for_each(|row| writer.serialize(row).unwrap());
    let table = writer.into_inner().unwrap();
    let read: Vec<T> =
        csv::Reader::from_reader(&table[..]).deserialize().collect::<Result<_, _>>().unwrap();
    assert_eq!(read, rows, "{}", String::from_utf8_lossy(&table));
    rows.iter().for_each(assert_survives);
}

#[test]
fn results_of_queries_fit_a_table_and_survive_being_sent() {
    let scene = busy_scene();
    let view = scene.snapshot().unwrap();
    let since = at("2026-02-16T00:00:00Z");

    assert_fits_a_table(&view.jobs(None, 10).unwrap());
    assert_fits_a_table(&view.workers(None, 10).unwrap());
    assert_fits_a_table(&view.active_since(since, None, 10).unwrap());
    assert_fits_a_table(&[view.finished_since(since).unwrap()]);
    assert_fits_a_table(&view.newest_history(None, 10).unwrap());
    assert_fits_a_table(&view.daily(Scope::Fleet, ..).unwrap());
    assert_fits_a_table(&view.monthly(Scope::Fleet, ..).unwrap());
    assert_fits_a_table(&[view.lifetime(Scope::Fleet).unwrap()]);
    assert_fits_a_table(&view.leaderboard(10).unwrap());
    assert_fits_a_table(&view.fleet_by_kind().unwrap());
    assert_fits_a_table(&[view.standing(view.workers(None, 1).unwrap()[0].id).unwrap()]);
    assert_fits_a_table(&view.progress_by_prefix(None, 10).unwrap());
    assert_fits_a_table(&view.findings(None, 10).unwrap());
    assert_fits_a_table(&[view.job_counts()]);
    assert_fits_a_table(&[view.caps()]);
    assert_fits_a_table(&[view.verify().unwrap()]);
    assert_survives(&view.size().unwrap());
    assert_survives(&view.fleet_rate().unwrap());
}

#[test]
fn it_is_known_who_completed_a_job_and_how_many_each_completed() {
    let scene = Scene::with(|builder| builder.history_limit(1));
    let jobs = scene.jobs(&["a", "b", "c"]);
    let (anne, bert) = (scene.pc("anne"), scene.pc("bert"));
    for (worker, job) in [(&anne, jobs[0]), (&bert, jobs[1]), (&anne, jobs[2])] {
        let mut held = worker.request(MINUTE).of_job(job).send().unwrap().leased().unwrap();
        while let Some(batch) = held.next_batch(400) {
            held.checkpoint(batch).unwrap();
        }
    }

    let view = scene.snapshot().unwrap();
    let by: Vec<_> = view.jobs(None, 9).unwrap().iter().map(|job: &Job| job.completed_by).collect();
    assert_eq!(by, [Some(anne.id()), Some(bert.id()), Some(anne.id())]);
    let completed = |worker| view.lifetime(worker).unwrap().totals.completed;
    assert_eq!((completed(&anne), completed(&bert)), (2, 1));
    let today = view.daily(&anne, ..).unwrap()[0].totals;
    assert_eq!((today.completed, today.batches), (2, 6));
    assert_eq!(view.newest_history(None, 9).unwrap().len(), 1, "the others have left history");
}

#[test]
fn a_lost_lease_says_to_whom_and_since_when() {
    let scene = Scene::new();
    scene.jobs(&["a"]);
    let mut slow = lease(&scene.pc("slow"));
    scene.clock.advance(2 * MINUTE);
    let fast = lease(&scene.pc("fast"));
    scene.clock.advance(Duration::from_secs(1));

    let error = slow.renew().unwrap_err();

    let Error::LeaseLost { why, holder, since, .. } = &error else { panic!("{error:?}") };
    assert_eq!((*why, *holder), (Lost::Superseded, Some(fast.worker())));
    assert_eq!(*since, Some(at("2026-02-16T12:02:00Z")));
    assert_eq!(
        error.to_string(),
        "job 1 is no longer held under token 1: it was leased again to worker 2 at \
         2026-02-16T12:02:00Z"
    );
    scene.cancel_job(fast.job()).unwrap();
    let mut cancelled = fast;
    assert_eq!(
        cancelled.renew().unwrap_err().to_string(),
        "job 1 is no longer held under token 2: the job was cancelled at 2026-02-16T12:02:01Z"
    );
}

#[test]
fn a_prefix_that_no_job_has_is_an_error_and_a_batch_has_at_least_one_position() {
    let scene = Scene::new();
    scene.jobs(&["site-7"]);
    let worker = scene.pc("pc-01");

    let error = worker.request(MINUTE).of_prefix("site-8").send().unwrap_err();

    assert!(matches!(&error, Error::UnknownPrefix(prefix) if *prefix == Prefix::from("site-8")));
    assert_eq!(error.to_string(), "no job has the prefix site-8");
    let lease = worker.request(MINUTE).of_prefix("site-7").send().unwrap().leased().unwrap();
    assert_eq!(lease.next_batch(0).unwrap().range(), 0..1);
}
