//! The workers: each leases a job, hashes its nonces batch by batch, and asks for the next.

use std::panic::resume_unwind;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use milepost::{Error, Lease, LeaseOutcome, NewWorker, Store, Worker};

use crate::genesis_scan::header::{Hash, Puzzle};
use crate::genesis_scan::progress::{Progress, WorkerProgress};
use crate::support::Result;

/// After a crash, jobs of workers that do not come back are free again this soon.
const LEASE: Duration = Duration::from_secs(5);

/// What all workers share.
pub struct Scan<'a> {
    pub store: &'a Store,
    pub puzzle: &'a Puzzle,
    pub batch: u64,
    pub progress: &'a Progress,
    /// Asks the workers to finish their batches and go home.
    pub stop: &'a AtomicBool,
}

impl Scan<'_> {
    /// Runs so many workers until nothing is left to do, one of them fails, or they are told to
    /// stop.
    pub fn run(&self, workers: usize) -> Result<()> {
        // Named alike in every run, so that a restarted worker takes up the lease it died with.
        let workers: Vec<Worker> = (1..=workers)
            .map(|number| {
                self.store.register_worker(NewWorker::new(format!("core-{number}")).kind("cpu"))
            })
            .collect::<milepost::Result<_>>()?;
        thread::scope(|scope| {
            let threads: Vec<_> =
                workers.iter().map(|worker| scope.spawn(move || self.run_worker(worker))).collect();
            let ends: Vec<_> = threads
                .into_iter()
                .map(|thread| thread.join().unwrap_or_else(|panic| resume_unwind(panic)))
                .collect();
            ends.into_iter().collect()
        })
    }

    fn run_worker(&self, worker: &Worker) -> Result<()> {
        let end = self.work(worker);
        if end.is_err() {
            self.stop.store(true, Ordering::Relaxed);
        }
        end
    }

    fn work(&self, worker: &Worker) -> Result<()> {
        let bar = self.progress.of_worker(worker.name());
        while !self.is_stopping()
            && let Some(lease) = self.next_lease(worker, &bar)?
        {
            self.scan_job(worker, lease, &bar)?;
        }
        Ok(())
    }

    /// The next job, waiting for one while others hold all that is left.
    fn next_lease(&self, worker: &Worker, bar: &WorkerProgress<'_>) -> Result<Option<Lease>> {
        let request = worker.request(LEASE).of_prefix(self.puzzle.prefix()).resume().keep_alive();
        let mut answer = request.send()?;
        loop {
            answer = match answer {
                LeaseOutcome::Leased(lease) => return Ok(Some(lease)),
                LeaseOutcome::Busy(_) if self.is_stopping() => return Ok(None),
                LeaseOutcome::Busy(busy) => {
                    bar.waits(busy.until());
                    busy.wait_at_most(Duration::from_millis(200))?
                }
                _ => return Ok(None),
            };
        }
    }

    fn scan_job(&self, worker: &Worker, mut lease: Lease, bar: &WorkerProgress<'_>) -> Result<()> {
        bar.takes(&lease);
        // Where it stops early, dropping the lease gives the job back.
        while let Some(mut batch) = lease.next_batch(self.batch).filter(|_| !self.is_stopping()) {
            let (nonces, started) = (batch.range(), Instant::now());
            let positions = nonces.end - nonces.start;
            let found: Vec<_> = self.puzzle.solutions(nonces).collect();
            for (nonce, hash) in &found {
                batch.add_finding(nonce.to_be_bytes(), hash.0);
            }
            let took = started.elapsed();
            // One transaction: the cursor, the history record and the findings. The last one
            // completes the job.
            match lease.checkpoint(batch) {
                // As when the computer slept for longer than the lease. Nothing is wrong: whoever
                // has the job now went on from its last checkpoint.
                Err(Error::LeaseLost { job, .. }) => {
                    hand_in_late(worker, &lease, &found)?;
                    bar.say(&format!("{} lost job {job} to another", worker.name()))?;
                    break;
                }
                moved => moved?,
            };
            bar.moved(&lease, positions, took)?;
            for (nonce, hash) in found {
                bar.say(&format!("{} found nonce {nonce} with hash {hash}", worker.name()))?;
            }
        }
        Ok(())
    }

    fn is_stopping(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
}

/// A lost lease moves no cursor any more, but what was found is worth keeping.
fn hand_in_late(worker: &Worker, lease: &Lease, found: &[(u32, Hash)]) -> Result<()> {
    for (nonce, hash) in found {
        worker.add_finding(lease.job(), milepost::NewFinding::new(nonce.to_be_bytes(), hash.0))?;
    }
    Ok(())
}
