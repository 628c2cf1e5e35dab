//! Panics: one inside redb becomes an error, and one in a caller's closure goes on to the caller.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::atomic::{AtomicBool, Ordering};

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

/// The panic of a caller's closure that is called by redb, or between calls of redb. It is kept
/// until redb has returned and is in order, and then resumed.
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

pub(super) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    format!("the storage engine panicked: {text}")
}
