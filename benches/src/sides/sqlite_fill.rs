//! Fills a store of SQLite: jobs, workers, and tiers at their caps.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::Result;
use milepost::{Month, Timestamp, Totals};
use rusqlite::{Connection, ToSql, params};

use super::shared::number_of;
use super::sqlite_schema::{Flush, Schema, TOTALS, connect, insert_history};
use crate::plan::{self, Scale};

/// Makes the file, and closes it.
pub(super) fn fill<S: Schema>(folder: &Path, scale: &Scale) -> Result<()> {
    let mut connection = connect::<S>(folder, Flush::Normal)?;
    let txn = connection.transaction()?;
    txn.execute_batch(S::TABLES)?;
    for worker in 0..scale.workers {
        txn.prepare_cached("INSERT INTO workers (id, name, kind, first_seen, last_seen) VALUES (?1, ?2, ?3, ?4, ?4)")?
            .execute(params![
                number_of(worker),
                Scale::worker_name(worker),
                Scale::kind(worker),
                plan::start().as_micros()
            ])?;
    }
    if S::TIERS {
        for track in scale.tracks() {
            txn.prepare_cached(
                "INSERT INTO jobs (id, prefix, range_start, range_end, cursor, status, token, sequence, priority, \
                 attempts, batches, items, duration_us, created_at) \
                 VALUES (?1, ?2, ?3, ?4, ?3, 'pending', 0, 0, 0, 0, 0, 0, 0, ?5)",
            )?
            .execute(params![
                number_of(track.job),
                plan::PREFIX,
                track.range().start as i64,
                track.range().end as i64,
                plan::start().as_micros()
            ])?;
        }
        fill_tiers::<S>(&txn, scale)?;
    }
    txn.commit()?;
    connection.execute_batch(S::TRIGGERS)?;
    connection.execute_batch("ANALYZE; PRAGMA wal_checkpoint(TRUNCATE);")?;
    Ok(())
}

fn fill_tiers<S: Schema>(txn: &Connection, scale: &Scale) -> Result<()> {
    let insert = |tier: &str,
                  worker: usize,
                  period: Option<&dyn ToSql>,
                  totals: &Totals|
     -> Result<()> {
        let (column, place) = match tier {
            "daily" => ("day, ", "?2, "),
            "monthly" => ("month, ", "?2, "),
            _ => ("", ""),
        };
        let sql = format!(
            "INSERT INTO {tier} (worker, {column}{TOTALS}) VALUES (?1, {place}?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)"
        );
        txn.prepare_cached(&sql)?.execute(params![
            number_of(worker),
            period,
            totals.batches as i64,
            totals.errors as i64,
            totals.items as i64,
            totals.duration().as_micros() as i64,
            totals.min_rate,
            totals.max_rate,
            totals.first_at.map(Timestamp::as_micros),
            totals.last_at.map(Timestamp::as_micros),
        ])?;
        Ok(())
    };
    for worker in 0..scale.workers {
        let mut months: BTreeMap<Month, Totals> = scale.past_months(worker).into_iter().collect();
        for (day, totals) in scale.past_days(worker) {
            let text = day.to_string();
            let period: &dyn ToSql = if S::NUMBERED_DAYS { &day.number() } else { &text };
            insert("daily", worker, Some(period), &totals)?;
            months.entry(day.month()).or_default().merge(&totals);
        }
        for (month, totals) in &months {
            let text = month.to_string();
            let period: &dyn ToSql = if S::NUMBERED_DAYS { &month.number() } else { &text };
            insert("monthly", worker, Some(period), totals)?;
        }
        if !months.is_empty() {
            insert("lifetime", worker, None, &months.values().copied().collect())?;
        }
    }
    for step in scale.past_batches() {
        insert_history(txn, &step)?;
    }
    Ok(())
}
