//! Waiting, on real threads.

use super::*;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::thread;

const NEVER: Expiry = Expiry::OfAny(Timestamp::MAX);

fn wait(waiters: &Waiters, expiry: Expiry) -> Seen {
    waiters.wait(waiters.seen(), Duration::MAX, expiry, &|| Timestamp::EPOCH)
}

fn waiting(waiters: &Waiters, many: usize) {
    while waiters.0.lock().waiting.len() < many {
        thread::yield_now();
    }
}

#[test]
fn an_event_wakes_as_many_as_there_are_jobs_and_the_others_sleep_on() {
    let waiters = Waiters::default();
    let awake = AtomicUsize::new(0);
    thread::scope(|scope| {
        for _ in 0..5 {
            scope.spawn(|| {
                wait(&waiters, NEVER);
                awake.fetch_add(1, Ordering::SeqCst);
            });
        }
        waiting(&waiters, 5);

        waiters.wake(2);
        while awake.load(Ordering::SeqCst) < 2 {
            thread::yield_now();
        }
        assert_eq!(waiters.0.lock().waiting.len(), 3);
        waiters.wake_all();
    });
    assert_eq!(awake.load(Ordering::SeqCst), 5);
    assert!(waiters.0.lock().timekeeper.is_none());
}

#[test]
fn what_happened_since_the_request_is_not_slept_through() {
    let waiters = Waiters::default();
    let seen = waiters.seen();
    waiters.wake(1);
    let after = waiters.wait(seen, Duration::MAX, NEVER, &|| Timestamp::EPOCH);
    assert_ne!(after, seen);
}

#[test]
fn an_event_is_passed_on_to_those_who_waited_before_it_only() {
    let waiters = Waiters::default();
    thread::scope(|scope| {
        let first = scope.spawn(|| wait(&waiters, NEVER));
        waiting(&waiters, 1);
        let second = scope.spawn(|| wait(&waiters, NEVER));
        waiting(&waiters, 2);
        waiters.wake(1);
        let event = first.join().unwrap();
        waiters.pass_on(event);
        second.join().unwrap();

        let late = scope.spawn(|| wait(&waiters, NEVER));
        waiting(&waiters, 1);
        waiters.pass_on(event);
        assert_eq!(waiters.0.lock().waiting.len(), 1, "it came after the event");
        waiters.wake_all();
        late.join().unwrap();
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
        *clock = clock.after(Duration::from_secs(1));
        drop(clock);
        thread::yield_now();
    }
}

#[test]
fn somebody_keeps_time_though_whoever_did_leaves_for_good() {
    let waiters = Waiters::default();
    let clock = Mutex::new(Timestamp::EPOCH);
    let now = || *clock.lock();
    let expiry = Expiry::OfAny(Timestamp::EPOCH.after(Duration::from_secs(60)));
    let wait = |most| waiters.wait(waiters.seen(), most, expiry, &now);
    thread::scope(|scope| {
        let first = scope.spawn(|| wait(Duration::MAX));
        waiting(&waiters, 1);
        let gives_up = scope.spawn(|| wait(Duration::from_millis(100)));
        waiting(&waiters, 2);
        let last = scope.spawn(|| wait(Duration::MAX));
        waiting(&waiters, 3);

        waiters.wake(1);
        first.join().unwrap();
        gives_up.join().unwrap();

        until_ended(&waiters, &clock, &last);
    });
}

#[test]
fn the_next_expiry_is_found_though_who_was_woken_for_the_first_got_a_lease() {
    let waiters = Waiters::default();
    let clock = Mutex::new(Timestamp::EPOCH);
    let now = || *clock.lock();
    let minutes = |many: u64| Timestamp::EPOCH.after(Duration::from_secs(60 * many));
    let wait = |expiry| waiters.wait(waiters.seen(), Duration::MAX, expiry, &now);
    thread::scope(|scope| {
        let keeps_time = scope.spawn(|| wait(Expiry::OfOne(JobId(1), minutes(1_000_000))));
        waiting(&waiters, 1);
        let first = scope.spawn(|| wait(Expiry::OfAny(minutes(1))));
        waiting(&waiters, 2);
        let second = scope.spawn(|| wait(Expiry::OfAny(minutes(1))));
        waiting(&waiters, 3);

        until_ended(&waiters, &clock, &first);
        until_ended(&waiters, &clock, &second);

        waiters.wake_all();
        keeps_time.join().unwrap();
    });
}

#[test]
fn everybody_asks_again_when_the_clock_was_set_back() {
    let waiters = Waiters::default();
    let hour = Duration::from_secs(3_600);
    let clock = Mutex::new(Timestamp::EPOCH.after(hour));
    let looks = AtomicUsize::new(0);
    let now = || {
        looks.fetch_add(1, Ordering::SeqCst);
        *clock.lock()
    };
    let expiry = Timestamp::EPOCH.after(2 * hour);
    let wait = |expiry| waiters.wait(waiters.seen(), Duration::from_secs(10), expiry, &now);
    let began = Instant::now();
    thread::scope(|scope| {
        scope.spawn(|| wait(Expiry::OfAny(expiry)));
        scope.spawn(|| wait(Expiry::OfOne(JobId(1), expiry)));
        waiting(&waiters, 2);
        while looks.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }

        *clock.lock() = Timestamp::EPOCH;
    });
    assert!(began.elapsed() < Duration::from_secs(9), "they waited to the end");
}

