//! Workers: who is there, how fast they are, and how they compare.

use std::io::Write;
use std::time::Duration;

use milepost::{HistoryRecord, Snapshot};

use crate::support::{Result, figure, or_dash, percent, print_table, rate, time, time_spent};

/// Prints them.
pub fn print(out: &mut dyn Write, view: &Snapshot) -> Result<()> {
    print_workers(out, view)?;
    print_active(out, view)?;
    print_history(out, view)?;
    print_standings(out, view)?;
    print_leaderboard(out, view)
}

fn print_workers(out: &mut dyn Write, view: &Snapshot) -> Result<()> {
    let rows = view.workers(None, 100)?.into_iter().map(|worker| {
        let last_prefix = or_dash(worker.last_prefix);
        [worker.id.to_string(), worker.name, worker.kind, time(worker.last_seen), last_prefix]
    });
    print_table(
        out,
        "workers(None, 100)",
        ["id", "name", "kind", "last seen", "last prefix"],
        rows,
    )?;

    let named = view.worker_named("gpu-2")?.ok_or("gpu-2 is not known")?;
    let by_id = view.worker(named.id)?.ok_or("gpu-2 is not known")?;
    let rows = [[by_id.id.to_string(), by_id.name, by_id.kind, time(by_id.first_seen)]];
    let header = ["id", "name", "kind", "first seen"];
    print_table(out, "worker(worker_named(\"gpu-2\").id)", header, rows)
}

fn print_active(out: &mut dyn Write, view: &Snapshot) -> Result<()> {
    let hour_ago = view.taken_at().saturating_sub(Duration::from_secs(3_600));
    let rows = view.active_since(hour_ago, None, 100)?.into_iter().map(|active| {
        [
            active.name,
            rate(active.recent.rate()),
            figure(active.recent.batches),
            figure(active.leases),
            time(active.last_seen),
        ]
    });
    let header = ["worker", "rate", "batches", "leases", "last seen"];
    print_table(out, "active_since(an hour ago, None, 100)", header, rows)?;

    let fleet = view.finished_since(hour_ago)?;
    let row = [figure(fleet.workers), figure(fleet.totals.items), rate(fleet.totals.rate())];
    let header = ["workers", "items", "rate of one on average"];
    print_table(out, "finished_since(an hour ago)", header, [row])?;
    let rate = rate(view.fleet_rate()?.per_second());
    print_table(out, "fleet_rate()", ["positions"], [[rate]])
}

fn print_history(out: &mut dyn Write, view: &Snapshot) -> Result<()> {
    let pc_1 = view.worker_named("pc-1")?.ok_or("pc-1 is not known")?.id;
    let job =
        view.jobs_of_prefix(b"alpha", None, 20)?.first().ok_or("there is no job of alpha")?.id;
    print_batches(out, "newest_history(None, 3)", &view.newest_history(None, 3)?)?;
    print_batches(
        out,
        "newest_history_of_worker(pc-1, None, 3)",
        &view.find_history(&milepost::HistoryFilter::default().worker(pc_1), None, 3)?,
    )?;
    print_batches(
        out,
        &format!("newest_history_of_job({job}, None, 3)"),
        &view.find_history(&milepost::HistoryFilter::default().job(job), None, 3)?,
    )?;
    print_batches(
        out,
        "newest_errors(None, 3)",
        &view.find_history(&milepost::HistoryFilter::default().errors(), None, 3)?,
    )
}

fn print_batches(out: &mut dyn Write, title: &str, records: &[HistoryRecord]) -> Result<()> {
    let rows = records.iter().map(|HistoryRecord { id, batch, .. }| {
        [
            id.to_string(),
            batch.worker.to_string(),
            or_dash(batch.job),
            figure(batch.start),
            figure(batch.items),
            time_spent(batch.duration),
            or_dash(batch.error.as_deref()),
        ]
    });
    print_table(out, title, ["batch", "worker", "job", "from", "items", "took", "error"], rows)
}

fn print_standings(out: &mut dyn Write, view: &Snapshot) -> Result<()> {
    let mut rows = Vec::new();
    for worker in view.workers(None, 100)? {
        let standing = view.standing(worker.id)?;
        rows.push([
            worker.name,
            rate(standing.today.rate()),
            rate(standing.lifetime.rate()),
            or_dash(standing.drop.map(percent)),
        ]);
    }
    print_table(out, "standing(..) of each", ["worker", "today", "lifetime", "drop"], rows)?;

    let rows = view.slowed(0.25, 100)?.into_iter().map(|slow| {
        [slow.worker.to_string(), rate(slow.today.rate()), or_dash(slow.drop.map(percent))]
    });
    print_table(out, "slowed(0.25, 100)", ["worker", "today", "drop"], rows)
}

fn print_leaderboard(out: &mut dyn Write, view: &Snapshot) -> Result<()> {
    let rows = view.leaderboard(5)?.into_iter().map(|entry| {
        let (items, rate) = (figure(entry.totals.items), rate(entry.totals.rate()));
        [entry.rank.to_string(), entry.name, items, rate]
    });
    print_table(out, "leaderboard(5)", ["rank", "worker", "items", "rate"], rows)?;

    let rows = view.fleet_by_kind()?.into_iter().map(|kind| {
        let totals = kind.totals;
        [kind.kind, figure(kind.workers), figure(totals.batches), figure(totals.items)]
    });
    print_table(out, "fleet_by_kind()", ["kind", "workers", "batches", "items"], rows)
}
