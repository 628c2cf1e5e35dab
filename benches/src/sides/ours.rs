//! milepost itself, by its public interface.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use anyhow::{Context, Result, anyhow};
use milepost::testing::Device;
use milepost::{
    Action, Batch, Builder, Durability, Import, Lease, LeaseCommand, ManualClock, NewJob,
    NewWorker, PastBatch, Sharing, Snapshot, Store, Token,
};

use super::ours_ask::ask;
use super::shared::{CACHE_BYTES, MAX_DELAY, Mode, job_id, milepost_file, worker_id};
use crate::dashboard::{Answer, Question};
use crate::ledger::{Tally, WorkerTally, first_recent_day};
use crate::plan::{self, LEASE_SECS, Scale, Step, Track};
use crate::rival::{Caller, Connections, Reader, Rival, Size};

/// A store and the leases of its jobs.
pub(super) struct Opened {
    store: Store,
    /// `None` on a device.
    path: Option<PathBuf>,
    clock: ManualClock,
    scale: Scale,
    /// By job; `None` for those of other processes.
    held: Vec<Option<Held>>,
}

/// Jobs checkpointed one at a time go through the handle a user has; those checkpointed together
/// through commands as data, as a relay would send them.
enum Held {
    Lease(Box<Mutex<Lease>>),
    Token { token: Token, sequence_before: u64 },
}

fn builder(from: Builder, mode: Mode, clock: &ManualClock) -> Builder {
    let builder = from.clock(clock.clone()).cache_bytes(CACHE_BYTES);
    match mode {
        Mode::Immediate => builder,
        Mode::Relaxed => builder.durability(Durability::Relaxed { max_delay: MAX_DELAY }),
        Mode::MultiWriter => builder.sharing(Sharing::MultiWriter),
    }
}

pub(super) fn fill(folder: &Path, scale: &Scale) -> Result<()> {
    let clock = ManualClock::at(plan::start());
    let store = builder(Store::builder(milepost_file(folder)), Mode::Relaxed, &clock).open()?;
    for worker in 0..scale.workers {
        store.register_worker(
            NewWorker::new(Scale::worker_name(worker)).kind(Scale::kind(worker)),
        )?;
    }
    store
        .create_jobs(scale.tracks().iter().map(|track| NewJob::new(plan::PREFIX, track.range())))?;
    for worker in 0..scale.workers {
        let id = worker_id(worker);
        let mut import = Import::new("tiers", worker as u64);
        for (month, totals) in scale.past_months(worker) {
            import = import.monthly(id, month, totals);
        }
        for (day, totals) in scale.past_days(worker) {
            import = import.daily(id, day, totals);
        }
        store.import(import)?;
    }
    let past: Vec<Step> = scale.past_batches().collect();
    for (n, steps) in past.chunks(1_000).enumerate() {
        let mut import = Import::new("history", n as u64);
        for step in steps {
            import = import.history(past_batch(step));
        }
        store.import(import)?;
    }
    store.close()?;
    Ok(())
}

fn past_batch(step: &Step) -> PastBatch {
    let batch = PastBatch::new(worker_id(step.worker), step.from..step.to, step.finished_at())
        .with_job(job_id(step.job))
        .with_items(step.items)
        .with_duration(Duration::from_micros(step.duration_us));
    match step.error {
        Some(error) => batch.with_error(error),
        None => batch,
    }
}

impl Opened {
    pub(super) fn in_folder(
        folder: &Path,
        scale: &Scale,
        mode: Mode,
        tracks: &[Track],
    ) -> Result<Opened> {
        Opened::new(
            Store::builder(milepost_file(folder)),
            Some(milepost_file(folder)),
            scale,
            mode,
            tracks,
        )
    }

    pub(super) fn on_device(
        device: Arc<dyn Device>,
        scale: &Scale,
        mode: Mode,
        tracks: &[Track],
    ) -> Result<Opened> {
        Opened::new(Builder::on_device(device), None, scale, mode, tracks)
    }

    fn new(
        from: Builder,
        path: Option<PathBuf>,
        scale: &Scale,
        mode: Mode,
        tracks: &[Track],
    ) -> Result<Opened> {
        let clock = ManualClock::at(plan::start());
        let store = builder(from, mode, &clock).open()?;
        let held = lease_all(&store, scale, tracks)?;
        Ok(Opened { store, path, clock, scale: *scale, held })
    }

    /// Lets go of the leases, and says under which tokens they were held; 0 where none was.
    pub(super) fn into_tokens(self) -> Vec<u64> {
        let token = |held: &Option<Held>| match held.as_ref()? {
            Held::Lease(lease) => Some(lease.lock().ok()?.token().get()),
            Held::Token { token, .. } => Some(token.get()),
        };
        self.held.iter().map(|held| token(held).unwrap_or(0)).collect()
    }

    fn held(&self, step: &Step) -> Result<&Held> {
        self.held[step.job].as_ref().context("the job is held by another process")
    }
}

/// Dropping leases would give the jobs back, one commit each.
impl Drop for Opened {
    fn drop(&mut self) {
        for held in self.held.drain(..) {
            if let Some(Held::Lease(lease)) = held
                && let Ok(lease) = lease.into_inner()
            {
                lease.abandon();
            }
        }
    }
}

