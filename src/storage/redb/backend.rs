//! The storage that redb reads and writes: a file, or a device of the caller's.
//!
//! The engine shares it with redb, so that it can close the file and release its locks even after
//! redb has panicked.

use std::io;
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::{MappedRwLockReadGuard, RwLock, RwLockReadGuard};
use redb::backends::FileBackend;
use redb::{BackendError, StorageBackend};

use crate::process::Process;
use crate::storage::Device;

/// A file or device that is open.
#[derive(Debug)]
pub(super) struct Bytes {
    /// `None` once it was closed.
    medium: RwLock<Option<Medium>>,
    process: Process,
}

#[derive(Debug)]
enum Medium {
    File(FileBackend),
    Device(DeviceBackend),
}

impl Bytes {
    pub(super) fn of_file(file: FileBackend) -> Arc<Bytes> {
        Bytes::new(Medium::File(file))
    }

    pub(super) fn of_device(device: Arc<dyn Device>) -> Arc<Bytes> {
        Bytes::new(Medium::Device(DeviceBackend(device)))
    }

    fn new(medium: Medium) -> Arc<Bytes> {
        Arc::new(Bytes { medium: RwLock::new(Some(medium)), process: Process::current() })
    }

    /// Releases the locks and closes the file, once: closing it again does nothing. In a forked
    /// child it does nothing either, since the locks belong to the parent too.
    pub(super) fn close(&self) -> io::Result<()> {
        if !self.process.is_current() {
            return Ok(());
        }
        match self.medium.write().take() {
            Some(Medium::File(file)) => file.close(),
            Some(Medium::Device(device)) => device.close(),
            None => Ok(()),
        }
    }

    /// Closes the descriptor of a forked child. The locks belong to the open file, which the parent
    /// still has open. If a thread of the parent was using the file at the time of the fork, it stays
    /// open until the child ends.
    pub(super) fn leave(&self) {
        if let Some(mut medium) = self.medium.try_write() {
            match medium.take() {
                // Dropping it closes the file without releasing its locks.
                Some(Medium::File(file)) => drop(file),
                other => std::mem::forget(other),
            }
        }
    }

    pub(super) fn length(&self) -> io::Result<u64> {
        self.medium()?.len()
    }

    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.medium()?.read(offset, out)
    }

    fn medium(&self) -> io::Result<MappedRwLockReadGuard<'_, dyn StorageBackend>> {
        if !self.process.is_current() {
            return Err(io::Error::other("the file was opened before this process was forked"));
        }
        RwLockReadGuard::try_map(self.medium.read(), |medium| match medium {
            Some(Medium::File(file)) => Some(file as &dyn StorageBackend),
            Some(Medium::Device(device)) => Some(device),
            None => None,
        })
        .map_err(|_| io::Error::other("the file was closed"))
    }
}

/// The backend that is passed to redb.
#[derive(Debug)]
pub(super) struct Backend(pub(super) Arc<Bytes>);

impl Backend {
    fn locks(&self) -> Result<MappedRwLockReadGuard<'_, dyn StorageBackend>, BackendError> {
        self.0.medium().map_err(BackendError::Io)
    }
}

impl StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.0.medium()?.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.medium()?.read(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.medium()?.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.medium()?.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.medium()?.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.0.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.locks()?.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.locks()?.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.locks()?.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.locks()?.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.locks()?.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.locks()?.query_lock_range(start, end)
    }
}

/// A redb backend over a device. It has no locks, so it supports only exclusive mode.
#[derive(Debug)]
struct DeviceBackend(Arc<dyn Device>);

impl StorageBackend for DeviceBackend {
    fn len(&self) -> io::Result<u64> {
        self.0.length()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.0.set_length(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.0.write(offset, data)
    }
}
