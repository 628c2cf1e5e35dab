//! Tells waiting threads that something happened.

use std::time::{Duration, Instant};

use crate::sync::{Condvar, Mutex};

/// Tells waiting threads that something happened.
#[derive(Default)]
pub(crate) struct Events {
    count: Mutex<u64>,
    changed: Condvar,
}

impl Events {
    /// How much has happened so far: to be passed to [`Events::wait`].
    pub(crate) fn count(&self) -> u64 {
        *self.count.lock()
    }

    pub(super) fn happened(&self) {
        *self.count.lock() += 1;
        self.changed.notify_all();
    }

    /// Waits until more than `seen` has happened, but not longer than `most`.
    pub(crate) fn wait(&self, seen: u64, most: Duration) {
        let until = Instant::now() + most;
        let mut count = self.count.lock();
        while *count == seen {
            if self.changed.wait_until(&mut count, until).timed_out() {
                return;
            }
        }
    }
}
