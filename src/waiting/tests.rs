//! Waiting, on real threads.

use super::*;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

const NEVER: Timestamp = Timestamp::MAX;
const START: Timestamp = Timestamp::EPOCH;

fn minutes(many: u64) -> Timestamp {
    START.saturating_add(Duration::from_secs(60 * many))
}

fn prefix(name: &str) -> Wanted {
    Wanted::Prefix(name.into())
}

fn job(number: u64) -> Wanted {
    Wanted::Job(JobId(number))
}

fn available(prefix: &str, jobs: usize) -> Vec<Event> {
    vec![Event::Available { prefix: prefix.into(), jobs }]
}

fn wait_until<'w>(waiters: &'w Waiters, wanted: &Wanted, expiry: Timestamp) -> Woken<'w> {
    let seen = waiters.seen(wanted);
    waiters.wait(wanted, seen, expiry, Duration::MAX, &|| START)
}

fn wait<'w>(waiters: &'w Waiters, wanted: &Wanted) -> Woken<'w> {
    wait_until(waiters, wanted, NEVER)
}

fn waiting(waiters: &Waiters, many: usize) {
    while waiters.0.lock().len() != many {
        thread::yield_now();
    }
}

/// Notes who is woken, in order. Whoever is woken takes the job.
fn woken_in_order(who: &[Wanted], events: Vec<Event>) -> Vec<usize> {
    let waiters = Waiters::default();
    let woken = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for (n, wanted) in who.iter().enumerate() {
            let (waiters, woken) = (&waiters, &woken);
            scope.spawn(move || {
                let seat = wait(waiters, wanted);
                woken.lock().push(n);
                seat.done();
            });
            waiting(waiters, n + 1);
        }
        let mut taken = 0;
        for event in events {
            let before = waiters.0.lock().len();
            waiters.notify(vec![event]);
            taken += before - waiters.0.lock().len();
            while woken.lock().len() < taken {
                thread::yield_now();
            }
        }
        let woken = woken.lock().clone();
        waiters.wake_all();
        woken
    })
}

#[test]
fn an_event_wakes_one_waiter_per_job_among_those_that_want_it() {
    let who = [prefix("b"), Wanted::Any, prefix("a"), job(1), prefix("a"), Wanted::Any];
    assert_eq!(woken_in_order(&who, available("a", 1)), [1]);
    let one_by_one: Vec<Event> = (0..4).flat_map(|_| available("a", 1)).collect();
    assert_eq!(woken_in_order(&who, one_by_one), [1, 2, 4, 5]);
    assert_eq!(woken_in_order(&who, available("c", usize::MAX)).len(), 2);
    assert_eq!(woken_in_order(&who, vec![Event::Returned(JobId(1))]), [3]);
    assert!(woken_in_order(&who, vec![Event::Returned(JobId(2))]).is_empty());
}

#[test]
fn a_waiter_is_woken_when_nothing_is_left_of_what_it_wants() {
    let who = [prefix("b"), job(1), Wanted::Any, job(1), job(2), Wanted::Any];
    let woken_by = |wanted| {
        let mut woken = woken_in_order(&who, vec![Event::NothingLeft(wanted)]);
        woken.sort_unstable();
        woken
    };
    assert_eq!(woken_by(job(1)), [1, 3]);
    assert_eq!(woken_by(prefix("b")), [0]);
    assert!(woken_by(prefix("a")).is_empty());
    assert_eq!(woken_by(Wanted::Any), [2, 5]);
}

#[test]
fn an_event_since_the_request_is_not_missed() {
    let event = |wanted: &Wanted| match wanted {
        Wanted::Any => available("b", 1),
        Wanted::Prefix(_) => available("a", 1),
        Wanted::Job(id) => vec![Event::Returned(*id)],
    };
    for wanted in [Wanted::Any, prefix("a"), job(1)] {
        for events in [event(&wanted), vec![Event::NothingLeft(wanted.clone())]] {
            let waiters = Waiters::default();
            let seen = waiters.seen(&wanted);
            waiters.notify(events);
            waiters.wait(&wanted, seen, NEVER, Duration::MAX, &|| START).done();
        }
        let waiters = Waiters::default();
        let seen = waiters.seen(&wanted);
        waiters.wake_all();
        waiters.wait(&wanted, seen, NEVER, Duration::MAX, &|| START).done();
    }
}

