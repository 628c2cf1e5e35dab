//! Keeping leases alive: one thread per store renews the leases that were requested with `keep_alive`.
//!
//! A renewal in the background is [`Command::KeepAlive`], which has no sequence number: it moves the
//! deadline while the token is live, and changes nothing else. So the thread can repeat it after a
//! failure, the holder never has to settle it, and a holder whose store was rolled back learns of it
//! from its own next command.
//!
//! Due times are times of the store's clock, which judges deadlines and advances while the machine
//! sleeps. The thread looks at it at least once a second while it keeps a lease.

#[cfg(test)]
mod tests;

use std::collections::{BTreeSet, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use crate::clock::Clock;
use crate::commit::{Committer, join, spawn};
use crate::error::{Error, Result};
use crate::sync::thread::JoinHandle;
use crate::sync::{Condvar, Mutex, MutexGuard};
use crate::time::Timestamp;
use crate::types::command::{Answer, Command, Reply, Stamped};
use crate::types::{JobId, Token};

/// Renewals sent together: half of what fits into a commit, so that the commands of other callers
/// find room beside them.
const GROUP: usize = if cfg!(all(test, shuttle)) { 1 } else { 512 };

/// The longest sleep while a lease is kept: the clock may jump, and the machine may sleep. Also how
/// soon a failed renewal is repeated, unless the store is reopened before.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// The shortest time between two renewals of one lease.
const SHORTEST_INTERVAL: Duration = Duration::from_millis(1);

/// The deadline of a lease, shared by its holder and the thread that renews it.
#[derive(Debug)]
pub(crate) struct Deadline(AtomicI64);

impl Deadline {
    pub(crate) fn new(at: Timestamp) -> Deadline {
        Deadline(AtomicI64::new(at.as_micros()))
    }

    pub(crate) fn get(&self) -> Timestamp {
        // Cannot fail: only instants are stored.
        Timestamp::from_micros(self.0.load(Ordering::Relaxed)).unwrap_or(Timestamp::MIN)
    }

    pub(crate) fn set(&self, at: Timestamp) {
        self.0.store(at.as_micros(), Ordering::Relaxed);
    }
}

/// The thread that keeps leases alive.
pub(crate) struct Keeper {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

/// A lease that is kept alive until this is dropped.
pub(crate) struct KeptAlive {
    shared: Arc<Shared>,
    id: Id,
}

type Id = (JobId, Token);

/// When a lease is to be renewed; `None` is at once, whatever the clock says.
type Due = Option<Timestamp>;

struct Shared {
    schedule: Mutex<Schedule>,
    changed: Condvar,
}

struct Schedule {
    leases: HashMap<Id, Kept>,
    /// The same leases by due time, except for those that are being renewed.
    queue: BTreeSet<(Due, Id)>,
    /// When the thread wakes up by itself: a lease that is due earlier has to wake it.
    sleeps_until: Timestamp,
    /// The latest time that was seen: the clock was set back if it shows an earlier one.
    latest: Timestamp,
    renew_all: bool,
    stopped: bool,
}

struct Kept {
    length: Duration,
    deadline: Arc<Deadline>,
    due: Due,
    /// Whether the last renewal failed.
    failing: bool,
}

impl Keeper {
    /// Starts the thread. It keeps the committer, but not the store: dropping the last handle of
    /// the store stops it.
    pub(crate) fn start(committer: Arc<Committer>, clock: Arc<dyn Clock>) -> Result<Keeper> {
        let shared =
            Arc::new(Shared { schedule: Mutex::new(Schedule::new()), changed: Condvar::new() });
        let thread = spawn("milepost-keeper", {
            let shared = shared.clone();
            move || shared.run(&committer, &*clock)
        })?;
        Ok(Keeper { shared, thread: Some(thread) })
    }

    /// Renews a lease whenever a third of its length has passed, until the result is dropped. What
    /// the holder renews by itself is not renewed again before that.
    pub(crate) fn keep(
        &self,
        job: JobId,
        token: Token,
        length: Duration,
        deadline: &Arc<Deadline>,
    ) -> KeptAlive {
        let id = (job, token);
        let mut schedule = self.shared.schedule.lock();
        let due = schedule.insert(id, length, deadline);
        let is_early = due < schedule.sleeps_until;
        drop(schedule);
        if is_early {
            self.shared.changed.notify_one();
        }
        KeptAlive { shared: self.shared.clone(), id }
    }

    /// Renews every lease at once: a store that was reopened may have lost their latest renewals.
    pub(crate) fn renew_all(&self) {
        self.shared.schedule.lock().renew_all = true;
        self.shared.changed.notify_one();
    }

    pub(crate) fn stop(mut self) {
        self.shared.schedule.lock().stopped = true;
        self.shared.changed.notify_one();
        join(self.thread.take());
    }
}

impl Drop for KeptAlive {
    fn drop(&mut self) {
        self.shared.schedule.lock().remove(self.id);
    }
}

impl Shared {
    fn run(&self, committer: &Committer, clock: &dyn Clock) {
        let mut schedule = self.schedule.lock();
        while !schedule.stopped {
            let now = clock.now();
            schedule.look_at_the_clock(now);
            let group = schedule.take_due(now);
            if group.is_empty() {
                self.sleep(&mut schedule, now);
                continue;
            }
            drop(schedule);
            let results = committer.submit_all(group.iter().map(|id| renewal(*id, now)).collect());
            schedule = self.schedule.lock();
            schedule.settle(now, group.into_iter().zip(results));
        }
    }

    /// Waits for the next lease that is due, or for a call of the keeper.
    fn sleep(&self, schedule: &mut MutexGuard<'_, Schedule>, now: Timestamp) {
        let Some((due, _)) = schedule.queue.first() else {
            schedule.sleeps_until = Timestamp::MAX;
            return self.changed.wait(schedule);
        };
        let most =
            due.map_or(Duration::ZERO, |due| due.saturating_duration_since(now)).min(LOOK_AGAIN);
        schedule.sleeps_until = now.saturating_add(most);
        self.changed.wait_until(schedule, Instant::now() + most);
    }
}

fn renewal((job, token): Id, now: Timestamp) -> Stamped {
    Stamped::new(now, Command::KeepAlive { job, token })
}

impl Schedule {
    fn new() -> Schedule {
        Schedule {
            leases: HashMap::new(),
            queue: BTreeSet::new(),
            sleeps_until: Timestamp::MAX,
            latest: Timestamp::MIN,
            renew_all: false,
            stopped: false,
        }
    }

    /// Adds a lease, and returns when it is due.
    fn insert(&mut self, id: Id, length: Duration, deadline: &Arc<Deadline>) -> Timestamp {
        let due = due(deadline.get(), length);
        let kept = Kept { length, deadline: deadline.clone(), due: Some(due), failing: false };
        self.leases.insert(id, kept);
        self.queue.insert((Some(due), id));
        self.latest = self.latest.max(deadline.get().saturating_sub(length));
        due
    }

    fn remove(&mut self, id: Id) {
        if let Some(kept) = self.leases.remove(&id) {
            self.queue.remove(&(kept.due, id));
        }
    }

    /// Makes every lease due if the clock was set back, or if [`Keeper::renew_all`] was called.
    fn look_at_the_clock(&mut self, now: Timestamp) {
        let is_set_back = now.saturating_add(LOOK_AGAIN) < self.latest;
        self.latest = if is_set_back { now } else { self.latest.max(now) };
        if !std::mem::take(&mut self.renew_all) && !is_set_back {
            return;
        }
        self.leases.values_mut().for_each(|kept| kept.due = None);
        self.queue = self.leases.keys().map(|id| (None, *id)).collect();
    }

    /// Takes a group of leases that are due out of the queue.
    fn take_due(&mut self, now: Timestamp) -> Vec<Id> {
        let mut group = Vec::new();
        while group.len() < GROUP
            && let Some(&(due, id)) = self.queue.first()
            && due <= Some(now)
        {
            self.queue.pop_first();
            let Some(kept) = self.leases.get_mut(&id) else { continue };
            let next = kept.next_due();
            if due.is_some() && next > now {
                // Its holder renewed it meanwhile.
                kept.due = Some(next);
                self.queue.insert((kept.due, id));
            } else {
                group.push(id);
            }
        }
        group
    }

    /// Puts leases back in the queue, unless they have ended.
    fn settle(&mut self, now: Timestamp, results: impl Iterator<Item = (Id, Result<Reply>)>) {
        let (mut failures, mut last) = (0, None);
        for (id, result) in results {
            let Some(kept) = self.leases.get_mut(&id) else { continue };
            let error = match result.map(|reply| reply.answer) {
                Ok(Answer::KeptAlive { deadline }) => {
                    kept.deadline.set(deadline);
                    kept.failing = false;
                    kept.due = Some(kept.next_due().max(now.saturating_add(SHORTEST_INTERVAL)));
                    self.queue.insert((kept.due, id));
                    continue;
                }
                Ok(other) => Error::invalid(format!("a renewal returned {other:?}")),
                Err(error) => error,
            };
            match error {
                Error::LeaseLost { .. } | Error::UnknownJob(_) => {
                    // Its holder learns why from its next command, or has just ended it.
                    tracing::info!(%error, "a lease is no longer kept alive");
                    self.leases.remove(&id);
                }
                Error::Closed => self.stopped = true,
                error => {
                    failures += u64::from(!std::mem::replace(&mut kept.failing, true));
                    last = Some(error);
                    kept.due = Some(now.saturating_add(LOOK_AGAIN));
                    self.queue.insert((kept.due, id));
                }
            }
        }
        if let Some(error) = last.filter(|_| failures > 0) {
            tracing::warn!(
                leases = failures,
                error = &error as &dyn std::error::Error,
                "leases could not be kept alive, and will be tried again"
            );
        }
    }
}

impl Kept {
    fn next_due(&self) -> Timestamp {
        due(self.deadline.get(), self.length)
    }
}

/// When a lease is due for renewal: once a third of its length has passed. The time is rounded down
/// by up to a twelfth of the length, so that leases come due together and share commits.
fn due(deadline: Timestamp, length: Duration) -> Timestamp {
    let due = deadline.saturating_sub(length / 3 * 2);
    let twelfth = i64::try_from(length.as_micros() / 12).unwrap_or(i64::MAX);
    let step = 1 << twelfth.max(1).ilog2();
    due.saturating_sub(Duration::from_micros(due.as_micros().rem_euclid(step).unsigned_abs()))
}
