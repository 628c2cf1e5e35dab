//! A file that can be told to fail.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use milepost::storage::Device;

#[derive(Debug)]
pub struct Disk {
    file: File,
    fails: AtomicBool,
}

impl Disk {
    pub fn at(path: &Path) -> Disk {
        let mut options = File::options();
        let file = options.read(true).write(true).create(true).truncate(false).open(path).unwrap();
        Disk { file, fails: AtomicBool::new(false) }
    }

    /// Has every change and sync fail from now on, or none any more.
    pub fn fail(&self, fails: bool) {
        self.fails.store(fails, Ordering::SeqCst);
    }

    fn check(&self) -> io::Result<()> {
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
