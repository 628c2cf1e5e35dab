//! Leading: what waits is applied in one transaction, committed and answered.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::queue::{Reply, State};
use super::{Answers, BATCH, Bell, Committer, UNSYNCED, cause_of, uncertain};
use crate::config::Durability;
use crate::error::{Cause, Error, Result};
use crate::storage::{EngineError, EngineResult, Flush};
use crate::sync::{MutexGuard, Patience, yield_now};
use crate::types::command::{Answer, Effects, Receipt, Stamped};

impl Committer {
    /// Lets those come in whom the commit before has just answered, so that they need not wait for
    /// the next one: without this, callers part into two halves that take turns. Whoever is alone
    /// never gets here, and where they do not come back this costs an eighth of a commit at most.
    pub(super) fn gather(&self) {
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
    pub(super) fn lead(&self) -> Answers {
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
        let mut done = match stopped {
            Some(source) => Done::stopped(commands.len(), source),
            None => self.run(&commands),
        };
        {
            let mut state = self.state.lock();
            state.company = batch.len() + state.waiting.len();
            state.took = began.elapsed();
            if let Some(cause) = done.failure {
                tracing::error!(%cause, "the store stopped writing");
                state.stopped = Some(cause);
            }
            if let Some(error) = done.left_over {
                state.left_over.report(&error);
            }
        }

        let mut own = Vec::new();
        for request in batch.into_iter().rev() {
            let theirs = done.answers.split_off(done.answers.len() - request.commands.len());
            if done.answers.is_empty() {
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
    pub(super) fn pass_on(&self, mut state: MutexGuard<'_, State>) {
        let next = state.waiting.front().cloned();
        state.led = next.is_some();
        drop(state);
        self.moved.notify_all();
        if let Some(next) = next {
            next.reply(Reply::Lead);
        }
    }

    /// Applies the commands in as few transactions as the engine allows.
    fn run(&self, commands: &[&Stamped]) -> Done {
        let mut done = Done::default();
        let mut rest: Vec<&[&Stamped]> = commands.chunks(BATCH).rev().collect();
        while let Some(chunk) = rest.pop() {
            let applied = catch_unwind(AssertUnwindSafe(|| self.apply(chunk, &mut done)))
                .unwrap_or_else(|_| Err(uncertain("applying a command panicked")));
            match applied {
                Ok(()) => {}
                Err(EngineError::TooLarge) if chunk.len() > 1 => {
                    let (first, second) = chunk.split_at(chunk.len() / 2);
                    rest.extend([second, first]);
                }
                Err(EngineError::TooLarge) => done.answers.push(Err(Error::TooLarge)),
                Err(error) => {
                    let error = match error {
                        // Not a row but the engine itself: it stops the store like any failure.
                        EngineError::Corrupted(_) => Error::Storage { source: Arc::new(error) },
                        error => Error::from(error),
                    };
                    let cause = cause_of(&error);
                    done.answers.extend(chunk.iter().map(|_| Err(error.clone())));
                    // What was not tried yet is answered as everything that comes after.
                    let stopped = Err(Error::Stopped { source: cause.clone() });
                    done.answers.resize(commands.len(), stopped);
                    done.failure = Some(cause);
                    break;
                }
            }
        }
        done
    }

    /// Applies the commands in one transaction.
    fn apply(&self, commands: &[&Stamped], done: &mut Done) -> EngineResult<()> {
        let flush = self.flush_of(commands);
        let mut answers = Vec::with_capacity(commands.len());
        let mut effects = Effects::default();
        let flush_of_group = match flush {
            Flush::Later if is_large(commands) => Flush::LaterAlone,
            flush => flush,
        };
        self.engine.write(flush_of_group, &mut |txn| {
            answers.clear();
            effects = (self.apply)(txn, commands, &mut answers)?;
            Ok(())
        })?;
        self.note_flush(flush, commands.len());
        // A checkpoint shows only now whether it completed its job, which must never be undone.
        if flush == Flush::Later && answers.iter().any(completes_a_job) {
            self.engine.write(Flush::Now, &mut |_| Ok(()))?;
            self.note_flush(Flush::Now, 0);
        }
        done.answers.append(&mut answers);
        done.left_over = effects.left_over.or(done.left_over.take());
        Ok(())
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
            Flush::Later | Flush::LaterAlone => {
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
}

/// Whether a snapshot should not have to wait for these commands. What is not large takes less than
/// about three milliseconds.
fn is_large(commands: &[&Stamped]) -> bool {
    const LARGE: usize = 256;

    commands.iter().map(|stamped| stamped.command.weight()).sum::<usize>() > LARGE
}

/// What became of a group of commands.
#[derive(Default)]
struct Done {
    answers: Answers,
    left_over: Option<Error>,
    /// Why the store has to stop, if it has to.
    failure: Option<Cause>,
}

impl Done {
    fn stopped(commands: usize, source: Cause) -> Done {
        Done { answers: vec![Err(Error::Stopped { source }); commands], ..Done::default() }
    }
}

fn completes_a_job(answer: &Result<Answer>) -> bool {
    matches!(answer, Ok(Answer::Receipt { receipt: Receipt::Completed, .. }))
}
