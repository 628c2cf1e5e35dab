//! How the jobs of a cell are finished, and what must then be stored.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use milepost::{
    Durability, Error, JobId, JobStatus, LeaseOutcome, NewJob, NewWorker, Scope, Snapshot, Store,
};

use crate::cell::Fault;
use crate::work::{BATCH, HOLDER, LENGTH, POSITIONS, Scene, checkpoint};

const CHILD: &str = "MILEPOST_CROSSING";

/// Finishes every job that can be had; `pass_time` lets leases expire that others hold.
pub fn finish(store: &Store, pass_time: &mut dyn FnMut()) {
    let worker = store.register_worker(NewWorker::new("finisher").kind("pc")).unwrap();
    for _ in 0..100 {
        match worker.request(LENGTH).send() {
            Ok(LeaseOutcome::Leased(mut lease)) => {
                while lease.cursor() < lease.range().end {
                    checkpoint(&mut lease, 5 * BATCH).unwrap();
                }
            }
            Ok(LeaseOutcome::Busy(_)) => pass_time(),
            Ok(_) => return,
            // Nothing is left but the job whose row cannot be read: the error says so.
            Err(Error::Corrupted { .. }) if store.snapshot().unwrap().job_counts().leased == 0 => {
                return;
            }
            Err(Error::Corrupted { .. }) => pass_time(),
            Err(error) => panic!("{error}"),
        }
    }
    panic!("the jobs cannot be finished");
}

/// Opens the file in a process of its own, which finishes the jobs. Its clock is months ahead, so
/// leases that are left have expired.
pub fn in_another_process(path: &Path) {
    let mut child = Command::new(std::env::current_exe().unwrap());
    child.args(["--exact", "a_child_process_finishes_the_jobs"]);
    let output = child.env(CHILD, path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
}

pub fn finish_in_a_child() {
    if let Some(path) = std::env::var_os(CHILD) {
        // Relaxed, since what is proven does not depend on when it syncs.
        let durability = Durability::Relaxed { max_delay: Duration::from_secs(3_600) };
        let store = Store::builder(path).durability(durability).open().unwrap();
        finish(&store, &mut || panic!("nobody holds a job any more"));
        return store.close().unwrap();
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("crossing.milepost");
    let store = Store::open(&path).unwrap();
    store.create_job(NewJob::new("keys", 0..POSITIONS)).unwrap();
    store.close().unwrap();
    in_another_process(&path);
    let store = Store::open(&path).unwrap();
    assert_eq!(store.snapshot().unwrap().job_counts().completed, 1);
}

/// Promises 2, 4, 8 and 11: every position was done once, what was acknowledged to the holder was
/// done by nobody else, and everything adds up.
pub fn check(scene: &Scene, jobs: &[JobId], acknowledged: &BTreeMap<JobId, u64>) {
    let cell = scene.cell;
    let view = Store::builder(&scene.path).open_read_only().unwrap().snapshot().unwrap();
    for job in jobs {
        let stored = view.job(*job).unwrap().unwrap();
        assert_eq!(stored.status, JobStatus::Completed, "{cell:?}: {stored:?}");
        let (done_by_holder, done) = positions_done(&view, *job, stored.start);
        assert_eq!(done, stored.end, "{cell:?}: {job}");
        assert!(done_by_holder >= acknowledged[job], "{cell:?}: {job}, to {done_by_holder} only");
        let found = view.findings_of(*job, None, usize::MAX).unwrap().len();
        assert_eq!(found as u64, POSITIONS / BATCH, "{cell:?}: findings");
    }
    let items = view.lifetime(Scope::Fleet).unwrap().totals.items;
    assert_eq!(items, u128::from(POSITIONS) * jobs.len() as u128, "{cell:?}");
    if cell.fault == Fault::DamagedRow {
        assert!(matches!(view.verify(), Err(Error::Corrupted { .. })), "it is not hidden");
    } else {
        view.verify().unwrap();
    }
}

/// Up to where the holder did a job, and up to where it was done without a gap or an overlap.
fn positions_done(view: &Snapshot, job: JobId, start: u64) -> (u64, u64) {
    let holder = view.worker_named(HOLDER).unwrap().unwrap().id;
    let history =
        view.find_history(&milepost::HistoryFilter::default().job(job), None, usize::MAX).unwrap();
    let mut batches: Vec<_> = history.into_iter().map(|record| record.batch).collect();
    batches.sort_by_key(|batch| batch.start);
    let (mut by_holder, mut next) = (start, start);
    for batch in &batches {
        assert_eq!(batch.start, next, "a gap or an overlap in {job}");
        assert_eq!(batch.items, batch.end - batch.start);
        next = batch.end;
        if batch.worker == holder && by_holder == batch.start {
            by_holder = next;
        }
    }
    (by_holder, next)
}
