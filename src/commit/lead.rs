//! Leading: what waits is applied in one transaction, committed and answered.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::{Duration, Instant};

use super::queue::{Reply, State};
use super::{Answers, BATCH, Bell, Committer, UNSYNCED, cause_of, uncertain};
use crate::config::Durability;
use crate::error::{Cause, Error, Result};
use crate::rules::{Evicted, apply_all};
use crate::storage::{EngineError, EngineResult, Flush};
use crate::sync::{MutexGuard, Patience, yield_now};
use crate::types::command::{Answer, Receipt, Stamped};

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
    pub(super) fn pass_on(&self, mut state: MutexGuard<'_, State>) {
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
}

fn completes_a_job(answer: &Result<Answer>) -> bool {
    matches!(answer, Ok(Answer::Receipt { receipt: Receipt::Completed, .. }))
}
