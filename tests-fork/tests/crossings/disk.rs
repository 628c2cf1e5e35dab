//! A file that can be told to fail, or to wait.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::Duration;

use milepost::testing::Device;

/// How long a change waits at most, so that a cell which has failed ends.
const PATIENCE: Duration = Duration::from_secs(120);

#[derive(Debug)]
pub struct Disk {
    file: File,
    fails: AtomicBool,
    gate: Mutex<Gate>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct Gate {
    is_shut: bool,
    /// Whether a change or sync waits at it.
    is_waited_for: bool,
}

impl Disk {
    pub fn at(path: &Path) -> Disk {
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false).open(path).unwrap();
        Disk {
            file,
            fails: AtomicBool::new(false),
            gate: Mutex::default(),
            changed: Condvar::new(),
        }
    }

    /// Has every change and sync fail from now on, or none any more.
    pub fn fail(&self, fails: bool) {
        self.fails.store(fails, Ordering::SeqCst);
    }

    /// Has changes and syncs wait from now on.
    pub fn shut(&self) {
        *self.gate.lock().unwrap() = Gate { is_shut: true, is_waited_for: false };
    }

    /// Waits until a change or sync waits.
    pub fn await_waiter(&self) {
        let gate = self.gate.lock().unwrap();
        drop(self.changed.wait_while(gate, |gate| !gate.is_waited_for).unwrap());
    }

    /// Has changes and syncs go on.
    pub fn open(&self) {
        self.gate.lock().unwrap().is_shut = false;
        self.changed.notify_all();
    }

    fn check(&self) -> io::Result<()> {
        let mut gate = self.gate.lock().unwrap();
        gate.is_waited_for |= gate.is_shut;
        self.changed.notify_all();
        gate = self.changed.wait_timeout_while(gate, PATIENCE, |gate| gate.is_shut).unwrap().0;
        // Whoever comes after one that has waited in vain does not wait again.
        gate.is_shut = false;
        drop(gate);
        match self.fails.load(Ordering::SeqCst) {
            true => Err(io::Error::other("the disk was told to fail")),
            false => Ok(()),
        }
    }
}

impl Device for Disk {
    fn length(&self) -> io::Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.check()?;
        self.file.set_len(length)
    }

    fn sync(&self) -> io::Result<()> {
        // What is written is there for whoever opens the file next: no power is lost here.
        self.check()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        self.file.write_all_at(data, offset)
    }
}
