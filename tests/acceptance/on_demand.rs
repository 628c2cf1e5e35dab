//! Ranges handed out on demand, and workers spread over prefixes.

use std::collections::BTreeSet;
use std::ops::Range;
use std::thread;

use milepost::{
    Error, JobFilter, JobStatus, Lease, LeaseOutcome, LeaseRequest, NewJob, Prefix, Worker,
};

use crate::support::{DAY, MINUTE, Scene};

fn next(worker: &Worker, positions: u64, within: Range<u64>) -> LeaseRequest {
    worker.request(MINUTE).of_prefix("a").or_next_range(positions, within)
}

#[track_caller]
fn take(worker: &Worker, positions: u64, within: Range<u64>) -> Lease {
    next(worker, positions, within).send().unwrap().leased().expect("positions are left")
}

fn complete(mut lease: Lease) {
    while let Some(batch) = lease.next_batch(u64::MAX) {
        lease.checkpoint(batch).unwrap();
    }
}

/// Promise 2: ranges of one prefix never overlap.
#[test]
fn workers_that_take_ranges_at_the_same_time_share_them_out() {
    let scene = Scene::in_memory();
    let workers: Vec<Worker> = (0..4).map(|n| scene.pc(&format!("pc-{n}"))).collect();

    let taken: Vec<Range<u64>> = thread::scope(|threads| {
        let takers: Vec<_> = workers
            .iter()
            .map(|worker| {
                threads.spawn(|| {
                    let mut ranges = Vec::new();
                    while let Some(lease) = next(worker, 7, 3..500).wait().unwrap().leased() {
                        ranges.push(lease.range());
                        complete(lease);
                    }
                    ranges
                })
            })
            .collect();
        takers.into_iter().flat_map(|taker| taker.join().unwrap()).collect()
    });

    let mut sorted = taken.clone();
    sorted.sort_by_key(|range| range.start);
    assert_eq!((sorted[0].start, sorted[sorted.len() - 1].end), (3, 500));
    assert!(sorted.windows(2).all(|pair| pair[0].end == pair[1].start), "{sorted:?}");
    assert!(sorted.iter().rev().skip(1).all(|range| range.end - range.start == 7));
}

#[test]
fn gaps_that_deleted_jobs_left_are_filled_first_and_jobs_that_wait_come_before_them() {
    let scene = Scene::new();
    let worker = scene.pc("pc-01");
    let jobs: Vec<_> = (0..5)
        .map(|_| {
            let lease = take(&worker, 10, 0..1_000);
            let job = lease.job();
            complete(lease);
            job
        })
        .collect();
    scene.delete_job(jobs[1]).unwrap();
    scene.delete_job(jobs[2]).unwrap();

    let gap = take(&worker, 15, 0..1_000);
    assert_eq!(gap.range(), 10..25);
    let rest = take(&worker, 15, 0..1_000);
    assert_eq!(rest.range(), 25..30, "a range ends where the next job begins");
    let beyond = take(&worker, 15, 0..1_000);
    assert_eq!(beyond.range(), 50..65);

    let released = rest.job();
    drop(rest);
    assert_eq!(take(&worker, 15, 0..1_000).job(), released);
    drop((gap, beyond));
}

#[test]
fn ranges_end_with_the_range_that_was_asked_for() {
    let scene = Scene::new();
    let (worker, other) = (scene.pc("a"), scene.pc("b"));
    scene.create_job(NewJob::new("a", 40..60)).unwrap();
    complete(take(&worker, 100, 0..50));

    let first = take(&worker, 100, 0..50);
    assert_eq!(first.range(), 0..40, "up to the job that is there");
    let LeaseOutcome::Busy(_) = next(&other, 100, 0..50).send().unwrap() else {
        panic!("all is covered, and some of it is held")
    };
    complete(first);
    assert!(matches!(next(&other, 100, 0..50).send().unwrap(), LeaseOutcome::Finished));
    let other_range = take(&other, 100, 0..70);
    assert_eq!(other_range.range(), 60..70, "another range goes on");
    complete(other_range);
    assert_eq!(take(&other, 1, u64::MAX - 1..u64::MAX).range(), u64::MAX - 1..u64::MAX);
}

