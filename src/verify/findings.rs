//! Checks of findings and their indexes.

use super::{Check, ensure};
use crate::config::limits;
use crate::error::Result;
use crate::query::rows;
use crate::schema::access::ALL;
use crate::schema::key;
use crate::schema::rows::FindingRow;
use crate::schema::tables;
use crate::storage::Table;
use crate::types::{Hex, JobId};

impl Check<'_> {
    /// Checks findings against their jobs and their indexes. Returns how many there are.
    pub(super) fn findings(&self) -> Result<u64> {
        let mut job_before = None;
        let findings = self.each_row(ALL, rows::finding, |(job, name), row: FindingRow| {
            let finding = format_args!("finding 0x{} of job {job}", Hex(&name));
            let fits = (1..=limits::FINDING_KEY).contains(&name.len());
            ensure(fits, tables::FINDINGS, finding, "its key has a length that is taken")?;
            self.ensure_worker(tables::FINDINGS, finding, row.worker)?;
            let by_time = key::finding_by_time(row.found_at, job, &name);
            ensure(
                self.has(tables::FINDINGS_BY_TIME, &by_time)?
                    && self.has(tables::FINDINGS_BY_KEY, &key::finding_by_key(&name, job))?,
                tables::FINDINGS,
                finding,
                "it is in both indexes of findings",
            )?;
            if job_before != Some(job) {
                ensure(
                    self.may_have_findings(job)?,
                    tables::FINDINGS,
                    finding,
                    "its job is one there is",
                )?;
                job_before = Some(job);
            }
            Ok(())
        })?;
        self.index_of_findings(tables::FINDINGS_BY_TIME, |key| {
            key::as_finding_by_time(key).map(|(_, job, name)| (job, name))
        })?;
        self.index_of_findings(tables::FINDINGS_BY_KEY, |key| {
            key::as_finding_by_key(key).map(|(name, job)| (job, name))
        })?;
        Ok(findings)
    }

    /// Checks the entries of an index against the findings that their keys name.
    fn index_of_findings(
        &self,
        table: Table,
        parse: impl Fn(&[u8]) -> Option<(JobId, &[u8])>,
    ) -> Result<()> {
        self.each_entry(table, |key, value| {
            let (job, name) = rows::parsed(table, key, &parse)?;
            let is_there = self.has(tables::FINDINGS, &key::finding(job, name))?;
            let finding = format_args!("finding 0x{} of job {job}", Hex(name));
            ensure(value.is_empty() && is_there, table, finding, "its finding is there")
        })
    }

    fn may_have_findings(&self, job: JobId) -> Result<bool> {
        Ok(self.control().deleting.contains(&job) || self.has(tables::JOBS, &key::job(job))?)
    }
}
