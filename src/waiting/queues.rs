//! Who waits, for what, and until when.

use std::collections::{BTreeMap, VecDeque};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;

use super::{Cause, LOOK, Seen, Waiter};
use crate::time::Timestamp;
use crate::types::JobId;
use crate::types::command::{Event, Wanted};

/// How many counters of events there are: workers that want different things may share one.
const SLOTS: usize = 64;

/// How many of the last grants are remembered. If there were more during a request, it is repeated.
const GRANTS: usize = 1_024;

pub(super) struct Queues {
    /// How many events there were, by what is wanted.
    events: [u64; SLOTS],
    /// How many leases were granted, and the last of them.
    grants: u64,
    granted: VecDeque<(JobId, Timestamp)>,
    /// How many have begun to wait.
    arrivals: u64,
    /// None of them is empty.
    queues: BTreeMap<Wanted, Queue>,
    /// When the first of all leases may expire, for those who wait for more than one job.
    first_expiry: Option<Timestamp>,
    /// When the timekeeper looks at the clock again, unless it looks before that anyway.
    next_look: Option<Timestamp>,
    /// The latest time that was seen: the clock was set back if it shows an earlier one.
    latest: Option<Timestamp>,
    /// Who wakes others when leases may expire.
    pub(super) timekeeper: Option<Arc<Waiter>>,
}

/// Those who want the same, in the order of their arrival.
#[derive(Default)]
struct Queue {
    waiters: VecDeque<Arc<Waiter>>,
    /// When the lease of the job may expire, if they wait for one job.
    expiry: Option<Timestamp>,
}

impl Default for Queues {
    fn default() -> Queues {
        Queues {
            events: [0; SLOTS],
            grants: 0,
            granted: VecDeque::new(),
            arrivals: 0,
            queues: BTreeMap::new(),
            first_expiry: None,
            next_look: None,
            latest: None,
            timekeeper: None,
        }
    }
}

fn slot(wanted: &Wanted) -> usize {
    let mut hasher = DefaultHasher::new();
    wanted.hash(&mut hasher);
    (hasher.finish() % SLOTS as u64) as usize
}

impl Queues {
    pub(super) fn seen(&self, wanted: &Wanted) -> Seen {
        Seen { events: self.events[slot(wanted)], grants: self.grants }
    }

    pub(super) fn len(&self) -> usize {
        self.queues.values().map(|queue| queue.waiters.len()).sum()
    }

    // Those who arrive and leave

    /// Adds a waiter whose request found that all it wants is leased until `expiry`, unless there
    /// were events since.
    pub(super) fn add(
        &mut self,
        seen: Seen,
        wanted: &Wanted,
        expiry: Timestamp,
    ) -> Option<Arc<Waiter>> {
        let missed = usize::try_from(self.grants - seen.grants).unwrap_or(usize::MAX);
        if self.events[slot(wanted)] > seen.events || missed > self.granted.len() {
            return None;
        }
        let concerns = |job: JobId| !matches!(wanted, Wanted::Job(own) if *own != job);
        let since = self.granted.iter().rev().take(missed);
        let granted = since.filter(|(job, _)| concerns(*job)).map(|(_, deadline)| *deadline);
        let expiry = granted.fold(expiry, Timestamp::min);
        self.arrivals += 1;
        let waiter = Arc::new(Waiter::new(self.arrivals, wanted.clone()));
        let queue = self.queues.entry(wanted.clone()).or_default();
        queue.waiters.push_back(waiter.clone());
        match wanted {
            Wanted::Job(_) => queue.expiry = Some(expiry),
            Wanted::Any | Wanted::Prefix(_) => self.first_expiry = Some(expiry),
        }
        if self.timekeeper.is_none() {
            self.timekeeper = Some(waiter.clone());
        }
        self.look_before(expiry);
        Some(waiter)
    }

    /// Removes a waiter if it still waits. If it kept time, the next one does.
    pub(super) fn remove(&mut self, waiter: &Arc<Waiter>) {
        if let Some(queue) = self.queues.get_mut(&waiter.wanted) {
            queue.waiters.retain(|other| !Arc::ptr_eq(other, waiter));
            self.drop_if_empty(&waiter.wanted);
        }
        if self.keeps_time(waiter) {
            self.timekeeper = self
                .first_of(|_| true)
                .and_then(|wanted| self.queues[&wanted].waiters.front().cloned());
            self.look_at_clock();
        }
    }

    pub(super) fn keeps_time(&self, waiter: &Arc<Waiter>) -> bool {
        self.timekeeper.as_ref().is_some_and(|keeper| Arc::ptr_eq(keeper, waiter))
    }

    fn look_at_clock(&self) {
        if let Some(keeper) = &self.timekeeper {
            keeper.look_at_clock();
        }
    }

    /// Makes the timekeeper look at the clock if a lease may expire before it means to.
    fn look_before(&self, expiry: Timestamp) {
        if self.next_look.is_none_or(|look| expiry < look) {
            self.look_at_clock();
        }
    }

    // Events

    /// Wakes those whom an event concerns.
    pub(super) fn happened(&mut self, event: Event) {
        match event {
            Event::Available { prefix, jobs } => {
                let wanted = Wanted::Prefix(prefix);
                self.count(&Wanted::Any);
                self.count(&wanted);
                let Wanted::Prefix(prefix) = wanted else { return };
                let cause = Cause::Available(prefix);
                for _ in 0..jobs {
                    if !self.wake_one(cause.clone()) {
                        return;
                    }
                }
            }
            Event::Returned(job) => {
                self.count(&Wanted::Job(job));
                self.wake_one(Cause::Returned(job));
            }
            Event::NothingLeft(wanted) => {
                self.count(&wanted);
                while self.wake_first(&wanted, None) {}
            }
        }
    }

