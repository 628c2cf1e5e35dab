//! Workers that sleep for longer than their lease, come back, and go on as if nothing had
//! happened; that share a name; whose clocks are off, by up to a year either way.
//!
//! Each simulated process has a clock of its own, and holds its lease for as long as it likes. A
//! ledger outside of the store decides: positions only move forward, from the position they are
//! at, under the newest token of their job, and everything is counted once (promises 2, 3, 4
//! and 12).

#![expect(clippy::print_stdout, clippy::unwrap_used, reason = "these are tests")]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use fastrand::Rng;
use milepost::testing::MemoryEngine;
use milepost::{
    Batch, Builder, Error, JobId, JobStatus, Lease, LeaseOutcome, ManualClock, NewJob, NewWorker,
    Scope, Store, Timestamp, Worker,
};

const PROCESSES: u64 = 6;
const JOBS: u64 = 4;
const POSITIONS: u64 = 400;
const YEAR: i64 = 365 * 86_400;

/// What is true of a job.
#[derive(Debug, Default, Clone, Copy)]
struct Truth {
    cursor: u64,
    token: u64,
    batches: u64,
}

struct Process {
    worker: Worker,
    /// How far its clock is off, in seconds.
    off: i64,
    lease: Option<Lease>,
    /// The simulated second at which it wakes up.
    wakes: i64,
}

struct Simulation {
    store: Store,
    clock: ManualClock,
    start: Timestamp,
    seconds: i64,
    rng: Rng,
    jobs: BTreeMap<JobId, Truth>,
    processes: Vec<Process>,
    lost: u64,
}

impl Simulation {
    fn new(builder: Builder, seed: u64) -> Simulation {
        let start: Timestamp = "2026-02-16T12:00:00Z".parse().unwrap();
        let clock = ManualClock::at(start);
        let store = builder.history_limit(20).clock(clock.clone()).open().unwrap();
        let range = |n| n * POSITIONS..(n + 1) * POSITIONS;
        let ids = store.create_jobs((0..JOBS).map(|n| NewJob::new("keys", range(n)))).unwrap();
        let truth =
            |(n, id): (u64, JobId)| (id, Truth { cursor: n * POSITIONS, ..Truth::default() });
        let jobs = (0..).zip(ids).map(truth).collect();
        // Two processes share each name.
        let process = |n: u64| Process {
            worker: store
                .register_worker(NewWorker::new(format!("pc-{}", n / 2)).kind("pc"))
                .unwrap(),
            off: 0,
            lease: None,
            wakes: 0,
        };
        let processes = (0..PROCESSES).map(process).collect();
        // Shown where the test fails.
        println!("seed {seed}");
        let rng = Rng::with_seed(seed);
        Simulation { store, clock, start, seconds: 0, rng, jobs, processes, lost: 0 }
    }

    /// One process does something, by its own clock; says whether work is left.
    fn step(&mut self) -> bool {
        self.seconds += self.rng.i64(0..20);
        let who = self.rng.u64(..PROCESSES) as usize;
        if self.processes[who].wakes > self.seconds {
            return true;
        }
        if self.rng.u64(..40) == 0 {
            self.processes[who].off = self.rng.i64(-YEAR..YEAR);
        }
        let seconds = self.seconds + self.processes[who].off;
        let by = Duration::from_secs(seconds.unsigned_abs());
        self.clock.set(if seconds < 0 {
            self.start.saturating_sub(by)
        } else {
            self.start.saturating_add(by)
        });
        if self.rng.u64(..6) == 0 {
            // Longer than any lease.
            self.processes[who].wakes = self.seconds + self.rng.i64(200..2_200);
        }
        match self.processes[who].lease.take() {
            Some(lease) => self.go_on(who, lease),
            None => return self.ask(who),
        }
        true
    }

