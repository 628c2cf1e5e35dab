//! Days and months where calendars are tricky, and records that come late.

use std::time::Duration;

use milepost::{Import, NewJob, NewWorker, Timestamp};

use crate::ledger::{Ledger, past};
use crate::support::{Scene, YEAR, advance, at, day, lease, month, relaxed};

/// A store that keeps one live record, so that all before the newest are archived.
fn scene(daily: u32, monthly: u32) -> Scene {
    Scene::with(|builder| {
        relaxed(builder).history_limit(1).daily_limit(daily).monthly_limit(monthly)
    })
}

/// Imports a record of a second's length for each time, in this order, and one more that stays.
#[track_caller]
fn import_all(scene: &Scene, ledger: &mut Ledger, times: &[&str]) -> milepost::WorkerId {
    let worker = scene.pc("a").id();
    for (n, time) in times.iter().enumerate() {
        ledger.import(scene, past(worker, at(time), 10 + n as u64, 1_000_000));
    }
    let other = scene.pc("the newest record is this one's").id();
    let last = past(other, scene.now(), 1, 1);
    assert!(scene.import(Import::new("last", 1).history(last)).is_ok());
    worker
}

/// Rows by name, with their batches.
type Named = Vec<(String, u64)>;

/// The days and months that a worker has, with their batches.
fn days_and_months(scene: &Scene, worker: milepost::WorkerId) -> (Named, Named) {
    let view = scene.snapshot().expect("the store is open").archived();
    let days = view.daily(worker, ..).expect("the store is open");
    let months = view.monthly(worker, ..).expect("the store is open");
    (
        days.iter().map(|day| (day.day.to_string(), day.totals.batches)).collect(),
        months.iter().map(|month| (month.month.to_string(), month.totals.batches)).collect(),
    )
}

fn named(rows: &[(&str, u64)]) -> Named {
    rows.iter().map(|(name, batches)| (name.to_string(), *batches)).collect()
}

/// Promise 8.
#[test]
fn at_midnight_of_new_year_day_month_and_year_change_together() {
    let scene = scene(10, 10);
    let mut ledger = Ledger::default();

    let worker = import_all(
        &scene,
        &mut ledger,
        &["2025-12-31T00:00:00Z", "2025-12-31T23:59:59.999999Z", "2026-01-01T00:00:00Z"],
    );

    let (days, months) = days_and_months(&scene, worker);
    assert_eq!(days, named(&[("2025-12-31", 2), ("2026-01-01", 1)]));
    assert_eq!(months, named(&[("2025-12", 2), ("2026-01", 1)]));
    ledger.assert_conserved(&scene);
}

/// Promise 8.
#[test]
fn a_leap_day_is_a_day_of_february() {
    let scene = scene(10, 10);
    let mut ledger = Ledger::default();

    let worker = import_all(
        &scene,
        &mut ledger,
        &[
            "2000-02-29T12:00:00Z",
            "2024-02-28T23:59:59.999999Z",
            "2024-02-29T00:00:00Z",
            "2024-02-29T23:59:59.999999Z",
            "2024-03-01T00:00:00Z",
            "2100-02-28T23:59:59.999999Z",
            "2100-03-01T00:00:00Z",
        ],
    );

    let (days, months) = days_and_months(&scene, worker);
    let expected = [
        ("2000-02-29", 1),
        ("2024-02-28", 1),
        ("2024-02-29", 2),
        ("2024-03-01", 1),
        ("2100-02-28", 1),
        ("2100-03-01", 1),
    ];
    assert_eq!(days, named(&expected));
    let expected = [("2000-02", 1), ("2024-02", 3), ("2024-03", 1), ("2100-02", 1), ("2100-03", 1)];
    assert_eq!(months, named(&expected));
    ledger.assert_conserved(&scene);
}

