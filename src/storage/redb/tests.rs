//! What the seam promises, held against redb.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

use super::backend::Bytes;
use super::{Access, RedbEngine, Source, system};
use crate::config::Sharing;
use crate::storage::{Engine, EngineError, EngineResult, Flush, Order, Table, Write};

const ROWS: Table = Table::new(0, "rows");

fn access(sharing: Sharing) -> Access {
    Access { sharing, read_only: false, cache_bytes: 1 << 20, check_on_open: false }
}

fn open(path: &Path, sharing: Sharing) -> RedbEngine {
    let create = &mut |txn: &mut dyn Write| txn.delete(ROWS, b"");
    RedbEngine::open(Source::File(path.to_path_buf()), access(sharing), create).unwrap()
}

fn put(engine: &dyn Engine, flush: Flush, key: &[u8]) -> EngineResult<()> {
    engine.write(flush, &mut |txn| txn.put(ROWS, key, b"value"))
}

fn has(engine: &dyn Engine, key: &[u8]) -> bool {
    engine.snapshot().unwrap().get(ROWS, key, &mut |_| ()).unwrap()
}

/// Runs something that panics with `"ours"`, and checks that this is what comes out of it.
#[track_caller]
fn assert_passes_through<T>(call: impl FnOnce() -> T) {
    let panic = catch_unwind(AssertUnwindSafe(call)).err().expect("the panic passes through");
    assert_eq!(panic.downcast_ref::<&str>(), Some(&"ours"));
}

#[test]
fn a_panic_of_a_visitor_passes_through_a_snapshot() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(&folder.path().join("store"), Sharing::Exclusive);
    put(&engine, Flush::Now, b"a").unwrap();
    let view = engine.snapshot().unwrap();

    assert_passes_through(|| view.get(ROWS, b"a", &mut |_| panic!("ours")));
    for order in [Order::Ascending, Order::Descending] {
        let all = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
        assert_passes_through(|| view.scan(ROWS, all, order, &mut |_, _| panic!("ours")));
    }

    assert!(view.get(ROWS, b"a", &mut |_| ()).unwrap());
    put(&engine, Flush::Now, b"b").unwrap();
}

#[test]
fn a_panic_of_a_transaction_passes_through_and_rolls_it_back() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(&folder.path().join("store"), Sharing::Exclusive);
    put(&engine, Flush::Now, b"a").unwrap();

    for flush in [Flush::Now, Flush::Later] {
        assert_passes_through(|| {
            engine.write(flush, &mut |txn| {
                txn.put(ROWS, b"b", b"")?;
                panic!("ours")
            })
        });
        assert_passes_through(|| {
            engine.write(flush, &mut |txn| {
                txn.put(ROWS, b"b", b"")?;
                txn.get(ROWS, b"a", &mut |_| panic!("ours")).map(|_| ())
            })
        });

        assert!(!has(&engine, b"b"), "{flush:?}");
        put(&engine, flush, b"c").unwrap();
        assert!(has(&engine, b"c"), "{flush:?}");
    }
}

/// What was gathered with it was acknowledged, so nothing may build on its loss.
#[test]
fn a_panic_that_takes_gathered_transactions_with_it_stops_the_engine() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(&folder.path().join("store"), Sharing::Exclusive);
    put(&engine, Flush::Later, b"a").unwrap();

    assert_passes_through(|| engine.write(Flush::Later, &mut |_| panic!("ours")));

    let refused = put(&engine, Flush::Later, b"b");
    assert!(matches!(refused, Err(EngineError::Failed(_))), "{refused:?}");
    engine.reopen().unwrap();
    assert!(!has(&engine, b"a"));
    put(&engine, Flush::Later, b"b").unwrap();
}

fn is_sound(path: &Path) -> bool {
    let file = std::fs::File::open(path).unwrap();
    system::is_sound(&Bytes::of_file(redb::backends::FileBackend::new(file).unwrap()))
}

