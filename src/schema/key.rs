//! Keys whose bytes sort as what they stand for.

use std::ops::Bound;

use crate::storage::KeyRange;
use crate::time::{Day, Month, Timestamp};
use crate::types::{JobId, WorkerId};

/// A key of history, or of the log of imports: a number.
pub(crate) fn number(number: u64) -> [u8; 8] {
    number.to_be_bytes()
}

pub(crate) fn job(job: JobId) -> [u8; 8] {
    number(job.0)
}

pub(crate) fn worker(worker: WorkerId) -> [u8; 4] {
    worker.0.to_be_bytes()
}

pub(crate) fn day(worker: WorkerId, day: Day) -> [u8; 8] {
    worker_and(worker, day.number())
}

pub(crate) fn month(worker: WorkerId, month: Month) -> [u8; 8] {
    worker_and(worker, month.number())
}

pub(crate) fn job_range(prefix: &[u8], start: u64) -> Vec<u8> {
    concat(&[&of_prefix(prefix), &start.to_be_bytes()])
}

pub(crate) fn queue(priority: i32, job: JobId) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&(!ordered(priority)).to_be_bytes());
    key[4..].copy_from_slice(&self::job(job));
    key
}

pub(crate) fn queue_by_prefix(prefix: &[u8], priority: i32, job: JobId) -> Vec<u8> {
    concat(&[&of_prefix(prefix), &queue(priority, job)])
}

pub(crate) fn lease(deadline: Timestamp, job: JobId) -> [u8; 16] {
    let mut key = [0; 16];
    key[..8].copy_from_slice(&(deadline.as_micros() as u64 ^ (1 << 63)).to_be_bytes());
    key[8..].copy_from_slice(&self::job(job));
    key
}

pub(crate) fn holder(worker: WorkerId, job: JobId) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&self::worker(worker));
    key[4..].copy_from_slice(&self::job(job));
    key
}

pub(crate) fn finding(job: JobId, name: &[u8]) -> Vec<u8> {
    concat(&[&self::job(job), name])
}

/// What the keys of one prefix start with. The length stands first, so that no prefix is the
/// beginning of another.
pub(crate) fn of_prefix(prefix: &[u8]) -> Vec<u8> {
    debug_assert!(prefix.len() <= 255, "prefixes are checked where they come in");
    concat(&[&[prefix.len() as u8], prefix])
}

/// The prefix at the front of a key, and what follows it.
pub(crate) fn split_prefix(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = key.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

/// The job id that a key ends with.
pub(crate) fn last_job(key: &[u8]) -> Option<JobId> {
    key.last_chunk().map(|bytes| JobId(u64::from_be_bytes(*bytes)))
}

/// The number that a key is.
pub(crate) fn as_number(key: &[u8]) -> Option<u64> {
    key.try_into().ok().map(u64::from_be_bytes)
}

/// The worker that a key starts with.
pub(crate) fn first_worker(key: &[u8]) -> Option<WorkerId> {
    key.first_chunk().map(|bytes| WorkerId(u32::from_be_bytes(*bytes)))
}

/// The worker and day of a key.
pub(crate) fn as_day(key: &[u8]) -> Option<(WorkerId, Day)> {
    let (worker, number) = split_worker(key)?;
    Some((worker, Day::from_number(number).ok()?))
}

/// The worker and month of a key.
pub(crate) fn as_month(key: &[u8]) -> Option<(WorkerId, Month)> {
    let (worker, number) = split_worker(key)?;
    Some((worker, Month::from_number(number).ok()?))
}

/// The deadline that a key of the lease index starts with.
pub(crate) fn lease_deadline(key: &[u8]) -> Option<Timestamp> {
    let bytes = key.first_chunk()?;
    Timestamp::from_micros((u64::from_be_bytes(*bytes) ^ (1 << 63)) as i64).ok()
}

/// All keys that start with some bytes.
pub(crate) struct Under {
    from: Vec<u8>,
    to: Option<Vec<u8>>,
}

impl Under {
    pub(crate) fn new(start: impl Into<Vec<u8>>) -> Under {
        let from = start.into();
        // The smallest key that does not start so: the last byte that can grow, grown.
        let to = from.iter().rposition(|byte| *byte < u8::MAX).map(|at| {
            let mut to = from[..=at].to_vec();
            to[at] += 1;
            to
        });
        Under { from, to }
    }

    pub(crate) fn range(&self) -> KeyRange<'_> {
        let to = self.to.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        (Bound::Included(&self.from), to)
    }
}

