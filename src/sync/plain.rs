//! What a store runs with.

use std::time::{Duration, Instant};

pub(crate) use parking_lot::{Condvar, Mutex, MutexGuard, RwLock};
pub(crate) use std::thread::{self, yield_now};

/// How long somebody is ready to wait for others who may not come.
pub(crate) struct Patience {
    since: Instant,
    most: Duration,
}

impl Patience {
    pub(crate) fn of(most: Duration) -> Patience {
        Patience { since: Instant::now(), most }
    }

    /// Whether to wait any longer; to be called in each turn of a loop.
    pub(crate) fn lasts(&mut self) -> bool {
        self.since.elapsed() < self.most
    }
}
