//! Jobs, and every index of them: from each job to its entries, and from each entry back.

use super::{Check, ensure};
use crate::config::limits;
use crate::error::Result;
use crate::query::rows;
use crate::schema::key;
use crate::schema::rows::{JobRow, LeaseIndexRow, Number};
use crate::schema::tables::{ALL, load};
use crate::storage::Table;
use crate::types::{JobId, JobStatus, Prefix};

impl Check<'_> {
    /// Jobs and their indexes; says how many jobs there are.
    pub(super) fn jobs(&self) -> Result<u64> {
        let mut counts = [0; JobStatus::ALL.len()];
        let jobs = self.each_row(ALL, rows::job, |id, row: JobRow| {
            counts[row.status as usize] += 1;
            self.job(id, &row)
        })?;
        let counted = self.control().jobs;
        let rule =
            format_args!("it counts the jobs of each status, {counts:?} and not {counted:?}");
        ensure(counts == counted, Table::Meta, "control", rule)?;

        self.ranges()?;
        let is_waiting = |row: &JobRow| row.status == JobStatus::Pending;
        let rule = "its job waits, with this priority";
        self.index(Table::JobQueue, rows::queue, rule, |id, row, key, value| {
            Ok(is_waiting(row) && key == key::queue(row.priority, id) && value.is_empty())
        })?;
        let rule = "its job waits, with this prefix and priority";
        self.index(Table::JobQueueByPrefix, rows::queue_by_prefix, rule, |id, row, key, value| {
            let fits = key == key::queue_by_prefix(&row.prefix, row.priority, id);
            Ok(is_waiting(row) && fits && value.is_empty())
        })?;
        let is_held = |row: &JobRow| row.status == JobStatus::Leased;
        let rule = "its job is held, indexed under this deadline, for this long";
        self.index(
            Table::JobLeases,
            |key| Some(rows::lease(key)?.1),
            rule,
            |id, row, key, value| {
                let index: LeaseIndexRow = rows::decoded(Table::JobLeases, key, value)?;
                let fits = key == key::lease(row.indexed, id) && index.length_us == row.length_us;
                Ok(is_held(row) && fits)
            },
        )?;
        let rule = "its job is held by this worker";
        self.index(
            Table::JobHolders,
            |key| Some(rows::holder(key)?.1),
            rule,
            |id, row, key, value| {
                let fits = row.holder.is_some_and(|holder| key == key::holder(holder, id));
                Ok(is_held(row) && fits && value.is_empty())
            },
        )?;
        Ok(jobs)
    }

    /// One job by itself, and that it stands in its indexes.
    fn job(&self, id: JobId, row: &JobRow) -> Result<()> {
        let rule =
            |holds: bool, rule: &str| ensure(holds, Table::Jobs, format_args!("job {id}"), rule);
        let is_held = row.status == JobStatus::Leased;
        let has_ended = !is_held && row.status != JobStatus::Pending;

        rule((1..self.control().next_job).contains(&id.0), "its number was given out")?;
        rule(
            (1..=limits::PREFIX).contains(&row.prefix.len()),
            "its prefix has a length that is taken",
        )?;
        rule(row.start < row.end, "its range holds a position")?;
        rule((row.start..=row.end).contains(&row.cursor), "its cursor lies within its range")?;
        let is_complete = row.status != JobStatus::Completed || row.cursor == row.end;
        rule(is_complete, "it is completed only at the end of its range")?;
        rule(row.ended_at.is_some() == has_ended, "it has the time of its end once it has ended")?;
        rule(!(has_ended && row.token_live), "its token is retired once it has ended")?;
        rule(!is_held || row.token_live, "its token is live while it is held")?;
        rule(!is_held || row.holder.is_some(), "it is held by somebody")?;
        rule(
            row.holder.is_none_or(|holder| self.workers.contains(&holder)),
            "its holder is a worker there is",
        )?;
        rule(
            !is_held || row.indexed <= row.deadline,
            "it is indexed under no later deadline than its own",
        )?;

        let range = key::job_range(&row.prefix, row.start);
        rule(self.has(Table::JobRanges, &range)?, "it is in job_ranges")?;
        if row.status == JobStatus::Pending {
            rule(
                self.has(Table::JobQueue, &key::queue(row.priority, id))?,
                "it is in job_queue while it waits",
            )?;
            let by_prefix = key::queue_by_prefix(&row.prefix, row.priority, id);
            rule(
                self.has(Table::JobQueueByPrefix, &by_prefix)?,
                "it is in job_queue_by_prefix while it waits",
            )?;
        }
        if let Some(holder) = row.holder.filter(|_| is_held) {
            rule(
                self.has(Table::JobLeases, &key::lease(row.indexed, id))?,
                "it is in job_leases while it is held",
            )?;
            rule(
                self.has(Table::JobHolders, &key::holder(holder, id))?,
                "it is in job_holders while it is held",
            )?;
        }
        Ok(())
    }

    /// The entries of job_ranges against their jobs; neighbours among them must not overlap.
    fn ranges(&self) -> Result<()> {
        let mut before: Option<(JobId, JobRow)> = None;
        self.each_entry(Table::JobRanges, |key, value| {
            let (prefix, start) = rows::parsed(Table::JobRanges, key, rows::job_range)?;
            let Number(number) = rows::decoded(Table::JobRanges, key, value)?;
            let id = JobId(number);
            let row: Option<JobRow> = load(self.view.txn(), &key::job(id))?;
            let Some(row) = row.filter(|row| row.prefix == prefix && row.start == start) else {
                let name = format_args!("prefix {} from {start}", Prefix(prefix));
                let rule = format_args!("its job, {id}, has this prefix and start");
                return ensure(false, Table::JobRanges, name, rule);
            };
            if let Some((other, other_row)) = &before {
                let apart = other_row.prefix != row.prefix || other_row.end <= row.start;
                let rule = format_args!("it does not overlap job {other} of the same prefix");
                ensure(apart, Table::Jobs, format_args!("job {id}"), rule)?;
            }
            before = Some((id, row));
            Ok(())
        })
    }

    /// The entries of an index against the jobs that their keys name.
    fn index(
        &self,
        table: Table,
        parse: impl Fn(&[u8]) -> Option<JobId>,
        rule: &str,
        fits: impl Fn(JobId, &JobRow, &[u8], &[u8]) -> Result<bool>,
    ) -> Result<()> {
        self.each_entry(table, |key, value| {
            let id = rows::parsed(table, key, &parse)?;
            let fits = match load(self.view.txn(), &key::job(id))? {
                Some(row) => fits(id, &row, key, value)?,
                None => false,
            };
            ensure(fits, table, format_args!("job {id}"), rule)
        })
    }
}
