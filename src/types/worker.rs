//! Workers as they are registered.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::config::limits;
use crate::error::{Result, check_length};

/// The kind of a worker for which none was given.
pub(crate) const DEFAULT_KIND: &str = "worker";

/// A worker to be registered: its name, and what to remember of it.
///
/// A name alone is enough: wherever a `NewWorker` is expected, a string can be passed.
///
/// ```
/// use milepost::{NewWorker, Store};
///
/// let store = Store::in_memory()?;
/// store.register_worker("pc-01")?;
/// store.register_worker(NewWorker::new("pc-02").kind("gpu").metadata("driver", "560.35"))?;
/// assert_eq!(store.snapshot()?.worker_named("pc-02")?.unwrap().kind, "gpu");
/// # Ok::<(), milepost::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewWorker {
    pub(crate) name: String,
    pub(crate) kind: Option<String>,
    pub(crate) metadata: Option<BTreeMap<String, String>>,
}

impl NewWorker {
    /// A worker of this name, which has 1 to 255 bytes.
    #[must_use]
    pub fn new(name: impl Into<String>) -> NewWorker {
        NewWorker { name: name.into(), kind: None, metadata: None }
    }

    /// Sets its kind (such as `pc` or `gpu`), 1 to 64 bytes, by which statistics group workers.
    /// Without it, a new worker has the kind `worker`, and a known one keeps its own.
    #[must_use]
    pub fn kind(mut self, kind: impl Into<String>) -> NewWorker {
        self.kind = Some(kind.into());
        self
    }

    /// Adds metadata: up to 16 pairs, with keys of 1 to 64 bytes and values of up to 256. The pairs
    /// given replace all that a known worker had; if none is given, it keeps its own.
    #[must_use]
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<String>) -> NewWorker {
        self.metadata.get_or_insert_default().insert(key.into(), value.into());
        self
    }

    pub(crate) fn check(&self) -> Result<()> {
        check_length("worker name", self.name.len(), 1, limits::NAME)?;
        if let Some(kind) = &self.kind {
            check_length("worker kind", kind.len(), 1, limits::KIND)?;
        }
        let Some(metadata) = &self.metadata else { return Ok(()) };
        check_length("list of metadata", metadata.len(), 0, limits::METADATA)?;
        for (key, value) in metadata {
            check_length("metadata key", key.len(), 1, limits::METADATA_KEY)?;
            check_length("metadata value", value.len(), 0, limits::METADATA_VALUE)?;
        }
        Ok(())
    }
}

impl From<&str> for NewWorker {
    fn from(name: &str) -> NewWorker {
        NewWorker::new(name)
    }
}

impl From<String> for NewWorker {
    fn from(name: String) -> NewWorker {
        NewWorker::new(name)
    }
}
