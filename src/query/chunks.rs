//! Sums over chunks of history, kept from one snapshot to the next.
//!
//! A history record never changes once it is committed, and the oldest are removed first. The sums
//! over a chunk of consecutive records therefore stay valid for as long as none of them is removed.

use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;

use crate::error::{Error, Result};
use crate::time::{Day, Timestamp};
use crate::types::{PastBatch, Totals, WorkerId};

/// The possible numbers of records in a chunk. Each size is a multiple of the next, and a chunk
/// begins at a multiple of its size.
pub(super) const SIZES: [u64; 3] = [16_384, 256, 16];

/// The most sums that a store caches: 36 MiB, enough for a million records of a few thousand
/// workers.
const MOST_SUMS: usize = 1 << 18;

/// The totals of one worker on one day within some records.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Sum {
    pub(super) worker: WorkerId,
    pub(super) day: Day,
    pub(super) totals: Totals,
}

/// Sums by worker and day, in that order.
#[derive(Debug, Default, PartialEq)]
pub(super) struct Sums(Box<[Sum]>);

impl Sums {
    /// The sums of some workers.
    pub(super) fn of(&self, workers: &RangeInclusive<WorkerId>) -> &[Sum] {
        let from = self.0.partition_point(|sum| sum.worker < *workers.start());
        let rest = &self.0[from..];
        &rest[..rest.partition_point(|sum| sum.worker <= *workers.end())]
    }
}

/// Adds records and sums up by worker and day.
#[derive(Default)]
pub(super) struct Adder {
    sums: BTreeMap<(WorkerId, Day), Totals>,
    /// The day of the last record, with its first instant and that of the next day. Most records
    /// fall on the day of the one before.
    day: Option<(Day, Timestamp, Timestamp)>,
}

impl Adder {
    pub(super) fn add_record(&mut self, batch: &PastBatch) -> Result<()> {
        let day = self.day_of(batch.finished_at);
        add(self.sums.entry((batch.worker, day)).or_default(), &batch.totals())
    }

    pub(super) fn add_sums(&mut self, sums: &[Sum]) -> Result<()> {
        sums.iter().try_for_each(|sum| {
            add(self.sums.entry((sum.worker, sum.day)).or_default(), &sum.totals)
        })
    }

    pub(super) fn finish(self) -> Sums {
        let sum = |((worker, day), totals)| Sum { worker, day, totals };
        Sums(self.sums.into_iter().map(sum).collect())
    }

    fn day_of(&mut self, at: Timestamp) -> Day {
        if let Some((day, first, next)) = self.day
            && (first..next).contains(&at)
        {
            return day;
        }
        let day = at.day();
        let first = day.start();
        self.day = Some((day, first, first.saturating_add(Duration::from_secs(86_400))));
        day
    }
}

/// Adds totals to others, exactly. Imports are limited so that any sum fits, unless rows are damaged.
pub(super) fn add(sum: &mut Totals, more: &Totals) -> Result<()> {
    let what = || "the totals of several workers are too large to be added up".to_string();
    *sum = sum.checked_add(more).ok_or_else(|| Error::Corrupted { what: what() })?;
    Ok(())
}

/// A range of consecutive records of history: a whole chunk, or less at the two ends of history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Records {
    pub(super) first: u64,
    pub(super) last: u64,
}

impl Records {
    /// Splits the range into chunks of the given sizes, as large as possible, and the rest at the
    /// ends.
    pub(super) fn cut(self, sizes: &[u64]) -> Vec<Records> {
        let mut parts = Vec::new();
        let mut next = Some(self.first).filter(|first| *first <= self.last);
        while let Some(first) = next {
            let part = sizes
                .iter()
                .filter(|size| first.is_multiple_of(**size))
                .map(|size| Records { first, last: first | (size - 1) })
                .find(|chunk| chunk.last <= self.last)
                .unwrap_or_else(|| {
                    let smallest = sizes.last().copied().unwrap_or(1);
                    Records { first, last: self.last.min(first | (smallest - 1)) }
                });
            parts.push(part);
            next = part.last.checked_add(1).filter(|next| *next <= self.last);
        }
        parts
    }

