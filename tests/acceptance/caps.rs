//! Caps: lowered and raised, named and not named, and as small as can be.

use std::sync::Arc;

use milepost::storage::{Engine, MemoryEngine, Table};
use milepost::{Builder, Caps, CapsChange, Import, NewJob, Store, Totals};

use crate::child;
use crate::ledger::{Ledger, past, totals_of_day};
use crate::support::{
    Counting, DAY, MINUTE, NOON, Scene, advance, at, day, dump, lease, month, nth_day, refused,
    relaxed, rows,
};

fn only(change: impl FnOnce(&mut CapsChange)) -> CapsChange {
    let mut caps = CapsChange::default();
    change(&mut caps);
    caps
}

/// Promises 5 and 8.
#[test]
fn while_the_history_cap_is_lowered_the_count_falls_with_every_commit_and_nothing_is_lost() {
    let engine = Counting::new();
    let scene = Scene::on(engine.clone());
    let mut ledger = Ledger::default();
    let worker = scene.pc("a").id();
    let import = (0..3_000).fold(Import::new("much"), |import, n| {
        let batch = past(worker, at(NOON), n + 1, 10 + n);
        ledger.note(&batch);
        import.history(batch)
    });
    scene.import(import).unwrap();
    scene.create_job(NewJob::new("keys", 0..1_000_000)).unwrap();
    let mut lease = lease(&scene.pc("a"));
    engine.take();

    scene.set_caps(only(|caps| caps.history = Some(50))).unwrap();
    while scene.snapshot().unwrap().is_settling() {
        ledger.checkpoint(&mut lease, scene.now(), 1, 1);
    }

    let counts: Vec<u64> = engine.take().iter().map(|counts| counts.history).collect();
    assert!(counts.len() > 5, "it took several steps: {counts:?}");
    assert!(counts[0] < 3_000, "the first step is taken at once");
    assert!(counts.is_sorted_by(|before, after| after < before), "{counts:?}");
    assert_eq!(counts.last(), Some(&50));
    ledger.assert_conserved(&scene);
}

/// Promises 6, 8 and 9.
#[test]
fn while_the_caps_on_days_and_months_are_lowered_the_counts_fall_with_every_commit() {
    let engine = Counting::new();
    let scene = Scene::on(engine.clone());
    let mut ledger = Ledger::default();
    let workers = [scene.pc("a").id(), scene.pc("b").id()];
    for worker in workers {
        let import = (0..1_000).fold(Import::new(format!("of {worker}")), |import, n| {
            let totals = totals_of_day(nth_day(n), n as u64);
            ledger.note_day(worker, nth_day(n), totals);
            import.daily(worker, nth_day(n), totals)
        });
        scene.import(import).unwrap();
    }
    engine.take();
    let caps = CapsChange { daily: Some(20), monthly: Some(5), history: None };

    scene.set_caps(caps).unwrap();
    scene.settle().unwrap();

    let counts = engine.take();
    let sums: Vec<u64> =
        counts.iter().map(|c| c.daily.values().chain(c.monthly.values()).sum()).collect();
    assert!(sums.len() > 2, "it took several steps: {sums:?}");
    assert!(sums.is_sorted_by(|before, after| after < before), "{sums:?}");
    let last = counts.last().unwrap();
    assert!(last.daily.values().all(|days| *days == 20) && last.daily.len() == 2);
    assert!(last.monthly.values().all(|months| *months == 5) && last.monthly.len() == 2);
    ledger.assert_conserved(&scene);
}

/// Promise 6: a worker whose days leave step by step may work on meanwhile.
#[test]
fn a_worker_goes_on_while_its_days_are_brought_under_a_lowered_cap() {
    let scene = Scene::with(|builder| relaxed(builder).history_limit(1));
    let mut ledger = Ledger::default();
    scene.jobs(&["a"]);
    let worker = scene.pc("a");
    let import = (0..900).fold(Import::new("days"), |import, n| {
        let totals = totals_of_day(nth_day(n), n as u64);
        ledger.note_day(worker.id(), nth_day(n), totals);
        import.daily(worker.id(), nth_day(n), totals)
    });
    scene.import(import).unwrap();
    let mut lease = lease(&worker);

    scene.set_caps(only(|caps| caps.daily = Some(2))).unwrap();
    let mut counts = vec![rows(&scene, Table::Daily)];
    while scene.snapshot().unwrap().is_settling() {
        ledger.checkpoint(&mut lease, scene.now(), 1, 1);
        counts.push(rows(&scene, Table::Daily));
        scene.snapshot().unwrap().verify().unwrap();
    }

    assert!(counts.is_sorted_by(|before, after| after < before), "{counts:?}");
    assert_eq!(counts.last(), Some(&2));
    ledger.assert_conserved(&scene);
}

