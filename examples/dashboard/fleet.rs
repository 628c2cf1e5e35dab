//! A fleet that worked for forty days, under a clock set by hand.

use std::collections::BTreeMap;
use std::time::Duration;

use milepost::{Batch, Lease, ManualClock, NewJob, Store, Worker, WorkerId};

pub struct Fleet {
    pub store: Store,
    /// What each worker handled.
    pub items: BTreeMap<WorkerId, u128>,
    /// The worker that does less today than it used to.
    pub slowed: WorkerId,
    /// Held until the end, so that the dashboard has leases to show.
    _leases: Vec<Lease>,
}

const WORKERS: [(&str, &str); 6] = [
    ("cloud-01", "cloud"),
    ("cloud-02", "cloud"),
    ("gpu-01", "gpu"),
    ("gpu-02", "gpu"),
    ("pc-01", "pc"),
    ("pc-02", "pc"),
];
const PREFIXES: [&str; 3] = ["alpha", "beta", "gamma"];
const DAYS: u64 = 40;
const ROUNDS_A_DAY: u64 = 24;
const LEASE: Duration = Duration::from_secs(2 * 3600);
const JOBS: u64 = 6;
const JOB: u64 = 7_000_000;
/// Positions that a worker of each kind handles in an hour.
const BATCHES: [u64; 3] = [10_000, 40_000, 4_000];

pub fn generate() -> milepost::Result<Fleet> {
    let clock = ManualClock::at("2026-01-08T00:30:00Z".parse()?);
    let store =
        milepost::Builder::on_engine(std::sync::Arc::new(milepost::storage::MemoryEngine::new()))
            .history_limit(1_000)
            .clock(clock.clone())
            .open()?;
    for prefix in PREFIXES {
        let jobs = (0..JOBS).map(|n| NewJob::new(prefix, n * JOB..(n + 1) * JOB));
        store.create_jobs(jobs)?;
    }
    let trouble = store.create_job(NewJob::new("trouble", 0..10).max_attempts(1))?;
    let dropped = store.create_job(NewJob::new("trouble", 10..20))?;
    let workers: Vec<Worker> =
        WORKERS.iter().map(|(name, kind)| store.worker(name, kind)).collect::<Result<_, _>>()?;
    if let Some(mut lease) = workers[0].request(LEASE).of_job(trouble).lease()?.leased() {
        lease.fail("the input is not readable")?;
    }
    store.cancel_job(dropped)?;

    let mut items: BTreeMap<WorkerId, u128> = BTreeMap::new();
    let mut held: Vec<Option<Lease>> = workers.iter().map(|_| None).collect();
    for round in 0..DAYS * ROUNDS_A_DAY {
        clock.advance(Duration::from_secs(86_400 / ROUNDS_A_DAY));
        for (number, worker) in workers.iter().enumerate() {
            let (handled, batch) = work(round, number as u64);
            if let Some(range) = next(worker, &mut held[number], BATCHES[number / 2])?
                && let Some(lease) = &mut held[number]
            {
                let batch = batch(&range);
                lease.checkpoint(range.end, batch)?;
                *items.entry(worker.id()).or_default() += u128::from(handled);
            }
        }
    }
    let slowed = workers[3].id();
    let leases = held.into_iter().flatten().collect();
    Ok(Fleet { store, items, slowed, _leases: leases })
}

/// The next positions of a worker: of the job it holds, or of the next one.
fn next(
    worker: &Worker,
    held: &mut Option<Lease>,
    most: u64,
) -> milepost::Result<Option<std::ops::Range<u64>>> {
    loop {
        if let Some(lease) = held {
            if let Some(range) = lease.next_batch(most) {
                return Ok(Some(range));
            }
            lease.complete()?;
        }
        *held = worker.lease(LEASE)?.leased();
        if held.is_none() {
            return Ok(None);
        }
    }
}

/// What a worker does in a round: kinds differ in speed, and one worker slows down on the last day.
fn work(round: u64, number: u64) -> (u64, impl Fn(&std::ops::Range<u64>) -> Batch) {
    let items = BATCHES[number as usize / 2] - (round * 7 + number * 13) % 500;
    let mut millis =
        [400_000, 300_000, 900_000][number as usize / 2] + number * 15_000 + round % 970;
    if number == 3 && round >= (DAYS - 1) * ROUNDS_A_DAY - 1 {
        millis *= 3;
    }
    let batch = move |range: &std::ops::Range<u64>| {
        let mut batch = Batch::of(range, Duration::from_millis(millis)).items(items);
        if (round + number).is_multiple_of(211) {
            batch = batch.error("timed out, and tried again");
        }
        if (round * 6 + number).is_multiple_of(1_237) {
            batch = batch.finding(format!("hit-{round}"), format!("near {}", range.start));
        }
        batch
    };
    (items, batch)
}
