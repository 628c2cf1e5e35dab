//! Leases as data, the commands under them, and their results.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;
use crate::types::{Batch, FailOutcome, JobId, Prefix, Token, WorkerId};

/// A lease as data: all that its holder has to know. It can be sent to another process, or kept over
/// a restart.
///
/// Returned by [`Lease::grant`](crate::Lease::grant). A holder that has only this sends a
/// [`LeaseCommand`] for each step, by way of [`Store::submit`](crate::Store::submit), or makes a
/// handle of it by [`Store::lease_from`](crate::Store::lease_from).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Grant {
    /// The job that is held.
    pub job: JobId,
    /// The worker that holds it.
    pub worker: WorkerId,
    /// The token that fences the lease.
    pub token: Token,
    /// Sequence number of the last command of the lease; 0 before the first.
    pub sequence: u64,
    /// The prefix of the job.
    pub prefix: Prefix,
    /// First position of the job.
    pub start: u64,
    /// One past the last position of the job.
    pub end: u64,
    /// The next position that is not done yet.
    pub cursor: u64,
    /// When the lease expires, unless a checkpoint or renewal comes first.
    pub deadline: Timestamp,
    /// How long the lease lasts from a checkpoint or renewal on.
    #[serde(rename = "length_us", with = "crate::types::as_text::micros")]
    pub length: Duration,
    /// How many attempts at the job have failed so far.
    pub attempts: u32,
}

impl Grant {
    /// The next command of the lease. Its result is to be entered by
    /// [`acknowledge`](Grant::acknowledge), before the next command is made.
    #[must_use]
    pub fn command(&self, action: Action) -> LeaseCommand {
        LeaseCommand::new(self.job, self.token, self.sequence + 1, action)
    }

    /// Enters the result of a command: sequence number, cursor and deadline move on.
    pub fn acknowledge(&mut self, receipt: &Receipt) {
        self.sequence += 1;
        match *receipt {
            Receipt::Moved { cursor, deadline } => {
                self.cursor = cursor;
                self.deadline = deadline;
            }
            Receipt::Renewed { deadline } => self.deadline = deadline,
            Receipt::Completed => self.cursor = self.end,
            Receipt::Failed(_) | Receipt::Released => {}
        }
    }
}

/// A command under a lease, as plain data: for callers that do not keep a [`Lease`](crate::Lease)
/// in memory, such as a server that forwards the commands of remote workers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
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

impl LeaseCommand {
    /// A command under a token: `sequence` is 1 for the first command of the lease, and one more for
    /// each further one.
    #[must_use]
    pub fn new(job: JobId, token: Token, sequence: u64, action: Action) -> LeaseCommand {
        LeaseCommand { job, token, sequence, action }
    }
}

/// What a lease command does.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Action {
    /// Moves the cursor from the start of a batch to its end, and records the batch. At the end of
    /// the job's range it completes the job, otherwise it renews the lease.
    Checkpoint(Batch),
    /// Renews the lease: it lasts its full length from now on.
    Renew,
    /// Renews the lease, and notes on the job how it is going.
    Heartbeat {
        /// The note; at most 256 bytes.
        note: String,
    },
    /// Releases the job and counts a failed attempt, unless this lease has moved its cursor.
    Fail {
        /// Why; at most 512 bytes.
        reason: String,
        /// What was tried in vain: recorded, although the cursor does not move.
        batch: Option<Batch>,
    },
    /// Releases the job.
    Release,
}

/// The result of a lease command.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
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
    Failed(FailOutcome),
    /// The job was released.
    Released,
}
