//! Applying commands, and committing them together.
//!
//! Whoever finds nobody committing becomes the leader: it takes all commands that wait, applies
//! them in one transaction, commits, and answers every caller. Then it hands the lead to the next
//! one that waits. There is no timer, and no added latency when alone.

mod events;
#[cfg(all(test, shuttle))]
pub(crate) mod explored;
mod flusher;
mod thread;

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;

pub(crate) use events::Events;
pub(crate) use flusher::{Bell, Flusher};
pub(crate) use thread::{join, spawn};

use crate::config::Durability;
use crate::error::{Cause, Error, Result};
use crate::rules::{Evicted, apply_all};
use crate::storage::{Engine, EngineError, EngineResult, Flush};
use crate::sync::{Condvar, Mutex, MutexGuard, Patience, yield_now};
use crate::types::command::{Answer, Command, LeaseAnswer, Stamped};

/// Callers that may wait for a commit; more than that wait to be let in.
const QUEUE: usize = if cfg!(all(test, shuttle)) { 2 } else { 1024 };

/// Commands applied in one transaction.
const BATCH: usize = if cfg!(all(test, shuttle)) { 3 } else { 1024 };

/// Commands that may wait for a sync, however soon they came. Synced pages that they replaced cannot
/// be used again before it: the fewer they are, the smaller the file.
const UNSYNCED: usize = 2048;

type Answers = Vec<Result<Answer>>;

/// Applies commands to an engine, many callers' in one transaction.
pub(crate) struct Committer {
    engine: Arc<dyn Engine>,
    durability: Durability,
    state: Mutex<State>,
    /// Told whenever a lead has ended: the queue may have room again, or let nobody in any more.
    moved: Condvar,
    events: Events,
    /// Rung when a commit begins to wait for its sync.
    bell: Mutex<Option<Sender<Bell>>>,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Arc<Request>>,
    /// Whether somebody is committing, or holds the store still for a moment.
    led: bool,
    stopped: Option<Cause>,
    closed: bool,
    /// When the oldest commit was made that is not synced yet.
    unsynced_since: Option<Instant>,
    /// How many commands wait for a sync.
    unsynced: usize,
    /// How many callers the last commit answered, with those that waited when it was done.
    company: usize,
    /// How long the last commit took.
    took: Duration,
}

/// One caller's commands, and the place where it waits for the answers. One without commands is to
/// lead alone: its caller wants the store held still.
struct Request {
    commands: Vec<Stamped>,
    reply: Mutex<Reply>,
    ready: Condvar,
}

enum Reply {
    Waiting,
    /// The caller is to lead the next commit.
    Lead,
    Answered(Answers),
}

impl Request {
    fn new(commands: Vec<Stamped>) -> Arc<Request> {
        let reply = Mutex::new(Reply::Waiting);
        Arc::new(Request { commands, reply, ready: Condvar::new() })
    }

    fn leads_alone(&self) -> bool {
        self.commands.is_empty()
    }

    fn reply(&self, reply: Reply) {
        *self.reply.lock() = reply;
        self.ready.notify_one();
    }

    fn wait(&self) -> Reply {
        let mut reply = self.reply.lock();
        loop {
            match std::mem::replace(&mut *reply, Reply::Waiting) {
                Reply::Waiting => self.ready.wait(&mut reply),
                told => return told,
            }
        }
    }
}