/// Section 4 of the design: caps belong to the file.
#[test]
fn opening_without_naming_caps_changes_nothing() {
    let mut scene = Scene::with(|builder| builder.history_limit(77).daily_limit(5));
    let named = Caps { history: 77, daily: 5, monthly: 1_000 };
    let before = dump(&scene);

    scene.reopen_with(|builder| builder);

    assert_eq!(scene.caps().unwrap(), named);
    assert!(dump(&scene) == before);
}

/// Section 4 of the design: the last one to name a cap has its way, and only with that cap.
#[test]
fn two_openers_with_different_wishes_get_what_the_later_one_named() {
    let mut scene = Scene::with(|builder| builder.history_limit(500).daily_limit(50));

    scene.reopen_with(|builder| builder.history_limit(60).monthly_limit(7));

    assert_eq!(scene.caps().unwrap(), Caps { history: 60, daily: 50, monthly: 7 });
    scene.reopen_with(|builder| builder.history_limit(500));
    assert_eq!(scene.caps().unwrap(), Caps { history: 500, daily: 50, monthly: 7 });
}

/// Promises 5 to 9 at the smallest caps there are.
#[test]
fn with_caps_of_1_every_tier_holds_the_newest_and_the_lifetime_the_rest() {
    let scene = Scene::with(|builder| builder.history_limit(1).daily_limit(1).monthly_limit(1));
    let mut ledger = Ledger::default();
    scene.jobs(&["a"]);
    let worker = scene.pc("a");
    let mut lease = worker.lease(1_000 * DAY).unwrap().leased().unwrap();

    for n in 1..=40 {
        scene.clock.advance(10 * DAY);
        ledger.checkpoint(&mut lease, scene.now(), 1, n);
        scene.snapshot().unwrap().verify().unwrap();
    }

    let archived = scene.snapshot().unwrap().archived();
    assert_eq!(rows(&scene, Table::History), 1);
    assert_eq!(archived.daily(&worker, ..).unwrap().len(), 1);
    assert_eq!(archived.monthly(&worker, ..).unwrap().len(), 1);
    ledger.assert_conserved(&scene);
}

/// Promises 8 and 9.
#[test]
fn a_late_record_for_a_day_and_a_month_that_left_is_counted_and_leaves_again() {
    let scene = Scene::with(|builder| builder.history_limit(1).daily_limit(2).monthly_limit(2));
    let mut ledger = Ledger::default();
    let worker = scene.pc("a").id();
    for (n, time) in ["2026-01-10T00:00:00Z", "2026-02-10T00:00:00Z", "2026-03-10T00:00:00Z"]
        .into_iter()
        .enumerate()
    {
        ledger.import(&scene, &n.to_string(), past(worker, at(time), 5, 5));
    }
    ledger.import(&scene, "newest", past(worker, at("2026-04-10T00:00:00Z"), 5, 5));
    let gone = |scene: &Scene| {
        let archived = scene.snapshot().unwrap().archived();
        let days = archived.daily(worker, day("2026-01-01")..day("2026-02-01")).unwrap();
        let months = archived.monthly(worker, month("2026-01")..month("2026-02")).unwrap();
        days.is_empty() && months.is_empty()
    };
    assert!(gone(&scene));

    ledger.import(&scene, "late", past(worker, at("2026-01-10T09:00:00Z"), 7, 7));
    ledger.import(&scene, "pushes", past(worker, at("2026-04-10T09:00:00Z"), 1, 1));

    assert!(gone(&scene), "the caps have no room for it");
    let all = scene.snapshot().unwrap().lifetime(worker).unwrap().totals;
    assert_eq!((all.batches, all.items), (6, 28));
    ledger.assert_conserved(&scene);
}

