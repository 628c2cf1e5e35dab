//! The thread of a `Relaxed` store that syncs what no later commit synced in time.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::Committer;
use super::thread::{join, spawn};
use crate::clock::Clock;
use crate::error::Result;
use crate::sync::thread::JoinHandle;
use crate::types::command::{Command, Stamped};

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
                let flush = Stamped::new(clock.now(), Command::Flush);
                if let Err(error) = committer.submit(flush) {
                    tracing::warn!(%error, "a sync that was due failed");
                    failed = true;
                }
            }
        }
    }
}
