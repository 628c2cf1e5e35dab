//! Views as they are serialized, dumped and counted.

use std::collections::BTreeSet;

use super::*;

#[test]
fn views_serialize_in_forms_that_people_can_read() {
    let scene = Scene::new(1);
    let worker = scene.worker("pc-01");
    let job = scene.store.create_job(NewJob::new(b"\xff\x00", 0..100)).unwrap();
    let mut lease = scene.lease(&worker, job);
    lease
        .checkpoint(Batch::new(0..50, Duration::from_secs(5)).with_finding(b"k", b"\x00\xff"))
        .unwrap();
    let view = scene.view();

    let json = |value: serde_json::Result<serde_json::Value>| value.unwrap();
    let day = json(serde_json::to_value(view.daily(&worker, ..).unwrap()[0]));
    let month = json(serde_json::to_value(view.monthly(&worker, ..).unwrap()[0]));
    let shown = json(serde_json::to_value(view.job(job).unwrap()));
    let finding = json(serde_json::to_value(&view.findings_of(job, None, usize::MAX).unwrap()[0]));
    let progress = json(serde_json::to_value(view.progress(b"\xff\x00").unwrap()));
    let record = json(serde_json::to_value(&view.newest_history(None, 1).unwrap()[0]));

    assert_eq!((&day["day"], &month["month"]), (&"2026-02-16".into(), &"2026-02".into()));
    assert_eq!(day["last_at"], "2026-02-16T12:00:00Z");
    assert_eq!((&shown["prefix"], &shown["status"]), (&"0xff00".into(), &"leased".into()));
    assert_eq!(shown["deadline"], "2026-02-16T13:00:00Z");
    assert_eq!((&finding["key"], &finding["payload"]), (&"6b".into(), &"00ff".into()));
    assert_eq!(progress["open"], 50);
    assert_eq!(
        (&record["id"], &record["end"], &record["outcome"]),
        (&1.into(), &50.into(), &"done".into())
    );
    assert_eq!((&progress["rate"], &progress["per_second"]), (&"moving".into(), &10.0.into()));
    assert_eq!(
        (&progress["moving_jobs"], &progress["measured_us"]),
        (&1.into(), &5_000_000.into())
    );
}

#[test]
fn the_size_and_the_dump_agree() {
    let (scene, _) = one_archived_two_live();
    let view = scene.view();

    let mut rows = Vec::new();
    view.dump(|table, key, value| rows.push((table, key.to_vec(), value.to_vec()))).unwrap();
    let size = view.size().unwrap();

    assert!(rows.is_sorted());
    // The worker's only day and month stand in its lifetime row, and count as rows of their own.
    assert_eq!((size.tables["daily"].rows, size.tables["monthly"].rows), (1, 1));
    assert_eq!(size.tables.values().map(|table| table.rows).sum::<u64>(), rows.len() as u64 + 2);
    assert!(size.tables.keys().eq(&BTreeSet::from(tables::ALL.map(Table::name))));
    assert_eq!((size.used_bytes, size.stored_bytes), (size.stored_bytes, size.used_bytes));
}

#[test]
fn a_row_that_cannot_be_read_is_named_and_not_passed_over() {
    let named = |result: crate::Result<()>, table: Table| match result {
        Err(Error::Corrupted { what }) => assert!(what.contains(table.name()), "{what}"),
        other => panic!("the broken row of {} went unnoticed: {other:?}", table.name()),
    };
    type Question = fn(&Snapshot) -> crate::Result<()>;
    let questions: [(Table, &[u8], Question); 8] = [
        (tables::WORKERS, b"\0\0\0\x01+", |view| view.workers(None, usize::MAX).map(drop)),
        (tables::DAILY, b"\0\0\0\x01\x80", |view| view.daily(Scope::Fleet, ..).map(drop)),
        (tables::HISTORY, b"short", |view| view.newest_history(None, 9).map(drop)),
        (tables::PREFIXES, b"", |view| view.prefixes(None, 9).map(drop)),
        (tables::JOB_RANGES, b"\x02ab\0", |view| view.jobs_of_prefix(b"ab", None, 9).map(drop)),
        (tables::JOB_HOLDERS, b"\0\0\0\x01\0", |view| view.leases(None, 9).map(drop)),
        (tables::FINDINGS, b"short", |view| view.findings(None, 9).map(drop)),
        (tables::JOB_HOLDERS, b"\0\0\0\x01\0", |view| {
            view.active_since(Timestamp::MIN, None, usize::MAX).map(drop)
        }),
    ];
    for (table, broken_key, ask) in questions {
        let (scene, _) = one_archived_two_live();
        scene.tamper(|txn| txn.put(table, broken_key, b"").unwrap());

        named(ask(&scene.view()), table);
    }

    let (scene, worker) = one_archived_two_live();
    scene.tamper(|txn| txn.put(tables::LIFETIME, &key::worker(worker), b"\x01\x02").unwrap());
    named(scene.view().lifetime(Scope::Fleet).map(drop), tables::LIFETIME);
}
