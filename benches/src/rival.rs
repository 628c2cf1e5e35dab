//! What a side of the comparison has to do.

use anyhow::Result;

use crate::dashboard::{Answer, Question};
use crate::ledger::Tally;
use crate::plan::Step;

/// A store that was prepared for measuring: its tiers filled, its jobs leased.
pub trait Rival: Send + Sync {
    /// What one thread needs to make checkpoints.
    ///
    /// # Errors
    /// What the store meets.
    fn caller(&self, connection: Connections) -> Result<Box<dyn Caller + '_>>;

    /// What is stored now.
    ///
    /// # Errors
    /// What the store meets.
    fn tally(&self) -> Result<Tally>;

    /// Checks the store as thoroughly as the library behind it can.
    ///
    /// # Errors
    /// What is wrong with it, or what the store meets.
    fn verify(&self) -> Result<()>;

    /// Whether it keeps tiers at all.
    fn has_tiers(&self) -> bool {
        true
    }

    /// Bytes on disk now.
    ///
    /// # Errors
    /// What the file system meets.
    fn size(&self) -> Result<Size>;

    /// Gives unused space back, and truncates the log where there is one.
    ///
    /// # Errors
    /// What the store meets.
    fn compact(&self) -> Result<()>;

    /// What one reader needs to ask the questions of a dashboard.
    ///
    /// # Errors
    /// What the store meets.
    fn reader(&self) -> Result<Box<dyn Reader + '_>>;
}

/// One thread's way to make checkpoints.
pub trait Caller: Send {
    /// Makes one checkpoint, in a transaction of its own.
    ///
    /// # Errors
    /// What the store meets.
    fn alone(&mut self, step: &Step) -> Result<()>;

    /// Makes many checkpoints in one transaction.
    ///
    /// # Errors
    /// What the store meets.
    fn together(&mut self, steps: &[Step]) -> Result<()>;
}

/// One reader's way to ask.
pub trait Reader: Send {
    /// Answers a question as of now: nothing missing that is still live in history.
    ///
    /// # Errors
    /// What the store meets.
    fn ask(&mut self, question: Question) -> Result<Answer>;
}

/// How the threads of one process share a SQLite file. milepost's threads share a handle.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Connections {
    /// One connection for each thread, which waits for the others by SQLite's busy handler.
    OnePerThread,
    /// One connection for all, behind a mutex.
    OneForAll,
}

impl Connections {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Connections::OnePerThread => "a connection per thread",
            Connections::OneForAll => "one connection behind a mutex",
        }
    }
}

/// Bytes on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Size {
    /// The file itself.
    pub main: u64,
    /// The log beside it.
    pub wal: u64,
}

impl Size {
    /// Both.
    #[must_use]
    pub fn total(self) -> u64 {
        self.main + self.wal
    }
}
