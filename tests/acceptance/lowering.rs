//! Lowered caps: reached in steps, one with every commit, and nothing is lost on the way.

use std::sync::Arc;
use std::time::Duration;

use milepost::testing::tables;
use milepost::{Batch, CapsChange, Import, ImportOutcome, NewJob, WorkerId};

use crate::ledger::{Ledger, past, totals_of_day};
use crate::storage::{Counting, Counts, Watched};
use crate::support::{Scene, lease, nth_day, nth_month, rows};

/// The most rows that one commit lets go of beyond what it added.
const STEP: u64 = 256;

fn history(records: u32) -> CapsChange {
    CapsChange::default().with_history(records)
}

fn daily(rows: u32) -> CapsChange {
    CapsChange::default().with_daily(rows)
}

fn monthly(rows: u32) -> CapsChange {
    CapsChange::default().with_monthly(rows)
}

/// The counts after each commit of these.
fn watch(counting: &Counting, mut commit: impl FnMut()) -> Vec<Counts> {
    counting.take();
    commit();
    counting.take()
}

/// Checks that a count falls with every commit, by no more than a step, until it meets its cap,
/// and stays there.
#[track_caller]
fn assert_falls(before: u64, after_each_commit: &[u64], cap: u64) {
    let mut last = before;
    for (n, &count) in after_each_commit.iter().enumerate() {
        if last > cap {
            assert!(count < last, "commit {n} left {count} of {last}: {after_each_commit:?}");
            assert!(last - count <= STEP, "commit {n} took too much: {after_each_commit:?}");
        } else {
            assert_eq!(count, cap, "{after_each_commit:?}");
        }
        last = count;
    }
    assert_eq!(last, cap, "{after_each_commit:?}");
}

/// The rows of all that is removed in steps.
fn all_rows(counts: &Counts) -> u64 {
    let tiers: u64 = counts.daily.values().chain(counts.monthly.values()).sum();
    counts.history + tiers + counts.findings
}

/// A store with that many live records of one worker.
fn scene_with_history(records: u64) -> (Scene, Arc<Watched<Counting>>, Ledger) {
    let counting = Watched::<Counting>::new();
    let scene = Scene::on(counting.clone());
    let mut ledger = Ledger::default();
    let worker = scene.pc("a").id();
    let mut import = Import::new("many", 1);
    for n in 0..records {
        let batch = past(
            worker,
            scene.now().saturating_sub(Duration::from_secs((records - n) * 600)),
            n,
            1 + n * 7,
        );
        ledger.note(&batch);
        import = import.history(batch);
    }
    assert!(matches!(scene.import(import), Ok(ImportOutcome::Applied)));
    (scene, counting, ledger)
}

/// Promises 5, 7 and 8.
#[test]
fn at_a_lowered_history_cap_the_count_falls_with_every_commit_until_it_is_met() {
    let (scene, counting, mut ledger) = scene_with_history(2_000);
    scene.create_job(NewJob::new("keys", 0..1_000)).unwrap();
    let mut lease = lease(&scene.pc("a"));

    let mut counts = watch(&counting, || scene.set_caps(history(100)).unwrap());
    for n in 1..=12 {
        counts.extend(watch(&counting, || {
            ledger.checkpoint(&mut lease, scene.now(), 1, n);
        }));
        ledger.assert_conserved(&scene);
        scene.snapshot().unwrap().verify().unwrap();
    }

    let counts: Vec<u64> = counts.iter().map(|counts| counts.history).collect();
    assert_eq!(counts.len(), 13);
    assert_falls(2_000, &counts, 100);
}

/// Promise 5.
#[test]
fn commits_that_add_nothing_bring_a_lowered_history_cap_nearer_as_well() {
    let (scene, counting, ledger) = scene_with_history(1_000);
    scene.create_job(NewJob::new("keys", 0..1_000)).unwrap();
    let mut lease = lease(&scene.pc("a"));
    scene.set_caps(history(1)).unwrap();
    let before = rows(&scene, tables::HISTORY) as u64;

    let counts = watch(&counting, || {
        for _ in 0..4 {
            lease.renew().unwrap();
        }
    });

    let counts: Vec<u64> = counts.iter().map(|counts| counts.history).collect();
    assert_falls(before, &counts, 1);
    ledger.assert_conserved(&scene);
}

