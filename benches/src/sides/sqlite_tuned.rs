//! The same duties as its best user would do them in SQLite: nothing is counted, every statement
//! is prepared, only indexes that a checkpoint does not touch, and what leaves history is read
//! once, added up in memory and written once per row.
//!
//! One worker's newest batches are found by walking history backwards, as milepost does: an index
//! by worker would cost every checkpoint two more pages. `sqlite-triggers` has that index.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use milepost::{Day, Month, Timestamp, Totals};
use rusqlite::{Connection, OptionalExtension, params};

use super::questions::question;
use super::shared::batch_totals;
use super::sqlite::{self, Opened};
use super::sqlite_fill;
use super::sqlite_schema::{Flush, Schema, insert_history, move_cursor};
use crate::dashboard::Question;
use crate::plan::{DAILY_LIMIT, HISTORY_LIMIT, MONTHLY_LIMIT, Scale, Step, Track};

pub(super) struct Tuned;

pub(super) fn fill(folder: &Path, scale: &Scale) -> Result<()> {
    sqlite_fill::fill::<Tuned>(folder, scale)
}

pub(super) fn open(
    folder: &Path,
    scale: &Scale,
    flush: Flush,
    tracks: &[Track],
) -> Result<Opened<Tuned>> {
    sqlite::open(folder, scale, flush, tracks)
}

impl Schema for Tuned {
    const PRAGMAS: &'static str = "
        PRAGMA cache_size = -16384;
        PRAGMA temp_store = MEMORY;
        PRAGMA mmap_size = 268435456;";
    const NUMBERED_DAYS: bool = true;

    const TABLES: &'static str = "
        CREATE TABLE workers (
            id INTEGER PRIMARY KEY,
            name TEXT NOT NULL UNIQUE,
            kind TEXT NOT NULL,
            first_seen INTEGER NOT NULL,
            last_seen INTEGER NOT NULL
        );
        CREATE TABLE jobs (
            id INTEGER PRIMARY KEY,
            prefix BLOB NOT NULL,
            range_start INTEGER NOT NULL,
            range_end INTEGER NOT NULL,
            cursor INTEGER NOT NULL,
            status TEXT NOT NULL,
            worker INTEGER,
            token INTEGER NOT NULL,
            sequence INTEGER NOT NULL,
            expires_at INTEGER,
            priority INTEGER NOT NULL,
            attempts INTEGER NOT NULL,
            batches INTEGER NOT NULL,
            items INTEGER NOT NULL,
            duration_us INTEGER NOT NULL,
            created_at INTEGER NOT NULL,
            leased_at INTEGER,
            leased_cursor INTEGER,
            lease_us INTEGER,
            checkpoint_at INTEGER,
            last_error TEXT
        );
        CREATE UNIQUE INDEX jobs_by_range ON jobs(prefix, range_start);
        CREATE INDEX jobs_waiting ON jobs(priority DESC, id) WHERE status = 'pending';
        CREATE INDEX jobs_leased ON jobs(worker) WHERE status = 'leased';
        CREATE TABLE history (
            id INTEGER PRIMARY KEY,
            worker INTEGER NOT NULL,
            job INTEGER,
            range_start INTEGER NOT NULL,
            range_end INTEGER NOT NULL,
            items INTEGER NOT NULL,
            duration_us INTEGER NOT NULL,
            finished_at INTEGER NOT NULL,
            error TEXT
        );
        CREATE TABLE daily (
            worker INTEGER NOT NULL, day INTEGER NOT NULL,
            batches INTEGER NOT NULL, errors INTEGER NOT NULL, items INTEGER NOT NULL, duration_us INTEGER NOT NULL,
            min_rate REAL, max_rate REAL, first_at INTEGER NOT NULL, last_at INTEGER NOT NULL,
            PRIMARY KEY (worker, day)
        ) WITHOUT ROWID;
        CREATE TABLE monthly (
            worker INTEGER NOT NULL, month INTEGER NOT NULL,
            batches INTEGER NOT NULL, errors INTEGER NOT NULL, items INTEGER NOT NULL, duration_us INTEGER NOT NULL,
            min_rate REAL, max_rate REAL, first_at INTEGER NOT NULL, last_at INTEGER NOT NULL,
            PRIMARY KEY (worker, month)
        ) WITHOUT ROWID;
        CREATE TABLE lifetime (
            worker INTEGER PRIMARY KEY,
            batches INTEGER NOT NULL, errors INTEGER NOT NULL, items INTEGER NOT NULL, duration_us INTEGER NOT NULL,
            min_rate REAL, max_rate REAL, first_at INTEGER NOT NULL, last_at INTEGER NOT NULL
        );";

    fn checkpoint(connection: &Connection, token: i64, step: &Step) -> Result<()> {
        move_cursor(connection, token, step)?;
        insert_history(connection, step)?;
        Ok(())
    }

