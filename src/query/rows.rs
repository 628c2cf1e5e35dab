//! Scans that miss nothing: a key or value that cannot be read is an error that names the row,
//! and never passed over.

use std::ops::ControlFlow;

use super::Snapshot;
use crate::error::Result;
use crate::schema::codec::{self, Decode};
use crate::schema::key;
use crate::schema::rows::{JobRow, Row};
use crate::schema::tables::{load, missing, undecodable};
use crate::storage::{KeyRange, Order, Table};
use crate::time::Timestamp;
use crate::types::{JobId, WorkerId};

impl Snapshot {
    /// Shows the entries of a range, in order, until `visit` breaks off or fails.
    pub(crate) fn scan(
        &self,
        table: Table,
        range: KeyRange<'_>,
        order: Order,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<ControlFlow<()>>,
    ) -> Result<()> {
        let mut outcome = Ok(());
        self.txn().scan(table, range, order, &mut |key, value| {
            visit(key, value).unwrap_or_else(|error| {
                outcome = Err(error);
                ControlFlow::Break(())
            })
        })?;
        outcome
    }

    /// Shows the rows of a range, ascending, until `visit` fails.
    pub(crate) fn each_row<K, R: Row>(
        &self,
        range: KeyRange<'_>,
        parse: impl Fn(&[u8]) -> Option<K>,
        mut visit: impl FnMut(K, R) -> Result<()>,
    ) -> Result<()> {
        self.scan(R::TABLE, range, Order::Ascending, |key, value| {
            visit(parsed(R::TABLE, key, &parse)?, decoded(R::TABLE, key, value)?)?;
            Ok(ControlFlow::Continue(()))
        })
    }

    /// What `make` gives for the rows of a range, ascending, until there are `limit` of it.
    pub(super) fn collect<K, R: Row, T>(
        &self,
        range: KeyRange<'_>,
        limit: usize,
        parse: impl Fn(&[u8]) -> Option<K>,
        make: impl Fn(K, R) -> Option<T>,
    ) -> Result<Vec<T>> {
        let mut made = Vec::new();
        if limit > 0 {
            self.scan(R::TABLE, range, Order::Ascending, |key, value| {
                made.extend(make(parsed(R::TABLE, key, &parse)?, decoded(R::TABLE, key, value)?));
                Ok(if made.len() < limit {
                    ControlFlow::Continue(())
                } else {
                    ControlFlow::Break(())
                })
            })?;
        }
        Ok(made)
    }

    /// A job that another row refers to.
    pub(super) fn job_row(&self, id: JobId) -> Result<JobRow> {
        let key = key::job(id);
        load(self.txn(), &key)?.ok_or_else(|| missing(Table::Jobs, &key).into())
    }
}

/// What a key of a table stands for.
pub(crate) fn parsed<K>(table: Table, key: &[u8], parse: impl Fn(&[u8]) -> Option<K>) -> Result<K> {
    parse(key).ok_or_else(|| undecodable(table, key, "its key cannot be one of this table").into())
}

/// The record of a row.
pub(crate) fn decoded<R: Decode<()>>(table: Table, key: &[u8], value: &[u8]) -> Result<R> {
    codec::decode(value).map_err(|why| undecodable(table, key, &why).into())
}

// What keys stand for. Each takes only keys that are whole: nothing missing, nothing behind.

pub(crate) fn number(key: &[u8]) -> Option<u64> {
    key::as_number(key)
}

pub(crate) fn job(key: &[u8]) -> Option<JobId> {
    number(key).map(JobId)
}

pub(crate) fn worker(key: &[u8]) -> Option<WorkerId> {
    key::first_worker(key).filter(|worker| key::worker(*worker) == key)
}

pub(crate) fn job_range(key: &[u8]) -> Option<(Vec<u8>, u64)> {
    let (prefix, start) = key::split_prefix(key)?;
    Some((prefix.to_vec(), number(start)?))
}

pub(crate) fn queue(key: &[u8]) -> Option<JobId> {
    // A priority, which may be any four bytes, and the job.
    key.split_at_checked(4).and_then(|(_, id)| job(id))
}

pub(crate) fn queue_by_prefix(key: &[u8]) -> Option<JobId> {
    key::split_prefix(key).and_then(|(_, rest)| queue(rest))
}

pub(crate) fn lease(key: &[u8]) -> Option<(Timestamp, JobId)> {
    let (deadline, job) = (key::lease_deadline(key)?, key::last_job(key)?);
    (key::lease(deadline, job) == key).then_some((deadline, job))
}

pub(crate) fn holder(key: &[u8]) -> Option<(WorkerId, JobId)> {
    let (worker, job) = (key::first_worker(key)?, key::last_job(key)?);
    (key::holder(worker, job) == key).then_some((worker, job))
}

pub(crate) fn finding(key: &[u8]) -> Option<(JobId, Vec<u8>)> {
    let (job, name) = key.split_first_chunk()?;
    Some((JobId(u64::from_be_bytes(*job)), name.to_vec()))
}
