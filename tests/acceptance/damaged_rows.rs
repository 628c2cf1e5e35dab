//! Rows that cannot be decoded: whoever needs one gets an error that names it, and all others go on,
//! now and after a reopen (promise 13). Once the rows are mended, nothing is missing.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::path::Path;
use std::sync::Arc;

use milepost::testing::tables;
use milepost::testing::{Engine, Flush, MemoryEngine, Table};
use milepost::{
    Action, Batch, CapsChange, Error, Import, JobId, Lease, LeaseCommand, NewJob, Result, Scope,
    Store, Totals, Worker,
};
use redb::TableDefinition;

use crate::ledger::past;
use crate::support::{DAY, Dump, MINUTE, Scene, YEAR, advance, day, dump, month, refused, relaxed};

type Damage = fn(&[u8]) -> Vec<u8>;

/// Ways to spoil the bytes of a row.
const DAMAGES: [(&str, Damage); 4] = [
    ("emptied", |_| Vec::new()),
    ("of another version", |bytes| [&[77], bytes].concat()),
    ("cut short", |bytes| bytes[..bytes.len().saturating_sub(1)].to_vec()),
    ("followed by more", |bytes| [bytes, &[0]].concat()),
];

/// A store in memory with something in every table.
struct Fleet {
    scene: Scene,
    engine: Arc<MemoryEngine>,
    /// Job 1, held by worker 1, whose rows are damaged.
    theirs: Lease,
    /// Job 2, held by worker 2, who is to go on.
    ours: Lease,
}

fn fill(scene: &Scene) -> (Lease, Lease) {
    let jobs = [
        NewJob::new("a", 0..1_000),
        NewJob::new("a", 1_000..2_000),
        NewJob::new("b", 0..10),
        NewJob::new("b", 10..20).max_attempts(1),
        NewJob::new("b", 20..30),
        NewJob::new("c", 0..10),
    ];
    let ids = scene.create_jobs(jobs).unwrap();
    let (other, own) = (scene.pc("other"), scene.pc("own"));
    let of_job = |worker: &Worker, job: JobId| {
        worker.request(YEAR).of_job(job).send().unwrap().leased().unwrap()
    };
    let mut theirs = of_job(&other, ids[0]);
    let mut ours = of_job(&own, ids[1]);
    let mut done = of_job(&other, ids[2]);
    advance(&mut done, 10);
    of_job(&other, ids[3]).fail("no luck").unwrap();
    scene.cancel_job(ids[4]).unwrap();
    other.add_finding(ids[2], milepost::NewFinding::new("key", "payload")).unwrap();
    let totals = Totals::new(2, 7);
    let import = Import::new("before", 1)
        .history(past(other.id(), scene.now(), 1, 1))
        .daily(other.id(), day("2026-01-30"), totals)
        .daily(other.id(), day("2026-01-31"), totals)
        .monthly(other.id(), month("2025-12"), totals);
    scene.import(import).unwrap();
    for _ in 0..3 {
        scene.clock.advance(DAY);
        advance(&mut theirs, 10);
        advance(&mut ours, 10);
    }
    scene.set_caps(CapsChange::default().with_history(4).with_daily(2)).unwrap();
    scene.settle().unwrap();
    (theirs, ours)
}

impl Fleet {
    fn new() -> Fleet {
        let engine = Arc::new(MemoryEngine::new());
        let scene = Scene::on(engine.clone());
        let (theirs, ours) = fill(&scene);
        Fleet { scene, engine, theirs, ours }
    }

    fn put(&self, table: Table, key: &[u8], value: &[u8]) {
        self.engine.write(Flush::Now, &mut |txn| txn.put(table, key, value)).unwrap();
    }

    fn damage(&self, table: Table, key: &[u8]) -> Vec<u8> {
        let rows = dump(&self.scene);
        let (_, _, value) = rows.iter().find(|row| (row.0, &row.1[..]) == (table, key)).unwrap();
        self.put(table, key, &[77]);
        value.clone()
    }

    fn history(&self) -> u64 {
        self.engine.snapshot().unwrap().table_size(tables::HISTORY).unwrap().rows
    }

