//! The two background threads a store may have: one that keeps leases alive, started with the
//! first lease that asks for it, and one that syncs, for stores that are `Relaxed`.

use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded, unbounded};

use crate::command::{Command, Stamped};
use crate::commit::Committer;
use crate::error::{Error, Result};
use crate::lease::Held;
use crate::time::Clock;

/// How soon after a failed renewal the next one is tried.
const RETRY: Duration = Duration::from_millis(200);

/// The thread that renews leases while they are held.
pub(crate) struct Keeper {
    orders: Sender<Order>,
    thread: Option<JoinHandle<()>>,
}

enum Order {
    Keep(Weak<Held>, Duration),
    Stop,
}

impl Keeper {
    pub(crate) fn start() -> Result<Keeper> {
        let (orders, inbox) = unbounded();
        let thread = spawn("milepost-keeper", move || keep(&inbox))?;
        Ok(Keeper { orders, thread: Some(thread) })
    }

    /// Renews a lease every `interval` for as long as its handle lives.
    pub(crate) fn keep(&self, lease: &Arc<Held>, interval: Duration) {
        // The thread ends only when the store does, and then nothing needs to be kept.
        let _ = self.orders.send(Order::Keep(Arc::downgrade(lease), interval));
    }

    pub(crate) fn stop(mut self) {
        let _ = self.orders.send(Order::Stop);
        join(self.thread.take());
    }
}

struct Kept {
    lease: Weak<Held>,
    interval: Duration,
    due: Instant,
}

fn keep(inbox: &Receiver<Order>) {
    let mut kept: Vec<Kept> = Vec::new();
    loop {
        let order = match kept.iter().map(|lease| lease.due).min() {
            None => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
            Some(due) => inbox.recv_deadline(due),
        };
        match order {
            Ok(Order::Keep(lease, interval)) => {
                kept.push(Kept { lease, interval, due: Instant::now() + interval });
            }
            Ok(Order::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                let now = Instant::now();
                kept.retain_mut(|lease| lease.due > now || lease.renew(now));
            }
        }
    }
}

impl Kept {
    /// Renews the lease; false if it need not be kept any longer.
    fn renew(&mut self, now: Instant) -> bool {
        let Some(lease) = self.lease.upgrade() else { return false };
        self.due = now + self.interval;
        match lease.renew_if_idle() {
            Ok(()) => true,
            Err(Error::LeaseLost { job, token, why }) => {
                tracing::warn!(%job, %token, %why, "a lease that was kept alive is lost");
                false
            }
            Err(Error::Closed | Error::UnknownJob(_)) => false,
            Err(error) => {
                tracing::warn!(%error, "a lease could not be kept alive");
                self.due = now + RETRY.min(self.interval);
                true
            }
        }
    }
}

/// The thread that syncs what no later commit synced in time.
pub(crate) struct Flusher {
    bell: Sender<Bell>,
    thread: Option<JoinHandle<()>>,
}

/// What wakes the flusher.
pub(crate) enum Bell {
    /// A commit has begun to wait for its sync.
    Unsynced,
    Stop,
}

impl Flusher {
    pub(crate) fn start(
        committer: Arc<Committer>,
        clock: Arc<dyn Clock>,
        max_delay: Duration,
    ) -> Result<Flusher> {
        let (bell, rings) = bounded(1);
        committer.set_bell(bell.clone());
        let thread =
            spawn("milepost-flusher", move || flush(&committer, &*clock, max_delay, &rings))?;
        Ok(Flusher { bell, thread: Some(thread) })
    }

    pub(crate) fn stop(mut self) {
        let _ = self.bell.send(Bell::Stop);
        join(self.thread.take());
    }
}

fn flush(committer: &Committer, clock: &dyn Clock, max_delay: Duration, rings: &Receiver<Bell>) {
    let mut failed = false;
    loop {
        let ring = match committer.unsynced_for() {
            Some(waited) if !failed => rings.recv_timeout(max_delay.saturating_sub(waited)),
            // After a failure nothing can be synced until the store was reopened and written to.
            _ => rings.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match ring {
            Ok(Bell::Unsynced) => failed = false,
            Ok(Bell::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                let flush = Stamped { now: clock.now(), command: Command::Flush };
                if let Err(error) = committer.submit(flush) {
                    tracing::warn!(%error, "a sync that was due failed");
                    failed = true;
                }
            }
        }
    }
}

fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.to_string())
        .spawn(run)
        .map_err(|source| Error::Storage { source: Arc::new(source) })
}

/// Waits for a thread to end, unless it is this one: a thread may come to drop the last handle.
fn join(thread: Option<JoinHandle<()>>) {
    if let Some(thread) = thread
        && thread.thread().id() != std::thread::current().id()
        && thread.join().is_err()
    {
        tracing::error!("a background thread panicked");
    }
}
