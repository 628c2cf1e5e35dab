//! The end of history, where records are appended.

use crate::schema::key;
use crate::schema::rows::HistoryRow;
use crate::schema::tables::{history_ends, store};
use crate::storage::{EngineResult, Write};

/// History as one transaction sees it: ids have no gaps, so its ends tell its length.
#[derive(Debug, Clone, Default)]
pub(crate) struct HistoryTail {
    /// First and next id, once they were looked up.
    pub(super) ends: Option<(u64, u64)>,
    pub(super) added: u64,
}

impl HistoryTail {
    pub(super) fn ends(&mut self, txn: &dyn Write) -> EngineResult<(u64, u64)> {
        if let Some(ends) = self.ends {
            return Ok(ends);
        }
        let ends = history_ends(txn)?.map_or((1, 1), |(first, last)| (first, last + 1));
        self.ends = Some(ends);
        Ok(ends)
    }

    /// Adds a record under the next id.
    pub(crate) fn append(&mut self, txn: &mut dyn Write, row: &HistoryRow) -> EngineResult<()> {
        let (first, next) = self.ends(txn)?;
        store(txn, &key::number(next), row)?;
        self.ends = Some((first, next + 1));
        self.added += 1;
        Ok(())
    }
}