    fn ask(&mut self, who: usize) -> bool {
        let length = Duration::from_secs(self.rng.u64(30..130));
        let mut request = self.processes[who].worker.request(length);
        if self.rng.u64(..3) == 0 {
            request = request.resume();
        }
        match request.send().unwrap() {
            LeaseOutcome::Leased(lease) => {
                let truth = self.jobs.get_mut(&lease.job()).unwrap();
                assert!(lease.token().get() > truth.token, "a token was issued twice");
                assert_eq!(lease.cursor(), truth.cursor, "a lease begins where the job is");
                truth.token = lease.token().get();
                self.processes[who].lease = Some(lease);
                true
            }
            LeaseOutcome::Busy(_) => true,
            _ => false,
        }
    }

    fn go_on(&mut self, who: usize, mut lease: Lease) {
        let truth = self.jobs.get_mut(&lease.job()).unwrap();
        let is_newest = lease.token().get() == truth.token;
        let outcome = match lease.next_batch(self.rng.u64(1..=30)) {
            Some(batch) => {
                let range = batch.range();
                let batch = Batch::new(range.clone(), Duration::from_secs(3));
                let outcome = lease.checkpoint(batch).map(|_| ());
                if outcome.is_ok() {
                    assert!(is_newest && range.start == truth.cursor, "a zombie moved a cursor");
                    truth.cursor = range.end;
                    truth.batches += 1;
                }
                outcome
            }
            None => lease.renew().map(|_| ()),
        };
        match outcome {
            // It ended with its completion, or is held on.
            Ok(()) if lease.next_batch(1).is_none() => {}
            Ok(()) => self.processes[who].lease = Some(lease),
            Err(Error::LeaseLost { .. }) => {
                // A newer token, or somebody completed the job under this one.
                let job = self.store.snapshot().unwrap().job(lease.job()).unwrap().unwrap();
                assert!(!is_newest || job.status == JobStatus::Completed, "lost without a reason");
                self.lost += 1;
            }
            Err(error) => panic!("{error:?}"),
        }
    }

    fn check(&self) {
        let view = self.store.snapshot().unwrap();
        view.verify().unwrap();
        let mut items = 0;
        for (n, (id, truth)) in (0..).zip(&self.jobs) {
            let job = view.job(*id).unwrap().unwrap();
            assert_eq!((job.cursor, job.batches), (truth.cursor, truth.batches));
            assert_eq!(job.token.get(), truth.token);
            items += truth.cursor - n * POSITIONS;
        }
        let totals = view.lifetime(Scope::Fleet).unwrap().totals;
        assert_eq!(totals.items, u128::from(items), "counted once, whoever did it");
    }
}

/// Runs to the end; says how many steps that took, and how many leases were lost.
fn run(builder: Builder, seed: u64) -> (u64, u64) {
    let mut simulation = Simulation::new(builder, seed);
    let mut steps = 0;
    while simulation.step() {
        steps += 1;
        if steps % 10 == 0 {
            simulation.check();
        }
        assert!(steps < 200_000, "seed {seed}: no job stays held for ever");
    }
    simulation.check();
    let all = u128::from(JOBS * POSITIONS);
    let totals = simulation.store.snapshot().unwrap().lifetime(Scope::Fleet).unwrap().totals;
    assert_eq!(totals.items, all, "seed {seed}");
    (steps, simulation.lost)
}

#[test]
fn zombies_move_no_cursor_and_clocks_change_when_but_never_what() {
    let (mut steps, mut lost) = (0, 0);
    for seed in 1..=60 {
        let engine = Arc::new(MemoryEngine::new());
        let (more_steps, more_lost) = run(Builder::on_engine(engine), seed);
        steps += more_steps;
        lost += more_lost;
    }
    println!("{steps} steps, {lost} leases lost");
    assert!(steps > 20_000 && lost > 500, "{steps} steps, {lost} leases lost");
}

#[test]
fn zombies_move_no_cursor_in_a_file() {
    let folder = tempfile::tempdir().unwrap();
    let (steps, lost) = run(Store::builder(folder.path().join("zombies.milepost")), 7);
    assert!(steps > 100 && lost > 0, "{steps} steps, {lost} leases lost");
}
