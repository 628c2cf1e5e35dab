//! The one error type, and what a caller can do about each kind.

mod describe;
mod lost;

use std::path::PathBuf;
use std::sync::Arc;

pub use lost::Lost;

use describe::{describe_length, describe_loss, describe_mismatch, describe_owner};

use crate::time::Timestamp;
use crate::types::ids::{JobId, Prefix, Token, WorkerId};
use crate::types::status::JobStatus;

/// The result of everything in this crate that can fail.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// The cause beneath an [`Error`], shared because one failed commit concerns many callers.
pub type Cause = Arc<dyn std::error::Error + Send + Sync>;

/// Why a call was refused, or what went wrong with the storage.
///
/// Every variant is something a caller can act on; its documentation says how. A command that
/// returns an error has changed nothing, with one exception: after [`Error::Uncertain`] it
/// may or may not have been stored.
///
/// What it displays does not include its [`source`](std::error::Error::source): print the chain, as
/// `anyhow` does with `{:#}`.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A name, text, key or payload is empty or longer than its limit. Shorten it.
    #[error("{}", describe_length(what, *length, *min, *max))]
    InvalidLength {
        /// What is too short or too long, such as `worker name`.
        what: &'static str,
        /// Its length in bytes, or in entries where it is a list.
        length: usize,
        /// The shortest that is taken.
        min: usize,
        /// The longest that is taken.
        max: usize,
    },
    /// A range holds no position: its end is at or before its start.
    #[error("the range {start}..{end} holds no position")]
    EmptyRange {
        /// First position of the range.
        start: u64,
        /// One past the last position of the range.
        end: u64,
    },
    /// The range overlaps that of another job with the same prefix. Nothing of the call was
    /// stored, also when it named many jobs.
    #[error("the range {start}..{end} overlaps {other_start}..{other_end}, the range of {}", describe_owner(*other))]
    RangeOverlap {
        /// First position of the range that was refused.
        start: u64,
        /// One past the last position of the range that was refused.
        end: u64,
        /// The job that it overlaps with; `None` if it is another one of the same call.
        other: Option<JobId>,
        /// First position of the other job's range.
        other_start: u64,
        /// One past the last position of the other job's range.
        other_end: u64,
    },
    /// No job has this id: it was never created here, or it was deleted.
    #[error("there is no job {0}")]
    UnknownJob(JobId),
    /// No job has this prefix: none was ever created here, or all were deleted.
    #[error("no job has the prefix {0}")]
    UnknownPrefix(Prefix),
    /// No worker of this name, or number, is known to the store.
    #[error("there is no worker {0}")]
    UnknownWorker(String),
    /// The job is no longer held under this token. Drop the lease and request another.
    #[error("job {job} is no longer held under token {token}: {}", describe_loss(*why, *holder, *since))]
    LeaseLost {
        /// The job in question.
        job: JobId,
        /// The token that was presented.
        token: Token,
        /// What became of the lease.
        why: Lost,
        /// Who leased the job since, if that is why.
        holder: Option<WorkerId>,
        /// Since when it is so; `None` where that is not recorded.
        since: Option<Timestamp>,
    },
    /// The command's sequence number is neither the next one nor a repeat of the last one.
    #[error("command {sequence} of job {job} is out of sequence: the next one is {expected}")]
    OutOfSequence {
        /// The job in question.
        job: JobId,
        /// The number that was presented.
        sequence: u64,
        /// The number that the next command must carry.
        expected: u64,
    },
    /// The sequence number of the last command came again, with other content.
    #[error("command {sequence} of job {job} was already applied with other content")]
    CommandAltered {
        /// The job in question.
        job: JobId,
        /// The number that was presented twice.
        sequence: u64,
    },
    /// A checkpoint does not move the cursor forward within its job's range.
    #[error("a checkpoint of job {job} {}", describe_mismatch(*from, *to, *cursor, *end))]
    CursorMismatch {
        /// The job in question.
        job: JobId,
        /// Where the checkpoint says its batch started.
        from: u64,
        /// Where the checkpoint would put the cursor.
        to: u64,
        /// Where the cursor is.
        cursor: u64,
        /// The end of the job's range.
        end: u64,
    },
    /// The job's status does not allow the call.
    #[error("cannot {action} job {job}: it is {status}")]
    WrongStatus {
        /// The job in question.
        job: JobId,
        /// The status it has.
        status: JobStatus,
        /// The call, such as `delete`.
        action: &'static str,
    },
    /// The result of an earlier command of this lease is unknown: call [`Lease::retry`] first.
    ///
    /// [`Lease::retry`]: crate::Lease::retry
    #[error(
        "the result of an earlier command of the lease of job {job} is unknown: call retry first"
    )]
    Unanswered {
        /// The job in question.
        job: JobId,
    },
    /// A relaxed store lost its latest commits in a crash, and with them the latest checkpoints of
    /// this lease. The lease is still held; go on from [`Lease::next_batch`].
    ///
    /// [`Lease::next_batch`]: crate::Lease::next_batch
    #[error("the latest checkpoints of job {job} were lost: its cursor is back at {cursor}")]
    RolledBack {
        /// The job in question.
        job: JobId,
        /// Where its cursor is.
        cursor: u64,
    },
    /// A number or a combination of them makes no sense; the text names it and says why.
    #[error("{what}")]
    Invalid {
        /// What is wrong, as a sentence fragment.
        what: String,
    },
    /// The last import of a source came again with other records. Import new records under the next
    /// number.
    #[error("import {number} from {source_name:?} was already applied with other records")]
    ImportAltered {
        /// The source of the import.
        source_name: String,
        /// The number that was used twice.
        number: u64,
    },
    /// An environment variable does not hold a number in its range.
    #[error("the environment variable {variable} {why}: {value:?}")]
    InvalidVariable {
        /// The name of the variable.
        variable: &'static str,
        /// What it holds.
        value: String,
        /// What is wrong with that, such as `is not a number`.
        why: &'static str,
    },
    /// Another handle holds the file in a way that excludes this one.
    #[error("{} is held by another handle: {hint}", path.display())]
    Locked {
        /// The file in question.
        path: PathBuf,
        /// Who could be holding it, and which sharing mode would allow both.
        hint: &'static str,
    },
    /// The file is not a milepost store. Nothing in it was changed.
    #[error("{} is not a milepost store: {why}", path.display())]
    NotAStore {
        /// The file in question.
        path: PathBuf,
        /// What it looks like instead.
        why: String,
    },
    /// The file was written by a version of this library with another file format.
    #[error("{} has format version {found}, and this library supports version {supported}", path.display())]
    FormatVersion {
        /// The file in question.
        path: PathBuf,
        /// The version found in the file.
        found: u32,
        /// The version this library reads and writes.
        supported: u32,
    },
    /// The last writer did not close the file, so it cannot be opened read-only yet. Open it once
    /// for writing: that repairs it.
    #[error("{} was not closed by its last writer: open it once for writing, which repairs it", path.display())]
    NeedsRecovery {
        /// The file in question.
        path: PathBuf,
    },
    /// The file, its folder or its disk refused an operation. Nothing was changed.
    #[error("cannot use {}", path.display())]
    Io {
        /// The file in question.
        path: PathBuf,
        /// What the system said.
        source: Cause,
    },
    /// What is stored cannot be what this library wrote: a row cannot be decoded, or contradicts
    /// other rows. The command that needs it changed nothing; commands that do not need it go on.
    /// [`Snapshot::verify`] looks for more damage, and so does [`Builder::check_on_open`]; restore
    /// the file from a copy.
    ///
    /// [`Snapshot::verify`]: crate::Snapshot::verify
    /// [`Builder::check_on_open`]: crate::Builder::check_on_open
    #[error("the store is corrupted: {what}")]
    Corrupted {
        /// What was read, and what is wrong with it.
        what: String,
    },
    /// [`Snapshot::verify`] found a row that breaks a rule. This is a bug in milepost, or a file
    /// changed by something else.
    ///
    /// [`Snapshot::verify`]: crate::Snapshot::verify
    #[error("the {table} row of {row} breaks a rule: {rule}")]
    Inconsistent {
        /// The table of the row.
        table: &'static str,
        /// The row, in words.
        row: String,
        /// The rule it breaks.
        rule: String,
    },
    /// The command encountered a bug in milepost: applying it panicked. It changed nothing, and
    /// other commands go on. Please report it.
    #[error("a bug in milepost: {what}")]
    Internal {
        /// What the panic said.
        what: String,
    },
    /// The storage failed, or found that it is damaged, before anything was stored. The store has
    /// stopped writing; call [`Store::reopen`] once the cause is gone.
    ///
    /// [`Store::reopen`]: crate::Store::reopen
    #[error("the storage failed and nothing was stored")]
    Storage {
        /// What the storage said.
        source: Cause,
    },
    /// The storage failed while committing: the command may or may not have been stored. Call
    /// [`Store::reopen`], then [`Lease::retry`] (or repeat an import under its number) to learn which.
    ///
    /// [`Store::reopen`]: crate::Store::reopen
    /// [`Lease::retry`]: crate::Lease::retry
    #[error("the storage failed while committing, so the command may or may not be stored")]
    Uncertain {
        /// What the storage said.
        source: Cause,
    },
    /// The store stopped writing after an earlier failure. Nothing was sent to the storage; call
    /// [`Store::reopen`] once the cause is gone.
    ///
    /// [`Store::reopen`]: crate::Store::reopen
    #[error("the store stopped writing after a failure: reopen it")]
    Stopped {
        /// The failure that stopped it.
        source: Cause,
    },
    /// A background thread of the store cannot be started. Nothing was changed; try again once the
    /// system has room for another thread.
    #[error("cannot start the thread {name}")]
    Thread {
        /// The name of the thread.
        name: String,
        /// What the system said.
        source: Cause,
    },
    /// The store was closed. A snapshot returns it also once the store was reopened: take another one.
    #[error("the store is closed")]
    Closed,
    /// This process was forked from the one that opened the store, and cannot use it: open a store
    /// after the fork. Nothing was changed; what the parent does with the store is not disturbed.
    #[error(
        "the store was opened by the process that this one was forked from, and works only there"
    )]
    Forked,
    /// The command needs a larger transaction than the storage engine allows. Split it.
    #[error("the command needs a larger transaction than the storage engine allows")]
    TransactionTooLarge,
    /// Something still uses the store, such as a snapshot during a compaction.
    #[error("the store is still in use: {what}")]
    InUse {
        /// What has to end first.
        what: &'static str,
    },
}

