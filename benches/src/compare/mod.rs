//! The sections of the comparison, in the order in which they are printed.

mod comparison;
pub(crate) mod growth;
mod long;
mod processes;
mod questions;
mod recovery;
mod seam;
mod throughput;
mod writes;

use std::time::Instant;

use anyhow::Result;

pub use comparison::{Comparison, Extent};

type Section = fn(&mut Comparison) -> Result<()>;

const SECTIONS: &[(&str, Section)] = &[
    ("Checkpoints", throughput::run),
    ("Several processes", processes::run),
    ("Growth over simulated time", growth::run),
    ("Size at full tiers", growth::full_tiers),
    ("Writes and syncs per checkpoint", writes::run),
    ("Questions while a writer runs", questions::run),
    ("After a kill", recovery::run),
    ("A long run: decay and memory", long::run),
    ("The storage seam", seam::run),
];

impl Comparison {
    /// Runs every section, or `only` those with this in their title, printing each when it is done.
    ///
    /// # Errors
    /// What a side meets, or that a side stored something wrong.
    pub fn run(&mut self, only: Option<&str>, out: &mut impl std::io::Write) -> Result<()> {
        let wanted = |title: &str| only.is_none_or(|only| title.to_lowercase().contains(only));
        for (title, section) in SECTIONS.iter().filter(|(title, _)| wanted(title)) {
            let (figures, ratios) = (self.report.figures.len(), self.report.ratios.len());
            let began = Instant::now();
            section(self)?;
            self.report.notes.push(format!("This took {:.0} s.", began.elapsed().as_secs_f64()));
            self.report.print(title, figures, ratios, out)?;
            out.flush()?;
        }
        self.report.print_targets(out)
    }
}