/// Whatever ranges are asked for, and whatever is deleted in between: what is free is found.
#[test]
fn every_free_position_is_found_whatever_was_asked_for_before() {
    fastrand::seed(7);
    let scene = Scene::in_memory();
    let worker = scene.pc("pc-01");
    for _ in 0..400 {
        let start = fastrand::u64(0..200);
        let within = start..start + fastrand::u64(1..100);
        let jobs = scene.snapshot().unwrap().jobs_of_prefix("a", None, usize::MAX).unwrap();
        let covered: BTreeSet<u64> = jobs.iter().flat_map(|job| job.start..job.end).collect();
        let free = within.clone().find(|position| !covered.contains(position));
        let most = fastrand::u64(1..30);

        let outcome = next(&worker, most, within.clone()).send().unwrap();

        match (outcome, free) {
            (LeaseOutcome::Leased(lease), Some(free)) => {
                let room = (free..within.end).take_while(|at| !covered.contains(at)).count() as u64;
                assert_eq!(lease.range(), free..free + most.min(room));
                complete(lease);
            }
            (LeaseOutcome::Finished, None) => {}
            (outcome, free) => panic!("{outcome:?} although {free:?} is free"),
        }
        if fastrand::bool() && !jobs.is_empty() {
            scene.delete_job(jobs[fastrand::usize(0..jobs.len())].id).unwrap();
        }
    }
}

/// A search passes over a bounded number of jobs with each transaction, and remembers how far it came.
#[test]
fn a_search_through_many_jobs_ends() {
    let scene = Scene::in_memory();
    scene.create_jobs((0..3_000u64).map(|n| NewJob::new("a", n..n + 1))).unwrap();
    let all = JobFilter::default().prefix("a");
    assert_eq!(scene.cancel_jobs(&all).unwrap(), 3_000);
    let worker = scene.pc("pc-01");

    let beyond = take(&worker, 10, 0..10_000);
    assert_eq!(beyond.range(), 3_000..3_010);
    complete(beyond);

    assert_eq!(scene.delete_jobs(&all.status(JobStatus::Cancelled)).unwrap(), 3_000);
    assert_eq!(take(&worker, 5_000, 0..10_000).range(), 0..3_000);
}

/// Promise 13.
#[test]
fn a_range_on_demand_that_makes_no_sense_is_refused() {
    let scene = Scene::new();
    let worker = scene.pc("pc-01");

    let error = next(&worker, 0, 0..10).send().unwrap_err();
    assert!(matches!(error, Error::Invalid { .. }), "{error:?}");
    let error = next(&worker, 5, 10..10).send().unwrap_err();
    assert!(matches!(error, Error::EmptyRange { start: 10, end: 10 }), "{error:?}");
    let error = worker.request(MINUTE).or_next_range(5, 0..10).send().unwrap_err();
    assert_eq!(error.to_string(), "a range on demand needs a prefix");
    assert_eq!(scene.snapshot().unwrap().job_counts().all(), 0);
}

#[test]
fn workers_are_spread_over_prefixes_where_that_is_asked_for() {
    let scene = Scene::new();
    for prefix in ["a", "b", "c"] {
        scene.create_jobs((0..4u64).map(|n| NewJob::new(prefix, n..n + 1))).unwrap();
    }
    scene.create_job(NewJob::new("urgent", 0..1).priority(5)).unwrap();
    let worker = scene.pc("pc-01");

    let leases: Vec<Lease> =
        (0..7).map(|_| worker.request(DAY).spread().send().unwrap().leased().unwrap()).collect();

    assert_eq!(leases[0].prefix(), &Prefix::from("urgent"), "priority comes first");
    let of =
        |prefix: &str| leases.iter().filter(|lease| **lease.prefix() == *prefix.as_bytes()).count();
    assert_eq!((of("a"), of("b"), of("c")), (2, 2, 2));
    let own = worker.next_lease(DAY).unwrap().unwrap();
    assert_eq!(own.prefix(), leases[6].prefix(), "by default a worker stays with its prefix");
}