/// Promise 8, and what section 5 of the design says of raised caps.
#[test]
fn after_a_raised_cap_a_late_record_brings_back_a_partial_day_and_month() {
    let scene = Scene::with(|builder| builder.history_limit(1).daily_limit(1).monthly_limit(1));
    let worker = scene.pc("a").id();
    let import = |id: &str, time: &str, items: u64| {
        scene.import(Import::new(id).history(past(worker, at(time), items, 1))).unwrap();
    };
    import("1", "2026-01-10T00:00:00Z", 5);
    import("2", "2026-02-10T00:00:00Z", 5);
    import("3", "2026-02-11T00:00:00Z", 5);
    import("4", "2026-02-12T00:00:00Z", 5);

    scene.set_caps(Caps { history: 1, daily: 9, monthly: 9 }).unwrap();
    import("late", "2026-01-10T09:00:00Z", 7);
    import("pushes", "2026-02-13T00:00:00Z", 1);

    let archived = scene.snapshot().unwrap().archived();
    let january = archived.monthly(worker, ..=month("2026-01")).unwrap();
    assert_eq!(january[0].totals.items, 7, "only what came late");
    assert_eq!(archived.daily(worker, ..=day("2026-01-31")).unwrap()[0].totals.items, 7);
    let all = scene.snapshot().unwrap().lifetime(worker).unwrap().totals;
    assert_eq!(all.items, 28);
}

/// Promise 8.
#[test]
fn batches_at_years_end_and_on_a_leap_day_belong_to_the_day_they_finished() {
    let scene = Scene::with(|builder| builder.history_limit(1));
    let mut ledger = Ledger::default();
    let worker = scene.pc("a").id();
    let times = [
        "2023-12-31T23:59:59.999999Z",
        "2024-01-01T00:00:00Z",
        "2024-02-28T23:59:59Z",
        "2024-02-29T00:00:00Z",
        "2024-02-29T23:59:59.999999Z",
        "2024-03-01T00:00:00Z",
        "2024-12-31T12:00:00Z",
    ];
    for (n, time) in times.iter().enumerate() {
        ledger.import(&scene, &n.to_string(), past(worker, at(time), n as u64 + 1, 10));
    }

    let view = scene.snapshot().unwrap();
    let days: Vec<(String, u128)> = view
        .daily(worker, ..)
        .unwrap()
        .iter()
        .map(|day| (day.day.to_string(), day.totals.items))
        .collect();
    let expected = [
        ("2023-12-31", 1),
        ("2024-01-01", 2),
        ("2024-02-28", 3),
        ("2024-02-29", 4 + 5),
        ("2024-03-01", 6),
        ("2024-12-31", 7),
    ];
    assert_eq!(days, expected.map(|(day, items)| (day.to_string(), items)));
    let months: Vec<String> =
        view.monthly(worker, ..).unwrap().iter().map(|month| month.month.to_string()).collect();
    assert_eq!(months, ["2023-12", "2024-01", "2024-02", "2024-03", "2024-12"]);
    ledger.assert_conserved(&scene);
}

/// Promises 6 and 8.
#[test]
fn a_worker_that_returns_after_years_goes_on_where_it_was() {
    let mut scene = Scene::with(|builder| builder.history_limit(2).daily_limit(3));
    let mut ledger = Ledger::default();
    scene.jobs(&["a"]);
    let mut first = lease(&scene.pc("a"));
    for n in 1..=5 {
        ledger.checkpoint(&mut first, scene.now(), 10, n);
    }
    first.release().unwrap();

    scene.reopen_with(|builder| builder);
    scene.clock.advance(7 * 365 * DAY);
    let worker = scene.pc("a");
    let mut again = lease(&worker);
    assert_eq!(again.cursor(), 50);
    for n in 1..=5 {
        ledger.checkpoint(&mut again, scene.now(), 10, n);
    }

    let view = scene.snapshot().unwrap();
    let days: Vec<String> =
        view.daily(&worker, ..).unwrap().iter().map(|day| day.day.to_string()).collect();
    assert_eq!(days, ["2026-02-16", "2033-02-14"]);
    assert_eq!(view.workers().unwrap().len(), 1);
    ledger.assert_conserved(&scene);
}