    /// The intersection of two ranges; `None` if it is empty.
    pub(super) fn overlap(self, other: Records) -> Option<Records> {
        let both = Records { first: self.first.max(other.first), last: self.last.min(other.last) };
        (both.first <= both.last).then_some(both)
    }

    pub(super) fn is_chunk(self) -> bool {
        SIZES.contains(&self.count()) && self.first.is_multiple_of(self.count())
    }

    /// The sizes of chunks smaller than this range.
    pub(super) fn smaller_sizes(self) -> &'static [u64] {
        let from = SIZES.iter().position(|size| *size < self.count()).unwrap_or(SIZES.len());
        &SIZES[from..]
    }

    fn count(self) -> u64 {
        (self.last - self.first).saturating_add(1)
    }
}

/// A cache of the sums over chunks, filled by queries.
///
/// Snapshots share it. It is emptied when the store is reopened, since commits that were not synced
/// may be lost then, and their record numbers assigned again.
pub(crate) struct ChunkSums {
    kept: Mutex<Kept>,
    most: usize,
}

#[derive(Default)]
struct Kept {
    /// By first record, the largest chunk first.
    chunks: BTreeMap<(u64, Reverse<u64>), Arc<Sums>>,
    /// How many sums all chunks have together.
    sums: usize,
}

impl Default for ChunkSums {
    fn default() -> ChunkSums {
        ChunkSums::with_room_for(MOST_SUMS)
    }
}

impl ChunkSums {
    /// An empty cache that adds no chunk once it holds `most` sums.
    pub(super) fn with_room_for(most: usize) -> ChunkSums {
        ChunkSums { kept: Mutex::default(), most }
    }

    /// The sums over a chunk, from the cache or else from `add_up`. `None` if they are not in the
    /// cache and there is no room for them.
    pub(super) fn get(
        &self,
        chunk: Records,
        add_up: impl FnOnce() -> Result<Sums>,
    ) -> Result<Option<Arc<Sums>>> {
        {
            let mut kept = self.kept.lock();
            if let Some(sums) = kept.chunks.get(&key(chunk)) {
                return Ok(Some(sums.clone()));
            }
            if kept.sums >= self.most {
                kept.drop_covered();
            }
            if kept.sums >= self.most {
                return Ok(None);
            }
        }
        // Without the lock: other threads may use the cache meanwhile, and may add up the same
        // chunk.
        let sums = Arc::new(add_up()?);
        self.kept.lock().insert(chunk, sums.clone());
        Ok(Some(sums))
    }

    /// The sums over a chunk, if they are in the cache.
    #[cfg(test)]
    fn kept(&self, chunk: Records) -> Option<Arc<Sums>> {
        self.kept.lock().chunks.get(&key(chunk)).cloned()
    }

    /// Drops chunks with records before `first`, which were removed from history.
    pub(super) fn drop_before(&self, first: u64) {
        let mut kept = self.kept.lock();
        while let Some(oldest) = kept.chunks.first_entry().filter(|entry| entry.key().0 < first) {
            let sums = oldest.remove();
            kept.sums -= sums.0.len();
        }
    }
}

fn key(chunk: Records) -> (u64, Reverse<u64>) {
    (chunk.first, Reverse(chunk.last))
}

impl Kept {
    /// Adds a chunk, which replaces the smaller ones that it covers.
    fn insert(&mut self, chunk: Records, sums: Arc<Sums>) {
        let covered: Vec<_> =
            self.chunks.range(key(chunk)..=(chunk.last, Reverse(0))).map(|(key, _)| *key).collect();
        for key in covered {
            if let Some(sums) = self.chunks.remove(&key) {
                self.sums -= sums.0.len();
            }
        }
        self.sums += sums.0.len();
        self.chunks.insert(key(chunk), sums);
    }

