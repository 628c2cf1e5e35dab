//! A store with leases, and what is done to it at every size.
//!
//! History is at its cap before anything is measured, so that every checkpoint at every size does
//! the same work: one record joins history and one leaves it.

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use super::costs::Growth::{Keyed, Path, Whole};
use super::costs::Meter;
use super::questions::{self, Question, Subject, ask};
use super::store::{self, JobId, Lease, Measured, Worker};
use crate::machine::resident_memory;

/// The cap on history where it is not history that grows.
pub(super) const HISTORY: u64 = 1_000;
/// The prefix of the jobs that are held.
pub(super) const LARGE: &str = "large";
/// What the other prefixes begin with, before a number.
pub(super) const SMALL: &str = "small ";
const FIRST_SMALL: &str = "small 0";
/// The prefix of jobs that come and go.
pub(super) const SPARE: &str = "spare";

/// What a store takes, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Footprint {
    /// Memory of the process, the handles of its workers and leases included.
    pub resident: u64,
    /// The file.
    pub file: u64,
    /// The file once it was compacted, if it was.
    pub compacted: Option<u64>,
}

/// A store with some leases, and a worker who holds none.
pub(super) struct Scene {
    pub(super) measured: Measured,
    pub(super) workers: Vec<Worker>,
    pub(super) leases: Vec<Lease>,
    pub(super) idle: Worker,
}

impl Scene {
    /// Registers workers, has each lease a job of the prefix `large` and make a checkpoint, and
    /// fills history up to a cap. No job waits.
    pub(super) fn new(measured: Measured, count: u64, cap: u64) -> Result<Scene> {
        let workers = (0..count).map(|n| measured.register(n)).collect::<Result<Vec<_>>>()?;
        measured.create(LARGE, 0, count)?;
        let mut leases = workers.iter().map(store::lease).collect::<Result<Vec<_>>>()?;
        measured.import_history(&workers, leases[0].job(), cap.saturating_sub(count))?;
        leases.iter_mut().try_for_each(|lease| measured.checkpoint(lease))?;
        let idle = measured.register(count)?;
        Ok(Scene { measured, workers, leases, idle })
    }

    fn subject(&self, job: JobId) -> Subject {
        Subject {
            worker: self.workers[self.workers.len() / 2].clone(),
            job,
            prefix: FIRST_SMALL,
            largest: LARGE,
        }
    }

    pub(super) fn ask(
        &mut self,
        questions: &[Question],
        job: JobId,
        meter: &mut Meter,
    ) -> Result<()> {
        let subject = self.subject(job);
        ask(questions, &subject, &self.measured, &mut self.leases, meter)
    }

    /// Checkpoints and renewals of all leases in a scattered order, and what a flush adds to a
    /// checkpoint.
    pub(super) fn checkpoints(&mut self, meter: &mut Meter) -> Result<()> {
        let Scene { measured, leases, .. } = self;
        let count = leases.len() as u64;
        meter.repeat("checkpoint", Path, |n| {
            measured.checkpoint(&mut leases[scattered(n, count)])
        })?;
        meter.repeat("renew", Path, |n| store::renew(&mut leases[scattered(n, count)]))?;
        meter.rounds(u64::MAX, |round| {
            measured.checkpoint(&mut leases[scattered(round.n, count)])?;
            round.time("flush", Path, || measured.flush())
        })
    }

    /// The whole life of a job, from a lease to its deletion, again and again. A job with its
    /// prefix and range is created at the end, so that the store keeps its size.
    pub(super) fn lives(&mut self, meter: &mut Meter) -> Result<()> {
        let Scene { measured, idle, .. } = self;
        meter.rounds(u64::MAX, |round| {
            let lease = round.time("lease", Path, || store::lease(idle))?;
            round.time("release", Path, || store::release(lease))?;
            let mut lease = round.time("lease", Path, || store::lease(idle))?;
            measured.checkpoint(&mut lease)?;
            round.time("complete", Path, || measured.complete(&mut lease))?;
            let job = lease.job();
            round.time("delete a job", Keyed, || measured.delete(job))?;
            let job = round.time("create a job", Keyed, || measured.create_again(&lease))?;
            round.time("cancel a job", Keyed, || measured.cancel(job))?;
            round.time("retry a job", Keyed, || measured.retry(job))
        })
    }

    /// Everything that is done to a store as a whole, and its end.
    pub(super) fn finish(mut self, meter: &mut Meter) -> Result<Footprint> {
        let job = self.leases.last().context("somebody holds a lease")?.job();
        self.ask(questions::ALWAYS, job, meter)?;
        let mut footprint = self.footprint()?;
        let Scene { measured, workers, leases, idle } = self;
        store::abandon(leases);
        drop((workers, idle));
        measured.flush()?;
        meter.once("close", Keyed, 1, || measured.close())?;
        let measured = meter.once("open", Keyed, 1, || measured.reopen())?;
        meter.once("compact", Whole, 1, || measured.compact())?;
        footprint.compacted = Some(measured.file_bytes()?);
        measured.close()?;
        Ok(footprint)
    }

    /// What the store takes now.
    pub(super) fn footprint(&self) -> Result<Footprint> {
        self.measured.flush()?;
        let file = self.measured.file_bytes()?;
        Ok(Footprint { resident: resident_memory(), file, compacted: None })
    }
}

/// A number below `count` that has little to do with the one for `n - 1`.
pub(super) fn scattered(n: u64, count: u64) -> usize {
    (n.wrapping_mul(0x9E37_79B9_7F4A_7C15) % count) as usize
}
