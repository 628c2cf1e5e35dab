//! Every view of a snapshot, as tables, from a generated fleet.
//!
//! ```sh
//! cargo run --release --example dashboard
//! ```
//!
//! What it teaches: which questions a snapshot answers. All answers are of one instant, so they
//! agree with each other, and the fleet may go on working meanwhile.
#![expect(clippy::print_stdout, reason = "an example talks to its user")]

mod fleet;
#[path = "../support/mod.rs"]
mod support;

use std::time::Duration;

use milepost::storage::Table;
use milepost::{DayStats, HistoryRecord, Job, MonthStats, Scope, Snapshot, Totals, WorkerId};

use support::{bytes, figure, or_dash, percent, print_table, rate, seconds};

const HOUR: Duration = Duration::from_secs(3600);

fn main() -> milepost::Result<()> {
    let fleet = fleet::generate()?;
    let view = fleet.store.snapshot()?;
    println!("The fleet as of {}", view.taken_at());

    live(&view)?;
    history(&view)?;
    periods(&view)?;
    comparisons(&view)?;
    jobs(&view)?;
    size(&view)?;
    as_json(&view)?;
    check(&view, &fleet)
}

fn live(view: &Snapshot) -> milepost::Result<()> {
    let since = view.taken_at().before(HOUR);
    let rows = view.active_since(since)?.into_iter().map(|active| {
        [
            active.worker.name,
            active.worker.kind,
            active.worker.last_seen.to_string(),
            figure(active.leases),
            figure(active.recent.batches),
            rate(active.recent.rate()),
        ]
    });
    let header = ["worker", "kind", "last seen", "leases", "batches", "rate"];
    print_table("Workers active in the last hour", header, rows);

    let fleet = view.fleet_rate(since)?;
    let row = [figure(fleet.workers), figure(fleet.totals.items), rate(fleet.per_second)];
    print_table("The fleet in the last hour", ["workers", "items", "rate"], [row]);

    let rows = view.workers()?.into_iter().map(|worker| {
        [
            worker.id.to_string(),
            worker.name,
            worker.kind,
            worker.first_seen.to_string(),
            or_dash(worker.last_prefix),
        ]
    });
    let header = ["worker", "name", "kind", "first seen", "last prefix"];
    print_table("All workers", header, rows);

    let rows = view.leases()?.into_iter().map(|job| {
        [
            job.id.to_string(),
            name(view, job.holder),
            job.prefix.to_string(),
            percent(job.share()),
            or_dash(job.deadline),
        ]
    });
    print_table("Leases", ["job", "holder", "prefix", "done", "lapses"], rows);
    Ok(())
}

fn history(view: &Snapshot) -> milepost::Result<()> {
    let someone = view.workers()?[0].id;
    let some_job = view.leases()?[0].id;
    batches(view, "Newest batches", view.newest_history(4)?);
    batches(view, "Newest batches of one worker", view.newest_history_of_worker(someone, 3)?);
    batches(view, "Newest batches of one job", view.newest_history_of_job(some_job, 3)?);
    batches(view, "Newest errors", view.newest_errors(3)?);
    Ok(())
}

fn batches(view: &Snapshot, title: &str, records: Vec<HistoryRecord>) {
    let rows = records.into_iter().map(|record| {
        [
            record.id.to_string(),
            name(view, Some(record.worker)),
            or_dash(record.job),
            figure(record.start),
            figure(record.items),
            seconds(record.duration_us),
            record.finished_at.to_string(),
            or_dash(record.error),
        ]
    });
    let header = ["batch", "worker", "job", "from", "items", "took", "finished", "error"];
    print_table(title, header, rows);
}

fn periods(view: &Snapshot) -> milepost::Result<()> {
    let someone = view.workers()?[0].id;
    let today = view.taken_at().day();
    let week = milepost::Day::from_number(today.number() - 6)?..=today;
    days("One worker, the last seven days", view.daily(someone, week.clone())?);
    days("One kind, the last seven days", view.daily(Scope::Kind("gpu"), week.clone())?);
    days("The fleet, the last seven days", view.daily(Scope::Fleet, week)?);
    months("The fleet, month by month", view.monthly(Scope::Fleet, ..)?);
    months("One worker, in its archived form", view.archived().monthly(someone, ..)?);
    days("The best day of the fleet", view.best_day(Scope::Fleet)?.into_iter().collect());
    months("The best month of one worker", view.best_month(someone)?.into_iter().collect());
    Ok(())
}

fn days(title: &str, days: Vec<DayStats>) {
    let rows = days.into_iter().map(|day| stats(day.day.to_string(), &day.totals));
    print_table(title, ["day", "batches", "errors", "items", "work", "rate"], rows);
}

fn months(title: &str, months: Vec<MonthStats>) {
    let rows = months.into_iter().map(|month| stats(month.month.to_string(), &month.totals));
    print_table(title, ["month", "batches", "errors", "items", "work", "rate"], rows);
}

fn stats(name: String, totals: &Totals) -> [String; 6] {
    [
        name,
        figure(totals.batches),
        figure(totals.errors),
        figure(totals.items),
        seconds(totals.duration_us),
        rate(totals.rate()),
    ]
}

