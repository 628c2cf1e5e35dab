//! What redb says when it fails, in the words of the seam; and what becomes of its panics.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use redb::{StorageError, TableError, TransactionError};

use crate::storage::{EngineError, EngineResult};

/// Runs a call of redb, turning a panic into an error and remembering it.
pub(super) fn guarded<T>(
    broken: &AtomicBool,
    call: impl FnOnce() -> EngineResult<T>,
) -> EngineResult<T> {
    catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
        broken.store(true, Ordering::SeqCst);
        Err(EngineError::Corrupted(panic_text(panic.as_ref())))
    })
}

pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    format!("the storage engine panicked: {text}")
}

pub(super) fn closed() -> EngineError {
    EngineError::failed("the storage is closed")
}

pub(super) fn storage(error: StorageError) -> EngineError {
    match error {
        StorageError::Corrupted(what) => EngineError::Corrupted(what),
        StorageError::Io(e) => EngineError::Failed(Arc::new(e)),
        other => EngineError::Failed(Arc::new(redb::Error::from(other))),
    }
}

pub(super) fn table_error(error: TableError) -> EngineError {
    match error {
        TableError::Storage(e) => storage(e),
        other => EngineError::Corrupted(other.to_string()),
    }
}

pub(super) fn transaction_error(error: TransactionError) -> EngineError {
    match error {
        TransactionError::Storage(e) => storage(e),
        other => EngineError::Failed(Arc::new(redb::Error::from(other))),
    }
}
