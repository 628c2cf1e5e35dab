//! Where a worker's days and months are stored.
//!
//! The newest day and month of a worker are stored in its lifetime row, all older ones in their
//! tables. Only this module depends on that: other code reads and writes them through it.

use std::ops::{Bound, ControlFlow, RangeBounds};

use crate::schema::access::{self, first_key, load, store, undecodable};
use crate::schema::key;
use crate::schema::rows::{DailyRow, LifetimeRow, MonthlyRow, Newest, Row};
use crate::storage::{EngineError, EngineResult, Order, Read, Write};
use crate::time::{Day, Month};
use crate::types::WorkerId;

/// A day or a month: a tier keeps one row for each worker and period.
pub(crate) trait Period: Copy + Ord {
    type Row: Row + Copy;

    fn key(self, worker: WorkerId) -> [u8; 8];

    /// The worker and period of a key.
    fn parse(key: &[u8]) -> Option<(WorkerId, Self)>;

    /// The newest row of the tier in a worker's lifetime row.
    fn newest(life: &LifetimeRow) -> &Newest<Self, Self::Row>;
}

impl Period for Day {
    type Row = DailyRow;

    fn key(self, worker: WorkerId) -> [u8; 8] {
        key::day(worker, self)
    }

    fn parse(key: &[u8]) -> Option<(WorkerId, Day)> {
        key::as_day(key)
    }

    fn newest(life: &LifetimeRow) -> &Newest<Day, DailyRow> {
        &life.day
    }
}

impl Period for Month {
    type Row = MonthlyRow;

    fn key(self, worker: WorkerId) -> [u8; 8] {
        key::month(worker, self)
    }

    fn parse(key: &[u8]) -> Option<(WorkerId, Month)> {
        key::as_month(key)
    }

    fn newest(life: &LifetimeRow) -> &Newest<Month, MonthlyRow> {
        &life.month
    }
}

impl<P: Period> Newest<P, P::Row> {
    /// A worker's row of a period, from its lifetime row or from the table.
    pub(super) fn load(
        &self,
        txn: &dyn Write,
        worker: WorkerId,
        at: P,
    ) -> EngineResult<Option<P::Row>> {
        match self.0 {
            Some((newest, row)) if at == newest => Ok(Some(row)),
            Some((newest, _)) if at < newest => load(txn, &at.key(worker)),
            _ => Ok(None),
        }
    }

    /// Stores a worker's row of a period. A period newer than the newest so far replaces it in the
    /// lifetime row, and the row it replaces moves to the table.
    pub(super) fn store(
        &mut self,
        txn: &mut dyn Write,
        worker: WorkerId,
        at: P,
        row: P::Row,
    ) -> EngineResult<()> {
        match self.0 {
            Some((newest, _)) if at < newest => return store(txn, &at.key(worker), &row),
            Some((newest, held)) if at > newest => store(txn, &newest.key(worker), &held)?,
            _ => {}
        }
        self.0 = Some((at, row));
        Ok(())
    }
}

/// A worker's lifetime; an empty one if it has none.
pub(crate) fn lifetime(txn: &(impl Read + ?Sized), worker: WorkerId) -> EngineResult<LifetimeRow> {
    Ok(load(txn, &key::worker(worker))?.unwrap_or_default())
}

/// Visits a worker's days or months within a range, the oldest first, until `visit` breaks or
/// fails. Rows outside the range are not read.
pub(crate) fn each<P: Period, E: From<EngineError>>(
    txn: &(impl Read + ?Sized),
    worker: WorkerId,
    life: &LifetimeRow,
    periods: &impl RangeBounds<P>,
    mut visit: impl FnMut(P, P::Row) -> Result<ControlFlow<()>, E>,
) -> Result<(), E> {
    let all = key::Under::new(key::worker(worker));
    let from = periods.start_bound().map(|period| period.key(worker));
    let to = periods.end_bound().map(|period| period.key(worker));
    let range = (or(&from, all.range().0), or(&to, all.range().1));
    let mut outcome = Ok(ControlFlow::Continue(()));
    access::each(txn, range, Order::Ascending, |key, row| {
        outcome = match P::parse(key) {
            Some((_, period)) => visit(period, row),
            None => Err(unreadable::<P>(key).into()),
        };
        if matches!(outcome, Ok(ControlFlow::Continue(()))) {
            ControlFlow::Continue(())
        } else {
            ControlFlow::Break(())
        }
    })?;
    if outcome?.is_break() {
        return Ok(());
    }
    match P::newest(life).0 {
        Some((period, row)) if periods.contains(&period) => visit(period, row).map(|_| ()),
        _ => Ok(()),
    }
}

/// A row of a worker's table that is not older than the newest row in its lifetime, as every row of
/// the table must be; `None` if there is no such row.
pub(crate) fn misplaced<P: Period>(
    txn: &(impl Read + ?Sized),
    worker: WorkerId,
    life: &LifetimeRow,
) -> EngineResult<Option<P>> {
    let under = key::Under::new(key::worker(worker));
    let last = first_key(txn, <P::Row as Row>::TABLE, under.range(), Order::Descending)?;
    let Some(key) = last else { return Ok(None) };
    let (_, period) = P::parse(&key).ok_or_else(|| unreadable::<P>(&key))?;
    let is_older = P::newest(life).0.is_some_and(|(newest, _)| period < newest);
    Ok((!is_older).then_some(period))
}

fn unreadable<P: Period>(key: &[u8]) -> EngineError {
    undecodable(<P::Row as Row>::TABLE, key, "its key cannot be one of this table")
}

/// The bound, or `open` if it is unbounded.
fn or<'k>(bound: &'k Bound<[u8; 8]>, open: Bound<&'k [u8]>) -> Bound<&'k [u8]> {
    match bound {
        Bound::Included(key) => Bound::Included(key),
        Bound::Excluded(key) => Bound::Excluded(key),
        Bound::Unbounded => open,
    }
}
