//! The four tiers: caps, the cascade, and the conservation of every number.

use std::time::Duration;

use milepost::testing::tables;
use milepost::{Action, Batch, Import, ImportOutcome, LeaseCommand, NewJob, Totals, WorkerId};

use crate::ledger::{Ledger, past, totals_of_day};
use crate::support::{
    DAY, Dump, MINUTE, Scene, at, day, dump, lease, month, nth_day, nth_month, relaxed, rows,
};

/// Promise 5.
#[test]
fn at_a_history_cap_of_100_the_oldest_records_leave_whoever_wrote_them() {
    let scene = Scene::with(|builder| relaxed(builder).history_limit(100));
    let mut ledger = Ledger::default();
    scene.jobs(&["a", "b", "c"]);
    let workers = [scene.pc("a"), scene.pc("b"), scene.pc("c")];

    for (worker, records) in workers.iter().zip([60, 50, 40]) {
        let request = worker.request(MINUTE).of_prefix(worker.name());
        let mut lease = request.send().unwrap().leased().expect("it is waiting");
        for n in 1..=records {
            scene.clock.advance(Duration::from_secs(1));
            ledger.checkpoint(&mut lease, scene.now(), 3, n);
            assert!(rows(&scene, tables::HISTORY) <= 100);
        }
    }

    let view = scene.snapshot().unwrap();
    assert_eq!(rows(&scene, tables::HISTORY), 100);
    let live = |n: usize| {
        view.find_history(&milepost::HistoryFilter::default().worker(workers[n].id()), None, 200)
            .unwrap()
            .len()
    };
    assert_eq!((live(0), live(1), live(2)), (10, 50, 40));
    let left = |n: usize| view.archived().lifetime(&workers[n]).unwrap().totals.batches;
    assert_eq!((left(0), left(1), left(2)), (50, 0, 0));
    ledger.assert_conserved(&scene);
}

/// Makes 15,000 checkpoints by one worker in a store with the default caps.
fn fifteen_thousand_checkpoints(scene: &Scene, ledger: &mut Ledger) -> WorkerId {
    scene.create_job(NewJob::new("keys", 0..15_000)).expect("the range is free");
    let lease = lease(&scene.pc("pc-01"));
    let (job, token, worker) = (lease.job(), lease.token(), lease.worker());
    lease.abandon();
    for chunk in 0..15u64 {
        scene.clock.advance(Duration::from_secs(7_201));
        let answers = scene.submit_many((0..1_000).map(|n| {
            let from = chunk * 1_000 + n;
            let micros = 1 + from * 7_919 % 1_000;
            let mut done = past(worker, scene.now(), 1, micros);
            if from + 1 == 15_000 {
                done.outcome = milepost::BatchOutcome::Completed;
            }
            ledger.note(&done);
            let batch = Batch::new(from..from + 1, Duration::from_micros(micros));
            LeaseCommand::new(job, token, from + 1, Action::Checkpoint(batch))
        }));
        assert!(answers.iter().all(Result::is_ok));
    }
    worker
}

/// Promise 5.
#[test]
fn of_15_000_checkpoints_at_the_default_cap_exactly_10_000_remain() {
    let scene = Scene::with(relaxed);

    fifteen_thousand_checkpoints(&scene, &mut Ledger::default());

    assert_eq!(rows(&scene, tables::HISTORY), 10_000);
    let oldest_left = scene
        .snapshot()
        .unwrap()
        .newest_history(None, 10_000)
        .unwrap()
        .pop()
        .expect("10,000 are there");
    assert_eq!(oldest_left.batch.start, 5_000, "the first 5,000 have left");
}

/// Promise 8.
#[test]
fn after_15_000_checkpoints_lifetime_plus_live_equals_what_was_put_in() {
    let scene = Scene::with(relaxed);
    let mut ledger = Ledger::default();

    let worker = fifteen_thousand_checkpoints(&scene, &mut ledger);

    let view = scene.snapshot().unwrap();
    let mut sum = view.archived().lifetime(worker).unwrap().totals;
    assert_eq!(sum.batches, 5_000);
    for record in
        view.find_history(&milepost::HistoryFilter::default().worker(worker), None, 20_000).unwrap()
    {
        let mut live = Ledger::default();
        live.note(&record.batch);
        crate::ledger::add(&mut sum, &live.lifetime(worker));
    }
    assert_eq!(sum, ledger.lifetime(worker));
    ledger.assert_conserved(&scene);
}

