//! Files that cannot be opened: each for its own reason, told in words, and left as it was.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use milepost::testing::tables;
use milepost::testing::{Engine, Flush, MemoryEngine, Write};
use milepost::{Builder, Error, NewJob, NewWorker, Sharing, Store};
use redb::{Database, ReadableDatabase, TableDefinition};

use crate::process::{answer, answers, child};
use crate::support::{advance, lease, with_causes};

/// Opens a file that must be refused, in each way, and checks that it was left as it was.
#[track_caller]
fn assert_refused(path: &Path, expected: impl Fn(&Error) -> bool, words: &[&str]) {
    let before = std::fs::read(path).expect("the file is there");
    let attempts = [
        Store::open(path).map(|_| ()),
        Store::builder(path).check_on_open(true).open().map(|_| ()),
        Store::builder(path).sharing(Sharing::MultiWriter).open().map(|_| ()),
        Store::builder(path).history_limit(5).open().map(|_| ()),
        Store::builder(path).open_read_only().map(|_| ()),
    ];
    for (n, attempt) in attempts.into_iter().enumerate() {
        let error = attempt.expect_err("it is no store of this version");
        assert!(expected(&error), "attempt {n}: {error:?}");
        let text = error.to_string();
        assert!(text.contains(&path.display().to_string()), "attempt {n} names the file: {text}");
        for word in words {
            assert!(text.contains(word), "attempt {n}: {text}");
        }
    }
    assert!(std::fs::read(path).expect("the file is there") == before, "the file was changed");
}

fn not_a_store(error: &Error) -> bool {
    matches!(error, Error::NotAStore { .. })
}

/// A path in a folder of its own.
pub fn in_a_folder(name: &str) -> (tempfile::TempDir, PathBuf) {
    let folder = tempfile::tempdir().expect("there is room for a folder");
    let path = folder.path().join(name);
    (folder, path)
}

/// Promise 13.
#[test]
fn a_text_file_is_not_a_store() {
    let (_folder, path) = in_a_folder("notes.txt");
    for text in ["x", "remember the milk\n", &"a longer text ".repeat(10_000)] {
        std::fs::write(&path, text).unwrap();

        assert_refused(&path, not_a_store, &["is not a milepost store"]);
    }
}

/// Promise 13.
#[test]
fn an_sqlite_database_is_called_so() {
    let (_folder, path) = in_a_folder("jobs.sqlite");
    let mut bytes = b"SQLite format 3\0\x10\0\x01\x01\0\x40\x20\x20".to_vec();
    bytes.resize(8_192, 0);
    std::fs::write(&path, bytes).unwrap();

    assert_refused(&path, not_a_store, &["is not a milepost store", "an SQLite database"]);
}

/// Promise 13.
#[test]
fn an_empty_file_is_not_a_store() {
    let (_folder, path) = in_a_folder("empty.milepost");
    std::fs::write(&path, "").unwrap();

    assert_refused(&path, not_a_store, &["is not a milepost store", "the file is empty"]);
}

const NAMES: TableDefinition<'_, &str, u64> = TableDefinition::new("names");
const META: TableDefinition<'_, &[u8], &[u8]> = TableDefinition::new("meta");
const OTHER_META: TableDefinition<'_, &str, u64> = TableDefinition::new("meta");

/// Promise 13.
#[test]
fn a_redb_file_of_another_program_is_not_a_store() {
    let (_folder, path) = in_a_folder("other.redb");
    let database = Database::create(&path).unwrap();
    let txn = database.begin_write().unwrap();
    txn.open_table(NAMES).unwrap().insert("one", 1).unwrap();
    txn.commit().unwrap();
    drop(database);

    assert_refused(&path, not_a_store, &["redb file of another program"]);
}

