//! A workload that touches every rule, the same for every store that it is run on. Each of its
//! commands is one commit.

use std::time::Duration;

use fastrand::Rng;
use milepost::{
    Action, Batch, Import, Lease, LeaseCommand, ManualClock, NewJob, NewWorker, PastBatch, Store,
    Worker,
};

const YEARS: Duration = Duration::from_secs(3 * 365 * 86_400);
const WORKERS: usize = 3;

/// A lease without its handle, which would give the job back when it is dropped.
struct Held {
    job: milepost::JobId,
    token: milepost::Token,
    range_end: u64,
    cursor: u64,
    sequence: u64,
}

impl Held {
    fn new(lease: Lease) -> Held {
        let held = Held {
            job: lease.job(),
            token: lease.token(),
            range_end: lease.range().end,
            cursor: lease.cursor(),
            sequence: 0,
        };
        lease.abandon();
        held
    }
}

pub struct Script {
    store: Store,
    clock: ManualClock,
    rng: Rng,
    workers: Vec<Worker>,
    held: Vec<Option<Held>>,
    created: u64,
    imports: u64,
}

impl Script {
    /// Gets a store ready: what is done here is not looked at.
    pub fn new(store: Store, clock: ManualClock, seed: u64) -> Script {
        let workers = (0..WORKERS)
            .map(|n| store.register_worker(NewWorker::new(format!("pc-{n}")).kind("pc")).unwrap())
            .collect();
        let held = (0..WORKERS).map(|_| None).collect();
        let rng = Rng::with_seed(seed);
        Script { store, clock, rng, workers, held, created: 0, imports: 0 }
    }

    /// Carries out the next command; says whether it was synced, whatever the durability.
    pub fn step(&mut self) -> bool {
        self.clock.advance(Duration::from_secs(self.rng.u64(..200_000)));
        let who = self.rng.usize(..WORKERS);
        match self.rng.u64(..40) {
            0 => {
                self.import();
                false
            }
            1 => {
                let mut cap = || self.rng.u32(1..=4);
                let (history, daily, monthly) = (3 * cap(), cap(), cap());
                self.store
                    .set_caps(
                        milepost::Caps::default()
                            .with_history(history)
                            .with_daily(daily)
                            .with_monthly(monthly),
                    )
                    .unwrap();
                true
            }
            2 => {
                self.create();
                true
            }
            _ => self.work(who),
        }
    }

    fn create(&mut self) {
        let start = self.created * 100;
        self.created += 1;
        self.store.create_job(NewJob::new("keys", start..start + 100)).unwrap();
    }

    fn import(&mut self) {
        self.imports += 1;
        let now = self.store.now();
        let worker = self.workers[self.rng.usize(..WORKERS)].id();
        let import = (0..3).fold(Import::new("script", self.imports), |import, n| {
            let finished_at = now.saturating_sub(Duration::from_secs(40 * 86_400 * n));
            let batch = PastBatch::new(worker, 0..n, finished_at);
            import.history(batch.with_duration(Duration::from_millis(n)))
        });
        self.store.import(import).unwrap();
    }

    fn work(&mut self, who: usize) -> bool {
        let Some(held) = &mut self.held[who] else {
            match self.workers[who].request(YEARS).send().unwrap().leased() {
                Some(lease) => self.held[who] = Some(Held::new(lease)),
                None => self.create(),
            }
            return true;
        };
        let left = held.range_end - held.cursor;
        let (action, ends) = match self.rng.u64(..30) {
            0 => (Action::Release, true),
            1 => (Action::Fail { reason: "no luck".into(), batch: None }, true),
            2 => (Action::Renew, false),
            _ => {
                let (from, to) = (held.cursor, held.cursor + self.rng.u64(1..=left.min(30)));
                held.cursor = to;
                let took = Duration::from_millis(self.rng.u64(..5_000));
                let mut batch = Batch::new(from..to, took);
                if self.rng.u64(..4) == 0 {
                    batch = batch.with_finding(from.to_be_bytes(), [7; 300]);
                }
                if self.rng.u64(..6) == 0 {
                    batch = batch.with_error("it timed out");
                }
                // The last one completes the job, which is synced.
                (Action::Checkpoint(batch), to == held.range_end)
            }
        };
        held.sequence += 1;
        let (job, token, sequence) = (held.job, held.token, held.sequence);
        self.store.submit(LeaseCommand::new(job, token, sequence, action)).unwrap();
        if ends {
            self.held[who] = None;
        }
        ends
    }
}
