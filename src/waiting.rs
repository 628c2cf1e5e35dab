//! Workers that wait for a job.
//!
//! A waiting worker sleeps until something happens that may concern it. An event that makes jobs
//! available wakes as many waiters as there are jobs; one that finds nothing for itself wakes the
//! next that waited before the event. Only one waiter, the timekeeper, also looks at the clock, and
//! wakes whoever waits for a lease that may have expired. When it leaves, the next takes over.

#[cfg(all(test, shuttle))]
mod explored;
#[cfg(all(test, not(shuttle)))]
mod tests;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::sync::{Condvar, Mutex};
use crate::time::Timestamp;
use crate::types::JobId;

/// Those who wait at one store.
#[derive(Default)]
pub(crate) struct Waiters(Mutex<State>);

#[derive(Default)]
struct State {
    /// How many events there were.
    events: u64,
    /// How many jobs have ended, which concerns only those who wait for one of them.
    endings: u64,
    waiting: VecDeque<Arc<Waiter>>,
    /// Who wakes when leases may expire.
    timekeeper: Option<Arc<Waiter>>,
    /// When the first of all leases may expire, as far as waiters were told.
    first_expiry: Option<Timestamp>,
    /// The latest time that was seen: the clock was set back if it shows an earlier one.
    latest: Option<Timestamp>,
}

struct Waiter {
    /// How many events there were when it began to wait.
    since: u64,
    /// The job it waits for, and when its lease may expire; `None` if it waits for any.
    own: Option<(JobId, Timestamp)>,
    signal: Mutex<Signal>,
    signalled: Condvar,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Signal {
    Sleep,
    /// Look again at who keeps time, and when leases may expire.
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

/// What a waiter knows of: it need not sleep if there has been more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Seen {
    events: u64,
    endings: u64,
}

/// When the leases may expire that a waiter waits for.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Expiry {
    /// The first of all leases.
    OfAny(Timestamp),
    /// The lease of one job.
    OfOne(JobId, Timestamp),
}

impl State {
    fn seen(&self) -> Seen {
        Seen { events: self.events, endings: self.endings }
    }

    /// When the timekeeper has to wake somebody.
    fn next_expiry(&self) -> Option<Timestamp> {
        let of_any = self.first_expiry.filter(|_| self.waiting.iter().any(|w| w.own.is_none()));
        let own = self.waiting.iter().filter_map(|waiter| waiter.own);
        own.map(|(_, expiry)| expiry).chain(of_any).min()
    }

    /// Takes somebody out who waits for a lease that may have expired by now.
    fn take_due(&mut self, now: Timestamp) -> Option<Arc<Waiter>> {
        let any_due = self.first_expiry.is_some_and(|first| first <= now);
        let due = self.waiting.iter().position(|waiter| match waiter.own {
            Some((_, expiry)) => expiry <= now,
            None => any_due,
        })?;
        if self.waiting[due].own.is_none() {
            // Its request tells the next time, unless it gets a lease: then the next has to ask.
            self.first_expiry = Some(now.after(LOOK));
        }
        self.waiting.remove(due)
    }

    /// Whether the clock was set back since the last look. What waiters were told then no longer
    /// holds: their requests bring deadlines forward.
    fn is_set_back(&mut self, now: Timestamp) -> bool {
        let latest = self.latest.map_or(now, |latest| latest.max(now));
        let is_set_back = now.after(LOOK) < latest;
        self.latest = Some(if is_set_back { now } else { latest });
        is_set_back
    }

    /// Takes out as many as can take jobs that became available.
    fn take_woken(&mut self, jobs: usize) -> Vec<Arc<Waiter>> {
        self.events += 1;
        let many = self.waiting.len().min(jobs);
        self.waiting.drain(..many).collect()
    }
}

fn wake_each(woken: impl IntoIterator<Item = Arc<Waiter>>) {
    woken.into_iter().for_each(|waiter| waiter.signal(Signal::Wake));
}

impl Waiters {
    /// What has happened so far. To be taken before a request that may find nothing, so that
    /// nothing which happens after the request is missed.
    pub(crate) fn seen(&self) -> Seen {
        self.0.lock().seen()
    }

