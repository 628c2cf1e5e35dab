//! A disk that is really full. Room is made, and work goes on (promises 4 and 13).
//!
//! Everybody can forbid a process to let its files grow. A small file system needs the right to
//! mount one, so that test is ignored where it is not asked for; `.ci/run` asks for it:
//! `cargo test --test full_disk -- --ignored`. Both need a process of their own, to which the
//! test program runs itself again through a shell.

#![cfg(target_os = "linux")]
#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "these are tests")]

use std::error::Error as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use milepost::{Error, NewJob, NewWorker, Scope, Store};

/// Where the process works that has little room.
const FOLDER: &str = "MILEPOST_TEST_FOLDER";
/// What it says when it is done.
const DONE: &str = "everything counts once";

/// Runs a test again in a process of its own, after a shell has done something about its room.
fn run_again(test: &str, shell: &[&str], prepare: &str) {
    let folder = tempfile::tempdir().unwrap();
    let script = format!(r#"{prepare}; exec "$0" --exact {test} --include-ignored --nocapture"#);
    let output = Command::new(shell[0])
        .args(&shell[1..])
        .args(["sh", "-ec", &script])
        .arg(std::env::current_exe().unwrap())
        .env(FOLDER, folder.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    let cried = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.contains(DONE), "{test}: {said}\n{cried}");
}

/// Works until there is no room, makes some, and works to the end.
fn fill_up(folder: &Path, no_room: &str, make_room: impl Fn()) {
    let store = Store::open(folder.join("full.milepost")).unwrap();
    store.create_job(NewJob::new("keys", 0..1_000)).unwrap();
    let worker = store.register_worker(NewWorker::new("pc-01").kind("pc")).unwrap();
    let mut lease = worker.request(Duration::from_secs(3_600)).send().unwrap().leased().unwrap();
    let mut was_full = 0;
    while let Some(batch) = lease.next_batch(10) {
        let key = batch.range().start.to_be_bytes();
        let batch =
            batch.with_duration(Duration::from_millis(5)).with_finding(key, vec![7; 60_000]);
        let mut outcome = lease.checkpoint(batch.clone()).map(|outcome| outcome.cursor);
        while let Err(error) = outcome {
            assert!(error.needs_reopen(), "{error:?}");
            let cause = error.source().map(ToString::to_string);
            assert!(cause.is_some_and(|cause| cause.contains(no_room)), "{error:?}");
            assert!(matches!(
                store.register_worker(NewWorker::new("other").kind("pc")),
                Err(Error::Stopped { .. })
            ));
            store.snapshot().unwrap().verify().unwrap();
            was_full += 1;
            make_room();
            store.reopen().unwrap();
            outcome = match lease.retry().unwrap() {
                Some(_) => Ok(lease.cursor()),
                None => lease.checkpoint(batch.clone()).map(|outcome| outcome.cursor),
            };
        }
    }

    assert_eq!(was_full, 1);
    let view = store.snapshot().unwrap();
    view.verify().unwrap();
    let totals = view.lifetime(Scope::Fleet).unwrap().totals;
    assert_eq!((totals.batches, totals.items), (100, 1_000));
    assert_eq!(view.findings(None, 1_000).unwrap().len(), 100);
    drop(view);
    store.close().unwrap();
    println!("{DONE}");
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {output:?}");
}

#[test]
fn when_a_file_may_not_grow_that_is_an_error_and_with_room_made_everything_counts_once() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        // In blocks of 512 bytes. The signal would end the process before it sees the error.
        return run_again(
            "when_a_file_may_not_grow_that_is_an_error_and_with_room_made_everything_counts_once",
            &["env"],
            "trap '' XFSZ; ulimit -S -f 3000",
        );
    };
    fill_up(Path::new(&folder), "File too large", || {
        let me = std::process::id().to_string();
        run(Command::new("prlimit").args(["--fsize=unlimited:", "--pid", &me]));
    });
}

#[test]
#[ignore = "mounts a file system, for which not everybody has the right: .ci/run runs it"]
fn when_the_disk_is_full_that_is_an_error_and_with_room_made_everything_counts_once() {
    let Some(folder) = std::env::var_os(FOLDER) else {
        // What is mounted there goes with the process. Who is not root is so in there.
        let is_root = Command::new("unshare").args(["--mount", "true"]).status().unwrap().success();
        let shell: &[&str] = if is_root {
            &["unshare", "--mount"]
        } else {
            &["unshare", "--mount", "--map-root-user"]
        };
        return run_again(
            "when_the_disk_is_full_that_is_an_error_and_with_room_made_everything_counts_once",
            shell,
            &format!("mount -t tmpfs -o size=1500k tmpfs \"${FOLDER}\""),
        );
    };
    fill_up(Path::new(&folder), "No space left", || {
        // The source is named again, or `mount` would repeat options that a user may not set.
        run(Command::new("mount").args(["-o", "remount,size=64m", "tmpfs"]).arg(&folder));
    });
}