#[test]
fn a_waiter_that_does_not_take_the_job_wakes_the_next() {
    let waiters = Waiters::default();
    thread::scope(|scope| {
        let first = scope.spawn(|| wait(&waiters, &Wanted::Any));
        waiting(&waiters, 1);
        let second = scope.spawn(|| wait(&waiters, &prefix("a")));
        waiting(&waiters, 2);
        let third = scope.spawn(|| wait(&waiters, &prefix("a")));
        waiting(&waiters, 3);
        waiters.notify(available("a", 1));

        let first = first.join().unwrap();
        assert!(first.is_for(b"a") && !first.is_for(b"b"));
        assert_eq!(waiters.0.lock().len(), 2);
        drop(first);
        second.join().unwrap().done();
        assert_eq!(waiters.0.lock().len(), 1, "the second one took it");

        waiters.wake_all();
        third.join().unwrap().done();
    });
}

#[test]
fn a_waiter_that_panics_wakes_the_next() {
    let waiters = Waiters::default();
    thread::scope(|scope| {
        let first = scope.spawn(|| {
            let _woken = wait(&waiters, &Wanted::Any);
            panic!("as told");
        });
        waiting(&waiters, 1);
        let second = scope.spawn(|| wait(&waiters, &Wanted::Any));
        waiting(&waiters, 2);

        waiters.notify(available("a", 1));

        first.join().unwrap_err();
        second.join().unwrap().done();
    });
}

/// Advances the clock, a second at a time, until a thread has ended.
#[track_caller]
fn until_ended<T>(
    waiters: &Waiters,
    clock: &Mutex<Timestamp>,
    thread: &thread::ScopedJoinHandle<'_, T>,
) {
    let began = Instant::now();
    while !thread.is_finished() {
        if began.elapsed() > Duration::from_secs(10) {
            // Or the scope would wait for them forever.
            waiters.wake_all();
            panic!("it sleeps on");
        }
        let mut clock = clock.lock();
        *clock = clock.saturating_add(Duration::from_secs(1));
        drop(clock);
        thread::yield_now();
    }
}

/// Waiters with a clock.
struct Clocked {
    waiters: Waiters,
    clock: Mutex<Timestamp>,
}

impl Clocked {
    fn new() -> Clocked {
        Clocked { waiters: Waiters::default(), clock: Mutex::new(START) }
    }

    fn wait(&self, wanted: &Wanted, expiry: Timestamp, most: Duration) {
        let seen = self.waiters.seen(wanted);
        self.waiters.wait(wanted, seen, expiry, most, &|| *self.clock.lock()).done();
    }
}

#[test]
fn another_waiter_keeps_time_when_the_timekeeper_leaves() {
    let here = Clocked::new();
    let wait = |most| here.wait(&Wanted::Any, minutes(1), most);
    thread::scope(|scope| {
        let first = scope.spawn(|| wait(Duration::MAX));
        waiting(&here.waiters, 1);
        let gives_up = scope.spawn(|| wait(Duration::from_millis(100)));
        waiting(&here.waiters, 2);
        let last = scope.spawn(|| wait(Duration::MAX));
        waiting(&here.waiters, 3);

        here.waiters.notify(available("a", 1));
        first.join().unwrap();
        gives_up.join().unwrap();

        until_ended(&here.waiters, &here.clock, &last);
    });
}

#[test]
fn the_next_expiry_is_found_after_the_waiter_woken_for_the_first_got_a_lease() {
    for wanted in [Wanted::Any, prefix("a"), job(2)] {
        let here = Clocked::new();
        let wait = |wanted: &Wanted, expiry| here.wait(wanted, expiry, Duration::MAX);
        thread::scope(|scope| {
            let keeps_time = scope.spawn(|| wait(&job(1), minutes(1_000_000)));
            waiting(&here.waiters, 1);
            let first = scope.spawn(|| wait(&wanted, minutes(1)));
            waiting(&here.waiters, 2);
            let second = scope.spawn(|| wait(&wanted, minutes(1)));
            waiting(&here.waiters, 3);

            until_ended(&here.waiters, &here.clock, &first);
            until_ended(&here.waiters, &here.clock, &second);

            here.waiters.wake_all();
            keeps_time.join().unwrap();
        });
    }
}

