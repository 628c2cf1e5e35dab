//! Acquiring the store exclusively: to compact, reopen or close it.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use super::caller::Caller;
use super::queue::{Entry, State};
use super::{Committer, cause_of, uncertain};
use crate::error::{Error, Result};
use crate::storage::{Engine, EngineResult, Flush};
use crate::sync::MutexGuard;

impl Committer {
    /// Runs something while nobody commits.
    pub(crate) fn exclusively<T>(&self, run: impl FnOnce(&dyn Engine) -> Result<T>) -> Result<T> {
        self.acquire(self.state.lock());
        let closed = self.state.lock().closed;
        let result = if closed {
            Err(Error::Closed)
        } else {
            // Whatever happens, the lead has to be released, or everybody waits forever.
            catch_unwind(AssertUnwindSafe(|| run(&*self.engine)))
                .unwrap_or_else(|_| Err(uncertain("the storage panicked").into()))
        };
        self.release();
        result
    }

    /// Waits for the lead, in the queue like everybody else: callers that keep coming back may never
    /// leave a gap.
    fn acquire(&self, mut state: MutexGuard<'_, State>) {
        if !std::mem::replace(&mut state.led, true) {
            return;
        }
        let caller = Arc::new(Caller::default());
        state.waiting.push_back(Entry::of(Vec::new(), &caller));
        drop(state);
        caller.wait();
        self.state.lock().waiting.pop_front();
    }

    fn release(&self) {
        if !self.release_lead() {
            self.lead();
        }
    }

    /// Closes and opens the storage in place; afterwards the store takes commands again.
    pub(crate) fn reopen(&self) -> Result<()> {
        self.exclusively(|engine| {
            if self.state.lock().stopped.is_none()
                && let Err(error) = engine.write(Flush::Now, &mut |_| Ok(()))
            {
                tracing::warn!(
                    error = &error as &dyn std::error::Error,
                    "what waited for its sync was lost"
                );
            }
            let reopened = engine.reopen();
            let mut state = self.state.lock();
            state.metrics.reopened += u64::from(reopened.is_ok());
            state.unsynced_since = None;
            state.unsynced = 0;
            state.stopped = reopened.as_ref().err().map(cause_of);
            reopened
        })
    }

    /// Takes no more commands, commits those that wait, and closes the storage. Whoever closes a
    /// second time waits until the first is done.
    pub(crate) fn close(&self) -> Result<()> {
        let mut state = self.state.lock();
        let first = !std::mem::replace(&mut state.closed, true);
        self.acquire(state);
        let closed = if first { self.shut() } else { Ok(()) };
        self.release();
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
