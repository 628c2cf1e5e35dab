//! Sums over live history, that is, over the records still in history.
//!
//! A query adds up the cached sums over chunks, and reads single records only at the two ends of
//! history. A query of one worker looks up that worker in each of the sums.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::ops::{Bound, ControlFlow, RangeInclusive};
use std::sync::Arc;

use super::chunks::{Adder, Records, SIZES, Sum, Sums, add};
use super::{Snapshot, rows};
use crate::error::Result;
use crate::schema::access::history_ends;
use crate::schema::key;
use crate::schema::rows::HistoryRow;
use crate::schema::tables;
use crate::storage::Order;
use crate::time::Timestamp;
use crate::types::{PastBatch, Totals, WorkerId};

/// Every worker.
pub(super) const EVERYBODY: RangeInclusive<WorkerId> = WorkerId(0)..=WorkerId(u32::MAX);

/// A part of live history: a chunk, or one of the two ends.
pub(super) struct Part {
    pub(super) records: Records,
    /// `None` for a chunk that the cache has no room for.
    sums: Option<Arc<Sums>>,
}

impl Part {
    /// Whether it may have records of a worker. Without sums the result is `true`.
    pub(super) fn may_have(&self, worker: WorkerId) -> bool {
        self.sums.as_ref().is_none_or(|sums| !sums.of(&(worker..=worker)).is_empty())
    }
}

impl Snapshot {
    /// The parts of live history, the oldest first.
    pub(super) fn live_parts(&self) -> Result<&[Part]> {
        // Checked also if the parts are known already, since reading their sums takes a lock.
        self.inner.process.check()?;
        if let Some(parts) = self.inner.parts.get() {
            return Ok(parts);
        }
        let mut parts = Vec::new();
        if let Some((first, last)) = history_ends(self.txn())? {
            self.chunk_sums().drop_before(first);
            for records in (Records { first, last }).cut(&SIZES) {
                let sums = if records.is_chunk() {
                    self.chunk(records)?
                } else {
                    Some(Arc::new(self.add_up(records)?))
                };
                parts.push(Part { records, sums });
            }
        }
        // Another thread may have been first: its result is the same.
        Ok(self.inner.parts.get_or_init(|| parts))
    }

    /// The live totals of some workers, by worker and day.
    pub(super) fn live_of(&self, workers: &RangeInclusive<WorkerId>) -> Result<Sums> {
        let mut live = Adder::default();
        for part in self.live_parts()? {
            match &part.sums {
                Some(sums) => live.add_sums(sums.of(workers))?,
                None => {
                    self.each_record_of(workers, part.records, |batch| live.add_record(batch))?
                }
            }
        }
        Ok(live.finish())
    }

    /// The live totals of every worker, by worker and day. They are added up once per snapshot.
    pub(super) fn live(&self) -> Result<&Sums> {
        if let Some(live) = self.inner.live.get() {
            return Ok(live);
        }
        let live = self.live_of(&EVERYBODY)?;
        Ok(self.inner.live.get_or_init(|| live))
    }

    /// The live days that this form of the snapshot adds to a worker's archived ones.
    pub(super) fn live_days(&self, worker: WorkerId) -> Result<Cow<'_, [Sum]>> {
        let workers = worker..=worker;
        if self.archived {
            Ok(Cow::Borrowed(&[]))
        } else if let Some(live) = self.inner.live.get() {
            Ok(Cow::Borrowed(live.of(&workers)))
        } else {
            Ok(Cow::Owned(self.live_of(&workers)?.of(&workers).to_vec()))
        }
    }

    /// The live totals of each of some workers at or after a time.
    pub(super) fn live_since(
        &self,
        since: Timestamp,
        workers: &RangeInclusive<WorkerId>,
    ) -> Result<BTreeMap<WorkerId, Totals>> {
        let mut finished = BTreeMap::new();
        for part in self.live_parts()? {
            self.add_since(since, workers, part, &mut finished)?;
        }
        Ok(finished)
    }

    fn add_since(
        &self,
        since: Timestamp,
        workers: &RangeInclusive<WorkerId>,
        part: &Part,
        finished: &mut BTreeMap<WorkerId, Totals>,
    ) -> Result<()> {
        let since_then = Some(since);
        let is_split =
            |sum: &Sum| sum.totals.first_at < since_then && sum.totals.last_at >= since_then;
        match part.sums.as_ref().map(|sums| sums.of(workers)) {
            Some(sums) if !sums.iter().any(is_split) => {
                for sum in sums.iter().filter(|sum| sum.totals.last_at >= since_then) {
                    add(finished.entry(sum.worker).or_default(), &sum.totals)?;
                }
                Ok(())
            }
            Some(_) if !part.records.smaller_sizes().is_empty() => {
                for records in part.records.cut(part.records.smaller_sizes()) {
                    let part = Part { records, sums: self.chunk(records)? };
                    self.add_since(since, workers, &part, finished)?;
                }
                Ok(())
            }
            _ => self.each_record_of(workers, part.records, |batch| {
                if batch.finished_at >= since {
                    add(finished.entry(batch.worker).or_default(), &batch.totals())?;
                }
                Ok(())
            }),
        }
    }

    /// The sums over a chunk; `None` if they are not in the cache and there is no room for them.
    fn chunk(&self, records: Records) -> Result<Option<Arc<Sums>>> {
        self.chunk_sums().get(records, || self.add_up(records))
    }

    fn add_up(&self, records: Records) -> Result<Sums> {
        let mut sums = Adder::default();
        self.each_record_of(&EVERYBODY, records, |batch| sums.add_record(batch))?;
        Ok(sums.finish())
    }

    /// Visits the records of some workers. If it is one worker, those of others are not decoded.
    fn each_record_of(
        &self,
        workers: &RangeInclusive<WorkerId>,
        records: Records,
        mut visit: impl FnMut(&PastBatch) -> Result<()>,
    ) -> Result<()> {
        let mark = if workers.start() == workers.end() {
            HistoryRow::mark(*workers.start())
        } else {
            Vec::new()
        };
        let (first, last) = (key::number(records.first), key::number(records.last));
        let range = (Bound::Included(&first[..]), Bound::Included(&last[..]));
        self.scan(tables::HISTORY, range, Order::Ascending, |key, value| {
            if value.starts_with(&mark) {
                rows::parsed(tables::HISTORY, key, key::as_number)?;
                let HistoryRow { batch, .. } = rows::decoded(tables::HISTORY, key, value)?;
                if workers.contains(&batch.worker) {
                    visit(&batch)?;
                }
            }
            Ok(ControlFlow::Continue(()))
        })
    }
}
