//! When to sync: with each commit, or, in a `Relaxed` store, with a later one. A thread syncs what
//! no later commit synced in time.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError, Sender, bounded};

use super::Committer;
use super::thread::{join, spawn};
use crate::clock::Clock;
use crate::config::Durability;
use crate::error::Result;
use crate::storage::Flush;
use crate::sync::thread::JoinHandle;
use crate::types::command::{Command, Stamped};

/// Commands that may wait for a sync, however soon they came. Synced pages that they replaced cannot
/// be used again before it: the fewer they are, the smaller the file.
const UNSYNCED: usize = 2048;

impl Committer {
    /// Sets where to send a request once a commit begins to wait for its sync.
    fn set_flush_requests(&self, requests: Sender<FlushRequest>) {
        *self.flush_requests.lock() = Some(requests);
    }

    /// Whether this transaction has to be on disk before its commands are completed.
    pub(super) fn flush_of(&self, commands: &[&Stamped]) -> Flush {
        let Durability::Relaxed { max_delay } = self.durability else { return Flush::Now };
        let is_due = {
            let state = self.state.lock();
            state.unsynced >= UNSYNCED
                || state.unsynced_since.is_some_and(|since| since.elapsed() >= max_delay)
        };
        if is_due || commands.iter().any(|stamped| !stamped.command.may_wait()) {
            Flush::Now
        } else if is_large(commands) {
            Flush::LaterAlone
        } else {
            Flush::Later
        }
    }

    /// Notes what a commit synced, or left for a later one to sync.
    pub(super) fn note_flush(&self, flush: Flush, commands: usize) {
        if self.durability == Durability::Immediate {
            return;
        }
        let mut state = self.state.lock();
        match flush {
            Flush::Now => {
                state.unsynced_since = None;
                state.unsynced = 0;
            }
            Flush::Later | Flush::LaterAlone => {
                state.unsynced += commands;
                if state.unsynced_since.is_none() {
                    state.unsynced_since = Some(Instant::now());
                    drop(state);
                    if let Some(requests) = &*self.flush_requests.lock() {
                        // If the channel is full, there is a request already.
                        let _ = requests.try_send(FlushRequest::Unsynced);
                    }
                }
            }
        }
    }

    /// How long the oldest commit that is not on disk yet has been waiting.
    fn unsynced_for(&self) -> Option<Duration> {
        self.state.lock().unsynced_since.map(|since| since.elapsed())
    }
}

/// Whether a snapshot should not have to wait for these commands. What is not large takes less than
/// about three milliseconds.
fn is_large(commands: &[&Stamped]) -> bool {
    const LARGE: usize = 256;

    commands.iter().map(|stamped| stamped.command.weight()).sum::<usize>() > LARGE
}

/// The thread that syncs what no later commit synced in time.
pub(crate) struct Flusher {
    requests: Sender<FlushRequest>,
    thread: Option<JoinHandle<()>>,
}

/// What wakes the flusher.
pub(super) enum FlushRequest {
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
        let (requests, inbox) = bounded(1);
        committer.set_flush_requests(requests.clone());
        let thread =
            spawn("milepost-flusher", move || flush(&committer, &*clock, max_delay, &inbox))?;
        Ok(Flusher { requests, thread: Some(thread) })
    }

    pub(crate) fn stop(mut self) {
        let _ = self.requests.send(FlushRequest::Stop);
        join(self.thread.take());
    }
}

fn flush(
    committer: &Committer,
    clock: &dyn Clock,
    max_delay: Duration,
    inbox: &Receiver<FlushRequest>,
) {
    let mut failed = false;
    loop {
        let request = match committer.unsynced_for() {
            Some(waited) if !failed => inbox.recv_timeout(max_delay.saturating_sub(waited)),
            // After a failure nothing can be synced until the store was reopened and written to.
            _ => inbox.recv().map_err(|_| RecvTimeoutError::Disconnected),
        };
        match request {
            Ok(FlushRequest::Unsynced) => failed = false,
            Ok(FlushRequest::Stop) | Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => {
                let flush = Stamped::new(clock.now(), Command::Flush);
                if let Err(error) = committer.submit(flush) {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "a sync that was due failed"
                    );
                    failed = true;
                }
            }
        }
    }
}
