//! Typed reading and writing of rows.

use std::ops::{Bound, ControlFlow};

use crate::schema::codec::{self, Decode};
use crate::schema::key;
use crate::schema::rows::Row;
use crate::schema::tables;
use crate::storage::{EngineError, EngineResult, KeyRange, Order, Read, Table, Write};
use crate::types::Hex;

/// Reads one row.
pub(crate) fn load<R: Row>(txn: &(impl Read + ?Sized), key: &[u8]) -> EngineResult<Option<R>> {
    load_from(txn, R::TABLE, key)
}

/// Reads one row of a table that holds rows of several types.
pub(crate) fn load_from<R: Decode>(
    txn: &(impl Read + ?Sized),
    table: Table,
    key: &[u8],
) -> EngineResult<Option<R>> {
    let mut found = None;
    txn.get(table, key, &mut |bytes| found = Some(codec::decode(bytes)))?;
    found.transpose().map_err(|why| undecodable(table, key, &why))
}

/// Writes one row.
pub(crate) fn store<R: Row>(txn: &mut dyn Write, key: &[u8], row: &R) -> EngineResult<()> {
    txn.put(R::TABLE, key, &codec::encode(row))
}

/// Visits every row of a range, in order, until `visit` breaks or fails.
pub(crate) fn each<R: Row>(
    txn: &(impl Read + ?Sized),
    range: KeyRange<'_>,
    order: Order,
    mut visit: impl FnMut(&[u8], R) -> ControlFlow<()>,
) -> EngineResult<()> {
    let mut broken = None;
    txn.scan(R::TABLE, range, order, &mut |key, bytes| match codec::decode(bytes) {
        Ok(row) => visit(key, row),
        Err(why) => {
            broken = Some(undecodable(R::TABLE, key, &why));
            ControlFlow::Break(())
        }
    })?;
    broken.map_or(Ok(()), Err)
}

/// The first keys of a range, at most `most` of them.
pub(crate) fn keys(
    txn: &(impl Read + ?Sized),
    table: Table,
    range: KeyRange<'_>,
    order: Order,
    most: usize,
) -> EngineResult<Vec<Vec<u8>>> {
    let mut keys = Vec::new();
    if most > 0 {
        txn.scan(table, range, order, &mut |key, _| {
            keys.push(key.to_vec());
            if keys.len() < most { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        })?;
    }
    Ok(keys)
}

/// The first key of a range.
pub(crate) fn first_key(
    txn: &(impl Read + ?Sized),
    table: Table,
    range: KeyRange<'_>,
    order: Order,
) -> EngineResult<Option<Vec<u8>>> {
    Ok(keys(txn, table, range, order, 1)?.pop())
}

/// The ids of the oldest and newest history record. Ids have no gaps, since only the oldest records
/// are removed.
pub(crate) fn history_ends(txn: &(impl Read + ?Sized)) -> EngineResult<Option<(u64, u64)>> {
    let end = |order| -> EngineResult<Option<u64>> {
        first_key(txn, tables::HISTORY, ALL, order)?
            .map(|key| {
                key::as_number(&key)
                    .ok_or_else(|| undecodable(tables::HISTORY, &key, "its key is not a number"))
            })
            .transpose()
    };
    Ok(end(Order::Ascending)?.zip(end(Order::Descending)?))
}

/// Parses a key of a table.
pub(crate) fn parsed<'k, K>(
    table: Table,
    key: &'k [u8],
    parse: impl Fn(&'k [u8]) -> Option<K>,
) -> EngineResult<K> {
    parse(key).ok_or_else(|| undecodable(table, key, key::MALFORMED))
}

/// Every key of a table.
pub(crate) const ALL: KeyRange<'static> = (Bound::Unbounded, Bound::Unbounded);

pub(crate) fn missing(table: Table, key: &[u8]) -> EngineError {
    EngineError::DamagedRow(format!("the {} table has no row {}", table.name(), Hex(key)))
}

pub(crate) fn undecodable(table: Table, key: &[u8], why: &str) -> EngineError {
    EngineError::DamagedRow(format!("row {} of the {} table: {why}", Hex(key), table.name()))
}
