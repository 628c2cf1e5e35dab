//! The work, as data: who checkpoints what and when, and what the tiers hold beforehand.
//!
//! Everything follows from numbers of jobs and checkpoints, so every side is given the same.

use std::time::Duration;

use milepost::{Day, Month, Timestamp, Totals};
use serde::{Deserialize, Serialize};

/// The caps of every side: milepost's defaults.
pub const HISTORY_LIMIT: u64 = 10_000;
/// Daily rows kept of each worker.
pub const DAILY_LIMIT: usize = 1_000;
/// Monthly rows kept of each worker.
pub const MONTHLY_LIMIT: usize = 1_000;
/// The prefix of all jobs.
pub const PREFIX: &[u8] = b"bench";
/// How long a lease lasts: longer than any run, in simulated time.
pub const LEASE_SECS: u64 = 365 * 86_400;
/// Noon of 2026-03-02 in UTC, in seconds: when measuring starts.
const START_SECS: i64 = 1_772_452_800;
/// Positions of one job; the ranges of jobs lie this far apart.
const JOB_SPAN: u64 = 1 << 40;
/// Positions of one batch.
const BATCH: u64 = 1_000;
/// A worker makes a checkpoint this often, in simulated time: ten of them make a million in 30 days.
const MICROS_PER_WORKER: i64 = 25_920_000;
/// Batches that a worker did on a day before the start.
const BATCHES_A_DAY: u64 = 3_333;

/// How many workers there are, and how much the tiers hold before the first checkpoint.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Scale {
    /// Workers.
    pub workers: usize,
    /// Jobs that are checkpointed one at a time, and as many again that are checkpointed together.
    pub jobs: usize,
    /// Days of each worker.
    pub days: usize,
    /// Months of each worker, those of its days included.
    pub months: usize,
    /// Records in history.
    pub history: u64,
}

impl Scale {
    /// Ten workers with every tier at its cap.
    pub const TEN: Scale = Scale {
        workers: 10,
        jobs: 64,
        days: DAILY_LIMIT,
        months: MONTHLY_LIMIT,
        history: HISTORY_LIMIT,
    };
    /// A thousand workers with history at its cap, and a month of days.
    pub const THOUSAND: Scale =
        Scale { workers: 1_000, jobs: 1_000, days: 30, months: 12, history: HISTORY_LIMIT };
    /// Ten workers that begin with an empty store.
    pub const EMPTY: Scale = Scale { workers: 10, jobs: 64, days: 0, months: 0, history: 0 };

    /// Simulated time between two checkpoints of the fleet.
    #[must_use]
    pub fn interval(&self) -> i64 {
        MICROS_PER_WORKER / self.workers as i64
    }

    /// Which jobs the `n`th checkpoint of one caller is of: those of all workers in turn.
    #[must_use]
    pub fn turn(&self, n: u64) -> usize {
        (n % self.workers.min(self.jobs) as u64) as usize
    }

    /// The name of a worker.
    #[must_use]
    pub fn worker_name(worker: usize) -> String {
        format!("worker-{worker:04}")
    }

    /// The kind of a worker.
    #[must_use]
    pub fn kind(worker: usize) -> &'static str {
        ["cloud", "gpu", "pc"][worker % 3]
    }

    /// All jobs: the first half for checkpoints one at a time, the second for those together.
    #[must_use]
    pub fn tracks(&self) -> Vec<Track> {
        (0..2 * self.jobs).map(|job| Track::new(job, job % self.jobs % self.workers)).collect()
    }

    /// The days that the daily tier holds beforehand, oldest first.
    #[must_use]
    pub fn past_days(&self, worker: usize) -> Vec<(Day, Totals)> {
        let today = start().day().number();
        let days =
            (0..self.days as i32).rev().map_while(|back| Day::from_number(today - back).ok());
        days.map(|day| (day, past_totals(worker, day.number(), day.start(), BATCHES_A_DAY)))
            .collect()
    }

    /// The months that the monthly tier holds beforehand, oldest first, without those of the days.
    #[must_use]
    pub fn past_months(&self, worker: usize) -> Vec<(Month, Totals)> {
        let this = start().day().month().number();
        let first = start().day().number() - self.days as i32 + 1;
        let with_days = Day::from_number(first).map_or(0, |day| this - day.month().number() + 1);
        let months = (with_days..self.months as i32)
            .rev()
            .map_while(|back| Month::from_number(this - back).ok());
        months
            .map(|month| {
                let begins = month.first_day().start();
                (month, past_totals(worker, month.number(), begins, 28 * BATCHES_A_DAY))
            })
            .collect()
    }

    /// The batches that history holds beforehand, oldest first.
    pub fn past_batches(&self) -> impl Iterator<Item = Step> {
        let scale = *self;
        (0..scale.history).map(move |n| {
            let job = n as usize % scale.jobs;
            let mut track = Track::new(job, job % scale.workers);
            track.sequence = n / scale.jobs as u64;
            track.cursor += track.sequence * BATCH;
            track.next(start().as_micros() - (scale.history - n) as i64 * scale.interval())
        })
    }
}

