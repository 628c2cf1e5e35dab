//! Imports: records from elsewhere, taken in by the same law, once.

use milepost::storage::Table;
use milepost::{Error, Import, PastBatch, Totals, WorkerId, limits};

use crate::ledger::{Ledger, past, totals_of_day};
use crate::support::{Scene, at, day, dump, month, nth_day, refused, rows};

/// Promise 4.
#[test]
fn an_import_repeated_under_its_id_adds_nothing() {
    let mut scene = Scene::new();
    let worker = scene.pc("a").id();
    let import = || {
        Import::new("once")
            .history(past(worker, at("2026-02-16T10:00:00Z"), 5, 100))
            .daily(worker, day("2026-02-15"), totals_of_day(day("2026-02-15"), 1))
            .monthly(worker, month("2026-01"), totals_of_day(day("2026-01-05"), 2))
            .lifetime(worker, totals_of_day(day("2020-01-05"), 3))
    };
    assert!(scene.import(import()).unwrap());
    let before = dump(&scene);

    assert!(!scene.import(import()).unwrap());
    scene.reopen_with(|builder| builder);
    assert!(!scene.import(import()).unwrap(), "also after a restart");

    assert!(dump(&scene) == before);
    assert_eq!(
        scene.snapshot().unwrap().lifetime(worker).unwrap().totals.batches,
        1 + 11 + 12 + 13
    );
}

/// Promises 4 and 13.
#[test]
fn an_import_under_a_used_id_with_other_records_is_refused() {
    let scene = Scene::new();
    let worker = scene.pc("a").id();
    let batch = |items: u64| Import::new("once").history(past(worker, scene.now(), items, 100));
    scene.import(batch(5)).unwrap();

    let error = refused(&scene, || scene.import(batch(6)));

    assert!(matches!(&error, Error::ImportAltered { id } if id == "once"), "{error:?}");
    assert!(
        error.to_string().contains("\"once\" was already stored with other records"),
        "{error}"
    );
}