impl Error {
    pub(crate) fn invalid(what: impl Into<String>) -> Error {
        Error::Invalid { what: what.into() }
    }

    pub(crate) fn io(path: impl Into<PathBuf>, source: std::io::Error) -> Error {
        Error::Io { path: path.into(), source: Arc::new(source) }
    }

    /// The name of the variant in snake case, such as `lease_lost`: a label for metrics and logs.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Error::InvalidLength { .. } => "invalid_length",
            Error::EmptyRange { .. } => "empty_range",
            Error::RangeOverlap { .. } => "range_overlap",
            Error::UnknownJob(_) => "unknown_job",
            Error::UnknownPrefix(_) => "unknown_prefix",
            Error::UnknownWorker(_) => "unknown_worker",
            Error::LeaseLost { .. } => "lease_lost",
            Error::OutOfSequence { .. } => "out_of_sequence",
            Error::CommandAltered { .. } => "command_altered",
            Error::CursorMismatch { .. } => "cursor_mismatch",
            Error::WrongStatus { .. } => "wrong_status",
            Error::Unanswered { .. } => "unanswered",
            Error::RolledBack { .. } => "rolled_back",
            Error::Invalid { .. } => "invalid",
            Error::ImportAltered { .. } => "import_altered",
            Error::InvalidVariable { .. } => "invalid_variable",
            Error::Locked { .. } => "locked",
            Error::NotAStore { .. } => "not_a_store",
            Error::FormatVersion { .. } => "format_version",
            Error::NeedsRecovery { .. } => "needs_recovery",
            Error::Io { .. } => "io",
            Error::Corrupted { .. } => "corrupted",
            Error::Inconsistent { .. } => "inconsistent",
            Error::Internal { .. } => "internal",
            Error::Storage { .. } => "storage",
            Error::Uncertain { .. } => "uncertain",
            Error::Stopped { .. } => "stopped",
            Error::Thread { .. } => "thread",
            Error::Closed => "closed",
            Error::Forked => "forked",
            Error::TransactionTooLarge => "transaction_too_large",
            Error::InUse { .. } => "in_use",
        }
    }

    /// Whether the command may have been stored although it returned an error.
    #[must_use]
    pub fn is_uncertain(&self) -> bool {
        matches!(self, Error::Uncertain { .. })
    }

    /// Whether the store has to be reopened before it takes commands again.
    #[must_use]
    pub fn needs_reopen(&self) -> bool {
        matches!(self, Error::Uncertain { .. } | Error::Storage { .. } | Error::Stopped { .. })
    }
}

/// Refuses a text or byte string outside its limits.
pub(crate) fn check_length(
    what: &'static str,
    length: usize,
    min: usize,
    max: usize,
) -> Result<()> {
    if (min..=max).contains(&length) {
        return Ok(());
    }
    Err(Error::InvalidLength { what, length, min, max })
}
