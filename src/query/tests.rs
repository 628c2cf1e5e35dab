//! The questions, each asked of a store whose answers are known.

mod cost;
mod counting;
mod eta;
mod jobs;
mod pages;
mod rate;
mod views;

use std::time::Duration;

use super::scene::{MINUTE, Scene, batch, day, month};
use super::{Scope, Snapshot};
use crate::error::Error;
use crate::schema::key;
use crate::schema::rows::LifetimeRow;
use crate::schema::tables;
use crate::storage::Table;
use crate::time::Timestamp;
use crate::types::{Batch, Import, NewJob, PastBatch, Totals, WorkerId};

/// Three records of one worker in a store that keeps two: the oldest has left history.
fn one_archived_two_live() -> (Scene, WorkerId) {
    let scene = Scene::new(2);
    let worker = scene.worker("pc-01").id();
    let batches =
        [("2026-01-31T23:59:59Z", 10), ("2026-01-31T12:00:00Z", 20), ("2026-02-01T00:00:00Z", 40)];
    scene.history("three", worker, &batches);
    (scene, worker)
}

fn items(view: &Snapshot, worker: WorkerId) -> [Vec<(String, u128)>; 2] {
    let days = view.daily(worker, ..).unwrap();
    let months = view.monthly(worker, ..).unwrap();
    [
        days.iter().map(|day| (day.day.to_string(), day.totals.items)).collect(),
        months.iter().map(|month| (month.month.to_string(), month.totals.items)).collect(),
    ]
}

fn listed<const N: usize>(entries: [(&str, u128); N]) -> Vec<(String, u128)> {
    entries.map(|(name, items)| (name.to_string(), items)).to_vec()
}

#[test]
fn the_default_form_has_everything_once_and_the_archived_form_what_left_history() {
    let (scene, worker) = one_archived_two_live();

    let view = scene.view();

    assert_eq!(
        items(&view, worker),
        [
            listed([("2026-01-31", 30), ("2026-02-01", 40)]),
            listed([("2026-01", 30), ("2026-02", 40)])
        ]
    );
    assert_eq!(view.lifetime(worker).unwrap().totals.items, 70);
    let archived = view.archived();
    assert_eq!(items(&archived, worker), [listed([("2026-01-31", 10)]), listed([("2026-01", 10)])]);
    assert_eq!(archived.lifetime(worker).unwrap().totals, batch(10, "2026-01-31T23:59:59Z"));
    assert_eq!(view.newest_history(None, 10).unwrap(), archived.newest_history(None, 10).unwrap());
}

#[test]
fn a_snapshot_stays_as_it_was() {
    let (scene, worker) = one_archived_two_live();
    let before = scene.view();

    scene.history("more", worker, &[("2026-02-02T00:00:00Z", 80), ("2026-02-03T00:00:00Z", 160)]);

    assert_eq!(before.lifetime(worker).unwrap().totals.items, 70);
    assert_eq!(before.archived().lifetime(worker).unwrap().totals.items, 10);
    assert_eq!(scene.view().lifetime(worker).unwrap().totals.items, 310);
    assert_eq!(scene.view().archived().lifetime(worker).unwrap().totals.items, 70);
}

#[test]
fn live_batches_are_in_a_months_totals_and_not_in_its_rolled_part() {
    let (scene, worker) = one_archived_two_live();
    let rolled = batch(5, "2026-01-01T00:00:00Z");
    scene.store.import(Import::new("rolled", 1).monthly(worker, month("2026-01"), rolled)).unwrap();

    let months = scene.view().monthly(worker, ..).unwrap();

    assert_eq!(
        months.iter().map(|m| (m.totals.items, m.rolled.items)).collect::<Vec<_>>(),
        [(35, 5), (40, 0)]
    );
    assert_eq!(months[0].rolled, rolled);
}

