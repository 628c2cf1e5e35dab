//! Commands as data: what a caller asks for, and what it is answered.
//!
//! Applying a command is deterministic: the time comes in with it, so it can be applied again to
//! the same state with the same result.

use std::ops::Range;
use std::time::Duration;

use crate::config::{CapsChange, limits};
use crate::error::{Error, Result, check_length};
use crate::schema::codec::{self, Encode};
use crate::schema::rows::Answered;
use crate::time::Timestamp;
use crate::types::{Batch, Import, JobId, NewFinding, NewJob, Token, WorkerId};

/// A command under a lease, as plain data: for callers that keep their leases elsewhere, such as
/// a server that relays for remote workers. [`Lease`](crate::Lease) sends the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LeaseCommand {
    /// The job that is held.
    pub job: JobId,
    /// The token of the lease.
    pub token: Token,
    /// 1 for the first command of the lease, and one more for each further one.
    pub sequence: u64,
    /// What to do.
    pub action: Action,
}

/// What a lease command does.
#[derive(Debug, Clone, PartialEq, Eq, Encode)]
#[non_exhaustive]
pub enum Action {
    /// Moves the cursor and records a batch. It also renews the lease.
    Checkpoint {
        /// Where the cursor is: the start of the batch.
        from: u64,
        /// Where the cursor goes: the end of the batch.
        to: u64,
        /// What was done in between.
        batch: Batch,
    },
    /// Starts the time of the lease afresh.
    Renew,
    /// Ends the job, whose cursor must be at the end of its range.
    Complete,
    /// Gives the job back as a failed attempt.
    Fail {
        /// Why; at most 512 bytes.
        reason: String,
    },
    /// Gives the job back.
    Release,
}

/// The answer to a lease command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Receipt {
    /// The cursor was moved, and the batch recorded.
    Moved {
        /// Where the cursor is now.
        cursor: u64,
        /// When the lease lapses unless it is renewed.
        deadline: Timestamp,
    },
    /// The lease was renewed.
    Renewed {
        /// When the lease lapses unless it is renewed again.
        deadline: Timestamp,
    },
    /// The job is completed.
    Completed,
    /// The attempt was counted.
    Failed {
        /// How many attempts have failed so far.
        attempts: u32,
        /// Whether that was the last one, so that the job has failed.
        gave_up: bool,
    },
    /// The job was given back.
    Released,
}

impl Receipt {
    pub(crate) fn kept(self) -> Answered {
        match self {
            Receipt::Moved { cursor, deadline } => Answered::Moved { cursor, deadline },
            Receipt::Renewed { deadline } => Answered::Renewed { deadline },
            Receipt::Completed => Answered::Completed,
            Receipt::Failed { attempts, gave_up } => Answered::Failed { attempts, gave_up },
            Receipt::Released => Answered::Released,
        }
    }

    /// The answer that was kept; `None` if there has been none.
    pub(crate) fn from_kept(kept: Answered) -> Option<Receipt> {
        Some(match kept {
            Answered::None => return None,
            Answered::Moved { cursor, deadline } => Receipt::Moved { cursor, deadline },
            Answered::Renewed { deadline } => Receipt::Renewed { deadline },
            Answered::Completed => Receipt::Completed,
            Answered::Failed { attempts, gave_up } => Receipt::Failed { attempts, gave_up },
            Answered::Released => Receipt::Released,
        })
    }
}

/// Which jobs a lease may be for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Wanted {
    Any,
    Prefix(Vec<u8>),
    Job(JobId),
}

/// A request for a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeaseRequest {
    pub(crate) worker: WorkerId,
    pub(crate) length_us: u64,
    pub(crate) wanted: Wanted,
    /// Take up an unexpired lease of this worker first.
    pub(crate) resume: bool,
}

/// The longest lease: ten years, beyond which a deadline says nothing.
const LONGEST_LEASE: Duration = Duration::from_secs(10 * 366 * 86_400);

impl LeaseRequest {
    pub(crate) fn new(worker: WorkerId, length: Duration) -> LeaseRequest {
        let length_us = u64::try_from(length.as_micros()).unwrap_or(u64::MAX);
        LeaseRequest { worker, length_us, wanted: Wanted::Any, resume: false }
    }

