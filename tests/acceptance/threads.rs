//! Many threads at once. The only waits here are for other threads, and they are bounded.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Barrier, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use milepost::testing::Flush;
use milepost::{Batch, Error, FindOrCreateOutcome, JobId, LeaseOutcome, NewJob};
use parking_lot::{Condvar, Mutex};

use crate::storage::{Watch, Watched};
use crate::support::{MINUTE, Scene, advance, lease};

/// How long a thread may take for what should be done at once.
const LONG: Duration = Duration::from_secs(20);

/// Promise 3.
#[test]
fn find_or_create_cannot_be_won_twice_from_many_threads() {
    let scene = Scene::in_memory();
    for round in 0..50 {
        let start = Barrier::new(8);
        let answers: Vec<FindOrCreateOutcome> = thread::scope(|threads| {
            let call = || {
                start.wait();
                let job = NewJob::new(format!("site {round}"), 0..1_000);
                scene.find_or_create_job(job).unwrap()
            };
            let running: Vec<_> = (0..8).map(|_| threads.spawn(call)).collect();
            running.into_iter().map(|thread| thread.join().unwrap()).collect()
        });

        assert_eq!(answers.iter().filter(|found| found.is_created()).count(), 1, "{answers:?}");
        assert!(answers.iter().all(|found| found.id() == answers[0].id()), "{answers:?}");
    }
}

/// Promises 3 and 4.
#[test]
fn no_job_has_two_holders_at_once_however_many_threads_ask() {
    const JOBS: u64 = 5;
    let scene = Scene::in_memory();
    scene.create_jobs((0..JOBS).map(|n| NewJob::new("keys", n * 200..n * 200 + 200))).unwrap();
    let held: Vec<AtomicBool> = (0..JOBS).map(|_| AtomicBool::new(false)).collect();
    let done: Vec<AtomicU64> = (0..JOBS * 200).map(|_| AtomicU64::new(0)).collect();

    thread::scope(|threads| {
        for n in 0..8u64 {
            let worker = scene.pc(&format!("worker {n}"));
            let (held, done) = (&held, &done);
            threads.spawn(move || {
                let mut turn = n;
                while let Some(mut lease) = worker.next_lease(MINUTE).unwrap() {
                    let flag = &held[(lease.range().start / 200) as usize];
                    assert!(!flag.swap(true, Ordering::SeqCst), "two hold job {}", lease.job());
                    for _ in 0..=turn % 4 {
                        let Some(range) = lease.next_batch(7).map(|batch| batch.range()) else {
                            break;
                        };
                        lease.checkpoint(Batch::new(range.clone(), MINUTE)).unwrap();
                        for position in range {
                            done[position as usize].fetch_add(1, Ordering::SeqCst);
                        }
                    }
                    turn += 1;
                    flag.store(false, Ordering::SeqCst);
                }
            });
        }
    });

    assert!(done.iter().all(|times| times.load(Ordering::SeqCst) == 1), "each position once");
    let view = scene.snapshot().unwrap();
    assert_eq!(view.job_counts().completed, JOBS);
    let sum: u128 = view
        .workers(None, usize::MAX)
        .unwrap()
        .iter()
        .map(|w| view.lifetime(w.id).unwrap().totals.items)
        .sum();
    assert_eq!(sum, 1_000);
}

/// Promise 3.
#[test]
fn one_named_job_is_leased_to_one_of_many_threads() {
    let scene = Scene::in_memory();
    let job = scene.jobs(&["a"])[0];
    let start = Barrier::new(8);

    let granted: Vec<_> = thread::scope(|threads| {
        let running: Vec<_> = (0..8)
            .map(|n| {
                let worker = scene.pc(&format!("worker {n}"));
                let start = &start;
                threads.spawn(move || {
                    start.wait();
                    worker.request(MINUTE).of_job(job).send().unwrap().leased()
                })
            })
            .collect();
        running.into_iter().filter_map(|thread| thread.join().unwrap()).collect()
    });

    assert_eq!(granted.len(), 1);
    assert_eq!(granted[0].token().get(), 1);
}

/// Promise 4.
#[test]
fn commands_of_many_threads_each_get_their_own_result() {
    let scene = Scene::new();
    let workers: Vec<_> = (0..8).map(|n| scene.pc(&format!("worker {n}"))).collect();
    scene.create_jobs((0..8).map(|n| NewJob::new("keys", n * 1_000..n * 1_000 + 1_000))).unwrap();

    thread::scope(|threads| {
        for worker in &workers {
            threads.spawn(move || {
                let mut lease = lease(worker);
                let start = lease.range().start;
                for n in 1..=100 {
                    assert_eq!(advance(&mut lease, 10), start + n * 10);
                }
            });
        }
    });

    let view = scene.snapshot().unwrap();
    let records = view.newest_history(None, 1_000).unwrap();
    let ids: BTreeSet<u64> = records.iter().map(|record| record.id).collect();
    assert_eq!((records.len(), ids.len()), (800, 800));
    for worker in &workers {
        assert_eq!(view.lifetime(worker).unwrap().totals.items, 1_000);
    }
}

/// Promise 3.
#[test]
fn a_waiting_worker_is_woken_when_a_job_is_released() {
    let scene = Scene::in_memory();
    scene.jobs(&["a"]);
    let mut held = lease(&scene.pc("a"));

    // It cannot be seen to wait yet, only to be about to: in most rounds it does.
    for round in 1..=50 {
        advance(&mut held, 10);
        let asked = scene.pc("b").request(MINUTE).send().unwrap();
        let LeaseOutcome::Busy(busy) = asked else { panic!("it is held") };
        let (told, tells) = mpsc::channel();
        let (begins, begun) = mpsc::channel();
        held = thread::scope(|threads| {
            threads.spawn(move || {
                begins.send(()).unwrap();
                told.send(busy.wait_at_most(2 * LONG).unwrap().leased()).unwrap();
            });
            begun.recv().unwrap();
            held.release().unwrap();
            tells.recv_timeout(LONG).unwrap().expect("it was released")
        });
        assert_eq!(held.resumed_at(), round * 10);
    }
}