#[test]
fn a_range_of_days_includes_its_ends_and_no_days_of_other_workers() {
    let scene = Scene::new(100);
    let workers = ["pc-01", "pc-02", "gpu-01"].map(|name| scene.worker(name).id());
    let days = ["2026-02-14", "2026-02-15", "2026-02-16"];
    for (n, worker) in workers.iter().enumerate() {
        let import = days.iter().fold(Import::new(format!("of {worker}"), 1), |import, text| {
            import.daily(*worker, day(text), batch(1 << n, &format!("{text}T00:00:00Z")))
        });
        scene.store.import(import).unwrap();
    }
    let view = scene.view();
    let [first, middle, last] = days.map(day);

    let count =
        |days: Vec<super::DayStats>| (days.len(), days.iter().map(|day| day.totals.items).sum());
    let middle_one: (usize, u128) = count(view.daily(workers[1], ..).unwrap());

    assert_eq!(middle_one, (3, 6));
    assert_eq!(count(view.daily(workers[1], first..last).unwrap()), (2, 4));
    assert_eq!(count(view.daily(workers[1], middle..=last).unwrap()), (2, 4));
    assert_eq!(count(view.daily(workers[1], ..=first).unwrap()), (1, 2));
    assert_eq!(count(view.daily(workers[1], last..).unwrap()), (1, 2));
    let behind = (std::ops::Bound::Excluded(last), std::ops::Bound::Unbounded);
    assert_eq!(count(view.daily(workers[1], behind).unwrap()), (0, 0));
    assert_eq!(count(view.daily(Scope::kind("pc"), ..).unwrap()), (3, 9));
    assert_eq!(count(view.daily(Scope::kind("p"), ..).unwrap()), (0, 0));
    assert_eq!(count(view.daily(Scope::Fleet, ..).unwrap()), (3, 21));
    assert_eq!(count(view.daily(WorkerId(99), ..).unwrap()), (0, 0));
    assert_eq!(view.monthly(Scope::Fleet, ..month("2026-02")).unwrap(), []);
    assert_eq!(view.lifetime(Scope::kind("pc")).unwrap().totals.items, 9);
}

#[test]
fn of_equal_days_and_months_the_earliest_is_the_best() {
    let (scene, worker) = one_archived_two_live();
    scene.history("tie", worker, &[("2026-02-01T01:00:00Z", 10), ("2026-02-02T00:00:00Z", 50)]);

    let view = scene.view();

    assert_eq!(view.best_day(worker).unwrap().map(|best| best.day), Some(day("2026-02-01")));
    assert_eq!(view.best_month(worker).unwrap().map(|best| best.month), Some(month("2026-02")));
    assert_eq!(view.best_day(WorkerId(99)).unwrap(), None);
}

#[test]
fn workers_that_slowed_down_by_more_than_a_share_are_found() {
    let scene = Scene::new(100);
    let [slow, half, steady, idle] =
        ["pc-1", "pc-2", "pc-3", "pc-4"].map(|name| scene.worker(name).id());
    // Before today 30 items a second each, and then so many in one second of today.
    for (worker, today) in [(slow, Some(2)), (half, Some(10)), (steady, Some(30)), (idle, None)] {
        let before = batch(30, "2026-02-15T23:59:59Z");
        let import =
            Import::new(format!("of {worker}"), 1).daily(worker, day("2026-02-15"), before);
        scene.store.import(import).unwrap();
        if let Some(today) = today {
            scene.history(
                &format!("today of {worker}"),
                worker,
                &[("2026-02-16T00:00:00Z", today)],
            );
        }
    }
    let view = scene.view();

    let found = |share: f64| -> Vec<WorkerId> {
        view.slowed(share, usize::MAX).unwrap().iter().map(|standing| standing.worker).collect()
    };

    assert_eq!(found(0.0), [slow, half]);
    assert_eq!(found(0.5), [slow], "half as fast has not dropped by more than a half");
    assert_eq!(view.slowed(0.0, 1).unwrap().len(), 1);
    assert_eq!(view.slowed(0.0, 1).unwrap()[0].worker, slow);
    assert_eq!(found(0.875), [], "exactly the share is not more than the share");
    let standing = view.standing(half).unwrap();
    assert_eq!((standing.today.items, standing.lifetime.items, standing.drop), (10, 40, Some(0.5)));
    assert_eq!(view.standing(idle).unwrap().drop, None);
    assert_eq!(view.standing(WorkerId(99)).unwrap().lifetime, Totals::default());
    for share in [-0.1, 1.1, f64::NAN] {
        assert!(
            matches!(view.slowed(share, usize::MAX), Err(Error::Invalid { .. })),
            "a share of {share}"
        );
    }
}

