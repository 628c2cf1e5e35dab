//! Waiting under an explorer of schedules; see `commit/explored.rs`.

use super::*;
use crate::commit::explored::explore;
use shuttle::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use shuttle::thread;

fn prefix(name: &str) -> Wanted {
    Wanted::Prefix(name.into())
}

/// How many jobs of the prefixes "a" and "b" are available, and whether there will be no more.
#[derive(Default)]
struct Jobs([AtomicUsize; 2], AtomicBool);

impl Jobs {
    fn add(&self, waiters: &Waiters, which: usize) {
        self.0[which].fetch_add(1, Ordering::SeqCst);
        let prefix = ["a", "b"][which].into();
        waiters.notify(vec![Event::Available { prefix, jobs: 1 }]);
    }

    /// Takes a job. Whoever wants any job prefers "b".
    fn take(&self, wanted: &Wanted) -> Option<&'static [u8]> {
        let take = |which: usize, name: &'static [u8]| {
            let one_less = |jobs: usize| jobs.checked_sub(1);
            let taken = self.0[which].fetch_update(Ordering::SeqCst, Ordering::SeqCst, one_less);
            taken.ok().map(|_| name)
        };
        let a = || take(0, b"a");
        match wanted {
            Wanted::Prefix(prefix) if prefix == b"a" => a(),
            Wanted::Prefix(_) => take(1, b"b"),
            Wanted::Any | Wanted::Job(_) => take(1, b"b").or_else(a),
        }
    }
}

/// Looks and sleeps until it has taken a job. Returns its prefix, or `None` once the jobs have ended.
fn work(waiters: &Waiters, jobs: &Jobs, wanted: &Wanted) -> Option<&'static [u8]> {
    let mut woken: Option<Woken<'_>> = None;
    loop {
        let seen = waiters.seen(wanted);
        let has_ended = jobs.1.load(Ordering::SeqCst);
        let taken = jobs.take(wanted);
        match (woken.take(), taken) {
            (Some(woken), Some(prefix)) if !woken.is_for(prefix) => drop(woken),
            (Some(woken), _) => woken.done(),
            (None, _) => {}
        }
        if taken.is_some() || has_ended {
            return taken;
        }
        let (most, now) = (Duration::MAX, || Timestamp::EPOCH);
        woken = Some(waiters.wait(wanted, seen, Timestamp::MAX, most, &now));
    }
}

/// A job of each prefix becomes available. One worker takes a job of either prefix and keeps it, and
/// prefers the second; another wants the first, and a third fails when it is woken. Whichever job is
/// left, the one who wants it gets it.
#[test]
fn no_waiter_sleeps_while_a_job_that_it_wants_is_available() {
    explore(2, || {
        let waiters = Arc::new(Waiters::default());
        let jobs = Arc::new(Jobs::default());
        let has_left = Arc::new(AtomicBool::new(false));
        let fails = {
            let (waiters, has_left) = (waiters.clone(), has_left.clone());
            thread::spawn(move || {
                let (seen, now) = (waiters.seen(&Wanted::Any), || Timestamp::EPOCH);
                drop(waiters.wait(&Wanted::Any, seen, Timestamp::MAX, Duration::MAX, &now));
                has_left.store(true, Ordering::SeqCst);
            })
        };
        let [any, first] = [Wanted::Any, prefix("a")].map(|wanted| {
            let (waiters, jobs) = (waiters.clone(), jobs.clone());
            thread::spawn(move || work(&waiters, &jobs, &wanted))
        });
        jobs.add(&waiters, 0);
        jobs.add(&waiters, 1);

        let taken = any.join().unwrap();
        if taken == Some(b"a") {
            jobs.1.store(true, Ordering::SeqCst);
            waiters.wake_all();
            assert_eq!(first.join().unwrap(), None);
        } else {
            // If it were not woken, the explorer would report a deadlock.
            assert_eq!(first.join().unwrap(), Some(&b"a"[..]));
        }

        while !has_left.load(Ordering::SeqCst) {
            waiters.wake_all();
            thread::yield_now();
        }
        fails.join().unwrap();
        assert_eq!(waiters.0.lock().len(), 0);
    });
}

/// Four wait once each and leave for good, two of them for a job of their own: whoever still waits,
/// one of them looks at the clock.
#[test]
fn one_waiter_keeps_time_while_any_waits() {
    explore(2, || {
        let waiters = Arc::new(Waiters::default());
        let left = Arc::new(AtomicUsize::new(0));
        let wait = |n: u64| {
            let (waiters, left) = (waiters.clone(), left.clone());
            let wanted = match n {
                0 => Wanted::Any,
                1 => prefix("a"),
                job => Wanted::Job(JobId(job)),
            };
            thread::spawn(move || {
                let (seen, now) = (waiters.seen(&wanted), || Timestamp::EPOCH);
                waiters.wait(&wanted, seen, Timestamp::MAX, Duration::MAX, &now).done();
                left.fetch_add(1, Ordering::SeqCst);
            })
        };
        let waiting: Vec<_> = (0..4).map(wait).collect();
        for n in 0..20 {
            let event = match n % 3 {
                0 => Event::Available { prefix: b"a".into(), jobs: 1 },
                1 => Event::Returned(JobId(2)),
                _ => Event::NothingLeft(Wanted::Job(JobId(3))),
            };
            waiters.notify(vec![event]);
            let queues = waiters.0.lock();
            assert!(queues.len() == 0 || queues.timekeeper.is_some(), "nobody keeps time");
            drop(queues);
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
