//! Lists, page by page.

use std::fmt::Debug;

use crate::query::scene::{MINUTE, Scene};
use crate::query::{ActiveWorker, Finding, HistoryRecord, Job, Progress, WorkerInfo};
use crate::time::Timestamp;
use crate::types::{JobId, NewJob, Prefix};
use crate::{Durability, Store};

/// All pages of a list, of so many entries each.
fn pages<T: Clone + PartialEq + Debug>(
    limit: usize,
    page: impl Fn(Option<&T>, usize) -> crate::Result<Vec<T>>,
) -> Vec<T> {
    assert_eq!(page(None, 0).unwrap(), []);
    let mut all: Vec<T> = Vec::new();
    loop {
        let next = page(all.last(), limit).unwrap();
        assert!(next.len() <= limit);
        if next.is_empty() {
            return all;
        }
        all.extend(next);
    }
}

fn several(scene: &Scene) -> Vec<JobId> {
    let ranges = [("ab", 10), ("ab", 0), ("a", 0), ("b", 0), ("ab", 30), ("\u{ff}", 0), ("b", 10)];
    let ids: Vec<JobId> =
        ranges.iter().map(|(prefix, start)| scene.job(prefix, *start, start + 10)).collect();
    let workers = ["pc-01", "pc-02", "gpu-01"].map(|name| scene.worker(name));
    for (n, job) in [5, 1, 0, 4].into_iter().enumerate() {
        scene.clock.advance(MINUTE);
        scene.lease(&workers[n % 2], ids[job]).abandon();
        for name in [&b"k"[..], b"key", b"\xff"] {
            let finding = crate::NewFinding::new(name, b"found");
            let outcome = workers[2].add_finding(ids[job], finding).unwrap();
            assert_eq!(outcome, crate::FindingOutcome::Stored);
        }
    }
    ids
}

#[test]
fn pages_of_any_size_put_together_are_the_whole_list() {
    let scene = Scene::new(100);
    let ids = several(&scene);
    scene.history("past", scene.worker("pc-02").id(), &[("2026-02-16T12:04:00Z", 5); 9]);
    let view = scene.view();

    for limit in [1, 2, 3, 100] {
        let jobs = pages::<Job>(limit, |last, n| view.jobs(last.map(|job| job.id), n));
        let of_prefix =
            pages::<Job>(limit, |last, n| view.jobs_of_prefix(b"ab", last.map(|job| job.start), n));
        let leases = pages::<Job>(limit, |last, n| {
            view.leases(last.map(|job| (job.holder.unwrap(), job.id)), n)
        });
        let prefixes =
            pages::<Prefix>(limit, |last, n| view.prefixes(last.map(|prefix| &prefix[..]), n));
        let progress = pages::<Progress>(limit, |last, n| {
            view.progress_by_prefix(last.map(|progress| &progress.prefix[..]), n)
        });
        let findings = pages::<Finding>(limit, |last, n| {
            view.findings(last.map(|finding| (finding.job, &finding.key[..])), n)
        });
        let of_job = pages::<Finding>(limit, |last, n| {
            view.findings_of(ids[0], last.map(|finding| &finding.key[..]), n)
        });
        let workers =
            pages::<WorkerInfo>(limit, |last, n| view.workers(last.map(|worker| worker.id), n));
        let active = pages::<ActiveWorker>(limit, |last, n| {
            view.active_since(view.taken_at(), last.map(|active| active.worker), n)
        });
        let history = pages::<HistoryRecord>(limit, |last, n| {
            view.newest_history(last.map(|batch| batch.id), n)
        });

        assert_eq!(jobs.iter().map(|job| job.id).collect::<Vec<_>>(), ids);
        assert_eq!(of_prefix.iter().map(|job| job.start).collect::<Vec<_>>(), [0, 10, 30]);
        let held: Vec<_> = leases.iter().map(|job| (job.holder.unwrap().0, job.id)).collect();
        assert_eq!(held, [(1, ids[0]), (1, ids[5]), (2, ids[1]), (2, ids[4])]);
        let names: Vec<_> = prefixes.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["a", "ab", "b", "ÿ"]);
        let counts: Vec<_> =
            progress.iter().map(|one| (one.prefix.to_string(), one.jobs.all())).collect();
        assert_eq!(counts, names.into_iter().zip([1, 3, 2, 1]).collect::<Vec<_>>());
        assert_eq!(findings.len(), 12);
        assert!(findings.is_sorted_by_key(|finding| (finding.job, finding.key.clone())));
        assert_eq!(of_job, findings[..3]);
        assert_eq!(workers.iter().map(|worker| worker.id.0).collect::<Vec<_>>(), [1, 2, 3]);
        let seen: Vec<_> =
            active.iter().map(|one| (one.worker.0, one.recent.batches, one.leases)).collect();
        assert_eq!(seen, [(2, 9, 2)], "it took the last lease, at the time of the snapshot");
        let ever = pages::<ActiveWorker>(limit, |last, n| {
            view.active_since(Timestamp::MIN, last.map(|active| active.worker), n)
        });
        let recent: Vec<_> = ever.iter().map(|one| one.recent.batches).collect();
        assert_eq!(recent, [0, 9, 0]);
        assert_eq!(history.len(), 9);
        assert!(history.windows(2).all(|pair| pair[0].id == pair[1].id + 1));
    }
}

