//! How far the jobs of a prefix are, and when they will be done.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::time::Duration;

use serde::Serialize;

use super::{Job, JobCounts, Snapshot, rows};
use crate::error::Result;
use crate::schema::rows::HistoryRow;
use crate::schema::tables::ALL;
use crate::time::Timestamp;
use crate::types::{JobId, JobStatus, Prefix, WorkerId};

/// How far the jobs of one prefix are.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Progress {
    /// The prefix.
    pub prefix: Prefix,
    /// Its jobs by status.
    pub jobs: JobCounts,
    /// Positions done, over all its jobs.
    pub done: u128,
    /// Positions, over all its jobs, those that failed or were cancelled included.
    pub total: u128,
    /// The share of the positions that is done, from 0 to 1.
    pub share: f64,
    /// Positions left in jobs that wait or are held: what is still going to be done.
    pub open: u128,
    /// How many workers hold one of its jobs.
    pub workers: u64,
    /// When one of its cursors last moved.
    pub last_activity: Option<Timestamp>,
    /// Positions per second of time on the wall, over the last hour of live history up to its
    /// newest batch; `None` without live history that took time.
    pub rate: Option<f64>,
    /// When the open positions will be done at that rate. Where nothing is open that is the time
    /// of the snapshot; where something is open but there is no rate, `None`.
    pub eta: Option<Timestamp>,
}

/// How far back from its newest batch the rate of a prefix looks.
const RATE_WINDOW: Duration = Duration::from_secs(3600);

impl Snapshot {
    /// How far the jobs of a prefix are; `None` if it has none.
    ///
    /// # Errors
    /// What the storage meets.
    pub fn progress(&self, prefix: &[u8]) -> Result<Option<Progress>> {
        let jobs = self.jobs_of_prefix(prefix, None, usize::MAX)?;
        if jobs.is_empty() {
            return Ok(None);
        }
        let ids: HashSet<JobId> = jobs.iter().map(|job| job.id).collect();
        let mut spans = self.live_spans(|job| ids.contains(&job))?;
        let mut sum = Sum::default();
        for job in &jobs {
            sum.add(job, spans.remove(&job.id).unwrap_or_default());
        }
        Ok(Some(sum.progress(Prefix(prefix.to_vec()), self.taken_at())))
    }

    /// How far the jobs of each prefix are, in the order of the prefixes' bytes.
    ///
    /// # Errors
    /// What the storage meets.
    pub fn progress_all(&self) -> Result<Vec<Progress>> {
        let mut spans = self.live_spans(|_| true)?;
        let mut sums: BTreeMap<Prefix, Sum> = BTreeMap::new();
        self.each_row(ALL, rows::job, |id, row| {
            let job = Job::new(id, row);
            let batches = spans.remove(&id).unwrap_or_default();
            sums.entry(job.prefix.clone()).or_default().add(&job, batches);
            Ok(())
        })?;
        Ok(sums.into_iter().map(|(prefix, sum)| sum.progress(prefix, self.taken_at())).collect())
    }

    /// Live history of the jobs that are wanted, job by job.
    fn live_spans(&self, wanted: impl Fn(JobId) -> bool) -> Result<HashMap<JobId, Vec<Span>>> {
        let mut spans: HashMap<JobId, Vec<Span>> = HashMap::new();
        self.each_row(ALL, rows::number, |_, row: HistoryRow| {
            if let Some(job) = row.job.filter(|job| wanted(*job)) {
                spans.entry(job).or_default().push(Span::of(&row));
            }
            Ok(())
        })?;
        Ok(spans)
    }
}

/// The jobs of one prefix, added up.
#[derive(Default)]
struct Sum {
    jobs: JobCounts,
    done: u128,
    total: u128,
    open: u128,
    holders: HashSet<WorkerId>,
    last_activity: Option<Timestamp>,
    batches: Vec<Span>,
}

impl Sum {
    fn add(&mut self, job: &Job, mut batches: Vec<Span>) {
        self.jobs.count(job.status);
        self.done += u128::from(job.done());
        self.total += u128::from(job.positions());
        if matches!(job.status, JobStatus::Pending | JobStatus::Leased) {
            self.open += u128::from(job.left());
        }
        self.holders.extend(job.holder);
        self.last_activity = self.last_activity.max(job.checkpoint_at);
        self.batches.append(&mut batches);
    }

    fn progress(self, prefix: Prefix, now: Timestamp) -> Progress {
        let rate = rate(&self.batches);
        let eta = if self.open == 0 {
            Some(now)
        } else {
            rate.filter(|rate| *rate > 0.0).map(|rate| {
                // Too long for a duration is too long for the calendar: it ends with both.
                let left =
                    Duration::try_from_secs_f64(self.open as f64 / rate).unwrap_or(Duration::MAX);
                now.after(left)
            })
        };
        Progress {
            prefix,
            jobs: self.jobs,
            done: self.done,
            total: self.total,
            share: self.done as f64 / self.total.max(1) as f64,
            open: self.open,
            workers: self.holders.len() as u64,
            last_activity: self.last_activity,
            rate,
            eta,
        }
    }
}

/// When a batch began and finished, and how many positions it covered.
struct Span {
    began: Timestamp,
    finished: Timestamp,
    positions: u64,
}

impl Span {
    fn of(row: &HistoryRow) -> Span {
        Span {
            began: row.finished_at.before(Duration::from_micros(row.duration_us)),
            finished: row.finished_at,
            positions: row.end.saturating_sub(row.start),
        }
    }
}

/// Positions per second of time on the wall, from the beginning of the oldest recent batch to the
/// end of the newest.
fn rate(batches: &[Span]) -> Option<f64> {
    let newest = batches.iter().map(|batch| batch.finished).max()?;
    let recent = || batches.iter().filter(|batch| newest.since(batch.finished) <= RATE_WINDOW);
    let oldest = recent().min_by_key(|batch| (batch.finished, batch.began))?;
    let positions: u128 = recent().map(|batch| u128::from(batch.positions)).sum();
    let seconds = newest.since(oldest.began).as_secs_f64();
    (seconds > 0.0).then(|| positions as f64 / seconds)
}