#[test]
fn a_lease_that_may_have_expired_wakes_one_of_those_who_wait_for_any() {
    let waiters = Waiters::default();
    let clock = Mutex::new(Timestamp::EPOCH);
    let now = || *clock.lock();
    let awake = AtomicUsize::new(0);
    let expiry = Timestamp::EPOCH.after(Duration::from_secs(60));
    thread::scope(|scope| {
        let of_one = scope.spawn(|| {
            let later = Expiry::OfOne(JobId(1), expiry.after(Duration::from_secs(60)));
            waiters.wait(waiters.seen(), Duration::MAX, later, &now)
        });
        waiting(&waiters, 1);
        for _ in 0..3 {
            scope.spawn(|| {
                waiters.wait(waiters.seen(), Duration::MAX, Expiry::OfAny(expiry), &now);
                awake.fetch_add(1, Ordering::SeqCst);
            });
        }
        waiting(&waiters, 4);

        *clock.lock() = expiry;
        while awake.load(Ordering::SeqCst) == 0 {
            thread::yield_now();
        }
        assert_eq!(waiters.0.lock().waiting.len(), 3, "the others sleep on");

        *clock.lock() = expiry.after(Duration::from_secs(60));
        of_one.join().unwrap();
        waiters.wake_all();
    });
    let due = waiters.wait(waiters.seen(), Duration::MAX, Expiry::OfAny(Timestamp::EPOCH), &now);
    assert_eq!(due, waiters.seen(), "what is due already does not wait");
    assert_eq!(waiters.wait(due, Duration::ZERO, NEVER, &now), due);
}

#[test]
fn a_clock_that_panics_ends_its_own_waiter_and_no_other() {
    let waiters = Waiters::default();
    let clock = Mutex::new(Timestamp::EPOCH);
    let expiry = Expiry::OfAny(Timestamp::EPOCH.after(Duration::from_secs(60)));
    let is_broken = AtomicBool::new(false);
    thread::scope(|scope| {
        let keeper = scope.spawn(|| {
            waiters.wait(waiters.seen(), Duration::MAX, expiry, &|| {
                assert!(!is_broken.load(Ordering::SeqCst), "the clock is broken");
                Timestamp::EPOCH
            })
        });
        waiting(&waiters, 1);
        is_broken.store(true, Ordering::SeqCst);
        let other =
            scope.spawn(|| waiters.wait(waiters.seen(), Duration::MAX, expiry, &|| *clock.lock()));

        keeper.join().unwrap_err();
        until_ended(&waiters, &clock, &other);
    });
}
