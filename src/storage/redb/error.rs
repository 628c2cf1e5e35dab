//! Conversion of redb's errors into [`EngineError`].

use std::sync::Arc;

use redb::{StorageError, TableError, TransactionError};

use crate::storage::EngineError;

pub(super) fn closed() -> EngineError {
    EngineError::failed("the storage is closed")
}

pub(super) fn failed_earlier() -> EngineError {
    EngineError::failed("the storage engine failed earlier")
}

pub(super) fn any(error: impl Into<redb::Error>) -> EngineError {
    EngineError::Failed(Arc::new(error.into()))
}

pub(super) fn storage(error: StorageError) -> EngineError {
    match error {
        StorageError::Corrupted(what) => EngineError::Corrupted(what),
        StorageError::DatabaseClosed => EngineError::Closed,
        StorageError::Io(e) => EngineError::Failed(Arc::new(e)),
        other => any(other),
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
        other => any(other),
    }
}
