//! What must be stored after a run, worked out in memory, and what a side shows instead.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use anyhow::{Context, Result, ensure};
use milepost::{Day, Month, Totals};

use crate::plan::{self, DAILY_LIMIT, HISTORY_LIMIT, MONTHLY_LIMIT, Scale, Step, Track};

/// What a side shows after a run.
#[derive(Debug, Default)]
pub struct Tally {
    /// Rows of history.
    pub history: u64,
    /// By worker.
    pub workers: Vec<WorkerTally>,
    /// By job: its cursor, and how many checkpoints it took.
    pub jobs: Vec<(u64, u64)>,
}

/// What a side shows of one worker.
#[derive(Debug, Clone, Default)]
pub struct WorkerTally {
    /// Everything it ever did: the lifetime row and live history.
    pub ever: Totals,
    /// Its daily rows.
    pub days: u64,
    /// Its monthly rows.
    pub months: u64,
    /// The days since the eve of the start, live history included.
    pub recent: BTreeMap<Day, Totals>,
}

/// The first day that is compared one by one.
#[must_use]
pub fn first_recent_day() -> Day {
    let eve = plan::start().day().number() - 1;
    Day::from_number(eve).unwrap_or_else(|_| plan::start().day())
}

/// Keeps account of everything that was ever recorded.
#[derive(Debug)]
pub struct Ledger {
    workers: Vec<Account>,
    /// Worker and day of live records, oldest first.
    live: VecDeque<(usize, Day)>,
    jobs: Vec<(u64, u64)>,
}

#[derive(Debug, Clone, Default)]
struct Account {
    ever: Totals,
    recent: BTreeMap<Day, Totals>,
    days: BTreeSet<Day>,
    months: BTreeSet<Month>,
}

impl Ledger {
    /// The account of a store as it is before the first checkpoint.
    #[must_use]
    pub fn new(scale: &Scale) -> Ledger {
        let jobs = scale.tracks().iter().map(|track| (track.cursor, 0)).collect();
        let workers = vec![Account::default(); scale.workers];
        let mut ledger = Ledger { workers, live: VecDeque::new(), jobs };
        for (worker, account) in ledger.workers.iter_mut().enumerate() {
            for (day, totals) in scale.past_days(worker) {
                account.add(day, &totals);
                account.days.insert(day);
                account.months.insert(day.month());
            }
            for (month, totals) in scale.past_months(worker) {
                account.ever.merge(&totals);
                account.months.insert(month);
            }
        }
        for step in scale.past_batches() {
            ledger.record(&step);
        }
        ledger
    }

    /// Takes in one checkpoint.
    pub fn add(&mut self, step: &Step) {
        self.jobs[step.job] = (step.to, step.sequence);
        self.record(step);
    }

    /// Takes in all checkpoints between two states of a job, all made at one time.
    pub fn add_between(&mut self, before: Track, after: Track, now: i64) {
        let mut track = before;
        while track.sequence < after.sequence {
            self.add(&track.next(now));
        }
    }

    fn record(&mut self, step: &Step) {
        let day = step.finished_at().day();
        self.workers[step.worker].add(day, &step.totals());
        self.live.push_back((step.worker, day));
        if self.live.len() as u64 > HISTORY_LIMIT
            && let Some((worker, day)) = self.live.pop_front()
        {
            self.workers[worker].archive(day);
        }
    }

    /// Compares what a side shows with what must be there. A side without `tiers` keeps every
    /// record in history, and nothing from before the first checkpoint.
    ///
    /// # Errors
    /// The first difference, in words.
    pub fn check(&self, shown: &Tally, tiers: bool) -> Result<()> {
        let records =
            if tiers { self.live.len() as u64 } else { self.jobs.iter().map(|job| job.1).sum() };
        ensure!(shown.history == records, "history holds {} records, not {records}", shown.history);
        ensure!(
            shown.jobs.len() == self.jobs.len(),
            "{} jobs, not {}",
            shown.jobs.len(),
            self.jobs.len()
        );
        for (job, (shown, expected)) in shown.jobs.iter().zip(&self.jobs).enumerate() {
            ensure!(shown == expected, "job {job} is at {shown:?}, not {expected:?}");
        }
        ensure!(shown.workers.len() == self.workers.len(), "the number of workers differs");
        for (worker, (shown, expected)) in shown.workers.iter().zip(&self.workers).enumerate() {
            expected.check(shown, tiers).with_context(|| format!("worker {worker}"))?;
        }
        Ok(())
    }
}

impl Account {
    fn add(&mut self, day: Day, totals: &Totals) {
        self.ever.merge(totals);
        if day >= first_recent_day() {
            self.recent.entry(day).or_default().merge(totals);
        }
    }

    fn archive(&mut self, day: Day) {
        self.days.insert(day);
        if self.days.len() > DAILY_LIMIT {
            self.days.pop_first();
        }
        self.months.insert(day.month());
        if self.months.len() > MONTHLY_LIMIT
            && let Some(month) = self.months.pop_first()
        {
            self.days.retain(|day| day.month() != month);
        }
    }

    fn check(&self, shown: &WorkerTally, tiers: bool) -> Result<()> {
        ensure!(shown.ever == self.ever, "everything ever: {:?}, not {:?}", shown.ever, self.ever);
        if !tiers {
            return Ok(());
        }
        ensure!(
            shown.days == self.days.len() as u64,
            "{} days, not {}",
            shown.days,
            self.days.len()
        );
        ensure!(
            shown.months == self.months.len() as u64,
            "{} months, not {}",
            shown.months,
            self.months.len()
        );
        ensure!(shown.recent.len() == self.recent.len(), "{} recent days", shown.recent.len());
        for (day, expected) in &self.recent {
            let shown = shown.recent.get(day).context("a recent day is missing")?;
            ensure!(shown == expected, "day {day}: {shown:?}, not {expected:?}");
        }
        Ok(())
    }
}
