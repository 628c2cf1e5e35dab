//! An engine in memory that lets others run while it commits, and sees to it that commits come one
//! at a time, in turn, and only when they may.

use std::panic::resume_unwind;
use std::sync::{Mutex as Plain, OnceLock, Weak};

use shuttle::sync::atomic::{AtomicBool, Ordering};
use shuttle::thread;

use super::*;
use crate::config::Caps;
use crate::query::Snapshot;
use crate::rules::apply_all;
use crate::schema::meta;
use crate::schema::{key, tables};
use crate::storage::{EngineSnapshot, MemoryEngine, Write};
use crate::time::Timestamp;
use crate::types::command::LeaseTerms;
use crate::types::{Action, LeaseCommand};
use crate::types::{JobId, NewJob, Token, WorkerId};

/// The prefix of the job whose worker is damaged.
const HELD: &str = "held";

pub(crate) struct Watched {
    pub(crate) memory: MemoryEngine,
    /// Whether to panic in the last transaction before it is closed.
    pub(super) panics_at_last: AtomicBool,
    /// Whether somebody commits, or has the store exclusively.
    busy: AtomicBool,
    /// Whether a commit failed, and the storage was not opened again since.
    broken: AtomicBool,
    closed: AtomicBool,
    /// Whether each transaction is another lead's: not if a lead needs several.
    one_each: bool,
    committer: OnceLock<Weak<Committer>>,
    /// Who waited when the last commit began.
    waited: Plain<Vec<Arc<dyn Complete>>>,
    /// The row that was damaged, as it was.
    mended: Plain<Option<Vec<u8>>>,
    /// What was seen that must not be: a panic here would be taken for one of the storage.
    complaints: Plain<Vec<&'static str>>,
}

impl Watched {
    pub(crate) fn new() -> Arc<Watched> {
        Watched::on(|memory| memory, true)
    }

    /// One whose transactions hold no more than so many puts and deletes.
    pub(super) fn limited(operations: usize) -> Arc<Watched> {
        Watched::on(|memory| memory.limits(operations, usize::MAX), false)
    }

    fn on(set: impl Fn(MemoryEngine) -> MemoryEngine, one_each: bool) -> Arc<Watched> {
        let memory = MemoryEngine::new();
        memory.write(Flush::Now, &mut |txn| meta::initialize(txn, Caps::default())).unwrap();
        Arc::new(Watched {
            memory: set(memory),
            panics_at_last: AtomicBool::new(false),
            busy: AtomicBool::new(false),
            broken: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            one_each,
            committer: OnceLock::new(),
            waited: Plain::default(),
            mended: Plain::default(),
            complaints: Plain::default(),
        })
    }

    pub(super) fn is_broken(&self) -> bool {
        self.broken.load(Ordering::SeqCst)
    }

    pub(super) fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    pub(crate) fn view(&self) -> Snapshot {
        let view = self.memory.snapshot().unwrap();
        Snapshot::new(view, Timestamp::EPOCH, 0, Arc::default()).unwrap()
    }

    /// One with a job that is held by a worker whose row cannot be decoded.
    pub(super) fn damaged() -> Arc<Watched> {
        let watched = Watched::new();
        let worker = WorkerId(1);
        let before = [
            Command::Register("pc".into()),
            Command::Create(vec![NewJob::new(HELD, 0..1)]),
            Command::Lease(LeaseTerms::new(worker, Duration::from_secs(60))),
        ];
        for command in before {
            let stamped = Stamped::new(Timestamp::EPOCH, command);
            let mut results = Vec::new();
            let apply =
                &mut |txn: &mut dyn Write| apply_all(txn, &[&stamped], &mut results).map(|_| ());
            watched.memory.write(Flush::Now, apply).unwrap();
            assert!(results.iter().all(Result::is_ok), "{results:?}");
        }
        let key = key::worker(worker);
        let view = watched.memory.snapshot().unwrap();
        let keep = &mut |row: &[u8]| *watched.mended.lock().unwrap() = Some(row.to_vec());
        view.get(tables::WORKERS, &key, keep).unwrap();
        drop(view);
        watched.memory.write(Flush::Now, &mut |txn| txn.put(tables::WORKERS, &key, &[77])).unwrap();
        watched
    }

    /// A command that changes the job before it finds the worker's row damaged.
    pub(super) fn failing(&self) -> Stamped {
        let (job, token) = (JobId(1), Token(1));
        let command = LeaseCommand { job, token, sequence: 1, action: Action::Release };
        Stamped::new(Timestamp::EPOCH, Command::Held(command))
    }