/// Leases the jobs from several threads, so that they share commits.
fn lease_all(store: &Store, scale: &Scale, tracks: &[Track]) -> Result<Vec<Option<Held>>> {
    let mut held: Vec<Option<Held>> = (0..2 * scale.jobs).map(|_| None).collect();
    if tracks.is_empty() {
        return Ok(held);
    }
    let threads = 16;
    let leased: Vec<Result<Vec<(usize, Held)>>> = std::thread::scope(|scope| {
        let take = |share: usize| tracks.iter().skip(share).step_by(threads);
        let running: Vec<_> = (0..threads)
            .map(|share| {
                scope.spawn(move || {
                    take(share).map(|track| lease_one(store, scale, track)).collect()
                })
            })
            .collect();
        running
            .into_iter()
            .map(|thread| thread.join().map_err(|_| anyhow!("a thread panicked"))?)
            .collect()
    });
    for share in leased {
        for (job, lease) in share? {
            held[job] = Some(lease);
        }
    }
    Ok(held)
}

fn lease_one(store: &Store, scale: &Scale, track: &Track) -> Result<(usize, Held)> {
    let worker = store.register_worker(
        NewWorker::new(Scale::worker_name(track.worker)).kind(Scale::kind(track.worker)),
    )?;
    let request =
        worker.request(Duration::from_secs(LEASE_SECS)).of_job(job_id(track.job)).resume();
    let lease = request.send()?.leased().context("a job cannot be leased")?;
    if track.job < scale.jobs {
        return Ok((track.job, Held::Lease(Box::new(Mutex::new(lease)))));
    }
    let token = lease.token();
    lease.abandon();
    Ok((track.job, Held::Token { token, sequence_before: track.sequence }))
}

pub(super) fn batch(step: &Step) -> Batch {
    let batch = Batch::new(step.from..step.to, Duration::from_micros(step.duration_us))
        .with_items(step.items);
    match step.error {
        Some(error) => batch.with_error(error),
        None => batch,
    }
}

impl Rival for Opened {
    fn caller(&self, _: Connections) -> Result<Box<dyn Caller + '_>> {
        Ok(Box::new(Handle(self)))
    }

    fn tally(&self) -> Result<Tally> {
        self.verify()?;
        tally(&self.store.snapshot()?, &self.scale)
    }

    fn verify(&self) -> Result<()> {
        self.store.snapshot()?.verify()?;
        Ok(())
    }

    fn size(&self) -> Result<Size> {
        let path = self.path.as_ref().context("a device has no file")?;
        Ok(Size { main: std::fs::metadata(path)?.len(), wal: 0 })
    }

    fn compact(&self) -> Result<()> {
        Ok(self.store.compact()?)
    }

    fn reader(&self) -> Result<Box<dyn Reader + '_>> {
        Ok(Box::new(Handle(self)))
    }
}

fn tally(view: &Snapshot, scale: &Scale) -> Result<Tally> {
    let archived = view.archived();
    let mut tally = Tally { history: rows_of(view, "history")?, ..Tally::default() };
    for worker in (0..scale.workers).map(worker_id) {
        let recent: BTreeMap<_, _> = view
            .daily(worker, first_recent_day()..)?
            .into_iter()
            .map(|day| (day.day, day.totals))
            .collect();
        tally.workers.push(WorkerTally {
            ever: view.lifetime(worker)?.totals,
            days: archived.daily(worker, ..)?.len() as u64,
            months: archived.monthly(worker, ..)?.len() as u64,
            recent,
        });
    }
    tally.jobs = view.jobs(None, usize::MAX)?.iter().map(|job| (job.cursor, job.batches)).collect();
    Ok(tally)
}

fn rows_of(view: &Snapshot, name: &str) -> Result<u64> {
    Ok(view.size()?.tables.get(name).context("a table is missing")?.rows)
}

struct Handle<'a>(&'a Opened);

impl Caller for Handle<'_> {
    fn alone(&mut self, step: &Step) -> Result<()> {
        self.0.clock.set(step.finished_at());
        let Held::Lease(lease) = self.0.held(step)? else {
            return Err(anyhow!("job {} is for checkpoints together", step.job));
        };
        let mut lease = lease.lock().map_err(|_| anyhow!("another caller panicked"))?;
        lease.checkpoint(batch(step))?;
        Ok(())
    }

    fn together(&mut self, steps: &[Step]) -> Result<()> {
        let mut commands = Vec::with_capacity(steps.len());
        for step in steps {
            let Held::Token { token, sequence_before } = *self.0.held(step)? else {
                return Err(anyhow!("job {} is for checkpoints one at a time", step.job));
            };
            commands.push(LeaseCommand::new(
                job_id(step.job),
                token,
                step.sequence - sequence_before,
                Action::Checkpoint(batch(step)),
            ));
            self.0.clock.set(step.finished_at());
        }
        for answer in self.0.store.submit_many(commands) {
            answer?;
        }
        Ok(())
    }
}

impl Reader for Handle<'_> {
    fn ask(&mut self, question: Question) -> Result<Answer> {
        ask(&self.0.store.snapshot()?, question)
    }
}
