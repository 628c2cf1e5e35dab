//! The rows of each table.

mod tiers;

use std::collections::BTreeMap;
use std::time::Duration;

use crate::config::Caps;
use crate::schema::codec::{
    self, Decode, DecodeError, Decoder, Encode, EncodeError, Encoder, Leb128, record,
};
use crate::schema::fields::{leb128_time, time};
use crate::schema::tables;
use crate::storage::Table;
use crate::time::Timestamp;
use crate::types::{Counters, JobId, JobStatus, PastBatch, Receipt, Token, Totals, WorkerId};

pub(crate) use tiers::{DailyRow, LifetimeRow, MonthlyRow, Newest, Rolled};

macro_rules! wraps {
    ($name:ident($inner:ty)) => {
        impl Encode for $name {
            fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
                self.0.encode(encoder)
            }
        }

        impl Decode for $name {
            fn decode<D: Decoder>(decoder: &mut D) -> Result<Self, DecodeError> {
                <$inner>::decode(decoder).map($name)
            }
        }
    };
}

use wraps;

/// A record kept in one table.
pub(crate) trait Row: Encode + Decode {
    const TABLE: Table;
}

record! {
    /// Caps and counters of the whole store, in one row that every write transaction reads and few
    /// write.
    #[derive(Debug, Clone, PartialEq)]
    pub(crate) struct Control {
        pub(crate) caps: Caps,
        pub(crate) next_job: u64,
        pub(crate) next_worker: u32,
        /// How many jobs have each status, in the order of [`JobStatus::ALL`].
        pub(crate) jobs: [u64; 5],
        /// Whether a lowered cap on history is still being reached.
        pub(crate) history_settling: bool,
        /// The next worker whose days and months are to be brought under a lowered cap.
        pub(crate) workers_settling: Option<WorkerId>,
        /// Deleted jobs whose findings are still being removed.
        pub(crate) deleting: Vec<JobId>,
        /// The latest time at which a deadline was set, up to a minute old.
        pub(crate) latest: Timestamp,
        /// After the clock was set back: the entry of the lease index after which deadlines are
        /// still to be shortened.
        pub(crate) repairing: Option<(Timestamp, JobId)>,
    }
}

impl Row for Control {
    const TABLE: Table = tables::META;
}

impl Control {
    pub(crate) fn new(caps: Caps) -> Control {
        Control {
            caps,
            next_job: 1,
            next_worker: 1,
            jobs: [0; 5],
            history_settling: false,
            workers_settling: None,
            deleting: Vec::new(),
            latest: Timestamp::MIN,
            repairing: None,
        }
    }

    /// Whether work is left for later commits.
    pub(crate) fn is_settling(&self) -> bool {
        self.history_settling || self.workers_settling.is_some() || !self.deleting.is_empty()
    }
}

record! {
    #[derive(Debug, Clone, PartialEq)]
    pub(crate) struct WorkerRow {
        pub(crate) name: String,
        pub(crate) kind: String,
        pub(crate) metadata: BTreeMap<String, String>,
        pub(crate) first_seen: Timestamp,
        /// Set when the worker registers, acquires a lease or ends one, not by checkpoints.
        pub(crate) last_seen: Timestamp,
        pub(crate) last_prefix: Option<Vec<u8>>,
    }
}

impl Row for WorkerRow {
    const TABLE: Table = tables::WORKERS;
}

record! {
    #[derive(Debug, Clone, PartialEq)]
    pub(crate) struct JobRow {
        pub(crate) prefix: Vec<u8>,
        pub(crate) start: u64,
        pub(crate) end: u64,
        pub(crate) cursor: u64,
        pub(crate) status: JobStatus,
        /// Who holds it, or held it last.
        pub(crate) holder: Option<WorkerId>,
        /// The newest token.
        pub(crate) token: Token,
        /// Whether that token is still valid.
        pub(crate) token_live: bool,
        /// Where the cursor was when that token was issued.
        pub(crate) leased_cursor: u64,
        /// Sequence number of the last command under that token; 0 before the first.
        pub(crate) sequence: u64,
        /// Content of that command.
        pub(crate) digest: u64,
        /// What that command returned; `None` before the first.
        pub(crate) receipt: Option<Receipt>,
        pub(crate) deadline: Timestamp,
        pub(crate) length_us: u64,
        /// The deadline in its entry of the lease index: never later than the true one.
        pub(crate) indexed: Timestamp,
        pub(crate) priority: i32,
        /// How many leases in a row have ended without moving the cursor.
        pub(crate) attempts: u32,
        pub(crate) max_attempts: Option<u32>,
        pub(crate) batches: u64,
        /// How many of its batches reported an error, and how many positions these covered.
        pub(crate) errors: u64,
        pub(crate) error_positions: u64,
        /// How many findings it has.
        pub(crate) findings: u64,
        pub(crate) items: u128,
        pub(crate) duration_us: u128,
        pub(crate) created_at: Timestamp,
        pub(crate) leased_at: Option<Timestamp>,
        pub(crate) checkpoint_at: Option<Timestamp>,
        pub(crate) ended_at: Option<Timestamp>,
        pub(crate) last_error: Option<String>,
        /// What the last heartbeat under that token said.
        pub(crate) note: Option<String>,
    }
}

