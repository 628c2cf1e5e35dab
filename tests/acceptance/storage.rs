//! Storage that a test watches, holds back or breaks.

#![expect(clippy::unwrap_used, reason = "these are the helpers of tests")]

use std::collections::BTreeMap;
use std::io;
use std::ops::{ControlFlow, Deref};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use milepost::testing::tables;
use milepost::testing::{
    Device, Engine, EngineResult, EngineSnapshot, Flush, MemoryEngine, Order, Write,
};
use parking_lot::Mutex;

/// What a test does around each commit of a store.
pub trait Watch: Default + Send + Sync {
    fn before_commit(&self, _flush: Flush) {}

    fn after_commit(&self, _engine: &MemoryEngine) -> EngineResult<()> {
        Ok(())
    }
}

/// An engine in memory whose commits are watched.
pub struct Watched<W> {
    engine: MemoryEngine,
    watch: W,
}

impl<W: Watch> Watched<W> {
    pub fn new() -> Arc<Watched<W>> {
        Arc::new(Watched { engine: MemoryEngine::new(), watch: W::default() })
    }
}

impl<W> Deref for Watched<W> {
    type Target = W;

    fn deref(&self) -> &W {
        &self.watch
    }
}

impl<W: Watch> Engine for Watched<W> {
    fn snapshot(&self) -> EngineResult<Arc<dyn EngineSnapshot>> {
        self.engine.snapshot()
    }

    fn write(
        &self,
        flush: Flush,
        transaction: &mut dyn FnMut(&mut dyn Write) -> EngineResult<()>,
    ) -> EngineResult<()> {
        self.watch.before_commit(flush);
        self.engine.write(flush, transaction)?;
        self.watch.after_commit(&self.engine)
    }

    fn stored_bytes(&self) -> EngineResult<u64> {
        self.engine.stored_bytes()
    }

    fn reopen(&self) -> milepost::Result<()> {
        self.engine.reopen()
    }

    fn close(&self) -> EngineResult<()> {
        self.engine.close()
    }
}

/// How many rows the capped tiers have, by worker where the cap is by worker, and how many findings
/// there are.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Counts {
    pub history: u64,
    pub findings: u64,
    pub daily: BTreeMap<u32, u64>,
    pub monthly: BTreeMap<u32, u64>,
}

/// Counts the rows of the tiers after every single commit.
#[derive(Default)]
pub struct Counting(Mutex<Vec<Counts>>);

impl Counting {
    /// The counts after each commit since this was asked last.
    pub fn take(&self) -> Vec<Counts> {
        std::mem::take(&mut *self.0.lock())
    }
}

impl Watch for Counting {
    fn after_commit(&self, engine: &MemoryEngine) -> EngineResult<()> {
        let view = engine.snapshot()?;
        let mut counts = Counts {
            history: view.table_size(tables::HISTORY)?.rows,
            findings: view.table_size(tables::FINDINGS)?.rows,
            ..Counts::default()
        };
        let all = (std::ops::Bound::Unbounded, std::ops::Bound::Unbounded);
        for (table, counts) in
            [(tables::DAILY, &mut counts.daily), (tables::MONTHLY, &mut counts.monthly)]
        {
            view.scan(table, all, Order::Ascending, &mut |key, _| {
                let worker = u32::from_be_bytes(key[..4].try_into().unwrap());
                *counts.entry(worker).or_default() += 1;
                ControlFlow::Continue(())
            })?;
            // The newest row of each worker stands in its lifetime row: in the tests that use
            // this, every worker with a lifetime has a day and a month.
            view.scan(tables::LIFETIME, all, Order::Ascending, &mut |key, _| {
                *counts.entry(u32::from_be_bytes(key.try_into().unwrap())).or_default() += 1;
                ControlFlow::Continue(())
            })?;
        }
        self.0.lock().push(counts);
        Ok(())
    }
}

/// A disk in memory that can be told to fail.
#[derive(Debug, Default)]
pub struct Disk {
    bytes: Mutex<Vec<u8>>,
    pub fails: AtomicBool,
}

impl Disk {
    fn check(&self) -> io::Result<()> {
        if self.fails.load(Ordering::SeqCst) {
            Err(io::Error::other("the disk is on fire"))
        } else {
            Ok(())
        }
    }
}

impl Device for Disk {
    fn length(&self) -> io::Result<u64> {
        Ok(self.bytes.lock().len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let bytes = self.bytes.lock();
        let from = offset as usize;
        let found = bytes.get(from..from + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        self.check()?;
        self.bytes.lock().resize(length as usize, 0);
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.check()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.check()?;
        let from = offset as usize;
        self.bytes.lock()[from..from + data.len()].copy_from_slice(data);
        Ok(())
    }
}
