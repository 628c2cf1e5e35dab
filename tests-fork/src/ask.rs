//! What a forked child asks of the handles that it inherited: every call is refused.

use std::path::Path;
use std::time::Duration;

use milepost::{
    Action, Batch, Caps, Error, Import, JobId, Lease, LeaseCommand, NewJob, NewWorker, Result,
    Scope, Snapshot, Store, Timestamp, Token, Worker,
};

const MINUTE: Duration = Duration::from_secs(60);

/// Asserts that a call was refused because this process is a forked child.
#[track_caller]
pub fn assert_forked<T>(result: Result<T>) {
    match result {
        Err(Error::Forked) => {}
        Err(error) => panic!("another error: {error:?}"),
        Ok(_) => panic!("it was done"),
    }
}

/// Asserts that a file cannot be opened because somebody else has it open.
#[track_caller]
pub fn assert_locked(path: &Path) {
    let error = Store::open(path).expect_err("it is open elsewhere");
    assert!(matches!(error, Error::Locked { .. }), "{error:?}");
}

/// Calls everything of a store, which has a job under a token.
pub fn ask_store(store: &Store, job: JobId, token: Token) {
    assert_forked(store.register_worker(NewWorker::new("x").kind("pc")));
    assert_forked(store.create_job(NewJob::new("b", 0..10)));
    assert_forked(store.create_jobs([NewJob::new("b", 0..10)]));
    assert_forked(store.find_or_create_job(NewJob::new("b", 0..10)));
    assert_forked(store.cancel_job(job));
    assert_forked(store.retry_job(job));
    assert_forked(store.delete_job(job));
    assert_forked(store.release_stale(MINUTE));
    let renewal = LeaseCommand::new(job, token, 1, Action::Renew);
    assert_forked(store.submit(renewal.clone()));
    store.submit_many([renewal.clone(), renewal]).into_iter().for_each(assert_forked);
    assert_forked(store.import(Import::new("log", 1)));
    assert_forked(store.set_caps(Caps::default()));
    assert_forked(store.settle());
    assert_forked(store.snapshot());
    assert_forked(store.flush());
    assert_forked(store.compact());
    assert_forked(store.reopen());
    assert_forked(store.close());
}

/// Calls everything of a worker.
pub fn ask_worker(worker: &Worker, job: JobId) {
    assert_forked(worker.request(MINUTE).send());
    assert_forked(worker.request(MINUTE).keep_alive().resume().send());
    assert_forked(worker.add_finding(job, milepost::NewFinding::new("key", "payload")));
}

/// Calls everything of a lease, which must not change.
pub fn ask_lease(lease: &mut Lease) {
    let before = (lease.cursor(), lease.deadline(), lease.is_unanswered());
    let batch = Batch::new(lease.cursor()..lease.cursor() + 1, MINUTE);
    assert_forked(lease.checkpoint(batch));
    assert_forked(lease.renew());
    assert_forked(lease.fail("no"));
    assert_forked(lease.release());
    assert_eq!((lease.cursor(), lease.deadline(), lease.is_unanswered()), before);
}

/// Asks a snapshot everything, also what it has added up before.
pub fn ask_snapshot(view: &Snapshot, job: JobId, worker: &Worker) {
    let (id, since) = (worker.id(), Timestamp::EPOCH);
    assert_forked(view.job(job));
    assert_forked(view.jobs(None, 10));
    assert_forked(view.jobs_of_prefix(b"a", None, 10));
    assert_forked(view.leases(None, 10));
    assert_forked(view.prefixes(None, 10));
    assert_forked(view.progress(b"a"));
    assert_forked(view.progress_by_prefix(None, 10));
    assert_forked(view.fleet_rate());
    assert_forked(view.workers(None, 10));
    assert_forked(view.worker(id));
    assert_forked(view.worker_named(worker.name()));
    assert_forked(view.active_since(since, None, 10));
    assert_forked(view.finished_since(since));
    assert_forked(view.newest_history(None, 10));
    assert_forked(view.find_history(&milepost::HistoryFilter::default().worker(id), None, 10));
    assert_forked(view.find_history(&milepost::HistoryFilter::default().job(job), None, 10));
    assert_forked(view.find_history(&milepost::HistoryFilter::default().errors(), None, 10));
    assert_forked(view.findings(None, 10));
    assert_forked(view.findings_of(job, None, 10));
    assert_forked(view.daily(id, ..));
    assert_forked(view.monthly(Scope::Fleet, ..));
    assert_forked(view.best_day(id));
    assert_forked(view.best_month(id));
    assert_forked(view.lifetime(id));
    assert_forked(view.lifetime(Scope::Fleet));
    assert_forked(view.leaderboard(10));
    assert_forked(view.fleet_by_kind());
    assert_forked(view.standing(id));
    assert_forked(view.slowed(0.5, 10));
    assert_forked(view.last_import("log"));
    assert_forked(view.size());
    assert_forked(view.verify());
    assert_forked(view.dump(|_, _, _| ()));
    assert_forked(view.archived().lifetime(id));
}