/// What looks damaged at the first look is damaged: redb refuses it once it checks the whole file.
#[test]
fn damage_to_the_tables_of_redb_itself_is_found_before_redb_relies_on_them() {
    for sharing in [Sharing::Exclusive, Sharing::MultiWriter] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let engine = open(&path, sharing);
        for n in 0..40u8 {
            put(&engine, Flush::Now, &[n; 200]).unwrap();
        }
        engine.close().unwrap();
        assert!(is_sound(&path), "{sharing:?}");
        let bytes = std::fs::read(&path).unwrap();

        let mut found = 0;
        for page in (4096..bytes.len()).step_by(4096) {
            let mut damaged = bytes.clone();
            damaged[page + 40] ^= 1;
            std::fs::write(&path, damaged).unwrap();
            if !is_sound(&path) {
                found += 1;
                let opened = super::open::open(&Source::File(path.clone()), access(sharing));
                let error = opened.err().expect("it is damaged");
                assert!(matches!(error, crate::Error::Corrupted { .. }), "{error:?}");
            }
        }
        // The root of our tables, that of redb's own, and the pages of those.
        assert!(found > 3, "{sharing:?}: {found}");
    }
}

#[test]
fn an_error_while_a_store_is_made_names_the_path_that_was_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let fails = &mut |_: &mut dyn Write| Err(EngineError::failed("no space is left"));

    let opened = RedbEngine::open(Source::File(path.clone()), access(Sharing::Exclusive), fails);

    let error = opened.err().expect("it could not be made");
    assert!(matches!(&error, crate::Error::Io { path: named, .. } if *named == path), "{error:?}");
    assert_eq!(folder.path().read_dir().unwrap().count(), 0, "nothing is left behind");
}

/// Promise of the seam: what a transaction reads is current, also if it writes nothing.
#[test]
fn a_transaction_that_writes_nothing_sees_what_another_handle_committed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("store");
    let (first, second) = (open(&path, Sharing::MultiWriter), open(&path, Sharing::MultiWriter));

    for n in 0..3u8 {
        put(&first, Flush::Now, &[n]).unwrap();

        let mut found = false;
        let looks = &mut |txn: &mut dyn Write| {
            found = txn.get(ROWS, &[n], &mut |_| ())?;
            Ok(())
        };
        second.write(Flush::Now, looks).unwrap();
        assert!(found, "{n}");
    }
}

/// Promise 10: whoever takes a snapshot while a large transaction runs gets everything that was
/// committed before, at once. Here the transaction itself takes it: waiting would be a deadlock.
#[test]
fn a_snapshot_does_not_wait_for_a_transaction_that_runs_alone() {
    let folder = tempfile::tempdir().unwrap();
    let engine = open(&folder.path().join("store"), Sharing::Exclusive);
    for flush in [Flush::LaterAlone, Flush::Now] {
        put(&engine, Flush::Later, b"gathered").unwrap();

        engine
            .write(flush, &mut |txn| {
                txn.put(ROWS, b"large", b"")?;
                assert!(has(&engine, b"gathered"));
                assert!(!has(&engine, b"large"));
                Ok(())
            })
            .unwrap();

        assert!(has(&engine, b"large"));
        engine
            .write(flush, &mut |txn| {
                txn.delete(ROWS, b"gathered")?;
                txn.delete(ROWS, b"large")
            })
            .unwrap();
    }
}

#[test]
fn what_was_written_alone_is_lost_by_a_crash_until_something_is_synced() {
    for sync in [false, true] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("store");
        let engine = open(&path, Sharing::Exclusive);
        put(&engine, Flush::LaterAlone, b"alone").unwrap();
        if sync {
            engine.write(Flush::Now, &mut |_| Ok(())).unwrap();
        }

        let copy = folder.path().join("after a crash");
        std::fs::copy(&path, &copy).unwrap();

        assert_eq!(has(&open(&copy, Sharing::Exclusive), b"alone"), sync);
    }
}
