//! Ending waits from outside.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};

use parking_lot::Mutex;

use crate::waiting::Waiters;

/// Makes workers stop waiting and take no further job, from any thread: for Ctrl-C, and for an
/// orderly shutdown. The store stays open, and leases that are held stay valid.
///
/// A worker is given a token by [`Worker::cancelled_by`](crate::Worker::cancelled_by). All clones
/// are one token. One that was cancelled stays so.
///
/// ```
/// use milepost::{CancellationToken, NewJob, Store};
/// use std::time::Duration;
///
/// let store = Store::in_memory()?;
/// store.create_job(NewJob::new("demo", 0..10))?;
/// let stop = CancellationToken::new();
/// let first = store.register_worker("pc-01")?.next_lease(Duration::from_secs(60))?;
///
/// let worker = store.register_worker("pc-02")?.cancelled_by(&stop);
/// let waiting = std::thread::spawn(move || worker.next_lease(Duration::from_secs(60)));
/// stop.cancel();
///
/// assert!(waiting.join().unwrap()?.is_none());
/// # drop(first);
/// # Ok::<(), milepost::Error>(())
/// ```
#[derive(Clone, Default)]
pub struct CancellationToken(Arc<Inner>);

#[derive(Default)]
struct Inner {
    is_cancelled: AtomicBool,
    /// Where its workers may be waiting.
    waiters: Mutex<Vec<Weak<Waiters>>>,
}

impl fmt::Debug for CancellationToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("CancellationToken").field(&self.is_cancelled()).finish()
    }
}

impl CancellationToken {
    /// A token that is not cancelled.
    #[must_use]
    pub fn new() -> CancellationToken {
        CancellationToken::default()
    }

    /// Cancels: wakes the workers of this token that wait, and lets none of them wait or take
    /// another job from now on.
    pub fn cancel(&self) {
        self.0.is_cancelled.store(true, Ordering::SeqCst);
        for waiters in self.0.waiters.lock().iter().filter_map(Weak::upgrade) {
            waiters.wake_all();
        }
    }

    /// Whether it was cancelled.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.is_cancelled.load(Ordering::SeqCst)
    }

    /// Wakes those who wait here, too, when this is cancelled.
    pub(crate) fn watch(&self, waiters: &Arc<Waiters>) {
        let mut watched = self.0.waiters.lock();
        watched.retain(|other| other.strong_count() > 0);
        if !watched.iter().any(|other| std::ptr::eq(other.as_ptr(), Arc::as_ptr(waiters))) {
            watched.push(Arc::downgrade(waiters));
        }
    }
}
