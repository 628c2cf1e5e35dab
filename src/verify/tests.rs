//! Every rule is broken once by hand, in a store that was in order before.

mod jobs;
mod tiers;

use crate::error::Error;
use crate::query::scene::{Scene, batch, day, month};
use crate::schema::codec::encode;
use crate::schema::key;
use crate::schema::meta;
use crate::schema::rows::{
    FindingRow, HistoryRow, ImportRow, ImportedRow, LifetimeRow, MonthlyRow, Number, Rolled,
    WorkerRow,
};
use crate::schema::tables;
use crate::storage::Table;
use crate::types::{Import, JobId, NewJob, WorkerId};

const ANNE: WorkerId = WorkerId(1);
const BERT: WorkerId = WorkerId(2);
const NOBODY: WorkerId = WorkerId(9);

const HELD: JobId = JobId(1);
const WAITING: JobId = JobId(2);
const COMPLETED: JobId = JobId(3);
const FAILED: JobId = JobId(4);
const NO_JOB: JobId = JobId(99);

/// A store with something in every table, jobs of every status, and tiers that rows have left.
fn scene() -> Scene {
    let scene = Scene::new(4);
    let [anne, bert, _] = ["pc-anne", "pc-bert", "gpu-new"].map(|name| scene.worker(name));
    let jobs = [
        NewJob::new(b"alpha", 0..100).priority(3),
        NewJob::new(b"alpha", 100..200).priority(-3),
        NewJob::new(b"alpha", 200..300),
        NewJob::new(b"beta", 0..10).max_attempts(1),
        NewJob::new(b"beta", 10..20),
    ];
    let ids = scene.store.create_jobs(jobs).unwrap();
    assert_eq!(ids[..4], [HELD, WAITING, COMPLETED, FAILED]);
    scene.lease(&anne, FAILED).fail("no luck").unwrap();
    scene.store.cancel_job(ids[4]).unwrap();
    let mut completed = scene.lease(&bert, COMPLETED);
    scene.checkpoint(&mut completed, 100);
    let mut held = scene.lease(&anne, HELD);
    scene.checkpoint(&mut held, 10);
    scene.checkpoint(&mut held, 10);
    // A handle that is dropped gives its job back; this one is held as by a killed process.
    std::mem::forget(held);
    anne.add_finding(COMPLETED, crate::NewFinding::new(b"key", b"payload")).unwrap();

    let import = Import::new("years", 1)
        .daily(BERT, day("2026-01-30"), batch(1, "2026-01-30T00:00:00Z"))
        .daily(BERT, day("2026-01-31"), batch(2, "2026-01-31T00:00:00Z"))
        .monthly(BERT, month("2025-12"), batch(4, "2025-12-31T00:00:00Z"))
        .lifetime(BERT, batch(8, "2024-02-29T00:00:00Z"));
    scene.store.import(import).unwrap();
    let days = ["2026-02-12", "2026-02-13", "2026-02-14", "2026-02-15", "2026-02-16"];
    let times = days.map(|day| (format!("{day}T11:00:00Z"), 16));
    let batches: Vec<(&str, u64)> = times.iter().map(|(time, items)| (&time[..], *items)).collect();
    scene.history("week", ANNE, &batches);
    scene.history("again", ANNE, &batches);
    scene.store.set_caps(crate::CapsChange { daily: Some(3), ..Default::default() }).unwrap();
    scene.store.settle().unwrap();
    scene
}

#[test]
fn a_store_in_order_is_found_in_order() {
    let scene = scene();

    let verified = scene.view().verify().unwrap();

    let counts = (
        verified.workers,
        verified.jobs,
        verified.history,
        verified.findings,
        verified.import_sources,
    );
    assert_eq!(counts, (3, 5, 4, 1, 3));
    assert_eq!((verified.days, verified.months), (6, 4));
    let rows: u64 = scene.view().size().unwrap().tables.values().map(|table| table.rows).sum();
    assert_eq!(verified.rows, rows);
    assert_eq!(scene.view().archived().verify().unwrap(), verified);
}

#[test]
fn an_empty_store_is_in_order() {
    let verified = Scene::new(1).view().verify().unwrap();

    assert_eq!((verified.rows, verified.workers, verified.jobs), (2, 0, 0));
}

/// The table, and parts of the row and of the rule, that an error has to name.
type Named = (Table, &'static str, &'static str);

/// How a store is spoilt, and what is said of it.
type Case = (fn(&Scene), Named);

#[track_caller]
fn check(cases: &[Case]) {
    for (tamper, (table, row, rule)) in cases {
        let scene = scene();
        tamper(&scene);

        match scene.view().verify() {
            Err(Error::Inconsistent { table: found, row: found_row, rule: found_rule }) => {
                let found = format!("{found}: {found_row}: {found_rule}");
                let expected = format!("{}: {row}: ", table.name());
                assert!(
                    found.starts_with(&expected) && found.contains(rule),
                    "{expected}{rule}, but {found}"
                );
            }
            other => panic!("{}: {row}: {rule}, but {other:?}", table.name()),
        }
    }
}