/// Imports a day for each of the numbers, all in one transaction.
fn import_days(scene: &Scene, ledger: &mut Ledger, worker: WorkerId, days: i32) {
    let mut import = Import::new(format!("days of {worker}"), 1);
    for n in 0..days {
        let totals = totals_of_day(nth_day(n), n as u64);
        ledger.note_day(worker, nth_day(n), totals);
        import = import.daily(worker, nth_day(n), totals);
    }
    assert!(matches!(scene.import(import), Ok(ImportOutcome::Applied)));
}

/// Imports days for two workers and checks how many remain: the newest, with nothing lost.
#[track_caller]
fn assert_days_remain(put_in: [i32; 2], remain: [usize; 2]) {
    let scene = Scene::new();
    let mut ledger = Ledger::default();
    let workers = [scene.pc("a").id(), scene.pc("b").id()];

    for (worker, days) in workers.into_iter().zip(put_in) {
        import_days(&scene, &mut ledger, worker, days);
    }

    let view = scene.snapshot().expect("the store is open");
    for (n, worker) in workers.into_iter().enumerate() {
        let days = view.archived().daily(worker, ..).expect("the store is open");
        assert_eq!(days.len(), remain[n]);
        let oldest = put_in[n] - remain[n] as i32;
        assert!((oldest..).map(nth_day).zip(&days).all(|(expected, found)| expected == found.day));
    }
    ledger.assert_conserved(&scene);
}

/// Promise 6.
#[test]
fn of_1_500_days_of_a_and_800_of_b_remain_1_000_and_800() {
    assert_days_remain([1_500, 800], [1_000, 800]);
}

/// Promise 6.
#[test]
fn of_1_200_days_of_a_and_500_of_b_remain_1_000_and_500() {
    assert_days_remain([1_200, 500], [1_000, 500]);
}

/// The rows of the tiers that belong to a worker.
fn rows_of(dump: Dump, worker: WorkerId) -> Dump {
    let tiers = [tables::DAILY, tables::MONTHLY, tables::LIFETIME];
    let key = worker.get().to_be_bytes();
    dump.into_iter().filter(|row| tiers.contains(&row.0) && row.1.starts_with(&key)).collect()
}

/// Promises 6 and 9.
#[test]
fn of_1_500_months_of_b_exactly_1_000_remain_and_other_workers_are_untouched() {
    let scene = Scene::new();
    let mut ledger = Ledger::default();
    let (a, b, c) = (scene.pc("a").id(), scene.pc("b").id(), scene.pc("c").id());
    import_days(&scene, &mut ledger, a, 40);
    import_days(&scene, &mut ledger, c, 40);
    let neighbours = || (rows_of(dump(&scene), a), rows_of(dump(&scene), c));
    let before = neighbours();

    let mut import = Import::new("months of b", 1);
    for n in 0..1_500 {
        let totals = totals_of_day(nth_month(n).first_day(), n as u64);
        ledger.note_month(b, nth_month(n), totals);
        import = import.monthly(b, nth_month(n), totals);
    }
    scene.import(import).unwrap();

    let months = scene.snapshot().unwrap().archived().monthly(b, ..).unwrap();
    assert_eq!(months.len(), 1_000);
    assert_eq!((months[0].month, months[999].month), (nth_month(500), nth_month(1_499)));
    assert!(neighbours() == before);
    ledger.assert_conserved(&scene);
}

