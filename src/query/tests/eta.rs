//! When jobs will be done.

use std::time::Duration;

use super::rate::{Steady, lease, progress, run};
use crate::query::Rate;
use crate::query::scene::Scene;
use crate::time::Timestamp;

const SECOND: Duration = Duration::from_secs(1);
const DAY: Duration = Duration::from_secs(86_400);

#[test]
fn an_eta_stays_where_it_is_between_the_batches_of_a_steady_worker() {
    let scene = Scene::new(100);
    let job = scene.job("p", 0, 1_000_000);
    let mut fleet = [Steady::new(&scene, "pc-01", job, 1_000, 100 * SECOND)];
    let done = scene.store.now().saturating_add(1_000 * SECOND);
    run(&scene, &mut fleet, 200 * SECOND);

    for _ in 0..9 {
        run(&scene, &mut fleet, 30 * SECOND);

        let eta = progress(&scene, "p").eta.unwrap();

        assert!(
            eta.saturating_duration_since(done).max(done.saturating_duration_since(eta))
                < SECOND / 1_000,
            "{eta} is not {done}"
        );
    }
}

#[test]
fn an_eta_is_not_before_the_slowest_held_job_is_done() {
    let scene = Scene::new(100);
    let (fast, slow) = (scene.job("p", 0, 100_000), scene.job("p", 100_000, 200_000));
    let mut fleet = [
        Steady::new(&scene, "pc-01", fast, 1_000, 10 * SECOND),
        Steady::new(&scene, "pc-02", slow, 10, 10 * SECOND),
    ];
    let done = scene.store.now().saturating_add(10_000 * SECOND);
    run(&scene, &mut fleet, 50 * SECOND);

    let eta = progress(&scene, "p").eta.unwrap();

    assert!(
        eta.saturating_duration_since(done).max(done.saturating_duration_since(eta))
            < SECOND / 1_000,
        "{eta} is not {done}"
    );
}

#[test]
fn an_eta_beyond_the_calendar_is_its_end_and_nothing_open_is_done_now() {
    let scene = Scene::new(100);
    let mut held = lease(&scene, "pc-01", scene.job("p", 0, u64::MAX), DAY);
    scene.work(&mut held, 10, 10 * SECOND);
    assert_eq!(progress(&scene, "p").eta, Some(Timestamp::MAX));

    let mut held = lease(&scene, "pc-01", scene.job("q", 0, 10), DAY);
    scene.work(&mut held, 10, 10 * SECOND);
    let done = progress(&scene, "q");

    assert_eq!((done.open, done.share, done.eta), (0, 1.0, None));
    assert_eq!(done.rate, Rate::Still { since: Some(scene.store.now()) });
}
