//! Group commit over an engine whose commits wait to be let through, with a rule of its own: each
//! command stores a name.

#![expect(clippy::unwrap_used, reason = "these are tests")]

use std::collections::HashSet;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Condvar, Mutex, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use super::lead::{LeftOver, patience_after};
use super::*;
use crate::schema::access::ALL;
use crate::schema::tables;
use crate::storage::{EngineSnapshot, Fault, Flush, MemoryEngine, Order};
use crate::time::Timestamp;
use crate::types::NewWorker;
use crate::types::command::{Answer, Command};

/// How long anything may take that another thread is about to do.
const LONG: Duration = Duration::from_secs(60);

fn store_name(
    txn: &mut dyn Write,
    commands: &[&Stamped],
    results: &mut Results,
) -> EngineResult<Effects> {
    for stamped in commands {
        let Command::Register(worker) = &stamped.command else {
            panic!("the tests send no {:?}", stamped.command)
        };
        txn.put(tables::WORKER_NAMES, worker.name.as_bytes(), b"")?;
        results.push(Ok(Reply::from(Answer::Done)));
    }
    Ok(Effects::default())
}

fn name(name: impl Into<String>) -> Stamped {
    let command = Command::Register(NewWorker::new(name));
    Stamped::new(Timestamp::EPOCH, command)
}

/// Commits only as often as it is allowed to, and notes which names each commit added.
#[derive(Default)]
struct Gate {
    memory: MemoryEngine,
    permits: Mutex<u64>,
    permitted: Condvar,
    begun: AtomicU64,
    commits: Mutex<Vec<HashSet<String>>>,
}

impl Gate {
    fn new(permits: u64) -> Arc<Gate> {
        let gate = Gate { memory: MemoryEngine::new(), ..Gate::default() };
        gate.permit(permits);
        Arc::new(gate)
    }

    fn permit(&self, more: u64) {
        *self.permits.lock().unwrap() += more;
        self.permitted.notify_all();
    }

    fn names(&self) -> HashSet<String> {
        let mut names = HashSet::new();
        let view = self.memory.snapshot().unwrap();
        view.scan(tables::WORKER_NAMES, ALL, Order::Ascending, &mut |key, _| {
            names.insert(String::from_utf8(key.to_vec()).unwrap());
            ControlFlow::Continue(())
        })
        .unwrap();
        names
    }
}

impl Engine for Gate {
    fn snapshot(&self) -> EngineResult<Arc<dyn EngineSnapshot>> {
        self.memory.snapshot()
    }

    fn write(
        &self,
        flush: Flush,
        transaction: &mut dyn FnMut(&mut dyn Write) -> EngineResult<()>,
    ) -> EngineResult<()> {
        self.begun.fetch_add(1, Ordering::SeqCst);
        let permits = self.permits.lock().unwrap();
        let mut permits = self.permitted.wait_while(permits, |permits| *permits == 0).unwrap();
        *permits -= 1;
        drop(permits);
        let before = self.names();
        let result = self.memory.write(flush, transaction);
        let added = self.names().difference(&before).cloned().collect();
        self.commits.lock().unwrap().push(added);
        result
    }

    fn stored_bytes(&self) -> EngineResult<u64> {
        self.memory.stored_bytes()
    }

    fn reopen(&self) -> crate::Result<()> {
        self.memory.reopen()
    }

    fn close(&self) -> EngineResult<()> {
        self.memory.close()
    }
}

fn committer(gate: &Arc<Gate>) -> Committer {
    Committer::new(gate.clone(), store_name, Durability::Immediate)
}

#[track_caller]
fn eventually(done: impl Fn() -> bool) {
    let began = Instant::now();
    while !done() {
        assert!(began.elapsed() < LONG, "it does not happen");
        thread::yield_now();
    }
}

#[test]
fn a_caller_with_many_commands_queues_again_after_each_group() {
    let gate = Gate::new(0);
    let committer = committer(&gate);
    let waiting = |count| committer.state.lock().waiting.len() == count;

    thread::scope(|threads| {
        let many = (0..4 * GROUP).map(|n| name(format!("many-{n}"))).collect();
        let many = threads.spawn(|| committer.submit_all(many));
        eventually(|| gate.begun.load(Ordering::SeqCst) == 1);
        let one = threads.spawn(|| committer.submit(name("one")));
        eventually(|| waiting(1));
        let another = threads.spawn(|| committer.submit(name("another")));
        eventually(|| waiting(2));
        gate.permit(100);
        assert!(one.join().unwrap().is_ok() && another.join().unwrap().is_ok());
        let results = many.join().unwrap();
        assert!(results.len() == 4 * GROUP && results.iter().all(Result::is_ok));
    });

    let commits = gate.commits.lock().unwrap();
    let holds = |n: usize, wanted: &str| commits[n].contains(wanted);
    assert!(holds(0, "many-0") && holds(1, "one") && holds(1, "another"));
    let in_order =
        |n: usize| (1..commits.len()).any(|at| holds(at, &format!("many-{}", n * GROUP)));
    assert!((1..4).all(in_order));
}