/// Promises 4 and 14: the last 1,024 ids are known, and the one before them is forgotten.
#[test]
fn the_latest_1_024_ids_are_remembered_and_no_more() {
    let scene = Scene::in_memory();
    let import = |n: u64| scene.import(Import::new(format!("import {n}"))).unwrap();
    for n in 0..limits::IMPORTS {
        assert!(import(n));
    }
    assert!(!import(0), "exactly the limit");
    let rows_at_limit = rows(&scene, Table::Meta);

    assert!(import(limits::IMPORTS));

    assert_eq!(rows(&scene, Table::Meta), rows_at_limit, "bounded");
    assert!(!import(1), "the last 1,024 are known");
    assert!(import(0), "the one before them is forgotten");
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
    ledger.import(&scene, "live", past(worker, at("2026-02-15T10:00:00Z"), 5, 100));
    let import = Import::new("coarser")
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
    let mut all = Import::new("all");
    let mut sum = Totals::default();
    for n in 0..1_500 {
        let totals = totals_of_day(nth_day(n), n as u64);
        crate::ledger::add(&mut sum, &totals);
        ledger.note_day(worker, nth_day(n), totals);
        all = all.daily(worker, nth_day(n), totals);
        one_by_one.import(Import::new(n.to_string()).daily(worker, nth_day(n), totals)).unwrap();
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
    let mut import = Import::new("many");
    for n in 0..25 {
        let batch = past(worker, at("2026-02-16T00:00:00Z"), n, n);
        ledger.note(&batch);
        import = import.history(batch);
    }

    scene.import(import).unwrap();

    let newest = scene.snapshot().unwrap().newest_history(100).unwrap();
    let items: Vec<u64> = newest.iter().map(|record| record.items).collect();
    assert_eq!(items, (15..25).rev().collect::<Vec<_>>());
    ledger.assert_conserved(&scene);
}

/// Promises 8 and 13: retention must never be able to fail for a number.
#[test]
fn an_import_that_would_overflow_is_refused() {
    let scene = Scene::new();
    let worker = scene.pc("a").id();
    let whole = Totals { batches: 1, ..Totals::default() };
    let half = Totals {
        batches: u64::MAX / 2,
        errors: u64::MAX / 2,
        items: u128::MAX / 2,
        duration_us: u128::MAX / 2,
        ..Totals::default()
    };

    for (name, totals) in [
        ("batches", Totals { batches: u64::MAX, ..whole }),
        ("items", Totals { items: u128::MAX, ..whole }),
        ("duration", Totals { duration_us: u128::MAX, ..whole }),
    ] {
        for import in [
            Import::new(name).daily(worker, day("2026-02-16"), totals),
            Import::new(name).monthly(worker, month("2026-02"), totals),
            Import::new(name).lifetime(worker, totals),
        ] {
            let error = refused(&scene, || scene.import(import));
            assert!(matches!(error, Error::Invalid { .. }), "{name}: {error:?}");
            assert!(error.to_string().contains("too large to add up exactly"), "{error}");
        }
    }

    // Exactly as much as fits is taken; after that not one more, in the same import or the next.
    let twice = Import::new("twice").lifetime(worker, half).lifetime(worker, whole);
    assert!(matches!(refused(&scene, || scene.import(twice)), Error::Invalid { .. }));
    scene.import(Import::new("half").lifetime(worker, half)).unwrap();
    let more = Import::new("more").daily(worker, day("2026-02-16"), whole);
    assert!(matches!(refused(&scene, || scene.import(more)), Error::Invalid { .. }));
}

/// Promise 8: batches of any size can follow an import of any size.
#[test]
fn the_largest_batches_fold_on_top_of_the_largest_import() {
    let scene = Scene::with(|builder| builder.history_limit(1));
    let mut ledger = Ledger::default();
    let worker = scene.pc("a").id();
    let half = Totals {
        batches: u64::MAX / 2,
        items: u128::MAX / 2,
        duration_us: u128::MAX / 2,
        ..Totals::default()
    };
    ledger.note_lifetime(worker, half);
    scene.import(Import::new("half").lifetime(worker, half)).unwrap();

    for n in 0..5 {
        ledger.import(&scene, &n.to_string(), past(worker, scene.now(), u64::MAX, u64::MAX));
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
    let yesterday = Some(at("2026-02-15T23:59:59.999999Z"));
    let tomorrow = Some(at("2026-02-17T00:00:00Z"));

    for (wrong, why) in [
        (Totals { batches: 0, errors: 0, ..good }, "hold no batch"),
        (Totals { errors: good.batches + 1, ..good }, "more errors than batches"),
        (Totals { min_rate: None, ..good }, "lowest rate above the highest"),
        (
            Totals { min_rate: Some(9.0), max_rate: Some(8.0), ..good },
            "lowest rate above the highest",
        ),
        (Totals { max_rate: Some(f64::INFINITY), ..good }, "rate that is no number"),
        (
            Totals { min_rate: Some(f64::NAN), max_rate: Some(f64::NAN), ..good },
            "rate that is no number",
        ),
        (Totals { min_rate: Some(-1.0), ..good }, "rate that is no number"),
        (Totals { first_at: None, ..good }, "first time after the last"),
        (
            Totals { first_at: good.last_at, last_at: good.first_at, ..good },
            "first time after the last",
        ),
        (Totals { first_at: yesterday, ..good }, "time outside their period"),
        (Totals { last_at: tomorrow, ..good }, "time outside their period"),
    ] {
        let error =
            refused(&scene, || scene.import(Import::new("wrong").daily(worker, today, wrong)));
        assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
        let text = error.to_string();
        assert!(text.contains("the day 2026-02-16") && text.contains(why), "{why}: {text}");
    }

    let other_month = Import::new("wrong").monthly(worker, month("2026-03"), good);
    let error = refused(&scene, || scene.import(other_month));
    assert!(error.to_string().contains("the month 2026-03"), "{error}");
}

/// Promise 13.
#[test]
fn an_import_for_an_unknown_worker_is_refused_as_a_whole() {
    let scene = Scene::new();
    let known = scene.pc("a").id();
    let unknown = WorkerId::from_number(77);
    let totals = totals_of_day(day("2026-02-16"), 1);

    for import in [
        Import::new("i").history(past(known, scene.now(), 1, 1)).history(past(
            unknown,
            scene.now(),
            1,
            1,
        )),
        Import::new("i").daily(known, day("2026-02-16"), totals).lifetime(unknown, totals),
    ] {
        let error = refused(&scene, || scene.import(import));
        assert!(matches!(error, Error::UnknownWorker(_)), "{error:?}");
        assert!(error.to_string().contains("77"), "{error}");
    }
}

/// Promise 13.
#[test]
fn import_ids_ranges_and_error_texts_are_held_to_their_limits() {
    let scene = Scene::new();
    let worker = scene.pc("a").id();
    let batch = |start: u64, end: u64, error: Option<usize>| PastBatch {
        start,
        end,
        error: error.map(|length| "e".repeat(length)),
        ..past(worker, at("2026-02-16T00:00:00Z"), 1, 1)
    };

    for (import, what) in [
        (Import::new(""), "the import id is empty"),
        (Import::new("i".repeat(65)), "the import id has a length of 65"),
        (Import::new("i").history(batch(5, 4, None)), "the range 5..4 holds no position"),
        (Import::new("i").history(batch(0, 1, Some(513))), "the batch error has a length of 513"),
    ] {
        let error = refused(&scene, || scene.import(import));
        assert!(error.to_string().starts_with(what), "{error}");
    }

    scene.import(Import::new("i".repeat(64)).history(batch(4, 4, Some(512)))).unwrap();
}