    /// Notes that this many jobs became available, and wakes as many waiters.
    pub(crate) fn wake(&self, jobs: usize) {
        let woken = self.0.lock().take_woken(jobs);
        wake_each(woken);
    }

    /// Wakes everybody: there may be nothing left to wait for.
    pub(crate) fn wake_all(&self) {
        self.wake(usize::MAX);
    }

    /// Notes that a job has ended, and wakes those who wait for no other.
    pub(crate) fn job_ended(&self, job: JobId) {
        let waits_for_it = |waiter: &Arc<Waiter>| waiter.own.is_some_and(|(own, _)| own == job);
        let woken: Vec<Arc<Waiter>> = {
            let mut state = self.0.lock();
            state.endings += 1;
            let woken =
                state.waiting.iter().filter(|waiter| waits_for_it(waiter)).cloned().collect();
            state.waiting.retain(|waiter| !waits_for_it(waiter));
            woken
        };
        wake_each(woken);
    }

    /// Wakes the next who waited before an event, for one who found nothing in it.
    pub(crate) fn pass_on(&self, event: Seen) {
        let next = {
            let mut state = self.0.lock();
            match state.waiting.front() {
                Some(next) if next.since < event.events => state.waiting.pop_front(),
                _ => None,
            }
        };
        wake_each(next);
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
            let own = match expiry {
                Expiry::OfAny(_) => None,
                Expiry::OfOne(job, own) => Some((job, own)),
            };
            if state.events > seen.events || (own.is_some() && state.endings > seen.endings) {
                return state.seen();
            }
            if let Expiry::OfAny(first) = expiry {
                state.first_expiry = Some(first);
            }
            let waiter = Arc::new(Waiter {
                since: state.events,
                own,
                signal: Mutex::new(Signal::Sleep),
                signalled: Condvar::new(),
            });
            state.waiting.push_back(waiter.clone());
            let timekeeper = state.timekeeper.get_or_insert_with(|| waiter.clone()).clone();
            (waiter, timekeeper)
        };
        if !Arc::ptr_eq(&waiter, &timekeeper) {
            timekeeper.signal(Signal::LookAtClock);
        }
        let leaving = Leaving { waiters: self, waiter: &waiter };
        self.sleep(&waiter, Instant::now().checked_add(most), now);
        drop(leaving);
        self.seen()
    }

    /// Sleeps until it is woken or the time has come, and keeps time meanwhile if that is its turn.
    fn sleep(&self, waiter: &Arc<Waiter>, until: Option<Instant>, now: &dyn Fn() -> Timestamp) {
        loop {
            let look = self.keep_time(waiter, now).map(|pause| Instant::now() + pause);
            let signal = waiter.sleep(look.into_iter().chain(until).min());
            if signal == Signal::Wake || until.is_some_and(|until| until <= Instant::now()) {
                return;
            }
        }
    }

    /// Wakes those whose leases may have expired, and everybody if the clock was set back. Returns
    /// when to look again; `None` if somebody else keeps time.
    fn keep_time(&self, waiter: &Arc<Waiter>, now: &dyn Fn() -> Timestamp) -> Option<Duration> {
        // Without the lock, since the clock may be the caller's own.
        let now = now();
        let mut state = self.0.lock();
        state.timekeeper.as_ref().filter(|keeper| Arc::ptr_eq(keeper, waiter))?;
        if state.is_set_back(now) {
            wake_each(state.take_woken(usize::MAX));
        }
        wake_each(std::iter::from_fn(|| state.take_due(now)));
        let pause = state.next_expiry().map_or(LOOK, |next| next.since(now).min(LOOK));
        Some(pause.max(Duration::from_millis(1)))
    }
}

/// Stops waiting when it is dropped, also by a panic of the caller's clock. Whoever kept time leaves
/// that to the next.
struct Leaving<'w> {
    waiters: &'w Waiters,
    waiter: &'w Arc<Waiter>,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        let mut state = self.waiters.0.lock();
        state.waiting.retain(|other| !Arc::ptr_eq(other, self.waiter));
        if state.timekeeper.as_ref().is_some_and(|keeper| Arc::ptr_eq(keeper, self.waiter)) {
            state.timekeeper = state.waiting.front().cloned();
            if let Some(next) = &state.timekeeper {
                next.signal(Signal::LookAtClock);
            }
        }
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
