//! The end: whether what is stored is right, and what it is, as tables.

use std::io::Write;

use milepost::{DayStats, Finding, MonthStats, Scope, Snapshot, Store, Totals, WorkerInfo};

use crate::genesis_scan::header::{ANSWER, Hash, Puzzle};
use crate::support::{Result, bytes, figure, or_dash, print_table, rate, time, time_spent};

/// How many rows of a long table are shown.
const SHOWN: usize = 32;

/// How many positions are done, over all runs.
pub fn positions_done(store: &Store, puzzle: &Puzzle) -> Result<u64> {
    let progress = store.snapshot()?.progress(puzzle.prefix())?;
    Ok(progress.map_or(Ok(0), |progress| progress.done.try_into())?)
}

/// Checks, and says, that what the workers did adds up to exactly the positions that are done: what
/// left history stands in the lifetimes, and the rest is live.
pub fn check_totals(out: &mut dyn Write, store: &Store, puzzle: &Puzzle) -> Result<()> {
    let done = u128::from(positions_done(store, puzzle)?);
    let view = store.snapshot()?;
    view.verify()?;

    let archived = view.archived().lifetime(Scope::Fleet)?.totals.items;
    let live: u128 = view
        .newest_history(None, usize::MAX)?
        .iter()
        .map(|record| u128::from(record.batch.items))
        .sum();
    assert_eq!(
        archived + live,
        done,
        "archived and live batches must add up to the positions done"
    );
    assert_eq!(view.lifetime(Scope::Fleet)?.totals.items, done);
    let (archived, live, done) = (figure(archived), figure(live), figure(done));
    Ok(writeln!(out, "totals add up: {archived} archived + {live} live = {done} positions")?)
}

/// Checks that the answer was found, and that whatever was found solves the puzzle.
pub fn check_answer(store: &Store, puzzle: &Puzzle) -> Result<()> {
    let found = findings(&store.snapshot()?, puzzle)?;
    let solutions: Vec<_> = found.iter().map(solution).collect::<Result<_>>()?;
    assert!(solutions.contains(&ANSWER), "nonce {} must be found", ANSWER.0);
    for (nonce, hash) in solutions {
        assert!(
            hash == puzzle.hash(nonce) && puzzle.is_solved_by(hash),
            "nonce {nonce} must solve the puzzle"
        );
    }
    Ok(())
}

/// Prints jobs, tiers, findings and size.
pub fn print(out: &mut dyn Write, store: &Store, puzzle: &Puzzle) -> Result<()> {
    let view = store.snapshot()?;
    let workers = view.workers(None, usize::MAX)?;
    print_jobs(out, &view, puzzle)?;
    print_tiers(out, &view)?;
    print_history(out, &view, &workers)?;
    print_periods(out, &view, &workers)?;
    print_lifetimes(out, &view, &workers)?;
    print_findings(out, &view, puzzle, &workers)?;
    print_size(out, &view)
}

fn print_jobs(out: &mut dyn Write, view: &Snapshot, puzzle: &Puzzle) -> Result<()> {
    let jobs = view.jobs_of_prefix(puzzle.prefix(), None, usize::MAX)?;
    let title = format!("Jobs: {} of {}", jobs.len().min(SHOWN), jobs.len());
    let rows = jobs.iter().take(SHOWN).map(|job| {
        [
            job.id.to_string(),
            figure(job.start),
            figure(job.end),
            job.status.to_string(),
            figure(job.batches),
            time_spent(job.duration),
            figure(job.attempts),
        ]
    });
    print_table(
        out,
        &title,
        ["job", "from", "to", "status", "checkpoints", "work", "expires"],
        rows,
    )
}

fn print_tiers(out: &mut dyn Write, view: &Snapshot) -> Result<()> {
    let (size, caps) = (view.size()?, view.caps());
    let row = |tier: &str, cap: u32, of_whom: &str| {
        let rows = figure(size.tables[tier].rows);
        [tier.to_string(), rows, figure(cap), of_whom.to_string()]
    };
    let rows = [
        row("history", caps.history, "over all workers"),
        row("daily", caps.daily, "of each worker"),
        row("monthly", caps.monthly, "of each worker"),
        row("lifetime", 1, "of each worker"),
    ];
    print_table(out, "Tiers: rows as they are stored", ["tier", "rows", "at most", ""], rows)
}

