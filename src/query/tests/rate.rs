//! How fast jobs move, at every boundary, by a clock that the tests set.

mod steady;

use std::time::Duration;

use crate::Lease;
use crate::query::scene::{MINUTE, Scene};
use crate::query::{Progress, Rate};
use crate::schema::key;
use crate::schema::rows::JobRow;
use crate::time::Timestamp;
use crate::types::JobId;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3_600);
const DAY: Duration = Duration::from_secs(86_400);
const TICK: Duration = Duration::from_micros(1);

pub(super) fn lease(scene: &Scene, name: &str, job: JobId, length: Duration) -> Lease {
    scene.worker(name).request(length).of_job(job).send().unwrap().leased().unwrap()
}

pub(super) fn progress(scene: &Scene, prefix: &str) -> Progress {
    scene.view().progress(prefix.as_bytes()).unwrap().unwrap()
}

fn rate(scene: &Scene) -> Rate {
    progress(scene, "p").rate
}

fn moving(rate: Rate) -> (f64, u64, Duration) {
    match rate {
        Rate::Moving { per_second, jobs, over } => (per_second, jobs, over),
        other => panic!("it should move: {other:?}"),
    }
}

fn is_near(a: f64, b: f64) -> bool {
    (a - b).abs() < b * 1e-9
}

/// A worker that does batches of one length at a steady speed, one after the other.
pub(super) struct Steady {
    lease: Lease,
    speed: u64,
    batch: Duration,
    due: Timestamp,
}

impl Steady {
    pub(super) fn new(
        scene: &Scene,
        name: &str,
        job: JobId,
        speed: u64,
        batch: Duration,
    ) -> Steady {
        let lease = lease(scene, name, job, 30 * DAY);
        Steady { lease, speed, batch, due: scene.store.now().saturating_add(batch) }
    }
}

/// Lets workers work for some time.
pub(super) fn run(scene: &Scene, fleet: &mut [Steady], time: Duration) {
    let end = scene.store.now().saturating_add(time);
    while let Some(next) = fleet.iter_mut().min_by_key(|one| one.due).filter(|one| one.due <= end) {
        scene.clock.set(next.due);
        scene.report(&mut next.lease, next.speed * next.batch.as_secs(), next.batch);
        next.due = next.due.saturating_add(next.batch);
    }
    scene.clock.set(end);
}

#[test]
fn workers_with_long_and_short_batches_add_up_to_their_true_rate_at_any_time() {
    let scene = Scene::new(10_000);
    let (a, b) = (scene.job("p", 0, 1 << 40), scene.job("p", 1 << 40, 1 << 41));
    let mut fleet = [
        Steady::new(&scene, "pc-01", a, 1_000, 10 * HOUR),
        Steady::new(&scene, "pc-02", b, 1_000, 10 * SECOND),
    ];
    run(&scene, &mut fleet, 10 * HOUR);

    // Just after the long batch was reported, and while the next one is under way.
    for hours in [0, 1, 4, 4] {
        run(&scene, &mut fleet, hours * HOUR + 3 * SECOND);

        let (per_second, jobs, over) = moving(rate(&scene));

        assert!((per_second - 2_000.0).abs() < 20.0, "{per_second} is not within 1 % of 2,000");
        assert_eq!((jobs, over), (2, 15 * MINUTE));
    }
}

#[test]
fn a_batch_counts_with_its_share_of_the_window() {
    let scene = Scene::new(100);
    let mut held = lease(&scene, "pc-01", scene.job("p", 0, 1 << 40), DAY);
    scene.work(&mut held, 3_600_000, HOUR);
    for _ in 0..5 {
        scene.work(&mut held, 120_000, MINUTE);
    }

    let (per_second, _, over) = moving(rate(&scene));

    // Ten minutes of the hour at 1,000 a second, and five minutes at 2,000.
    assert!(is_near(per_second, 4_000.0 / 3.0), "{per_second}");
    assert_eq!(over, 15 * MINUTE);
}

#[test]
fn pauses_between_batches_count_as_time() {
    let scene = Scene::new(100);
    let mut held = lease(&scene, "pc-01", scene.job("p", 0, 1 << 40), DAY);
    for _ in 0..200 {
        scene.clock.advance(9 * SECOND);
        scene.work(&mut held, 1_000, SECOND);
    }

    let (per_second, ..) = moving(rate(&scene));

    assert!((99.0..101.2).contains(&per_second), "{per_second}");
}

