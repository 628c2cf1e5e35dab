//! Workers: who is there, how fast they are, and how they compare.

use std::time::Duration;

use milepost::{HistoryRecord, Snapshot};

use crate::Result;
use crate::support::{figure, or_dash, percent, print_table, rate, seconds, time};

/// Prints them.
pub fn print(view: &Snapshot) -> Result<()> {
    print_workers(view)?;
    print_active(view)?;
    print_history(view)?;
    print_standings(view)?;
    print_leaderboard(view)
}

fn print_workers(view: &Snapshot) -> Result<()> {
    let rows = view.workers()?.into_iter().map(|worker| {
        let last_prefix = or_dash(worker.last_prefix);
        [worker.id.to_string(), worker.name, worker.kind, time(worker.last_seen), last_prefix]
    });
    print_table("workers()", ["id", "name", "kind", "last seen", "last prefix"], rows);

    let named = view.worker_named("gpu-2")?.ok_or("gpu-2 is not known")?;
    let by_id = view.worker(named.id)?.ok_or("gpu-2 is not known")?;
    let rows = [[by_id.id.to_string(), by_id.name, by_id.kind, time(by_id.first_seen)]];
    let header = ["id", "name", "kind", "first seen"];
    print_table("worker(worker_named(\"gpu-2\").id)", header, rows);
    Ok(())
}

fn print_active(view: &Snapshot) -> Result<()> {
    let hour_ago = view.taken_at().before(Duration::from_secs(3_600));
    let rows = view.active_since(hour_ago)?.into_iter().map(|active| {
        [
            active.worker.name,
            rate(active.recent.rate()),
            figure(active.recent.batches),
            figure(active.leases),
            time(active.worker.last_seen),
        ]
    });
    let header = ["worker", "rate", "batches", "leases", "last seen"];
    print_table("active_since(an hour ago)", header, rows);

    let fleet = view.fleet_rate(hour_ago)?;
    let row = [figure(fleet.workers), rate(fleet.per_second), rate(fleet.totals.rate())];
    let header = ["workers", "all together", "one on average"];
    print_table("fleet_rate(an hour ago)", header, [row]);
    Ok(())
}

fn print_history(view: &Snapshot) -> Result<()> {
    let pc_1 = view.worker_named("pc-1")?.ok_or("pc-1 is not known")?.id;
    let job = view.jobs_of_prefix(b"alpha")?.first().ok_or("there is no job of alpha")?.id;
    print_batches("newest_history(3)", &view.newest_history(3)?);
    print_batches("newest_history_of_worker(pc-1, 3)", &view.newest_history_of_worker(pc_1, 3)?);
    print_batches(
        &format!("newest_history_of_job({job}, 3)"),
        &view.newest_history_of_job(job, 3)?,
    );
    print_batches("newest_errors(3)", &view.newest_errors(3)?);
    Ok(())
}

fn print_batches(title: &str, batches: &[HistoryRecord]) {
    let rows = batches.iter().map(|batch| {
        [
            batch.id.to_string(),
            batch.worker.to_string(),
            or_dash(batch.job),
            figure(batch.start),
            figure(batch.items),
            seconds(batch.duration_us),
            or_dash(batch.error.as_deref()),
        ]
    });
    print_table(title, ["batch", "worker", "job", "from", "items", "took", "error"], rows);
}

fn print_standings(view: &Snapshot) -> Result<()> {
    let mut rows = Vec::new();
    for worker in view.workers()? {
        let standing = view.standing(worker.id)?;
        rows.push([
            worker.name,
            rate(standing.today.rate()),
            rate(standing.lifetime.rate()),
            or_dash(standing.drop.map(percent)),
        ]);
    }
    print_table("standing(..) of each", ["worker", "today", "lifetime", "drop"], rows);

    let rows = view.slowed(0.25)?.into_iter().map(|slow| {
        [slow.worker.to_string(), rate(slow.today.rate()), or_dash(slow.drop.map(percent))]
    });
    print_table("slowed(0.25)", ["worker", "today", "drop"], rows);
    Ok(())
}

fn print_leaderboard(view: &Snapshot) -> Result<()> {
    let rows = view.leaderboard(5)?.into_iter().map(|entry| {
        let (items, rate) = (figure(entry.totals.items), rate(entry.totals.rate()));
        [entry.rank.to_string(), entry.worker.name, items, rate]
    });
    print_table("leaderboard(5)", ["rank", "worker", "items", "rate"], rows);

    let rows = view.fleet_by_kind()?.into_iter().map(|kind| {
        let totals = kind.totals;
        [kind.kind, figure(kind.workers), figure(totals.batches), figure(totals.items)]
    });
    print_table("fleet_by_kind()", ["kind", "workers", "batches", "items"], rows);
    Ok(())
}
