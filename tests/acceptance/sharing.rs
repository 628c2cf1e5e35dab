//! Files that cannot be opened for what others do with them, or for where they are.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::Stdio;
use std::sync::Barrier;
use std::thread;

use milepost::{Error, NewJob, Sharing, Store};

use crate::files::{closed_store, in_a_folder};
use crate::process::{answer, answer_in, answers, child};
use crate::support::{Scene, dump, relaxed};

/// What a child does: it holds a file until its input ends.
pub fn hold_a_file(mode_and_path: &str) {
    let (mode, path) = mode_and_path.split_once(' ').unwrap();
    let sharing = match mode {
        "exclusive" => Sharing::Exclusive,
        "single-writer" => Sharing::SingleWriter,
        "multi-writer" => Sharing::MultiWriter,
        _ => panic!("{mode}"),
    };
    let store = Store::builder(path).sharing(sharing).open().unwrap();
    answer("open");
    std::io::stdin().read_line(&mut String::new()).unwrap();
    store.close().unwrap();
}

/// Runs something while another process holds the file.
fn while_held(mode: &str, path: &Path, run: impl FnOnce()) {
    let mut holder = child("hold a file", &format!("{mode} {}", path.display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("the test program runs");
    // Kept to its end, or the other process fails for having nobody to tell.
    let mut output = BufReader::new(holder.stdout.take().expect("it was asked for")).lines();
    let mut told = output.by_ref().map_while(Result::ok);
    let open = told.any(|line| answer_in(&line) == Some("open"));
    assert!(open, "the other process could not open the file");
    run();
    let mut input = holder.stdin.take().expect("it was asked for");
    input.write_all(b"done\n").expect("it still runs");
    output.for_each(drop);
    assert!(holder.wait().expect("it ends").success());
}

#[track_caller]
fn assert_locked<T>(opened: milepost::Result<T>, path: &Path, words: &[&str]) {
    let Err(error) = opened else { panic!("it is held") };
    assert!(matches!(error, Error::Locked { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains(&path.display().to_string()), "{text}");
    for word in words {
        assert!(text.contains(word), "{text}");
    }
}

/// Promise 13.
#[test]
fn a_file_held_by_another_process_says_so_and_which_mode_would_allow_it() {
    let (_folder, path) = in_a_folder("held.milepost");
    closed_store(&path);

    while_held("exclusive", &path, || {
        let words = ["another process", "Sharing::SingleWriter", "Sharing::MultiWriter"];
        assert_locked(Store::open(&path), &path, &words);
        let words = ["a writer has it open", "Sharing::SingleWriter"];
        assert_locked(Store::builder(&path).open_read_only(), &path, &words);
        let shared = Store::builder(&path).sharing(Sharing::MultiWriter);
        assert_locked(shared.open(), &path, &["another sharing mode"]);
    });

    Store::open(&path).expect("it is free again");
}

/// Promises 10 and 13.
#[test]
fn a_file_shared_by_one_writer_can_be_read_but_not_written_by_another_process() {
    let (_folder, path) = in_a_folder("held.milepost");
    closed_store(&path);

    while_held("single-writer", &path, || {
        let shared = || Store::builder(&path).sharing(Sharing::SingleWriter);
        assert_locked(shared().open(), &path, &["another writer", "Sharing::MultiWriter"]);
        let reader = shared().open_read_only().unwrap();
        let view = reader.snapshot().unwrap();
        assert_eq!(view.job_counts().all(), 1);
        view.verify().unwrap();
    });
}

/// Promises 3 and 10.
#[test]
fn a_file_shared_by_many_writers_can_be_written_by_another_process() {
    let (_folder, path) = in_a_folder("held.milepost");
    closed_store(&path);

    while_held("multi-writer", &path, || {
        let store = Store::builder(&path).sharing(Sharing::MultiWriter).open().unwrap();
        store.create_job(NewJob::new("more", 0..10)).unwrap();
        assert_eq!(store.snapshot().unwrap().job_counts().all(), 2);
    });
}

/// Promise 13.
#[test]
fn two_handles_in_one_process_exclude_each_other_too() {
    let scene = Scene::new();
    scene.jobs(&["a"]);
    let before = dump(&scene);

    assert_locked(Store::open(&scene.path), &scene.path, &["another handle"]);

    assert!(dump(&scene) == before);
}

/// Promise 13.
#[test]
fn of_many_that_open_a_file_at_once_one_succeeds_and_the_others_get_locked() {
    for round in 0..20 {
        let (_folder, path) = in_a_folder("wanted.milepost");
        if round % 2 == 0 {
            closed_store(&path);
        }
        let start = Barrier::new(6);
        let opened: Vec<milepost::Result<Store>> = thread::scope(|threads| {
            let open = || {
                start.wait();
                Store::open(&path)
            };
            let running: Vec<_> = (0..6).map(|_| threads.spawn(open)).collect();
            running.into_iter().map(|thread| thread.join().unwrap()).collect()
        });

        assert_eq!(opened.iter().filter(|opened| opened.is_ok()).count(), 1, "{opened:?}");
        for refused in opened.iter().filter_map(|opened| opened.as_ref().err()) {
            assert!(matches!(refused, Error::Locked { .. }), "{refused:?}");
        }
    }
}

/// Promise 11.
#[test]
fn a_shared_file_cannot_be_relaxed_and_the_error_says_why() {
    let (_folder, path) = in_a_folder("shared.milepost");
    for sharing in [Sharing::SingleWriter, Sharing::MultiWriter] {
        let builder = relaxed(Store::builder(&path)).sharing(sharing);

        let error = builder.open().expect_err("the settings contradict each other");

        assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
        assert!(error.to_string().contains("invisible to the others"), "{error}");
        assert!(!path.exists());
    }
}

/// What a child does.
pub fn open_where_it_may_not_write(folder: &str) {
    let folder = Path::new(folder);
    let report = |opened: milepost::Result<()>| match opened {
        Ok(()) => answer("opened"),
        Err(Error::Io { path, source }) => {
            answer(format!("{}: {source}", path.display()));
        }
        Err(error) => answer(format!("another error: {error:?}")),
    };
    report(Store::open(folder.join("new.milepost")).map(|_| ()));
    report(Store::open(folder.join("old.milepost")).map(|_| ()));
    report(
        Store::builder(folder.join("old.milepost"))
            .open_read_only()
            .and_then(|reader| reader.snapshot()?.verify().map(|_| ())),
    );
}

/// Promise 13.
#[cfg(unix)]
#[test]
fn in_a_read_only_folder_a_store_can_be_read_but_neither_made_nor_written() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;

    /// A user without rights, `nobody` on most systems.
    const NOBODY: u32 = 65_534;

    let (outer, folder) = in_a_folder("read-only");
    std::fs::create_dir(&folder).unwrap();
    let old = folder.join("old.milepost");
    closed_store(&old);
    let before = std::fs::read(&old).unwrap();
    let allow = |path: &Path, mode: u32| {
        std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
    };
    allow(outer.path(), 0o755);
    allow(&old, 0o444);
    allow(&folder, 0o555);

    let mut command = child("open where it may not write", folder.to_str().unwrap());
    if std::fs::write(folder.join("probe"), "").is_ok() {
        // No folder is read-only for this user, so another one has to try.
        std::fs::remove_file(folder.join("probe")).unwrap();
        command.uid(NOBODY).gid(NOBODY).current_dir("/");
    }
    let output = command.output().expect("another user may run this program");
    let answers = answers(&output);
    allow(&folder, 0o755);

    let denied = |name: &str| format!("{}: permission denied", folder.join(name).display());
    assert_eq!(answers.len(), 3, "{answers:?}");
    assert!(
        answers[0].to_lowercase().starts_with(&denied("new.milepost").to_lowercase()),
        "{answers:?}"
    );
    assert!(
        answers[1].to_lowercase().starts_with(&denied("old.milepost").to_lowercase()),
        "{answers:?}"
    );
    assert_eq!(answers[2], "opened");
    let names: Vec<_> =
        folder.read_dir().unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names, ["old.milepost"]);
    assert!(std::fs::read(&old).unwrap() == before);
}
