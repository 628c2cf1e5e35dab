//! The questions of a dashboard, asked of milepost.

use std::time::Duration;

use anyhow::{Context, Result};
use milepost::{
    ActiveWorker, Day, DayStats, HistoryRecord, Job, MonthStats, Scope, Snapshot, Standing,
};

use super::shared::{index_of, job_id, worker_id};
use crate::dashboard::{Answer, Question, Record};
use crate::plan;

/// Answers a question about the first worker or job, or all.
pub(super) fn ask(view: &Snapshot, question: Question) -> Result<Answer> {
    let first = worker_id(0);
    let hour_ago = view.taken_at().saturating_sub(Duration::from_secs(3_600));
    Ok(match question {
        Question::WorkerLifetime => Answer::Periods(vec![(0, view.lifetime(first)?.totals)]),
        Question::WorkerDays => days(view.daily(first, ..)?),
        Question::WorkerMonths => months(view.monthly(first, ..)?),
        Question::WorkerNewest => records(view.find_history(
            &milepost::HistoryFilter::default().worker(first),
            None,
            50,
        )?),
        Question::FleetLifetime => Answer::Periods(vec![(0, view.lifetime(Scope::Fleet)?.totals)]),
        Question::FleetDays => days(view.daily(Scope::Fleet, ..)?),
        Question::FleetLast30Days => {
            let since = Day::from_number(view.taken_at().day().number() - 29)?;
            days(view.daily(Scope::Fleet, since..)?)
        }
        Question::FleetMonths => months(view.monthly(Scope::Fleet, ..)?),
        Question::FleetBestDay => days(view.best_day(Scope::Fleet)?.into_iter().collect()),
        Question::Leaderboard => Answer::Named(
            view.leaderboard(20)?.into_iter().map(|row| (row.name, row.totals)).collect(),
        ),
        Question::Kinds => Answer::Named(
            view.fleet_by_kind()?.into_iter().map(|row| (row.kind, row.totals)).collect(),
        ),
        Question::Newest => records(view.newest_history(None, 50)?),
        Question::NewestErrors => {
            records(view.find_history(&milepost::HistoryFilter::default().errors(), None, 20)?)
        }
        Question::Active => {
            let active = view.active_since(hour_ago, None, usize::MAX)?;
            let row =
                |row: ActiveWorker| (index_of(row.worker.get().into()), row.recent, row.leases);
            Answer::Active(active.into_iter().map(row).collect())
        }
        Question::JobCounts => {
            let counts = view.job_counts();
            Answer::Counts([
                counts.pending,
                counts.leased,
                counts.completed,
                counts.failed,
                counts.cancelled,
            ])
        }
        Question::Progress => {
            let progress = view.progress(plan::PREFIX)?.context("the prefix has jobs")?;
            Answer::Progress(
                progress.done as u64,
                progress.total as u64,
                progress.rate.per_second().unwrap_or_default(),
            )
        }
        Question::FleetBestMonth => months(view.best_month(Scope::Fleet)?.into_iter().collect()),
        Question::FleetRate => {
            let fleet = view.finished_since(hour_ago)?;
            Answer::Periods(vec![(fleet.workers as i32, fleet.totals)])
        }
        Question::Slowed => {
            let row = |row: Standing| (index_of(row.worker.get().into()), row.today, row.lifetime);
            Answer::Standings(view.slowed(0.0, usize::MAX)?.into_iter().map(row).collect())
        }
        Question::NewestOfJob => records(view.find_history(
            &milepost::HistoryFilter::default().job(job_id(0)),
            None,
            50,
        )?),
        Question::OneJob => jobs(view.job(job_id(0))?.into_iter().collect()),
        Question::JobsOfPrefix => jobs(view.jobs_of_prefix(plan::PREFIX, None, usize::MAX)?),
        Question::Leases => jobs(view.leases(None, usize::MAX)?),
        Question::Rows => {
            let tables = view.size()?.tables;
            let names = ["history", "daily", "monthly", "lifetime", "jobs", "workers"];
            Answer::Rows(names.map(|name| tables[name].rows))
        }
    })
}

fn jobs(jobs: Vec<Job>) -> Answer {
    let row = |job: Job| (index_of(job.id.get() as i64), job.cursor, job.batches, job.items as u64);
    Answer::Jobs(jobs.into_iter().map(row).collect())
}

fn days(days: Vec<DayStats>) -> Answer {
    Answer::Periods(days.into_iter().map(|day| (day.day.number(), day.totals)).collect())
}

fn months(months: Vec<MonthStats>) -> Answer {
    Answer::Periods(months.into_iter().map(|month| (month.month.number(), month.totals)).collect())
}

fn records(records: Vec<HistoryRecord>) -> Answer {
    let record = |HistoryRecord { batch, .. }: HistoryRecord| Record {
        worker: index_of(batch.worker.get().into()),
        job: index_of(batch.job.map_or(0, |job| job.get() as i64)),
        from: batch.start,
        to: batch.end,
        items: batch.items,
        duration_us: batch.duration.as_micros() as u64,
        finished_at: batch.finished_at.as_micros(),
        error: batch.error,
    };
    Answer::Batches(records.into_iter().map(record).collect())
}
