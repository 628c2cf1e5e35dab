//! Workers that are told to stop by a token.

use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use milepost::{CancellationToken, LeaseOutcome, NewJob};

use crate::support::{DAY, MINUTE, Scene, lease};

/// How long a thread may take for what should be done at once.
const LONG: Duration = Duration::from_secs(10);

#[test]
fn a_cancelled_worker_stops_waiting_and_others_wait_on() {
    for _ in 0..50 {
        let scene = Scene::in_memory();
        scene.jobs(&["a"]);
        let held = scene.pc("holder").next_lease(DAY).unwrap().unwrap();
        let token = CancellationToken::new();
        let stopped = scene.pc("stopped").cancelled_by(&token);
        let goes_on = scene.pc("goes on");
        let (tell_stopped, hear_stopped) = mpsc::channel();
        let (tell_other, hear_other) = mpsc::channel();

        thread::scope(|threads| {
            threads.spawn(move || tell_stopped.send(stopped.next_lease(MINUTE).unwrap()).unwrap());
            threads.spawn(move || tell_other.send(goes_on.next_lease(MINUTE).unwrap()).unwrap());
            thread::yield_now();
            token.cancel();
            let lease = hear_stopped.recv_timeout(LONG).expect("a cancelled worker is woken");
            assert!(lease.is_none());
            assert!(hear_other.try_recv().is_err(), "nothing concerns the other one");
            drop(held);
            let lease = hear_other.recv_timeout(LONG).expect("it gets the job").unwrap();
            drop(lease);
        });
    }
}

#[test]
fn a_cancelled_worker_takes_no_further_job_and_finishes_the_one_it_holds() {
    let scene = Scene::new();
    scene.jobs(&["a", "b"]);
    let token = CancellationToken::new();
    let worker = scene.pc("a").cancelled_by(&token);
    let mut held = lease(&worker);

    token.cancel();
    token.cancel();

    assert!(token.is_cancelled());
    assert!(matches!(worker.request(MINUTE).send().unwrap(), LeaseOutcome::Cancelled));
    assert!(matches!(worker.clone().request(MINUTE).wait().unwrap(), LeaseOutcome::Cancelled));
    assert!(worker.next_lease(MINUTE).unwrap().is_none());
    let batch = held.next_batch(1_000).unwrap();
    assert!(held.checkpoint(batch).unwrap().completed);
    assert!(scene.pc("a").next_lease(MINUTE).unwrap().is_some(), "the token is not the name's");
}

#[test]
fn one_token_stops_workers_of_several_stores() {
    let scenes = [Scene::in_memory(), Scene::in_memory()];
    let token = CancellationToken::new();
    let (told, tells) = mpsc::channel();
    let mut held = Vec::new();
    for scene in &scenes {
        scene.create_job(NewJob::new("a", 0..10)).unwrap();
        held.push(scene.pc("holder").next_lease(DAY).unwrap().unwrap());
    }

    thread::scope(|threads| {
        for scene in &scenes {
            let worker = scene.pc("waits").cancelled_by(&token);
            let told = told.clone();
            threads.spawn(move || told.send(worker.next_lease(MINUTE).unwrap()).unwrap());
        }
        token.cancel();
        for _ in &scenes {
            assert!(tells.recv_timeout(LONG).expect("each is woken").is_none());
        }
    });
    drop(held);
}

#[test]
fn a_wait_of_limited_length_ends_busy() {
    let scene = Scene::in_memory();
    scene.jobs(&["a"]);
    let _held = scene.pc("holder").next_lease(DAY).unwrap().unwrap();
    let request = scene.pc("waits").request(MINUTE);

    let LeaseOutcome::Busy(busy) = request.wait_at_most(Duration::from_millis(5)).unwrap() else {
        panic!("it is held")
    };

    assert_eq!(busy.until(), scene.now().saturating_add(DAY));
}