/// Promise 13: it even has a table of the same name.
#[test]
fn a_redb_file_of_another_program_with_a_table_called_meta_is_not_a_store() {
    for same_type in [true, false] {
        let (_folder, path) = in_a_folder("other.redb");
        let database = Database::create(&path).unwrap();
        let txn = database.begin_write().unwrap();
        if same_type {
            txn.open_table(META).unwrap().insert(&b"title"[..], &b"ours"[..]).unwrap();
        } else {
            txn.open_table(OTHER_META).unwrap().insert("title", 7).unwrap();
        }
        txn.commit().unwrap();
        drop(database);

        assert_refused(&path, not_a_store, &["redb file of another program"]);
    }
}

/// A closed store in a file, with a little of everything in it.
pub fn closed_store(path: &Path) {
    let store = Store::open(path).expect("the folder can be written to");
    store.create_job(NewJob::new("keys", 0..1_000)).expect("the range is free");
    let mut lease =
        lease(&store.register_worker(NewWorker::new("w").kind("pc")).expect("it is in order"));
    advance(&mut lease, 100);
    lease.abandon();
    store.close().expect("the disk works");
}

/// Promise 13.
#[test]
fn a_store_of_a_future_format_is_refused_with_both_versions() {
    let (_folder, path) = in_a_folder("future.milepost");
    closed_store(&path);
    let database = Database::open(&path).unwrap();
    let row = database.begin_read().unwrap().open_table(META).unwrap();
    let mut format = row.get(&b"format"[..]).unwrap().unwrap().value().to_vec();
    assert_eq!(format, [1, 1], "record version and format version");
    format[1] = 2;
    let txn = database.begin_write().unwrap();
    txn.open_table(META).unwrap().insert(&b"format"[..], &format[..]).unwrap();
    txn.commit().unwrap();
    drop(row);
    drop(database);

    let future =
        |error: &Error| matches!(error, Error::FormatVersion { found: 2, supported: 1, .. });
    assert_refused(&path, future, &["format version 2", "supports version 1"]);
}

/// Promise 13.
#[test]
fn an_engine_that_holds_a_future_format_is_refused_like_a_file() {
    let engine = Arc::new(MemoryEngine::new());
    let put = |txn: &mut dyn Write| txn.put(tables::META, b"format", &[1, 3]);
    engine.write(Flush::Now, &mut |txn| put(txn)).unwrap();

    let error = Builder::on_engine(engine).open().expect_err("it is of another version");

    assert!(matches!(error, Error::FormatVersion { found: 3, supported: 1, .. }), "{error:?}");
}

/// Promise 13: an error that says so, whichever part is missing; never a panic, or a new store.
#[test]
fn a_truncated_file_is_refused() {
    let (_folder, whole) = in_a_folder("whole.milepost");
    closed_store(&whole);
    let bytes = std::fs::read(&whole).unwrap();
    let end = bytes.len();

    for length in [9, 64, 319, 320, 4_095, 4_096, 8_192, end / 2, end - 4_096, end - 1] {
        let (_folder, path) = in_a_folder("cut.milepost");
        std::fs::write(&path, &bytes[..length]).unwrap();

        let opened = [
            Store::builder(&path).open().map(|_| ()),
            Store::builder(&path).check_on_open(true).open().map(|_| ()),
            Store::builder(&path).open_read_only().map(|_| ()),
        ];
        for opened in opened {
            let error = opened.expect_err("something is missing");
            assert!(matches!(error, Error::Corrupted { .. }), "{length}: {error:?}");
            let text = error.to_string();
            assert!(
                text.contains("cut.milepost") && text.contains("truncated"),
                "{length}: {text}"
            );
        }
        assert!(std::fs::read(&path).unwrap() == bytes[..length], "{length}: it was changed");
    }
}

/// Promise 13.
#[test]
fn a_missing_file_is_made_by_a_writer_but_not_by_a_reader() {
    let (_folder, path) = in_a_folder("new.milepost");

    let error = Store::builder(&path).open_read_only().expect_err("there is nothing to read");
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
    assert!(error.to_string().contains("new.milepost"), "{error}");
    assert!(!path.exists());

    Store::open(&path).unwrap();
    assert!(path.exists());
}