    fn count(&mut self, wanted: &Wanted) {
        self.events[slot(wanted)] += 1;
    }

    /// Wakes everybody, and whoever is about to wait does not.
    pub(super) fn wake_all(&mut self) {
        self.events.iter_mut().for_each(|events| *events += 1);
        for queue in std::mem::take(&mut self.queues).into_values() {
            queue.waiters.iter().for_each(|waiter| waiter.wake(None));
        }
    }

    /// Wakes the first of those whom this concerns. Returns whether there was one.
    pub(super) fn wake_one(&mut self, cause: Cause) -> bool {
        let first = match &cause {
            Cause::Available(prefix) => self.first_of_two(&Wanted::Prefix(prefix.clone())),
            Cause::Returned(job) => Some(Wanted::Job(*job)),
            Cause::Expiry => self.first_of(|wanted| !matches!(wanted, Wanted::Job(_))),
        };
        first.is_some_and(|wanted| self.wake_first(&wanted, Some(cause)))
    }

    /// Wakes the first of those who want the same.
    fn wake_first(&mut self, wanted: &Wanted, cause: Option<Cause>) -> bool {
        let first = self.queues.get_mut(wanted).and_then(|queue| queue.waiters.pop_front());
        self.drop_if_empty(wanted);
        first.inspect(|waiter| waiter.wake(cause)).is_some()
    }

    fn drop_if_empty(&mut self, wanted: &Wanted) {
        if self.queues.get(wanted).is_some_and(|queue| queue.waiters.is_empty()) {
            self.queues.remove(wanted);
        }
    }

    fn arrival(&self, wanted: &Wanted) -> Option<u64> {
        self.queues.get(wanted)?.waiters.front().map(|waiter| waiter.arrival)
    }

    /// What the first of those wants who want any job or one of this prefix.
    fn first_of_two(&self, prefix: &Wanted) -> Option<Wanted> {
        let wanted = [&Wanted::Any, prefix].into_iter();
        let waited = wanted.filter(|wanted| self.queues.contains_key(wanted));
        waited.min_by_key(|wanted| self.arrival(wanted)).cloned()
    }

    /// What the first of all those wants who want such.
    fn first_of(&self, is_such: impl Fn(&Wanted) -> bool) -> Option<Wanted> {
        let such = self.queues.keys().filter(|wanted| is_such(wanted));
        such.min_by_key(|wanted| self.arrival(wanted)).cloned()
    }

    // Leases that expire

    /// Notes when a lease expires that was granted while others wait.
    pub(super) fn granted(&mut self, job: JobId, deadline: Timestamp) {
        self.grants += 1;
        self.granted.push_back((job, deadline));
        if self.granted.len() > GRANTS {
            self.granted.pop_front();
        }
        let of_job = self.queues.get_mut(&Wanted::Job(job)).map(|queue| &mut queue.expiry);
        let mut is_earlier = false;
        for expiry in of_job.into_iter().chain([&mut self.first_expiry]).flatten() {
            if deadline < *expiry {
                *expiry = deadline;
                is_earlier = true;
            }
        }
        if is_earlier {
            self.look_before(deadline);
        }
    }

    /// Wakes those whose leases may have expired, and everybody if the clock was set back. Returns
    /// when to wake the next.
    pub(super) fn keep_time(&mut self, now: Timestamp) -> Option<Timestamp> {
        if self.is_set_back(now) {
            self.wake_all();
        }
        // A request says when the next lease expires, unless it gets one: then another has to ask.
        let again = now.saturating_add(LOOK);
        if self.first_expiry.is_some_and(|first| first <= now) {
            self.first_expiry = self.wake_one(Cause::Expiry).then_some(again);
        }
        let jobs = self.queues.range_mut(Wanted::Job(JobId(0))..);
        let due = jobs.filter(|(_, queue)| queue.expiry.is_some_and(|expiry| expiry <= now));
        let due: Vec<Wanted> = due
            .map(|(wanted, queue)| {
                queue.expiry = Some(again);
                wanted.clone()
            })
            .collect();
        for wanted in due {
            let Wanted::Job(job) = wanted else { continue };
            self.wake_one(Cause::Returned(job));
        }
        self.next_look = self.next_expiry();
        self.next_look
    }

    fn next_expiry(&self) -> Option<Timestamp> {
        let waits_for_any = self.queues.keys().next().is_some_and(|w| !matches!(w, Wanted::Job(_)));
        let of_any = self.first_expiry.filter(|_| waits_for_any);
        let jobs = self.queues.range(Wanted::Job(JobId(0))..);
        jobs.filter_map(|(_, queue)| queue.expiry).chain(of_any).min()
    }

    /// Whether the clock was set back since the last look. What waiters were told then no longer
    /// holds: their requests bring deadlines forward.
    fn is_set_back(&mut self, now: Timestamp) -> bool {
        let latest = self.latest.map_or(now, |latest| latest.max(now));
        let is_set_back = now.saturating_add(LOOK) < latest;
        self.latest = Some(if is_set_back { now } else { latest });
        is_set_back
    }
}