#[test]
fn rows_without_an_owner_are_named() {
    check(&[
        (
            |scene| scene.delete(tables::LIFETIME, &key::worker(ANNE)),
            (tables::DAILY, "worker 1 at 2026-02-14", "has a lifetime"),
        ),
        (
            |scene| {
                let row = MonthlyRow {
                    totals: batch(1, "2026-01-01T00:00:00Z"),
                    rolled: Rolled::Everything,
                };
                scene.put(&key::month(NOBODY, month("2026-01")), &row);
            },
            (tables::MONTHLY, "worker 9 at 2026-01", "has a lifetime"),
        ),
        (
            |scene| scene.put(&key::worker(NOBODY), &LifetimeRow::default()),
            (tables::LIFETIME, "worker 9", "worker, 9, is one there is"),
        ),
        (
            |scene| {
                let newest = scene.view().newest_history(None, 1).unwrap()[0].id;
                scene.edit(&key::number(newest), |row: &mut HistoryRow| row.batch.worker = NOBODY);
            },
            (tables::HISTORY, "record 13", "worker, 9, is one there is"),
        ),
        (
            |scene| {
                scene.edit(&key::finding(COMPLETED, b"key"), |row: &mut FindingRow| {
                    row.worker = NOBODY
                })
            },
            (tables::FINDINGS, "finding 0x6b6579 of job 3", "worker, 9, is one there is"),
        ),
        (
            |scene| {
                let row = FindingRow {
                    payload: vec![],
                    worker: ANNE,
                    found_at: scene.store.now(),
                    late: false,
                };
                put_finding(scene, NO_JOB, b"key", &row);
            },
            (tables::FINDINGS, "finding 0x6b6579 of job 99", "its job is one there is"),
        ),
        (
            |scene| {
                let row = FindingRow {
                    payload: vec![],
                    worker: ANNE,
                    found_at: scene.store.now(),
                    late: false,
                };
                put_finding(scene, COMPLETED, b"", &row);
            },
            (tables::FINDINGS, "finding 0x of job 3", "key has a length that is taken"),
        ),
    ]);
}

#[test]
fn workers_and_names_that_disagree_are_named() {
    fn name(scene: &Scene, name: &[u8], number: u64) {
        scene.tamper(|txn| txn.put(tables::WORKER_NAMES, name, &encode(&Number(number))).unwrap());
    }
    check(&[
        (
            |scene| scene.delete(tables::WORKER_NAMES, b"pc-anne"),
            (tables::WORKERS, "worker 1", "name leads to its number"),
        ),
        (
            |scene| name(scene, b"pc-anne", 2),
            (tables::WORKERS, "worker 1", "name leads to its number"),
        ),
        (
            |scene| name(scene, b"pc-carl", 2),
            (tables::WORKER_NAMES, "name \"pc-carl\"", "worker of this name"),
        ),
        (
            |scene| name(scene, b"pc-carl", 1 << 32),
            (tables::WORKER_NAMES, "name \"pc-carl\"", "worker of this name"),
        ),
        (
            |scene| {
                scene.edit(&key::worker(BERT), |row: &mut WorkerRow| row.name = "pc-carl".into())
            },
            (tables::WORKERS, "worker 2", "name leads to its number"),
        ),
        (
            |scene| scene.control(|control| control.next_worker = 3),
            (tables::WORKERS, "worker 3", "number was given out"),
        ),
    ]);
}

#[test]
fn rows_of_meta_that_are_wrong_are_named() {
    fn source(scene: &Scene, name: &str) {
        scene.put(&meta::import_key(name), &ImportRow { number: 1, digest: 0 });
    }
    check(&[
        (|scene| source(scene, ""), (tables::META, "import source \"\"", "has 1 to 64 bytes")),
        (
            |scene| {
                source(scene, "a name of 65 bytes, one more than the source of imports may have.")
            },
            (
                tables::META,
                "import source \"a name of 65 bytes, one more than the source of imports may have.\"",
                "has 1 to 64 bytes",
            ),
        ),
        (
            |scene| {
                scene.edit(meta::IMPORTED_KEY, |row: &mut ImportedRow| row.0.batches += 1_000);
            },
            (tables::META, "imported", "all lifetimes together are no less"),
        ),
        (
            |scene| scene.delete(tables::META, b"format"),
            (tables::META, "format", "the format is 1"),
        ),
    ]);
}

#[test]
fn a_key_or_a_record_that_cannot_be_read_is_named_in_every_table() {
    for table in tables::ALL {
        let mut entries = Vec::new();
        scene()
            .view()
            .dump(|of, key, _| entries.extend((of == table).then(|| key.to_vec())))
            .unwrap();
        let key = entries.pop().expect("every table holds something");
        // Names and finding keys may be any bytes, so there only a record can be unreadable;
        // indexes have none.
        let has_free_keys =
            matches!(table, tables::WORKER_NAMES | tables::FINDINGS | tables::FINDINGS_BY_TIME);
        let has_no_record = matches!(
            table,
            tables::JOB_QUEUE
                | tables::JOB_QUEUE_BY_PREFIX
                | tables::JOB_LEASES
                | tables::JOB_HOLDERS
                | tables::JOBS_ENDED
                | tables::FINDINGS_BY_TIME
                | tables::FINDINGS_BY_KEY
        );
        let long_key = [&key[..], b"!"].concat();
        for (broken, applies) in [(long_key, !has_free_keys), (key, !has_no_record)] {
            if !applies {
                continue;
            }
            let scene = scene();
            scene.tamper(|txn| txn.put(table, &broken, b"\x01").unwrap());

            match scene.view().verify() {
                Err(Error::Corrupted { what }) if what.contains(table.name()) => {}
                other => panic!("{}: {broken:x?} gave {other:?}", table.name()),
            }
        }
    }
}

fn put_finding(scene: &Scene, job: JobId, name: &[u8], row: &FindingRow) {
    scene.put(&key::finding(job, name), row);
    scene.tamper(|txn| {
        txn.put(tables::FINDINGS_BY_TIME, &key::finding_by_time(row.found_at, job, name), &[])
            .unwrap();
        txn.put(tables::FINDINGS_BY_KEY, &key::finding_by_key(name, job), &[]).unwrap();
    });
}
