//! The types of the store: ids, jobs, batches, findings, totals, imports and commands.

pub(crate) mod as_text;
mod batch;
pub(crate) mod command;
mod counters;
pub(crate) mod ids;
mod import;
mod job;
mod lease;
mod metrics;
mod outcome;
pub(crate) mod status;
mod totals;
mod worker;

pub(crate) use batch::short;
pub use batch::{Batch, NewFinding, PastBatch};
pub use counters::Counters;
pub(crate) use ids::Hex;
pub use ids::{JobId, ParsePrefixError, Prefix, Token, WorkerId};
pub(crate) use import::ImportRecord;
pub use import::{Import, ImportOutcome};
pub use job::NewJob;
pub use lease::{Action, Grant, LeaseCommand, Receipt};
pub use metrics::Metrics;
pub use outcome::{
    BatchOutcome, CheckpointOutcome, FailOutcome, FindOrCreateOutcome, FindingOutcome,
};
pub use status::{JobStatus, ParseStatusError};
pub use totals::Totals;
pub(crate) use totals::duration_of;
pub(crate) use worker::DEFAULT_KIND;
pub use worker::NewWorker;