impl Row for JobRow {
    const TABLE: Table = tables::JOBS;
}

impl JobRow {
    /// How many of its positions are done.
    pub(crate) fn done(&self) -> u64 {
        self.cursor.saturating_sub(self.start)
    }

    /// How many positions it has.
    pub(crate) fn positions(&self) -> u64 {
        self.end.saturating_sub(self.start)
    }
}

record! {
    /// Sums over the jobs of one prefix. The row is written when a job is created, deleted or
    /// changes its status, not by a checkpoint, so `done` and `busy_us` leave out leased jobs.
    #[derive(Debug, Clone, PartialEq, Default)]
    pub(crate) struct PrefixRow {
        /// How many jobs have each status, in the order of [`JobStatus::ALL`].
        pub(crate) jobs: [u64; 5],
        /// Positions of all its jobs.
        pub(crate) positions: u128,
        /// Positions done in jobs that are not leased.
        pub(crate) done: u128,
        /// Time spent on jobs that are not leased, in microseconds.
        pub(crate) busy_us: u128,
        /// Positions that are known to belong to jobs, from the first to before the second: a search
        /// for free ones passes over them.
        pub(crate) covered: (u64, u64),
        /// Whether it is paused: its waiting jobs are not leased.
        pub(crate) paused: bool,
        /// Priority and id of the waiting job that comes first, as the queue lists it.
        pub(crate) head: Option<(i32, JobId)>,
    }
}

impl Row for PrefixRow {
    const TABLE: Table = tables::PREFIXES;
}

/// One batch. The worker comes first, so that a scan can skip other workers' rows without decoding
/// them.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct HistoryRow {
    pub(crate) batch: PastBatch,
}

/// The worker comes first, in bincode's encoding: see [`HistoryRow::mark`].
impl Encode for HistoryRow {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let HistoryRow { batch } = self;
        (batch.worker, batch.job, Leb128(batch.start)).encode(encoder)?;
        // Ranges are checked before; wrapping keeps the encoding exact for any range.
        Leb128(batch.end.wrapping_sub(batch.start)).encode(encoder)?;
        (Leb128(batch.items), Leb128(batch.duration_us())).encode(encoder)?;
        (leb128_time(batch.finished_at), batch.outcome, &batch.error).encode(encoder)
    }
}

impl Decode for HistoryRow {
    fn decode<D: Decoder>(decoder: &mut D) -> Result<Self, DecodeError> {
        let (worker, job) = Decode::decode(decoder)?;
        let (Leb128(start), Leb128(length)): (Leb128<u64>, Leb128<u64>) = Decode::decode(decoder)?;
        let (Leb128(items), Leb128(micros)) = Decode::decode(decoder)?;
        let finished_at = time(Decode::decode(decoder)?)?;
        let (outcome, error) = Decode::decode(decoder)?;
        let end = start.wrapping_add(length);
        let duration = Duration::from_micros(micros);
        let batch =
            PastBatch { worker, job, start, end, items, duration, finished_at, outcome, error };
        Ok(HistoryRow { batch })
    }
}

impl Row for HistoryRow {
    const TABLE: Table = tables::HISTORY;
}

impl HistoryRow {
    /// The bytes that the value of every row of this worker starts with.
    pub(crate) fn mark(worker: WorkerId) -> Vec<u8> {
        codec::encode(&worker)
    }
}

record! {
    #[derive(Debug, Clone, PartialEq)]
    pub(crate) struct FindingRow {
        pub(crate) payload: Vec<u8>,
        pub(crate) worker: WorkerId,
        pub(crate) found_at: Timestamp,
        pub(crate) late: bool,
    }
}

impl Row for FindingRow {
    const TABLE: Table = tables::FINDINGS;
}

record! {
    /// The last import of a source.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub(crate) struct ImportRow {
        pub(crate) number: u64,
        pub(crate) digest: u64,
    }
}

impl Row for ImportRow {
    const TABLE: Table = tables::META;
}

/// The counters that a worker last reported.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct CountersRow(pub(crate) Counters);

impl Encode for CountersRow {
    fn encode<E: Encoder>(&self, encoder: &mut E) -> Result<(), EncodeError> {
        let Counters { session, batches, errors, items, duration_us } = &self.0;
        (session, Leb128(*batches), Leb128(*errors)).encode(encoder)?;
        (Leb128(*items), Leb128(*duration_us)).encode(encoder)
    }
}

impl Decode for CountersRow {
    fn decode<D: Decoder>(decoder: &mut D) -> Result<Self, DecodeError> {
        let (session, Leb128(batches), Leb128(errors)) = Decode::decode(decoder)?;
        let (Leb128(items), Leb128(duration_us)) = Decode::decode(decoder)?;
        Ok(CountersRow(Counters { session, batches, errors, items, duration_us }))
    }
}

impl Row for CountersRow {
    const TABLE: Table = tables::META;
}

/// The totals of all imports, without those of single batches.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(crate) struct ImportedRow(pub(crate) Totals);

wraps!(ImportedRow(Totals));

impl Row for ImportedRow {
    const TABLE: Table = tables::META;
}

/// A number as the whole of a row: a job id, a worker number, the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Number(pub(crate) u64);

wraps!(Number(u64));