/// Promises 5 and 7.
#[test]
fn a_hundred_records_of_one_day_that_are_forced_out_are_found_in_that_day_month_and_lifetime() {
    let scene = Scene::with(|builder| relaxed(builder).history_limit(100));
    let mut ledger = Ledger::default();
    scene.jobs(&["a", "b"]);
    let (early, later) = (scene.pc("early"), scene.pc("later"));
    let mut items = 0;
    let mut first = lease(&early);
    for n in 1..=100 {
        scene.clock.advance(Duration::from_secs(1));
        ledger.checkpoint(&mut first, scene.now(), n % 13 + 1, 1_000 * n);
        items += u128::from(n % 13 + 1);
    }
    first.release().unwrap();
    assert_eq!(scene.now().day(), day("2026-02-16"));
    assert_eq!(rows(&scene, tables::DAILY), 0, "all of them are live");

    scene.clock.advance(DAY);
    let mut second = lease(&later);
    for n in 1..=100 {
        ledger.checkpoint(&mut second, scene.now(), 1, n);
    }

    let archived = scene.snapshot().unwrap().archived();
    let days = archived.daily(&early, ..).unwrap();
    assert_eq!(days.len(), 1);
    assert_eq!(days[0].day, day("2026-02-16"));
    assert_eq!((days[0].totals.batches, days[0].totals.items), (100, items));
    let months = archived.monthly(&early, ..).unwrap();
    assert_eq!(months.len(), 1);
    assert_eq!((months[0].month, months[0].totals.batches), (month("2026-02"), 100));
    assert_eq!(archived.lifetime(&early).unwrap().totals, ledger.lifetime(early.id()));
    assert_eq!(rows(&scene, tables::HISTORY), 100);
    ledger.assert_conserved(&scene);
}

/// Promises 7 and 8.
#[test]
fn days_are_in_their_month_before_they_leave() {
    let scene = Scene::with(|builder| relaxed(builder).daily_limit(3));
    let worker = scene.pc("a").id();
    let mut sum = Totals::default();

    for n in 0..31 {
        let today = day("2026-01-01").number() + n;
        let today = milepost::Day::from_number(today).unwrap();
        let totals = totals_of_day(today, n as u64);
        crate::ledger::add(&mut sum, &totals);
        scene.import(Import::new(today.to_string(), 1).daily(worker, today, totals)).unwrap();

        let archived = scene.snapshot().unwrap().archived();
        let months = archived.monthly(worker, ..).unwrap();
        assert_eq!(months.len(), 1);
        assert_eq!(months[0].totals, sum, "after {today}");
        let days = archived.daily(worker, ..).unwrap();
        assert_eq!(days.len(), 3.min(n as usize + 1));
        assert_eq!(days.last().map(|day| day.day), Some(today));
        let mut whole = months[0].rolled;
        days.iter().for_each(|day| crate::ledger::add(&mut whole, &day.totals));
        assert_eq!(whole, sum, "what left and what is still there, after {today}");
    }
}

/// Promises 7, 8 and 9.
#[test]
fn months_are_in_the_lifetime_before_they_leave() {
    let scene = Scene::with(|builder| relaxed(builder).monthly_limit(2));
    let worker = scene.pc("a").id();
    let mut sum = Totals::default();

    for n in 0..24 {
        let first = nth_month(n).first_day();
        let totals = totals_of_day(first, n as u64);
        crate::ledger::add(&mut sum, &totals);
        scene.import(Import::new(first.to_string(), 1).daily(worker, first, totals)).unwrap();

        let archived = scene.snapshot().unwrap().archived();
        let life = archived.lifetime(worker).unwrap();
        assert_eq!(life.totals, sum, "after {first}");
        let months = archived.monthly(worker, ..).unwrap();
        assert_eq!(months.len(), 2.min(n as usize + 1));
        let mut whole = life.rolled;
        months.iter().for_each(|month| crate::ledger::add(&mut whole, &month.totals));
        assert_eq!(whole, sum, "what left and what is still there, after {first}");
        let days = archived.daily(worker, ..).unwrap();
        assert_eq!(days.len(), months.len(), "a day leaves with its month");
    }
}