    /// The jobs that are stored, by the first position and the number of each. What was damaged is
    /// mended first.
    pub(super) fn jobs(&self) -> Vec<(u64, u64)> {
        if let Some(row) = self.mended.lock().unwrap().take() {
            let key = key::worker(WorkerId(1));
            self.memory.write(Flush::Now, &mut |txn| txn.put(tables::WORKERS, &key, &row)).unwrap();
        }
        let view = self.view();
        view.verify().unwrap();
        let jobs = view.jobs(None, 1_000).unwrap();
        let created = jobs.iter().filter(|job| *job.prefix != *HELD.as_bytes());
        created.map(|job| (job.start, job.id.get())).collect()
    }

    fn see_to_it(&self, holds: bool, complaint: &'static str) {
        if !holds {
            self.complaints.lock().unwrap().push(complaint);
        }
    }

    pub(crate) fn assert_in_order(&self) {
        let complaints = self.complaints.lock().unwrap();
        assert!(complaints.is_empty(), "{complaints:?}");
    }

    /// Uses the store for a moment, which nobody else may do meanwhile.
    pub(super) fn alone<T>(&self, run: impl FnOnce() -> T) -> T {
        self.see_to_it(!self.busy.swap(true, Ordering::SeqCst), "two at once");
        self.see_to_it(!self.is_closed(), "used once closed");
        thread::yield_now();
        let result = catch_unwind(AssertUnwindSafe(run));
        thread::yield_now();
        self.busy.store(false, Ordering::SeqCst);
        result.unwrap_or_else(|panic| resume_unwind(panic))
    }

    /// Nobody overtakes: each commit takes those who waited longest, and one at least.
    fn take_turns(&self, waiting: Vec<Arc<dyn Complete>>) {
        let mut waited = self.waited.lock().unwrap();
        let left = waited.iter().filter(|a| waiting.iter().any(|b| Arc::ptr_eq(a, b))).count();
        let gone = waited.len() - left;
        let took = gone > 0 || waited.is_empty() || !self.one_each;
        self.see_to_it(took, "a commit took nobody");
        let in_order = waited[gone..].iter().zip(&waiting).all(|(a, b)| Arc::ptr_eq(a, b));
        self.see_to_it(in_order, "somebody was overtaken");
        *waited = waiting;
    }
}

impl Committer {
    pub(super) fn watched(engine: &Arc<Watched>) -> Arc<Committer> {
        let committer = Arc::new(Committer::new(engine.clone(), apply_all, Durability::Immediate));
        assert!(engine.committer.set(Arc::downgrade(&committer)).is_ok());
        committer
    }
}

impl Engine for Watched {
    fn snapshot(&self) -> EngineResult<Arc<dyn EngineSnapshot>> {
        // Long enough for others to close the storage from beginning to end.
        for _ in 0..20 {
            thread::yield_now();
        }
        if self.is_closed() {
            return Err(EngineError::failed("the storage is closed"));
        }
        self.memory.snapshot()
    }

    fn write(
        &self,
        flush: Flush,
        transaction: &mut dyn FnMut(&mut dyn Write) -> EngineResult<()>,
    ) -> EngineResult<()> {
        self.see_to_it(!self.is_broken(), "written to after a failure");
        if let Some(committer) = self.committer.get().and_then(Weak::upgrade) {
            let state = committer.state.lock();
            let last = state.closed && state.waiting.is_empty();
            let waiting = state.waiting.iter().map(|entry| entry.completion.clone()).collect();
            let callers = state
                .waiting
                .iter()
                .filter(|entry| entry.thread.is_some() && !entry.is_exclusive())
                .count();
            drop(state);
            self.see_to_it(callers <= QUEUE, "too many were let in");
            self.take_turns(waiting);
            assert!(!last || !self.panics_at_last.load(Ordering::SeqCst), "as told");
        }
        self.alone(|| {
            self.broken.store(true, Ordering::SeqCst);
            let result = self.memory.write(flush, transaction);
            let failed = !matches!(result, Ok(()) | Err(EngineError::TooLarge));
            self.broken.store(failed, Ordering::SeqCst);
            result
        })
    }

    fn stored_bytes(&self) -> EngineResult<u64> {
        self.memory.stored_bytes()
    }

    fn reopen(&self) -> crate::Result<()> {
        self.alone(|| self.broken.store(false, Ordering::SeqCst));
        Ok(())
    }

    fn close(&self) -> EngineResult<()> {
        self.alone(|| ());
        self.closed.store(true, Ordering::SeqCst);
        Ok(())
    }
}
