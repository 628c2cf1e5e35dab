//! Checks of the indexes of jobs, in both directions, and of the sums over the jobs of a prefix.

use super::{Check, ensure};
use crate::error::Result;
use crate::query::rows;
use crate::schema::access::{ALL, first_key, load};
use crate::schema::key;
use crate::schema::rows::{JobRow, PrefixRow};
use crate::schema::tables;
use crate::storage::{Order, Table};
use crate::types::{JobId, JobStatus, Prefix};

impl Check<'_> {
    /// Checks that a job is in the indexes of its status.
    pub(super) fn is_indexed(&self, id: JobId, row: &JobRow) -> Result<()> {
        let has = |table: Table, key: &[u8]| {
            let rule = format_args!("it is in {} while it is {}", table.name(), row.status);
            ensure(self.has(table, key)?, tables::JOBS, format_args!("job {id}"), rule)
        };
        has(tables::JOB_RANGES, &key::job_range(&row.prefix, row.start))?;
        match (row.status, row.holder, row.ended_at) {
            (JobStatus::Pending, ..) => has(
                tables::JOB_QUEUE_BY_PREFIX,
                &key::queue_by_prefix(&row.prefix, row.priority, id),
            ),
            (JobStatus::Leased, Some(holder), _) => {
                has(tables::JOB_LEASES, &key::lease(row.indexed, id))?;
                has(tables::JOB_HOLDERS, &key::holder(holder, id))
            }
            (_, _, Some(at)) => {
                has(tables::JOBS_ENDED, &key::job_ended(&row.prefix, row.status, at, id))
            }
            _ => Ok(()),
        }
    }

    /// Checks the entries of every index against the jobs that their keys name.
    pub(super) fn indexes(&self) -> Result<()> {
        let is_held = |row: &JobRow| row.status == JobStatus::Leased;
        self.index(
            tables::JOB_QUEUE_BY_PREFIX,
            |key| Some(key::as_queue_by_prefix(key)?.2),
            "its job waits, with this prefix and priority",
            |id, row, key| {
                let fits = key == key::queue_by_prefix(&row.prefix, row.priority, id);
                row.status == JobStatus::Pending && fits
            },
        )?;
        self.index(
            tables::JOB_LEASES,
            |key| Some(key::as_lease(key)?.1),
            "its job is held, indexed under this deadline",
            |id, row, key| is_held(row) && key == key::lease(row.indexed, id),
        )?;
        self.index(
            tables::JOB_HOLDERS,
            |key| Some(key::as_holder(key)?.1),
            "its job is held by this worker",
            |id, row, key| {
                is_held(row) && row.holder.is_some_and(|holder| key == key::holder(holder, id))
            },
        )?;
        self.index(
            tables::JOBS_ENDED,
            |key| Some(key::as_job_ended(key)?.3),
            "its job ended so, at this time",
            |id, row, key| {
                row.ended_at
                    .is_some_and(|at| key == key::job_ended(&row.prefix, row.status, at, id))
            },
        )
    }

    fn index(
        &self,
        table: Table,
        parse: impl Fn(&[u8]) -> Option<JobId>,
        rule: &str,
        fits: impl Fn(JobId, &JobRow, &[u8]) -> bool,
    ) -> Result<()> {
        self.each_entry(table, |key, value| {
            let id = rows::parsed(table, key, &parse)?;
            let row = load(self.view.txn(), &key::job(id))?;
            let fits = row.is_some_and(|row| fits(id, &row, key)) && value.is_empty();
            ensure(fits, table, format_args!("job {id}"), rule)
        })
    }

    /// Checks the row of a prefix against the sums over its jobs.
    pub(super) fn prefix(&self, prefix: &[u8], sums: &PrefixRow) -> Result<()> {
        let row: Option<PrefixRow> = load(self.view.txn(), prefix)?;
        let name = format_args!("prefix {}", Prefix(prefix.to_vec()));
        let rule = |holds, rule: &str| ensure(holds, tables::PREFIXES, name, rule);
        rule(row.is_some(), "it has a row while it has jobs")?;
        let row = row.unwrap_or_default();
        rule(row.jobs == sums.jobs, "it counts its jobs by status")?;
        rule(row.positions == sums.positions, "it adds up the positions of its jobs")?;
        rule(row.done == sums.done, "it adds up what is done in jobs that nobody holds")?;
        rule(row.busy_us == sums.busy_us, "it adds up the time of jobs that nobody holds")?;
        rule(row.covered.1 <= sums.covered.1, "the positions it names as covered belong to jobs")
    }

    /// Checks how many rows of prefixes there are, their heads, and the queue of heads.
    pub(super) fn prefixes(&self, expected: u64) -> Result<()> {
        let prefixes = self.each_row(
            ALL,
            |key| key::as_prefix(key).map(<[u8]>::to_vec),
            |prefix, row: PrefixRow| self.head(&prefix, &row),
        )?;
        let rule = format_args!("{prefixes} rows for {expected} prefixes that have jobs");
        ensure(prefixes == expected, tables::PREFIXES, "the last prefix", rule)?;
        self.each_entry(tables::JOB_QUEUE, |key, value| {
            let (priority, id) = rows::parsed(tables::JOB_QUEUE, key, key::as_queue)?;
            let row: Option<PrefixRow> = load(self.view.txn(), value)?;
            let fits = row.is_some_and(|row| row.head == Some((priority, id)));
            ensure(
                fits,
                tables::JOB_QUEUE,
                format_args!("job {id}"),
                "its job is the head of its prefix",
            )
        })
    }

    /// Checks that the head of a prefix is its first waiting job, or none while the prefix is
    /// paused.
    fn head(&self, prefix: &[u8], row: &PrefixRow) -> Result<()> {
        let name = format_args!("prefix {}", Prefix(prefix.to_vec()));
        let under = key::Under::new(key::of_prefix(prefix));
        let first = first_key(
            self.view.txn(),
            tables::JOB_QUEUE_BY_PREFIX,
            under.range(),
            Order::Ascending,
        )?;
        let head = first
            .filter(|_| !row.paused)
            .and_then(|key| key::as_queue_by_prefix(&key).map(|(_, priority, id)| (priority, id)));
        ensure(row.head == head, tables::PREFIXES, name, "its head is its first waiting job")?;
        match row.head {
            Some((priority, id)) => {
                let listed = self.has(tables::JOB_QUEUE, &key::queue(priority, id))?;
                ensure(listed, tables::PREFIXES, name, "its head is in job_queue")
            }
            None => Ok(()),
        }
    }
}
