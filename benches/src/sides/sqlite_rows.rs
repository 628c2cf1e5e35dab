//! The old way: a row for every batch, for ever. For size and growth.

use std::path::Path;

use anyhow::Result;
use rusqlite::{Connection, params};

use super::shared::{batch_totals, index_of, number_of};
use super::sqlite::{self, Opened};
use super::sqlite_fill;
use super::sqlite_schema::{Flush, Schema};
use crate::dashboard::Question;
use crate::ledger::{Tally, WorkerTally};
use crate::plan::{self, LEASE_SECS, Scale, Step, Track};

pub(super) struct Rows;

pub(super) fn fill(folder: &Path, scale: &Scale) -> Result<()> {
    sqlite_fill::fill::<Rows>(folder, scale)
}

pub(super) fn open(
    folder: &Path,
    scale: &Scale,
    flush: Flush,
    tracks: &[Track],
) -> Result<Opened<Rows>> {
    sqlite::open(folder, scale, flush, tracks)
}

impl Schema for Rows {
    const PRAGMAS: &'static str = "";
    const TIERS: bool = false;
    const NUMBERED_DAYS: bool = false;

    const TABLES: &'static str = "
        CREATE TABLE workers (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            name TEXT NOT NULL UNIQUE,
            kind TEXT NOT NULL,
            first_seen INTEGER NOT NULL,
            last_seen INTEGER NOT NULL
        );
        CREATE TABLE jobs (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            worker INTEGER,
            prefix BLOB NOT NULL,
            range_start INTEGER NOT NULL,
            range_end INTEGER NOT NULL,
            cursor INTEGER NOT NULL,
            status TEXT NOT NULL,
            items INTEGER NOT NULL,
            duration_us INTEGER NOT NULL,
            error TEXT,
            expires_at INTEGER,
            created_at INTEGER NOT NULL,
            completed_at INTEGER
        );
        CREATE INDEX jobs_by_status ON jobs(status, expires_at);
        CREATE INDEX jobs_by_worker ON jobs(worker);
        CREATE INDEX jobs_by_prefix ON jobs(prefix, range_end);
        CREATE INDEX jobs_by_creation ON jobs(created_at);";

    /// A batch is stored once, as completed. (Its users insert it as running first; the row that
    /// stays is the same.)
    fn checkpoint(connection: &Connection, _token: i64, step: &Step) -> Result<()> {
        connection
            .prepare_cached(
                "INSERT INTO jobs (worker, prefix, range_start, range_end, cursor, status, items, duration_us, \
                 error, expires_at, created_at, completed_at) \
                 VALUES (?1, ?2, ?3, ?4, ?4, 'completed', ?5, ?6, ?7, ?8, ?9, ?10)",
            )?
            .execute(params![
                number_of(step.worker),
                plan::PREFIX,
                step.from as i64,
                step.to as i64,
                step.items as i64,
                step.duration_us as i64,
                step.error,
                step.now - step.duration_us as i64 + LEASE_SECS as i64 * 1_000_000,
                step.now - step.duration_us as i64,
                step.now,
            ])?;
        Ok(())
    }

    fn tally(connection: &Connection, scale: &Scale) -> Result<Tally> {
        let mut tally = Tally {
            history: 0,
            workers: vec![WorkerTally::default(); scale.workers],
            jobs: scale.tracks().iter().map(|track| (track.cursor, 0)).collect(),
        };
        let mut batches =
            connection.prepare("SELECT worker, range_start, range_end, items, duration_us, error, completed_at FROM jobs")?;
        let mut rows = batches.query([])?;
        while let Some(row) = rows.next()? {
            let failed = row.get::<_, Option<String>>(5)?.is_some();
            let totals = batch_totals(row.get(3)?, row.get(4)?, failed, row.get(6)?)?;
            tally.history += 1;
            tally.workers[index_of(row.get(0)?)].ever.merge(&totals);
            let (cursor, count) = &mut tally.jobs[plan::job_at(row.get(1)?)];
            *cursor = row.get::<_, u64>(2)?.max(*cursor);
            *count += 1;
        }
        Ok(tally)
    }

    fn question(_: Question) -> &'static str {
        "SELECT 'no tiers, no dashboard'"
    }
}
