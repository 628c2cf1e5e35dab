//! Commands as data, and their results.
//!
//! Applying a command is deterministic: the command carries the time, so applying it again to the
//! same state gives the same result.

use std::ops::Range;
use std::time::Duration;

use crate::config::{CapsChange, limits};
use crate::error::{Error, Result, check_length};
use crate::time::Timestamp;
use crate::types::{
    Action, Batch, Counters, FindOrCreateOutcome, FindingOutcome, Grant, Import, ImportOutcome,
    ImportRecord, JobId, LeaseCommand, NewFinding, NewJob, NewWorker, Receipt, Token, Totals,
    WorkerId, short,
};

/// Which jobs a lease may be for.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Wanted {
    Any,
    Prefix(Vec<u8>),
    Job(JobId),
}

/// Which lease a worker requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct LeaseTerms {
    pub(crate) worker: WorkerId,
    pub(crate) length_us: u64,
    pub(crate) wanted: Wanted,
    /// Take up an unexpired lease of this worker first.
    pub(crate) resume: bool,
    /// Choose the prefix of which the fewest jobs are leased.
    pub(crate) spread: bool,
    /// If no job waits, create one.
    pub(crate) on_demand: Option<OnDemand>,
}

/// A job to be created over the next free positions of a prefix.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct OnDemand {
    /// How many positions it has, if so many are free in a row.
    pub(crate) positions: u64,
    /// Where to look for them.
    pub(crate) within: Range<u64>,
    pub(crate) max_attempts: Option<u32>,
}

/// The longest lease: ten years.
const LONGEST_LEASE: Duration = Duration::from_secs(10 * 366 * 86_400);

impl LeaseTerms {
    pub(crate) fn new(worker: WorkerId, length: Duration) -> LeaseTerms {
        let length_us = u64::try_from(length.as_micros()).unwrap_or(u64::MAX);
        LeaseTerms {
            worker,
            length_us,
            wanted: Wanted::Any,
            resume: false,
            spread: false,
            on_demand: None,
        }
    }

    fn check(&self) -> Result<()> {
        if self.length_us == 0 || Duration::from_micros(self.length_us) > LONGEST_LEASE {
            return Err(Error::invalid(format!(
                "a lease of {:?} is out of bounds: it must last from a microsecond to ten years",
                Duration::from_micros(self.length_us)
            )));
        }
        if let Some(OnDemand { positions, within, max_attempts }) = &self.on_demand {
            if !matches!(self.wanted, Wanted::Prefix(_)) {
                return Err(Error::invalid("a range on demand needs a prefix"));
            }
            if within.is_empty() {
                return Err(Error::EmptyRange { start: within.start, end: within.end });
            }
            if *positions == 0 || *max_attempts == Some(0) {
                return Err(Error::invalid(
                    "a range on demand has at least one position and one attempt",
                ));
            }
        }
        match &self.wanted {
            Wanted::Prefix(prefix) => check_length("prefix", prefix.len(), 1, limits::PREFIX),
            Wanted::Any | Wanted::Job(_) => Ok(()),
        }
    }
}

/// Every command of a store.
#[derive(Debug, Clone)]
pub(crate) enum Command {
    Register(NewWorker),
    Create(Vec<NewJob>),
    FindOrCreate(Vec<NewJob>),
    Lease(LeaseTerms),
    Held(LeaseCommand),
    /// Renews a lease in the background. It has no sequence number, and leaves that of the lease and
    /// the stored receipt as they are, so it can be repeated at any time.
    KeepAlive {
        job: JobId,
        token: Token,
    },
    Cancel(JobId),
    Retry(JobId),
    Restart {
        job: JobId,
        /// Where its cursor is to be; at the start of its range if `None`.
        from: Option<u64>,
    },
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
    Report {
        worker: WorkerId,
        counters: Counters,
    },
    SetCaps(CapsChange),
    /// Does a step of the work left by earlier commands.
    Settle,
    /// Changes nothing: sent to sync the commands before it.
    Flush,
}

impl Command {
    /// Cuts error texts to the length that is kept, wherever they come from. An empty one is none.
    pub(crate) fn cut_texts(&mut self) {
        let cut = |error: &mut Option<String>| {
            *error = error.take().filter(|text| !text.is_empty()).map(short);
        };
        match self {
            Command::Held(LeaseCommand { action: Action::Checkpoint(batch), .. }) => {
                cut(&mut batch.error);
            }
            Command::Held(LeaseCommand { action: Action::Fail { reason, batch }, .. }) => {
                *reason = match std::mem::take(reason) {
                    empty if empty.is_empty() => "no reason was given".into(),
                    reason => short(reason),
                };
                if let Some(batch) = batch {
                    cut(&mut batch.error);
                }
            }
            Command::Import(import) => {
                for record in &mut import.records {
                    if let ImportRecord::History(batch) = record {
                        cut(&mut batch.error);
                    }
                }
            }
            _ => {}
        }
    }

    /// Rejects a command that is invalid in any state of the store.
    pub(crate) fn check(&self) -> Result<()> {
        match self {
            Command::Register(worker) => worker.check(),
            Command::Create(jobs) => jobs.iter().try_for_each(NewJob::check),
            Command::FindOrCreate(jobs) => jobs.iter().try_for_each(NewJob::check),
            Command::Lease(request) => request.check(),
            Command::Held(command) => match &command.action {
                Action::Checkpoint(batch) => batch.check(),
                Action::Heartbeat { note } => check_length("note", note.len(), 0, limits::NOTE),
                Action::Fail { reason, batch } => {
                    check_length("reason", reason.len(), 0, limits::ERROR)?;
                    batch.as_ref().map_or(Ok(()), Batch::check)
                }
                Action::Renew | Action::Release => Ok(()),
            },
            Command::Late { finding, .. } => finding.check(),
            Command::Import(import) => import.check(),
            Command::Report { counters, .. } => counters.check(),
            Command::SetCaps(change) => change.check(),
            Command::KeepAlive { .. }
            | Command::Cancel(_)
            | Command::Retry(_)
            | Command::Restart { .. }
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
                use Action::{Checkpoint, Heartbeat, Renew};
                matches!(command.action, Checkpoint(_) | Renew | Heartbeat { .. })
            }
            Command::KeepAlive { .. }
            | Command::Late { .. }
            | Command::Import(_)
            | Command::Report { .. }
            | Command::Settle => true,
            _ => false,
        }
    }

    /// A rough measure of how much it writes: 1 for a row, and 1 for each further kilobyte.
    pub(crate) fn weight(&self) -> usize {
        let of = |finding: &NewFinding| 1 + finding.payload.len() / 1024;
        match self {
            Command::Held(LeaseCommand {
                action: Action::Checkpoint(batch) | Action::Fail { batch: Some(batch), .. },
                ..
            }) => 1 + batch.findings.iter().map(of).sum::<usize>(),
            Command::Late { finding, .. } => of(finding),
            Command::Import(import) => import.records.len(),
            Command::Create(jobs) | Command::FindOrCreate(jobs) => jobs.len(),
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
#[derive(Debug, Clone, PartialEq)]
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
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Answer {
    Done,
    Worker(WorkerId),
    Jobs(Vec<JobId>),
    Found(Vec<FindOrCreateOutcome>),
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
    Finding(FindingOutcome),
    Imported(ImportOutcome),
    /// What a report added.
    Reported(Totals),
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
