//! Commands as data, and their results.
//!
//! Applying a command is deterministic: the command carries the time, so applying it again to the
//! same state gives the same result.

use std::ops::Range;
use std::time::Duration;

use crate::config::{CapsChange, limits};
use crate::error::{Error, Result, check_length};
use crate::time::Timestamp;
use crate::types::{Batch, Import, ImportOutcome, JobId, NewFinding, NewJob, Token, WorkerId};

/// A command under a lease, as plain data: for callers that do not keep a [`Lease`](crate::Lease)
/// in memory, such as a server that forwards the commands of remote workers.
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
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Action {
    /// Moves the cursor from the start of a batch to its end, and records the batch. At the end of
    /// the job's range it completes the job, otherwise it renews the lease.
    Checkpoint(Batch),
    /// Renews the lease: it lasts its full length from now on.
    Renew,
    /// Releases the job and counts a failed attempt, unless this lease has moved its cursor.
    Fail {
        /// Why; at most 512 bytes.
        reason: String,
    },
    /// Releases the job.
    Release,
}

/// The result of a lease command.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Receipt {
    /// The cursor was moved, and the batch recorded.
    Moved {
        /// Where the cursor is now.
        cursor: u64,
        /// When the lease expires unless it is renewed.
        deadline: Timestamp,
    },
    /// The lease was renewed.
    Renewed {
        /// When the lease expires unless it is renewed again.
        deadline: Timestamp,
    },
    /// The cursor was moved to the end of the range, so the job is completed.
    Completed,
    /// The job was released. If this lease had not moved its cursor, that counts as a failed attempt.
    Failed {
        /// How many leases in a row have ended without moving the cursor.
        attempts: u32,
        /// Whether that was the last one, so that the job has failed.
        gave_up: bool,
    },
    /// The job was released.
    Released,
}

/// Which jobs a lease may be for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
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

/// The longest lease: ten years.
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

/// A lease as it was granted.
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

/// Every command of a store.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    Register {
        name: String,
        kind: String,
    },
    Create(Vec<NewJob>),
    FindOrCreate(NewJob),
    Lease(LeaseRequest),
    Held(LeaseCommand),
    /// Renews a lease in the background. It has no sequence number, and leaves that of the lease and
    /// the stored receipt as they are, so it can be repeated at any time.
    KeepAlive {
        job: JobId,
        token: Token,
    },
    Cancel(JobId),
    Retry(JobId),
    Delete(JobId),
    ReleaseStale {
        since: Timestamp,
        /// The entry of the lease index after which to continue.
        after: Option<(Timestamp, JobId)>,
    },
    Late {
        worker: WorkerId,
        job: JobId,
        finding: NewFinding,
    },
    Import(Import),
    SetCaps(CapsChange),
    /// Does a step of the work left by earlier commands.
    Settle,
    /// Changes nothing: sent to sync the commands before it.
    Flush,
}

impl Command {
    /// Rejects a command that is invalid in any state of the store.
    pub(crate) fn check(&self) -> Result<()> {
        match self {
            Command::Register { name, kind } => {
                check_length("worker name", name.len(), 1, limits::NAME)?;
                check_length("worker kind", kind.len(), 1, limits::KIND)
            }
            Command::Create(jobs) => jobs.iter().try_for_each(NewJob::check),
            Command::FindOrCreate(job) => job.check(),
            Command::Lease(request) => request.check(),
            Command::Held(command) => match &command.action {
                Action::Checkpoint(batch) => batch.check(),
                Action::Fail { reason } => check_length("reason", reason.len(), 0, limits::ERROR),
                Action::Renew | Action::Release => Ok(()),
            },
            Command::Late { finding, .. } => finding.check(),
            Command::Import(import) => import.check(),
            Command::SetCaps(change) => change.check(),
            Command::KeepAlive { .. }
            | Command::Cancel(_)
            | Command::Retry(_)
            | Command::Delete(_)
            | Command::ReleaseStale { .. }
            | Command::Settle
            | Command::Flush => Ok(()),
        }
    }

    /// Whether a relaxed store may acknowledge it before it is on disk. A command that changes a
    /// token or assigns a number must be on disk first: neither may be assigned twice.
    pub(crate) fn may_wait(&self) -> bool {
        match self {
            Command::Held(command) => {
                matches!(command.action, Action::Checkpoint(_) | Action::Renew)
            }
            Command::KeepAlive { .. }
            | Command::Late { .. }
            | Command::Import(_)
            | Command::Settle => true,
            _ => false,
        }
    }

    /// A rough measure of how much it writes: 1 for a row, and 1 for each further kilobyte.
    pub(crate) fn weight(&self) -> usize {
        let of = |finding: &NewFinding| 1 + finding.payload.len() / 1024;
        match self {
            Command::Held(LeaseCommand { action: Action::Checkpoint(batch), .. }) => {
                1 + batch.findings.iter().map(of).sum::<usize>()
            }
            Command::Late { finding, .. } => of(finding),
            Command::Import(import) => import.records.len(),
            Command::Create(jobs) => jobs.len(),
            _ => 1,
        }
    }
}

/// A command and the time at which it was sent.
#[derive(Debug, Clone)]
pub(crate) struct Stamped {
    pub(crate) now: Timestamp,
    /// How long ago the clock jumped, if a jump was detected.
    pub(crate) since_clock_jump: Option<Duration>,
    pub(crate) command: Command,
}

impl Stamped {
    pub(crate) fn new(now: Timestamp, command: Command) -> Stamped {
        Stamped { now, since_clock_jump: None, command }
    }
}

/// Effects of applying a group of commands, beyond the result of each.
#[derive(Debug, Default)]
pub(crate) struct Effects {
    /// Whether it must be on disk before anybody gets a result, also in a `Relaxed` store.
    pub(crate) must_be_synced: bool,
    /// Why retention could not finish its step. Only [`Command::Settle`] fails because of it.
    pub(crate) left_over: Option<Error>,
}

/// What a command returns, and what it did that concerns others.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reply {
    pub(crate) answer: Answer,
    pub(crate) events: Vec<Event>,
}

impl From<Answer> for Reply {
    fn from(answer: Answer) -> Reply {
        Reply { answer, events: Vec::new() }
    }
}

/// What a command returns.
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
    /// A lease was renewed in the background.
    KeptAlive {
        deadline: Timestamp,
    },
    /// How many jobs were released, and where to continue.
    Released {
        jobs: u64,
        next: Option<(Timestamp, JobId)>,
    },
    /// Whether a late finding was new.
    Stored {
        new: bool,
    },
    Imported(ImportOutcome),
    /// Whether work is left for later commits.
    Settling {
        more: bool,
    },
}

/// What a command did that concerns workers which wait for a job.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Event {
    /// Jobs of a prefix became available.
    Available { prefix: Vec<u8>, jobs: usize },
    /// A job that was leased became available.
    Returned(JobId),
    /// Of the jobs that are wanted so, none waits or is leased any more.
    NothingLeft(Wanted),
}

/// The result of a request for a lease.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum LeaseAnswer {
    Granted(Grant),
    Busy {
        until: Timestamp,
    },
    Finished,
    /// Some expired leases were handled, and there may be more: send the request again.
    Again,
}
