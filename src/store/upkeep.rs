//! Imports, caps and counters; syncing, compacting, reopening and closing.

use std::sync::Arc;
use std::time::Instant;

use super::{Store, unexpected};
use crate::config::CapsChange;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
#[cfg(doc)]
use crate::query::Snapshot;
use crate::types::command::{Answer, Command};
use crate::types::{Import, ImportOutcome, Metrics};

impl Store {
    /// Adds records from elsewhere to the tiers, in one transaction, unless the store has them
    /// already: see [`Import`].
    ///
    /// ```
    /// # use milepost::Store;
    /// # let store = Store::in_memory()?;
    /// # let worker = store.register_worker("pc-01")?;
    /// use milepost::{Import, ImportOutcome, PastBatch};
    ///
    /// let batch = PastBatch::new(worker.id(), 0..500, store.now());
    /// let import = Import::new("old-server.log", 1).history(batch);
    /// assert_eq!(store.import(import.clone())?, ImportOutcome::Applied);
    /// assert_eq!(store.import(import)?, ImportOutcome::AlreadyApplied);
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`Error::UnknownWorker`] if a record names a worker the store does not know.
    /// - [`Error::ImportAltered`] if the last import of the source has this number and other records.
    /// - [`Error::Invalid`] if totals contradict themselves or their period, or would make the
    ///   totals of all imports too large to add up exactly.
    pub fn import(&self, import: Import) -> Result<ImportOutcome> {
        match self.submit_one(Command::Import(import))? {
            Answer::Imported(outcome) => Ok(outcome),
            other => Err(unexpected(&other)),
        }
    }

    /// Changes caps; those left `None` stay, and [`Snapshot::caps`] returns them all. A lowered cap is reached in steps: the first is taken
    /// at once, and one with every commit that follows. [`settle`](Store::settle) takes the rest.
    ///
    /// ```
    /// # use milepost::Store;
    /// # let store = Store::in_memory()?;
    /// use milepost::CapsChange;
    ///
    /// store.set_caps(CapsChange::default().with_history(50_000))?;
    /// assert_eq!(store.snapshot()?.caps().history, 50_000);
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Invalid`] if a cap is 0.
    pub fn set_caps(&self, change: impl Into<CapsChange>) -> Result<()> {
        let change = change.into();
        self.submit_one(Command::SetCaps(change))?;
        tracing::info!(path = %self.inner.path.display(), ?change, "caps were changed");
        Ok(())
    }

    /// Counters of what this store has done since it was opened, for export to a monitoring system.
    ///
    /// ```
    /// # use milepost::Store;
    /// # let store = Store::in_memory()?;
    /// store.register_worker("pc-01")?;
    /// assert_eq!(store.metrics()?.commands, 1);
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Forked`] in a forked child.
    pub fn metrics(&self) -> Result<Metrics> {
        self.check_process()?;
        let waiting_workers = self.inner.waiters.len() as u64;
        Ok(Metrics { waiting_workers, ..self.inner.committer.metrics() })
    }

    /// Finishes what lowered caps and deleted jobs left to do, in bounded steps between which
    /// other callers' commands are committed.
    ///
    /// ```
    /// # use milepost::Store;
    /// # let store = Store::in_memory()?;
    /// store.settle()?;
    /// assert!(!store.snapshot()?.is_settling());
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Corrupted`] if a damaged row is in the way. History then stays over its cap, workers
    /// after one with a damaged lifetime stay over theirs, and calling this again may do more. [`Error::Storage`] if the database cannot be read or written.
    pub fn settle(&self) -> Result<()> {
        while self.snapshot()?.is_settling() {
            self.submit_one(Command::Settle)?;
        }
        Ok(())
    }

    /// Returns once everything acknowledged so far is on disk. Useful under [`Durability::Relaxed`](crate::Durability::Relaxed).
    ///
    /// ```
    /// # use milepost::Store;
    /// # let store = Store::in_memory()?;
    /// store.flush()?;
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Storage`] or [`Error::Uncertain`] if the disk refuses; see [`reopen`](Store::reopen).
    pub fn flush(&self) -> Result<()> {
        self.submit_one(Command::Flush).map(|_| ())
    }

    /// Gives unused space of the file back to the file system. Writers wait meanwhile.
    ///
    /// ```
    /// # use milepost::Store;
    /// # let store = Store::in_memory()?;
    /// store.compact()?;
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::InUse`] while a snapshot is held.
    pub fn compact(&self) -> Result<()> {
        self.check_process()?;
        let began = Instant::now();
        let (before, after) = self.inner.committer.exclusively(|engine| {
            let before = engine.stored_bytes()?;
            engine.compact()?;
            Ok((before, engine.stored_bytes()?))
        })?;
        let took = began.elapsed();
        tracing::info!(path = %self.inner.path.display(), before, after, ?took, "store compacted");
        Ok(())
    }

    /// Opens the storage again in place, after an [`Error::Uncertain`] or [`Error::Storage`] made
    /// the store stop writing. Workers and leases stay valid; see [`Lease::retry`]. Snapshots taken
    /// before cannot be relied on afterwards.
    ///
    /// [`Lease::retry`]: crate::Lease::retry
    ///
    /// ```
    /// # use milepost::Store;
    /// # let store = Store::in_memory()?;
    /// store.reopen()?;
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// As [`Builder::open`](crate::Builder::open); the store then stays stopped, and this can be tried again.
    pub fn reopen(&self) -> Result<()> {
        self.check_process()?;
        let mut chunk_sums = self.inner.chunk_sums.write();
        *chunk_sums = Arc::default();
        let reopened = self.inner.committer.reopen();
        self.inner.waiters.wake_all();
        reopened?;
        self.renew_kept_alive();
        tracing::info!(path = %self.inner.path.display(), "store reopened");
        Ok(())
    }

    /// Closes the store: takes no more commands, finishes those that wait, syncs, and releases the
    /// file. Handles that still exist get [`Error::Closed`] from then on; a lease among them is not
    /// released but expires. Closing twice does nothing.
    ///
    /// ```
    /// # use milepost::Store;
    /// # let store = Store::in_memory()?;
    /// store.close()?;
    /// assert!(store.snapshot().is_err());
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Storage`] or [`Error::Uncertain`] if the last sync fails; the store is closed all the same.
    pub fn close(&self) -> Result<()> {
        self.check_process()?;
        self.inner.close()?;
        tracing::info!(path = %self.inner.path.display(), "store closed");
        Ok(())
    }
}
