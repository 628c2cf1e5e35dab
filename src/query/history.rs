//! Queries of history records.

use std::ops::Bound;

use super::chunks::{Records, SIZES};
use super::find::HistoryFilter;
use super::{Snapshot, rows};
use crate::error::Result;
use crate::schema::access::history_ends;
use crate::schema::key;
use crate::schema::rows::HistoryRow;
use crate::schema::tables;
use crate::storage::Order;
use crate::types::PastBatch;

/// A record of history.
///
/// It serializes as one flat record: the fields of the batch stand beside its own.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HistoryRecord {
    /// Its number: records stored later have higher ones.
    pub id: u64,
    /// The batch.
    pub batch: PastBatch,
}

impl Snapshot {
    /// Batches, newest first by the order in which they were stored: at most `limit` of them, older
    /// than the record `before`. For the next page, pass the last id returned.
    ///
    /// ```
    /// # use milepost::{NewJob, Store};
    /// # use std::time::Duration;
    /// # let store = Store::in_memory()?;
    /// # let job = store.create_job(NewJob::new("demo", 0..100))?;
    /// # let worker = store.register_worker("pc-01")?;
    /// # let mut lease = worker.next_lease(Duration::from_secs(60))?.expect("a job waits");
    /// # let batch = lease.next_batch(40).expect("it is new").with_finding("key", "a hit");
    /// # lease.checkpoint(batch)?;
    /// # let view = store.snapshot()?;
    /// assert_eq!(view.newest_history(None, 20)?[0].batch.items, 40);
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Error::Storage` or `Error::Corrupted` if the database cannot be read.
    pub fn newest_history(&self, before: Option<u64>, limit: usize) -> Result<Vec<HistoryRecord>> {
        self.newest_by(&HistoryFilter::default(), before, limit)
    }

    /// The newest records that a filter accepts.
    pub(super) fn newest_by(
        &self,
        filter: &HistoryFilter,
        before: Option<u64>,
        limit: usize,
    ) -> Result<Vec<HistoryRecord>> {
        let Some(all) = self.history_before(before)? else { return Ok(Vec::new()) };
        let mut records = Vec::new();
        let Some(worker) = filter.of_worker() else {
            self.add_newest(all, limit, &[], filter, &mut records)?;
            return Ok(records);
        };
        let mark = HistoryRow::mark(worker);
        // An active worker has records among the newest. Further back, the sums show which chunks
        // have records of it.
        let recent = Records { first: all.first.max(all.last.saturating_sub(SIZES[0])), ..all };
        self.add_newest(recent, limit, &mark, filter, &mut records)?;
        if records.len() < limit && recent.first > all.first {
            let older = Records { last: recent.first - 1, ..all };
            for part in self.live_parts()?.iter().rev().filter(|part| part.may_have(worker)) {
                if let Some(part) = part.records.overlap(older) {
                    self.add_newest(part, limit, &mark, filter, &mut records)?;
                }
            }
        }
        Ok(records)
    }

    /// History before a record; `None` if there is none.
    fn history_before(&self, before: Option<u64>) -> Result<Option<Records>> {
        let Some((first, newest)) = history_ends(self.txn())? else { return Ok(None) };
        let last = match before {
            None => Some(newest),
            Some(before) => before.checked_sub(1).map(|last| last.min(newest)),
        };
        Ok(last.filter(|last| first <= *last).map(|last| Records { first, last }))
    }

    /// Adds the newest records whose bytes start with a mark and that a filter accepts, until there
    /// are `limit`. Those without the mark are not decoded.
    fn add_newest(
        &self,
        among: Records,
        limit: usize,
        mark: &[u8],
        filter: &HistoryFilter,
        records: &mut Vec<HistoryRecord>,
    ) -> Result<()> {
        if records.len() >= limit {
            return Ok(());
        }
        let (first, last) = (key::number(among.first), key::number(among.last));
        let range = (Bound::Included(&first[..]), Bound::Included(&last[..]));
        self.scan(tables::HISTORY, range, Order::Descending, |key, value| {
            if value.starts_with(mark) {
                let id = rows::parsed(tables::HISTORY, key, key::as_number)?;
                let HistoryRow { batch } = rows::decoded(tables::HISTORY, key, value)?;
                if filter.matches(&batch) {
                    records.push(HistoryRecord { id, batch });
                }
            }
            Ok(rows::go_on(records.len() < limit))
        })
    }
}
