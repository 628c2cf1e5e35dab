//! Findings by job, worker, prefix, key and time.

use serde::{Deserialize, Serialize};

use super::{Page, PageToken, Part, Step, Times, is_within};
use crate::config::limits;
use crate::error::Result;
use crate::query::{Finding, Snapshot, rows};
use crate::schema::access::{load, missing};
use crate::schema::key;
use crate::schema::rows::FindingRow;
use crate::schema::tables;
use crate::time::Timestamp;
use crate::types::{JobId, Prefix, WorkerId, as_text};

/// Which findings to list: all those for which every condition holds that was set. The default has
/// no condition.
///
/// ```
/// # use milepost::{FindingFilter, NewFinding, NewJob, Store};
/// # let store = Store::in_memory()?;
/// # let job = store.create_job(NewJob::new("site-7", 0..10))?;
/// # let worker = store.register_worker("pc-01")?;
/// # worker.add_finding(job, NewFinding::new("page 3", "a hit"))?;
/// let of_key = FindingFilter::default().key("page 3");
/// assert_eq!(store.snapshot()?.find_findings(&of_key, None, 100)?.items[0].payload, b"a hit");
/// # Ok::<(), milepost::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct FindingFilter {
    job: Option<JobId>,
    worker: Option<WorkerId>,
    prefix: Option<Prefix>,
    key: Option<Key>,
    found: Option<Times>,
    late: Option<bool>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Key(#[serde(with = "as_text::hex")] Vec<u8>);

impl FindingFilter {
    /// Only findings of this job.
    #[must_use]
    pub fn job(mut self, job: JobId) -> FindingFilter {
        self.job = Some(job);
        self
    }

    /// Only findings that this worker reported.
    #[must_use]
    pub fn worker(mut self, worker: WorkerId) -> FindingFilter {
        self.worker = Some(worker);
        self
    }

    /// Only findings of jobs of this prefix.
    #[must_use]
    pub fn prefix(mut self, prefix: impl Into<Prefix>) -> FindingFilter {
        self.prefix = Some(prefix.into());
        self
    }

    /// Only findings under this key: one at most for each job.
    #[must_use]
    pub fn key(mut self, key: impl Into<Vec<u8>>) -> FindingFilter {
        self.key = Some(Key(key.into()));
        self
    }

    /// Only findings stored at or after the first time, and before the second one.
    #[must_use]
    pub fn found(mut self, from: Timestamp, to: Timestamp) -> FindingFilter {
        self.found = Some(Times { from, to });
        self
    }

    /// Only findings that were late, or only those that were not.
    #[must_use]
    pub fn late(mut self, late: bool) -> FindingFilter {
        self.late = Some(late);
        self
    }

    /// Whether a finding is one of these, its job's prefix aside.
    fn matches(&self, finding: &Finding) -> bool {
        self.job.is_none_or(|job| job == finding.job)
            && self.worker.is_none_or(|worker| worker == finding.worker)
            && self.key.as_ref().is_none_or(|Key(key)| *key == finding.key)
            && is_within(self.found, Some(finding.found_at))
            && self.late.is_none_or(|late| late == finding.late)
    }

    fn part(&self) -> Part {
        match (self.job, &self.key) {
            (Some(job), Some(Key(name))) => {
                let from = key::finding(job, name);
                let to = [&from[..], &[0]].concat();
                Part { table: tables::FINDINGS, from, to: Some(to) }
            }
            (Some(job), None) => Part::under(tables::FINDINGS, key::job(job)),
            (None, Some(Key(name))) => Part::under(tables::FINDINGS_BY_KEY, key::of_name(name)),
            (None, None) => match self.found {
                Some(Times { from, to }) => Part {
                    table: tables::FINDINGS_BY_TIME,
                    from: key::lease(from, JobId(0)).to_vec(),
                    to: Some(key::lease(to, JobId(0)).to_vec()),
                },
                None => Part::whole(tables::FINDINGS_BY_TIME),
            },
        }
    }
}

impl Snapshot {
    /// A page of the findings that a filter leaves: at most `limit`. Those of one job come in the
    /// order of their keys, those of one key in that of their jobs, all others in that of time. With a
    /// worker or a prefix alone, it looks through all findings in that order, 4,096 to a page.
    ///
    /// # Errors
    /// `Error::Storage` or `Error::Corrupted` if the database cannot be read.
    pub fn find_findings(
        &self,
        filter: &FindingFilter,
        after: Option<&PageToken>,
        limit: usize,
    ) -> Result<Page<Finding>> {
        let too_long = |key: &Key| key.0.len() > limits::FINDING_KEY;
        if filter.key.as_ref().is_some_and(too_long) {
            return Ok(Page { items: Vec::new(), next: None });
        }
        self.page(&[filter.part()], after, limit, |table, key, _| {
            let (job, name) = match table {
                tables::FINDINGS => rows::parsed(table, key, key::as_finding)?,
                tables::FINDINGS_BY_KEY => {
                    let (name, job) = rows::parsed(table, key, key::as_finding_by_key)?;
                    (job, name)
                }
                _ => {
                    let (_, job, name) = rows::parsed(table, key, key::as_finding_by_time)?;
                    (job, name)
                }
            };
            // Findings of deleted jobs are removed in later steps.
            if self.control().deleting.contains(&job) {
                return Ok(Step::Skip);
            }
            let own = key::finding(job, name);
            let row: Option<FindingRow> = load(self.txn(), &own)?;
            let row = row.ok_or_else(|| missing(tables::FINDINGS, &own))?;
            let FindingRow { payload, worker, found_at, late } = row;
            let finding = Finding { job, key: name.to_vec(), payload, worker, found_at, late };
            if !filter.matches(&finding) {
                return Ok(Step::Skip);
            }
            let is_of_prefix = match &filter.prefix {
                Some(prefix) => self.job_row(job)?.prefix == prefix.as_bytes(),
                None => true,
            };
            Ok(if is_of_prefix { Step::Take(finding) } else { Step::Skip })
        })
    }
}
