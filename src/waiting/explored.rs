//! Waiting under an explorer of schedules; see `commit/explored.rs`.

use super::*;
use crate::commit::explored::explore;
use shuttle::sync::atomic::{AtomicUsize, Ordering};
use shuttle::thread;

/// Two jobs become available, one by one, while three workers look and sleep: two of them get a
/// job, and the third hears that nothing is left.
#[test]
fn nobody_sleeps_through_what_concerns_him() {
    explore(2, || {
        let waiters = Arc::new(Waiters::default());
        let jobs = Arc::new(AtomicUsize::new(0));
        let closed = Arc::new(AtomicUsize::new(0));
        let workers: Vec<_> = (0..3)
            .map(|_| {
                let (waiters, jobs, closed) = (waiters.clone(), jobs.clone(), closed.clone());
                thread::spawn(move || {
                    let take = |left: usize| left.checked_sub(1);
                    let mut event = None;
                    loop {
                        let seen = waiters.seen();
                        let order = Ordering::SeqCst;
                        if jobs.fetch_update(order, order, take).is_ok() {
                            return true;
                        }
                        if let Some(event) = event {
                            waiters.pass_on(event);
                        }
                        if closed.load(order) == 1 {
                            return false;
                        }
                        let expiry = Expiry::OfAny(Timestamp::MAX);
                        let now = || Timestamp::EPOCH;
                        event = Some(waiters.wait(seen, Duration::MAX, expiry, &now));
                    }
                })
            })
            .collect();
        for _ in 0..2 {
            jobs.fetch_add(1, Ordering::SeqCst);
            waiters.wake(1);
        }
        closed.store(1, Ordering::SeqCst);
        waiters.wake_all();

        let took = workers.into_iter().map(|worker| worker.join().unwrap());
        assert_eq!(took.filter(|took| *took).count(), 2);
    });
}

/// Four wait once each and leave for good, two of them for a job of their own: whoever still waits,
/// one of them looks at the clock.
#[test]
fn somebody_keeps_time_while_anybody_waits() {
    explore(2, || {
        let waiters = Arc::new(Waiters::default());
        let left = Arc::new(AtomicUsize::new(0));
        let wait = |n: u64| {
            let (waiters, left) = (waiters.clone(), left.clone());
            let expiry = match n {
                0 | 1 => Expiry::OfAny(Timestamp::MAX),
                job => Expiry::OfOne(JobId(job), Timestamp::MAX),
            };
            thread::spawn(move || {
                waiters.wait(waiters.seen(), Duration::MAX, expiry, &|| Timestamp::EPOCH);
                left.fetch_add(1, Ordering::SeqCst);
            })
        };
        let waiting: Vec<_> = (0..4).map(wait).collect();
        for n in 0..20 {
            if n % 2 == 0 {
                waiters.wake(1);
            } else {
                waiters.job_ended(JobId(2));
            }
            let state = waiters.0.lock();
            let is_kept = state.timekeeper.is_some();
            assert!(state.waiting.is_empty() || is_kept, "nobody keeps time");
            drop(state);
            thread::yield_now();
        }
        while left.load(Ordering::SeqCst) < waiting.len() {
            waiters.wake_all();
            thread::yield_now();
        }
        waiting.into_iter().for_each(|waits| waits.join().unwrap());
        assert!(waiters.0.lock().timekeeper.is_none());
    });
}
