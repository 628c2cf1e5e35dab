//! Encoding of keys: the order of the bytes is the order of the values.

use std::ops::Bound;

use crate::storage::KeyRange;
use crate::time::{Day, Month, Timestamp};
use crate::types::{JobId, JobStatus, WorkerId};

/// A key of history: a number.
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
    key[..8].copy_from_slice(&ordered_instant(deadline).to_be_bytes());
    key[8..].copy_from_slice(&self::job(job));
    key
}

pub(crate) fn holder(worker: WorkerId, job: JobId) -> [u8; 12] {
    let mut key = [0; 12];
    key[..4].copy_from_slice(&self::worker(worker));
    key[4..].copy_from_slice(&self::job(job));
    key
}

pub(crate) fn job_ended(prefix: &[u8], status: JobStatus, at: Timestamp, job: JobId) -> Vec<u8> {
    concat(&[&of_prefix(prefix), &[status as u8], &lease(at, job)])
}

pub(crate) fn finding_by_time(at: Timestamp, job: JobId, name: &[u8]) -> Vec<u8> {
    concat(&[&lease(at, job), name])
}

pub(crate) fn finding_by_key(name: &[u8], job: JobId) -> Vec<u8> {
    concat(&[&of_prefix(name), &self::job(job)])
}

/// What the entries of findings of one name begin with, in the index by key.
pub(crate) fn of_name(name: &[u8]) -> Vec<u8> {
    of_prefix(name)
}

pub(crate) fn finding(job: JobId, name: &[u8]) -> Vec<u8> {
    concat(&[&self::job(job), name])
}

/// The bytes that all keys of one prefix start with. The length comes first, so that no prefix is
/// the beginning of another.
pub(crate) fn of_prefix(prefix: &[u8]) -> Vec<u8> {
    debug_assert!(prefix.len() <= 255, "prefixes are checked before they are encoded");
    concat(&[&[prefix.len() as u8], prefix])
}

// Parsing: one parser for each kind of key. Each returns `None` for a key that is too short or too
// long.

/// The error text for a key that its parser rejects.
pub(crate) const MALFORMED: &str = "its key cannot be one of this table";

/// Splits a key into the prefix at its front and the rest.
fn split_prefix(key: &[u8]) -> Option<(&[u8], &[u8])> {
    let (length, rest) = key.split_first()?;
    rest.split_at_checked(usize::from(*length))
}

/// The number that a key is.
pub(crate) fn as_number(key: &[u8]) -> Option<u64> {
    key.try_into().ok().map(u64::from_be_bytes)
}

pub(crate) fn as_job(key: &[u8]) -> Option<JobId> {
    as_number(key).map(JobId)
}

pub(crate) fn as_worker(key: &[u8]) -> Option<WorkerId> {
    key.try_into().ok().map(|bytes| WorkerId(u32::from_be_bytes(bytes)))
}

pub(crate) fn as_prefix(key: &[u8]) -> Option<&[u8]> {
    (!key.is_empty() && key.len() <= 255).then_some(key)
}

pub(crate) fn as_job_range(key: &[u8]) -> Option<(&[u8], u64)> {
    let (prefix, start) = split_prefix(key)?;
    Some((prefix, as_number(start)?))
}

pub(crate) fn as_queue(key: &[u8]) -> Option<(i32, JobId)> {
    let (priority, job) = key.split_first_chunk()?;
    Some((unordered(!u32::from_be_bytes(*priority)), as_job(job)?))
}

pub(crate) fn as_queue_by_prefix(key: &[u8]) -> Option<(&[u8], i32, JobId)> {
    let (prefix, rest) = split_prefix(key)?;
    let (priority, job) = as_queue(rest)?;
    Some((prefix, priority, job))
}

pub(crate) fn as_lease(key: &[u8]) -> Option<(Timestamp, JobId)> {
    let (deadline, job) = key.split_first_chunk()?;
    Some((instant(u64::from_be_bytes(*deadline))?, as_job(job)?))
}

pub(crate) fn as_holder(key: &[u8]) -> Option<(WorkerId, JobId)> {
    let (worker, job) = key.split_at_checked(4)?;
    Some((as_worker(worker)?, as_job(job)?))
}