fn print_history(out: &mut dyn Write, view: &Snapshot, workers: &[WorkerInfo]) -> Result<()> {
    let rows = view.newest_history(None, 5)?.into_iter().map(|record| {
        let batch = record.batch;
        [
            record.id.to_string(),
            name(workers, batch.worker),
            or_dash(batch.job),
            figure(batch.start),
            figure(batch.items),
            format!("{:.1} ms", batch.duration.as_secs_f64() * 1e3),
            time(batch.finished_at),
        ]
    });
    print_table(
        out,
        "History: the newest",
        ["batch", "worker", "job", "from", "items", "took", "finished"],
        rows,
    )
}

fn print_periods(out: &mut dyn Write, view: &Snapshot, workers: &[WorkerInfo]) -> Result<()> {
    let header = ["worker", "period", "batches", "items", "work", "rate"];
    let mut days = Vec::new();
    let mut months = Vec::new();
    for worker in workers {
        for DayStats { day, totals, .. } in view.daily(worker.id, ..)? {
            days.push(period(worker, day.to_string(), &totals));
        }
        for MonthStats { month, totals, .. } in view.monthly(worker.id, ..)? {
            months.push(period(worker, month.to_string(), &totals));
        }
    }
    print_table(out, "Daily: what has left history, and what is live", header, days)?;
    print_table(out, "Monthly: the same", header, months)
}

fn period(worker: &WorkerInfo, period: String, totals: &Totals) -> [String; 6] {
    [
        worker.name.clone(),
        period,
        figure(totals.batches),
        figure(totals.items),
        time_spent(totals.duration()),
        rate(totals.rate()),
    ]
}

fn print_lifetimes(out: &mut dyn Write, view: &Snapshot, workers: &[WorkerInfo]) -> Result<()> {
    let mut rows = Vec::new();
    for worker in workers {
        let all = view.lifetime(worker.id)?.totals;
        let archived = view.archived().lifetime(worker.id)?.totals;
        rows.push([
            worker.name.clone(),
            figure(all.batches),
            figure(archived.items),
            figure(all.items - archived.items),
            figure(all.items),
            rate(all.rate()),
        ]);
    }
    let header = ["worker", "batches", "items archived", "items live", "items", "rate"];
    print_table(out, "Lifetime: over all runs", header, rows)
}

fn print_findings(
    out: &mut dyn Write,
    view: &Snapshot,
    puzzle: &Puzzle,
    workers: &[WorkerInfo],
) -> Result<()> {
    for finding in findings(view, puzzle)? {
        let (nonce, hash) = solution(&finding)?;
        let (worker, at) = (name(workers, finding.worker), time(finding.found_at));
        let rows = [
            ["nonce".into(), nonce.to_string()],
            ["hash".into(), hash.to_string()],
            ["found".into(), format!("by {worker} in job {}, {at}", finding.job)],
        ];
        print_table(out, "Finding", ["", ""], rows)?;
    }
    Ok(())
}

fn print_size(out: &mut dyn Write, view: &Snapshot) -> Result<()> {
    let size = view.size()?;
    let rows: u64 = size.tables.values().map(|table| table.rows).sum();
    let row = [bytes(size.stored_bytes), bytes(size.used_bytes), figure(rows)];
    print_table(out, "Size", ["file", "in use", "rows"], [row])
}

fn findings(view: &Snapshot, puzzle: &Puzzle) -> Result<Vec<Finding>> {
    let mut findings = Vec::new();
    for job in view.jobs_of_prefix(puzzle.prefix(), None, usize::MAX)? {
        findings.extend(view.findings_of(job.id, None, usize::MAX)?);
    }
    Ok(findings)
}

/// The nonce and the hash that a finding holds.
fn solution(finding: &Finding) -> Result<(u32, Hash)> {
    let nonce = u32::from_be_bytes(finding.key.as_slice().try_into()?);
    Ok((nonce, Hash(finding.payload.as_slice().try_into()?)))
}

fn name(workers: &[WorkerInfo], id: milepost::WorkerId) -> String {
    or_dash(workers.iter().find(|worker| worker.id == id).map(|worker| &worker.name))
}
