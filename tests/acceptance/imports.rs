//! Imports: records from elsewhere, taken in by the same law, once.

use std::time::Duration;

use milepost::{Error, Import, ImportOutcome, Scope, Totals, WorkerId};

use crate::ledger::{Ledger, past, totals_of_day};
use crate::support::{Scene, at, day, dump, month, nth_day, refused};

/// Promise 4.
#[test]
fn an_import_repeated_under_its_number_adds_nothing() {
    let mut scene = Scene::new();
    let worker = scene.pc("a").id();
    let import = || {
        Import::new("once", 1)
            .history(past(worker, at("2026-02-16T10:00:00Z"), 5, 100))
            .daily(worker, day("2026-02-15"), totals_of_day(day("2026-02-15"), 1))
            .monthly(worker, month("2026-01"), totals_of_day(day("2026-01-05"), 2))
            .lifetime(worker, totals_of_day(day("2020-01-05"), 3))
    };
    assert_eq!(scene.import(import()).unwrap(), ImportOutcome::Applied);
    let before = dump(&scene);

    assert_eq!(scene.import(import()).unwrap(), ImportOutcome::AlreadyApplied);
    scene.reopen_with(|builder| builder);
    let outcome = scene.import(import()).unwrap();
    assert_eq!(outcome, ImportOutcome::AlreadyApplied, "also after a restart");

    assert!(dump(&scene) == before);
    assert_eq!(
        scene.snapshot().unwrap().lifetime(worker).unwrap().totals.batches,
        1 + 11 + 12 + 13
    );
}

/// Promises 4 and 14: ids of imports were forgotten once 1,024 newer ones had come, and 2,000
/// imports that were all repeated counted twice.
#[test]
fn two_thousand_imports_repeated_add_nothing_and_take_one_row() {
    let scene = Scene::in_memory();
    let mut ledger = Ledger::default();
    let worker = scene.pc("a").id();
    let batch = |n: u64| past(worker, at("2026-02-16T10:00:00Z"), n, n);
    let import = |n: u64| scene.import(Import::new("log", n).history(batch(n))).unwrap();
    for n in 0..2_000 {
        ledger.note(&batch(n));
        assert_eq!(import(n), ImportOutcome::Applied);
    }
    let before = dump(&scene);

    for n in 0..2_000 {
        assert_eq!(import(n), ImportOutcome::AlreadyApplied, "import {n}");
    }

    assert!(dump(&scene) == before);
    assert_eq!(scene.snapshot().unwrap().verify().unwrap().import_sources, 1);
    ledger.assert_conserved(&scene);
}

/// Promise 4.
#[test]
fn each_source_counts_for_itself_and_its_numbers_may_have_gaps() {
    let scene = Scene::new();
    let import = |source: &str, number| scene.import(Import::new(source, number)).unwrap();

    let outcomes = [
        import("a", 0),
        import("a", 7),
        import("a", u64::MAX),
        import("b", 5),
        import("b", 4),
        import("b", 6),
        import("a", 7),
    ];

    use ImportOutcome::{AlreadyApplied, Applied};
    assert_eq!(
        outcomes,
        [Applied, Applied, Applied, Applied, AlreadyApplied, Applied, AlreadyApplied]
    );
    let view = scene.snapshot().unwrap();
    let last = ["a", "b", "", "c"].map(|source| view.last_import(source).unwrap());
    assert_eq!(last, [Some(u64::MAX), Some(6), None, None]);
}

/// Promises 4 and 13.
#[test]
fn the_last_import_of_a_source_with_other_records_is_refused() {
    let scene = Scene::new();
    let worker = scene.pc("a").id();
    let batch =
        |n: u64, items: u64| Import::new("once", n).history(past(worker, scene.now(), items, 100));
    scene.import(batch(3, 5)).unwrap();

    let error = refused(&scene, || scene.import(batch(3, 6)));

    assert!(
        matches!(&error, Error::ImportAltered { source_name, number: 3 } if source_name == "once"),
        "{error:?}"
    );
    assert_eq!(error.to_string(), "import 3 from \"once\" was already applied with other records");
    let before = dump(&scene);
    let earlier = scene.import(batch(2, 6)).unwrap();
    assert_eq!(earlier, ImportOutcome::AlreadyApplied, "of earlier ones only the number is known");
    assert!(dump(&scene) == before);
    assert_eq!(scene.import(batch(4, 6)).unwrap(), ImportOutcome::Applied);
}

