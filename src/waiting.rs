//! Workers that wait for a job.
//!
//! A waiting worker sleeps until an event concerns it. A job that becomes available wakes one worker
//! that wants such a job; if that worker does not take it because it fails or finds another job, it
//! wakes the next. Only one waiter, the timekeeper, also looks at the clock, and wakes whoever waits
//! for a lease that may have expired. When it leaves, the next one takes over.

#[cfg(all(test, shuttle))]
mod explored;
mod queues;
#[cfg(all(test, not(shuttle)))]
mod tests;

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sync::{Condvar, Mutex};
use crate::time::Timestamp;
use crate::types::JobId;
use crate::types::command::{Event, Wanted};
use queues::Queues;

/// How often the timekeeper looks at the clock of the store, which may jump.
const LOOK: Duration = Duration::from_millis(if cfg!(test) { 20 } else { 1_000 });

/// Those who wait at one store.
#[derive(Default)]
pub(crate) struct Waiters(Mutex<Queues>);

/// One who waits.
struct Waiter {
    /// Its place among all who ever waited.
    arrival: u64,
    wanted: Wanted,
    signal: Mutex<Signal>,
    signalled: Condvar,
}

enum Signal {
    Sleep,
    /// Look again at who keeps time, and when leases may expire.
    LookAtClock,
    Wake(Option<Cause>),
}

/// Why one waiter was woken and not another. If it cannot see to it, the next has to.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Cause {
    /// A job of this prefix is available.
    Available(Vec<u8>),
    /// This job may be available.
    Returned(JobId),
    /// Some lease may have expired.
    Expiry,
}

/// What had happened before a request. If there has been more, its result may be outdated.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    events: u64,
    grants: u64,
}

impl Waiters {
    /// What has happened so far that concerns those who want this. To be taken before a request
    /// that may find nothing, so that nothing which happens after the request is missed.
    pub(crate) fn seen(&self, wanted: &Wanted) -> Seen {
        self.0.lock().seen(wanted)
    }

    /// Wakes those whom events concern.
    pub(crate) fn notify(&self, events: Vec<Event>) {
        if events.is_empty() {
            return;
        }
        let mut queues = self.0.lock();
        events.into_iter().for_each(|event| queues.happened(event));
    }

    /// How many wait.
    pub(crate) fn len(&self) -> usize {
        self.0.lock().len()
    }

    /// Wakes everybody.
    pub(crate) fn wake_all(&self) {
        self.0.lock().wake_all();
    }

    /// Notes that a lease was granted, which may expire before those that others wait for.
    pub(crate) fn granted(&self, job: JobId, deadline: Timestamp) {
        self.0.lock().granted(job, deadline);
    }

    /// Waits for an event after those `seen`, until a lease may have expired, or until `most` has
    /// passed. According to the request, the first lease expires at `expiry`.
    pub(crate) fn wait(
        &self,
        wanted: &Wanted,
        seen: Seen,
        expiry: Timestamp,
        most: Duration,
        now: &dyn Fn() -> Timestamp,
    ) -> Woken<'_> {
        let waiter = {
            let mut queues = self.0.lock();
            let Some(waiter) = queues.add(seen, wanted, expiry) else {
                return Woken { waiters: self, cause: None };
            };
            waiter
        };
        let mut waiting = Waiting { waiters: self, waiter: Some(waiter.clone()) };
        self.sleep(&waiter, Instant::now().checked_add(most), now);
        waiting.end()
    }

    /// Sleeps until it is woken or the time has come, and keeps time meanwhile if that is its turn.
    fn sleep(&self, waiter: &Arc<Waiter>, until: Option<Instant>, now: &dyn Fn() -> Timestamp) {
        loop {
            let look = self.keep_time(waiter, now).map(|pause| Instant::now() + pause);
            let is_woken = waiter.sleep(look.into_iter().chain(until).min());
            if is_woken || until.is_some_and(|until| until <= Instant::now()) {
                return;
            }
        }
    }

    /// Wakes others when leases may have expired. Returns when to look again; `None` if somebody
    /// else keeps time.
    fn keep_time(&self, waiter: &Arc<Waiter>, now: &dyn Fn() -> Timestamp) -> Option<Duration> {
        // Without the lock, since the clock may be the caller's own.
        let now = now();
        let mut queues = self.0.lock();
        if !queues.keeps_time(waiter) {
            return None;
        }
        let pause = queues
            .keep_time(now)
            .map_or(LOOK, |next| next.saturating_duration_since(now).min(LOOK));
        Some(pause.max(Duration::from_millis(1)))
    }
}

/// A waiter in its queue. It leaves when this is dropped, also by a panic of the caller's clock.
struct Waiting<'w> {
    waiters: &'w Waiters,
    waiter: Option<Arc<Waiter>>,
}

impl<'w> Waiting<'w> {
    fn end(&mut self) -> Woken<'w> {
        let cause = self.waiter.take().and_then(|waiter| {
            // With the lock: whoever took the waiter out of its queue has also woken it.
            let mut queues = self.waiters.0.lock();
            queues.remove(&waiter);
            waiter.take_cause()
        });
        Woken { waiters: self.waiters, cause }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        drop(self.end());
    }
}

/// Somebody who has waited and now repeats his request. If he ends without having called
/// [`done`](Woken::done), the next is woken in his place.
#[must_use = "the next is woken when this is dropped"]
pub(crate) struct Woken<'w> {
    waiters: &'w Waiters,
    cause: Option<Cause>,
}

impl Woken<'_> {
    /// Whether he has what he was woken for if he gets a job of this prefix.
    pub(crate) fn is_for(&self, prefix: &[u8]) -> bool {
        !matches!(&self.cause, Some(Cause::Available(other)) if other != prefix)
    }

    /// He has what he was woken for, or has found that it is gone.
    pub(crate) fn done(mut self) {
        self.cause = None;
    }
}

impl Drop for Woken<'_> {
    fn drop(&mut self) {
        if let Some(cause) = self.cause.take() {
            self.waiters.0.lock().wake_one(cause);
        }
    }
}

impl Waiter {
    fn new(arrival: u64, wanted: Wanted) -> Waiter {
        Waiter { arrival, wanted, signal: Mutex::new(Signal::Sleep), signalled: Condvar::new() }
    }

    fn wake(&self, cause: Option<Cause>) {
        *self.signal.lock() = Signal::Wake(cause);
        self.signalled.notify_one();
    }

    fn look_at_clock(&self) {
        let mut signal = self.signal.lock();
        if !matches!(*signal, Signal::Wake(_)) {
            *signal = Signal::LookAtClock;
        }
        self.signalled.notify_one();
    }

    /// Sleeps until it is signalled or the time has come. Returns whether it was woken.
    fn sleep(&self, until: Option<Instant>) -> bool {
        let mut signal = self.signal.lock();
        loop {
            match *signal {
                Signal::Wake(_) => return true,
                Signal::LookAtClock => {
                    *signal = Signal::Sleep;
                    return false;
                }
                Signal::Sleep => {}
            }
            match until {
                None => self.signalled.wait(&mut signal),
                Some(until) => {
                    if self.signalled.wait_until(&mut signal, until).timed_out() {
                        return matches!(*signal, Signal::Wake(_));
                    }
                }
            }
        }
    }

    fn take_cause(&self) -> Option<Cause> {
        match std::mem::replace(&mut *self.signal.lock(), Signal::Sleep) {
            Signal::Wake(cause) => cause,
            Signal::Sleep | Signal::LookAtClock => None,
        }
    }
}
