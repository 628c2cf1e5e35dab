//! A device over a file that counts what is written.

use std::collections::HashSet;
use std::fs::File;
use std::io::Result;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Mutex;

use milepost::testing::Device;

/// Bytes of a page of redb, and of the page cache.
const PAGE: u64 = 4096;

/// A file, and the counts of what was written to it.
#[derive(Debug)]
pub struct Counting {
    file: File,
    counts: Mutex<(Counts, HashSet<u64>)>,
}

/// What was written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Counts {
    /// Calls of write.
    pub writes: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Pages touched between one sync and the next, summed up.
    pub pages: u64,
    /// Calls of sync.
    pub syncs: u64,
}

impl Counting {
    /// Opens a file that exists.
    ///
    /// # Errors
    /// What the file system meets.
    pub fn open(path: &Path) -> Result<Counting> {
        let file = File::options().read(true).write(true).open(path)?;
        Ok(Counting { file, counts: Mutex::default() })
    }

    /// The counts since the last call, which begin anew.
    pub fn take(&self) -> Counts {
        self.with(|counts, touched| {
            counts.pages += touched.len() as u64;
            touched.clear();
            std::mem::take(counts)
        })
    }

    fn with<T>(&self, change: impl FnOnce(&mut Counts, &mut HashSet<u64>) -> T) -> T {
        // A panic elsewhere does not make counts wrong.
        let mut guard = self.counts.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let (counts, touched) = &mut *guard;
        change(counts, touched)
    }
}

impl Device for Counting {
    fn length(&self) -> Result<u64> {
        Ok(self.file.metadata()?.len())
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        self.file.read_exact_at(out, offset)
    }

    fn set_length(&self, length: u64) -> Result<()> {
        self.file.set_len(length)
    }

    fn sync(&self) -> Result<()> {
        self.with(|counts, touched| {
            counts.syncs += 1;
            counts.pages += touched.len() as u64;
            touched.clear();
        });
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        self.with(|counts, touched| {
            counts.writes += 1;
            counts.bytes += data.len() as u64;
            touched.extend(offset / PAGE..(offset + data.len() as u64).div_ceil(PAGE));
        });
        self.file.write_all_at(data, offset)
    }
}