#[test]
fn a_rate_rests_on_less_time_where_work_began_later() {
    let scene = Scene::new(100);
    let mut held = lease(&scene, "pc-01", scene.job("p", 0, 1 << 40), DAY);
    scene.clock.advance(HOUR);

    assert_eq!(rate(&scene), Rate::Unknown, "leased, but nothing is reported");
    scene.work(&mut held, 5_000, 5 * SECOND);
    assert_eq!(moving(rate(&scene)), (1_000.0, 1, 5 * SECOND), "one batch");
    scene.work(&mut held, 30_000, 5 * SECOND);
    assert_eq!(moving(rate(&scene)), (3_500.0, 1, 10 * SECOND));
}

#[test]
fn a_rate_rests_on_less_time_where_history_reaches_back_less_far() {
    let scene = Scene::new(5);
    let (long, short) = (scene.job("p", 0, 1 << 40), scene.job("p", 1 << 40, 1 << 41));
    let mut fleet = [
        Steady::new(&scene, "pc-01", long, 1_000, HOUR),
        Steady::new(&scene, "pc-02", short, 200, 10 * SECOND),
    ];
    run(&scene, &mut fleet[1..], MINUTE * 10);
    let (per_second, _, over) = moving(rate(&scene));
    assert!(is_near(per_second, 200.0), "{per_second}");
    assert_eq!(over, 50 * SECOND);

    // The hour's batch has left history: all that was ever done of its job stands in.
    run(&scene, &mut fleet, HOUR);

    let (per_second, jobs, over) = moving(rate(&scene));
    assert!(is_near(per_second, 1_200.0), "{per_second}");
    assert_eq!(jobs, 2);
    assert_eq!(over.as_millis(), (1_000 * 900 + 200 * 50) * 1_000 / 1_200);
}

#[test]
fn a_dead_fleet_does_not_move_and_its_eta_does_not_slide() {
    let scene = Scene::new(1_000);
    let jobs = [scene.job("p", 0, 1 << 40), scene.job("p", 1 << 40, 1 << 41)];
    let mut fleet = jobs.map(|job| Steady::new(&scene, "pc-01", job, 1_000, 10 * SECOND));
    run(&scene, &mut fleet, HOUR);
    let died = scene.store.now();

    scene.clock.advance(MINUTE);
    assert!(is_near(rate(&scene).per_second().unwrap(), 2_000.0), "silent after a minute, not yet");
    for later in [TICK, HOUR, 3 * DAY] {
        scene.clock.advance(later);

        let progress = progress(&scene, "p");

        assert_eq!(progress.rate, Rate::Still { since: Some(died) });
        assert_eq!((progress.rate.per_second(), progress.eta), (Some(0.0), None));
        assert_eq!((progress.held, progress.expired), (2, 0), "their leases last for 30 days");
        assert_eq!(scene.view().fleet_rate().unwrap(), progress.rate);
    }
}

#[test]
fn a_holder_is_silent_after_three_of_its_longest_batches() {
    let scene = Scene::new(100);
    let mut held = lease(&scene, "pc-01", scene.job("p", 0, 1 << 40), 30 * DAY);
    for minutes in [2, 1, 1, 1, 1] {
        scene.work(&mut held, 60_000, minutes * MINUTE);
    }
    let last = scene.store.now();

    scene.clock.advance(6 * MINUTE);
    assert!(matches!(rate(&scene), Rate::Moving { .. }));
    scene.clock.advance(TICK);

    assert_eq!(rate(&scene), Rate::Still { since: Some(last) });
}

#[test]
fn while_few_batches_are_known_a_holder_has_the_length_of_its_lease_up_to_the_window() {
    for (length, patience) in [(5 * MINUTE, 5 * MINUTE), (DAY, 15 * MINUTE), (SECOND, MINUTE)] {
        let scene = Scene::new(100);
        let mut held = lease(&scene, "pc-01", scene.job("p", 0, 1 << 40), length);
        for _ in 0..4 {
            scene.work(&mut held, 1_000, SECOND / 2);
        }
        let last = scene.store.now();

        // The lease itself is renewed, as by a holder that hangs.
        scene.clock.set(last.saturating_add(patience));
        scene.edit(&key::job(held.job()), |row: &mut JobRow| {
            row.deadline = last.saturating_add(DAY)
        });
        assert!(matches!(rate(&scene), Rate::Moving { .. }), "a lease of {length:?}");
        scene.clock.advance(TICK);

        assert_eq!(rate(&scene), Rate::Still { since: Some(last) }, "a lease of {length:?}");
        held.abandon();
    }
}

