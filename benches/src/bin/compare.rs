//! The comparison: `cargo run --release -p milepost-bench --bin compare -- --quick`.

use std::env::current_exe;
use std::io::{BufWriter, Write, stdout};
use std::path::PathBuf;

use anyhow::{Context, Result};
use clap::Parser;
use milepost_bench::compare::{Comparison, Extent};
use milepost_bench::{child, plots};

/// Measures milepost beside the SQLite way of doing it.
#[derive(Parser)]
struct Arguments {
    /// Finish within two minutes: fewer rounds and smaller counts.
    #[arg(long)]
    quick: bool,
    /// Write every figure and ratio to this file.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Draw plots into this folder.
    #[arg(long, value_name = "DIR")]
    plots: Option<PathBuf>,
    /// Work in this folder, whose disk is measured. By default, beside the program in target.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Run only the sections with this in their title, in lower case.
    #[arg(long, value_name = "TITLE")]
    only: Option<String>,
    /// What this process is to do for another one that compares.
    #[arg(long, hide = true)]
    child: Option<String>,
}

fn main() -> Result<()> {
    let arguments = Arguments::parse();
    if let Some(order) = &arguments.child {
        return child::run(order);
    }
    let folder = match arguments.folder {
        Some(folder) => folder,
        None => current_exe()?.parent().context("the program lies in no folder")?.to_path_buf(),
    };
    let folder = tempfile::tempdir_in(folder)?;
    let extent = if arguments.quick { Extent::Quick } else { Extent::Full };
    let mut comparison = Comparison::new(extent, folder.path());
    let mut out = BufWriter::new(stdout().lock());
    comparison.report.print_settings(&mut out)?;
    comparison.run(arguments.only.as_deref(), &mut out)?;
    out.flush()?;
    if let Some(path) = &arguments.json {
        comparison.report.write_json(path)?;
    }
    if let Some(folder) = &arguments.plots {
        plots::draw(&comparison.report, folder)?;
    }
    Ok(())
}