/// Promise 9.
#[test]
fn a_month_that_leaves_takes_its_leap_day_with_it_and_not_the_day_after() {
    let scene = scene(10, 2);
    let mut ledger = Ledger::default();

    let worker = import_all(
        &scene,
        &mut ledger,
        &[
            "2024-02-01T00:00:00Z",
            "2024-02-29T23:00:00Z",
            "2024-03-01T00:00:00Z",
            "2024-04-01T00:00:00Z",
        ],
    );

    let (days, months) = days_and_months(&scene, worker);
    assert_eq!(days, named(&[("2024-03-01", 1), ("2024-04-01", 1)]));
    assert_eq!(months, named(&[("2024-03", 1), ("2024-04", 1)]));
    ledger.assert_conserved(&scene);
}

/// Promise 8: days before 1970 have negative numbers, and come first all the same.
#[test]
fn days_before_1970_are_in_order_too() {
    let scene = scene(2, 2);
    let mut ledger = Ledger::default();

    let worker = import_all(
        &scene,
        &mut ledger,
        &["1969-11-30T10:00:00Z", "1969-12-31T23:59:59.999999Z", "1970-01-01T00:00:00Z"],
    );

    let (days, months) = days_and_months(&scene, worker);
    assert_eq!(days, named(&[("1969-12-31", 1), ("1970-01-01", 1)]));
    assert_eq!(months, named(&[("1969-12", 1), ("1970-01", 1)]));
    ledger.assert_conserved(&scene);
}

/// Promise 8.
#[test]
fn the_first_and_the_last_instant_of_the_calendar_have_a_day_and_a_month() {
    let scene = scene(10, 10);
    let mut ledger = Ledger::default();
    let (first, last) = (Timestamp::MIN.to_string(), Timestamp::MAX.to_string());

    let worker = import_all(&scene, &mut ledger, &[&first, &last]);

    let (days, months) = days_and_months(&scene, worker);
    assert_eq!((days.len(), months.len()), (2, 2), "{days:?} {months:?}");
    ledger.assert_conserved(&scene);
}

/// Promises 6, 7 and 8.
#[test]
fn a_late_record_for_a_day_that_left_is_kept_in_its_month() {
    let scene = scene(2, 10);
    let mut ledger = Ledger::default();
    let times = ["2026-02-01T12:00:00Z", "2026-02-02T12:00:00Z", "2026-02-03T12:00:00Z"];
    let worker = import_all(&scene, &mut ledger, &times);
    let (days, _) = days_and_months(&scene, worker);
    assert_eq!(days, named(&[("2026-02-02", 1), ("2026-02-03", 1)]));

    ledger.import(&scene, past(worker, at("2026-02-01T13:00:00Z"), 77, 1_000_000));
    ledger.import(&scene, past(worker, at("2026-02-03T13:00:00Z"), 1, 1_000_000));

    let (days, months) = days_and_months(&scene, worker);
    assert_eq!(days, named(&[("2026-02-02", 1), ("2026-02-03", 1)]), "its day does not come back");
    assert_eq!(months, named(&[("2026-02", 4)]));
    ledger.assert_conserved(&scene);
}

/// Promises 6 to 9.
#[test]
fn a_late_record_for_a_month_that_left_is_kept_in_the_lifetime() {
    let scene = scene(10, 2);
    let mut ledger = Ledger::default();
    let times = ["2025-12-01T12:00:00Z", "2026-01-01T12:00:00Z", "2026-02-01T12:00:00Z"];
    let worker = import_all(&scene, &mut ledger, &times);

    ledger.import(&scene, past(worker, at("2025-12-01T13:00:00Z"), 77, 1_000_000));
    ledger.import(&scene, past(worker, at("2026-02-03T13:00:00Z"), 1, 1_000_000));

    let (days, months) = days_and_months(&scene, worker);
    assert_eq!(days, named(&[("2026-01-01", 1), ("2026-02-01", 1)]));
    assert_eq!(months, named(&[("2026-01", 1), ("2026-02", 1)]), "its month does not come back");
    let life = scene.snapshot().unwrap().archived().lifetime(worker).unwrap();
    assert_eq!((life.totals.batches, life.rolled.batches), (4, 2));
    ledger.assert_conserved(&scene);
}

