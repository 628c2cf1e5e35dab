//! Holding the store still: to compact, reopen or close it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::queue::{Request, State};
use super::{Committer, cause_of, uncertain};
use crate::error::{Error, Result};
use crate::storage::{Engine, EngineResult, Flush};
use crate::sync::MutexGuard;

impl Committer {
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
        self.while_still(|engine| {
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
        })
    }

    /// Takes no more commands, answers those that wait, and closes the storage. Whoever closes a
    /// second time waits for the first to have done so.
    pub(crate) fn close(&self) -> Result<()> {
        let mut state = self.state.lock();
        let first = !std::mem::replace(&mut state.closed, true);
        self.hold_still(state);
        let closed = if first { self.shut() } else { Ok(()) };
        self.pass_on(self.state.lock());
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
