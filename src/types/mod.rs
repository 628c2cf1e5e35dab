//! The types of the store: ids, jobs, batches, findings, totals, imports and commands.

mod batch;
pub(crate) mod command;
pub(crate) mod ids;
mod import;
mod job;
pub(crate) mod status;
mod totals;

pub(crate) use batch::short;
pub use batch::{Batch, NewFinding, PastBatch};
pub use command::{Action, LeaseCommand, Receipt};
pub(crate) use ids::Hex;
pub use ids::{JobId, Prefix, Token, WorkerId};
pub(crate) use import::ImportRecord;
pub use import::{Import, ImportOutcome};
pub use job::NewJob;
pub use status::JobStatus;
pub use totals::Totals;
