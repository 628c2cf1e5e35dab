//! The usual way: triggers that count rows on every insert, and prune.
//!
//! Written as its users write it: the trigger asks whether the count is over the cap, then deletes
//! the oldest by as many as it is over, counting again, so that it also copes with a lowered cap.
//! Tables have a number of their own beside their natural key, history an index for each thing
//! dashboards look for. Milder than what one finds in the wild: workers and times are kept as
//! numbers, and no average is kept that would have to be worked out at each fold.

use std::path::Path;

use anyhow::Result;
use rusqlite::Connection;

use super::questions::question;
use super::sqlite::{self, Opened};
use super::sqlite_fill;
use super::sqlite_schema::{Flush, Schema, insert_history, move_cursor};
use crate::dashboard::Question;
use crate::plan::{Scale, Step, Track};

pub(super) struct Triggers;

pub(super) fn fill(folder: &Path, scale: &Scale) -> Result<()> {
    sqlite_fill::fill::<Triggers>(folder, scale)
}

pub(super) fn open(
    folder: &Path,
    scale: &Scale,
    flush: Flush,
    tracks: &[Track],
) -> Result<Opened<Triggers>> {
    sqlite::open(folder, scale, flush, tracks)
}

impl Schema for Triggers {
    const PRAGMAS: &'static str = "PRAGMA foreign_keys = ON;";
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
            prefix BLOB NOT NULL,
            range_start INTEGER NOT NULL,
            range_end INTEGER NOT NULL,
            cursor INTEGER NOT NULL,
            status TEXT NOT NULL,
            worker INTEGER REFERENCES workers(id),
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
        CREATE INDEX jobs_by_status ON jobs(status, expires_at);
        CREATE INDEX jobs_by_worker ON jobs(worker);
        CREATE INDEX jobs_by_prefix ON jobs(prefix, range_start);
        CREATE TABLE history (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            worker INTEGER NOT NULL,
            job INTEGER,
            range_start INTEGER NOT NULL,
            range_end INTEGER NOT NULL,
            items INTEGER NOT NULL,
            duration_us INTEGER NOT NULL,
            finished_at INTEGER NOT NULL,
            error TEXT
        );
        CREATE INDEX history_by_worker ON history(worker, finished_at);
        CREATE INDEX history_by_time ON history(finished_at);
        CREATE TABLE daily (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            worker INTEGER NOT NULL, day TEXT NOT NULL,
            batches INTEGER NOT NULL, errors INTEGER NOT NULL, items INTEGER NOT NULL, duration_us INTEGER NOT NULL,
            min_rate REAL, max_rate REAL, first_at INTEGER NOT NULL, last_at INTEGER NOT NULL,
            UNIQUE (worker, day)
        );
        CREATE TABLE monthly (
            id INTEGER PRIMARY KEY AUTOINCREMENT,
            worker INTEGER NOT NULL, month TEXT NOT NULL,
            batches INTEGER NOT NULL, errors INTEGER NOT NULL, items INTEGER NOT NULL, duration_us INTEGER NOT NULL,
            min_rate REAL, max_rate REAL, first_at INTEGER NOT NULL, last_at INTEGER NOT NULL,
            UNIQUE (worker, month)
        );
        CREATE TABLE lifetime (
            worker INTEGER PRIMARY KEY,
            batches INTEGER NOT NULL, errors INTEGER NOT NULL, items INTEGER NOT NULL, duration_us INTEGER NOT NULL,
            min_rate REAL, max_rate REAL, first_at INTEGER NOT NULL, last_at INTEGER NOT NULL
        );";

    const TRIGGERS: &'static str = "
        CREATE TRIGGER history_prune AFTER INSERT ON history
        WHEN (SELECT count(*) FROM history) > 10000
        BEGIN
            DELETE FROM history WHERE id IN
                (SELECT id FROM history ORDER BY id LIMIT (SELECT count(*) - 10000 FROM history));
        END;

