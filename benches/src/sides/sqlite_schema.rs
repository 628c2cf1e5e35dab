//! The tables of a way of using SQLite, and what all of them do alike: connecting, storing history
//! and cursors, reading totals.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Result, ensure};
use milepost::{Day, Timestamp, Totals};
use rusqlite::{Connection, Row, params};
use serde::{Deserialize, Serialize};

use super::shared::{batch_totals, index_of, number_of};
use crate::dashboard::Question;
use crate::ledger::{Tally, WorkerTally, first_recent_day};
use crate::plan::{LEASE_SECS, Scale, Step};

/// When SQLite syncs, in WAL mode.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Flush {
    /// The log at each commit.
    Full,
    /// The log before it is copied into the file, every thousand pages or so.
    Normal,
}

impl Flush {
    pub(super) fn words(self) -> &'static str {
        match self {
            Flush::Full => "FULL",
            Flush::Normal => "NORMAL",
        }
    }
}

/// Which SQLite it is.
#[must_use]
pub fn library_version() -> &'static str {
    rusqlite::version()
}

/// One way of keeping the records in SQLite.
pub(super) trait Schema: Sized + Send + Sync + 'static {
    /// Pragmas over those that all share.
    const PRAGMAS: &'static str;
    /// Tables and indexes.
    const TABLES: &'static str;
    /// Triggers, made after the tiers are filled.
    const TRIGGERS: &'static str = "";
    /// Whether it keeps tiers.
    const TIERS: bool = true;
    /// Whether a day is kept as its number; else it is kept as text.
    const NUMBERED_DAYS: bool;
    /// The question in SQL, about the worker `:worker`, as of `:now`.
    fn question(question: Question) -> &'static str;
    /// Stores one checkpoint in the transaction that is open.
    fn checkpoint(connection: &Connection, token: i64, step: &Step) -> Result<()>;
    /// What is stored.
    fn tally(connection: &Connection, scale: &Scale) -> Result<Tally> {
        tally::<Self>(connection, scale)
    }
    /// Does what is left before the commit, such as evicting at once what many checkpoints added.
    fn settle(_connection: &Connection) -> Result<()> {
        Ok(())
    }
}

pub(super) fn file(folder: &Path) -> PathBuf {
    folder.join("bench.sqlite")
}

/// The columns of totals.
pub(super) const TOTALS: &str =
    "batches, errors, items, duration_us, min_rate, max_rate, first_at, last_at";

pub(super) fn connect<S: Schema>(folder: &Path, flush: Flush) -> Result<Connection> {
    let connection = Connection::open(file(folder))?;
    connection.busy_timeout(Duration::from_secs(120))?;
    connection.set_prepared_statement_cache_capacity(64);
    connection.execute_batch(&format!(
        "PRAGMA journal_mode = WAL; PRAGMA synchronous = {};",
        flush.words()
    ))?;
    connection.execute_batch(S::PRAGMAS)?;
    Ok(connection)
}

pub(super) fn insert_history(connection: &Connection, step: &Step) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO history (worker, job, range_start, range_end, items, duration_us, finished_at, error) \
             VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        )?
        .execute(params![
            number_of(step.worker),
            number_of(step.job),
            step.from as i64,
            step.to as i64,
            step.items as i64,
            step.duration_us as i64,
            step.now,
            step.error,
        ])?;
    Ok(())
}

/// Moves a job's cursor, if the caller still holds it and the checkpoint is the next one.
pub(super) fn move_cursor(connection: &Connection, token: i64, step: &Step) -> Result<()> {
    let moved = connection
        .prepare_cached(
            "UPDATE jobs SET cursor = ?1, sequence = ?2, expires_at = ?3, checkpoint_at = ?4, \
             batches = batches + 1, items = items + ?5, duration_us = duration_us + ?6, \
             last_error = coalesce(?7, last_error) \
             WHERE id = ?8 AND token = ?9 AND sequence = ?2 - 1 AND cursor = ?10 AND ?1 <= range_end \
             AND status = 'leased'",
        )?
        .execute(params![
            step.to as i64,
            step.sequence as i64,
            step.now + LEASE_SECS as i64 * 1_000_000,
            step.now,
            step.items as i64,
            step.duration_us as i64,
            step.error,
            number_of(step.job),
            token,
            step.from as i64,
        ])?;
    ensure!(moved == 1, "the lease of job {} was lost", step.job);
    Ok(())
}