    fn check(&self) -> Result<()> {
        if self.length_us == 0 || Duration::from_micros(self.length_us) > LONGEST_LEASE {
            return Err(Error::invalid(format!(
                "a lease of {:?} is out of bounds: it must last from a microsecond to ten years",
                Duration::from_micros(self.length_us)
            )));
        }
        match &self.wanted {
            Wanted::Prefix(prefix) => check_length("prefix", prefix.len(), 1, limits::PREFIX),
            Wanted::Any | Wanted::Job(_) => Ok(()),
        }
    }
}

/// A lease as it was handed out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Grant {
    pub(crate) job: JobId,
    pub(crate) token: Token,
    pub(crate) prefix: Vec<u8>,
    pub(crate) range: Range<u64>,
    pub(crate) cursor: u64,
    pub(crate) deadline: Timestamp,
    pub(crate) length_us: u64,
    pub(crate) attempts: u32,
}

/// Everything a store can be asked to do.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    Register {
        name: String,
        kind: String,
    },
    Create(Vec<NewJob>),
    FindOrCreate(NewJob),
    Lease(LeaseRequest),
    Held {
        command: LeaseCommand,
        digest: u64,
    },
    Cancel(JobId),
    Retry(JobId),
    Delete(JobId),
    ReleaseStale {
        since: Timestamp,
    },
    Late {
        worker: WorkerId,
        job: JobId,
        finding: NewFinding,
    },
    Import {
        import: Import,
        digest: u64,
    },
    SetCaps(CapsChange),
    /// Takes up work left over by earlier commands.
    Settle,
    /// Nothing: sent to have what came before it synced.
    Flush,
}

impl Command {
    pub(crate) fn held(command: LeaseCommand) -> Command {
        Command::Held { digest: codec::digest(&command.action), command }
    }

    pub(crate) fn import(import: Import) -> Command {
        Command::Import { digest: codec::digest(&import), import }
    }

    /// Refuses what no state of the store could make acceptable.
    pub(crate) fn check(&self) -> Result<()> {
        match self {
            Command::Register { name, kind } => {
                check_length("worker name", name.len(), 1, limits::NAME)?;
                check_length("worker kind", kind.len(), 1, limits::KIND)
            }
            Command::Create(jobs) => jobs.iter().try_for_each(NewJob::check),
            Command::FindOrCreate(job) => job.check(),
            Command::Lease(request) => request.check(),
            Command::Held { command, .. } => match &command.action {
                Action::Checkpoint { batch, .. } => batch.check(),
                Action::Fail { reason } => check_length("reason", reason.len(), 0, limits::ERROR),
                Action::Renew | Action::Complete | Action::Release => Ok(()),
            },
            Command::Late { finding, .. } => finding.check(),
            Command::Import { import, .. } => import.check(),
            Command::SetCaps(change) => change.check(),
            Command::Cancel(_)
            | Command::Retry(_)
            | Command::Delete(_)
            | Command::ReleaseStale { .. }
            | Command::Settle
            | Command::Flush => Ok(()),
        }
    }

    /// Whether a relaxed store may answer it before it is on disk. What changes a token, or gives
    /// out a number, may not: a token or a number must never be given out twice.
    pub(crate) fn may_wait(&self) -> bool {
        match self {
            Command::Held { command, .. } => {
                matches!(command.action, Action::Checkpoint { .. } | Action::Renew)
            }
            Command::Late { .. } | Command::Import { .. } | Command::Settle => true,
            _ => false,
        }
    }
}

/// A command and the time it was given.
#[derive(Debug, Clone)]
pub(crate) struct Stamped {
    pub(crate) now: Timestamp,
    pub(crate) command: Command,
}

/// What a command is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Answer {
    Done,
    Worker(WorkerId),
    Jobs(Vec<JobId>),
    Found {
        job: JobId,
        created: bool,
    },
    Lease(LeaseAnswer),
    Receipt(Receipt),
    /// How many jobs were handed back, and whether there may be more.
    Released {
        jobs: u64,
        more: bool,
    },
    /// Whether a late finding, or an import, was new.
    Stored {
        new: bool,
    },
    /// Whether work is left over for a later commit.
    Settling {
        more: bool,
    },
}

/// The answer to a request for a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LeaseAnswer {
    Granted(Grant),
    Busy {
        until: Timestamp,
    },
    Finished,
    /// A step was made in putting lapsed leases right: ask again.
    Again,
}