#[test]
fn a_lease_is_held_until_its_deadline_and_expired_from_then_on() {
    let scene = Scene::new(100);
    let jobs = [scene.job("p", 0, 1 << 40), scene.job("p", 1 << 40, 1 << 41)];
    let mut short = lease(&scene, "pc-01", jobs[0], 10 * MINUTE);
    let mut long = lease(&scene, "pc-02", jobs[1], DAY);
    for _ in 0..30 {
        scene.work(&mut short, 60_000, MINUTE);
        scene.report(&mut long, 30_000, MINUTE);
    }
    // Batches of ten minutes, so that neither is silent when the short lease expires.
    scene.work(&mut short, 300_000, 9 * MINUTE);
    scene.report(&mut long, 150_000, 9 * MINUTE);
    let last = scene.store.now();

    scene.clock.set(last.saturating_add(10 * MINUTE - TICK));
    let before = progress(&scene, "p");
    scene.clock.advance(TICK);
    let after = progress(&scene, "p");

    assert_eq!((before.held, before.expired, before.workers), (2, 0, 2));
    assert_eq!((after.held, after.expired, after.workers), (1, 1, 1));
    assert_eq!((before.jobs.leased, after.jobs.leased), (2, 2), "as the rows say");
    assert_eq!((moving(before.rate).1, moving(after.rate).1), (2, 1));
    assert_eq!((before.open, before.done), (after.open, after.done));
    assert_eq!(scene.view().job_counts().leased, 2);
    scene.clock.advance(DAY);
    assert_eq!(rate(&scene), Rate::Still { since: Some(last) });
}

#[test]
fn batches_without_a_duration_count_from_the_one_before() {
    let scene = Scene::new(100);
    let mut held = lease(&scene, "pc-01", scene.job("p", 0, 1 << 40), DAY);

    scene.report(&mut held, 7, Duration::ZERO);
    assert_eq!(rate(&scene), Rate::Unknown, "no time has passed since it was leased");
    for _ in 0..3 {
        scene.clock.advance(10 * SECOND);
        scene.report(&mut held, 100, Duration::ZERO);
    }

    let (per_second, _, over) = moving(rate(&scene));
    assert!(is_near(per_second, 10.0), "{per_second}");
    assert_eq!(over, 30 * SECOND);
}

#[test]
fn the_first_batch_without_a_duration_counts_from_the_lease() {
    let scene = Scene::new(100);
    let mut held = lease(&scene, "pc-01", scene.job("p", 0, 1 << 40), DAY);
    scene.clock.advance(10 * SECOND);
    scene.report(&mut held, 100, Duration::ZERO);

    assert_eq!(moving(rate(&scene)), (10.0, 1, 10 * SECOND));
}

#[test]
fn of_batches_without_a_duration_the_oldest_in_history_only_marks_the_beginning() {
    let scene = Scene::new(3);
    let mut held = lease(&scene, "pc-01", scene.job("p", 0, 1 << 40), DAY);
    for positions in [5_000, 5_000, 100, 100] {
        scene.clock.advance(10 * SECOND);
        scene.report(&mut held, positions, Duration::ZERO);
    }

    let (per_second, _, over) = moving(rate(&scene));

    assert!(is_near(per_second, 10.0), "{per_second}");
    assert_eq!(over, 20 * SECOND);
}

