//! The questions that are asked of a snapshot of the store.

use std::time::Duration;

use anyhow::{Context, Result, ensure};
use milepost::{Scope, Snapshot};

use super::costs::Growth::{self, Keyed, Whole};
use super::costs::Meter;
use super::store::{JobId, Lease, Measured, Worker};

/// Jobs or findings of one page.
const PAGE: usize = 100;

/// Its words, how its cost may grow, and how it is asked.
pub(super) type Question = (&'static str, Growth, fn(&Snapshot, &Subject) -> Result<()>);

/// What the questions ask about.
pub(super) struct Subject {
    /// A worker who has made checkpoints.
    pub(super) worker: Worker,
    /// A job in the middle of all.
    pub(super) job: JobId,
    /// A prefix of at most 100 jobs.
    pub(super) prefix: &'static str,
    /// The prefix of most jobs.
    pub(super) largest: &'static str,
}

/// Asks each question again and again, with a checkpoint of some lease between, so that no answer
/// can be kept.
pub(super) fn ask(
    questions: &[Question],
    subject: &Subject,
    measured: &Measured,
    leases: &mut [Lease],
    meter: &mut Meter,
) -> Result<()> {
    for (words, growth, ask) in questions {
        meter.rounds(u64::MAX, |round| {
            let lease = round.n as usize % leases.len();
            measured.checkpoint(&mut leases[lease])?;
            let view = measured.snapshot()?;
            round.time(words, *growth, || ask(&view, subject))
        })?;
    }
    Ok(())
}

/// What is asked where the number of jobs grows.
pub(super) const JOBS: &[Question] = &[
    ("job by id", Keyed, |view, subject| found(view.job(subject.job)?)),
    ("page of 100 jobs in the middle", Keyed, |view, subject| {
        filled(view.jobs(Some(subject.job), PAGE)?.len(), PAGE)
    }),
    ("jobs by status", Keyed, |view, _| filled(view.job_counts().all() as usize, 1)),
    ("jobs of a prefix of 100", Keyed, |view, subject| {
        filled(view.jobs_of_prefix(subject.prefix.as_bytes(), None, usize::MAX)?.len(), 1)
    }),
    ("progress of a prefix of 100 jobs", Keyed, |view, subject| {
        found(view.progress(subject.prefix.as_bytes())?)
    }),
    ("progress of a prefix of half the jobs", Whole, progress_of_largest),
    ("progress of all prefixes", Whole, |view, _| {
        filled(view.progress_by_prefix(None, usize::MAX)?.len(), 2)
    }),
    ("prefixes", Whole, |view, _| filled(view.prefixes(None, usize::MAX)?.len(), 2)),
];

/// What is asked where the number of workers grows.
pub(super) const WORKERS: &[Question] = &[
    ("worker by name", Keyed, |view, subject| found(view.worker_named(subject.worker.name())?)),
    ("lifetime of one worker", Keyed, lifetime_of_worker),
    ("days of one worker", Keyed, |view, subject| {
        filled(view.daily(&subject.worker, ..)?.len(), 1)
    }),
    ("newest 50 batches", Keyed, newest),
    ("lifetime of the fleet", Whole, lifetime_of_fleet),
    ("leaderboard of 10", Whole, leaderboard),
    ("fleet by kind", Whole, |view, _| filled(view.fleet_by_kind()?.len(), 1)),
    ("workers", Whole, |view, _| filled(view.workers(None, usize::MAX)?.len(), 1)),
    ("workers active in the last hour", Whole, active),
    ("leases", Whole, |view, _| filled(view.leases(None, usize::MAX)?.len(), 1)),
    ("progress of the prefix of all leases", Whole, progress_of_largest),
];

/// What is asked where live history grows.
pub(super) const HISTORY: &[Question] = &[
    ("lifetime of one worker", Keyed, lifetime_of_worker),
    ("lifetime of the fleet", Keyed, lifetime_of_fleet),
    ("leaderboard of 10", Keyed, leaderboard),
    ("newest 50 batches", Keyed, newest),
    ("newest 20 batches of one worker", Keyed, |view, subject| {
        filled(
            view.find_history(
                &milepost::HistoryFilter::default().worker(subject.worker.id()),
                None,
                20,
            )?
            .len(),
            20,
        )
    }),
    ("newest 20 batches of a job that has none", Keyed, |view, subject| {
        ensure!(
            view.find_history(&milepost::HistoryFilter::default().job(subject.job), None, 20)?
                .is_empty(),
            "the job has a batch"
        );
        Ok(())
    }),
    ("newest 20 errors, of which there are none", Keyed, |view, _| {
        ensure!(
            view.find_history(&milepost::HistoryFilter::default().errors(), None, 20)?.is_empty(),
            "a batch has an error"
        );
        Ok(())
    }),
    ("workers active in the last hour", Whole, active),
    ("rate of the last hour", Whole, |view, _| {
        let since = view.taken_at().saturating_sub(Duration::from_secs(3_600));
        filled(view.finished_since(since)?.workers as usize, 1)
    }),
    ("progress of the prefix of all batches", Whole, progress_of_largest),
];

/// What is asked where findings grow.
pub(super) const FINDINGS: &[Question] = &[
    ("findings of a job of 100", Keyed, |view, subject| {
        filled(view.findings_of(subject.job, None, usize::MAX)?.len(), PAGE)
    }),
    ("page of 100 findings in the middle", Keyed, |view, subject| {
        filled(view.findings(Some((subject.job, b"")), PAGE)?.len(), PAGE)
    }),
];

fn progress_of_largest(view: &Snapshot, subject: &Subject) -> Result<()> {
    found(view.progress(subject.largest.as_bytes())?)
}

fn lifetime_of_worker(view: &Snapshot, subject: &Subject) -> Result<()> {
    filled(view.lifetime(&subject.worker)?.totals.batches as usize, 1)
}

fn lifetime_of_fleet(view: &Snapshot, _: &Subject) -> Result<()> {
    filled(view.lifetime(Scope::Fleet)?.totals.batches as usize, 1)
}

fn leaderboard(view: &Snapshot, _: &Subject) -> Result<()> {
    filled(view.leaderboard(10)?.len(), 1)
}

fn newest(view: &Snapshot, _: &Subject) -> Result<()> {
    filled(view.newest_history(None, 50)?.len(), 50)
}

fn active(view: &Snapshot, _: &Subject) -> Result<()> {
    filled(
        view.active_since(
            view.taken_at().saturating_sub(Duration::from_secs(3_600)),
            None,
            usize::MAX,
        )?
        .len(),
        1,
    )
}

/// What every store is asked last.
pub(super) const ALWAYS: &[Question] = &[
    ("size", Whole, |view, _| filled(view.size()?.tables.len(), 1)),
    ("verify", Whole, |view, _| {
        view.verify()?;
        Ok(())
    }),
];

fn found<T>(answer: Option<T>) -> Result<()> {
    answer.context("a question found nothing")?;
    Ok(())
}

fn filled(length: usize, least: usize) -> Result<()> {
    ensure!(length >= least, "a question found {length} rows, not {least}");
    Ok(())
}
