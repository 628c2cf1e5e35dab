//! Views that show the same thing from two sides must agree.

use std::time::Duration;

use milepost::{Scope, Snapshot};

use crate::support::Result;

/// Checks them against each other, and against the items that were put in.
pub fn all(view: &Snapshot, put_in: u128) -> Result<()> {
    workers(view)?;
    sums(view, put_in)?;
    jobs(view)?;
    stored(view)
}

fn workers(view: &Snapshot) -> Result<()> {
    let board = view.leaderboard(usize::MAX)?;
    let names: Vec<_> = board.iter().map(|entry| entry.name.as_str()).collect();
    assert_eq!(names, ["gpu-1", "gpu-2", "pc-1", "pc-2", "pc-3", "retired"]);

    let active = view.active_since(
        view.taken_at().saturating_sub(Duration::from_secs(3_600)),
        None,
        usize::MAX,
    )?;
    let names: Vec<_> = active.iter().map(|active| active.name.as_str()).collect();
    assert_eq!(names, ["gpu-1", "gpu-2", "pc-1", "pc-2", "pc-3"]);

    let slowed = view.slowed(0.25, usize::MAX)?;
    let slow = view.worker_named("pc-2")?.ok_or("pc-2 is not known")?.id;
    assert_eq!(slowed.iter().map(|slow| slow.worker).collect::<Vec<_>>(), [slow]);
    Ok(())
}

fn sums(view: &Snapshot, put_in: u128) -> Result<()> {
    let everything = view.lifetime(Scope::Fleet)?.totals;
    assert_eq!(everything.items, put_in);
    let by_kind: u128 = view.fleet_by_kind()?.iter().map(|kind| kind.totals.items).sum();
    assert_eq!(by_kind, put_in);
    let by_worker: u128 =
        view.leaderboard(usize::MAX)?.iter().map(|entry| entry.totals.items).sum();
    assert_eq!(by_worker, put_in);
    let by_month: u128 = view.monthly(Scope::Fleet, ..)?.iter().map(|m| m.totals.items).sum();
    assert_eq!(by_month, put_in);

    let live: u128 = view
        .newest_history(None, usize::MAX)?
        .iter()
        .map(|record| u128::from(record.batch.items))
        .sum();
    assert_eq!(view.archived().lifetime(Scope::Fleet)?.totals.items + live, put_in);
    Ok(())
}

fn jobs(view: &Snapshot) -> Result<()> {
    let counts = view.job_counts();
    assert_eq!(counts.all(), view.jobs(None, usize::MAX)?.len() as u64);
    assert_eq!(counts.leased, view.leases(None, usize::MAX)?.len() as u64);
    assert_eq!((counts.failed, counts.cancelled), (1, 1));
    let progress = view.progress_by_prefix(None, usize::MAX)?;
    assert_eq!(progress.iter().map(|p| p.jobs.all()).sum::<u64>(), counts.all());

    // Whatever the jobs got done was done today: the past came without jobs.
    let today = view.taken_at().day();
    let done_today = view.daily(Scope::Fleet, today..=today)?;
    let done: u128 = progress.iter().map(|p| p.done).sum();
    assert_eq!(done_today.iter().map(|day| day.totals.items).sum::<u128>(), done);

    let mut findings = 0;
    for job in view.jobs(None, usize::MAX)? {
        findings += view.findings_of(job.id, None, usize::MAX)?.len();
    }
    assert_eq!(findings, view.findings(None, usize::MAX)?.len());
    Ok(())
}

fn stored(view: &Snapshot) -> Result<()> {
    let mut dumped = 0;
    view.dump(|_, _, _| dumped += 1)?;
    let size = view.size()?;
    let rows: u64 = size.tables.values().map(|table| table.rows).sum();
    assert_eq!(rows, view.verify()?.rows);
    // The newest day and month of each worker stand in its lifetime row.
    assert_eq!(rows, dumped + 2 * size.tables["lifetime"].rows);
    Ok(())
}