#[test]
fn a_clock_that_is_set_back_makes_no_rate_wrong() {
    let scene = Scene::new(1_000);
    let job = scene.job("p", 0, 1 << 40);
    let mut fleet = [Steady::new(&scene, "pc-01", job, 1_000, 10 * SECOND)];
    run(&scene, &mut fleet, HOUR);

    let back = scene.store.now().saturating_sub(30 * MINUTE);
    scene.clock.set(back);
    assert!(is_near(rate(&scene).per_second().unwrap(), 1_000.0), "the newest batch lies ahead");
    fleet[0].due = back.saturating_add(10 * SECOND);
    for batches in 1..=100 {
        run(&scene, &mut fleet, 10 * SECOND);

        let (per_second, _, over) = moving(rate(&scene));

        assert!(is_near(per_second, 1_000.0), "{per_second} after {batches} batches");
        assert_eq!(over, (batches * 10 * SECOND).min(15 * MINUTE));
    }
}

#[test]
fn a_worker_that_takes_one_job_after_the_other_goes_on_at_its_rate() {
    let scene = Scene::new(100);
    for n in 0..4 {
        scene.job("p", n * 60_000, (n + 1) * 60_000);
    }
    scene.job("q", 0, 1_000);
    let worker = scene.worker("pc-01");
    let take =
        |prefix: &str| worker.request(DAY).of_prefix(prefix).send().unwrap().leased().unwrap();

    // Each job is one batch.
    let mut held = take("p");
    let mut done = Vec::new();
    assert_eq!(rate(&scene), Rate::Unknown);
    for n in 1..=3 {
        done.push(held.job());
        scene.work(&mut held, 60_000, MINUTE);
        assert_eq!(rate(&scene), Rate::Still { since: Some(scene.store.now()) }, "none is held");
        held = take("p");

        assert_eq!(moving(rate(&scene)), (1_000.0, 1, n * MINUTE));
    }

    let other = take("q");
    assert_eq!(progress(&scene, "q").rate, Rate::Unknown, "its batches were of another prefix");
    other.abandon();
    done.into_iter().for_each(|job| scene.store.delete_job(job).unwrap());
    assert_eq!(rate(&scene), Rate::Unknown, "nobody knows of which prefix its batches were");
}

#[test]
fn a_job_that_was_taken_over_goes_on_at_the_rate_of_its_life() {
    let scene = Scene::new(100);
    let job = scene.job("p", 0, 1 << 40);
    let mut before = lease(&scene, "pc-01", job, DAY);
    scene.work(&mut before, 1_000, 10 * SECOND);
    scene.work(&mut before, 5_000, 10 * SECOND);
    before.release().unwrap();

    let mut held = lease(&scene, "pc-02", job, DAY);
    assert_eq!(moving(rate(&scene)), (300.0, 1, 20 * SECOND));

    // From its first batch on, only its present holder counts.
    scene.work(&mut held, 700, 10 * SECOND);
    assert_eq!(moving(rate(&scene)), (70.0, 1, 10 * SECOND));
}

#[test]
fn imported_batches_of_a_held_job_do_not_count() {
    let scene = Scene::new(100);
    let job = scene.job("p", 0, 1 << 40);
    let mut held = lease(&scene, "pc-01", job, DAY);
    scene.work(&mut held, 1_000, 10 * SECOND);
    scene.past("elsewhere", scene.worker("pc-01").id(), job, 5_000..900_000);
    scene.past("another", scene.worker("pc-02").id(), job, 0..1_000);

    assert_eq!(moving(rate(&scene)), (100.0, 1, 10 * SECOND));
}

#[test]
fn the_rate_of_the_fleet_is_the_sum_over_all_prefixes() {
    let scene = Scene::new(1_000);
    assert_eq!(scene.view().fleet_rate().unwrap(), Rate::Still { since: None });
    let mut fleet = Vec::new();
    for (n, prefix) in ["p", "p", "q"].into_iter().enumerate() {
        let job = scene.job(prefix, n as u64 * 1_000_000, (n as u64 + 1) * 1_000_000);
        fleet.push(Steady::new(&scene, prefix, job, 10 << n, 10 * SECOND));
    }
    let unknown = lease(&scene, "idle", scene.job("r", 0, 10), DAY);
    run(&scene, &mut fleet, MINUTE);

    let view = scene.view();
    let rates: Vec<_> =
        view.progress_by_prefix(None, 9).unwrap().iter().map(|p| p.rate.per_second()).collect();

    assert_eq!(rates, [Some(30.0), Some(40.0), None]);
    assert_eq!(moving(view.fleet_rate().unwrap()), (70.0, 3, MINUTE));
    unknown.abandon();
}