/// Promises 7 and 8.
#[test]
fn lifetime_accumulates_from_all_tiers() {
    let scene = Scene::with(|builder| builder.history_limit(1));
    let mut ledger = Ledger::default();
    let worker = scene.pc("a").id();

    ledger.import(&scene, past(worker, at("2025-05-05T05:00:00Z"), 1, 1_000_000));
    ledger.import(&scene, past(worker, at("2026-02-16T12:00:00Z"), 20, 1_000_000));
    let of_day = totals_of_day(day("2024-04-04"), 3);
    ledger.note_day(worker, day("2024-04-04"), of_day);
    let of_month = totals_of_day(day("2023-03-03"), 4);
    ledger.note_month(worker, month("2023-03"), of_month);
    let of_life = totals_of_day(day("2022-02-02"), 5);
    ledger.note_lifetime(worker, of_life);
    let import = Import::new("coarser", 1)
        .daily(worker, day("2024-04-04"), of_day)
        .monthly(worker, month("2023-03"), of_month)
        .lifetime(worker, of_life);
    scene.import(import).unwrap();

    let view = scene.snapshot().unwrap();
    let (merged, archived) =
        (view.lifetime(worker).unwrap(), view.archived().lifetime(worker).unwrap());
    assert_eq!(merged.totals.items, 1 + 20 + 1_003 + 1_004 + 1_005);
    assert_eq!(archived.totals.items, 1 + 1_003 + 1_004 + 1_005);
    assert_eq!(archived.rolled, of_life);
    assert_eq!(view.monthly(worker, ..).unwrap().len(), 4);
    ledger.assert_conserved(&scene);
}

/// Promises 5 to 9, after every single command.
#[test]
fn sums_after_pruning_equal_the_originals_exactly_field_by_field() {
    let scene =
        Scene::with(|builder| relaxed(builder).history_limit(7).daily_limit(4).monthly_limit(3));
    let mut ledger = Ledger::default();
    scene.create_jobs((0..3).map(|n| NewJob::new("keys", n * 100_000..(n + 1) * 100_000))).unwrap();
    let workers = [scene.pc("a"), scene.pc("b"), scene.pc("c")];
    let mut leases = Vec::from(workers.each_ref().map(lease));
    // The clock only goes forward here: a late record may recreate a row that left, as a part.
    let mut rng = fastrand::Rng::with_seed(1);

    for _ in 0..400 {
        scene.clock.advance(Duration::from_secs(rng.u64(..200_000)));
        let lease = &mut leases[rng.usize(..3)];
        let micros = if rng.u8(..5) == 0 { 0 } else { rng.u64(..1 << 20) };
        ledger.checkpoint(lease, scene.now(), rng.u64(1..=100), micros);

        let view = scene.snapshot().unwrap();
        view.verify().unwrap();
        for worker in &workers {
            assert!(view.archived().daily(worker, ..).unwrap().len() <= 4);
            assert!(view.archived().monthly(worker, ..).unwrap().len() <= 3);
        }
        assert!(rows(&scene, tables::HISTORY) <= 7);
        ledger.assert_conserved(&scene);
    }
}

/// Promise 8: what failed is counted as such wherever its record goes.
#[test]
fn errors_are_counted_in_every_tier() {
    let scene = Scene::with(|builder| builder.history_limit(1));
    let mut ledger = Ledger::default();
    let worker = scene.pc("a").id();
    let failed = |at_text: &str| {
        let mut batch = past(worker, at(at_text), 5, 100);
        batch.error = Some("the disk was full".into());
        batch
    };

    ledger.import(&scene, failed("2026-02-14T00:00:00Z"));
    ledger.import(&scene, failed("2026-02-15T00:00:00Z"));
    ledger.import(&scene, past(worker, at("2026-02-16T00:00:00Z"), 5, 100));

    let view = scene.snapshot().unwrap();
    assert_eq!(view.lifetime(worker).unwrap().totals.errors, 2);
    assert_eq!(view.archived().monthly(worker, ..).unwrap()[0].totals.errors, 2);
    assert!(view.archived().daily(worker, ..).unwrap().iter().all(|day| day.totals.errors == 1));
    ledger.assert_conserved(&scene);
}

/// Promise 10.
#[test]
fn a_snapshot_stays_at_its_instant_while_the_store_moves_on() {
    let scene = Scene::with(|builder| builder.history_limit(2));
    let mut ledger = Ledger::default();
    scene.jobs(&["a"]);
    let worker = scene.pc("a");
    let mut lease = lease(&worker);
    for n in 1..=3 {
        ledger.checkpoint(&mut lease, scene.now(), n, n);
    }
    let then = scene.snapshot().unwrap();
    let expected = ledger.lifetime(worker.id());

    for n in 1..=5 {
        ledger.checkpoint(&mut lease, scene.now(), n, n);
    }

    assert_eq!(then.lifetime(&worker).unwrap().totals, expected);
    assert_eq!(then.newest_history(None, 10).unwrap().len(), 2);
    then.verify().unwrap();
    ledger.assert_conserved(&scene);
}
