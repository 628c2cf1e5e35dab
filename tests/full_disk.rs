//! A disk that is really full: a small file system in memory, where this user may mount one.

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use milepost::{Batch, Error, NewJob, Scope, Store};

/// A file system of some size in a folder; unmounted when it goes.
struct Mounted<'a>(&'a Path);

impl<'a> Mounted<'a> {
    fn new(folder: &'a Path, size: &str) -> Option<Mounted<'a>> {
        mount(&["-t", "tmpfs", "-o", &format!("size={size}"), "tmpfs"], folder)
            .then_some(Mounted(folder))
    }

    fn resize(&self, size: &str) {
        assert!(mount(&["-o", &format!("remount,size={size}")], self.0));
    }
}

impl Drop for Mounted<'_> {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg(self.0).status();
    }
}

fn mount(options: &[&str], folder: &Path) -> bool {
    let mut command = Command::new("mount");
    command.args(options).arg(folder).stderr(Stdio::null());
    command.status().is_ok_and(|status| status.success())
}

/// Promises 4 and 13.
#[test]
fn when_the_disk_is_full_that_is_an_error_and_with_room_made_everything_counts_once() {
    let folder = tempfile::tempdir().unwrap();
    let Some(disk) = Mounted::new(folder.path(), "1500k") else {
        let _ = writeln!(std::io::stderr(), "skipped: this user cannot mount a file system");
        return;
    };
    let store = Store::open(folder.path().join("full.milepost")).unwrap();
    store.create_job(NewJob::new("keys", 0..1_000)).unwrap();
    let worker = store.worker("pc-01", "pc").unwrap();
    let mut lease = worker.lease(Duration::from_secs(3_600)).unwrap().leased().unwrap();
    let mut was_full = 0;
    while let Some(range) = lease.next_batch(10).map(|batch| batch.range()) {
        let batch = Batch::of(&range, Duration::from_millis(5));
        let batch = batch.finding(range.start.to_be_bytes(), vec![7; 60_000]);
        let mut outcome = lease.checkpoint(batch.clone());
        while let Err(error) = outcome {
            assert!(error.needs_reopen(), "{error:?}");
            assert!(error.to_string().contains("No space left"), "{error}");
            assert!(matches!(store.worker("other", "pc"), Err(Error::Stopped { .. })));
            store.snapshot().unwrap().verify().unwrap();
            was_full += 1;
            disk.resize("64m");
            store.reopen().unwrap();
            outcome = match lease.retry().unwrap() {
                Some(_) => Ok(lease.cursor()),
                None => lease.checkpoint(batch.clone()),
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
}
