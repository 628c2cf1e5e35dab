//! Workers that wait: each learns of what it waits for. It cannot be seen that a worker waits, only
//! that it is about to: in most rounds it does.

use std::sync::{Arc, mpsc};
use std::thread;
use std::time::Duration;

use milepost::storage::{Engine, Flush, MemoryEngine};
use milepost::{Error, JobId, Lease, Leasing, NewJob, Request, Result, tables};

use crate::support::{DAY, MINUTE, Scene, advance, dump};

/// How long a thread may take for what should be done at once.
const LONG: Duration = Duration::from_secs(10);

/// Sends a request that must wait, does something meanwhile, and returns what the request got.
#[track_caller]
fn result_of(request: Request, meanwhile: impl FnOnce()) -> Leasing {
    let Leasing::Busy(busy) = request.lease().unwrap() else { panic!("it is held") };
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
    let held = request.lease().unwrap().leased().unwrap();
    (scene, job, held)
}

/// Promise 13: though other jobs of the prefix are left.
#[test]
fn who_waits_for_one_job_learns_when_it_has_ended() {
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

            assert!(matches!(result, Leasing::Finished), "{result:?}");
            if !matches!(held.renew(), Err(Error::LeaseLost { .. })) {
                panic!("the job has ended");
            }
        }
    }
}

/// Promise 3.
#[test]
fn who_waits_learns_of_a_lease_that_is_resumed_for_a_shorter_time() {
    for of_one_job in [false, true] {
        for _ in 0..10 {
            let scene = Scene::in_memory();
            let job = scene.jobs(&["a"])[0];
            let holder = scene.pc("holder");
            holder.lease(DAY).unwrap().leased().unwrap().abandon();
            let request = scene.pc("waits").request(MINUTE);
            let request = if of_one_job { request.of_job(job) } else { request };

            let result = result_of(request, || {
                let resumed = holder.request(MINUTE).resume().lease().unwrap();
                resumed.leased().unwrap().abandon();
            });

            let Leasing::Busy(busy) = result else { panic!("{result:?}") };
            assert_eq!(busy.until(), scene.now().after(MINUTE));
        }
    }
}

/// Promise 13: the damaged job is the only one that nobody holds.
#[test]
fn a_damaged_job_keeps_nobody_from_waiting_for_the_others() {
    let engine = Arc::new(MemoryEngine::new());
    let scene = Scene::on(engine.clone());
    let jobs = scene.jobs(&["a", "b"]);
    let mut held =
        scene.pc("holder").request(DAY).of_job(jobs[1]).lease().unwrap().leased().unwrap();
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
    let error = scene.pc("waits").lease(MINUTE).unwrap_err();
    assert!(matches!(error, Error::Corrupted { .. }), "nothing else is left: {error:?}");
    put(&value);
}