    /// Drops chunks that a larger one covers. They were added after it, by queries that needed only
    /// a part of it.
    fn drop_covered(&mut self) {
        let mut covered = None;
        let sums = &mut self.sums;
        self.chunks.retain(|(_, Reverse(last)), chunk| {
            let is_covered = covered >= Some(*last);
            if is_covered {
                *sums -= chunk.0.len();
            } else {
                covered = Some(*last);
            }
            !is_covered
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(first: u64, last: u64) -> Records {
        Records { first, last }
    }

    fn sums(workers: impl IntoIterator<Item = u32>) -> Sums {
        let day = "2026-02-16".parse().unwrap();
        let sum = |worker| Sum { worker: WorkerId(worker), day, totals: Totals::default() };
        Sums(workers.into_iter().map(sum).collect())
    }

    #[test]
    fn records_are_cut_into_the_largest_chunks_and_two_ends() {
        let whole = records(5, 16_384 + 300).cut(&SIZES);

        assert_eq!(whole[0], records(5, 15));
        assert_eq!(whole[1], records(16, 31));
        assert_eq!(whole[16], records(256, 511));
        assert_eq!(whole.last(), Some(&records(16_672, 16_684)));
        assert!(whole.windows(2).all(|pair| pair[0].last + 1 == pair[1].first));
        let ends = |parts: &[Records]| parts.iter().filter(|part| !part.is_chunk()).count();
        assert_eq!((whole.len(), ends(&whole)), (1 + 15 + 63 + 1 + 2 + 1, 2));
        assert_eq!(records(0, 16_383).cut(&SIZES), [records(0, 16_383)]);
        assert_eq!(records(0, 16_383).cut(records(0, 16_383).smaller_sizes()).len(), 64);
        assert_eq!(records(7, 7).cut(&SIZES), [records(7, 7)]);
        assert_eq!(records(8, 7).cut(&SIZES), []);
        assert_eq!(records(u64::MAX - 15, u64::MAX).cut(&SIZES).len(), 1);
        assert_eq!(records(0, u64::MAX).smaller_sizes(), SIZES);
    }

    #[test]
    fn sums_are_found_by_worker() {
        let sums = sums([2, 2, 3, 7]);

        let of = |from, to| sums.of(&(WorkerId(from)..=WorkerId(to))).len();

        assert_eq!((of(2, 2), of(0, u32::MAX), of(3, 6), of(4, 6), of(8, 9)), (2, 4, 1, 0, 0));
    }

    #[test]
    fn a_chunk_takes_the_place_of_those_it_covers_and_leaves_with_its_first_record() {
        let store = ChunkSums::default();
        let get = |first, last| {
            store.get(records(first, last), || Ok(sums([1, 2]))).unwrap();
            store.kept.lock().sums
        };
        assert_eq!((get(0, 15), get(16, 31), get(256, 271)), (2, 4, 6));

        assert_eq!(get(0, 255), 4, "two of three are covered");
        assert_eq!(get(16, 31), 6, "a part of it is asked for again");
        assert_eq!(
            store.get(records(16, 31), || Err(Error::Closed)).unwrap(),
            Some(sums([1, 2]).into())
        );

        store.drop_before(1);
        assert!(store.kept(records(0, 255)).is_none());
        assert!(store.kept(records(16, 31)).is_some());
        store.drop_before(257);
        assert_eq!(store.kept.lock().sums, 0);
    }

    #[test]
    fn memory_is_bounded_by_keeping_no_more_once_it_is_full() {
        let store = ChunkSums::with_room_for(6);
        let get = |first, last| store.get(records(first, last), || Ok(sums([1, 2]))).unwrap();
        get(0, 255);
        get(0, 15);
        get(256, 271);

        assert!(get(272, 287).is_some(), "the part of the first chunk made room");
        assert!(store.kept(records(0, 15)).is_none());
        assert_eq!(get(288, 303), None);
        assert_eq!(get(0, 255).as_deref(), Some(&sums([1, 2])), "what is kept is still found");
        store.drop_before(16);
        assert!(get(288, 303).is_some(), "what left history made room");
        assert_eq!(size_of::<Sum>() * MOST_SUMS, 36 << 20);
    }
}
