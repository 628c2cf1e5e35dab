//! Scans of decoded rows. A key or value that cannot be decoded is an error that names the row.

use std::ops::ControlFlow;

use super::Snapshot;
use crate::error::Result;
use crate::schema::access::{self, load, missing, undecodable};
use crate::schema::codec::{self, Decode};
use crate::schema::key;
use crate::schema::rows::{JobRow, Row};
use crate::schema::tables;
use crate::storage::{KeyRange, Order, Table};
use crate::types::JobId;

impl Snapshot {
    /// Visits the entries of a range, in order, until `visit` breaks or fails.
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

    /// Visits the rows of a range, ascending, until `visit` fails.
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

    /// Maps the first rows of a range, at most `limit` of them, by `make`.
    pub(super) fn collect<K, R: Row, T>(
        &self,
        range: KeyRange<'_>,
        limit: usize,
        parse: impl Fn(&[u8]) -> Option<K>,
        make: impl Fn(K, R) -> T,
    ) -> Result<Vec<T>> {
        let mut made = Vec::new();
        if limit > 0 {
            self.scan(R::TABLE, range, Order::Ascending, |key, value| {
                made.push(make(parsed(R::TABLE, key, &parse)?, decoded(R::TABLE, key, value)?));
                Ok(go_on(made.len() < limit))
            })?;
        }
        Ok(made)
    }

    /// A job that another row refers to.
    pub(super) fn job_row(&self, id: JobId) -> Result<JobRow> {
        let key = key::job(id);
        load(self.txn(), &key)?.ok_or_else(|| missing(tables::JOBS, &key).into())
    }
}

/// Continues a scan if there is more to do, or breaks it.
pub(super) fn go_on(more: bool) -> ControlFlow<()> {
    if more { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
}

/// Parses a key of a table.
pub(crate) fn parsed<'k, K>(
    table: Table,
    key: &'k [u8],
    parse: impl Fn(&'k [u8]) -> Option<K>,
) -> Result<K> {
    Ok(access::parsed(table, key, parse)?)
}

/// Decodes the record of a row.
pub(crate) fn decoded<R: Decode>(table: Table, key: &[u8], value: &[u8]) -> Result<R> {
    codec::decode(value).map_err(|why| undecodable(table, key, &why).into())
}

/// Parses the key of a finding into owned values.
pub(crate) fn finding(key: &[u8]) -> Option<(JobId, Vec<u8>)> {
    key::as_finding(key).map(|(job, name)| (job, name.to_vec()))
}