pub(crate) fn as_job_ended(key: &[u8]) -> Option<(&[u8], JobStatus, Timestamp, JobId)> {
    let (prefix, rest) = split_prefix(key)?;
    let (status, rest) = rest.split_first()?;
    let status = JobStatus::ALL.get(usize::from(*status))?;
    let (at, job) = as_lease(rest)?;
    Some((prefix, *status, at, job))
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

pub(crate) fn as_finding(key: &[u8]) -> Option<(JobId, &[u8])> {
    let (job, name) = key.split_at_checked(8)?;
    Some((as_job(job)?, name))
}

pub(crate) fn as_finding_by_time(key: &[u8]) -> Option<(Timestamp, JobId, &[u8])> {
    let (lease, name) = key.split_at_checked(16)?;
    let (at, job) = as_lease(lease)?;
    Some((at, job, name))
}

pub(crate) fn as_finding_by_key(key: &[u8]) -> Option<(&[u8], JobId)> {
    let (name, job) = split_prefix(key)?;
    Some((name, as_job(job)?))
}

/// All keys that start with some bytes.
pub(crate) struct Under {
    from: Vec<u8>,
    to: Option<Vec<u8>>,
}

impl Under {
    pub(crate) fn new(start: impl Into<Vec<u8>>) -> Under {
        let from = start.into();
        // The smallest key after all that start so: increments the last byte below 0xff and drops
        // the rest.
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
    let (worker, number) = key.split_at_checked(4)?;
    Some((as_worker(worker)?, unordered(u32::from_be_bytes(number.try_into().ok()?))))
}

/// Maps a signed number to an unsigned one of the same order.
fn ordered(number: i32) -> u32 {
    number as u32 ^ (1 << 31)
}

fn unordered(number: u32) -> i32 {
    (number ^ (1 << 31)) as i32
}

fn ordered_instant(at: Timestamp) -> u64 {
    at.as_micros() as u64 ^ (1 << 63)
}

fn instant(number: u64) -> Option<Timestamp> {
    Timestamp::from_micros((number ^ (1 << 63)) as i64).ok()
}

fn concat(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn instants() -> impl Strategy<Value = Timestamp> {
        (Timestamp::MIN.as_micros()..Timestamp::MAX.as_micros())
            .prop_map(|micros| Timestamp::from_micros(micros).unwrap())
    }

    proptest! {
        #[test]
        fn keys_sort_as_what_they_stand_for(
            a in (any::<u32>(), -90_000..90_000i32, instants(), any::<i32>(), any::<u64>()),
            b in (any::<u32>(), -90_000..90_000i32, instants(), any::<i32>(), any::<u64>()),
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
            worker in any::<u32>(), number in -90_000..90_000i32, at in instants(), id in any::<u64>(),
            prefix in proptest::collection::vec(any::<u8>(), 1..=255),
        ) {
            let (worker, id) = (WorkerId(worker), JobId(id));
            let (d, m) = (Day::from_number(number).unwrap(), Month::from_number(number).unwrap());
            prop_assert_eq!(as_day(&day(worker, d)), Some((worker, d)));
            prop_assert_eq!(as_month(&month(worker, m)), Some((worker, m)));
            prop_assert_eq!(as_lease(&lease(at, id)), Some((at, id)));
            prop_assert_eq!(as_holder(&holder(worker, id)), Some((worker, id)));
            prop_assert_eq!(as_queue(&queue(number, id)), Some((number, id)));
            let name = &prefix[..];
            let by_prefix = queue_by_prefix(name, number, id);
            prop_assert_eq!(as_queue_by_prefix(&by_prefix), Some((name, number, id)));
            let range = job_range(name, id.0);
            prop_assert_eq!(as_job_range(&range), Some((name, id.0)));
            let by_job = finding(id, name);
            prop_assert_eq!(as_finding(&by_job), Some((id, name)));
            let by_key = finding_by_key(name, id);
            prop_assert_eq!(as_finding_by_key(&by_key), Some((name, id)));
            let by_time = finding_by_time(at, id, name);
            prop_assert_eq!(as_finding_by_time(&by_time), Some((at, id, name)));
            for status in JobStatus::ALL {
                let ended = job_ended(name, status, at, id);
                prop_assert_eq!(as_job_ended(&ended), Some((name, status, at, id)));
            }
        }

        /// Parsers reject a key that is cut short or has trailing bytes.
        #[test]
        fn parsers_take_only_whole_keys(
            prefix in proptest::collection::vec(any::<u8>(), 1..=255), cut in any::<usize>(),
            number in -90_000..90_000i32, at in instants(), id in any::<u64>(),
        ) {
            let id = JobId(id);
            let worker = WorkerId(7);
            type Parses = fn(&[u8]) -> bool;
            let whole: [(Vec<u8>, Parses); 8] = [
                (job(id).to_vec(), |key| as_job(key).is_some()),
                (self::worker(worker).to_vec(), |key| as_worker(key).is_some()),
                (job_range(&prefix, id.0), |key| as_job_range(key).is_some()),
                (queue(number, id).to_vec(), |key| as_queue(key).is_some()),
                (queue_by_prefix(&prefix, number, id), |key| as_queue_by_prefix(key).is_some()),
                (lease(at, id).to_vec(), |key| as_lease(key).is_some()),
                (holder(worker, id).to_vec(), |key| as_holder(key).is_some()),
                (job_ended(&prefix, JobStatus::Failed, at, id), |key| as_job_ended(key).is_some()),
            ];
            for (mut key, parses) in whole {
                prop_assert!(parses(&key));
                prop_assert!(!parses(&key[..cut % key.len()]));
                key.push(0);
                prop_assert!(!parses(&key));
            }
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
}
