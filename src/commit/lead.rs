//! Leading: what waits is applied in one transaction, committed and completed.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::caller::Turn;
use super::{Committer, Results, cause_of, uncertain};
use crate::error::{Cause, Error};
use crate::storage::{EngineError, EngineResult, Flush};
use crate::sync::{Patience, yield_now};
use crate::types::Metrics;
use crate::types::command::{Effects, Stamped};

/// How long a new leader waits for callers to come back, after a commit that took so long.
pub(super) fn patience_after(took: Duration) -> Duration {
    const MOST: Duration = Duration::from_micros(100);

    MOST.min(took / 8)
}

impl Committer {
    /// Waits a moment for the callers whose commands the last commit completed, so that theirs need
    /// not wait for the commit after this one: without that, callers part into two halves that take
    /// turns. A caller that is alone never gets here. If they do not come back, this costs an eighth
    /// of a commit, and 100 us at most.
    pub(super) fn gather(&self) {
        let (wanted, mut patience) = {
            let state = self.state.lock();
            (state.last_group, Patience::of(patience_after(state.took)))
        };
        while self.state.lock().waiting.len() < wanted && patience.lasts() {
            yield_now();
        }
    }

    /// Commits what waits, until another thread takes the lead or nothing waits any more.
    pub(super) fn lead(&self) {
        loop {
            self.commit_group();
            // Last, so that those that were completed can be back in time for the next commit.
            if self.release_lead() {
                return;
            }
        }
    }

    /// Gives up the lead, to the next thread that waits for it. Returns false, and keeps it, if
    /// commands wait but no thread does.
    pub(super) fn release_lead(&self) -> bool {
        let mut state = self.state.lock();
        let next = state.next_leader();
        state.led = !state.waiting.is_empty();
        let released = next.is_some() || !state.led;
        drop(state);
        self.lead_released.notify_all();
        if let Some(next) = next {
            next.wake(Turn::Lead);
        }
        released
    }

    /// Commits the commands at the front of the queue, and completes them.
    fn commit_group(&self) {
        let (group, stopped) = {
            let mut state = self.state.lock();
            (state.take_group(), state.stopped.clone())
        };
        let commands: Vec<&Stamped> = group.iter().flat_map(|entry| &entry.commands).collect();
        let began = Instant::now();
        let mut done = match stopped {
            Some(source) => Done::stopped(commands.len(), source),
            None => self.run(&commands),
        };
        let left_over = {
            let mut state = self.state.lock();
            state.last_group = group.len() + state.waiting.len();
            state.took = began.elapsed();
            let took = state.took;
            measure(&mut state.metrics, &done, took);
            if let Some(cause) = &done.failure {
                state.stopped = Some(cause.clone());
            }
            done.left_over.take().filter(|error| state.left_over.is_news(error, Instant::now()))
        };
        contained(|| report(&done, left_over));

        let mut results = done.results;
        for entry in group.into_iter().rev() {
            let others = results.len() - entry.commands.len();
            let own = match others {
                0 => std::mem::take(&mut results),
                _ => results.split_off(others),
            };
            contained(|| entry.completion.complete(own));
        }
    }

