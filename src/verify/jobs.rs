//! Checks of jobs and their ranges.

use super::{Check, ensure};
use crate::config::limits;
use crate::error::Result;
use crate::query::rows;
use crate::schema::access::{ALL, load};
use crate::schema::key;
use crate::schema::rows::{JobRow, Number, PrefixRow};
use crate::schema::tables;
use crate::types::{JobId, JobStatus, Prefix};

impl Check<'_> {
    /// Checks jobs and their indexes. Returns how many jobs there are.
    pub(super) fn jobs(&self) -> Result<u64> {
        let mut counts = [0; JobStatus::ALL.len()];
        let jobs = self.each_row(ALL, key::as_job, |id, row: JobRow| {
            counts[row.status as usize] += 1;
            self.job(id, &row)
        })?;
        let counted = self.control().jobs;
        let rule =
            format_args!("it counts the jobs of each status, {counts:?} and not {counted:?}");
        ensure(counts == counted, tables::META, "control", rule)?;

        self.indexes()?;
        let prefixes = self.ranges()?;
        self.prefixes(prefixes)?;
        Ok(jobs)
    }

    /// Checks one job, and that it is in its indexes.
    fn job(&self, id: JobId, row: &JobRow) -> Result<()> {
        let rule =
            |holds: bool, rule: &str| ensure(holds, tables::JOBS, format_args!("job {id}"), rule);
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

        rule(
            (row.start..=row.cursor).contains(&row.leased_cursor),
            "its cursor is not before where it was when its token was issued",
        )?;
        rule(row.errors <= row.batches, "it has no more errors than batches")?;
        self.is_indexed(id, row)
    }

    /// Checks the entries of job_ranges against their jobs, that neighbours do not overlap, and the
    /// row of each prefix against the sums over its jobs. Returns how many prefixes there are.
    fn ranges(&self) -> Result<u64> {
        let mut before: Option<(JobId, JobRow)> = None;
        let mut sums = PrefixRow::default();
        let mut prefixes = 0;
        self.each_entry(tables::JOB_RANGES, |key, value| {
            let (prefix, start) = rows::parsed(tables::JOB_RANGES, key, key::as_job_range)?;
            let Number(number) = rows::decoded(tables::JOB_RANGES, key, value)?;
            let id = JobId(number);
            let row: Option<JobRow> = load(self.view.txn(), &key::job(id))?;
            let Some(row) = row.filter(|row| row.prefix == prefix && row.start == start) else {
                let name = format_args!("prefix {} from {start}", Prefix(prefix.to_vec()));
                let rule = format_args!("its job, {id}, has this prefix and start");
                return ensure(false, tables::JOB_RANGES, name, rule);
            };
            if let Some((other, other_row)) = &before {
                let apart = other_row.prefix != row.prefix || other_row.end <= row.start;
                let rule = format_args!("it does not overlap job {other} of the same prefix");
                ensure(apart, tables::JOBS, format_args!("job {id}"), rule)?;
                if other_row.prefix != row.prefix {
                    self.prefix(&other_row.prefix, &std::mem::take(&mut sums))?;
                    prefixes += 1;
                }
            }
            if before.as_ref().is_none_or(|(_, other)| other.prefix != row.prefix) {
                let stored: PrefixRow = load(self.view.txn(), prefix)?.unwrap_or_default();
                sums.covered = (stored.covered.0, stored.covered.0);
            }
            add(&mut sums, &row);
            before = Some((id, row));
            Ok(())
        })?;
        if let Some((_, last)) = before {
            self.prefix(&last.prefix, &sums)?;
            prefixes += 1;
        }
        Ok(prefixes)
    }
}

/// Adds one job to the sums of its prefix.
fn add(sums: &mut PrefixRow, row: &JobRow) {
    sums.jobs[row.status as usize] += 1;
    sums.positions += u128::from(row.positions());
    if row.start <= sums.covered.1 {
        sums.covered.1 = sums.covered.1.max(row.end);
    }
    if row.status != JobStatus::Leased {
        sums.done += u128::from(row.done());
        sums.busy_us += row.duration_us;
    }
}