#[test]
fn the_leaderboard_goes_by_items_and_then_by_number() {
    let scene = Scene::new(100);
    let [a, b, c] = ["pc-1", "gpu-1", "pc-2"].map(|name| scene.worker(name).id());
    scene.history("a", a, &[("2026-02-16T00:00:00Z", 5)]);
    scene.store.import(Import::new("b", 1).lifetime(b, batch(7, "2026-02-15T00:00:00Z"))).unwrap();
    scene.history("c", c, &[("2026-02-16T00:00:00Z", 5)]);
    let view = scene.view();

    let places: Vec<_> =
        view.leaderboard(10).unwrap().iter().map(|e| (e.rank, e.worker, e.totals.items)).collect();

    assert_eq!(places, [(1, b, 7), (2, a, 5), (3, c, 5)]);
    assert_eq!(view.leaderboard(1).unwrap().len(), 1);
    assert_eq!(view.leaderboard(0).unwrap(), []);
    assert_eq!(view.archived().leaderboard(1).unwrap()[0].worker, b);
    let kinds = view.fleet_by_kind().unwrap();
    let kinds: Vec<_> = kinds.iter().map(|k| (&k.kind[..], k.workers, k.totals.items)).collect();
    assert_eq!(kinds, [("gpu", 1, 7), ("pc", 2, 10)]);
}

#[test]
fn sums_over_the_fleet_that_do_not_fit_are_damage() {
    let scene = Scene::new(100);
    let workers = ["pc-1", "pc-2", "gpu-1"].map(|name| scene.worker(name).id());
    let noon = batch(1, "2026-02-15T12:00:00Z");
    let huge = Totals { batches: u64::MAX / 2, items: u128::MAX / 2, ..noon };
    for worker in workers {
        // Imports of so much are refused, so the rows are changed by hand.
        let import = Import::new(worker.to_string(), 1).daily(worker, day("2026-02-15"), noon);
        scene.store.import(import).unwrap();
        scene.edit(&key::worker(worker), |row: &mut LifetimeRow| {
            row.totals = huge;
            row.day.0.as_mut().unwrap().1.0 = huge;
            row.month.0.as_mut().unwrap().1.totals = huge;
        });
    }
    let view = scene.view();

    let refused = [
        view.lifetime(Scope::Fleet).map(drop),
        view.daily(Scope::Fleet, ..).map(drop),
        view.monthly(Scope::Fleet, ..).map(drop),
        view.best_day(Scope::Fleet).map(drop),
        view.best_month(Scope::Fleet).map(drop),
    ];
    let is_damage = |result: &Result<(), Error>| matches!(result, Err(Error::Corrupted { .. }));
    assert!(refused.iter().all(is_damage), "{refused:?}");

    // Two still fit, and so does each by itself.
    let pc = view.lifetime(Scope::kind("pc")).unwrap().totals;
    assert_eq!((pc.batches, pc.items), (u64::MAX - 1, u128::MAX - 1));
    assert_eq!(view.daily(workers[2], ..).unwrap()[0].totals, huge);
    assert_eq!(view.leaderboard(9).unwrap().len(), 3);
    assert_eq!(view.fleet_by_kind().unwrap()[1].totals, pc);

    let worker = scene.worker("pc-3").id();
    let one = Import::new("one", 1).daily(worker, day("2026-02-15"), Totals { items: 2, ..noon });
    scene.store.import(one).unwrap();
    assert!(matches!(scene.view().fleet_by_kind(), Err(Error::Corrupted { .. })));
}

