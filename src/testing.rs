//! Engines and devices that fail on purpose, and the raw rows of a store: for tests of programs that
//! embed a store, and of the store itself.
//!
//! **Unstable.** This module exists with the feature `testing` only, and may change in any version.
//!
//! ```
//! use std::sync::Arc;
//!
//! use milepost::testing::{Fault, MemoryEngine};
//! use milepost::{Builder, NewJob};
//!
//! let engine = Arc::new(MemoryEngine::new());
//! let store = Builder::on_engine(engine.clone()).open()?;
//! engine.fail_after(0, Fault::CommitLost);
//! assert!(store.create_job(NewJob::new("a", 0..10)).is_err());
//! store.reopen()?;
//! assert_eq!(store.snapshot()?.job_counts().all(), 0);
//! # Ok::<(), milepost::Error>(())
//! ```

pub use crate::schema::tables;
pub use crate::storage::{
    Device, Engine, EngineError, EngineResult, EngineSnapshot, Fault, Flush, KeyRange,
    MemoryEngine, Order, Read, Table, TableSize, Visit, Write,
};
