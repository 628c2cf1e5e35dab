//! Findings, and their indexes.

use super::{Check, ensure};
use crate::config::limits;
use crate::error::Result;
use crate::query::rows;
use crate::schema::access::{self, ALL};
use crate::schema::key;
use crate::schema::rows::FindingRow;
use crate::schema::tables;
use crate::types::JobId;

impl Check<'_> {
    /// Findings against their jobs and their indexes; returns how many there are.
    pub(super) fn findings(&self) -> Result<u64> {
        let mut job_before = None;
        let findings = self.each_row(ALL, rows::finding, |(job, name), row: FindingRow| {
            let finding = format_args!("finding 0x{} of job {job}", access::hex(&name));
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
        let has = |job, name: &[u8]| self.has(tables::FINDINGS, &key::finding(job, name));
        self.each_entry(tables::FINDINGS_BY_TIME, |key, value| {
            let (_, job, name) =
                rows::parsed(tables::FINDINGS_BY_TIME, key, key::as_finding_by_time)?;
            let finding = format_args!("finding 0x{} of job {job}", access::hex(name));
            ensure(
                value.is_empty() && has(job, name)?,
                tables::FINDINGS_BY_TIME,
                finding,
                "its finding is there",
            )
        })?;
        self.each_entry(tables::FINDINGS_BY_KEY, |key, value| {
            let (name, job) = rows::parsed(tables::FINDINGS_BY_KEY, key, key::as_finding_by_key)?;
            let finding = format_args!("finding 0x{} of job {job}", access::hex(name));
            ensure(
                value.is_empty() && has(job, name)?,
                tables::FINDINGS_BY_KEY,
                finding,
                "its finding is there",
            )
        })?;
        Ok(findings)
    }

    fn may_have_findings(&self, job: JobId) -> Result<bool> {
        Ok(self.control().deleting.contains(&job) || self.has(tables::JOBS, &key::job(job))?)
    }
}
