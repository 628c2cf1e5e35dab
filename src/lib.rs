//! # milepost
//!
//! An embedded store for long-running worker fleets: it hands each range of work to one worker at
//! a time, remembers how far every worker got, goes on from there after a crash, and keeps exact
//! statistics in bounded space.
//!
//! People run scans that take hours or months: key spaces, crawls, backfills, parameter sweeps,
//! proof-of-work. milepost keeps **one row per job**, moved forward in place by checkpoints, and
//! **four tiers of worker statistics** that never outgrow their caps: history, daily, monthly and
//! lifetime. Each record that leaves a tier has been added to the coarser ones in the same
//! transaction, so no number is ever lost or counted twice.
//!
//! It is not a general job queue (no schedules, no routing of payloads), not a time-series
//! database, and not a layer over SQL. It is a library on [redb](https://www.redb.org), without a
//! server.
//!
//! ```
//! use milepost::{NewJob, Store};
//! use std::time::Duration;
//!
//! # let folder = tempfile::tempdir().unwrap();
//! # let path = folder.path().join("scan.milepost");
//! let store = Store::open(&path)?;
//! store.create_jobs((0..4u64).map(|n| NewJob::new(b"demo", n * 1_000..(n + 1) * 1_000)))?;
//!
//! let worker = store.register_worker("pc-01")?;
//! while let Some(mut lease) = worker.next_lease(Duration::from_secs(60))? {
//!     while let Some(mut batch) = lease.next_batch(250) {
//!         for position in batch.range() {
//!             if position == 2_718 {
//!                 batch.add_finding(position.to_be_bytes(), b"found it");
//!             }
//!         }
//!         lease.checkpoint(batch)?;
//!     }
//! }
//!
//! let view = store.snapshot()?;
//! assert_eq!(view.job_counts().completed, 4);
//! assert_eq!(view.lifetime(&worker)?.totals.items, 4_000);
//! view.verify()?;
//! # Ok::<(), milepost::Error>(())
//! ```
//!
//! ## Limits
//!
//! | | |
//! |---|---|
//! | positions | `u64`, in half-open ranges |
//! | prefix | 1 to 255 bytes, any bytes |
//! | worker name, kind | 1 to 255 and 1 to 64 bytes of UTF-8 |
//! | error text | the first 512 bytes are kept |
//! | findings of one checkpoint | 1,024, each with a key of 1 to 255 bytes and up to 64 KiB |
//! | caps | 1 to 2^32 - 1 records |
//! | import source | 1 to 64 bytes of UTF-8; as many sources as you like, each a row that stays |
//! | a lease | from a microsecond to ten years, renewed as often as one likes |
//!
//! ## Events
//!
//! The library says what happens through [`tracing`](https://docs.rs/tracing), and prints nothing.
//!
//! | level | event |
//! |---|---|
//! | error | the store stopped writing; the store cannot be reopened yet; a store could not be closed in order; a command was refused because of a damaged row or a bug; a damaged row is skipped; retention left something undone |
//! | warn | a job failed for good; a dropped lease could not be released; a lease could not be renewed in the background; the clock jumped, or was set back; a sync that was due failed; the store is being reopened after an error; a cap from the environment is not above zero, or very low; the whole file is checked because the quick check found damage |
//! | info | store opened, reopened, compacted, closed; caps were changed; an expired lease was taken over; a command came under a lost lease; a dropped lease had been lost; a lease is no longer kept alive |
//! | debug, trace | what only those who change the library want to know |
//!
//! [`Store::metrics`] has counters for a monitoring system.
//!
//! ## Threads and panics
//!
//! The library starts a thread only where it is asked to: one per store that syncs, under
//! [`Durability::Relaxed`], and one per store that renews leases, with the first
//! [`LeaseRequest::keep_alive`]. A panic inside the storage engine is caught and stops the store with
//! an error; that needs a program built with `panic = "unwind"`, the default.
//!
//! ## Forks
//!
//! A store belongs to the process that opened it. In a child made by `fork`, every call returns
//! [`Error::Forked`], and dropping a handle closes the child's descriptors and does nothing else: it
//! writes nothing and releases no lock and no lease, so the parent works on undisturbed. A child can
//! open stores of its own. While it neither drops what it inherited nor ends, the file stays locked,
//! even if the parent has ended.
//!
//! ## Tour of the modules
//!
//! From the ground up:
//!
//! - `error`, `time`, `clock`, `config`, `types`: the words of the store.
//! - `process`: telling a forked child from the process that opened a store.
//! - `sync`: the locks, which tests replace by those of an explorer of schedules.
//! - `storage`: the seam to the engine that keeps the bytes, with redb and memory behind it.
//! - `schema`: tables, keys, rows and codec.
//! - `rules`: what each command does: creating, leasing, fencing, moving cursors, tiers, retention.
//! - `commit`: group commit.
//! - `query`, `verify`: reading a snapshot, and checking it.
//! - `builder`, `store`, `worker`, `request`, `lease`, `keepalive`, `cancel`: the handles a user holds.
//!
//! With the feature `testing`, which is unstable, `testing` makes engines and devices public that fail on
//! purpose.

mod builder;
mod cancel;
mod clock;
mod commit;
mod config;
mod error;
mod keepalive;
mod lease;
mod process;
mod query;
mod reader;
mod request;
mod rules;
mod schema;
mod storage;
mod store;
mod sync;
#[cfg(feature = "testing")]
pub mod testing;
mod time;
mod types;
mod verify;
mod waiting;
mod worker;

pub use builder::Builder;
pub use cancel::CancellationToken;
pub use clock::{Clock, ManualClock, SystemClock};
pub use config::{Caps, CapsChange, Durability, Sharing, limits};
pub use error::{Cause, Error, Lost, Result};
pub use lease::Lease;
pub use query::{
    ActiveWorker, DayStats, Finding, FindingFilter, FinishedSince, HistoryFilter, HistoryRecord,
    Job, JobCounts, JobFilter, KindStats, LeaderboardEntry, LifetimeStats, MonthStats, Page,
    PageToken, Progress, Rate, Scope, Size, Snapshot, Standing, WorkerInfo,
};
pub use reader::Reader;
pub use request::{Busy, LeaseOutcome, LeaseRequest};
pub use storage::TableSize;
pub use store::Store;
pub use time::{Day, Month, Timestamp};
pub use types::{
    Action, Batch, BatchOutcome, CheckpointOutcome, Counters, FailOutcome, FindOrCreateOutcome,
    FindingOutcome, Grant, Import, ImportOutcome, JobId, JobStatus, LeaseCommand, Metrics,
    NewFinding, NewJob, NewWorker, ParsePrefixError, ParseStatusError, PastBatch, Prefix, Receipt,
    Token, Totals, WorkerId,
};
pub use verify::Verified;
pub use worker::Worker;

/// The README's code is tested with the rest.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
mod readme {}
