//! The store itself: caps, sizes, bytes, order.

use std::io::Write;

use milepost::Snapshot;

use crate::support::{Result, bytes, figure, print_table};

/// Prints them.
pub fn print(out: &mut dyn Write, view: &Snapshot) -> Result<()> {
    let caps = view.caps();
    let settling = if view.is_settling() { "yes" } else { "no" };
    let row = [figure(caps.history), figure(caps.daily), figure(caps.monthly), settling.into()];
    let header = ["history", "daily", "monthly", "settling"];
    print_table(out, "caps() and is_settling()", header, [row])?;

    let size = view.size()?;
    let rows = size
        .tables
        .iter()
        .filter(|(_, size)| size.rows > 0)
        .map(|(name, size)| [name.clone(), figure(size.rows), bytes(size.bytes)]);
    let title = format!(
        "size(): a file of {}, {} of it in use",
        bytes(size.stored_bytes),
        bytes(size.used_bytes)
    );
    print_table(out, &title, ["table", "rows", "pages"], rows)?;

    let verified = view.verify()?;
    let row = [verified.rows, verified.jobs, verified.history, verified.days, verified.months];
    print_table(out, "verify()", ["rows", "jobs", "history", "days", "months"], [row.map(figure)])?;

    // Every record is also there for other programs.
    writeln!(out, "\nprogress(\"alpha\") as JSON")?;
    writeln!(out, "{}", serde_json::to_string_pretty(&view.progress("alpha")?)?)?;
    Ok(())
}