/// A backfill as users do it, and the law of imports.
#[test]
fn importing_1_500_days_leaves_the_newest_1_000_and_loses_nothing_from_month_and_lifetime() {
    let scene = Scene::new();
    let worker = scene.pc("a").id();
    let mut sum = Totals::default();
    let import = (0..1_500).fold(Import::new("backfill"), |import, n| {
        let totals = totals_of_day(nth_day(n), n as u64);
        crate::ledger::add(&mut sum, &totals);
        import.daily(worker, nth_day(n), totals)
    });

    assert!(scene.import(import.clone()).unwrap());
    let once = dump(&scene);
    assert!(!scene.import(import).unwrap(), "repeating it adds nothing");

    assert!(dump(&scene) == once);
    let archived = scene.snapshot().unwrap().archived();
    assert_eq!(archived.daily(worker, ..).unwrap().len(), 1_000);
    let mut months = Totals::default();
    archived
        .monthly(worker, ..)
        .unwrap()
        .iter()
        .for_each(|month| crate::ledger::add(&mut months, &month.totals));
    assert_eq!(months, sum);
    assert_eq!(archived.lifetime(worker).unwrap().totals, sum);
}

/// Promise 4: of the imports whose ids are remembered, none is taken twice.
#[test]
fn the_last_1_024_imports_are_remembered_and_the_oldest_are_forgotten() {
    let scene = Scene::in_memory();
    let worker = scene.pc("a").id();
    let import = |n: u64| {
        let totals = totals_of_day(day("2026-01-01"), n);
        scene.import(Import::new(n.to_string()).daily(worker, day("2026-01-01"), totals)).unwrap()
    };
    assert!((0..1_025).all(import));

    assert!(!import(1), "the last 1,024 are remembered");
    assert!(!import(1_024));
    assert!(import(0), "the one before them is forgotten");
}

/// Section 10 of the design. The environment of a child process is set, and not this one's.
#[test]
fn caps_come_from_the_environment_where_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scan.milepost");
    let open = |variables: &[(&str, &str)]| child::run("open_with_env", &path, variables);

    let fresh = open(&[("WORKER_HISTORY_LIMIT", "123"), ("WORKER_DAILY_STATS_LIMIT", "45")]);
    assert_eq!(fresh, "history 123, daily 45, monthly 1000");
    assert_eq!(open(&[]), "history 123, daily 45, monthly 1000", "nothing named, nothing changed");
    let monthly = open(&[("WORKER_MONTHLY_STATS_LIMIT", " 12 ")]);
    assert_eq!(monthly, "history 123, daily 45, monthly 12");
    let zero = open(&[("WORKER_HISTORY_LIMIT", "0"), ("WORKER_DAILY_STATS_LIMIT", "-3")]);
    assert_eq!(zero, "history 10000, daily 1000, monthly 12", "zero or less is the default");
    let wrong = open(&[("WORKER_MONTHLY_STATS_LIMIT", "many")]);
    assert!(wrong.contains("WORKER_MONTHLY_STATS_LIMIT") && wrong.contains("\"many\""), "{wrong}");
    let after = Store::open(&path).unwrap().caps().unwrap();
    assert_eq!(after, Caps { history: 10_000, daily: 1_000, monthly: 12 });
}

/// Promise 13.
#[test]
fn a_cap_of_zero_is_refused_by_builder_and_store() {
    let scene = Scene::new();

    let error = refused(&scene, || scene.set_caps(only(|caps| caps.daily = Some(0))));
    assert!(error.to_string().contains("daily"), "{error}");
    let builder = Builder::on_engine(Arc::new(MemoryEngine::new())).history_limit(0);
    let error = builder.open().unwrap_err();
    assert!(error.to_string().contains("history"), "{error}");
}

/// Promise 5: a cap that is raised while a lowered one is being reached.
#[test]
fn raising_a_cap_again_ends_the_settling() {
    let engine: Arc<dyn Engine> = Arc::new(MemoryEngine::new());
    let scene = Scene::on(engine);
    let worker = scene.pc("a").id();
    let import = (0..2_000)
        .fold(Import::new("much"), |import, n| import.history(past(worker, at(NOON), n, 1)));
    scene.import(import).unwrap();
    scene.create_job(NewJob::new("keys", 0..10)).unwrap();
    let mut lease = scene.pc("a").lease(MINUTE).unwrap().leased().unwrap();

    scene.set_caps(only(|caps| caps.history = Some(10))).unwrap();
    let after_a_step = rows(&scene, Table::History);
    scene.set_caps(only(|caps| caps.history = Some(10_000))).unwrap();
    advance(&mut lease, 1);

    assert!(after_a_step < 2_000 && after_a_step > 10);
    assert!(!scene.snapshot().unwrap().is_settling());
    assert_eq!(rows(&scene, Table::History), after_a_step + 1);
    scene.settle().unwrap();
    assert_eq!(scene.snapshot().unwrap().lifetime(worker).unwrap().totals.batches, 2_001);
}