/// Before the waiter sleeps, and while it does.
#[test]
fn a_lease_that_is_granted_meanwhile_and_expires_first_wakes_a_waiter() {
    for wanted in [Wanted::Any, prefix("a"), job(1)] {
        for is_asleep in [false, true] {
            let here = Clocked::new();
            thread::scope(|scope| {
                let keeps_time = scope.spawn(|| here.wait(&job(7), NEVER, Duration::MAX));
                waiting(&here.waiters, 1);
                let seen = here.waiters.seen(&wanted);
                let grant = || {
                    here.waiters.granted(JobId(1), minutes(1));
                    here.waiters.granted(JobId(2), NEVER);
                };
                if !is_asleep {
                    grant();
                }
                let (here, wanted) = (&here, &wanted);
                let waits = scope.spawn(move || {
                    let now = || *here.clock.lock();
                    here.waiters.wait(wanted, seen, NEVER, Duration::MAX, &now).done();
                });
                waiting(&here.waiters, 2);
                if is_asleep {
                    grant();
                }

                until_ended(&here.waiters, &here.clock, &waits);
                here.waiters.wake_all();
                keeps_time.join().unwrap();
            });
        }
    }
}

#[test]
fn a_request_is_repeated_if_more_leases_were_granted_meanwhile_than_are_remembered() {
    let waiters = Waiters::default();
    let seen = waiters.seen(&Wanted::Any);
    (0..2_000).for_each(|n| waiters.granted(JobId(n), minutes(n)));
    waiters.wait(&Wanted::Any, seen, NEVER, Duration::MAX, &|| START).done();
}

#[test]
fn every_waiter_repeats_its_request_when_the_clock_was_set_back() {
    let here = Clocked::new();
    let hour = Duration::from_secs(3_600);
    *here.clock.lock() = START.saturating_add(hour);
    let looks = AtomicUsize::new(0);
    let wait = |wanted: &Wanted| {
        let now = || {
            looks.fetch_add(1, Ordering::SeqCst);
            *here.clock.lock()
        };
        let seen = here.waiters.seen(wanted);
        let most = Duration::from_secs(10);
        here.waiters.wait(wanted, seen, START.saturating_add(2 * hour), most, &now).done();
    };
    let began = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| wait(&Wanted::Any));
        scope.spawn(|| wait(&job(1)));
        waiting(&here.waiters, 2);
        while looks.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }

        *here.clock.lock() = START;
    });
    assert!(began.elapsed() < Duration::from_secs(9), "they waited to the end");
}

#[test]
fn a_lease_that_may_have_expired_wakes_one_waiter() {
    let here = Clocked::new();
    let awake = AtomicUsize::new(0);
    thread::scope(|scope| {
        let of_one = scope.spawn(|| here.wait(&job(1), minutes(2), Duration::MAX));
        waiting(&here.waiters, 1);
        for _ in 0..3 {
            scope.spawn(|| {
                here.wait(&Wanted::Any, minutes(1), Duration::MAX);
                awake.fetch_add(1, Ordering::SeqCst);
            });
        }
        waiting(&here.waiters, 4);

        *here.clock.lock() = minutes(1);
        while awake.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        assert_eq!(here.waiters.0.lock().len(), 3, "the others sleep on");

        *here.clock.lock() = minutes(2);
        of_one.join().unwrap();
        here.waiters.wake_all();
    });
    here.wait(&Wanted::Any, START, Duration::MAX);
    here.wait(&Wanted::Any, NEVER, Duration::ZERO);
    assert_eq!(here.waiters.0.lock().len(), 0);
}

#[test]
fn a_clock_that_panics_ends_its_own_waiter_and_no_other() {
    let here = Clocked::new();
    let is_broken = AtomicBool::new(false);
    thread::scope(|scope| {
        let keeper = scope.spawn(|| {
            let seen = here.waiters.seen(&Wanted::Any);
            let now = || {
                assert!(!is_broken.load(Ordering::SeqCst), "the clock is broken");
                START
            };
            here.waiters.wait(&Wanted::Any, seen, minutes(1), Duration::MAX, &now).done();
        });
        waiting(&here.waiters, 1);
        is_broken.store(true, Ordering::SeqCst);
        let other = scope.spawn(|| here.wait(&Wanted::Any, minutes(1), Duration::MAX));

        keeper.join().unwrap_err();
        until_ended(&here.waiters, &here.clock, &other);
    });
}