/// Promise 13.
#[test]
fn a_missing_folder_is_named_in_the_error() {
    let (_folder, path) = in_a_folder("missing");
    let path = path.join("scan.milepost");

    let error = Store::open(&path).expect_err("there is no such folder");

    assert!(matches!(error, Error::Io { .. }), "{error:?}");
    let (text, all) = (error.to_string(), with_causes(&error));
    assert!(text.contains("missing/scan.milepost") && !text.contains("No such file"), "{text}");
    assert!(all.contains(": No such file"), "{all}");
}

/// Promise 13.
#[test]
fn a_folder_in_the_place_of_the_file_is_an_error() {
    let (_folder, path) = in_a_folder("folder.milepost");
    std::fs::create_dir(&path).unwrap();

    for opened in
        [Store::open(&path).map(|_| ()), Store::builder(&path).open_read_only().map(|_| ())]
    {
        let error = opened.expect_err("it is a folder");
        assert!(matches!(error, Error::Io { .. } | Error::NotAStore { .. }), "{error:?}");
        assert!(error.to_string().contains("folder.milepost"), "{error}");
    }
    assert!(path.is_dir());
}

/// Promise 13.
#[test]
fn a_new_store_leaves_nothing_else_in_its_folder() {
    let (folder, path) = in_a_folder("scan.milepost");

    Store::open(&path).unwrap().close().unwrap();

    let names: Vec<_> =
        folder.path().read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["scan.milepost"]);
}

/// Promise 13.
#[cfg(unix)]
#[test]
fn a_store_whose_file_is_renamed_works_on() {
    let (folder, path) = in_a_folder("before.milepost");
    let store = Store::open(&path).unwrap();
    let after = folder.path().join("after.milepost");

    std::fs::rename(&path, &after).unwrap();

    store.create_job(NewJob::new("a", 0..10)).unwrap();
    let bytes = store.snapshot().unwrap().size().unwrap().stored_bytes;
    assert_eq!(bytes, std::fs::metadata(&after).unwrap().len());
    store.close().unwrap();
    let moved = Store::builder(&after).open_read_only().unwrap();
    assert_eq!(moved.snapshot().unwrap().job_counts().pending, 1);
}

/// What a child does: it opens a store by a relative path, and works on in another folder.
pub fn change_folders(folder: &str) {
    std::env::set_current_dir(folder).unwrap();
    let store = Store::open("scan.milepost").unwrap();
    std::env::set_current_dir("..").unwrap();

    store.create_job(NewJob::new("a", 0..10)).unwrap();
    store.reopen().unwrap();

    answer(store.snapshot().unwrap().job_counts().pending);
}

/// Promise 13.
#[test]
fn a_store_works_on_when_its_process_changes_folders() {
    let folder = tempfile::tempdir().unwrap();

    let output = child("change folders", &folder.path().display().to_string()).output().unwrap();

    assert_eq!(answers(&output), ["1"]);
}

/// Promise 13.
#[test]
fn a_snapshot_that_outlives_its_store_says_so_and_does_not_hold_the_file() {
    let (_folder, path) = in_a_folder("scan.milepost");
    let store = Store::open(&path).unwrap();
    store.create_job(NewJob::new("a", 0..10)).unwrap();
    let view = store.snapshot().unwrap();
    drop(store);

    let again = Store::open(&path).unwrap();

    assert!(matches!(view.jobs(None, 10), Err(Error::Closed)), "{:?}", view.jobs(None, 10));
    assert!(matches!(view.verify(), Err(Error::Closed)), "{:?}", view.verify());
    again.snapshot().unwrap().verify().unwrap();

    let before = again.snapshot().unwrap();
    again.reopen().unwrap();
    assert!(matches!(before.verify(), Err(Error::Closed)), "{:?}", before.verify());
}
