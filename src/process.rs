//! Telling the process that opened a store from a child that was forked from it.

use crate::error::{Error, Result};

/// The process that opened something.
///
/// A child that `fork` made has a copy of its memory and shares its open files, but has none of its
/// threads: a lock that one of them held is never released there. So a child must find out where
/// it is before it takes any lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Process(u32);

impl Process {
    pub(crate) fn current() -> Process {
        Process(std::process::id())
    }

    /// Whether this is the process, and not a child of it.
    pub(crate) fn is_current(self) -> bool {
        self == Process::current()
    }

    pub(crate) fn check(self) -> Result<()> {
        if self.is_current() { Ok(()) } else { Err(Error::Forked) }
    }
}
