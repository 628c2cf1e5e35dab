//! Retention that encounters a damaged row does what it can do without it, and the rest once the
//! row is mended.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::sync::Arc;

use milepost::testing::tables;
use milepost::testing::{Engine, Flush, MemoryEngine, Table};
use milepost::{CapsChange, Error, Import, NewJob, Totals};

use crate::support::{Scene, day, dump, rows};

/// Damages the last row of a table, and returns its key and bytes.
fn damage_last(scene: &Scene, engine: &MemoryEngine, table: Table) -> (Vec<u8>, Vec<u8>) {
    let (_, key, value) = dump(scene).into_iter().rfind(|row| row.0 == table).unwrap();
    engine.write(Flush::Now, &mut |txn| txn.put(table, &key, &[77])).unwrap();
    (key, value)
}

#[test]
fn a_damaged_finding_keeps_no_other_deleted_job_from_losing_its_findings() {
    let engine = Arc::new(MemoryEngine::new());
    let scene = Scene::on(engine.clone());
    let worker = scene.pc("finder");
    let ids = scene.create_jobs((0..3).map(|n| NewJob::new("a", n * 10..n * 10 + 10))).unwrap();
    for id in &ids {
        worker.add_finding(*id, milepost::NewFinding::new("key", "payload")).unwrap();
        scene.cancel_job(*id).unwrap();
    }
    let (key, bytes) = damage_last(&scene, &engine, tables::FINDINGS);

    for id in ids.iter().rev() {
        scene.delete_job(*id).unwrap();
    }

    assert_eq!(rows(&scene, tables::FINDINGS), 1, "only the damaged one is left");
    assert!(matches!(scene.settle(), Err(Error::Corrupted { .. })));
    engine.write(Flush::Now, &mut |txn| txn.put(tables::FINDINGS, &key, &bytes)).unwrap();
    scene.settle().unwrap();
    for table in [tables::FINDINGS, tables::FINDINGS_BY_TIME, tables::FINDINGS_BY_KEY] {
        assert_eq!(rows(&scene, table), 0, "{table:?}");
    }
}

#[test]
fn a_damaged_lifetime_does_not_undo_what_was_removed_for_the_workers_before() {
    let engine = Arc::new(MemoryEngine::new());
    let scene = Scene::on(engine.clone());
    let totals = Totals::new(1, 1);
    let mut import = Import::new("days", 1);
    for name in ["first", "second"] {
        let worker = scene.pc(name).id();
        for text in ["2026-01-29", "2026-01-30", "2026-01-31"] {
            import = import.daily(worker, day(text), totals);
        }
    }
    scene.import(import).unwrap();
    let days = || engine.snapshot().unwrap().table_size(tables::DAILY).unwrap().rows;
    assert_eq!(days(), 4, "the newest of each worker stands in its lifetime");
    let (key, bytes) = damage_last(&scene, &engine, tables::LIFETIME);

    scene.set_caps(CapsChange::default().with_daily(1)).unwrap();

    assert_eq!(days(), 2, "those of the worker with the damaged lifetime");
    assert!(matches!(scene.settle(), Err(Error::Corrupted { .. })));
    engine.write(Flush::Now, &mut |txn| txn.put(tables::LIFETIME, &key, &bytes)).unwrap();
    scene.settle().unwrap();
    assert_eq!(days(), 0);
    scene.snapshot().unwrap().verify().unwrap();
}
