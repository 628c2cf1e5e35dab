//! Costs as the store grows: `cargo run --release -p milepost-bench --bin scale -- --quick`.

use std::io::{BufWriter, Write, stdout};
use std::path::PathBuf;

use anyhow::{Result, bail};
use clap::Parser;
use milepost_bench::machine::Machine;
use milepost_bench::scale::{Axis, Cell, Report, draw};
use milepost_bench::sides::{CACHE_BYTES, MAX_DELAY};

/// Measures what each operation of milepost costs as the store grows.
#[derive(Parser)]
struct Arguments {
    /// Finish within 20 seconds: smaller stores and fewer calls.
    #[arg(long)]
    quick: bool,
    /// Fail if something on the path of a lease or a checkpoint grows faster than a logarithm.
    #[arg(long)]
    check: bool,
    /// Write every cost to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw a plot into this folder.
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
    /// Work in this folder. By default, in memory: on a disk, its syncs hide the costs, since
    /// commands that change who holds a job are synced under `Relaxed`, too.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Let only this grow.
    #[arg(long, value_name = "AXIS")]
    only: Option<Axis>,
    /// The store that this process is to measure for another one.
    #[arg(long, hide = true)]
    cell: Option<String>,
}

/// A folder whose files are kept in memory, if the system has one.
fn in_memory() -> PathBuf {
    let shared = PathBuf::from("/dev/shm");
    if shared.is_dir() { shared } else { std::env::temp_dir() }
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    let folder = arguments.folder.unwrap_or_else(in_memory);
    let mut out = BufWriter::new(stdout().lock());
    if let Some(cell) = arguments.cell {
        let cell: Cell = serde_json::from_str(&cell)?;
        serde_json::to_writer(&mut out, &cell.measure(&folder)?)?;
        return Ok(out.flush()?);
    }

    let settings = vec![
        ("extent", if arguments.quick { "quick" } else { "full" }.to_string()),
        ("durability", format!("Relaxed, max_delay {MAX_DELAY:?}")),
        ("syncs", "what changes who holds a job is synced all the same: free on tmpfs".to_string()),
        ("cache", format!("{} MiB", CACHE_BYTES >> 20)),
    ];
    let mut report = Report::new(Machine::this(&folder), settings);
    report.print_settings(&mut out)?;
    for axis in Axis::ALL.into_iter().filter(|axis| arguments.only.is_none_or(|only| only == *axis))
    {
        for size in axis.sizes(arguments.quick) {
            let own = tempfile::tempdir_in(&folder)?;
            let cell = Cell { axis, size: *size, quick: arguments.quick };
            report.add(cell.measure_in_child(own.path())?);
        }
        report.print(axis, &mut out)?;
    }
    report.print_verdict(&mut out)?;

    if let Some(path) = &arguments.json {
        report.write_json(path)?;
    }
    if let Some(folder) = &arguments.plots {
        draw(&report, folder)?;
    }
    let too_steep = report.too_steep();
    if arguments.check && !too_steep.is_empty() {
        bail!("{} costs on the path of a lease or a checkpoint grow too fast", too_steep.len());
    }
    Ok(())
}