        CREATE TRIGGER history_fold BEFORE DELETE ON history
        BEGIN
            INSERT INTO daily (worker, day, batches, errors, items, duration_us, min_rate, max_rate, first_at, last_at)
            VALUES (OLD.worker, date(OLD.finished_at / 1000000, 'unixepoch'), 1, OLD.error IS NOT NULL, OLD.items,
                    OLD.duration_us, OLD.items * 1000000.0 / OLD.duration_us, OLD.items * 1000000.0 / OLD.duration_us,
                    OLD.finished_at, OLD.finished_at)
            ON CONFLICT (worker, day) DO UPDATE SET
                batches = batches + excluded.batches, errors = errors + excluded.errors,
                items = items + excluded.items, duration_us = duration_us + excluded.duration_us,
                min_rate = min(min_rate, excluded.min_rate), max_rate = max(max_rate, excluded.max_rate),
                first_at = min(first_at, excluded.first_at), last_at = max(last_at, excluded.last_at);
            INSERT INTO monthly (worker, month, batches, errors, items, duration_us, min_rate, max_rate, first_at, last_at)
            VALUES (OLD.worker, strftime('%Y-%m', OLD.finished_at / 1000000, 'unixepoch'), 1, OLD.error IS NOT NULL,
                    OLD.items, OLD.duration_us, OLD.items * 1000000.0 / OLD.duration_us,
                    OLD.items * 1000000.0 / OLD.duration_us, OLD.finished_at, OLD.finished_at)
            ON CONFLICT (worker, month) DO UPDATE SET
                batches = batches + excluded.batches, errors = errors + excluded.errors,
                items = items + excluded.items, duration_us = duration_us + excluded.duration_us,
                min_rate = min(min_rate, excluded.min_rate), max_rate = max(max_rate, excluded.max_rate),
                first_at = min(first_at, excluded.first_at), last_at = max(last_at, excluded.last_at);
            INSERT INTO lifetime (worker, batches, errors, items, duration_us, min_rate, max_rate, first_at, last_at)
            VALUES (OLD.worker, 1, OLD.error IS NOT NULL, OLD.items, OLD.duration_us,
                    OLD.items * 1000000.0 / OLD.duration_us, OLD.items * 1000000.0 / OLD.duration_us,
                    OLD.finished_at, OLD.finished_at)
            ON CONFLICT (worker) DO UPDATE SET
                batches = batches + excluded.batches, errors = errors + excluded.errors,
                items = items + excluded.items, duration_us = duration_us + excluded.duration_us,
                min_rate = min(min_rate, excluded.min_rate), max_rate = max(max_rate, excluded.max_rate),
                first_at = min(first_at, excluded.first_at), last_at = max(last_at, excluded.last_at);
        END;

        CREATE TRIGGER daily_prune AFTER INSERT ON daily
        WHEN (SELECT count(*) FROM daily WHERE worker = NEW.worker) > 1000
        BEGIN
            DELETE FROM daily WHERE id IN
                (SELECT id FROM daily WHERE worker = NEW.worker ORDER BY day
                 LIMIT (SELECT count(*) - 1000 FROM daily WHERE worker = NEW.worker));
        END;

        CREATE TRIGGER monthly_prune AFTER INSERT ON monthly
        WHEN (SELECT count(*) FROM monthly WHERE worker = NEW.worker) > 1000
        BEGIN
            DELETE FROM daily WHERE worker = NEW.worker
                AND day < (SELECT min(month) FROM monthly WHERE worker = NEW.worker) || '-32';
            DELETE FROM monthly WHERE id IN
                (SELECT id FROM monthly WHERE worker = NEW.worker ORDER BY month
                 LIMIT (SELECT count(*) - 1000 FROM monthly WHERE worker = NEW.worker));
        END;";

    fn checkpoint(connection: &Connection, token: i64, step: &Step) -> Result<()> {
        move_cursor(connection, token, step)?;
        insert_history(connection, step)?;
        Ok(())
    }

    fn question(question: Question) -> &'static str {
        question!(
            question,
            "date(finished_at / 1000000, 'unixepoch')",
            "substr(day, 1, 7)",
            "date(:now / 1000000, 'unixepoch', '-29 days')",
            "date(:now / 1000000, 'unixepoch')",
            "finished_at DESC, id DESC"
        )
    }
}
