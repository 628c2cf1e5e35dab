//! The newest of what workers did, batch by batch.

use std::ops::ControlFlow;

use serde::Serialize;

use super::{Snapshot, rows};
use crate::error::Result;
use crate::schema::rows::HistoryRow;
use crate::schema::tables::ALL;
use crate::storage::{Order, Table};
use crate::time::Timestamp;
use crate::types::{JobId, WorkerId};

/// One batch, as it stands in history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HistoryRecord {
    /// Its number: records that were stored later have higher ones.
    pub id: u64,
    /// Who did it.
    pub worker: WorkerId,
    /// The job it belonged to, which may have been deleted since; `None` for some imports.
    pub job: Option<JobId>,
    /// First position covered.
    pub start: u64,
    /// One past the last position covered.
    pub end: u64,
    /// Items handled.
    pub items: u64,
    /// Time it took, in microseconds.
    pub duration_us: u64,
    /// When it was finished.
    pub finished_at: Timestamp,
    /// Whether it completed its job.
    pub completed: bool,
    /// What went wrong, if anything did.
    pub error: Option<String>,
}

impl HistoryRecord {
    fn new(id: u64, row: HistoryRow) -> HistoryRecord {
        let HistoryRow {
            worker,
            job,
            start,
            end,
            items,
            duration_us,
            finished_at,
            completed,
            error,
        } = row;
        HistoryRecord {
            id,
            worker,
            job,
            start,
            end,
            items,
            duration_us,
            finished_at,
            completed,
            error,
        }
    }
}

impl Snapshot {
    /// The newest batches, at most `limit` of them: the one stored last comes first.
    ///
    /// # Errors
    /// What the storage meets.
    pub fn newest_history(&self, limit: usize) -> Result<Vec<HistoryRecord>> {
        self.newest(limit, &[], |_| true)
    }

    /// The newest batches of a worker, at most `limit` of them: the one stored last comes first.
    ///
    /// # Errors
    /// What the storage meets.
    pub fn newest_history_of_worker(
        &self,
        worker: WorkerId,
        limit: usize,
    ) -> Result<Vec<HistoryRecord>> {
        self.newest(limit, &HistoryRow::mark(worker), |_| true)
    }

    /// The newest batches of a job, at most `limit` of them: the one stored last comes first.
    ///
    /// # Errors
    /// What the storage meets.
    pub fn newest_history_of_job(&self, job: JobId, limit: usize) -> Result<Vec<HistoryRecord>> {
        self.newest(limit, &[], |row| row.job == Some(job))
    }

    /// The newest batches that reported an error, at most `limit` of them: the one stored last
    /// comes first.
    ///
    /// # Errors
    /// What the storage meets.
    pub fn newest_errors(&self, limit: usize) -> Result<Vec<HistoryRecord>> {
        self.newest(limit, &[], |row| row.error.is_some())
    }

    /// The newest records whose bytes start with a mark and which are wanted. Those without the
    /// mark are not decoded.
    fn newest(
        &self,
        limit: usize,
        mark: &[u8],
        wanted: impl Fn(&HistoryRow) -> bool,
    ) -> Result<Vec<HistoryRecord>> {
        let mut records = Vec::new();
        if limit == 0 {
            return Ok(records);
        }
        self.scan(Table::History, ALL, Order::Descending, |key, value| {
            if value.starts_with(mark) {
                let id = rows::parsed(Table::History, key, rows::number)?;
                let row: HistoryRow = rows::decoded(Table::History, key, value)?;
                if wanted(&row) {
                    records.push(HistoryRecord::new(id, row));
                }
            }
            Ok(if records.len() < limit {
                ControlFlow::Continue(())
            } else {
                ControlFlow::Break(())
            })
        })?;
        Ok(records)
    }
}
