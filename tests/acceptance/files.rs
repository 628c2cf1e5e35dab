//! Files that cannot be opened: each gets its own clear error, and is left as it was.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};

use milepost::{Error, NewJob, Sharing, Store};
use redb::{Database, TableDefinition};
use tempfile::TempDir;

use crate::child;
use crate::support::{Scene, advance, lease};

/// A place for a file, and the folder that goes with it.
fn place() -> (TempDir, PathBuf) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("scan.milepost");
    (folder, path)
}

/// Opens a file, which must be refused and left as it was.
#[track_caller]
fn refused(path: &Path) -> Error {
    let before = fs::read(path).unwrap();
    let error = Store::open(path).unwrap_err();
    assert!(fs::read(path).unwrap() == before, "the file was changed");
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    error
}

/// A closed store with something in it.
fn closed_store(path: &Path) {
    let store = Store::open(path).unwrap();
    store.create_job(NewJob::new("a", 0..1_000)).unwrap();
    let mut lease = lease(&store.worker("pc-01", "pc").unwrap());
    for _ in 0..50 {
        advance(&mut lease, 10);
    }
    drop(lease);
    store.close().unwrap();
}

#[test]
fn a_file_that_is_not_a_store_is_refused() {
    let (_folder, path) = place();
    for content in [&b"a shopping list\n"[..], &[0; 8192], b"SQLite format 3\0", b"x"] {
        fs::write(&path, content).unwrap();

        let error = refused(&path);

        assert!(matches!(error, Error::NotAStore { .. }), "{error:?}");
        assert!(error.to_string().contains("is not a milepost store"), "{error}");
    }
}

#[test]
fn an_empty_file_is_refused_and_not_taken_for_a_new_store() {
    let (_folder, path) = place();
    fs::write(&path, b"").unwrap();

    let error = refused(&path);

    assert!(matches!(error, Error::NotAStore { .. }), "{error:?}");
    assert!(error.to_string().contains("empty"), "{error}");
}

#[test]
fn a_redb_file_of_another_program_is_refused() {
    let (_folder, path) = place();
    let database = Database::create(&path).unwrap();
    let txn = database.begin_write().unwrap();
    let table: TableDefinition<&str, u64> = TableDefinition::new("meta");
    txn.open_table(table).unwrap().insert("format", 1).unwrap();
    txn.commit().unwrap();
    drop(database);

    let error = Store::open(&path).unwrap_err();

    assert!(matches!(error, Error::NotAStore { .. }), "{error:?}");
    assert!(error.to_string().contains("another program"), "{error}");
    let database = Database::open(&path).unwrap();
    let txn = redb::ReadableDatabase::begin_read(&database).unwrap();
    assert_eq!(txn.open_table(table).unwrap().get("format").unwrap().unwrap().value(), 1);
}

#[test]
fn a_future_format_version_is_refused_naming_both_versions() {
    let (_folder, path) = place();
    closed_store(&path);
    let database = Database::open(&path).unwrap();
    let txn = database.begin_write().unwrap();
    let table: TableDefinition<&[u8], &[u8]> = TableDefinition::new("meta");
    txn.open_table(table).unwrap().insert(&b"format"[..], &[1, 7][..]).unwrap();
    txn.commit().unwrap();
    drop(database);

    let error = Store::open(&path).unwrap_err();

    assert!(matches!(error, Error::FormatVersion { found: 7, supported: 1, .. }), "{error:?}");
    assert!(error.to_string().contains("format version 7"), "{error}");
}

#[test]
fn a_truncated_file_is_refused_at_every_length() {
    let (_folder, path) = place();
    closed_store(&path);
    let whole = fs::read(&path).unwrap();
    for part in 1..64 {
        fs::write(&path, &whole[..whole.len() * part / 64]).unwrap();

        match Store::open(&path) {
            Err(Error::NotAStore { .. } | Error::Corrupted { .. } | Error::Io { .. }) => {}
            // What is cut off may be space that nothing used.
            Ok(store) => {
                store.snapshot().unwrap().verify().unwrap();
            }
            Err(other) => panic!("cut to {part}/64: {other:?}"),
        }
    }
    let error = {
        fs::write(&path, &whole[..whole.len() / 3]).unwrap();
        Store::open(&path).unwrap_err()
    };
    assert!(!error.to_string().contains("panicked"), "{error}");
    fs::write(&path, &whole).unwrap();
    Store::open(&path).unwrap().snapshot().unwrap().verify().unwrap();
}

#[test]
fn a_file_held_by_another_process_is_refused_saying_who_may_hold_it_and_which_mode_allows_both() {
    let (_folder, path) = place();
    closed_store(&path);
    let (mut holder, mut output) = child::start("hold", &path, &[]);
    assert_eq!(child::answer(&mut output), "held");

    let error = Store::open(&path).unwrap_err();
    let shared = Store::builder(&path).sharing(Sharing::SingleWriter).open().unwrap_err();
    let read_only = Store::builder(&path).open_read_only().unwrap_err();
    holder.kill().unwrap();
    holder.wait().unwrap();

    assert!(matches!(error, Error::Locked { .. }), "{error:?}");
    for words in ["another process", "Sharing::SingleWriter", "Sharing::MultiWriter"] {
        assert!(error.to_string().contains(words), "{error}");
    }
    assert!(matches!(shared, Error::Locked { .. }), "{shared:?}");
    assert!(matches!(read_only, Error::Locked { .. }), "{read_only:?}");
    Store::open(&path).unwrap();
}