fn comparisons(view: &Snapshot) -> milepost::Result<()> {
    let rows = view.leaderboard(5)?.into_iter().map(|entry| {
        [
            entry.rank.to_string(),
            entry.worker.name,
            figure(entry.totals.items),
            rate(entry.totals.rate()),
        ]
    });
    print_table("Leaderboard", ["rank", "worker", "items", "rate"], rows);

    let rows = view.fleet_by_kind()?.into_iter().map(|kind| {
        [kind.kind, figure(kind.workers), figure(kind.totals.items), rate(kind.totals.rate())]
    });
    print_table("By kind", ["kind", "workers", "items", "rate"], rows);

    let rows = view.slowed(0.25)?.into_iter().map(|standing| {
        [
            name(view, Some(standing.worker)),
            rate(standing.today.rate()),
            rate(standing.lifetime.rate()),
            standing.drop.map_or_else(|| "-".into(), percent),
        ]
    });
    let header = ["worker", "today", "lifetime", "slower by"];
    print_table("Slower today by more than a quarter", header, rows);
    Ok(())
}

fn jobs(view: &Snapshot) -> milepost::Result<()> {
    let counts = view.job_counts();
    let row = [counts.pending, counts.leased, counts.completed, counts.failed, counts.cancelled]
        .map(figure);
    let header = ["pending", "leased", "completed", "failed", "cancelled"];
    print_table("Jobs by status", header, [row]);

    let rows = view.progress_all()?.into_iter().map(|progress| {
        [
            progress.prefix.to_string(),
            figure(progress.jobs.all()),
            figure(progress.done),
            figure(progress.total),
            percent(progress.share),
            figure(progress.workers),
            or_dash(progress.last_activity),
            if progress.open == 0 { "nothing open".into() } else { or_dash(progress.eta) },
        ]
    });
    let header = ["prefix", "jobs", "done", "total", "share", "workers", "last activity", "ETA"];
    print_table("Progress", header, rows);

    let prefix = &view.prefixes()?[0];
    let title = format!("The jobs of {prefix}");
    let rows = view.jobs_of_prefix(prefix)?.into_iter().map(|job| {
        [
            job.id.to_string(),
            figure(job.start),
            figure(job.end),
            figure(job.cursor),
            job.status.to_string(),
            figure(job.attempts),
            or_dash(job.last_error),
        ]
    });
    let header = ["job", "from", "to", "cursor", "status", "attempts", "last error"];
    print_table(&title, header, rows);

    let rows = view.findings(None, 5)?.into_iter().map(|finding| {
        [
            finding.job.to_string(),
            String::from_utf8_lossy(&finding.key).into_owned(),
            String::from_utf8_lossy(&finding.payload).into_owned(),
            name(view, Some(finding.worker)),
            if finding.late { "late" } else { "" }.to_string(),
        ]
    });
    print_table("Findings", ["job", "key", "payload", "worker", ""], rows);
    Ok(())
}

fn size(view: &Snapshot) -> milepost::Result<()> {
    let size = view.size()?;
    let rows = size
        .tables
        .iter()
        .filter(|table| table.rows > 0)
        .map(|table| [table.name.to_string(), figure(table.rows), bytes(table.bytes)]);
    print_table("Tables", ["table", "rows", "pages"], rows);
    let row = [bytes(size.stored_bytes), bytes(size.used_bytes)];
    print_table("Size", ["file", "in use"], [row]);
    Ok(())
}

/// Every view serializes: this is what a web page would get.
fn as_json(view: &Snapshot) -> milepost::Result<()> {
    let best = view.best_day(Scope::Fleet)?;
    match serde_json::to_string(&best) {
        Ok(json) => println!("\nThe best day as JSON: {json}"),
        Err(error) => println!("\nThe best day cannot be shown as JSON: {error}"),
    }
    Ok(())
}

/// What the tables show has to be what the fleet did.
fn check(view: &Snapshot, fleet: &fleet::Fleet) -> milepost::Result<()> {
    let board = view.leaderboard(usize::MAX)?;
    assert!(board.is_sorted_by(|a, b| a.totals.items >= b.totals.items));
    assert_eq!(board.len(), fleet.items.len());
    for entry in &board {
        assert_eq!(entry.totals.items, fleet.items[&entry.worker.id]);
    }
    let all: u128 = fleet.items.values().sum();
    let by_kind: u128 = view.fleet_by_kind()?.iter().map(|kind| kind.totals.items).sum();
    let by_day: u128 = view.daily(Scope::Fleet, ..)?.iter().map(|day| day.totals.items).sum();
    let by_month: u128 = view.monthly(Scope::Fleet, ..)?.iter().map(|m| m.totals.items).sum();
    assert_eq!([by_kind, by_day, by_month], [all; 3], "no view may miss anything");

    let slowed: Vec<WorkerId> = view.slowed(0.25)?.iter().map(|slow| slow.worker).collect();
    assert_eq!(slowed, [fleet.slowed]);
    let done: u64 = view.jobs(None, usize::MAX)?.iter().map(Job::done).sum();
    let progress: u128 = view.progress_all()?.iter().map(|progress| progress.done).sum();
    assert_eq!(progress, u128::from(done));
    assert_eq!(view.job_counts().all(), view.size()?.rows(Table::Jobs));
    view.verify()?;
    Ok(())
}

fn name(view: &Snapshot, worker: Option<WorkerId>) -> String {
    let known = worker.and_then(|id| view.worker(id).ok().flatten());
    or_dash(known.map(|worker| worker.name))
}
