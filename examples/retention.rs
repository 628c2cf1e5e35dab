//! Years of work in seconds: every tier at its cap, the file bounded, and no number lost.
//!
//! ```sh
//! cargo run --release --example retention
//! ```
//!
//! Three workers send a batch every two hours for six years, by a clock that is moved by hand. What
//! leaves a tier stands in the coarser ones, so all that was ever put in can still be added up.
//!
//! What it teaches: caps, how much of the past they keep, and that a lifetime forgets nothing.

mod support;

use std::collections::BTreeMap;
use std::io::{self, Write};
use std::process::ExitCode;
use std::time::Duration;

use milepost::{
    Batch, Clock, Day, DayStats, Durability, Lease, ManualClock, Month, MonthStats, NewJob,
    NewWorker, Scope, Snapshot, Store, Timestamp, Totals, WorkerId,
};

use support::{Result, bytes, figure, or_dash, print_table};

const HISTORY_LIMIT: u32 = 1_000;
const DAILY_LIMIT: u32 = 365;
const MONTHLY_LIMIT: u32 = 24;

const WORKERS: [&str; 3] = ["anna", "bert", "cleo"];
const FIRST_MONTH: (i16, i8) = (2020, 1);
const MONTHS: i32 = 72;
/// How often each worker sends a batch.
const EVERY: Duration = Duration::from_secs(2 * 3600);
const LEASE: Duration = Duration::from_secs(3 * 3600);
/// The file never outgrows this, however long the work goes on.
const BOUND: u64 = 4 << 20;

fn main() -> ExitCode {
    support::exit_code(run(&mut io::stdout().lock()))
}

fn run(out: &mut dyn Write) -> Result<()> {
    let folder = tempfile::tempdir()?;
    let first = Month::new(FIRST_MONTH.0, FIRST_MONTH.1)?;
    let clock = ManualClock::at(first.first_day().start());
    let store = Store::builder(folder.path().join("retention.milepost"))
        .history_limit(HISTORY_LIMIT)
        .daily_limit(DAILY_LIMIT)
        .monthly_limit(MONTHLY_LIMIT)
        // Nothing here has to survive the end of this program, so a sync now and then will do.
        .durability(Durability::Relaxed { max_delay: Duration::from_millis(100) })
        .clock(clock.clone())
        .open()?;

    let mut fleet = start(&store)?;
    let mut ledger = Ledger::default();
    let mut rows = Vec::new();
    for month in 0..MONTHS {
        work(&mut fleet, &mut ledger, &clock, Month::from_number(first.number() + month)?)?;
        if month % 6 == 5 {
            rows.push(size(&store, &ledger)?);
        }
    }
    let header = ["until", "put in", "history", "days", "months", "lifetimes", "file", "in use"];
    print_table(out, "Rows and bytes as the years go by", header, rows)?;

    let view = store.snapshot()?;
    check_caps(&view)?;
    ledger.check(&view)?;
    print_kept(out, &view)?;
    let verified = view.verify()?;
    let rows = figure(verified.rows);
    writeln!(out, "\nno number is lost or counted twice; {rows} rows are in order")?;
    store.close()?;
    Ok(())
}

/// Gives each worker a job that it will not finish.
fn start(store: &Store) -> Result<Vec<Lease>> {
    let jobs = (0..WORKERS.len() as u64).map(|n| NewJob::new(b"years", n << 32..(n + 1) << 32));
    store.create_jobs(jobs)?;
    let lease =
        |name| store.register_worker(NewWorker::new(name).kind("simulated"))?.next_lease(LEASE);
    WORKERS.into_iter().map(|name| lease(name)?.ok_or_else(|| "no job is left".into())).collect()
}

/// Works through a month.
fn work(
    fleet: &mut [Lease],
    ledger: &mut Ledger,
    clock: &ManualClock,
    month: Month,
) -> milepost::Result<()> {
    while clock.now().day().month() == month {
        for lease in &mut *fleet {
            let number = ledger.batches;
            let items = 10_000 + number.wrapping_mul(0x9E37_79B9_7F4A_7C15) % 5_000;
            let took = Duration::from_millis(3_600_000 + items * 97 % 600_000);
            let failed = number.is_multiple_of(97);

            let to = lease.cursor() + items;
            let batch = Batch::new(lease.cursor()..to, took);
            lease.checkpoint(if failed { batch.with_error("it hailed") } else { batch })?;
            ledger.put_in(lease.worker(), clock.now(), items, took, failed);
        }
        clock.advance(EVERY);
    }
    Ok(())
}

