//! Why a command failed, and how much work one step may do.

use crate::error::Error;
use crate::storage::{EngineError, EngineResult, Write};

/// Why a command was not applied.
pub(crate) enum Failure {
    /// It was rejected.
    Rejected(Error),
    /// A row could not be decoded, or the engine failed and with it the whole transaction.
    Engine(EngineError),
}

impl From<Error> for Failure {
    fn from(error: Error) -> Failure {
        Failure::Rejected(error)
    }
}

impl From<EngineError> for Failure {
    fn from(error: EngineError) -> Failure {
        Failure::Engine(error)
    }
}

pub(crate) type Applied<T> = std::result::Result<T, Failure>;

/// Separates an error of one row, after which others can still be handled, from one of the engine.
pub(super) fn split_damage<T>(result: EngineResult<T>) -> EngineResult<Result<T, EngineError>> {
    match result {
        Ok(value) => Ok(Ok(value)),
        Err(error @ EngineError::DamagedRow(_)) => Ok(Err(error)),
        Err(error) => Err(error),
    }
}

/// The most expired leases, findings or jobs that one command handles.
pub(crate) const STEP: usize = 256;

/// How many leases a step may handle, given the room left: each costs fewer than forty operations.
pub(crate) fn step(txn: &dyn Write) -> usize {
    STEP.min((txn.room() / 40).max(1))
}