/// Promise 13: a number that was refused is still free.
#[test]
fn a_refused_import_does_not_use_up_its_number() {
    let scene = Scene::new();
    let worker = scene.pc("a").id();
    let of = |worker| Import::new("i", 1).history(past(worker, scene.now(), 1, 1));

    refused(&scene, || scene.import(of(WorkerId::from(77))));

    assert_eq!(scene.import(of(worker)).unwrap(), ImportOutcome::Applied);
}

/// Promises 5 to 8.
#[test]
fn a_record_imported_into_a_tier_counts_in_it_and_in_every_coarser_one() {
    let scene = Scene::new();
    let mut ledger = Ledger::default();
    let worker = scene.pc("a").id();
    let (of_day, of_month, of_life) = (
        totals_of_day(day("2026-02-15"), 1),
        totals_of_day(day("2026-02-03"), 2),
        totals_of_day(day("2020-01-05"), 3),
    );
    ledger.note_day(worker, day("2026-02-15"), of_day);
    ledger.note_month(worker, month("2026-02"), of_month);
    ledger.note_lifetime(worker, of_life);
    ledger.import(&scene, past(worker, at("2026-02-15T10:00:00Z"), 5, 100));
    let import = Import::new("coarser", 1)
        .daily(worker, day("2026-02-15"), of_day)
        .monthly(worker, month("2026-02"), of_month)
        .lifetime(worker, of_life);
    scene.import(import).unwrap();

    let archived = scene.snapshot().unwrap().archived();
    let sum = |parts: &[Totals]| {
        let mut sum = Totals::default();
        parts.iter().for_each(|part| crate::ledger::add(&mut sum, part));
        sum
    };
    assert_eq!(archived.daily(worker, ..).unwrap()[0].totals, of_day, "what is live is not in it");
    let months = archived.monthly(worker, ..).unwrap();
    assert_eq!((months[0].totals, months[0].rolled), (sum(&[of_day, of_month]), of_month));
    let life = archived.lifetime(worker).unwrap();
    assert_eq!((life.totals, life.rolled), (sum(&[of_day, of_month, of_life]), of_life));
    ledger.assert_conserved(&scene);
}

/// Promises 6 to 8: all at once, and one by one.
#[test]
fn importing_1_500_days_leaves_the_newest_1_000_with_nothing_lost_from_month_and_lifetime() {
    let together = Scene::in_memory();
    let one_by_one = Scene::in_memory();
    let mut ledger = Ledger::default();
    let worker = together.pc("a").id();
    assert_eq!(one_by_one.pc("a").id(), worker);
    let mut all = Import::new("all", 1);
    let mut sum = Totals::default();
    for n in 0..1_500 {
        let totals = totals_of_day(nth_day(n), n as u64);
        crate::ledger::add(&mut sum, &totals);
        ledger.note_day(worker, nth_day(n), totals);
        all = all.daily(worker, nth_day(n), totals);
        let import = Import::new("one by one", n as u64);
        one_by_one.import(import.daily(worker, nth_day(n), totals)).unwrap();
    }
    together.import(all).unwrap();

    for scene in [&together, &one_by_one] {
        let archived = scene.snapshot().unwrap().archived();
        let days = archived.daily(worker, ..).unwrap();
        assert_eq!((days.len(), days[0].day, days[999].day), (1_000, nth_day(500), nth_day(1_499)));
        let mut months = Totals::default();
        let stored = archived.monthly(worker, ..).unwrap();
        stored.iter().for_each(|month| crate::ledger::add(&mut months, &month.totals));
        assert_eq!(months, sum);
        assert_eq!(archived.lifetime(worker).unwrap().totals, sum);
        ledger.assert_conserved(scene);
    }
}

