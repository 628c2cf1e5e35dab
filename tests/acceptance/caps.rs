//! Caps belong to the file: who changes them, and who does not.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use milepost::testing::tables;
use milepost::{Caps, CapsChange, Error, NewJob, NewWorker, Sharing, Store, Timestamp};
use parking_lot::Mutex;

use crate::ledger::{Ledger, past};
use crate::process::{answer, answers, child};
use crate::support::{DAY, Scene, advance, dump, lease, refused, relaxed, rows};

const HISTORY: &str = "WORKER_HISTORY_LIMIT";
const DAILY: &str = "WORKER_DAILY_STATS_LIMIT";
const MONTHLY: &str = "WORKER_MONTHLY_STATS_LIMIT";

fn caps(history: u32, daily: u32, monthly: u32) -> Caps {
    Caps::default().with_history(history).with_daily(daily).with_monthly(monthly)
}

fn history_cap(store: &Store) -> u32 {
    store.snapshot().unwrap().caps().history
}

/// Promise 14.
#[test]
fn a_new_store_has_the_default_caps() {
    let scene = Scene::new();

    assert_eq!(scene.snapshot().unwrap().caps(), caps(10_000, 1_000, 1_000));
}

/// Promises 5 and 6.
#[test]
fn opening_without_naming_caps_changes_nothing() {
    let mut scene = Scene::with(|builder| builder.history_limit(7).daily_limit(5).monthly_limit(3));
    scene.jobs(&["a"]);
    let mut lease = lease(&scene.pc("a"));
    for _ in 0..20 {
        advance(&mut lease, 10);
    }
    lease.abandon();
    let before = dump(&scene);

    scene.reopen_with(|builder| builder);

    assert_eq!(scene.snapshot().unwrap().caps(), caps(7, 5, 3));
    assert!(dump(&scene) == before);
    assert_eq!(rows(&scene, tables::HISTORY), 7);
}

/// Promises 5 and 6.
#[test]
fn an_opener_changes_only_the_caps_it_names() {
    let mut scene =
        Scene::with(|builder| builder.history_limit(70).daily_limit(50).monthly_limit(30));

    scene.reopen_with(|builder| builder.daily_limit(5));

    assert_eq!(scene.snapshot().unwrap().caps(), caps(70, 5, 30));
}

/// Promises 5 and 6.
#[test]
fn of_two_openers_with_different_wishes_the_later_one_is_obeyed_by_both() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("shared.milepost");
    let open = |history: u32| {
        let builder = Store::builder(&path).sharing(Sharing::MultiWriter);
        builder.history_limit(history).open().unwrap()
    };
    let first = open(50);
    let worker = first.register_worker(NewWorker::new("a").kind("pc")).unwrap();
    first.create_job(NewJob::new("keys", 0..1_000)).unwrap();
    let mut lease = lease(&worker);
    for _ in 0..30 {
        advance(&mut lease, 1);
    }

    let second = open(20);
    let after_opening = rows(&second, tables::HISTORY);
    advance(&mut lease, 1);

    assert_eq!(after_opening, 20, "ten over the cap are less than a step");
    assert_eq!((history_cap(&first), history_cap(&second)), (20, 20));
    assert_eq!(rows(&first, tables::HISTORY), 20, "the first one keeps to the cap of the second");
    first.snapshot().unwrap().verify().unwrap();
}

/// Promises 5 to 9.
#[test]
fn with_caps_of_1_one_row_of_each_tier_remains_and_nothing_is_lost() {
    let scene =
        Scene::with(|builder| relaxed(builder).history_limit(1).daily_limit(1).monthly_limit(1));
    let mut ledger = Ledger::default();
    scene.jobs(&["a", "b"]);
    let mut leases = [lease(&scene.pc("a")), lease(&scene.pc("b"))];

    for n in 0..100 {
        scene.clock.advance(DAY);
        ledger.checkpoint(&mut leases[n % 2], scene.now(), 1 + n as u64 % 10, 3 * n as u64);
        assert_eq!(rows(&scene, tables::HISTORY), 1);
        assert!(rows(&scene, tables::DAILY) <= 2 && rows(&scene, tables::MONTHLY) <= 2);
        scene.snapshot().unwrap().verify().unwrap();
        ledger.assert_conserved(&scene);
    }

    assert_eq!(
        (rows(&scene, tables::DAILY), rows(&scene, tables::MONTHLY)),
        (2, 2),
        "one a worker"
    );
}

/// Promise 5: exactly the cap stays, one over leaves.
#[test]
fn a_tier_holds_exactly_its_cap() {
    let scene = Scene::with(|builder| builder.history_limit(3));
    let mut ledger = Ledger::default();
    let worker = scene.pc("a").id();

    let import = |n: u64, ledger: &mut Ledger| {
        ledger.import(&scene, past(worker, Timestamp::EPOCH, n, n));
        (rows(&scene, tables::HISTORY), rows(&scene, tables::LIFETIME))
    };

    assert_eq!((1..=3).map(|n| import(n, &mut ledger)).last(), Some((3, 0)));
    assert_eq!(import(4, &mut ledger), (3, 1));
    ledger.assert_conserved(&scene);
}

