//! The locks that callers wait at: parking_lot's, or shuttle's behind the same methods where tests
//! explore schedules.

#[cfg(all(test, shuttle))]
mod explored;
#[cfg(not(all(test, shuttle)))]
mod plain;

#[cfg(all(test, shuttle))]
pub(crate) use explored::{Condvar, Mutex, MutexGuard, Patience, RwLock, yield_now};
#[cfg(not(all(test, shuttle)))]
pub(crate) use plain::{Condvar, Mutex, MutexGuard, Patience, RwLock, yield_now};