#[test]
fn the_same_process_cannot_open_a_file_twice_either() {
    let scene = Scene::new();

    let error = Store::open(scene.path()).unwrap_err();

    assert!(matches!(error, Error::Locked { .. }), "{error:?}");
    assert!(error.to_string().contains("another handle in this one"), "{error}");
}

/// Section 8 of the design.
#[test]
fn beside_a_single_writer_others_can_read_until_it_is_killed() {
    let (_folder, path) = place();
    Store::builder(&path).sharing(Sharing::SingleWriter).open().unwrap().close().unwrap();
    let (mut writer, mut output) = child::start("hold_shared", &path, &[]);
    assert_eq!(child::answer(&mut output), "held");
    let builder = || Store::builder(&path).sharing(Sharing::SingleWriter);

    let reader = builder().open_read_only().unwrap();
    let seen = reader.snapshot().unwrap().worker_named("writer").unwrap();
    let second_writer = builder().open().unwrap_err();
    writer.kill().unwrap();
    writer.wait().unwrap();
    drop(reader);
    let after_the_kill = builder().open_read_only().unwrap_err();

    assert!(seen.is_some(), "the reader sees what the writer committed");
    assert!(matches!(second_writer, Error::Locked { .. }), "{second_writer:?}");
    assert!(matches!(after_the_kill, Error::NeedsRecovery { .. }), "{after_the_kill:?}");
    assert!(after_the_kill.to_string().contains("open it once for writing"));
    builder().open().unwrap().close().unwrap();
    builder().open_read_only().unwrap().snapshot().unwrap().verify().unwrap();
}

/// Promises 2 and 4 across processes.
#[test]
fn several_processes_share_a_file_and_do_every_position_once() {
    let (_folder, path) = place();
    let builder = || Store::builder(&path).sharing(Sharing::MultiWriter);
    let store = builder().open().unwrap();
    store.create_jobs((0..12).map(|n| NewJob::new("keys", n * 20..(n + 1) * 20))).unwrap();

    let children: Vec<_> = (0..3).map(|_| child::start("write_many", &path, &[])).collect();
    let done: Vec<u64> = children
        .into_iter()
        .map(|(mut child, mut output)| {
            let done = child::answer(&mut output);
            child.wait().unwrap();
            done.parse().unwrap()
        })
        .collect();

    let view = store.snapshot().unwrap();
    assert_eq!(done.iter().sum::<u64>(), 240, "{done:?}");
    assert_eq!(view.lifetime(milepost::Scope::Fleet).unwrap().totals.items, 240);
    assert_eq!(view.job_counts().completed, 12);
    view.verify().unwrap();
}

/// Section 8 of the design.
#[test]
fn a_shared_file_cannot_be_relaxed_and_the_error_says_why() {
    let (_folder, path) = place();
    for sharing in [Sharing::SingleWriter, Sharing::MultiWriter] {
        let builder = crate::support::relaxed(Store::builder(&path).sharing(sharing));
        let error = builder.open().unwrap_err();
        assert!(error.to_string().contains("shared file cannot be Relaxed"), "{error}");
        assert!(!path.exists());
    }
}

#[cfg(unix)]
#[test]
fn a_read_only_folder_is_refused_naming_the_file() {
    use std::os::unix::fs::PermissionsExt;
    let (folder, path) = place();
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o555)).unwrap();

    // Folders are never read-only to root.
    let Some(answer) = child::run_as_nobody("open", &path) else {
        let _ = writeln!(std::io::stderr(), "skipped: this user cannot run as another one");
        return;
    };

    assert!(answer.starts_with("Io") || answer == "no answer", "{answer}");
    if answer == "no answer" {
        let _ = writeln!(std::io::stderr(), "skipped: the other user cannot run this program");
    } else {
        assert!(answer.contains(&path.display().to_string()), "{answer}");
    }
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn a_missing_folder_and_a_folder_in_the_files_place_are_refused() {
    let (folder, path) = place();

    let missing = Store::open(path.join("deeper")).unwrap_err();
    assert!(matches!(missing, Error::Io { .. }), "{missing:?}");
    let in_its_place = Store::open(folder.path()).unwrap_err();
    assert!(matches!(in_its_place, Error::Io { .. } | Error::NotAStore { .. }), "{in_its_place:?}");
    let nothing_to_read = Store::builder(&path).open_read_only().unwrap_err();
    assert!(matches!(nothing_to_read, Error::Io { .. }), "{nothing_to_read:?}");
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 0, "nothing was made");
}

#[test]
fn check_on_open_finds_a_flipped_bit() {
    let (_folder, path) = place();
    closed_store(&path);
    let whole = fs::read(&path).unwrap();
    let open = || Store::builder(&path).check_on_open(true).open();
    open().unwrap().close().unwrap();
    let mut found = 0;
    for at in (0..whole.len()).step_by(whole.len() / 200) {
        let mut flipped = whole.clone();
        flipped[at] ^= 0x10;
        fs::write(&path, &flipped).unwrap();
        match open() {
            Ok(store) => {
                // Where the bit is in unused space, everything has to be right.
                store.snapshot().unwrap().verify().unwrap();
            }
            Err(_) => found += 1,
        }
    }
    assert!(found > 0, "some bits are in use");
}
