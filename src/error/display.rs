//! What each error says: one sentence that names the thing involved.

use std::fmt;

use super::Error;

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::InvalidLength { what, length: 0, min, .. } if *min > 0 => {
                write!(f, "the {what} is empty")
            }
            Error::InvalidLength { what, length, max, .. } => {
                write!(f, "the {what} has a length of {length}, over the limit of {max}")
            }
            Error::EmptyRange { start, end } => {
                write!(f, "the range {start}..{end} holds no position")
            }
            Error::RangeOverlap { start, end, other, other_start, other_end } => {
                write!(
                    f,
                    "the range {start}..{end} overlaps {other_start}..{other_end}, the range of "
                )?;
                match other {
                    Some(job) => write!(f, "job {job} with the same prefix"),
                    None => f.write_str("another job of the same call"),
                }
            }
            Error::UnknownJob(job) => write!(f, "there is no job {job}"),
            Error::UnknownWorker(name) => write!(f, "there is no worker {name}"),
            Error::LeaseLost { job, token, why } => {
                write!(f, "job {job} is no longer held under token {token}: {why}")
            }
            Error::OutOfSequence { job, sequence, expected } => {
                write!(
                    f,
                    "command {sequence} of job {job} is out of sequence: the next one is {expected}"
                )
            }
            Error::CommandAltered { job, sequence } => {
                write!(f, "command {sequence} of job {job} was already applied with other content")
            }
            Error::CursorMismatch { job, to, end, .. } if to > end => {
                write!(f, "a checkpoint of job {job} to {to} lies past the end of its range, {end}")
            }
            Error::CursorMismatch { job, from, cursor, .. } if from != cursor => {
                write!(
                    f,
                    "a checkpoint of job {job} starts at {from}, but its cursor is at {cursor}"
                )
            }
            Error::CursorMismatch { job, to, cursor, .. } => {
                write!(
                    f,
                    "a checkpoint of job {job} to {to} does not move its cursor forward from {cursor}"
                )
            }
            Error::WrongStatus { job, status, action } => {
                write!(f, "cannot {action} job {job}: it is {status}")
            }
            Error::Unanswered { job } => {
                write!(
                    f,
                    "the result of an earlier command of the lease of job {job} is unknown: call retry first"
                )
            }
            Error::RolledBack { job, cursor } => {
                write!(
                    f,
                    "the latest checkpoints of job {job} were lost: its cursor is back at {cursor}"
                )
            }
            Error::Invalid { what } => f.write_str(what),
            Error::ImportAltered { source_name, number } => {
                write!(
                    f,
                    "import {number} from {source_name:?} was already applied with other records"
                )
            }
            Error::InvalidVariable { variable, value } => {
                write!(f, "the environment variable {variable} is not a number: {value:?}")
            }
            Error::Locked { path, hint } => {
                write!(f, "{} is held by another handle: {hint}", path.display())
            }
            Error::NotAStore { path, why } => {
                write!(f, "{} is not a milepost store: {why}", path.display())
            }
            Error::FormatVersion { path, found, supported } => write!(
                f,
                "{} has format version {found}, and this library supports version {supported}",
                path.display()
            ),
            Error::NeedsRecovery { path } => write!(
                f,
                "{} was not closed by its last writer: open it once for writing, which repairs it",
                path.display()
            ),
            Error::Io { path, source } => write!(f, "cannot use {}: {source}", path.display()),
            Error::Corrupted { what } => write!(f, "the store is corrupted: {what}"),
            Error::Internal { what } => write!(f, "a bug in milepost: {what}"),
            Error::Inconsistent { table, row, rule } => {
                write!(f, "the {table} row of {row} breaks a rule: {rule}")
            }
            Error::Storage { source } => {
                write!(f, "the storage failed and nothing was stored: {source}")
            }
            Error::Uncertain { source } => write!(
                f,
                "the storage failed while committing, so the command may or may not be stored: {source}"
            ),
            Error::Stopped { source } => {
                write!(f, "the store stopped writing after a failure, reopen it: {source}")
            }
            Error::Closed => f.write_str("the store is closed"),
            Error::Forked => f.write_str(
                "the store was opened by the process that this one was forked from, and works only there",
            ),
            Error::TransactionTooLarge => {
                f.write_str("the command needs a larger transaction than the storage engine allows")
            }
            Error::InUse { what } => write!(f, "the store is still in use: {what}"),
        }
    }
}
