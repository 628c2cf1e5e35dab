//! A fleet with a past of two years, a day of work, and some trouble.

use std::path::Path;
use std::time::Duration;

use milepost::{
    Day, Import, Lease, ManualClock, Month, NewJob, NewWorker, Store, Timestamp, Totals, Worker,
};

use crate::support::Result;

/// The day that is looked at, from six in the morning until noon.
const TODAY: &str = "2026-02-16T06:00:00Z";
/// Months before this one are taken in whole, the days since then one by one.
const FIRST_MONTH: &str = "2024-01";
const FIRST_DAY: &str = "2025-12-01";

/// How long a batch takes, and how many there are until noon.
const BATCH: Duration = Duration::from_secs(600);
const BATCHES: u64 = 36;
const LEASE: Duration = Duration::from_secs(1_800);

/// So few that the morning's first batches have left history, and stand in the tiers behind it.
const HISTORY_LIMIT: u32 = 100;

struct Machine {
    name: &'static str,
    kind: &'static str,
    prefix: &'static str,
    /// Items a second in the past.
    speed: u64,
    /// Items a second today; none at all if it is switched off.
    today: u64,
}

const MACHINES: [Machine; 6] = [
    Machine { name: "gpu-1", kind: "gpu", prefix: "alpha", speed: 9_000, today: 9_000 },
    Machine { name: "gpu-2", kind: "gpu", prefix: "alpha", speed: 8_000, today: 8_400 },
    Machine { name: "pc-1", kind: "pc", prefix: "beta", speed: 1_000, today: 1_000 },
    Machine { name: "pc-2", kind: "pc", prefix: "beta", speed: 900, today: 540 },
    Machine { name: "pc-3", kind: "pc", prefix: "beta", speed: 500, today: 500 },
    Machine { name: "retired", kind: "pc", prefix: "beta", speed: 300, today: 0 },
];

/// The fleet at noon.
pub struct Fleet {
    pub store: Store,
    /// How many items were handled ever.
    pub put_in: u128,
    /// What the machines hold at noon: dropped, a lease would be released.
    _held: Vec<Lease>,
}

impl Fleet {
    /// Makes the fleet in a new file.
    pub fn make(path: &Path) -> Result<Fleet> {
        let clock = ManualClock::at(TODAY.parse()?);
        let store =
            Store::builder(path).history_limit(HISTORY_LIMIT).clock(clock.clone()).open()?;
        create_jobs(&store)?;

        let mut put_in = 0;
        let mut fleet = Vec::new();
        for machine in &MACHINES {
            let worker = store.register_worker(NewWorker::new(machine.name).kind(machine.kind))?;
            put_in += import_past(&store, &worker, machine.speed)?;
            if machine.today > 0 {
                fleet.push(AtWork { worker, machine, lease: None });
            }
        }
        make_trouble(&store)?;
        for number in 1..=BATCHES {
            clock.advance(BATCH);
            for at_work in &mut fleet {
                put_in += u128::from(at_work.do_batch(number)?);
            }
        }
        let held = fleet.into_iter().filter_map(|at_work| at_work.lease).collect();
        Ok(Fleet { store, put_in, _held: held })
    }
}

fn create_jobs(store: &Store) -> milepost::Result<()> {
    let cut = |prefix: &'static str, jobs: u64, size: u64| {
        (0..jobs).map(move |n| NewJob::new(prefix, n * size..(n + 1) * size))
    };
    store.create_jobs(cut("alpha", 6, 100_000_000).chain(cut("beta", 8, 10_000_000)))?;
    store.create_jobs([
        NewJob::new("gamma", 0..1_000).max_attempts(1).priority(1),
        NewJob::new("gamma", 1_000..2_000).priority(-1),
    ])?;
    Ok(())
}

/// A job that fails, one that is called off, and a finding that comes late.
fn make_trouble(store: &Store) -> Result<()> {
    let worker = store.register_worker(NewWorker::new("pc-3").kind("pc"))?;
    let mut lease = worker.request(LEASE).of_prefix("gamma").send()?.leased().ok_or("no job")?;
    lease.fail("the input cannot be read")?;
    worker.add_finding(lease.job(), milepost::NewFinding::new("page 12", "half a word"))?;

    let jobs = store.snapshot()?.jobs_of_prefix(b"gamma", None, 2)?;
    store.cancel_job(jobs[1].id)?;
    Ok(())
}

/// Takes in what a machine did before today, and answers how many items that was.
fn import_past(store: &Store, worker: &Worker, speed: u64) -> milepost::Result<u128> {
    let mut import = Import::new(format!("the past of {}", worker.name()), 1);
    let mut items = 0;
    let (first_month, first_day): (Month, Day) = (FIRST_MONTH.parse()?, FIRST_DAY.parse()?);
    for number in first_month.number()..first_day.month().number() {
        let month = Month::from_number(number)?;
        let totals = past(30, speed, month.first_day(), month.last_day());
        items += totals.items;
        import = import.monthly(worker.id(), month, totals);
    }
    for number in first_day.number()..TODAY.parse::<Timestamp>()?.day().number() {
        let day = Day::from_number(number)?;
        let totals = past(1, speed, day, day);
        items += totals.items;
        import = import.daily(worker.id(), day, totals);
    }
    store.import(import)?;
    Ok(items)
}

/// What so many days of eight hours add up to, a little more or less from one period to the next.
fn past(days: u64, speed: u64, first: Day, last: Day) -> Totals {
    let batches = days * 8 * 6;
    let speed = speed * (98 + u64::from(first.number().unsigned_abs()) % 5) / 100;
    let end = last.start().saturating_add(BATCH * 8 * 6);
    Totals::new(batches, u128::from(batches * speed * BATCH.as_secs()))
        .with_duration(BATCH * batches as u32)
        .with_rates(speed as f64, speed as f64)
        .with_times(first.start().saturating_add(BATCH), end)
}

/// A machine that is switched on today.
struct AtWork {
    worker: Worker,
    machine: &'static Machine,
    lease: Option<Lease>,
}

impl AtWork {
    /// Does one batch, and answers how many items that was.
    fn do_batch(&mut self, number: u64) -> Result<u64> {
        let machine = self.machine;
        let mut lease = match self.lease.take() {
            Some(lease) => lease,
            None => {
                let request = self.worker.request(LEASE).of_prefix(machine.prefix);
                request.send()?.leased().ok_or("no job is left")?
            }
        };
        let positions = machine.today * BATCH.as_secs();
        let mut batch = lease.next_batch(positions).ok_or("the job is done")?;
        let range = batch.range();
        let items = range.end - range.start;
        batch = batch.with_duration(Duration::from_micros(items * 1_000_000 / machine.today));
        if machine.name == "pc-1" && number.is_multiple_of(10) {
            batch = batch.with_error("a page was read twice");
        }
        if number.is_multiple_of(12) {
            batch.add_finding(range.start.to_string(), format!("found by {}", machine.name));
        }
        lease.checkpoint(batch)?;
        if range.end < lease.range().end {
            self.lease = Some(lease);
        }
        Ok(items)
    }
}
