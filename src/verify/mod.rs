//! Verification of a whole snapshot, row by row.

mod findings;
mod indexes;
mod jobs;
#[cfg(test)]
mod tests;
mod tiers;

use std::cell::Cell;
use std::collections::HashSet;
use std::fmt::Display;
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use crate::config::limits;
use crate::error::{Error, Result};
use crate::query::{Snapshot, rows};
use crate::schema::access::{ALL, load, load_from};
use crate::schema::key;
use crate::schema::meta;
use crate::schema::rows::{
    Control, CountersRow, HistoryRow, ImportRow, ImportedRow, Number, Row, WorkerRow,
};
use crate::schema::tables;
use crate::storage::{KeyRange, Order, Table};
use crate::types::WorkerId;

/// The rows that [`Snapshot::verify`] has checked, all of them consistent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Verified {
    /// Rows of all tables.
    pub rows: u64,
    /// Workers.
    pub workers: u64,
    /// Jobs.
    pub jobs: u64,
    /// Records of history.
    pub history: u64,
    /// Days, over all workers.
    pub days: u64,
    /// Months, over all workers.
    pub months: u64,
    /// Findings, including those of deleted jobs that are still to be removed.
    pub findings: u64,
    /// Sources of imports.
    pub import_sources: u64,
}

impl Snapshot {
    /// Checks every row of every table for consistency. The error names the first row that breaks a
    /// rule.
    ///
    /// - Conservation, exact in every field: a month's totals are its rolled part plus its days, a
    ///   lifetime's are its rolled part plus its months. Every day has its month, and every month
    ///   its lifetime.
    /// - Caps: no tier holds more than its cap, unless a lowered one is still being reached.
    /// - Jobs: cursors lie within their ranges, ranges of one prefix do not overlap, and every
    ///   index agrees with its jobs both ways.
    /// - Every reference to a worker or a job is to an existing one, and every key and record can
    ///   be decoded.
    ///
    /// This reads the whole store, some rows several times. Its memory depends on the number of
    /// workers and of one worker's months. Others can write to the store meanwhile. The result is
    /// the same for both forms of a snapshot.
    ///
    /// ```
    /// # let store = milepost::Store::in_memory()?;
    /// let verified = store.snapshot()?.verify()?;
    /// println!("{} rows are in order", verified.rows);
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// - [`Error::Inconsistent`] for the first row that breaks a rule.
    /// - [`Error::Corrupted`] for the first one that cannot be read.
    /// - [`Error::Storage`] if the database cannot be read.
    pub fn verify(&self) -> Result<Verified> {
        let mut check = Check { view: self, workers: HashSet::new(), rows: Cell::new(0) };
        let import_sources = check.meta()?;
        check.workers = check.known_workers()?;
        let jobs = check.jobs()?;
        let history = check.history()?;
        let (days, months) = check.tiers()?;
        let findings = check.findings()?;
        let workers = check.workers.len() as u64;
        let rows = check.rows.get();
        Ok(Verified { rows, workers, jobs, history, days, months, findings, import_sources })
    }
}

/// A running verification.
struct Check<'s> {
    view: &'s Snapshot,
    workers: HashSet<WorkerId>,
    /// How many rows were checked, without those read again to check others.
    rows: Cell<u64>,
}

/// Returns an error that names the row unless the rule holds.
fn ensure(holds: bool, table: Table, row: impl Display, rule: impl Display) -> Result<()> {
    if holds {
        return Ok(());
    }
    Err(Error::Inconsistent { table: table.name(), row: row.to_string(), rule: rule.to_string() })
}