    /// Work on job 2, until it is completed.
    fn go_on(&mut self) -> Result<()> {
        for n in 0..8u64 {
            self.scene.clock.advance(DAY);
            let mut batch =
                self.ours.next_batch(100).expect("positions are left").with_duration(MINUTE);
            batch.add_finding(n.to_be_bytes(), "payload");
            self.ours.checkpoint(batch)?;
            self.ours.renew()?;
            if n % 3 == 0 {
                self.scene.reopen()?;
            }
        }
        advance(&mut self.ours, 1_000);
        Ok(())
    }
}

fn totals(store: &Store) -> Vec<Totals> {
    let view = store.snapshot().unwrap();
    let mut totals = vec![view.lifetime(Scope::Fleet).unwrap().totals];
    for worker in view.workers(None, 100).unwrap() {
        totals.push(view.lifetime(worker.id).unwrap().totals);
    }
    totals
}

/// Whether job 2 could not do without the row: the job itself, its worker, and the caps and
/// counters that every command needs.
fn is_ours((table, key, _): &(Table, Vec<u8>, Vec<u8>)) -> bool {
    match *table {
        tables::META => [&b"control"[..], b"format"].contains(&&key[..]),
        tables::JOBS => key[..] == 2u64.to_be_bytes(),
        tables::WORKERS => key[..] == 2u32.to_be_bytes(),
        // Job 2 is counted there, with all others of its prefix, when its status changes.
        tables::PREFIXES => key == b"a",
        _ => false,
    }
}

fn rows_of_others(fleet: &Fleet) -> Dump {
    let rows: Dump = dump(&fleet.scene).into_iter().filter(|row| !is_ours(row)).collect();
    let empty = |table: &&Table| !rows.iter().any(|row| row.0 == **table);
    let empty: Vec<&Table> = tables::ALL.iter().filter(empty).collect();
    assert!(empty.is_empty(), "nothing to damage in {empty:?}");
    rows
}

#[test]
fn whichever_row_is_damaged_the_holders_of_other_jobs_go_on_and_nothing_is_lost() {
    let mut twin = Fleet::new();
    twin.go_on().unwrap();
    let expected = totals(&twin.scene);
    twin.theirs.abandon();
    let others = rows_of_others(&Fleet::new());

    for (table, key, value) in &others {
        for (how, damage) in DAMAGES {
            let what = format!("a row of {} that is {how}", table.name());
            let damaged = damage(value);
            let mut fleet = Fleet::new();
            fleet.put(*table, key, &damaged);

            fleet.go_on().unwrap_or_else(|error| panic!("{what}: {error}"));

            // Unless it was legitimately replaced or removed, such as an index entry of job 2.
            let rows = dump(&fleet.scene);
            if rows.contains(&(*table, key.clone(), damaged)) {
                fleet.put(*table, key, value);
            }
            fleet.scene.settle().unwrap();
            assert_eq!(totals(&fleet.scene), expected, "{what}, then mended");
            fleet.theirs.abandon();
        }
    }
}

#[test]
fn whichever_row_is_missing_the_holders_of_other_jobs_go_on() {
    for (table, key, _) in rows_of_others(&Fleet::new()) {
        let mut fleet = Fleet::new();
        fleet.engine.write(Flush::Now, &mut |txn| txn.delete(table, &key)).unwrap();

        fleet.go_on().unwrap_or_else(|error| panic!("a missing row of {}: {error}", table.name()));

        fleet.theirs.abandon();
        fleet.scene.closed = true;
    }
}

#[test]
fn the_holder_of_a_damaged_job_gets_an_error_that_names_the_row_until_it_is_mended() {
    let mut fleet = Fleet::new();
    let bytes = fleet.damage(tables::JOBS, &1u64.to_be_bytes());

    for _ in 0..2 {
        let error = refused(&fleet.scene, || fleet.theirs.renew());
        let Error::Corrupted { what } = &error else { panic!("{error:?}") };
        assert!(what.contains("jobs") && what.contains("0000000000000001"), "{what}");
        assert!(!error.needs_reopen() && !fleet.theirs.is_unanswered());
        advance(&mut fleet.ours, 10);
        fleet.scene.reopen().unwrap();
    }

    fleet.put(tables::JOBS, &1u64.to_be_bytes(), &bytes);
    advance(&mut fleet.theirs, 10);
}

