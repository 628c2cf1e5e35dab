//! The tables of a store.
//!
//! For engines, which receive one with each call, and for tests that read the rows of a store by
//! [`Snapshot::dump`](crate::Snapshot::dump). The tables, their keys and their records are part of
//! the file format, not of the API.

use crate::storage::Table;

/// Format, caps, counters and import ids.
pub const META: Table = Table::new(0, "meta");
/// Workers by number.
pub const WORKERS: Table = Table::new(1, "workers");
/// Worker numbers by name.
pub const WORKER_NAMES: Table = Table::new(2, "worker_names");
/// Jobs by id.
pub const JOBS: Table = Table::new(3, "jobs");
/// Job ids by prefix and start.
pub const JOB_RANGES: Table = Table::new(4, "job_ranges");
/// Sums over the jobs of each prefix.
pub const PREFIXES: Table = Table::new(5, "prefixes");
/// The first waiting job of each prefix, by priority and age.
pub const JOB_QUEUE: Table = Table::new(6, "job_queue");
/// Waiting jobs by prefix, priority and age.
pub const JOB_QUEUE_BY_PREFIX: Table = Table::new(7, "job_queue_by_prefix");
/// Leased jobs by deadline.
pub const JOB_LEASES: Table = Table::new(8, "job_leases");
/// Leased jobs by worker.
pub const JOB_HOLDERS: Table = Table::new(9, "job_holders");
/// Jobs that have ended by prefix, status and time.
pub const JOBS_ENDED: Table = Table::new(10, "jobs_ended");
/// Batches, oldest first.
pub const HISTORY: Table = Table::new(11, "history");
/// Totals by worker and day.
pub const DAILY: Table = Table::new(12, "daily");
/// Totals by worker and month.
pub const MONTHLY: Table = Table::new(13, "monthly");
/// Totals by worker.
pub const LIFETIME: Table = Table::new(14, "lifetime");
/// Findings by job and key.
pub const FINDINGS: Table = Table::new(15, "findings");
/// Findings by time.
pub const FINDINGS_BY_TIME: Table = Table::new(16, "findings_by_time");
/// Findings by key.
pub const FINDINGS_BY_KEY: Table = Table::new(17, "findings_by_key");

/// Every table, at the index of its number.
pub const ALL: [Table; 18] = [
    META,
    WORKERS,
    WORKER_NAMES,
    JOBS,
    JOB_RANGES,
    PREFIXES,
    JOB_QUEUE,
    JOB_QUEUE_BY_PREFIX,
    JOB_LEASES,
    JOB_HOLDERS,
    JOBS_ENDED,
    HISTORY,
    DAILY,
    MONTHLY,
    LIFETIME,
    FINDINGS,
    FINDINGS_BY_TIME,
    FINDINGS_BY_KEY,
];

const _: () = {
    let mut place = 0;
    while place < ALL.len() {
        assert!(ALL[place].number() == place, "a table is not at the index of its number");
        place += 1;
    }
};
