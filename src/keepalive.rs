//! The two background threads a store may have: one that keeps leases alive, started with the
//! first lease that asks for it, and one that syncs, for stores that are `Relaxed`.

use std::sync::{Arc, Weak};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, unbounded};

use crate::commit::{join, spawn};
use crate::error::{Error, Result};
use crate::lease::Held;

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