impl Check<'_> {
    fn control(&self) -> &Control {
        self.view.control()
    }

    /// Visits the entries of a table, and counts them.
    fn each_entry(
        &self,
        table: Table,
        mut visit: impl FnMut(&[u8], &[u8]) -> Result<()>,
    ) -> Result<()> {
        self.view.scan(table, ALL, Order::Ascending, |key, value| {
            self.rows.set(self.rows.get() + 1);
            visit(key, value).map(ControlFlow::Continue)
        })
    }

    /// Visits the rows of a range, counts them, and returns their number.
    fn each_row<K, R: Row>(
        &self,
        range: KeyRange<'_>,
        parse: impl Fn(&[u8]) -> Option<K>,
        mut visit: impl FnMut(K, R) -> Result<()>,
    ) -> Result<u64> {
        let mut seen = 0;
        self.view.each_row(range, parse, |key, row| {
            seen += 1;
            visit(key, row)
        })?;
        self.rows.set(self.rows.get() + seen);
        Ok(seen)
    }

    fn has(&self, table: Table, key: &[u8]) -> Result<bool> {
        Ok(self.view.txn().get(table, key, &mut |_| {})?)
    }

    fn ensure_worker(&self, table: Table, row: impl Display, worker: WorkerId) -> Result<()> {
        let known = self.workers.contains(&worker);
        ensure(known, table, row, format_args!("its worker, {worker}, is one there is"))
    }

    /// Checks the control row and the sources of imports. Returns the number of sources.
    fn meta(&self) -> Result<u64> {
        let control = self.control();
        let caps = [control.caps.history, control.caps.daily, control.caps.monthly];
        ensure(!caps.contains(&0), tables::META, "control", "every cap is at least 1")?;
        for job in &control.deleting {
            let is_gone = !self.has(tables::JOBS, &key::job(*job))?;
            ensure(
                is_gone,
                tables::META,
                "control",
                format_args!("job {job}, which was deleted, has no row"),
            )?;
        }
        let format = meta::format(self.view.txn())?;
        let is_ours = format == Some(meta::FORMAT.into());
        ensure(is_ours, tables::META, "format", format_args!("the format is {}", meta::FORMAT))?;

        let mut sources = 0;
        self.each_entry(tables::META, |key, value| {
            if let Some(source) = meta::import_source(key) {
                sources += 1;
                rows::decoded::<ImportRow>(tables::META, key, value)?;
                let fits = (1..=limits::IMPORT_SOURCE).contains(&source.len());
                let name = format_args!("import source {source:?}");
                return ensure(fits, tables::META, name, "its name has 1 to 64 bytes");
            }
            if let Some(worker) = meta::counters_of(key) {
                rows::decoded::<CountersRow>(tables::META, key, value)?;
                let is_known = self.has(tables::WORKERS, &key::worker(worker))?;
                let name = format_args!("counters of worker {worker}");
                return ensure(is_known, tables::META, name, "its worker is one there is");
            }
            if key == meta::IMPORTED_KEY {
                rows::decoded::<ImportedRow>(tables::META, key, value)?;
                return Ok(());
            }
            let known = [&b"format"[..], b"control"].contains(&key);
            rows::parsed(tables::META, key, |_| known.then_some(()))
        })?;
        Ok(sources)
    }

    /// Checks workers against their names, in both directions.
    fn known_workers(&self) -> Result<HashSet<WorkerId>> {
        let mut workers = HashSet::new();
        self.each_row(ALL, key::as_worker, |id, row: WorkerRow| {
            let worker = format_args!("worker {id}");
            let given_out = (1..self.control().next_worker).contains(&id.0);
            ensure(given_out, tables::WORKERS, worker, "its number was given out")?;
            let named: Option<Number> =
                load_from(self.view.txn(), tables::WORKER_NAMES, row.name.as_bytes())?;
            let fits = named == Some(Number(id.0.into()));
            ensure(fits, tables::WORKERS, worker, "its name leads to its number")?;
            workers.insert(id);
            Ok(())
        })?;
        self.each_entry(tables::WORKER_NAMES, |name, value| {
            let Number(number) = rows::decoded(tables::WORKER_NAMES, name, value)?;
            let row: Option<WorkerRow> = match u32::try_from(number) {
                Ok(id) => load(self.view.txn(), &key::worker(WorkerId(id)))?,
                Err(_) => None,
            };
            let fits = row.is_some_and(|row| row.name.as_bytes() == name);
            let name = format_args!("name {:?}", String::from_utf8_lossy(name));
            ensure(fits, tables::WORKER_NAMES, name, "it leads to the worker of this name")
        })?;
        Ok(workers)
    }

    fn history(&self) -> Result<u64> {
        let mut expected = None;
        let records = self.each_row(ALL, key::as_number, |id, HistoryRow { batch, .. }| {
            let record = format_args!("record {id}");
            let follows = expected.is_none_or(|expected| expected == Some(id));
            ensure(follows, tables::HISTORY, record, "it follows the one before without a gap")?;
            expected = Some(id.checked_add(1));
            ensure(
                batch.start <= batch.end,
                tables::HISTORY,
                record,
                "its end is not before its start",
            )?;
            self.ensure_worker(tables::HISTORY, record, batch.worker)
        })?;
        let cap = self.control().caps.history;
        let within = records <= cap.into() || self.control().history_settling;
        ensure(
            within,
            tables::HISTORY,
            "the newest record",
            format_args!("{records} records are within the cap of {cap}"),
        )?;
        Ok(records)
    }
}
