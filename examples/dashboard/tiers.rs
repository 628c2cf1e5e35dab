//! Days, months and lifetimes: of a worker, a kind, the fleet.

use std::io::Write;

use milepost::{Day, DayStats, Month, MonthStats, Scope, Snapshot};

use crate::support::{Result, figure, print_table, rate};

/// Prints them.
pub fn print(out: &mut dyn Write, view: &Snapshot) -> Result<()> {
    let gpu_1 = view.worker_named("gpu-1")?.ok_or("gpu-1 is not known")?.id;
    let (day, month): (Day, Month) = ("2026-02-14".parse()?, "2025-11".parse()?);

    print_days(out, "daily(gpu-1, 2026-02-14..)", &view.daily(gpu_1, day..)?)?;
    print_days(
        out,
        "daily(Scope::Kind(\"pc\"), 2026-02-14..)",
        &view.daily(Scope::kind("pc"), day..)?,
    )?;
    print_days(out, "daily(Scope::Fleet, 2026-02-14..)", &view.daily(Scope::Fleet, day..)?)?;
    print_days(out, "best_day(Scope::Fleet)", view.best_day(Scope::Fleet)?.as_slice())?;

    print_months(out, "monthly(gpu-1, 2025-11..)", &view.monthly(gpu_1, month..)?)?;
    print_months(out, "monthly(Scope::Fleet, 2025-11..)", &view.monthly(Scope::Fleet, month..)?)?;
    print_months(out, "best_month(Scope::Fleet)", view.best_month(Scope::Fleet)?.as_slice())?;

    print_lifetimes(out, view)?;
    print_archived(out, view, day)
}

fn print_days(out: &mut dyn Write, title: &str, days: &[DayStats]) -> Result<()> {
    let rows = days.iter().map(|DayStats { day, totals, .. }| {
        [day.to_string(), figure(totals.batches), figure(totals.items), rate(totals.rate())]
    });
    print_table(out, title, ["day", "batches", "items", "rate"], rows)
}

fn print_months(out: &mut dyn Write, title: &str, months: &[MonthStats]) -> Result<()> {
    let rows = months.iter().map(|MonthStats { month, totals, rolled, .. }| {
        let (batches, items) = (figure(totals.batches), figure(totals.items));
        [month.to_string(), batches, items, figure(rolled.items)]
    });
    print_table(out, title, ["month", "batches", "items", "no longer in days"], rows)
}

fn print_lifetimes(out: &mut dyn Write, view: &Snapshot) -> Result<()> {
    let scopes = [
        ("Scope::Kind(\"gpu\")", Scope::kind("gpu")),
        ("Scope::Kind(\"pc\")", Scope::kind("pc")),
        ("Scope::Fleet", Scope::Fleet),
    ];
    let mut rows = Vec::new();
    for (name, scope) in scopes {
        let totals = view.lifetime(scope)?.totals;
        let (batches, errors) = (figure(totals.batches), figure(totals.errors));
        rows.push([name.into(), batches, errors, figure(totals.items), rate(totals.rate())]);
    }
    let header = ["scope", "batches", "errors", "items", "rate"];
    print_table(out, "lifetime(..) of each", header, rows)
}

/// What has left history, beside what there is in all.
fn print_archived(out: &mut dyn Write, view: &Snapshot, first: Day) -> Result<()> {
    let archived = view.archived();
    print_days(
        out,
        "archived().daily(Scope::Fleet, 2026-02-14..)",
        &archived.daily(Scope::Fleet, first..)?,
    )
}
