//! The questions of a dashboard, asked of SQLite.

use anyhow::{Context, Result};
use milepost::{Month, Totals};
use rusqlite::{Connection, ToSql};

use super::shared::{index_of, number_of};
use super::sqlite_schema::{Schema, day_of, totals, totals_at};
use crate::dashboard::{Answer, Question, Record};

/// Answers a question about the first worker, or all, as of a time.
pub(super) fn ask<S: Schema>(
    connection: &Connection,
    now: i64,
    question: Question,
) -> Result<Answer> {
    let mut statement = connection.prepare_cached(S::question(question))?;
    let values: [(&str, &dyn ToSql); 3] =
        [(":worker", &number_of(0)), (":job", &number_of(0)), (":now", &now)];
    let used: Vec<(&str, &dyn ToSql)> = values
        .into_iter()
        .filter(|(name, _)| statement.parameter_index(name).is_ok_and(|at| at.is_some()))
        .collect();
    let mut rows = statement.query(used.as_slice())?;
    let mut periods = Vec::new();
    let mut named = Vec::new();
    let mut batches = Vec::new();
    let mut active = Vec::new();
    let mut counts = [0; 5];
    let mut standings = Vec::new();
    let mut jobs = Vec::new();
    while let Some(row) = rows.next()? {
        match question {
            Question::WorkerLifetime | Question::FleetLifetime => periods.push((0, totals(row)?)),
            Question::WorkerDays
            | Question::FleetDays
            | Question::FleetLast30Days
            | Question::FleetBestDay => periods.push((day_of::<S>(row, 8)?.number(), totals(row)?)),
            Question::WorkerMonths | Question::FleetMonths | Question::FleetBestMonth => {
                let month = if S::NUMBERED_DAYS {
                    row.get(8)?
                } else {
                    row.get::<_, String>(8)?.parse::<Month>()?.number()
                };
                periods.push((month, totals(row)?));
            }
            Question::Leaderboard | Question::Kinds => named.push((row.get(8)?, totals(row)?)),
            Question::WorkerNewest
            | Question::Newest
            | Question::NewestErrors
            | Question::NewestOfJob => batches.push(Record {
                worker: index_of(row.get(0)?),
                job: index_of(row.get(1)?),
                from: row.get(2)?,
                to: row.get(3)?,
                items: row.get(4)?,
                duration_us: row.get(5)?,
                finished_at: row.get(6)?,
                error: row.get(7)?,
            }),
            Question::Active => {
                let recent = if row.get::<_, Option<i64>>(0)?.is_some() {
                    totals(row)?
                } else {
                    Totals::default()
                };
                active.push((index_of(row.get(8)?), recent, row.get(9)?));
            }
            Question::JobCounts => {
                let names = ["pending", "leased", "completed", "failed", "cancelled"];
                let status: String = row.get(0)?;
                let at =
                    names.iter().position(|name| *name == status).context("an unknown status")?;
                counts[at] = row.get(1)?;
            }
            Question::FleetRate => periods.push((row.get(8)?, totals(row)?)),
            Question::Slowed => {
                standings.push((index_of(row.get(16)?), totals(row)?, totals_at(row, 8)?));
            }
            Question::OneJob | Question::JobsOfPrefix | Question::Leases => {
                jobs.push((index_of(row.get(0)?), row.get(1)?, row.get(2)?, row.get(3)?));
            }
            Question::Rows => {
                let column = |column: usize| row.get(column);
                let [a, b, c, d, e, f] = [0, 1, 2, 3, 4, 5].map(column);
                return Ok(Answer::Rows([a?, b?, c?, d?, e?, f?]));
            }
            Question::Progress => {
                let rate: Option<f64> = row.get(2)?;
                return Ok(Answer::Progress(row.get(0)?, row.get(1)?, rate.unwrap_or_default()));
            }
        }
    }
    Ok(match question {
        Question::Leaderboard | Question::Kinds => Answer::Named(named),
        Question::WorkerNewest
        | Question::Newest
        | Question::NewestErrors
        | Question::NewestOfJob => Answer::Batches(batches),
        Question::Slowed => Answer::Standings(standings),
        Question::OneJob | Question::JobsOfPrefix | Question::Leases => Answer::Jobs(jobs),
        Question::Active => Answer::Active(active),
        Question::JobCounts => Answer::Counts(counts),
        _ => Answer::Periods(periods),
    })
}
