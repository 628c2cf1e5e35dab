//! The queue of commands that wait for a commit.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::caller::Caller;
use super::lead::LeftOver;
use super::{Complete, Entered, GROUP, QUEUE};
use crate::error::{Cause, Error, Result};
use crate::types::Metrics;
use crate::types::command::Stamped;

/// Commands that wait, next to each other, and what becomes of their results.
pub(super) struct Entry {
    pub(super) commands: Vec<Stamped>,
    pub(super) completion: Arc<dyn Complete>,
    /// The thread that waits for them, and can lead meanwhile. Others cannot.
    pub(super) thread: Option<Arc<Caller>>,
}

impl Entry {
    pub(super) fn of(commands: Vec<Stamped>, caller: &Arc<Caller>) -> Entry {
        Entry { commands, completion: caller.clone(), thread: Some(caller.clone()) }
    }

    /// Whether it has no commands: its thread wants the lead for itself.
    pub(super) fn is_exclusive(&self) -> bool {
        self.commands.is_empty()
    }
}

#[derive(Default)]
pub(super) struct State {
    pub(super) waiting: VecDeque<Entry>,
    /// Whether somebody is committing, or has acquired the store exclusively.
    pub(super) led: bool,
    pub(super) stopped: Option<Cause>,
    pub(super) closed: bool,
    /// When the oldest commit was made that is not synced yet.
    pub(super) unsynced_since: Option<Instant>,
    /// How many commands wait for a sync.
    pub(super) unsynced: usize,
    /// How many callers the last commit completed, with those that waited when it was done.
    pub(super) last_group: usize,
    /// How long the last commit took.
    pub(super) took: Duration,
    pub(super) left_over: LeftOver,
    pub(super) metrics: Metrics,
}

impl State {
    /// Whether a caller must wait before it can enter. Nobody waits to be refused.
    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= QUEUE && self.refusal().is_none()
    }

    fn refusal(&self) -> Option<Error> {
        if self.closed {
            return Some(Error::Closed);
        }
        self.stopped.clone().map(|source| Error::Stopped { source })
    }

    /// Adds commands at the end of the queue.
    pub(super) fn enter(&mut self, entry: Entry) -> Result<Entered> {
        if let Some(refusal) = self.refusal() {
            return Err(refusal);
        }
        self.waiting.push_back(entry);
        if std::mem::replace(&mut self.led, true) {
            return Ok(Entered::Waits);
        }
        Ok(Entered::Leads)
    }

    /// Takes as much from the front of the queue as fits in one transaction.
    pub(super) fn take_group(&mut self) -> Vec<Entry> {
        let mut group = Vec::new();
        let mut commands = 0;
        while let Some(entry) = self.waiting.front()
            && !entry.is_exclusive()
            && (group.is_empty() || commands + entry.commands.len() <= GROUP)
        {
            commands += entry.commands.len();
            group.extend(self.waiting.pop_front());
        }
        group
    }

    /// The thread that is to lead next: the one that has waited longest, but whoever acquires the
    /// store exclusively gets it only after all that came before.
    pub(super) fn next_leader(&self) -> Option<Arc<Caller>> {
        let front = self.waiting.front()?;
        if front.is_exclusive() {
            return front.thread.clone();
        }
        let commands = self.waiting.iter().take_while(|entry| !entry.is_exclusive());
        commands.filter_map(|entry| entry.thread.as_ref()).next().cloned()
    }
}
