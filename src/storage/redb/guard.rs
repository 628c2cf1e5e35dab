//! Handling of panics: one inside redb becomes an error, and one in a caller's closure reaches the
//! caller.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

use super::error::failed_earlier;
use crate::process::Process;
use crate::storage::{EngineError, EngineResult};

/// The state of an open redb database after panics. Its snapshots share it.
#[derive(Debug)]
pub(super) struct Health {
    process: Process,
    /// redb panicked, or lost acknowledged commits. After that only reads are allowed.
    stopped: AtomicBool,
    /// redb panicked while it wrote, or while a part of it was dropped. Its locks may be poisoned,
    /// so that dropping another part may panic again, and a panic during unwinding aborts the
    /// process. So the rest of redb is leaked.
    poisoned: AtomicBool,
}

impl Health {
    pub(super) fn new() -> Health {
        Health {
            process: Process::current(),
            stopped: AtomicBool::new(false),
            poisoned: AtomicBool::new(false),
        }
    }

    /// Whether this is a forked child, where no lock may be taken and no part of redb dropped.
    pub(super) fn is_forked(&self) -> bool {
        !self.process.is_current()
    }

    /// Runs a call of redb that only reads.
    pub(super) fn read<T>(&self, call: impl FnOnce() -> EngineResult<T>) -> EngineResult<T> {
        let read = catch_unwind(AssertUnwindSafe(call)).unwrap_or_else(|panic| {
            self.stop();
            Err(EngineError::Corrupted(panic_text(panic.as_ref())))
        });
        // A caller's closure may have forked: the backend then returns errors to redb.
        read.map_err(|error| if self.is_forked() { EngineError::Forked } else { error })
    }

    /// Runs a call of redb within a write transaction.
    pub(super) fn write<T>(&self, call: impl FnOnce() -> EngineResult<T>) -> EngineResult<T> {
        self.consume((), |()| call())
    }

    /// Runs a call of redb that consumes a part of redb.
    pub(super) fn consume<P, T>(
        &self,
        part: P,
        call: impl FnOnce(P) -> EngineResult<T>,
    ) -> EngineResult<T> {
        if self.is_poisoned() {
            std::mem::forget(part);
            return Err(failed_earlier());
        }
        catch_unwind(AssertUnwindSafe(|| call(part))).unwrap_or_else(|panic| {
            self.stop();
            self.poisoned.store(true, Ordering::SeqCst);
            Err(EngineError::Corrupted(panic_text(panic.as_ref())))
        })
    }

    /// Drops a part of redb.
    pub(super) fn discard<P>(&self, part: P) {
        let dropped = self.consume(part, |part| {
            drop(part);
            Ok(())
        });
        if let Err(error) = dropped {
            tracing::debug!(%error, "a part of redb was leaked");
        }
    }

    /// Makes all further writes fail.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::SeqCst);
    }

    pub(super) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    pub(super) fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::SeqCst)
    }
}

/// The panic of a caller's closure that runs inside redb, or between calls of redb. It is stored
/// until redb has returned, and then resumed.
#[derive(Default)]
pub(super) struct CallerPanic(Option<Box<dyn Any + Send>>);

impl CallerPanic {
    /// Runs the closure; `None` if it panicked.
    pub(super) fn catch<T>(&mut self, closure: impl FnOnce() -> T) -> Option<T> {
        match catch_unwind(AssertUnwindSafe(closure)) {
            Ok(value) => Some(value),
            Err(panic) => {
                self.0 = Some(panic);
                None
            }
        }
    }

    /// Resumes the panic, if there was one.
    pub(super) fn resume(self) {
        if let Some(panic) = self.0 {
            resume_unwind(panic);
        }
    }
}

pub(super) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    format!("the storage engine panicked: {text}")
}