/// Without its worker a job can be moved on, but not ended: that is found out after the first write.
#[test]
fn a_command_that_fails_after_its_first_write_is_undone_alone() {
    let mut fleet = Fleet::new();
    let bytes = fleet.damage(tables::WORKERS, &1u32.to_be_bytes());
    let command = |lease: &Lease, sequence, action| {
        LeaseCommand::new(lease.job(), lease.token(), sequence, action)
    };
    let checkpoint = |from| Action::Checkpoint(Batch::new(from..from + 10, MINUTE));

    refused(&fleet.scene, || fleet.theirs.release());
    let results = fleet.scene.submit_many([
        command(&fleet.ours, 4, checkpoint(1_030)),
        command(&fleet.theirs, 4, Action::Release),
        command(&fleet.ours, 5, checkpoint(1_040)),
        command(&fleet.theirs, 4, Action::Fail { reason: "no luck".into(), batch: None }),
        command(&fleet.theirs, 4, checkpoint(30)),
    ]);

    let refusals: Vec<bool> = results
        .iter()
        .map(|result| matches!(result, Err(Error::Corrupted { what }) if what.contains("workers")))
        .collect();
    assert_eq!(refusals, [false, true, false, true, false], "{results:?}");
    assert!(results.iter().filter(|result| result.is_ok()).count() == 3, "{results:?}");
    let view = fleet.scene.snapshot().unwrap();
    let cursor = |lease: &Lease| view.job(lease.job()).unwrap().unwrap().cursor;
    assert_eq!((cursor(&fleet.theirs), cursor(&fleet.ours)), (40, 1_050));
    fleet.put(tables::WORKERS, &1u32.to_be_bytes(), &bytes);
    fleet.theirs.abandon();
    fleet.ours.abandon();
}

#[test]
fn history_that_cannot_leave_stays_over_its_cap_until_it_is_mended() {
    for (table, key) in
        [(tables::HISTORY, third_oldest_record()), (tables::LIFETIME, 1u32.to_be_bytes().to_vec())]
    {
        let mut fleet = Fleet::new();
        let bytes = fleet.damage(table, &key);

        for _ in 0..20 {
            advance(&mut fleet.ours, 1);
        }

        assert!(fleet.history() >= 20, "{table:?}");
        let error = fleet.scene.settle().unwrap_err();
        assert!(
            matches!(&error, Error::Corrupted { what } if what.contains(table.name())),
            "{error:?}"
        );
        fleet.put(table, &key, &bytes);
        fleet.scene.settle().unwrap();
        assert_eq!(fleet.history(), 4);
        fleet.theirs.abandon();
        fleet.ours.abandon();
    }
}

/// The key of the third oldest record: those before it can leave.
fn third_oldest_record() -> Vec<u8> {
    let fleet = Fleet::new();
    let rows = dump(&fleet.scene);
    rows.iter().filter(|row| row.0 == tables::HISTORY).nth(2).unwrap().1.clone()
}

/// Every command needs the row of caps and counters, but a sync does not.
#[test]
fn without_its_control_row_a_store_refuses_commands_and_still_syncs() {
    let mut fleet = Fleet::new();
    let bytes = fleet.damage(tables::META, b"control");

    let error = fleet.ours.renew().unwrap_err();

    assert!(matches!(&error, Error::Corrupted { what } if what.contains("meta")), "{error:?}");
    fleet.scene.flush().unwrap();
    fleet.put(tables::META, b"control", &bytes);
    fleet.ours.renew().unwrap();
    fleet.theirs.abandon();
}

