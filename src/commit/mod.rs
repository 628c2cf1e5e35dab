//! Applying commands, and committing them together.
//!
//! Whoever finds nobody committing becomes the leader: it takes all commands that wait, applies
//! them in one transaction, commits, and answers every caller. Then it hands the lead to the next
//! one that waits. There is no timer, and no added latency when alone.

mod exclusive;
#[cfg(all(test, shuttle))]
pub(crate) mod explored;
mod flusher;
mod lead;
mod queue;
mod thread;

use std::sync::Arc;

use crossbeam_channel::Sender;

pub(crate) use flusher::{Bell, Flusher};
pub(crate) use thread::{join, spawn};

use queue::{Reply, Request, State};

use crate::config::Durability;
use crate::error::{Cause, Error, Result};
use crate::storage::{Engine, EngineError, EngineResult, Write};
use crate::sync::{Condvar, Mutex};
use crate::types::command::{Answer, Effects, Stamped};

/// Callers that may wait for a commit; more than that wait to be let in.
const QUEUE: usize = if cfg!(all(test, shuttle)) { 2 } else { 1024 };

/// Commands applied in one transaction.
const BATCH: usize = if cfg!(all(test, shuttle)) { 3 } else { 1024 };

/// Commands that may wait for a sync, however soon they came. Synced pages that they replaced cannot
/// be used again before it: the fewer they are, the smaller the file.
const UNSYNCED: usize = 2048;

type Answers = Vec<Result<Answer>>;

/// What commands do: applies a group of them within one transaction, in order, and pushes an answer
/// for each. It may be run again, on a fresh state. An error of it abandons the transaction.
pub(crate) type Apply = fn(&mut dyn Write, &[&Stamped], &mut Answers) -> EngineResult<Effects>;

/// Applies commands to an engine, many callers' in one transaction.
pub(crate) struct Committer {
    engine: Arc<dyn Engine>,
    apply: Apply,
    durability: Durability,
    state: Mutex<State>,
    /// Told whenever a lead has ended: the queue may have room again, or let nobody in any more.
    moved: Condvar,
    /// Rung when a commit begins to wait for its sync.
    bell: Mutex<Option<Sender<Bell>>>,
}

impl Committer {
    pub(crate) fn new(engine: Arc<dyn Engine>, apply: Apply, durability: Durability) -> Committer {
        Committer {
            engine,
            apply,
            durability,
            state: Mutex::default(),
            moved: Condvar::new(),
            bell: Mutex::new(None),
        }
    }

    /// The engine, to read from.
    pub(crate) fn engine(&self) -> Result<&dyn Engine> {
        if self.state.lock().closed { Err(Error::Closed) } else { Ok(&*self.engine) }
    }

    /// Has the flusher told when a commit begins to wait for its sync.
    pub(crate) fn set_bell(&self, bell: Sender<Bell>) {
        *self.bell.lock() = Some(bell);
    }

    /// Has one command applied and committed.
    pub(crate) fn submit(&self, command: Stamped) -> Result<Answer> {
        self.submit_all(vec![command]).pop().unwrap_or(Err(Error::Closed))
    }

    /// Has commands applied in order, next to each other, and gives an answer to each.
    pub(crate) fn submit_all(&self, commands: Vec<Stamped>) -> Answers {
        if commands.is_empty() {
            return Vec::new();
        }
        let request = Request::new(commands);
        match self.enter(&request) {
            Err(refused) => request.commands.iter().map(|_| Err(refused.clone())).collect(),
            Ok(Entered::Leads) => self.lead(),
            Ok(Entered::Waits) => match request.wait() {
                Reply::Answered(answers) => answers,
                Reply::Lead | Reply::Waiting => {
                    self.gather();
                    self.lead()
                }
            },
        }
    }

    fn enter(&self, request: &Arc<Request>) -> Result<Entered> {
        let mut state = self.state.lock();
        loop {
            if state.closed {
                return Err(Error::Closed);
            }
            if let Some(source) = state.stopped.clone() {
                return Err(Error::Stopped { source });
            }
            if state.waiting.len() < QUEUE {
                break;
            }
            self.moved.wait(&mut state);
        }
        state.waiting.push_back(request.clone());
        if state.led {
            return Ok(Entered::Waits);
        }
        state.led = true;
        Ok(Entered::Leads)
    }
}

enum Entered {
    Leads,
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
