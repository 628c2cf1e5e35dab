//! What several test programs share.

use std::panic::resume_unwind;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::Duration;

/// Runs something in a thread of its own: where it would hang, that is a panic.
pub fn within<T: Send + 'static>(
    patience: Duration,
    run: impl FnOnce() -> T + Send + 'static,
) -> T {
    let (done, outcome) = channel();
    let running = thread::spawn(move || done.send(run()));
    match outcome.recv_timeout(patience) {
        Ok(value) => value,
        Err(RecvTimeoutError::Timeout) => panic!("it has not ended after {patience:?}"),
        Err(RecvTimeoutError::Disconnected) => resume_unwind(running.join().unwrap_err()),
    }
}
