//! A store that is only read.

use std::fmt;
use std::sync::Arc;

use crate::clock::Clock;
use crate::error::Result;
use crate::process::Process;
use crate::query::{ChunkSums, Snapshot};
use crate::storage::Engine;
use crate::store::snapshot;

/// A store opened for reading only, as beside a writer in another process.
pub struct Reader {
    process: Process,
    engine: Arc<dyn Engine>,
    clock: Arc<dyn Clock>,
    chunk_sums: Arc<ChunkSums>,
}

impl fmt::Debug for Reader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reader").finish_non_exhaustive()
    }
}

impl Reader {
    pub(crate) fn new(engine: Arc<dyn Engine>, clock: Arc<dyn Clock>) -> Reader {
        Reader { process: Process::current(), engine, clock, chunk_sums: Arc::default() }
    }

    /// All that is stored, as of now.
    ///
    /// # Errors
    /// [`Error::Storage`](crate::Error::Storage) or [`Error::Corrupted`](crate::Error::Corrupted) if the database cannot be read.
    pub fn snapshot(&self) -> Result<Snapshot> {
        self.process.check()?;
        snapshot(&*self.engine, self.clock.now(), &self.chunk_sums)
    }
}