    /// Applies the commands in as few transactions as the engine allows.
    fn run(&self, commands: &[&Stamped]) -> Done {
        let mut done = Done::default();
        let mut rest = vec![commands];
        while let Some(chunk) = rest.pop() {
            let applied = catch_unwind(AssertUnwindSafe(|| self.apply(chunk, &mut done)))
                .unwrap_or_else(|_| Err(uncertain("the storage panicked")));
            match applied {
                Ok(()) => {}
                Err(EngineError::TooLarge) if chunk.len() > 1 => {
                    let (first, second) = chunk.split_at(chunk.len() / 2);
                    rest.extend([second, first]);
                }
                Err(EngineError::TooLarge) => done.results.push(Err(Error::TransactionTooLarge)),
                Err(error) => {
                    let error = match error {
                        // Not a row but the engine itself: it stops the store like any failure.
                        EngineError::Corrupted(_) => Error::Storage { source: Arc::new(error) },
                        error => Error::from(error),
                    };
                    let cause = cause_of(&error);
                    done.results.extend(chunk.iter().map(|_| Err(error.clone())));
                    // What was not tried yet gets the same error as everything that comes later.
                    let stopped = Err(Error::Stopped { source: cause.clone() });
                    done.results.resize(commands.len(), stopped);
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
        let mut results = Vec::with_capacity(commands.len());
        let mut effects = Effects::default();
        self.engine.write(flush, &mut |txn| {
            results.clear();
            effects = (self.apply)(txn, commands, &mut results)?;
            Ok(())
        })?;
        self.note_flush(flush, commands.len());
        if flush != Flush::Now && effects.must_be_synced {
            self.engine.write(Flush::Now, &mut |_| Ok(()))?;
            self.note_flush(Flush::Now, 0);
        }
        done.results.append(&mut results);
        done.left_over = effects.left_over.or(done.left_over.take());
        Ok(())
    }
}

/// What became of a group of commands.
#[derive(Default)]
struct Done {
    results: Results,
    left_over: Option<Error>,
    /// Why the store has to stop, if it has to.
    failure: Option<Cause>,
}

impl Done {
    fn stopped(commands: usize, source: Cause) -> Done {
        Done { results: vec![Err(Error::Stopped { source }); commands], ..Done::default() }
    }
}

/// Counts a group.
fn measure(metrics: &mut Metrics, done: &Done, took: Duration) {
    let commands = done.results.len() as u64;
    metrics.groups += 1;
    metrics.commands += commands;
    metrics.largest_group = metrics.largest_group.max(commands);
    metrics.commit_time += took;
    metrics.longest_commit = metrics.longest_commit.max(took);
    metrics.failed_groups += u64::from(done.failure.is_some());
    for error in done.results.iter().filter_map(|result| result.as_ref().err()) {
        match metrics.refused.get_mut(error.name()) {
            Some(refused) => *refused += 1,
            None => drop(metrics.refused.insert(error.name().to_string(), 1)),
        }
    }
}

/// Runs what is not the store's own, a completion or a subscriber of `tracing`: it may panic, but
/// the leader must go on, or everybody waits forever.
fn contained(run: impl FnOnce()) {
    if catch_unwind(AssertUnwindSafe(run)).is_err() {
        let _ = catch_unwind(|| tracing::error!("a completion or a tracing subscriber panicked"));
    }
}

fn report(done: &Done, left_over: Option<Error>) {
    if let Some(cause) = &done.failure {
        tracing::error!(%cause, "the store stopped writing");
    }
    if let Some(error) = left_over {
        tracing::error!(%error, "retention left something undone");
    }
    for result in &done.results {
        match result {
            Err(Error::LeaseLost { job, token, why, .. }) => {
                tracing::info!(%job, %token, %why, "a command came under a lost lease");
            }
            Err(error @ (Error::Corrupted { .. } | Error::Internal { .. })) => {
                tracing::error!(%error, "a command was refused");
            }
            _ => {}
        }
    }
}

/// What retention left undone lately. A damaged row is encountered with every commit, and reported
/// once a minute.
#[derive(Default)]
pub(super) struct LeftOver {
    reported: Option<(Instant, String)>,
}

impl LeftOver {
    /// Whether an error is to be reported.
    pub(super) fn is_news(&mut self, error: &Error, now: Instant) -> bool {
        const AGAIN: Duration = Duration::from_secs(60);

        let text = error.to_string();
        let is_known = self
            .reported
            .as_ref()
            .is_some_and(|(when, known)| *known == text && now.duration_since(*when) < AGAIN);
        if !is_known {
            self.reported = Some((now, text));
        }
        !is_known
    }
}