/// Promise 13.
#[test]
fn a_cap_of_0_is_refused_and_changes_nothing() {
    let scene = Scene::new();
    for change in [
        CapsChange::default().with_history(0),
        CapsChange::default().with_daily(0),
        CapsChange::default().with_monthly(0).with_history(5),
    ] {
        let error = refused(&scene, || scene.set_caps(change));

        assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
        assert!(error.to_string().contains("at least 1"), "{error}");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("new.milepost");
    assert!(matches!(Store::builder(&path).monthly_limit(0).open(), Err(Error::Invalid { .. })));
    assert!(!path.exists(), "a refused opening makes no file");
}

/// Promise 5: the largest cap there is.
#[test]
fn the_largest_caps_are_taken() {
    let scene = Scene::new();

    scene.set_caps(caps(u32::MAX, u32::MAX, u32::MAX)).unwrap();

    assert_eq!(scene.snapshot().unwrap().caps(), caps(u32::MAX, u32::MAX, u32::MAX));
}

/// Opens a store in a process with these variables; gives what it answers.
#[track_caller]
fn answer_with(asked: &str, environment: &[(&str, &str)]) -> Vec<String> {
    let mut command = child("open with caps from the environment", asked);
    command.envs(environment.iter().copied());
    answers(&command.output().expect("the test program runs"))
}

/// What the process does.
pub fn open_with_caps_from_env(asked: &str) {
    let warnings = Warnings::default();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scan.milepost");
    Store::builder(&path).history_limit(700).daily_limit(600).monthly_limit(500).open().unwrap();

    let opened = tracing::subscriber::with_default(warnings.clone(), || {
        let builder = Store::builder(&path);
        match asked {
            "not asked" => builder.open(),
            "asked" => builder.caps_from_env().open(),
            "asked and named" => builder.history_limit(900).caps_from_env().open(),
            _ => panic!("{asked}"),
        }
    });

    match opened {
        Ok(store) => {
            let Caps { history, daily, monthly, .. } = store.snapshot().unwrap().caps();
            answer(format!("{history} {daily} {monthly}"));
        }
        Err(error @ Error::InvalidVariable { .. }) => answer(error),
        Err(error) => panic!("{error}"),
    }
    for warning in &*warnings.texts.lock() {
        answer(warning);
    }
}

/// Keeps the texts of warnings.
#[derive(Clone, Default)]
pub struct Warnings {
    pub texts: Arc<Mutex<Vec<String>>>,
    spans: Arc<AtomicU32>,
}

impl tracing::Subscriber for Warnings {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        *metadata.level() <= tracing::Level::WARN
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1 + u64::from(self.spans.fetch_add(1, Ordering::SeqCst)))
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut text = String::from("warning:");
        event.record(&mut |field: &tracing::field::Field, value: &dyn std::fmt::Debug| {
            text.push_str(&format!(" {field}={value:?}"));
        });
        self.texts.lock().push(text);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

/// Promises 5 and 6.
#[test]
fn the_environment_sets_caps_where_it_was_asked_for() {
    let variables = [(HISTORY, "300"), (DAILY, "200"), (MONTHLY, "100")];

    assert_eq!(answer_with("asked", &variables), ["300 200 100"]);
    assert_eq!(answer_with("asked", &[(DAILY, "200")]), ["700 200 500"], "the others stay");
    assert_eq!(answer_with("asked", &[]), ["700 600 500"]);
    assert_eq!(answer_with("not asked", &variables), ["700 600 500"]);
}

/// Promises 5 and 6.
#[test]
fn the_builder_comes_before_the_environment() {
    assert_eq!(
        answer_with("asked and named", &[(HISTORY, "300"), (DAILY, "200")]),
        ["900 200 500"]
    );
}

/// Promise 13.
#[test]
fn a_variable_that_is_not_a_number_is_named_with_its_value() {
    for (variable, value, why) in [
        (HISTORY, "many", "is not a whole number"),
        (MONTHLY, "1e3", "is not a whole number"),
        (DAILY, "99999999999", "is above 4294967295"),
    ] {
        let answers = answer_with("asked", &[(variable, value)]);

        assert_eq!(answers.len(), 1);
        let expected = format!("the environment variable {variable} {why}: {value:?}");
        assert_eq!(answers[0], expected);
    }
}

/// Promise 5.
#[test]
fn a_variable_of_zero_or_less_stands_for_the_default_with_a_warning() {
    for value in ["0", "-5"] {
        let answers = answer_with("asked", &[(HISTORY, value), (MONTHLY, value)]);

        assert_eq!(answers[0], "10000 600 1000");
        assert_eq!(answers.len(), 3, "{answers:?}");
        assert!(answers[1].starts_with("warning:") && answers[1].contains(HISTORY), "{answers:?}");
        assert!(answers[1].contains("taking the default"), "{answers:?}");
        assert!(answers[2].contains(MONTHLY), "{answers:?}");
    }
}

/// Promise 5.
#[test]
fn a_variable_under_100_is_taken_with_a_warning() {
    let answers = answer_with("asked", &[(HISTORY, "99"), (DAILY, "100")]);

    assert_eq!(answers[0], "99 100 500");
    assert_eq!(answers.len(), 2, "only the one under 100 is warned about: {answers:?}");
    assert!(
        answers[1].contains(HISTORY) && answers[1].contains("leave almost at once"),
        "{answers:?}"
    );
}
