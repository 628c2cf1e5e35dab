//! Locks and threads: parking_lot's and the standard library's, or shuttle's behind the same methods
//! where tests explore schedules.

#[cfg(all(test, shuttle))]
mod explored;
#[cfg(not(all(test, shuttle)))]
mod plain;

#[cfg(all(test, shuttle))]
pub(crate) use explored::{Condvar, Mutex, MutexGuard, Patience, RwLock, thread, yield_now};
#[cfg(not(all(test, shuttle)))]
pub(crate) use plain::{Condvar, Mutex, MutexGuard, Patience, RwLock, thread, yield_now};