#[test]
fn a_checkpoint_makes_its_worker_seen() {
    let scene = Scene::new(1);
    let (busy, idle) = (scene.worker("pc-01"), scene.worker("pc-02"));
    let mut lease = scene.lease(&busy, scene.job("alpha", 0, 1_000));
    let mut other = scene.lease(&idle, scene.job("beta", 0, 1_000));
    let start = scene.store.now();
    scene.checkpoint(&mut lease, 100);
    // This pushes the busy worker's batch out of history.
    scene.checkpoint(&mut other, 50);

    let view = scene.view();

    let seen = |worker: &crate::Worker| view.worker(worker.id()).unwrap().unwrap().last_seen;
    assert_eq!(
        (seen(&busy), seen(&idle)),
        (start.saturating_add(MINUTE), start.saturating_add(2 * MINUTE))
    );
    let workers = view.workers(None, usize::MAX).unwrap();
    assert_eq!(workers.iter().map(|w| w.last_seen).collect::<Vec<_>>(), [seen(&busy), seen(&idle)]);
    assert_eq!(view.worker_named("pc-01").unwrap().as_ref(), Some(&workers[0]));
    assert_eq!(view.worker_named("pc-03").unwrap(), None);
    let active = view.active_since(start.saturating_add(2 * MINUTE), None, usize::MAX).unwrap();
    let active: Vec<_> = active.iter().map(|a| (a.worker, a.recent.items, a.leases)).collect();
    assert_eq!(active, [(idle.id(), 50, 1)]);
    let finished = view.finished_since(start).unwrap();
    assert_eq!((finished.workers, finished.totals.items), (1, 50));
    assert_eq!(
        finished.reaches_back_to,
        Some(start.saturating_add(2 * MINUTE)),
        "a batch is missing"
    );
}

#[test]
fn what_was_done_since_a_time_is_added_up_from_chunks_and_single_records() {
    let scene = Scene::new(1_000);
    let workers = ["pc-01", "pc-02", "pc-03"].map(|name| scene.worker(name).id());
    // Times go up and down within a chunk, and from one to the next; the first records leave.
    let start = scene.store.now();
    let finished =
        |n: u64| start.saturating_sub(Duration::from_secs((n * 37 % 400) * 60 + 1_600 - n));
    let mut import = Import::new("many", 1);
    for n in 0..1_600 {
        let worker = workers[n as usize * 7 % 3];
        let batch = PastBatch::new(worker, 0..n, finished(n));
        import = import.history(batch.with_duration(Duration::from_secs(1)));
    }
    scene.store.import(import).unwrap();
    let view = scene.view();
    let live = view.newest_history(None, 2_000).unwrap();
    assert_eq!(live.len(), 1_000);

    for minutes in [0u64, 1, 26, 27, 100, 399, 400, 10_000] {
        for since in [start.saturating_sub(minutes as u32 * MINUTE), finished(minutes.min(1_599))] {
            let expected: Totals = live
                .iter()
                .filter(|record| record.batch.finished_at >= since)
                .map(totals)
                .collect();
            assert_eq!(view.finished_since(since).unwrap().totals, expected, "since {since}");
        }
    }
}

fn totals(record: &super::HistoryRecord) -> Totals {
    record.batch.totals()
}

#[test]
fn the_newest_history_is_that_of_the_worker_the_job_or_the_errors_asked_for() {
    let scene = Scene::new(100);
    let (a, b) = (scene.worker("pc-01"), scene.worker("pc-02"));
    let (alpha, beta) = (scene.job("alpha", 0, 1_000), scene.job("beta", 0, 1_000));
    let (mut of_a, mut of_b) = (scene.lease(&a, alpha), scene.lease(&b, beta));
    scene.checkpoint(&mut of_a, 1);
    scene.checkpoint(&mut of_b, 2);
    scene.checkpoint(&mut of_a, 3);
    let failing = Batch::new(2..6, Duration::ZERO).with_error("no route");
    of_b.checkpoint(failing).unwrap();
    let view = scene.view();

    let items = |records: Vec<super::HistoryRecord>| {
        records.iter().map(|r| r.batch.items).collect::<Vec<_>>()
    };

    assert_eq!(items(view.newest_history(None, 3).unwrap()), [4, 3, 2]);
    assert_eq!(
        items(view.find_history(&crate::HistoryFilter::default().worker(a.id()), None, 9).unwrap()),
        [3, 1]
    );
    assert_eq!(
        items(view.find_history(&crate::HistoryFilter::default().worker(a.id()), None, 1).unwrap()),
        [3]
    );
    assert_eq!(
        items(view.find_history(&crate::HistoryFilter::default().job(beta), None, 9).unwrap()),
        [4, 2]
    );
    assert_eq!(
        items(view.find_history(&crate::HistoryFilter::default().errors(), None, 9).unwrap()),
        [4]
    );
    assert!(view.newest_history(None, 0).unwrap().is_empty());
}
