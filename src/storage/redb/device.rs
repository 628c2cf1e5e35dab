//! A device of the caller's as the storage of redb.

use std::sync::Arc;

use redb::StorageBackend;

use crate::storage::Device;

/// Lets redb work on a device. Without locks, so in exclusive mode only.
#[derive(Debug)]
pub(super) struct DeviceBackend(pub(super) Arc<dyn Device>);

impl StorageBackend for DeviceBackend {
    fn len(&self) -> std::io::Result<u64> {
        self.0.length()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> std::io::Result<()> {
        self.0.read(offset, out)
    }

    fn set_len(&self, length: u64) -> std::io::Result<()> {
        self.0.set_length(length)
    }

    fn sync_data(&self) -> std::io::Result<()> {
        self.0.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> std::io::Result<()> {
        self.0.write(offset, data)
    }
}