/// Promise 5.
#[test]
fn settling_reaches_a_lowered_history_cap_without_other_commits() {
    let (scene, counting, ledger) = scene_with_history(2_000);

    scene.set_caps(history(10)).unwrap();
    assert!(scene.snapshot().unwrap().is_settling());
    let before = rows(&scene, tables::HISTORY) as u64;
    let counts = watch(&counting, || scene.settle().unwrap());

    let counts: Vec<u64> = counts.iter().map(|counts| counts.history).collect();
    assert_falls(before, &counts, 10);
    assert!(!scene.snapshot().unwrap().is_settling());
    ledger.assert_conserved(&scene);
}

/// Three workers with as many days, or months, each.
fn import_rows(scene: &Scene, ledger: &mut Ledger, rows: i32, months: bool) -> Vec<WorkerId> {
    let workers: Vec<WorkerId> = ["a", "b", "c"].map(|name| scene.pc(name).id()).into();
    for worker in &workers {
        let mut import = Import::new(format!("rows of {worker}"), 1);
        for n in 0..rows {
            if months {
                let totals = totals_of_day(nth_month(n).first_day(), n as u64);
                ledger.note_day(*worker, nth_month(n).first_day(), totals);
                import = import.daily(*worker, nth_month(n).first_day(), totals);
            } else {
                let totals = totals_of_day(nth_day(n), n as u64);
                ledger.note_day(*worker, nth_day(n), totals);
                import = import.daily(*worker, nth_day(n), totals);
            }
        }
        assert!(matches!(scene.import(import), Ok(ImportOutcome::Applied)));
    }
    workers
}

/// Promises 6, 7 and 8.
#[test]
fn at_a_lowered_daily_cap_the_count_falls_with_every_commit_until_it_is_met() {
    let counting = Watched::<Counting>::new();
    let scene = Scene::on(counting.clone());
    let mut ledger = Ledger::default();
    import_rows(&scene, &mut ledger, 400, false);
    scene.create_job(NewJob::new("keys", 0..1_000)).unwrap();
    let mut lease = lease(&scene.pc("a"));

    let mut counts = watch(&counting, || scene.set_caps(daily(10)).unwrap());
    for _ in 0..6 {
        counts.extend(watch(&counting, || {
            lease.renew().unwrap();
        }));
        ledger.assert_conserved(&scene);
        scene.snapshot().unwrap().verify().unwrap();
    }

    let sums: Vec<u64> = counts.iter().map(|counts| counts.daily.values().sum()).collect();
    assert_falls(1_200, &sums, 30);
    assert!(counts.last().expect("there were commits").daily.values().all(|&rows| rows == 10));
}

/// Promises 6 to 9.
#[test]
fn at_a_lowered_monthly_cap_the_count_falls_with_every_commit_until_it_is_met() {
    let counting = Watched::<Counting>::new();
    let scene = Scene::on(counting.clone());
    let mut ledger = Ledger::default();
    import_rows(&scene, &mut ledger, 300, true);
    scene.create_job(NewJob::new("keys", 0..1_000)).unwrap();
    let mut lease = lease(&scene.pc("a"));

    let mut counts = watch(&counting, || scene.set_caps(monthly(5)).unwrap());
    for _ in 0..6 {
        counts.extend(watch(&counting, || {
            lease.renew().unwrap();
        }));
        ledger.assert_conserved(&scene);
        scene.snapshot().unwrap().verify().unwrap();
    }

    let sums: Vec<u64> = counts.iter().map(|counts| counts.monthly.values().sum()).collect();
    assert_falls(900, &sums, 15);
    for counts in &counts {
        assert_eq!(counts.daily, counts.monthly, "a day leaves with its month");
    }
}

/// Promises 6 to 9: a step took 256 months and each with all of its days, 8,046 rows in one commit.
#[test]
fn the_days_of_a_month_count_as_rows_of_a_step() {
    let counting = Watched::<Counting>::new();
    let scene = Scene::on(counting.clone());
    let mut ledger = Ledger::default();
    scene.set_caps(daily(10_000)).unwrap();
    import_rows(&scene, &mut ledger, 2_000, false);
    let months = rows(&scene, tables::MONTHLY) as u64;

    let mut counts = watch(&counting, || scene.set_caps(monthly(1)).unwrap());
    while scene.snapshot().unwrap().is_settling() {
        counts.extend(watch(&counting, || {
            scene.pc("a");
        }));
        scene.snapshot().unwrap().verify().unwrap();
        ledger.assert_conserved(&scene);
    }

    let sums: Vec<u64> = counts.iter().map(all_rows).collect();
    // The last of 2,000 days is the 22nd of its month.
    assert_falls(6_000 + months, &sums, 3 * (22 + 1));
}