    fn settle(connection: &Connection) -> Result<()> {
        let newest = connection.last_insert_rowid();
        let mut folds: BTreeMap<(i64, Day), Totals> = BTreeMap::new();
        let mut leaving = connection.prepare_cached(
            "DELETE FROM history WHERE id <= ?1 RETURNING worker, items, duration_us, finished_at, error IS NOT NULL",
        )?;
        let mut rows = leaving.query([newest - HISTORY_LIMIT as i64])?;
        while let Some(row) = rows.next()? {
            let totals = batch_totals(row.get(1)?, row.get(2)?, row.get(4)?, row.get(3)?)?;
            let day = totals.last_at.unwrap_or(Timestamp::EPOCH).day();
            folds.entry((row.get(0)?, day)).or_default().merge(&totals);
        }
        drop(rows);

        let mut months: BTreeMap<(i64, Month), Totals> = BTreeMap::new();
        let mut lifetimes: BTreeMap<i64, Totals> = BTreeMap::new();
        for ((worker, day), totals) in folds {
            add(connection, &DAILY, worker, day.number(), &totals)?;
            months.entry((worker, day.month())).or_default().merge(&totals);
            lifetimes.entry(worker).or_default().merge(&totals);
        }
        for ((worker, month), totals) in months {
            add(connection, &MONTHLY, worker, month.number(), &totals)?;
        }
        for (worker, totals) in lifetimes {
            add(connection, &LIFETIME, worker, 0, &totals)?;
        }
        Ok(())
    }

    fn question(question: Question) -> &'static str {
        question!(
            question,
            "finished_at / 86400000000",
            "CAST(strftime('%Y', day * 86400, 'unixepoch') AS INTEGER) * 12 \
             + CAST(strftime('%m', day * 86400, 'unixepoch') AS INTEGER) - 23641",
            ":now / 86400000000 - 29",
            ":now / 86400000000",
            "id DESC"
        )
    }
}

/// The statements of one tier. Whether a row is new shows when the update finds none, so that
/// nothing needs to be counted; only then is there something to prune.
struct Tier {
    update: &'static str,
    insert: &'static str,
    prune: fn(&Connection, i64) -> Result<()>,
}

macro_rules! update {
    ($table:literal, $key:literal) => {
        concat!(
            "UPDATE ", $table, " SET batches = batches + ?3, errors = errors + ?4, items = items + ?5, \
             duration_us = duration_us + ?6, min_rate = min(min_rate, ?7), max_rate = max(max_rate, ?8), \
             first_at = min(first_at, ?9), last_at = max(last_at, ?10) WHERE ", $key
        )
    };
}

const DAILY: Tier = Tier {
    update: update!("daily", "worker = ?1 AND day = ?2"),
    insert: "INSERT INTO daily VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    prune: |connection, worker| {
        connection
            .prepare_cached(
                "DELETE FROM daily WHERE worker = ?1 AND day <= \
                 (SELECT day FROM daily WHERE worker = ?1 ORDER BY day DESC LIMIT 1 OFFSET ?2)",
            )?
            .execute(params![worker, DAILY_LIMIT as i64])?;
        Ok(())
    },
};

const MONTHLY: Tier = Tier {
    update: update!("monthly", "worker = ?1 AND month = ?2"),
    insert: "INSERT INTO monthly VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    prune: |connection, worker| {
        let leaving: Option<i32> = connection
            .prepare_cached(
                "SELECT month FROM monthly WHERE worker = ?1 ORDER BY month DESC LIMIT 1 OFFSET ?2",
            )?
            .query_row(params![worker, MONTHLY_LIMIT as i64], |row| row.get(0))
            .optional()?;
        if let Some(month) = leaving {
            let last_day = Month::from_number(month)?.last_day().number();
            connection
                .prepare_cached("DELETE FROM daily WHERE worker = ?1 AND day <= ?2")?
                .execute(params![worker, last_day])?;
            connection
                .prepare_cached("DELETE FROM monthly WHERE worker = ?1 AND month <= ?2")?
                .execute(params![worker, month])?;
        }
        Ok(())
    },
};

const LIFETIME: Tier = Tier {
    update: update!("lifetime", "worker = ?1 AND ?2 = 0"),
    insert: "INSERT INTO lifetime SELECT ?1, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10 WHERE ?2 = 0",
    prune: |_, _| Ok(()),
};

fn add(
    connection: &Connection,
    tier: &Tier,
    worker: i64,
    period: i32,
    totals: &Totals,
) -> Result<()> {
    let values = params![
        worker,
        period,
        totals.batches as i64,
        totals.errors as i64,
        totals.items as i64,
        totals.duration().as_micros() as i64,
        totals.min_rate,
        totals.max_rate,
        totals.first_at.map(Timestamp::as_micros),
        totals.last_at.map(Timestamp::as_micros),
    ];
    if connection.prepare_cached(tier.update)?.execute(values)? == 0 {
        connection.prepare_cached(tier.insert)?.execute(values)?;
        (tier.prune)(connection, worker)?;
    }
    Ok(())
}
