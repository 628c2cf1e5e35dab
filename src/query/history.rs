//! The newest of what workers did, batch by batch.

use std::ops::Bound;

use serde::Serialize;

use super::{Snapshot, rows};
use crate::error::Result;
use crate::schema::key;
use crate::schema::rows::HistoryRow;
use crate::schema::tables::history_ends;
use crate::storage::{Order, Table};
use crate::time::Timestamp;
use crate::types::{JobId, WorkerId};

/// One batch, as stored in history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct HistoryRecord {
    /// Its number: records stored later have higher ones.
    pub id: u64,
    /// Who did it.
    pub worker: WorkerId,
    /// Its job, which may have been deleted since; `None` for some imported batches.
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
    /// The error that the batch reported, if it did.
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
    /// Batches, newest first by the order in which they were stored: at most `limit` of them, from
    /// the first one older than the record `before` on. For the next page, pass the last id returned.
    ///
    /// # Errors
    /// `Error::Storage` or `Error::Corrupted` if the database cannot be read.
    pub fn newest_history(&self, before: Option<u64>, limit: usize) -> Result<Vec<HistoryRecord>> {
        self.newest(before, limit, |_| true)
    }

    /// The batches of a worker, in pages as of [`newest_history`](Snapshot::newest_history).
    ///
    /// # Errors
    /// `Error::Storage` or `Error::Corrupted` if the database cannot be read.
    pub fn newest_history_of_worker(
        &self,
        worker: WorkerId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<HistoryRecord>> {
        let mut records = Vec::new();
        if let Some(all) = self.history_before(before)? {
            self.add_newest(all, limit, &HistoryRow::mark(worker), |_| true, &mut records)?;
        }
        Ok(records)
    }

    /// The batches of a job, in pages as of [`newest_history`](Snapshot::newest_history). A page
    /// reads newer batches of other jobs on its way.
    ///
    /// # Errors
    /// `Error::Storage` or `Error::Corrupted` if the database cannot be read.
    pub fn newest_history_of_job(
        &self,
        job: JobId,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<HistoryRecord>> {
        self.newest(before, limit, |row| row.job == Some(job))
    }

    /// The batches that reported an error, in pages as of
    /// [`newest_history`](Snapshot::newest_history). A page reads newer batches without an error on
    /// its way.
    ///
    /// # Errors
    /// `Error::Storage` or `Error::Corrupted` if the database cannot be read.
    pub fn newest_errors(&self, before: Option<u64>, limit: usize) -> Result<Vec<HistoryRecord>> {
        self.newest(before, limit, |row| row.error.is_some())
    }

    /// The newest records that are wanted.
    fn newest(
        &self,
        before: Option<u64>,
        limit: usize,
        wanted: impl Fn(&HistoryRow) -> bool,
    ) -> Result<Vec<HistoryRecord>> {
        let mut records = Vec::new();
        if let Some(all) = self.history_before(before)? {
            self.add_newest(all, limit, &[], wanted, &mut records)?;
        }
        Ok(records)
    }

    /// Live history before a record; `None` if there is nothing.
    fn history_before(&self, before: Option<u64>) -> Result<Option<(u64, u64)>> {
        let Some((first, newest)) = history_ends(self.txn())? else { return Ok(None) };
        let last = match before {
            None => Some(newest),
            Some(before) => before.checked_sub(1).map(|last| last.min(newest)),
        };
        Ok(last.filter(|last| first <= *last).map(|last| (first, last)))
    }

    /// Adds the newest records whose bytes start with a mark and which are wanted, until there are
    /// `limit`. Those without the mark are not decoded.
    fn add_newest(
        &self,
        among: (u64, u64),
        limit: usize,
        mark: &[u8],
        wanted: impl Fn(&HistoryRow) -> bool,
        records: &mut Vec<HistoryRecord>,
    ) -> Result<()> {
        if records.len() >= limit {
            return Ok(());
        }
        let (first, last) = (key::number(among.0), key::number(among.1));
        let range = (Bound::Included(&first[..]), Bound::Included(&last[..]));
        self.scan(Table::History, range, Order::Descending, |key, value| {
            if value.starts_with(mark) {
                let id = rows::parsed(Table::History, key, rows::number)?;
                let row: HistoryRow = rows::decoded(Table::History, key, value)?;
                if wanted(&row) {
                    records.push(HistoryRecord::new(id, row));
                }
            }
            Ok(rows::go_on(records.len() < limit))
        })
    }
}