/// Promises 7 and 8: the row that comes back is partial, and the law holds all the same.
#[test]
fn after_a_raised_cap_a_late_record_brings_its_day_and_month_back_in_part() {
    let scene = scene(1, 1);
    let mut ledger = Ledger::default();
    let times = ["2025-12-01T12:00:00Z", "2026-01-01T12:00:00Z", "2026-02-01T12:00:00Z"];
    let worker = import_all(&scene, &mut ledger, &times);
    scene
        .set_caps(milepost::Caps::default().with_history(1).with_daily(10).with_monthly(10))
        .unwrap();

    ledger.import(&scene, past(worker, at("2025-12-01T13:00:00Z"), 77, 1_000_000));
    ledger.import(&scene, past(worker, at("2026-02-03T13:00:00Z"), 1, 1_000_000));

    let (days, months) = days_and_months(&scene, worker);
    assert_eq!(days, named(&[("2025-12-01", 1), ("2026-02-01", 1)]), "only what came late");
    assert_eq!(months, named(&[("2025-12", 1), ("2026-02", 1)]), "only what came late");
    let view = scene.snapshot().unwrap();
    assert_eq!(view.lifetime(worker).unwrap().totals, ledger.lifetime(worker));
    view.verify().unwrap();
}

/// Promises 3 and 8.
#[test]
fn a_worker_that_returns_after_years_is_the_same_one_and_goes_on_where_it_was() {
    let mut scene = Scene::with(|builder| builder.history_limit(1));
    let mut ledger = Ledger::default();
    scene.create_job(NewJob::new("keys", 0..1_000)).unwrap();
    let before = scene.pc("old hand");
    let mut first = lease(&before);
    ledger.checkpoint(&mut first, scene.now(), 100, 1_000);
    ledger.checkpoint(&mut first, scene.now(), 100, 1_000);
    first.abandon();

    scene.clock.advance(7 * YEAR);
    scene.reopen_with(|builder| builder);
    let after = scene.register_worker(NewWorker::new("old hand").kind("gpu")).unwrap();
    let mut second = lease(&after);
    ledger.checkpoint(&mut second, scene.now(), 300, 1_000);
    ledger.checkpoint(&mut second, scene.now(), 300, 1_000);

    assert_eq!(after.id(), before.id());
    assert_eq!((second.resumed_at(), second.attempts()), (200, 0));
    let view = scene.snapshot().unwrap();
    let worker = view.worker(after.id()).unwrap().unwrap();
    assert_eq!((worker.first_seen, worker.last_seen), (at(crate::support::NOON), scene.now()));
    assert_eq!(worker.kind, "gpu");
    let days: Vec<_> = view.daily(&after, ..).unwrap().iter().map(|day| day.day).collect();
    assert_eq!(days, [day("2026-02-16"), day("2033-02-14")]);
    let months: Vec<_> = view.monthly(&after, ..).unwrap().iter().map(|m| m.month).collect();
    assert_eq!(months, [month("2026-02"), month("2033-02")]);
    ledger.assert_conserved(&scene);
}

/// Promise 12.
#[test]
fn a_clock_that_jumps_years_either_way_loses_no_checkpoint() {
    let scene = Scene::with(|builder| relaxed(builder).history_limit(3).monthly_limit(100));
    let mut ledger = Ledger::default();
    let job = scene.create_job(NewJob::new("keys", 0..1_000)).unwrap();
    let mut lease = lease(&scene.pc("a"));

    for years in [0, 30, 1, 90, 5] {
        scene.clock.set(at("1990-06-15T00:00:00Z").saturating_add(years * YEAR));
        ledger.checkpoint(&mut lease, scene.now(), 10, 1_000 + u64::from(years));
        scene.clock.advance(Duration::from_secs(1));
        advance_and_note(&scene, &mut ledger, &mut lease);
    }

    assert_eq!(scene.snapshot().unwrap().job(job).unwrap().unwrap().cursor, 100);
    ledger.assert_conserved(&scene);
}

fn advance_and_note(scene: &Scene, ledger: &mut Ledger, lease: &mut milepost::Lease) {
    ledger.note(&past(lease.worker(), scene.now(), 10, 10));
    advance(lease, 10);
}