/// Changes a row of a closed store; returns its old value.
fn edit_file(path: &Path, table: Table, key: &[u8], value: Option<&[u8]>) -> Option<Vec<u8>> {
    let database = redb::Database::open(path).unwrap();
    let txn = database.begin_write().unwrap();
    let old = {
        let definition: TableDefinition<&[u8], &[u8]> = TableDefinition::new(table.name());
        let mut rows = txn.open_table(definition).unwrap();
        let old = match value {
            Some(value) => rows.insert(key, value).unwrap(),
            None => rows.remove(key).unwrap(),
        };
        old.map(|old| old.value().to_vec())
    };
    txn.commit().unwrap();
    old
}

/// Under `Relaxed` one transaction of redb holds many commits: what is undone in one of them must
/// not take those before it along.
#[test]
fn under_relaxed_a_refused_command_takes_no_earlier_commit_along() {
    let mut scene = Scene::with(relaxed);
    let (theirs, ours) = fill(&scene);
    let (job, token) = (ours.job(), ours.token());
    theirs.abandon();
    ours.abandon();
    scene.close().unwrap();
    // Not the number of a record. Whoever adds one finds out, once the job has been written.
    let stray = [255; 9];
    edit_file(&scene.path, tables::HISTORY, &stray, Some(&[]));
    scene.reopen_with(relaxed);
    let submit = |sequence, action| scene.submit(LeaseCommand::new(job, token, sequence, action));

    submit(4, Action::Renew).unwrap();
    let batch = Batch::new(1_030..1_040, MINUTE).with_finding(b"key", b"payload");
    let refusal = submit(5, Action::Checkpoint(batch)).unwrap_err();
    submit(5, Action::Renew).unwrap();

    assert!(matches!(&refusal, Error::Corrupted { what } if what.contains("history")));
    let found = scene.snapshot().unwrap().job(job).unwrap().unwrap();
    assert_eq!(found.cursor, 1_030);
    scene.close().unwrap();
    edit_file(&scene.path, tables::HISTORY, &stray, None);
    scene.reopen_with(relaxed);
}

#[test]
fn under_relaxed_what_retention_undoes_takes_no_commit_along() {
    let mut scene = Scene::with(relaxed);
    let (theirs, mut ours) = fill(&scene);
    let (job, token) = (ours.job(), ours.token());
    theirs.abandon();
    // The oldest records are theirs, then ours.
    advance(&mut ours, 10);
    ours.abandon();
    scene.close().unwrap();
    let key = 2u32.to_be_bytes();
    let bytes = edit_file(&scene.path, tables::LIFETIME, &key, Some(&[77])).unwrap();
    scene.reopen_with(relaxed);

    for n in 0..10 {
        let (from, to) = (1_040 + n, 1_041 + n);
        let batch = Batch::new(from..to, MINUTE);
        let action = Action::Checkpoint(batch);
        scene.submit(LeaseCommand::new(job, token, 5 + n, action)).unwrap();
    }

    scene.close().unwrap();
    edit_file(&scene.path, tables::LIFETIME, &key, Some(&bytes));
    scene.reopen_with(relaxed);
    scene.settle().unwrap();
    let view = scene.snapshot().unwrap();
    let found = view.job(job).unwrap().unwrap();
    assert_eq!((found.cursor, found.batches), (1_050, 14));
    assert_eq!(view.lifetime(found.holder.unwrap()).unwrap().totals.batches, 14);
}

/// A deleted job is gone, whatever retention encounters while its findings are removed.
#[test]
fn deleting_a_job_does_not_fail_for_a_row_that_is_not_its_own() {
    let fleet = Fleet::new();
    let key = third_oldest_record();
    let bytes = fleet.damage(tables::HISTORY, &key);
    fleet.scene.set_caps(CapsChange::default().with_history(1)).unwrap();
    let view = fleet.scene.snapshot().unwrap();
    let ended = view.jobs(None, 10).unwrap().into_iter().find(|job| job.batches == 1).unwrap();
    drop(view);

    fleet.scene.delete_job(ended.id).unwrap();

    assert!(fleet.scene.snapshot().unwrap().job(ended.id).unwrap().is_none());
    fleet.put(tables::HISTORY, &key, &bytes);
    fleet.scene.settle().unwrap();
    fleet.theirs.abandon();
    fleet.ours.abandon();
}