/// What was put in, kept by other means: one sum for each worker and day.
#[derive(Default)]
struct Ledger {
    batches: u64,
    days: BTreeMap<(WorkerId, Day), Totals>,
}

impl Ledger {
    fn put_in(
        &mut self,
        worker: WorkerId,
        at: Timestamp,
        items: u64,
        took: Duration,
        failed: bool,
    ) {
        self.batches += 1;
        let rate = items as f64 * 1e6 / took.as_micros() as f64;
        let sum = self.days.entry((worker, at.day())).or_default();
        sum.batches += 1;
        sum.errors += u64::from(failed);
        sum.items += u128::from(items);
        *sum = sum.with_duration(sum.duration() + took);
        sum.min_rate = Some(sum.min_rate.map_or(rate, |lowest| lowest.min(rate)));
        sum.max_rate = Some(sum.max_rate.map_or(rate, |highest| highest.max(rate)));
        sum.first_at = sum.first_at.or(Some(at));
        sum.last_at = Some(at);
    }

    /// The sum over the days of a worker that are wanted.
    fn sum(&self, worker: WorkerId, wanted: impl Fn(Day) -> bool) -> Totals {
        let days = self.days.iter().filter(|((who, day), _)| *who == worker && wanted(*day));
        days.map(|(_, totals)| *totals).collect()
    }

    /// Checks that what the store kept is what was put in, field by field.
    fn check(&self, view: &Snapshot) -> Result<()> {
        for worker in view.workers(None, usize::MAX)? {
            let id = worker.id;
            assert_eq!(view.lifetime(id)?.totals, self.sum(id, |_| true));
            for MonthStats { month, totals, .. } in view.monthly(id, ..)? {
                assert_eq!(totals, self.sum(id, |day| day.month() == month), "{month}");
            }
            for DayStats { day, totals, .. } in view.daily(id, ..)? {
                assert_eq!(totals, self.days[&(id, day)], "{day}");
            }
        }
        assert_eq!(view.lifetime(Scope::Fleet)?.totals.batches, self.batches);
        Ok(())
    }
}

/// The rows of the tiers and the bytes of the file, as of now.
fn size(store: &Store, ledger: &Ledger) -> Result<[String; 8]> {
    let view = store.snapshot()?;
    let size = view.size()?;
    assert!(size.stored_bytes <= BOUND, "the file has grown to {} bytes", size.stored_bytes);
    let rows = |tier| figure(size.tables[tier].rows);
    Ok([
        view.taken_at().day().to_string(),
        figure(ledger.batches),
        rows("history"),
        rows("daily"),
        rows("monthly"),
        rows("lifetime"),
        bytes(size.stored_bytes),
        bytes(size.used_bytes),
    ])
}

/// Checks that every tier is exactly at its cap.
fn check_caps(view: &Snapshot) -> Result<()> {
    assert_eq!(view.newest_history(None, usize::MAX)?.len(), HISTORY_LIMIT as usize);
    let stored = view.archived();
    for worker in view.workers(None, usize::MAX)? {
        assert_eq!(stored.daily(worker.id, ..)?.len(), DAILY_LIMIT as usize);
        assert_eq!(stored.monthly(worker.id, ..)?.len(), MONTHLY_LIMIT as usize);
    }
    Ok(())
}

/// How far back each tier still reaches.
fn print_kept(out: &mut dyn Write, view: &Snapshot) -> Result<()> {
    let rows = view.workers(None, usize::MAX)?.into_iter().map(|worker| {
        let (days, months) = (view.daily(worker.id, ..)?, view.monthly(worker.id, ..)?);
        let life = view.lifetime(worker.id)?;
        Ok([
            worker.name,
            or_dash(days.first().map(|first| first.day)),
            or_dash(months.first().map(|first| first.month)),
            figure(life.totals.items),
            figure(life.rolled.items),
        ])
    });
    let rows: Vec<_> = rows.collect::<Result<_>>()?;
    let header = ["worker", "days from", "months from", "lifetime items", "in lifetime only"];
    print_table(out, "What is kept of each worker", header, rows)
}
