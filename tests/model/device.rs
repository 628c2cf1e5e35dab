//! A disk in memory.

use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;

use milepost::testing::Device;
use parking_lot::Mutex;

#[derive(Debug, Default)]
pub struct MemoryDevice(Mutex<Vec<u8>>);

impl MemoryDevice {
    pub fn new() -> Arc<MemoryDevice> {
        Arc::default()
    }
}

impl Device for MemoryDevice {
    fn length(&self) -> Result<u64> {
        Ok(self.0.lock().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let bytes = self.0.lock();
        let offset = offset as usize;
        let found = bytes.get(offset..offset + out.len());
        out.copy_from_slice(found.ok_or_else(|| Error::from(ErrorKind::UnexpectedEof))?);
        Ok(())
    }

    fn set_length(&self, length: u64) -> Result<()> {
        self.0.lock().resize(length as usize, 0);
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        let offset = offset as usize;
        self.0.lock()[offset..offset + data.len()].copy_from_slice(data);
        Ok(())
    }
}