/// The caller may count on the order of its commands.
#[test]
fn nothing_is_applied_after_a_group_that_failed() {
    let gate = Gate::new(100);
    gate.memory.fail_after(1, Fault::CommitLost);
    let committer = committer(&gate);

    let results = committer.submit_all((0..4 * GROUP).map(|n| name(format!("{n}"))).collect());

    assert_eq!(results.len(), 4 * GROUP);
    assert!(results[..GROUP].iter().all(Result::is_ok));
    let failed = &results[GROUP..2 * GROUP];
    assert!(failed.iter().all(|result| matches!(result, Err(Error::Uncertain { .. }))));
    let rest = &results[2 * GROUP..];
    assert!(rest.iter().all(|result| matches!(result, Err(Error::Stopped { .. }))));
    assert_eq!(gate.names().len(), GROUP);
}

/// Sends its results on, and then does something else.
struct Then<F: Fn() + Send + Sync> {
    results: mpsc::Sender<Results>,
    then: F,
}

impl<F: Fn() + Send + Sync> Complete for Then<F> {
    fn complete(&self, results: Results) {
        self.results.send(results).unwrap();
        (self.then)();
    }
}

fn entry(
    wanted: &str,
    results: &mpsc::Sender<Results>,
    then: impl Fn() + Send + Sync + 'static,
) -> Entry {
    let completion = Arc::new(Then { results: results.clone(), then });
    Entry { commands: vec![name(wanted)], completion, thread: None }
}

#[test]
fn the_leader_commits_for_those_that_no_thread_waits_for() {
    let gate = Gate::new(0);
    let committer = committer(&gate);
    let (sender, results) = mpsc::channel();

    thread::scope(|threads| {
        let leads = threads.spawn(|| committer.submit(name("leads")));
        eventually(|| gate.begun.load(Ordering::SeqCst) == 1);
        for n in 0..3 {
            let entered = committer.state.lock().enter(entry(&format!("{n}"), &sender, || {}));
            assert_eq!(entered.unwrap(), Entered::Waits);
        }
        gate.permit(2);
        assert!(leads.join().unwrap().is_ok());
    });

    assert_eq!(results.try_iter().filter(|results| results[0].is_ok()).count(), 3);
    assert_eq!(gate.commits.lock().unwrap().len(), 2, "one for the leader, one for all others");
    assert!(!committer.state.lock().led);
}

#[test]
fn a_completion_that_panics_or_submits_again_does_not_break_the_leader() {
    let gate = Gate::new(100);
    let committer = Arc::new(committer(&gate));
    let (sender, results) = mpsc::channel();
    let again = {
        let (committer, sender) = (committer.clone(), sender.clone());
        move || {
            let panics = entry("again", &sender, || panic!("as told"));
            assert_eq!(committer.state.lock().enter(panics).unwrap(), Entered::Waits);
        }
    };

    for first in [entry("panics", &sender, || panic!("as told")), entry("first", &sender, again)] {
        assert_eq!(committer.state.lock().enter(first).unwrap(), Entered::Leads);
        committer.lead();
    }

    assert_eq!(results.try_iter().filter(|results| results[0].is_ok()).count(), 3);
    assert!(committer.submit(name("later")).is_ok());
    committer.close().unwrap();
}

#[test]
fn a_leader_is_patient_for_a_moment_however_long_the_last_commit_took() {
    assert_eq!(patience_after(Duration::from_micros(80)), Duration::from_micros(10));
    assert_eq!(patience_after(Duration::from_secs(2)), Duration::from_micros(100));
}

#[test]
fn what_retention_leaves_undone_is_reported_once_a_minute() {
    let mut left_over = LeftOver::default();
    let now = Instant::now();
    let error = |what: &str| Error::Corrupted { what: what.into() };
    let mut reported =
        |what, secs| left_over.is_news(&error(what), now + Duration::from_secs(secs));

    assert!(reported("a row", 0));
    assert!(!reported("a row", 59));
    assert!(reported("a row", 60));
    assert!(!reported("a row", 61));
    assert!(reported("another row", 61));
}
