//! The axes of the matrix.

use std::time::Duration;

use milepost::Durability;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    None,
    /// The disk refuses to write while a checkpoint is being committed.
    FailedCommit,
    /// The disk refuses to sync what a relaxed store holds back, so the newest commits are lost.
    Rollback,
    /// A worker panics while it holds a lease.
    PanicInWorker,
    /// The caller's closure panics while it is shown the rows of a snapshot.
    PanicInClosure,
    /// The row of a job that nobody works on cannot be read.
    DamagedRow,
    /// The clock goes back by a year.
    ClockSetBack,
    /// The leases expire, and another worker takes the jobs.
    ExpiredLease,
    /// The process is forked: children drop everything, unwind through it, or live on.
    Fork,
    /// It is forked while another thread is in the middle of a commit.
    ForkInCommit,
    /// It is forked within the caller's closure, which is shown the rows of a snapshot.
    ForkInClosure,
}

impl Fault {
    pub const ALL: [Fault; 11] = [
        Fault::None,
        Fault::FailedCommit,
        Fault::Rollback,
        Fault::PanicInWorker,
        Fault::PanicInClosure,
        Fault::DamagedRow,
        Fault::ClockSetBack,
        Fault::ExpiredLease,
        Fault::Fork,
        Fault::ForkInCommit,
        Fault::ForkInClosure,
    ];
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Then {
    /// The store is reopened in place, and the holders go on.
    Reopen,
    /// As before, and every holder first retries what has no answer.
    Retry,
    /// Every handle is dropped, the leases first.
    Drop,
    /// The store is closed while leases are held.
    Close,
    /// The process is gone, and another one opens the file.
    AnotherProcess,
}

impl Then {
    pub const ALL: [Then; 5] =
        [Then::Reopen, Then::Retry, Then::Drop, Then::Close, Then::AnotherProcess];
}

#[derive(Debug, Clone, Copy)]
pub struct Cell {
    pub relaxed: bool,
    pub keep_alive: bool,
    pub many: bool,
    pub fault: Fault,
    pub then: Then,
}

impl Cell {
    pub const NO_ROLLBACK: &str = "a store that syncs every commit has none to lose";

    /// Cells of one fault and what follows it.
    pub const COLUMNS: usize = 8;

    pub fn all() -> impl Iterator<Item = Cell> {
        Fault::ALL
            .into_iter()
            .flat_map(|fault| Then::ALL.map(|then| (fault, then)))
            .flat_map(|(fault, then)| Cell::row(fault, then))
    }

    fn row(fault: Fault, then: Then) -> impl Iterator<Item = Cell> {
        (0..Cell::COLUMNS).map(move |n| Cell {
            relaxed: n & 4 != 0,
            keep_alive: n & 2 != 0,
            many: n & 1 != 0,
            fault,
            then,
        })
    }

    pub fn columns() -> String {
        let columns = Cell::row(Fault::None, Then::Drop).map(|cell| {
            let durability = if cell.relaxed { "relaxed" } else { "immediate" };
            let keep_alive = if cell.keep_alive { ", kept alive" } else { "" };
            let leases = if cell.many { "many leases" } else { "one lease" };
            format!("{durability}{keep_alive}, {leases}")
        });
        columns.collect::<Vec<_>>().join("; ")
    }

    pub fn can_occur(&self) -> bool {
        self.fault != Fault::Rollback || self.relaxed
    }

    /// Whether the store is on a file, with its locks, and not on a device that can be told to fail
    /// or to wait.
    pub fn on_a_file(&self) -> bool {
        matches!(self.fault, Fault::Fork | Fault::ForkInClosure)
    }

    /// Whether the newest commits may be lost, so that only what was flushed must be there.
    pub fn may_lose(&self) -> bool {
        let is_lost = matches!(self.fault, Fault::FailedCommit | Fault::Rollback)
            || (self.then == Then::AnotherProcess && !self.on_a_file());
        self.relaxed && is_lost
    }

    pub fn durability(&self) -> Durability {
        match self.relaxed {
            true => Durability::Relaxed { max_delay: Duration::from_secs(3_600) },
            false => Durability::Immediate,
        }
    }

    pub fn jobs(&self) -> u64 {
        if self.many { 12 } else { 1 }
    }
}