/// Promise 5: newest is what was put in last.
#[test]
fn history_records_imported_over_the_cap_push_the_oldest_out() {
    let scene = Scene::with(|builder| builder.history_limit(10));
    let mut ledger = Ledger::default();
    let worker = scene.pc("a").id();
    let mut import = Import::new("many", 1);
    for n in 0..25 {
        let batch = past(worker, at("2026-02-16T00:00:00Z"), n, n);
        ledger.note(&batch);
        import = import.history(batch);
    }

    scene.import(import).unwrap();

    let newest = scene.snapshot().unwrap().newest_history(None, 100).unwrap();
    let items: Vec<u64> = newest.iter().map(|record| record.batch.items).collect();
    assert_eq!(items, (15..25).rev().collect::<Vec<_>>());
    ledger.assert_conserved(&scene);
}

/// Promises 8 and 13: retention must never be able to fail for a number.
#[test]
fn an_import_that_would_overflow_is_refused() {
    let scene = Scene::new();
    let worker = scene.pc("a").id();
    let whole = Totals::new(1, 0);
    let half = Totals::new(u64::MAX / 2, u128::MAX / 2).with_errors(u64::MAX / 2);

    for (name, totals) in
        [("batches", Totals::new(u64::MAX, 0)), ("items", Totals::new(1, u128::MAX))]
    {
        for import in [
            Import::new(name, 1).daily(worker, day("2026-02-16"), totals),
            Import::new(name, 1).monthly(worker, month("2026-02"), totals),
            Import::new(name, 1).lifetime(worker, totals),
        ] {
            let error = refused(&scene, || scene.import(import));
            assert!(matches!(error, Error::Invalid { .. }), "{name}: {error:?}");
            assert!(error.to_string().contains("too large to add up exactly"), "{error}");
        }
    }

    // Exactly as much as fits is taken; after that not one more, in the same import or the next.
    let twice = Import::new("twice", 1).lifetime(worker, half).lifetime(worker, whole);
    assert!(matches!(refused(&scene, || scene.import(twice)), Error::Invalid { .. }));
    scene.import(Import::new("half", 1).lifetime(worker, half)).unwrap();
    let more = Import::new("more", 1).daily(worker, day("2026-02-16"), whole);
    assert!(matches!(refused(&scene, || scene.import(more)), Error::Invalid { .. }));
}

/// Promise 8: each worker's totals fitted, and the sum over all workers did not.
#[test]
fn what_all_workers_import_together_adds_up_exactly() {
    let scene = Scene::new();
    let workers = ["a", "b", "c"].map(|name| scene.pc(name).id());
    let third = Totals::new(u64::MAX / 6, u128::MAX / 6).with_duration(Duration::MAX / 3);
    for worker in workers {
        scene.import(Import::new("third", worker.get().into()).lifetime(worker, third)).unwrap();
    }

    let more = Import::new("more", 1).lifetime(workers[0], Totals::new(3, 3));
    assert!(matches!(refused(&scene, || scene.import(more)), Error::Invalid { .. }));

    let fleet = scene.snapshot().unwrap().lifetime(Scope::Fleet).unwrap().totals;
    assert_eq!(fleet.batches, 3 * third.batches);
    assert_eq!((fleet.items, fleet.duration()), (3 * third.items, 3 * third.duration()));
}

/// Promise 8: batches of any size can follow an import of any size.
#[test]
fn the_largest_batches_fold_on_top_of_the_largest_import() {
    let scene = Scene::with(|builder| builder.history_limit(1));
    let mut ledger = Ledger::default();
    let worker = scene.pc("a").id();
    let half = Totals::new(u64::MAX / 2, u128::MAX / 2).with_duration(Duration::MAX / 2);
    ledger.note_lifetime(worker, half);
    scene.import(Import::new("half", 1).lifetime(worker, half)).unwrap();

    for n in 0..5 {
        ledger.import(&scene, past(worker, scene.now(), u64::MAX - n, u64::MAX));
    }

    ledger.assert_conserved(&scene);
}