#[test]
fn a_page_begins_behind_an_entry_that_is_gone() {
    let scene = Scene::new(100);
    let ids = several(&scene);
    for job in [ids[1], ids[3]] {
        scene.store.cancel_job(job).unwrap();
        scene.store.delete_job(job).unwrap();
    }
    let view = scene.view();

    let of = |jobs: Vec<Job>| jobs.iter().map(|job| job.id).collect::<Vec<JobId>>();

    assert_eq!(of(view.jobs(Some(ids[1]), 1).unwrap()), [ids[2]]);
    assert_eq!(of(view.jobs_of_prefix(b"ab", Some(0), 9).unwrap()), [ids[0], ids[4]]);
    assert_eq!(of(view.jobs_of_prefix(b"ab", Some(u64::MAX), 9).unwrap()), []);
    assert_eq!(of(view.jobs_of_prefix([7; 300], None, 9).unwrap()), []);
    assert_eq!(view.findings_of(ids[1], None, 9).unwrap(), []);
    let prefixes = view.prefixes(Some(b"aa"), 9).unwrap();
    assert_eq!(&*prefixes[0], b"ab");
    assert_eq!(view.prefixes(Some(&[255; 300]), 9).unwrap(), []);
}

/// Deletes every job, page by page, and returns how large the file has become.
fn delete_all(store: &Store, hold: bool) -> u64 {
    let held = hold.then(|| store.snapshot().unwrap());
    let mut after = None;
    loop {
        let page = store.snapshot().unwrap().jobs(after, 100).unwrap();
        let Some(last) = page.last() else { break };
        after = Some(last.id);
        for job in &page {
            store.cancel_job(job.id).unwrap();
            store.delete_job(job.id).unwrap();
        }
    }
    drop(held);
    store.flush().unwrap();
    store.snapshot().unwrap().size().unwrap().stored_bytes
}

#[test]
fn a_loop_that_deletes_does_not_grow_the_file_if_each_page_has_a_snapshot_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let grown = [false, true].map(|hold| {
        let max_delay = std::time::Duration::from_secs(1);
        let store = Store::builder(folder.path().join(format!("held {hold}")))
            .durability(Durability::Relaxed { max_delay })
            .open()
            .unwrap();
        store.create_jobs((0..300u64).map(|n| NewJob::new("p", n * 10..n * 10 + 10))).unwrap();
        store.flush().unwrap();
        let before = store.snapshot().unwrap().size().unwrap().stored_bytes;
        let after = delete_all(&store, hold);
        after as f64 / before as f64
    });

    assert!(grown[0] <= 2.0 && grown[1] > 4.0 * grown[0], "{grown:?}");
}