impl Committer {
    pub(crate) fn new(engine: Arc<dyn Engine>, durability: Durability) -> Committer {
        Committer {
            engine,
            durability,
            state: Mutex::default(),
            moved: Condvar::new(),
            events: Events::default(),
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

    pub(crate) fn events(&self) -> &Events {
        &self.events
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

    /// Lets those come in whom the commit before has just answered, so that they need not wait for
    /// the next one: without this, callers part into two halves that take turns. Whoever is alone
    /// never gets here, and where they do not come back this costs an eighth of a commit at most.
    fn gather(&self) {
        let (company, mut patience) = {
            let state = self.state.lock();
            (state.company, Patience::of(state.took / 8))
        };
        while self.state.lock().waiting.len() < company && patience.lasts() {
            yield_now();
        }
    }

    /// Commits for the callers at the front of the queue, of whom this one is the first, and
    /// answers them.
    fn lead(&self) -> Answers {
        let (batch, stopped) = {
            let mut state = self.state.lock();
            let mut batch = Vec::new();
            let mut commands = 0;
            while let Some(request) = state.waiting.front()
                && !request.leads_alone()
                && (batch.is_empty() || commands + request.commands.len() <= BATCH)
            {
                commands += request.commands.len();
                batch.extend(state.waiting.pop_front());
            }
            (batch, state.stopped.clone())
        };
        let commands: Vec<&Stamped> = batch.iter().flat_map(|request| &request.commands).collect();
        let began = Instant::now();
        let (mut answers, failure) = match stopped {
            Some(source) => (vec![Err(Error::Stopped { source }); commands.len()], None),
            None => self.run(&commands),
        };
        {
            let mut state = self.state.lock();
            state.company = batch.len() + state.waiting.len();
            state.took = began.elapsed();
            if let Some(cause) = failure {
                tracing::error!(%cause, "the store stopped writing");
                state.stopped = Some(cause);
            }
        }
        if commands
            .iter()
            .zip(&answers)
            .any(|(stamped, answer)| frees_a_job(&stamped.command, answer))
        {
            self.events.happened();
        }

        let mut own = Vec::new();
        for request in batch.into_iter().rev() {
            let theirs = answers.split_off(answers.len() - request.commands.len());
            if answers.is_empty() {
                own = theirs;
            } else {
                request.reply(Reply::Answered(theirs));
            }
        }
        // Last, so that those who were answered can be back in time for the next commit.
        self.pass_on(self.state.lock());
        own
    }

    /// Ends the lead of whoever holds it; the next caller that waits takes it.
    fn pass_on(&self, mut state: MutexGuard<'_, State>) {
        let next = state.waiting.front().cloned();
        state.led = next.is_some();
        drop(state);
        self.moved.notify_all();
        if let Some(next) = next {
            next.reply(Reply::Lead);
        }
    }

    /// Applies the commands in as few transactions as the engine allows. Also says why the store
    /// has to stop, if it has to.
    fn run(&self, commands: &[&Stamped]) -> (Answers, Option<Cause>) {
        let mut answers = Vec::with_capacity(commands.len());
        let mut rest: Vec<&[&Stamped]> = commands.chunks(BATCH).rev().collect();
        while let Some(chunk) = rest.pop() {
            let applied = catch_unwind(AssertUnwindSafe(|| self.apply(chunk)))
                .unwrap_or_else(|_| Err(uncertain("applying a command panicked")));
            match applied {
                Ok(more) => answers.extend(more),
                Err(EngineError::TooLarge) if chunk.len() > 1 => {
                    let (first, second) = chunk.split_at(chunk.len() / 2);
                    rest.extend([second, first]);
                }
                Err(EngineError::TooLarge) => answers.push(Err(Error::TooLarge)),
                Err(error) => {
                    let error = Error::from(error);
                    let cause = cause_of(&error);
                    answers.extend(chunk.iter().map(|_| Err(error.clone())));
                    // What was not tried yet is answered as everything that comes after.
                    let stopped = Err(Error::Stopped { source: cause.clone() });
                    answers.resize(commands.len(), stopped);
                    return (answers, Some(cause));
                }
            }
        }
        (answers, None)
    }

    /// Applies the commands in one transaction.
    fn apply(&self, commands: &[&Stamped]) -> EngineResult<Answers> {
        let flush = self.flush_of(commands);
        let mut answers = Vec::with_capacity(commands.len());
        let mut evicted = Evicted::default();
        self.engine.write(flush, &mut |txn| {
            answers.clear();
            evicted = apply_all(txn, commands, &mut answers)?;
            Ok(())
        })?;
        self.note_flush(flush, commands.len());
        // A checkpoint shows only now whether it completed its job, which must never be undone.
        if flush == Flush::Later && answers.iter().any(completes_a_job) {
            self.engine.write(Flush::Now, &mut |_| Ok(()))?;
            self.note_flush(Flush::Now, 0);
        }
        if evicted.records > 0 {
            tracing::trace!(
                records = evicted.records,
                commands = commands.len(),
                "history was folded"
            );
        }
        for answer in &answers {
            if let Err(Error::LeaseLost { job, token, why }) = answer {
                tracing::info!(%job, %token, %why, "a command came under a lost lease");
            }
        }
        Ok(answers)
    }

    /// Whether this transaction has to be on disk before it is answered.
    fn flush_of(&self, commands: &[&Stamped]) -> Flush {
        let Durability::Relaxed { max_delay } = self.durability else { return Flush::Now };
        let is_due = {
            let state = self.state.lock();
            state.unsynced >= UNSYNCED
                || state.unsynced_since.is_some_and(|since| since.elapsed() >= max_delay)
        };
        if is_due || commands.iter().any(|stamped| !stamped.command.may_wait()) {
            Flush::Now
        } else {
            Flush::Later
        }
    }

    fn note_flush(&self, flush: Flush, commands: usize) {
        if self.durability == Durability::Immediate {
            return;
        }
        let mut state = self.state.lock();
        match flush {
            Flush::Now => {
                state.unsynced_since = None;
                state.unsynced = 0;
            }
            Flush::Later => {
                state.unsynced += commands;
                if state.unsynced_since.is_none() {
                    state.unsynced_since = Some(Instant::now());
                    drop(state);
                    if let Some(bell) = &*self.bell.lock() {
                        // A full channel has been rung already.
                        let _ = bell.try_send(Bell::Unsynced);
                    }
                }
            }
        }
    }

    /// How long the oldest commit that is not on disk yet has been waiting.
    pub(crate) fn unsynced_for(&self) -> Option<Duration> {
        self.state.lock().unsynced_since.map(|since| since.elapsed())
    }

    /// Waits for its turn, and leads without committing: the store is held still until the lead is
    /// passed on. Its place is in the queue with the others, since callers that keep coming back
    /// may never leave a gap.
    fn hold_still(&self, mut state: MutexGuard<'_, State>) {
        if !state.led {
            state.led = true;
            return;
        }
        let request = Request::new(Vec::new());
        state.waiting.push_back(request.clone());
        drop(state);
        request.wait();
        self.state.lock().waiting.pop_front();
    }

    /// Runs something while nobody commits.
    pub(crate) fn while_still<T>(&self, run: impl FnOnce(&dyn Engine) -> Result<T>) -> Result<T> {
        self.hold_still(self.state.lock());
        let closed = self.state.lock().closed;
        let result = if closed {
            Err(Error::Closed)
        } else {
            // Whatever happens, the lead has to be passed on, or everybody waits for ever.
            catch_unwind(AssertUnwindSafe(|| run(&*self.engine)))
                .unwrap_or_else(|_| Err(uncertain("the storage panicked").into()))
        };
        self.pass_on(self.state.lock());
        result
    }

    /// Closes and opens the storage in place; afterwards the store takes commands again.
    pub(crate) fn reopen(&self) -> Result<()> {
        let result = self.while_still(|engine| {
            if self.state.lock().stopped.is_none()
                && let Err(error) = engine.write(Flush::Now, &mut |_| Ok(()))
            {
                tracing::warn!(%error, "what waited for its sync was lost");
            }
            let reopened = engine.reopen();
            let mut state = self.state.lock();
            state.unsynced_since = None;
            state.unsynced = 0;
            state.stopped = reopened.as_ref().err().map(cause_of);
            reopened
        });
        self.events.happened();
        result
    }

    /// Takes no more commands, answers those that wait, and closes the storage. Whoever closes a
    /// second time waits for the first to have done so.
    pub(crate) fn close(&self) -> Result<()> {
        let mut state = self.state.lock();
        let first = !std::mem::replace(&mut state.closed, true);
        self.hold_still(state);
        let closed = if first { self.shut() } else { Ok(()) };
        self.pass_on(self.state.lock());
        self.events.happened();
        Ok(closed?)
    }

    fn shut(&self) -> EngineResult<()> {
        let guarded = |call: &dyn Fn() -> EngineResult<()>| {
            catch_unwind(AssertUnwindSafe(call))
                .unwrap_or_else(|_| Err(uncertain("closing the storage panicked")))
        };
        let healthy = self.state.lock().stopped.is_none();
        let synced = match healthy {
            true => guarded(&|| self.engine.write(Flush::Now, &mut |_| Ok(()))),
            false => Ok(()),
        };
        synced.and(guarded(&|| self.engine.close()))
    }
}

enum Entered {
    Leads,
    Waits,
}

fn completes_a_job(answer: &Result<Answer>) -> bool {
    matches!(answer, Ok(Answer::Receipt(crate::types::Receipt::Completed)))
}

/// Whether somebody who waits for a job may find one now.
fn frees_a_job(command: &Command, answer: &Result<Answer>) -> bool {
    use crate::types::command::Receipt::{Completed, Failed, Released};
    matches!(
        (command, answer),
        (Command::Create(_) | Command::Cancel(_) | Command::Retry(_), Ok(_))
            | (Command::FindOrCreate(_) | Command::ReleaseStale { .. }, Ok(_))
            | (_, Ok(Answer::Receipt(Completed | Failed { .. } | Released)))
            | (_, Ok(Answer::Lease(LeaseAnswer::Again)))
    )
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
