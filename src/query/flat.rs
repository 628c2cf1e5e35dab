//! Results of queries serialize as flat records, whose fields fit the columns of a table such as
//! CSV: totals stand beside the other fields, not below a field of their own.

use std::time::Duration;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::progress::Progress;
use super::standings::{KindStats, LeaderboardEntry, Standing};
use super::{
    ActiveWorker, DayStats, FinishedSince, HistoryRecord, JobCounts, LifetimeStats, MonthStats,
    Rate,
};
use crate::time::{Day, Month, Timestamp};
use crate::types::{BatchOutcome, JobId, PastBatch, Prefix, Totals, WorkerId, as_text};

/// Defines the flat form of a type: its plain fields, and the names under which it has the fields of
/// each of its totals.
macro_rules! flat {
    ($($type:ident as $flat:ident { $($field:ident: $kind:ty,)* } $({
        $totals:ident: $batches:ident $errors:ident $completed:ident $items:ident $duration_us:ident
            $min_rate:ident $max_rate:ident $first_at:ident $last_at:ident
    })*)*) => {$(
        #[derive(Serialize, Deserialize)]
        struct $flat {
            $($field: $kind,)*
            $($batches: u64,
            $errors: u64,
            $completed: u64,
            $items: u128,
            $duration_us: u128,
            $min_rate: Option<f64>,
            $max_rate: Option<f64>,
            $first_at: Option<Timestamp>,
            $last_at: Option<Timestamp>,)*
        }

        impl From<$type> for $flat {
            fn from(nested: $type) -> $flat {
                $flat {
                    $($field: nested.$field,)*
                    $($batches: nested.$totals.batches,
                    $errors: nested.$totals.errors,
                    $completed: nested.$totals.completed,
                    $items: nested.$totals.items,
                    $duration_us: nested.$totals.duration_us,
                    $min_rate: nested.$totals.min_rate,
                    $max_rate: nested.$totals.max_rate,
                    $first_at: nested.$totals.first_at,
                    $last_at: nested.$totals.last_at,)*
                }
            }
        }

        by_way_of!($type, $flat);

        impl From<$flat> for $type {
            fn from(flat: $flat) -> $type {
                $type {
                    $($field: flat.$field,)*
                    $($totals: Totals {
                        batches: flat.$batches,
                        errors: flat.$errors,
                        completed: flat.$completed,
                        items: flat.$items,
                        duration_us: flat.$duration_us,
                        min_rate: flat.$min_rate,
                        max_rate: flat.$max_rate,
                        first_at: flat.$first_at,
                        last_at: flat.$last_at,
                    },)*
                }
            }
        }
    )*};
}

/// Serializes and deserializes a type as its flat form.
macro_rules! by_way_of {
    ($type:ident, $flat:ident) => {
        impl Serialize for $type {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                $flat::from(self.clone()).serialize(serializer)
            }
        }

        impl<'de> Deserialize<'de> for $type {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                $flat::deserialize(deserializer).map($type::from)
            }
        }
    };
}

flat! {
    DayStats as FlatDay { day: Day, }
    { totals: batches errors completed items duration_us min_rate max_rate first_at last_at }

    MonthStats as FlatMonth { month: Month, }
    { totals: batches errors completed items duration_us min_rate max_rate first_at last_at }
    { rolled: rolled_batches rolled_errors rolled_completed rolled_items rolled_duration_us
        rolled_min_rate rolled_max_rate rolled_first_at rolled_last_at }

    LifetimeStats as FlatLifetime { }
    { totals: batches errors completed items duration_us min_rate max_rate first_at last_at }
    { rolled: rolled_batches rolled_errors rolled_completed rolled_items rolled_duration_us
        rolled_min_rate rolled_max_rate rolled_first_at rolled_last_at }

    LeaderboardEntry as FlatEntry { rank: u64, worker: WorkerId, name: String, kind: String, }
    { totals: batches errors completed items duration_us min_rate max_rate first_at last_at }

    KindStats as FlatKind { kind: String, workers: u64, }
    { totals: batches errors completed items duration_us min_rate max_rate first_at last_at }

    Standing as FlatStanding { worker: WorkerId, drop: Option<f64>, }
    { today: today_batches today_errors today_completed today_items today_duration_us
        today_min_rate today_max_rate today_first_at today_last_at }
    { lifetime: lifetime_batches lifetime_errors lifetime_completed lifetime_items
        lifetime_duration_us lifetime_min_rate lifetime_max_rate lifetime_first_at lifetime_last_at }

    ActiveWorker as FlatActive {
        worker: WorkerId, name: String, kind: String, last_seen: Timestamp, leases: u64,
    }
    { recent: batches errors completed items duration_us min_rate max_rate first_at last_at }

    FinishedSince as FlatFinished { workers: u64, reaches_back_to: Option<Timestamp>, }
    { totals: batches errors completed items duration_us min_rate max_rate first_at last_at }
}