/// When measuring starts.
#[must_use]
pub fn start() -> Timestamp {
    Timestamp::from_secs(START_SECS)
}

/// The job that a position belongs to.
#[must_use]
pub fn job_at(position: u64) -> usize {
    (position / JOB_SPAN) as usize
}

/// Totals of `batches` batches that were done within a period before the start.
fn past_totals(worker: usize, period: i32, begins: Timestamp, batches: u64) -> Totals {
    let noise = mix((worker as u64) << 32 ^ period as u32 as u64);
    let items = batches * (BATCH - 10) + noise % (batches * 10);
    let duration_us = batches * 25_000_000 + noise % (batches * 900_000);
    let mean = items as f64 * 1e6 / duration_us as f64;
    let first = begins.saturating_add(Duration::from_micros(noise % 1_000_000));
    Totals::new(batches, items.into())
        .with_errors(batches / 50)
        .with_duration(Duration::from_micros(duration_us))
        .with_rates(mean * 0.97, mean * 1.03)
        .with_times(first, first.saturating_add(Duration::from_secs(86_000)))
}

/// One checkpoint: what every side is given to store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Step {
    /// Which job.
    pub job: usize,
    /// Who holds it.
    pub worker: usize,
    /// The how manieth checkpoint of the job it is, from 1.
    pub sequence: u64,
    /// First position of the batch.
    pub from: u64,
    /// One past its last position.
    pub to: u64,
    /// Items handled.
    pub items: u64,
    /// Time it took, in microseconds.
    pub duration_us: u64,
    /// What went wrong, if anything did.
    pub error: Option<&'static str>,
    /// When it was finished, in microseconds since 1970.
    pub now: i64,
}

impl Step {
    /// What it adds to the tiers.
    #[must_use]
    pub fn totals(&self) -> Totals {
        let rate = self.items as f64 * 1e6 / self.duration_us as f64;
        let at = self.finished_at();
        Totals::new(1, self.items.into())
            .with_errors(self.error.is_some().into())
            .with_duration(Duration::from_micros(self.duration_us))
            .with_rates(rate, rate)
            .with_times(at, at)
    }

    /// When it was finished.
    #[must_use]
    pub fn finished_at(&self) -> Timestamp {
        Timestamp::from_micros(self.now).unwrap_or(Timestamp::EPOCH)
    }
}

/// A job and how far it got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Track {
    /// Which job.
    pub job: usize,
    /// Who holds it.
    pub worker: usize,
    /// How many checkpoints it has had.
    pub sequence: u64,
    /// The next position that is not done.
    pub cursor: u64,
}

impl Track {
    /// A job before its first checkpoint.
    #[must_use]
    pub fn new(job: usize, worker: usize) -> Track {
        Track { job, worker, sequence: 0, cursor: job as u64 * JOB_SPAN }
    }

    /// All positions of the job.
    #[must_use]
    pub fn range(&self) -> std::ops::Range<u64> {
        let start = self.job as u64 * JOB_SPAN;
        start..start + JOB_SPAN
    }

    /// The next checkpoint of the job, made at a time in microseconds since 1970.
    #[must_use]
    pub fn next(&mut self, now: i64) -> Step {
        self.sequence += 1;
        let from = self.cursor;
        self.cursor += BATCH;
        let noise = mix((self.job as u64) << 40 ^ self.sequence);
        Step {
            job: self.job,
            worker: self.worker,
            sequence: self.sequence,
            from,
            to: self.cursor,
            items: BATCH - 10 + noise % 11,
            duration_us: 25_000_000 + (noise >> 8) % 900_000,
            error: (noise >> 32).is_multiple_of(50).then_some("timed out after 3 tries"),
            now,
        }
    }
}

/// Scatters a number over all others (splitmix64).
fn mix(number: u64) -> u64 {
    let mut z = number.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}