fn tally<S: Schema>(connection: &Connection, scale: &Scale) -> Result<Tally> {
    let mut tally = Tally {
        history: connection.query_row("SELECT count(*) FROM history", [], |row| row.get(0))?,
        workers: vec![WorkerTally::default(); scale.workers],
        jobs: Vec::new(),
    };
    let mut history =
        connection.prepare("SELECT worker, items, duration_us, finished_at, error FROM history")?;
    let mut rows = history.query([])?;
    while let Some(row) = rows.next()? {
        let totals = batch_totals(
            row.get(1)?,
            row.get(2)?,
            row.get::<_, Option<String>>(4)?.is_some(),
            row.get(3)?,
        )?;
        let worker = &mut tally.workers[index_of(row.get(0)?)];
        worker.ever.merge(&totals);
        if let Some(day) = totals.last_at.map(Timestamp::day)
            && day >= first_recent_day()
        {
            worker.recent.entry(day).or_default().merge(&totals);
        }
    }
    let mut jobs = connection.prepare("SELECT cursor, batches FROM jobs ORDER BY id")?;
    let jobs = jobs.query_map([], |row| Ok((row.get(0)?, row.get(1)?)))?;
    tally.jobs = jobs.collect::<rusqlite::Result<_>>()?;
    let mut daily = connection.prepare(&format!("SELECT {TOTALS}, worker, day FROM daily"))?;
    let mut rows = daily.query([])?;
    while let Some(row) = rows.next()? {
        let worker = &mut tally.workers[index_of(row.get(8)?)];
        worker.days += 1;
        let day = day_of::<S>(row, 9)?;
        if day >= first_recent_day() {
            worker.recent.entry(day).or_default().merge(&totals(row)?);
        }
    }
    let mut monthly = connection.prepare("SELECT worker, count(*) FROM monthly GROUP BY worker")?;
    let mut rows = monthly.query([])?;
    while let Some(row) = rows.next()? {
        tally.workers[index_of(row.get(0)?)].months = row.get(1)?;
    }
    let mut lifetime = connection.prepare(&format!("SELECT {TOTALS}, worker FROM lifetime"))?;
    let mut rows = lifetime.query([])?;
    while let Some(row) = rows.next()? {
        tally.workers[index_of(row.get(8)?)].ever.merge(&totals(row)?);
    }
    Ok(tally)
}

/// The totals that a row starts with.
pub(super) fn totals(row: &Row<'_>) -> Result<Totals> {
    totals_at(row, 0)
}

/// The totals that stand in a row from a column on.
pub(super) fn totals_at(row: &Row<'_>, first: usize) -> Result<Totals> {
    let at = |column| -> Result<Option<Timestamp>> {
        Ok(row.get::<_, Option<i64>>(column)?.map(Timestamp::from_micros).transpose()?)
    };
    let mut totals = Totals::new(row.get(first)?, u128::from(row.get::<_, u64>(first + 2)?))
        .with_errors(row.get(first + 1)?)
        .with_duration(Duration::from_micros(row.get(first + 3)?));
    (totals.min_rate, totals.max_rate) = (row.get(first + 4)?, row.get(first + 5)?);
    (totals.first_at, totals.last_at) = (at(first + 6)?, at(first + 7)?);
    Ok(totals)
}

pub(super) fn day_of<S: Schema>(row: &Row<'_>, column: usize) -> Result<Day> {
    Ok(if S::NUMBERED_DAYS {
        Day::from_number(row.get(column)?)?
    } else {
        row.get::<_, String>(column)?.parse()?
    })
}