/// Promise 3.
#[test]
fn a_waiting_worker_gets_none_when_the_last_job_is_completed() {
    let scene = Scene::in_memory();
    scene.jobs(&["a"]);
    let mut held = lease(&scene.pc("a"));
    let asked = scene.pc("b").request(MINUTE).send().unwrap();
    let (told, tells) = mpsc::channel();

    thread::scope(|threads| {
        threads.spawn(move || told.send(asked.wait().unwrap().leased().is_none()).unwrap());
        advance(&mut held, 1_000);
        assert!(tells.recv_timeout(LONG).unwrap(), "nothing is left to do");
    });
}

/// Waits for something that a thread of the store is about to do, which goes by real time.
#[track_caller]
pub fn eventually(done: impl Fn() -> bool) {
    let started = Instant::now();
    while !done() {
        assert!(started.elapsed() < LONG, "it does not happen");
        thread::yield_now();
    }
}

/// A gate that commits have to pass.
#[derive(Default)]
struct Gate {
    state: Mutex<GateState>,
    changed: Condvar,
}

#[derive(Default)]
struct GateState {
    is_shut: bool,
    /// Commits that have come to it since it was shut.
    arrived: u64,
}

impl Gate {
    fn shut(&self) {
        *self.state.lock() = GateState { is_shut: true, arrived: 0 };
    }

    fn open(&self) {
        self.state.lock().is_shut = false;
        self.changed.notify_all();
    }

    /// Waits for a commit to stand at it.
    #[track_caller]
    fn await_arrival(&self) {
        let mut state = self.state.lock();
        let waited = self.changed.wait_while_for(&mut state, |state| state.arrived == 0, LONG);
        assert!(!waited.timed_out(), "no commit comes");
    }

    fn arrived(&self) -> u64 {
        self.state.lock().arrived
    }
}

impl Watch for Gate {
    fn before_commit(&self, _: Flush) {
        let mut state = self.state.lock();
        state.arrived += 1;
        self.changed.notify_all();
        self.changed.wait_while(&mut state, |state| state.is_shut);
    }
}

/// Has twenty threads create a job each while the first commit is held back; says how many commits
/// that took.
fn commits_of_twenty_callers() -> u64 {
    let gate = Watched::<Gate>::new();
    let scene = Scene::on(gate.clone());
    gate.shut();
    let (calls, called) = mpsc::channel();

    thread::scope(|threads| {
        let spawn = |n: u64| {
            let (scene, calls) = (&scene, calls.clone());
            threads.spawn(move || {
                calls.send(()).unwrap();
                scene.create_job(NewJob::new("keys", n..n + 1)).unwrap()
            })
        };
        let first = spawn(0);
        gate.await_arrival();
        let others: Vec<_> = (1..20).map(spawn).collect();
        called.iter().take(20).for_each(drop);
        assert_eq!(scene.snapshot().unwrap().job_counts().all(), 0, "reading does not block");
        assert!(others.iter().all(|other| !other.is_finished()));
        gate.open();
        first.join().unwrap();
        for other in others {
            other.join().unwrap();
        }
    });

    assert_eq!(scene.snapshot().unwrap().job_counts().pending, 20);
    gate.arrived()
}

/// Promises 10 and 14. Who is about to wait cannot be told from who waits, so it takes a few tries
/// where threads are slow to start.
#[test]
fn commands_that_wait_are_committed_together_and_readers_do_not_wait_for_them() {
    assert!((0..100).any(|_| commits_of_twenty_callers() < 20), "never two in a commit");
}

/// Promise 13.
#[test]
fn closing_completes_waiting_commands_and_refuses_later_ones() {
    let gate = Watched::<Gate>::new();
    let mut scene = Scene::on(gate.clone());
    scene.jobs(&["a"]);
    let mut held = lease(&scene.pc("a"));
    let waits_for_a_job = scene.pc("b").request(MINUTE).of_prefix("a").send().unwrap();
    let clone = (*scene).clone();
    gate.shut();

    let answers: Vec<milepost::Result<JobId>> = thread::scope(|threads| {
        let waiting = threads.spawn(move || waits_for_a_job.wait().map(|_| ()));
        let commands: Vec<_> = (0..8u64)
            .map(|n| {
                let scene = &scene;
                threads.spawn(move || scene.create_job(NewJob::new("keys", n..n + 1)))
            })
            .collect();
        gate.await_arrival();
        let closing = threads.spawn(move || clone.close());
        gate.open();
        assert!(matches!(waiting.join().unwrap(), Err(Error::Closed)));
        closing.join().unwrap().unwrap();
        commands.into_iter().map(|command| command.join().unwrap()).collect()
    });

    assert!(
        answers.iter().all(|answer| matches!(answer, Ok(_) | Err(Error::Closed))),
        "{answers:?}"
    );
    assert!(answers.iter().any(Result::is_ok), "one was being committed: {answers:?}");
    assert!(matches!(held.renew(), Err(Error::Closed)));
    assert!(matches!(scene.snapshot(), Err(Error::Closed)));
    scene.close().expect("closing twice does nothing");
    // What was answered is there, and nothing else.
    let again = Scene::on(gate);
    let created = answers.iter().filter(|answer| answer.is_ok()).count() as u64;
    assert_eq!(again.snapshot().unwrap().job_counts().all(), 1 + created);
    scene.closed = true;
}