/// Promises 5 to 9 and 14.
#[test]
fn everything_that_is_left_to_do_shares_the_rows_of_a_step() {
    let (scene, counting, mut ledger) = scene_with_history(700);
    import_rows(&scene, &mut ledger, 300, false);
    let job = scene.create_job(NewJob::new("keys", 0..1)).unwrap();
    let mut lease = lease(&scene.pc("a"));
    let batch = Batch::new(0..1, Duration::from_micros(7));
    let batch = (0..900u32).fold(batch, |batch, n| batch.with_finding(n.to_be_bytes(), ""));
    let mut done = past(lease.worker(), scene.now(), 1, 7);
    done.outcome = milepost::BatchOutcome::Completed;
    ledger.note(&done);
    let commits = watch(&counting, || {
        lease.checkpoint(batch.clone()).unwrap();
    });
    let before = all_rows(&commits[0]);
    assert_eq!(before, 701 + 3 * (300 + 10) + 900);

    let counts = watch(&counting, || {
        scene
            .set_caps(milepost::Caps::default().with_history(3).with_daily(2).with_monthly(1))
            .unwrap();
        scene.delete_job(job).unwrap();
    });

    // Records that leave add days and months, which leave in turn: a step may bring little, but
    // never removes too much.
    let mut last = before;
    for count in counts.iter().map(all_rows) {
        assert!(last.saturating_sub(count) <= STEP, "{last} rows, then {count}");
        last = count;
    }
    assert_eq!(last, 3 + 3 * (2 + 1));
    ledger.assert_conserved(&scene);
}

/// Promises 6 to 8.
#[test]
fn all_caps_can_be_lowered_at_once() {
    let (scene, _counting, mut ledger) = scene_with_history(700);
    import_rows(&scene, &mut ledger, 300, false);

    scene
        .set_caps(milepost::Caps::default().with_history(3).with_daily(2).with_monthly(1))
        .unwrap();
    scene.settle().unwrap();

    let archived = scene.snapshot().unwrap().archived();
    assert_eq!(rows(&scene, tables::HISTORY), 3);
    for worker in archived.workers(None, usize::MAX).unwrap() {
        assert_eq!(archived.monthly(worker.id, ..).unwrap().len(), 1, "{}", worker.name);
        assert!(archived.daily(worker.id, ..).unwrap().len() <= 2, "{}", worker.name);
    }
    ledger.assert_conserved(&scene);
}

/// Promise 5.
#[test]
fn a_cap_that_is_raised_again_keeps_what_is_left() {
    let (scene, _counting, ledger) = scene_with_history(1_000);
    scene.set_caps(history(10)).unwrap();
    let left = rows(&scene, tables::HISTORY);
    assert!((11..1_000).contains(&left));

    scene.set_caps(history(5_000)).unwrap();
    scene.settle().unwrap();

    assert_eq!(rows(&scene, tables::HISTORY), left);
    ledger.assert_conserved(&scene);
}

/// Promises 5, 7 and 11.
#[test]
fn a_cap_lowered_by_one_opening_is_reached_by_the_next() {
    let mut scene = Scene::new();
    let mut ledger = Ledger::default();
    let worker = scene.pc("a").id();
    let mut import = Import::new("many", 1);
    for n in 0..800 {
        let batch =
            past(worker, scene.now().saturating_sub(Duration::from_secs((800 - n) * 600)), n, n);
        ledger.note(&batch);
        import = import.history(batch);
    }
    scene.import(import).unwrap();

    scene.reopen_with(|builder| builder.history_limit(50));
    let after_first = rows(&scene, tables::HISTORY);
    scene.reopen_with(|builder| builder);
    assert_eq!(rows(&scene, tables::HISTORY), after_first, "opening alone changes nothing");
    scene.settle().unwrap();

    assert!((51..800).contains(&after_first));
    assert_eq!(rows(&scene, tables::HISTORY), 50);
    ledger.assert_conserved(&scene);
}
