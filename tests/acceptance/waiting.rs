//! Workers that wait: each learns of what it waits for. It cannot be seen that a worker waits, only
//! that it is about to: in most rounds it does.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::{Duration, Instant};

use milepost::testing::tables;
use milepost::testing::{Engine, Flush, MemoryEngine};
use milepost::{Error, JobId, Lease, LeaseOutcome, LeaseRequest, NewJob, Result};

use crate::storage::{Counting, Watched};
use crate::support::{DAY, MINUTE, Scene, YEAR, advance, dump};

/// How long a thread may take for what should be done at once.
const LONG: Duration = Duration::from_secs(10);

/// Sends a request that must wait, does something meanwhile, and returns what the request got.
#[track_caller]
fn result_of(request: LeaseRequest, meanwhile: impl FnOnce()) -> LeaseOutcome {
    let LeaseOutcome::Busy(busy) = request.send().unwrap() else { panic!("it is held") };
    let (begins, begun) = mpsc::channel();
    let (told, tells) = mpsc::channel();
    thread::scope(|threads| {
        threads.spawn(move || {
            begins.send(()).unwrap();
            told.send(busy.wait_at_most(LONG).unwrap()).unwrap();
        });
        begun.recv().unwrap();
        meanwhile();
        // Half the time, so that who is woken in time can be told from who waits to the end.
        tells.recv_timeout(LONG / 2).expect("it is woken")
    })
}

/// Two jobs of one prefix; the first is held for a day.
fn two_jobs(round: u64) -> (Scene, JobId, Lease) {
    let scene = Scene::in_memory();
    let jobs = [NewJob::new("a", 0..10).max_attempts(1), NewJob::new("a", 10..20 + round)];
    let job = scene.create_jobs(jobs).unwrap()[0];
    let request = scene.pc("holder").request(DAY).of_job(job);
    let held = request.send().unwrap().leased().unwrap();
    (scene, job, held)
}

/// Promise 13: though other jobs of the prefix are left.
#[test]
fn a_worker_that_waits_for_one_job_is_woken_when_it_has_ended() {
    type End = fn(&Scene, &mut Lease) -> Result<()>;
    let ends: [End; 3] = [
        |_, held| held.checkpoint(held.next_batch(10).unwrap()).map(|_| ()),
        |_, held| held.fail("for good").map(|_| ()),
        |scene, held| scene.cancel_job(held.job()),
    ];
    for end in ends {
        for round in 0..10 {
            let (scene, job, mut held) = two_jobs(round);
            let request = scene.pc("waits").request(MINUTE).of_job(job);

            let result = result_of(request, || end(&scene, &mut held).unwrap());

            assert!(matches!(result, LeaseOutcome::Finished), "{result:?}");
            if !matches!(held.renew(), Err(Error::LeaseLost { .. })) {
                panic!("the job has ended");
            }
        }
    }
}

/// Advances the clock, a minute at a time, until a thread has ended.
#[track_caller]
fn advance_until_ended<T>(scene: &Scene, thread: &thread::ScopedJoinHandle<'_, T>) {
    let began = Instant::now();
    while !thread.is_finished() {
        if began.elapsed() > LONG {
            scene.close().unwrap();
            panic!("it sleeps on");
        }
        scene.clock.advance(MINUTE);
        thread::sleep(Duration::from_millis(1));
    }
}

/// Promise 3: whether its holder resumed the job, or released it to another one who waited.
#[test]
fn a_waiting_worker_is_woken_when_a_lease_expires_that_was_granted_meanwhile() {
    for (of_one_job, resumed) in [(false, false), (false, true), (true, false), (true, true)] {
        let scene = Scene::in_memory();
        let job = scene.jobs(&["a"])[0];
        let holder = scene.pc("holder");
        let mut held = holder.request(YEAR).send().unwrap().leased().unwrap();
        let request = || {
            let request = scene.pc("waits").request(MINUTE);
            if of_one_job { request.of_job(job) } else { request }
        };
        let take = || request().wait().unwrap().leased().unwrap().abandon();
        thread::scope(|threads| {
            let first = threads.spawn(take);
            let second = threads.spawn(take);
            // Both sleep, or are about to.
            thread::sleep(Duration::from_millis(50));

            if resumed {
                let lease = holder.request(MINUTE).resume().send().unwrap();
                lease.leased().unwrap().abandon();
            } else {
                held.release().unwrap();
            }

            advance_until_ended(&scene, &first);
            advance_until_ended(&scene, &second);
        });
    }
}

/// Of those who wait, each for a prefix of its own or all for any job, one sends a request when a
/// job becomes available, however many they are.
#[test]
fn a_job_that_becomes_available_wakes_one_of_many() {
    const MANY: usize = 50;
    const JOBS: u64 = 20;
    for of_prefix in [false, true] {
        let engine = Watched::<Counting>::new();
        let mut scene = Scene::on(engine.clone());
        let jobs = (0..MANY as u64).map(|n| NewJob::new(format!("{n}"), 0..1));
        scene.create_jobs(jobs).unwrap();
        let holder = scene.pc("holder");
        let mut held: Vec<Lease> =
            (0..MANY).map(|_| holder.request(YEAR).send().unwrap().leased().unwrap()).collect();
        let (took, takes) = mpsc::channel();
        thread::scope(|threads| {
            for n in 0..MANY {
                let request = scene.pc(&format!("waits {n}")).request(YEAR);
                let request = if of_prefix { request.of_prefix(format!("{n}")) } else { request };
                let leasing = request.send().unwrap();
                let took = took.clone();
                threads.spawn(move || {
                    if let Ok(LeaseOutcome::Leased(lease)) = leasing.wait() {
                        took.send(lease).unwrap();
                    }
                });
            }
            // All of them sleep, or are about to.
            thread::sleep(Duration::from_millis(200));
            engine.take();
            let taken: Vec<_> = (0..JOBS)
                .map(|_| {
                    held.pop().unwrap().release().unwrap();
                    takes.recv_timeout(LONG)
                })
                .collect();
            let commits = engine.take().len() as u64;
            scene.close().unwrap();
            assert!(taken.iter().all(Result::is_ok), "somebody takes each job");
            // A release and a request each. Whoever began to sleep late repeats his request.
            assert!(commits <= 3 * JOBS, "{commits} transactions for {JOBS} jobs");
        });
        scene.closed = true;
    }
}

/// Promise 13: the damaged job is the only one that nobody holds.
#[test]
fn a_damaged_job_does_not_keep_workers_from_waiting_for_the_others() {
    let engine = Arc::new(MemoryEngine::new());
    let scene = Scene::on(engine.clone());
    let jobs = scene.jobs(&["a", "b"]);
    let mut held =
        scene.pc("holder").request(DAY).of_job(jobs[1]).send().unwrap().leased().unwrap();
    let (_, key, value) =
        dump(&scene).into_iter().find(|(table, ..)| *table == tables::JOBS).unwrap();
    let put = |value: &[u8]| {
        engine.write(Flush::Now, &mut |txn| txn.put(tables::JOBS, &key, value)).unwrap();
    };
    put(&[77]);

    let result = result_of(scene.pc("waits").request(MINUTE), || held.release().unwrap());

    let mut lease = result.leased().unwrap();
    assert_eq!(lease.job(), jobs[1]);
    advance(&mut lease, 1_000);
    let error = scene.pc("waits").request(MINUTE).send().unwrap_err();
    assert!(matches!(error, Error::Corrupted { .. }), "nothing else is left: {error:?}");
    put(&value);
}
