//! Workers that wait for a job.
//!
//! A waiting worker sleeps until something happens that may concern it. An event that makes jobs
//! available wakes as many waiters as there are jobs; one that finds nothing for itself wakes the
//! next that waited before the event. Only one waiter, the timekeeper, also wakes when the earliest
//! lease may expire, and then wakes whoever waits for that.

#[cfg(all(test, shuttle))]
mod explored;
#[cfg(all(test, not(shuttle)))]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sync::{Condvar, Mutex};
use crate::time::Timestamp;

/// Those who wait at one store.
#[derive(Default)]
pub(crate) struct Waiters(Mutex<State>);

#[derive(Default)]
struct State {
    /// How many events there were.
    events: u64,
    waiting: VecDeque<Arc<Waiter>>,
    /// Who wakes when leases may expire.
    timekeeper: Option<Arc<Waiter>>,
    /// When the first of all leases may expire, as far as waiters were told.
    first_expiry: Option<Timestamp>,
}

struct Waiter {
    /// How many events there were when it began to wait.
    since: u64,
    /// When the lease it waits for may expire; `None` if it waits for any.
    own_expiry: Option<Timestamp>,
    signal: Mutex<Signal>,
    signalled: Condvar,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Signal {
    Sleep,
    /// Look again at the time when leases may expire.
    LookAtClock,
    Wake,
}

impl Waiter {
    fn signal(&self, signal: Signal) {
        let mut current = self.signal.lock();
        if *current != Signal::Wake {
            *current = signal;
        }
        self.signalled.notify_one();
    }
}

/// The events that a waiter knows of: it need not sleep if there have been more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen(u64);

/// When the leases may expire that a waiter waits for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expiry {
    /// The first of all leases.
    OfAny(Timestamp),
    /// One certain lease.
    OfOne(Timestamp),
}

impl State {
    /// When the timekeeper has to wake somebody.
    fn next_expiry(&self) -> Option<Timestamp> {
        let of_any =
            self.first_expiry.filter(|_| self.waiting.iter().any(|w| w.own_expiry.is_none()));
        self.waiting.iter().filter_map(|waiter| waiter.own_expiry).chain(of_any).min()
    }

    /// Takes somebody out who waits for a lease that may have expired by now.
    fn take_due(&mut self, now: Timestamp) -> Option<Arc<Waiter>> {
        let any_due = self.first_expiry.is_some_and(|first| first <= now);
        let due = self.waiting.iter().position(|waiter| match waiter.own_expiry {
            Some(own) => own <= now,
            None => any_due,
        })?;
        if self.waiting[due].own_expiry.is_none() {
            // Its request tells the next time.
            self.first_expiry = None;
        }
        self.waiting.remove(due)
    }
}

impl Waiters {
    /// What has happened so far. To be taken before a request that may find nothing, so that
    /// nothing which happens after the request is missed.
    pub(crate) fn seen(&self) -> Seen {
        Seen(self.0.lock().events)
    }

    /// Notes that this many jobs became available, and wakes as many waiters.
    pub(crate) fn wake(&self, jobs: usize) {
        let woken: Vec<Arc<Waiter>> = {
            let mut state = self.0.lock();
            state.events += 1;
            let many = state.waiting.len().min(jobs);
            state.waiting.drain(..many).collect()
        };
        woken.iter().for_each(|waiter| waiter.signal(Signal::Wake));
    }

    /// Wakes everybody: there may be nothing left to wait for.
    pub(crate) fn wake_all(&self) {
        self.wake(usize::MAX);
    }

    /// Wakes the next who waited before an event, for one who found nothing in it.
    pub(crate) fn pass_on(&self, event: Seen) {
        let next = {
            let mut state = self.0.lock();
            match state.waiting.front() {
                Some(next) if next.since < event.0 => state.waiting.pop_front(),
                _ => None,
            }
        };
        if let Some(next) = next {
            next.signal(Signal::Wake);
        }
    }

    /// Waits for an event after those `seen`, until a lease may have expired, or until `most` has
    /// passed. Returns what has happened by then.
    pub(crate) fn wait(
        &self,
        seen: Seen,
        most: Duration,
        expiry: Expiry,
        now: &dyn Fn() -> Timestamp,
    ) -> Seen {
        let (waiter, timekeeper) = {
            let mut state = self.0.lock();
            if state.events > seen.0 {
                return Seen(state.events);
            }
            let own_expiry = match expiry {
                Expiry::OfAny(first) => {
                    state.first_expiry = Some(first);
                    None
                }
                Expiry::OfOne(own) => Some(own),
            };
            let waiter = Arc::new(Waiter {
                since: state.events,
                own_expiry,
                signal: Mutex::new(Signal::Sleep),
                signalled: Condvar::new(),
            });
            state.waiting.push_back(waiter.clone());
            let timekeeper = state.timekeeper.get_or_insert_with(|| waiter.clone()).clone();
            (waiter, timekeeper)
        };
        let until = Instant::now().checked_add(most);
        if Arc::ptr_eq(&waiter, &timekeeper) {
            self.keep_time(&waiter, until, now);
        } else {
            timekeeper.signal(Signal::LookAtClock);
            waiter.sleep(until);
        }
        self.leave(&waiter)
    }

    /// Sleeps, and wakes others whose leases may have expired, until it is woken itself.
    fn keep_time(&self, waiter: &Arc<Waiter>, until: Option<Instant>, now: &dyn Fn() -> Timestamp) {
        loop {
            let (due, next) = {
                let mut state = self.0.lock();
                (state.take_due(now()), state.next_expiry())
            };
            match due {
                Some(due) if Arc::ptr_eq(&due, waiter) => return,
                Some(due) => {
                    due.signal(Signal::Wake);
                    continue;
                }
                None => {}
            }
            let look = next.map_or(LOOK, |next| next.since(now()).min(LOOK));
            let look = Instant::now() + look.max(Duration::from_millis(1));
            match waiter.sleep(Some(until.map_or(look, |until| until.min(look)))) {
                Signal::Wake => return,
                Signal::LookAtClock | Signal::Sleep => {}
            }
            if until.is_some_and(|until| until <= Instant::now()) {
                return;
            }
        }
    }

    /// Stops waiting. Whoever kept time leaves that to another.
    fn leave(&self, waiter: &Arc<Waiter>) -> Seen {
        let (events, successor) = {
            let mut state = self.0.lock();
            state.waiting.retain(|other| !Arc::ptr_eq(other, waiter));
            let kept = state.timekeeper.as_ref().is_some_and(|keeper| Arc::ptr_eq(keeper, waiter));
            if kept {
                state.timekeeper = None;
            }
            // It asks once more, and keeps time if it has to wait again.
            let successor = if kept { state.waiting.pop_front() } else { None };
            (state.events, successor)
        };
        if let Some(successor) = successor {
            successor.signal(Signal::Wake);
        }
        Seen(events)
    }
}

/// How often the timekeeper looks at the clock of the store, which may jump.
const LOOK: Duration = Duration::from_secs(1);

impl Waiter {
    /// Sleeps until it is signalled or the time has come. Returns the signal, and takes it.
    fn sleep(&self, until: Option<Instant>) -> Signal {
        let mut signal = self.signal.lock();
        while *signal == Signal::Sleep {
            match until {
                None => self.signalled.wait(&mut signal),
                Some(until) => {
                    if self.signalled.wait_until(&mut signal, until).timed_out() {
                        break;
                    }
                }
            }
        }
        std::mem::replace(&mut *signal, Signal::Sleep)
    }
}
