//! A caller that blocks until its commands are completed.

use super::{Complete, Results};
use crate::sync::{Condvar, Mutex};

/// Where a thread waits, for the results of its commands or for the lead.
#[derive(Default)]
pub(super) struct Caller {
    turn: Mutex<Option<Turn>>,
    changed: Condvar,
}

/// Why a caller wakes up.
pub(super) enum Turn {
    /// It must lead the next commit.
    Lead,
    /// Its commands are completed.
    Done(Results),
}

impl Caller {
    pub(super) fn wait(&self) -> Turn {
        let mut turn = self.turn.lock();
        loop {
            match turn.take() {
                Some(turn) => return turn,
                None => self.changed.wait(&mut turn),
            }
        }
    }

    pub(super) fn wake(&self, turn: Turn) {
        *self.turn.lock() = Some(turn);
        self.changed.notify_one();
    }
}

impl Complete for Caller {
    fn complete(&self, results: Results) {
        self.wake(Turn::Done(results));
    }
}