by_way_of!(HistoryRecord, FlatRecord);
by_way_of!(Progress, FlatProgress);

#[derive(Serialize, Deserialize)]
struct FlatRecord {
    id: u64,
    worker: WorkerId,
    job: Option<JobId>,
    start: u64,
    end: u64,
    items: u64,
    #[serde(rename = "duration_us", with = "as_text::micros")]
    duration: Duration,
    finished_at: Timestamp,
    outcome: BatchOutcome,
    error: Option<String>,
}

impl From<HistoryRecord> for FlatRecord {
    fn from(HistoryRecord { id, batch }: HistoryRecord) -> FlatRecord {
        let PastBatch { worker, job, start, end, items, duration, finished_at, outcome, error } =
            batch;
        FlatRecord { id, worker, job, start, end, items, duration, finished_at, outcome, error }
    }
}

impl From<FlatRecord> for HistoryRecord {
    fn from(flat: FlatRecord) -> HistoryRecord {
        let FlatRecord { id, worker, job, start, end, items, duration, finished_at, .. } = flat;
        let FlatRecord { outcome, error, .. } = flat;
        let batch =
            PastBatch { worker, job, start, end, items, duration, finished_at, outcome, error };
        HistoryRecord { id, batch }
    }
}

#[derive(Serialize, Deserialize)]
struct FlatProgress {
    prefix: Prefix,
    pending: u64,
    leased: u64,
    completed: u64,
    failed: u64,
    cancelled: u64,
    held: u64,
    expired: u64,
    workers: u64,
    done: u128,
    total: u128,
    share: f64,
    open: u128,
    last_activity: Option<Timestamp>,
    rate: FlatState,
    per_second: Option<f64>,
    moving_jobs: Option<u64>,
    measured_us: Option<u64>,
    still_since: Option<Timestamp>,
    eta: Option<Timestamp>,
}

#[derive(Serialize, Deserialize, Clone, Copy)]
#[serde(rename_all = "snake_case")]
enum FlatState {
    Moving,
    Unknown,
    Still,
}

impl From<Progress> for FlatProgress {
    fn from(nested: Progress) -> FlatProgress {
        let Progress { prefix, jobs, held, expired, workers, done, total, share, .. } = nested;
        let JobCounts { pending, leased, completed, failed, cancelled } = jobs;
        let (mut moving_jobs, mut measured_us, mut still_since) = (None, None, None);
        let rate = match nested.rate {
            Rate::Moving { jobs, over, .. } => {
                moving_jobs = Some(jobs);
                measured_us = u64::try_from(over.as_micros()).ok();
                FlatState::Moving
            }
            Rate::Unknown => FlatState::Unknown,
            Rate::Still { since } => {
                still_since = since;
                FlatState::Still
            }
        };
        FlatProgress {
            prefix,
            pending,
            leased,
            completed,
            failed,
            cancelled,
            held,
            expired,
            workers,
            done,
            total,
            share,
            open: nested.open,
            last_activity: nested.last_activity,
            rate,
            per_second: nested.rate.per_second(),
            moving_jobs,
            measured_us,
            still_since,
            eta: nested.eta,
        }
    }
}

impl From<FlatProgress> for Progress {
    fn from(flat: FlatProgress) -> Progress {
        let FlatProgress { pending, leased, completed, failed, cancelled, .. } = flat;
        let rate = match flat.rate {
            FlatState::Moving => Rate::Moving {
                per_second: flat.per_second.unwrap_or_default(),
                jobs: flat.moving_jobs.unwrap_or_default(),
                over: Duration::from_micros(flat.measured_us.unwrap_or_default()),
            },
            FlatState::Unknown => Rate::Unknown,
            FlatState::Still => Rate::Still { since: flat.still_since },
        };
        Progress {
            prefix: flat.prefix,
            jobs: JobCounts { pending, leased, completed, failed, cancelled },
            held: flat.held,
            expired: flat.expired,
            workers: flat.workers,
            done: flat.done,
            total: flat.total,
            share: flat.share,
            open: flat.open,
            last_activity: flat.last_activity,
            rate,
            eta: flat.eta,
        }
    }
}
