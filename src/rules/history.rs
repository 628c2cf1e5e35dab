//! The history during one transaction, and the changes of that transaction to history and tiers.

use crate::config::Caps;
use crate::rules::outcome::STEP;
use crate::rules::tiers::{self, Fold, RowCounts};
use crate::schema::access::{history_ends, store};
use crate::schema::key;
use crate::schema::rows::HistoryRow;
use crate::storage::{EngineResult, Write};
use crate::types::WorkerId;

#[derive(Debug, Clone, Default)]
pub(super) struct HistoryTail {
    /// First and next id, once they were read. Ids have no gaps, so the difference is the length.
    pub(super) ends: Option<(u64, u64)>,
    /// How many records were added.
    pub(super) added: u64,
    /// How many rows of all tiers were added and removed.
    pub(super) rows: RowCounts,
}

/// An upper bound on the cost of one removal: how many more rows it removes than it adds, and how
/// many operations of the engine it takes.
#[derive(Clone, Copy)]
pub(super) struct Cost {
    pub(super) rows: usize,
    pub(super) operations: usize,
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
    pub(super) fn append(&mut self, txn: &mut dyn Write, row: &HistoryRow) -> EngineResult<()> {
        let (first, next) = self.ends(txn)?;
        store(txn, &key::number(next), row)?;
        self.ends = Some((first, next + 1));
        self.added += 1;
        self.rows.added += 1;
        Ok(())
    }

    /// Adds a fold to a worker's tiers.
    pub(super) fn fold(
        &mut self,
        txn: &mut dyn Write,
        caps: &Caps,
        worker: WorkerId,
        fold: &Fold,
    ) -> EngineResult<()> {
        self.rows += tiers::apply(txn, caps, worker, fold)?;
        Ok(())
    }

    /// How many records are over the cap.
    pub(super) fn over(&mut self, txn: &dyn Write, caps: &Caps) -> EngineResult<u64> {
        let (first, next) = self.ends(txn)?;
        Ok((next - first).saturating_sub(caps.history.into()))
    }

    /// How many more removals of this cost the transaction may make.
    pub(super) fn spare(&self, txn: &dyn Write, cost: Cost) -> usize {
        let beyond = self.rows.removed.saturating_sub(self.rows.added);
        // The control row is written last.
        let room = txn.room().saturating_sub(1);
        (STEP.saturating_sub(beyond) / cost.rows).min(room / cost.operations)
    }
}
