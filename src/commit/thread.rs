//! Starting and ending background threads.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::sync::thread::{self, JoinHandle};

pub(crate) fn spawn(name: &str, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    thread::Builder::new()
        .name(name.to_string())
        .spawn(run)
        .map_err(|source| Error::Thread { name: name.to_string(), source: Arc::new(source) })
}

/// Waits for a thread to end, unless it is this one: a thread may come to drop the last handle.
pub(crate) fn join(thread: Option<JoinHandle<()>>) {
    if let Some(thread) = thread
        && thread.thread().id() != thread::current().id()
        && thread.join().is_err()
    {
        tracing::error!("a background thread panicked");
    }
}
