//! The sides of the comparison.

mod direct;
mod direct_rows;
mod ours;
mod ours_ask;
mod questions;
mod shared;
mod sqlite;
mod sqlite_ask;
mod sqlite_fill;
mod sqlite_rows;
mod sqlite_schema;
mod sqlite_triggers;
mod sqlite_tuned;

use std::fmt;
use std::path::Path;
use std::sync::Arc;

use anyhow::Result;
use milepost::testing::Device;
use serde::{Deserialize, Serialize};

use crate::plan::{Scale, Track};
use crate::rival::Rival;
pub use shared::{CACHE_BYTES, MAX_DELAY, Mode, milepost_file};
pub use sqlite_schema::{Flush, library_version};

/// A side, with the durability it runs at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Side {
    /// The old way: a row for every batch, for ever.
    SqliteRows(Flush),
    /// One row per job, and triggers that count and prune.
    SqliteTriggers(Flush),
    /// The same duties, as its best user would do them.
    SqliteTuned(Flush),
    /// milepost.
    Milepost(Mode),
    /// redb, with milepost's rows and rules but without its layers.
    Redb(Mode),
}

impl Side {
    /// All of them.
    pub const ALL: [Side; 11] = [
        Side::SqliteRows(Flush::Full),
        Side::SqliteRows(Flush::Normal),
        Side::SqliteTriggers(Flush::Full),
        Side::SqliteTriggers(Flush::Normal),
        Side::SqliteTuned(Flush::Full),
        Side::SqliteTuned(Flush::Normal),
        Side::Milepost(Mode::Immediate),
        Side::Milepost(Mode::Relaxed),
        Side::Milepost(Mode::MultiWriter),
        Side::Redb(Mode::Immediate),
        Side::Redb(Mode::Relaxed),
    ];

    /// Whether it is SQLite.
    #[must_use]
    pub fn is_sqlite(self) -> bool {
        !matches!(self, Side::Milepost(_) | Side::Redb(_))
    }

    /// Makes a store in a folder, with jobs, workers and filled tiers, and closes it.
    ///
    /// # Errors
    /// What the store meets.
    pub fn fill(self, folder: &Path, scale: &Scale) -> Result<()> {
        match self {
            Side::SqliteRows(_) => sqlite_rows::fill(folder, scale),
            Side::SqliteTriggers(_) => sqlite_triggers::fill(folder, scale),
            Side::SqliteTuned(_) => sqlite_tuned::fill(folder, scale),
            Side::Milepost(_) | Side::Redb(_) => ours::fill(folder, scale),
        }
    }

    /// Opens a store that was filled, and leases some of its jobs.
    ///
    /// # Errors
    /// What the store meets.
    pub fn open(self, folder: &Path, scale: &Scale, tracks: &[Track]) -> Result<Box<dyn Rival>> {
        Ok(match self {
            Side::SqliteRows(flush) => Box::new(sqlite_rows::open(folder, scale, flush, tracks)?),
            Side::SqliteTriggers(flush) => {
                Box::new(sqlite_triggers::open(folder, scale, flush, tracks)?)
            }
            Side::SqliteTuned(flush) => Box::new(sqlite_tuned::open(folder, scale, flush, tracks)?),
            Side::Milepost(mode) => Box::new(ours::Opened::in_folder(folder, scale, mode, tracks)?),
            Side::Redb(mode) => Box::new(direct::Opened::new(folder, scale, mode, tracks)?),
        })
    }

    /// A store of milepost on a device that was filled.
    ///
    /// # Errors
    /// What the store meets.
    pub fn milepost_on(
        device: Arc<dyn Device>,
        scale: &Scale,
        mode: Mode,
        tracks: &[Track],
    ) -> Result<Box<dyn Rival>> {
        Ok(Box::new(ours::Opened::on_device(device, scale, mode, tracks)?))
    }
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, way) = match self {
            Side::SqliteRows(flush) => ("sqlite-rows", flush.words()),
            Side::SqliteTriggers(flush) => ("sqlite-triggers", flush.words()),
            Side::SqliteTuned(flush) => ("sqlite-tuned", flush.words()),
            Side::Milepost(mode) => ("milepost", mode.words()),
            Side::Redb(mode) => ("redb", mode.words()),
        };
        f.pad(&format!("{name} {way}"))
    }
}
