//! The queue of callers.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::Answers;
use crate::error::{Cause, Error};
use crate::sync::{Condvar, Mutex};
use crate::types::command::Stamped;

#[derive(Default)]
pub(super) struct State {
    pub(super) waiting: VecDeque<Arc<Request>>,
    /// Whether somebody is committing, or holds the store still for a moment.
    pub(super) led: bool,
    pub(super) stopped: Option<Cause>,
    pub(super) closed: bool,
    /// When the oldest commit was made that is not synced yet.
    pub(super) unsynced_since: Option<Instant>,
    /// How many commands wait for a sync.
    pub(super) unsynced: usize,
    /// How many callers the last commit answered, with those that waited when it was done.
    pub(super) company: usize,
    /// How long the last commit took.
    pub(super) took: Duration,
    pub(super) left_over: LeftOver,
}

/// What retention left undone lately. A damaged row is encountered with every commit, and reported
/// once a minute.
#[derive(Default)]
pub(super) struct LeftOver {
    reported: Option<(Instant, String)>,
}

impl LeftOver {
    pub(super) fn report(&mut self, error: &Error) {
        const AGAIN: Duration = Duration::from_secs(60);

        let text = error.to_string();
        let is_known = self
            .reported
            .as_ref()
            .is_some_and(|(when, known)| *known == text && when.elapsed() < AGAIN);
        if !is_known {
            tracing::error!(%error, "retention left something undone");
            self.reported = Some((Instant::now(), text));
        }
    }
}

/// One caller's commands, and the place where it waits for the answers. One without commands is to
/// lead alone: its caller wants the store held still.
pub(super) struct Request {
    pub(super) commands: Vec<Stamped>,
    pub(super) reply: Mutex<Reply>,
    pub(super) ready: Condvar,
}

pub(super) enum Reply {
    Waiting,
    /// The caller is to lead the next commit.
    Lead,
    Answered(Answers),
}

impl Request {
    pub(super) fn new(commands: Vec<Stamped>) -> Arc<Request> {
        let reply = Mutex::new(Reply::Waiting);
        Arc::new(Request { commands, reply, ready: Condvar::new() })
    }

    pub(super) fn leads_alone(&self) -> bool {
        self.commands.is_empty()
    }

    pub(super) fn reply(&self, reply: Reply) {
        *self.reply.lock() = reply;
        self.ready.notify_one();
    }

    pub(super) fn wait(&self) -> Reply {
        let mut reply = self.reply.lock();
        loop {
            match std::mem::replace(&mut *reply, Reply::Waiting) {
                Reply::Waiting => self.ready.wait(&mut reply),
                told => return told,
            }
        }
    }
}
