//! Queries of findings.

use std::ops::Bound;

use serde::{Deserialize, Serialize};

use super::{Snapshot, rows};
use crate::error::Result;
use crate::schema::key;
use crate::schema::rows::FindingRow;
use crate::storage::KeyRange;
use crate::time::Timestamp;
use crate::types::{JobId, WorkerId, as_text};

/// A finding, stored with a checkpoint, or late: after its worker had lost the job.
///
/// Key and payload serialize as plain hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Finding {
    /// The job it belongs to.
    pub job: JobId,
    /// Its key, unique within the job.
    #[serde(with = "as_text::hex")]
    pub key: Vec<u8>,
    /// Its payload.
    #[serde(with = "as_text::hex")]
    pub payload: Vec<u8>,
    /// The worker that reported it.
    pub worker: WorkerId,
    /// When it was stored.
    pub found_at: Timestamp,
    /// Whether it was reported by a worker that no longer held the job.
    pub late: bool,
}

impl Snapshot {
    /// The findings of a job, by key: at most `limit` of them, starting after `after`. For the next
    /// page, pass the key of the last one returned.
    ///
    /// ```
    /// # use milepost::{NewJob, Store};
    /// # use std::time::Duration;
    /// # let store = Store::in_memory()?;
    /// # let job = store.create_job(NewJob::new("demo", 0..100))?;
    /// # let worker = store.register_worker("pc-01")?;
    /// # let mut lease = worker.next_lease(Duration::from_secs(60))?.expect("a job waits");
    /// # let batch = lease.next_batch(40).expect("it is new").with_finding("key", "a hit");
    /// # lease.checkpoint(batch)?;
    /// # let view = store.snapshot()?;
    /// let page = view.findings_of(job, None, 100)?;
    /// assert_eq!(page[0].payload, b"a hit");
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Error::Storage` or `Error::Corrupted` if the database cannot be read.
    pub fn findings_of(
        &self,
        job: JobId,
        after: Option<&[u8]>,
        limit: usize,
    ) -> Result<Vec<Finding>> {
        if self.control().deleting.contains(&job) {
            return Ok(Vec::new());
        }
        let all = key::Under::new(key::job(job));
        let after = after.map(|name| key::finding(job, name));
        let from = after.as_deref().map_or(all.range().0, Bound::Excluded);
        let mut findings = Vec::new();
        self.add_findings((from, all.range().1), limit, &mut findings)?;
        Ok(findings)
    }

    /// The findings of all jobs, by job and key: at most `limit` of them, starting after `after`.
    /// For the next page, pass job and key of the last one returned.
    ///
    /// ```
    /// # use milepost::{NewJob, Store};
    /// # use std::time::Duration;
    /// # let store = Store::in_memory()?;
    /// # let job = store.create_job(NewJob::new("demo", 0..100))?;
    /// # let worker = store.register_worker("pc-01")?;
    /// # let mut lease = worker.next_lease(Duration::from_secs(60))?.expect("a job waits");
    /// # let batch = lease.next_batch(40).expect("it is new").with_finding("key", "a hit");
    /// # lease.checkpoint(batch)?;
    /// # let view = store.snapshot()?;
    /// let page = view.findings(None, 100)?;
    /// let last = page.last().map(|finding| (finding.job, &finding.key[..]));
    /// assert!(view.findings(last, 100)?.is_empty());
    /// # Ok::<(), milepost::Error>(())
    /// ```
    ///
    /// # Errors
    /// `Error::Storage` or `Error::Corrupted` if the database cannot be read.
    pub fn findings(&self, after: Option<(JobId, &[u8])>, limit: usize) -> Result<Vec<Finding>> {
        // Findings of deleted jobs may still be stored, to be removed in later steps: they are
        // skipped.
        let mut deleted = self.control().deleting.clone();
        deleted.retain(|job| after.is_none_or(|(after, _)| after <= *job));
        deleted.sort_unstable();
        let mut findings = Vec::new();
        let mut from =
            after.map_or(Bound::Unbounded, |(job, name)| Bound::Excluded(key::finding(job, name)));
        for job in deleted {
            let to = key::job(job);
            self.add_findings((as_slice(&from), Bound::Excluded(&to)), limit, &mut findings)?;
            let Some(next) = job.0.checked_add(1) else { return Ok(findings) };
            from = Bound::Included(key::job(JobId(next)).to_vec());
        }
        self.add_findings((as_slice(&from), Bound::Unbounded), limit, &mut findings)?;
        Ok(findings)
    }

    /// Adds the findings of a range until there are `limit`.
    fn add_findings(
        &self,
        range: KeyRange<'_>,
        limit: usize,
        findings: &mut Vec<Finding>,
    ) -> Result<()> {
        let more = limit.saturating_sub(findings.len());
        findings.extend(self.collect(range, more, rows::finding, |(job, key), row| {
            let FindingRow { payload, worker, found_at, late } = row;
            Finding { job, key, payload, worker, found_at, late }
        })?);
        Ok(())
    }
}

fn as_slice(bound: &Bound<Vec<u8>>) -> Bound<&[u8]> {
    bound.as_ref().map(|key| &key[..])
}
