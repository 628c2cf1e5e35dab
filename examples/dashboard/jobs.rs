//! Jobs: what there is, how far it is, who holds it, and what was found.

use std::io::Write;

use milepost::{Finding, Job, Progress, Rate, Snapshot};

use crate::support::{Result, figure, or_dash, percent, print_table, rate, time};

/// Prints them.
pub fn print(out: &mut dyn Write, view: &Snapshot) -> Result<()> {
    print_counts(out, view)?;
    print_progress(out, "progress_by_prefix(None, 20)", &view.progress_by_prefix(None, 20)?)?;
    print_progress(out, "progress(\"beta\")", view.progress(b"beta")?.as_slice())?;
    let prefixes = view.prefixes(None, 20)?.into_iter().map(|prefix| [prefix.to_string()]);
    print_table(out, "prefixes(None, 20)", ["prefix"], prefixes)?;

    let first_page = view.jobs(None, 4)?;
    print_jobs(out, "jobs(None, 4)", &first_page)?;
    let last = first_page.last().map(|job| job.id);
    print_jobs(out, "jobs(the last one of these, 4)", &view.jobs(last, 4)?)?;
    print_jobs(
        out,
        "jobs_of_prefix(\"gamma\", None, 20)",
        &view.jobs_of_prefix(b"gamma", None, 20)?,
    )?;
    let leases = view.leases(None, 20)?;
    print_jobs(out, "leases(None, 20)", &leases)?;
    if let Some(held) = leases.first() {
        print_jobs(out, &format!("job({})", held.id), view.job(held.id)?.as_slice())?;
    }
    print_all_findings(out, view)
}

fn print_counts(out: &mut dyn Write, view: &Snapshot) -> Result<()> {
    let counts = view.job_counts();
    let row = [counts.pending, counts.leased, counts.completed, counts.failed, counts.cancelled];
    let header = ["pending", "leased", "completed", "failed", "cancelled"];
    print_table(out, "job_counts()", header, [row.map(figure)])
}

fn print_progress(out: &mut dyn Write, title: &str, progress: &[Progress]) -> Result<()> {
    let rows = progress.iter().map(|progress| {
        [
            progress.prefix.to_string(),
            figure(progress.done),
            percent(progress.share),
            figure(progress.held),
            figure(progress.expired),
            or_dash(progress.last_activity.map(time)),
            pace(progress.rate),
            or_dash(progress.eta.map(time)),
        ]
    });
    let header = ["prefix", "done", "share", "held", "expired", "last activity", "rate", "done by"];
    print_table(out, title, header, rows)
}

fn pace(shown: Rate) -> String {
    match shown {
        Rate::Moving { per_second, over, .. } => {
            format!("{} over {} s", rate(Some(per_second)), over.as_secs())
        }
        Rate::Still { since: Some(since) } => format!("not moving since {}", time(since)),
        Rate::Still { since: None } => "has never moved".into(),
        _ => "not known yet".into(),
    }
}

fn print_jobs(out: &mut dyn Write, title: &str, jobs: &[Job]) -> Result<()> {
    let rows = jobs.iter().map(|job| {
        [
            job.id.to_string(),
            job.prefix.to_string(),
            figure(job.start),
            figure(job.end),
            percent(job.share()),
            job.status.to_string(),
            or_dash(job.holder),
            or_dash(job.last_error.as_deref()),
        ]
    });
    let header = ["job", "prefix", "from", "to", "done", "status", "by", "last error"];
    print_table(out, title, header, rows)
}

fn print_all_findings(out: &mut dyn Write, view: &Snapshot) -> Result<()> {
    let first_page = view.findings(None, 3)?;
    print_findings(out, "findings(None, 3)", &first_page)?;
    if let Some(last) = first_page.last() {
        let after = Some((last.job, last.key.as_slice()));
        print_findings(out, "findings(the last one of these, 3)", &view.findings(after, 3)?)?;
    }
    for job in view.jobs_of_prefix(b"gamma", None, 20)?.iter().take(1) {
        print_findings(
            out,
            &format!("findings_of({}, None, 20)", job.id),
            &view.findings_of(job.id, None, 20)?,
        )?;
    }
    Ok(())
}

fn print_findings(out: &mut dyn Write, title: &str, findings: &[Finding]) -> Result<()> {
    let rows = findings.iter().map(|finding| {
        [
            finding.job.to_string(),
            finding.key.escape_ascii().to_string(),
            finding.payload.escape_ascii().to_string(),
            finding.worker.to_string(),
            time(finding.found_at),
            if finding.late { "late" } else { "in time" }.into(),
        ]
    });
    print_table(out, title, ["job", "key", "payload", "worker", "found", ""], rows)
}