/// Promise 13.
#[test]
fn totals_that_no_batches_could_add_up_to_are_refused() {
    let scene = Scene::new();
    let worker = scene.pc("a").id();
    let today = day("2026-02-16");
    let good = totals_of_day(today, 1);

    type Case = (fn(&mut Totals), &'static str);
    let cases: [Case; 12] = [
        (|totals| (totals.batches, totals.errors) = (0, 0), "hold no batch"),
        (|totals| totals.errors = totals.batches + 1, "more errors than batches"),
        (|totals| totals.completed = totals.batches + 1, "more jobs than they have batches"),
        (|totals| totals.min_rate = None, "lowest rate above the highest"),
        (|totals| *totals = totals.with_rates(9.0, 8.0), "lowest rate above the highest"),
        (|totals| totals.max_rate = Some(f64::INFINITY), "rate that is not a number"),
        (|totals| *totals = totals.with_rates(f64::NAN, f64::NAN), "rate that is not a number"),
        (|totals| totals.min_rate = Some(-1.0), "rate that is not a number"),
        (|totals| totals.first_at = None, "first time after the last"),
        (
            |totals| (totals.first_at, totals.last_at) = (totals.last_at, totals.first_at),
            "first time after the last",
        ),
        (
            |totals| totals.first_at = "2026-02-15T23:59:59.999999Z".parse().ok(),
            "time outside their period",
        ),
        (
            |totals| totals.last_at = "2026-02-17T00:00:00Z".parse().ok(),
            "time outside their period",
        ),
    ];
    for (make_wrong, why) in cases {
        let mut wrong = good;
        make_wrong(&mut wrong);
        let error =
            refused(&scene, || scene.import(Import::new("wrong", 1).daily(worker, today, wrong)));
        assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("the day 2026-02-16") && text.contains(why), "{why}: {text}");
    }

    let other_month = Import::new("wrong", 1).monthly(worker, month("2026-03"), good);
    let error = refused(&scene, || scene.import(other_month));
    assert!(error.to_string().contains("the month 2026-03"), "{error}");
}

/// Promise 13.
#[test]
fn an_import_for_an_unknown_worker_is_refused_as_a_whole() {
    let scene = Scene::new();
    let known = scene.pc("a").id();
    let unknown = WorkerId::from(77);
    let totals = totals_of_day(day("2026-02-16"), 1);

    for import in [
        Import::new("i", 1).history(past(known, scene.now(), 1, 1)).history(past(
            unknown,
            scene.now(),
            1,
            1,
        )),
        Import::new("i", 1).daily(known, day("2026-02-16"), totals).lifetime(unknown, totals),
    ] {
        let error = refused(&scene, || scene.import(import));
        assert!(matches!(error, Error::UnknownWorker(_)), "{error:?}");
        assert!(error.to_string().contains("77"), "{error}");
    }
}

/// Promise 13.
#[test]
fn import_sources_ranges_and_error_texts_are_held_to_their_limits() {
    let scene = Scene::new();
    let worker = scene.pc("a").id();
    let batch = |start: u64, end: u64, error: Option<usize>| {
        let mut batch = past(worker, at("2026-02-16T00:00:00Z"), 1, 1);
        (batch.start, batch.end) = (start, end);
        batch.error = error.map(|length| "e".repeat(length));
        batch
    };

    for (import, what) in [
        (Import::new("", 1), "the import source is empty"),
        (Import::new("i".repeat(65), 1), "the import source has a length of 65"),
        (Import::new("i", 1).history(batch(5, 4, None)), "the range 5..4 holds no position"),
    ] {
        let error = refused(&scene, || scene.import(import));
        assert!(error.to_string().starts_with(what), "{error}");
    }

    scene.import(Import::new("i".repeat(64), 1).history(batch(4, 4, Some(513)))).unwrap();
    let stored = scene.snapshot().unwrap().newest_history(None, 1).unwrap().remove(0).batch;
    assert_eq!(stored.error.map(|error| error.len()), Some(512), "it is cut, as everywhere");
}
