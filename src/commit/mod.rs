//! Group commit: the commands of many callers in one transaction.
//!
//! Commands wait in a queue, each with a [`Complete`] that takes their results: a caller that
//! blocks, or anything else. A caller that finds nobody committing *leads*: it takes what waits,
//! applies it in one transaction, commits, and completes it. Then the lead passes to the next
//! caller that waits. There is no timer, and a caller that is alone never waits.
//!
//! What commands do is none of this module's business: it is given a function that applies them.

mod caller;
mod exclusive;
mod flusher;
mod lead;
mod queue;
mod thread;

use std::sync::Arc;

use crossbeam_channel::Sender;

pub(crate) use flusher::Flusher;
pub(crate) use thread::{join, spawn};

use caller::{Caller, Turn};
use flusher::FlushRequest;
use queue::{Entry, State};

use crate::config::Durability;
use crate::error::{Cause, Error, Result};
use crate::storage::{Engine, EngineError, EngineResult, Write};
use crate::sync::{Condvar, Mutex};
use crate::types::Metrics;
use crate::types::command::{Effects, Reply, Stamped};

/// Callers that may wait for a commit; others block until there is room.
const QUEUE: usize = if cfg!(all(test, shuttle)) { 2 } else { 1024 };

/// Commands that are applied in one transaction. A caller with more joins the queue several times.
const GROUP: usize = if cfg!(all(test, shuttle)) { 3 } else { 1024 };

pub(crate) type Results = Vec<Result<Reply>>;

/// Takes the results of some commands.
pub(crate) trait Complete: Send + Sync {
    /// Takes a result for each command, in order. The leader calls this once, before it gives up
    /// the lead: it must be quick, and may submit commands but not wait for them.
    fn complete(&self, results: Results);
}

/// Applies a group of commands within one transaction, in order, and pushes a result for each. It
/// may be run again, on a fresh state. If it returns an error, the transaction is abandoned.
pub(crate) type Apply = fn(&mut dyn Write, &[&Stamped], &mut Results) -> EngineResult<Effects>;

/// Applies commands to an engine, those of many callers in one transaction.
pub(crate) struct Committer {
    engine: Arc<dyn Engine>,
    apply: Apply,
    durability: Durability,
    state: Mutex<State>,
    /// Notified whenever a leader is done: the queue may have room again, or be closed.
    lead_released: Condvar,
    /// Where to send a request once a commit begins to wait for its sync.
    flush_requests: Mutex<Option<Sender<FlushRequest>>>,
}

impl Committer {
    pub(crate) fn new(engine: Arc<dyn Engine>, apply: Apply, durability: Durability) -> Committer {
        Committer {
            engine,
            apply,
            durability,
            state: Mutex::default(),
            lead_released: Condvar::new(),
            flush_requests: Mutex::new(None),
        }
    }

    /// The engine, to read from.
    pub(crate) fn engine(&self) -> Result<&dyn Engine> {
        if self.state.lock().closed { Err(Error::Closed) } else { Ok(&*self.engine) }
    }

    /// What it has done so far.
    pub(crate) fn metrics(&self) -> Metrics {
        let state = self.state.lock();
        Metrics { queued: state.waiting.len() as u64, ..state.metrics.clone() }
    }

    /// Whether it takes no commands after a failure.
    pub(crate) fn is_stopped(&self) -> bool {
        self.state.lock().stopped.is_some()
    }

    /// Closes what a forked child shares with its parent.
    pub(crate) fn leave(&self) {
        self.engine.leave();
    }

    /// Applies and commits one command; returns its result.
    pub(crate) fn submit(&self, command: Stamped) -> Result<Reply> {
        self.call(vec![command]).pop().unwrap_or(Err(Error::Closed))
    }

    /// Applies and commits commands in order; returns a result for each. More than a group of them
    /// queue again at the end after each group, so that other callers get their turn.
    pub(crate) fn submit_all(&self, commands: Vec<Stamped>) -> Results {
        let total = commands.len();
        if total <= GROUP {
            return if total == 0 { Vec::new() } else { self.call(commands) };
        }
        let mut results = Vec::with_capacity(total);
        let mut rest = commands.into_iter();
        while results.len() < total {
            results.extend(self.call(rest.by_ref().take(GROUP).collect()));
            // Not even after a reopen may anything be applied after what failed.
            if let Some(Err(error)) = results.last()
                && error.needs_reopen()
            {
                let stopped = Err(Error::Stopped { source: cause_of(error) });
                results.resize(total, stopped);
            }
        }
        results
    }

    /// Has a group of commands committed, by this thread or by another.
    fn call(&self, commands: Vec<Stamped>) -> Results {
        let count = commands.len();
        let caller = Arc::new(Caller::default());
        match self.enter(Entry::of(commands, &caller)) {
            Err(refused) => return vec![Err(refused); count],
            Ok(Entered::Leads) => self.lead(),
            Ok(Entered::Waits) => {}
        }
        loop {
            match caller.wait() {
                Turn::Done(results) => return results,
                Turn::Lead => {
                    self.gather();
                    self.lead();
                }
            }
        }
    }

    /// Joins the queue, once there is room.
    fn enter(&self, entry: Entry) -> Result<Entered> {
        let mut state = self.state.lock();
        while state.is_full() {
            self.lead_released.wait(&mut state);
        }
        state.enter(entry)
    }
}

/// What a caller that has joined the queue must do.
#[derive(Debug, PartialEq)]
enum Entered {
    /// Nobody commits: call [`Committer::lead`].
    Leads,
    /// Another thread commits and completes these commands.
    Waits,
}

fn uncertain(what: &str) -> EngineError {
    EngineError::Uncertain(Arc::from(Box::<dyn std::error::Error + Send + Sync>::from(what)))
}

/// The cause to name when later commands are refused because of an error.
fn cause_of(error: &Error) -> Cause {
    match error {
        Error::Storage { source } | Error::Uncertain { source } | Error::Stopped { source } => {
            source.clone()
        }
        other => Arc::new(other.clone()),
    }
}

#[cfg(all(test, shuttle))]
pub(crate) mod explored;
#[cfg(all(test, not(shuttle)))]
mod tests;
