//! Questions about jobs and their progress.

use std::time::Duration;

use crate::query::Rate;
use crate::query::scene::Scene;

#[test]
fn progress_counts_what_is_done_and_says_when_the_rest_will_be() {
    let scene = Scene::new(100);
    let (a, b) = (scene.worker("pc-01"), scene.worker("pc-02"));
    let (first, second) = (scene.job("alpha", 0, 1_000), scene.job("alpha", 1_000, 2_000));
    let cancelled = scene.job("alpha", 2_000, 3_000);
    scene.job("other", 0, 10);
    scene.store.cancel_job(cancelled).unwrap();
    let (mut of_a, mut of_b) = (scene.lease(&a, first), scene.lease(&b, second));
    scene.work(&mut of_a, 400, Duration::from_secs(40));
    scene.work(&mut of_b, 200, Duration::from_secs(40));

    let view = scene.view();
    let progress = view.progress(b"alpha").unwrap().unwrap();

    assert_eq!((progress.done, progress.total, progress.open), (600, 3_000, 1_400));
    assert_eq!((progress.held, progress.expired, progress.workers), (2, 0, 2));
    assert_eq!((progress.jobs.leased, progress.jobs.cancelled, progress.jobs.all()), (2, 1, 3));
    assert_eq!(progress.share, 0.2);
    assert_eq!(progress.last_activity, Some(scene.store.now()));
    assert_eq!(progress.rate.per_second(), Some(15.0));
    // The slower job is done last: 800 positions at 5 a second.
    assert_eq!(progress.eta, Some(scene.store.now().saturating_add(Duration::from_secs(160))));
    let all = view.progress_by_prefix(None, 9).unwrap();
    assert_eq!(all[0], progress);
    assert_eq!((&*all[1].prefix, all[1].eta), (&b"other"[..], None));
    assert_eq!(all[1].rate, Rate::Still { since: None });
    assert_eq!(view.progress(b"nothing").unwrap(), None);
    assert_eq!(view.progress([7; 300]).unwrap(), None);
}

#[test]
fn a_released_job_shows_no_holder_though_its_row_keeps_the_last_one() {
    let scene = Scene::new(100);
    let job = scene.job("alpha", 0, 100);
    scene.lease(&scene.worker("pc-01"), job).release().unwrap();

    let shown = scene.view().job(job).unwrap().unwrap();

    assert_eq!((shown.holder, shown.deadline), (None, None));
    assert_eq!(shown.token.get(), 1);
}