fn worker_and(worker: WorkerId, number: i32) -> [u8; 8] {
    let mut key = [0; 8];
    key[..4].copy_from_slice(&self::worker(worker));
    key[4..].copy_from_slice(&ordered(number).to_be_bytes());
    key
}

fn split_worker(key: &[u8]) -> Option<(WorkerId, i32)> {
    let number: [u8; 4] = key.get(4..)?.try_into().ok()?;
    Some((first_worker(key)?, (u32::from_be_bytes(number) ^ (1 << 31)) as i32))
}

/// Signed numbers in the order of unsigned ones.
fn ordered(number: i32) -> u32 {
    number as u32 ^ (1 << 31)
}

fn concat(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn instant() -> impl Strategy<Value = Timestamp> {
        (Timestamp::MIN.as_micros()..Timestamp::MAX.as_micros())
            .prop_map(|micros| Timestamp::from_micros(micros).unwrap())
    }

    proptest! {
        #[test]
        fn keys_sort_as_what_they_stand_for(
            a in (any::<u32>(), -90_000..90_000i32, instant(), any::<i32>(), any::<u64>()),
            b in (any::<u32>(), -90_000..90_000i32, instant(), any::<i32>(), any::<u64>()),
        ) {
            let days = |x: i32| Day::from_number(x).unwrap();
            let (wa, wb) = (WorkerId(a.0), WorkerId(b.0));
            prop_assert_eq!(day(wa, days(a.1)).cmp(&day(wb, days(b.1))), (a.0, a.1).cmp(&(b.0, b.1)));
            let (ja, jb) = (JobId(a.4), JobId(b.4));
            prop_assert_eq!(lease(a.2, ja).cmp(&lease(b.2, jb)), (a.2, a.4).cmp(&(b.2, b.4)));
            prop_assert_eq!(queue(a.3, ja).cmp(&queue(b.3, jb)), (b.3, a.4).cmp(&(a.3, b.4)));
        }

        #[test]
        fn keys_give_back_what_they_were_made_from(
            worker in any::<u32>(), number in -90_000..90_000i32, at in instant(), id in any::<u64>(),
            prefix in proptest::collection::vec(any::<u8>(), 1..=255),
        ) {
            let (worker, id) = (WorkerId(worker), JobId(id));
            let (d, m) = (Day::from_number(number).unwrap(), Month::from_number(number).unwrap());
            prop_assert_eq!(as_day(&day(worker, d)), Some((worker, d)));
            prop_assert_eq!(as_month(&month(worker, m)), Some((worker, m)));
            prop_assert_eq!(lease_deadline(&lease(at, id)), Some(at));
            prop_assert_eq!(last_job(&queue_by_prefix(&prefix, number, id)), Some(id));
            let key = job_range(&prefix, id.0);
            prop_assert_eq!(split_prefix(&key), Some((&prefix[..], &number_bytes(id.0)[..])));
        }

        #[test]
        fn the_keys_under_some_bytes_are_those_that_start_with_them(
            start in proptest::collection::vec(prop_oneof![Just(0u8), Just(255), any::<u8>()], 1..4),
            key in proptest::collection::vec(prop_oneof![Just(0u8), Just(255), any::<u8>()], 0..6),
        ) {
            use std::ops::RangeBounds;
            let under = Under::new(start.clone());
            prop_assert_eq!(under.range().contains(&key[..]), key.starts_with(&start));
        }
    }

    fn number_bytes(n: u64) -> [u8; 8] {
        number(n)
    }
}
