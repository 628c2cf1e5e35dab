//! Questions about jobs, their progress and their findings.

use std::time::Duration;

use crate::query::scene::{MINUTE, Scene};

#[test]
fn progress_counts_what_is_done_and_tells_when_the_rest_will_be() {
    let scene = Scene::new(100);
    let (a, b) = (scene.worker("pc-01"), scene.worker("pc-02"));
    let (first, second) = (scene.job("alpha", 0, 1_000), scene.job("alpha", 1_000, 2_000));
    let cancelled = scene.job("alpha", 2_000, 3_000);
    scene.job("other", 0, 10);
    scene.store.cancel_job(cancelled).unwrap();
    let (mut of_a, mut of_b) = (scene.lease(&a, first), scene.lease(&b, second));
    scene.checkpoint(&mut of_a, 300);
    let early = scene.store.now();
    // More than an hour before the newest batch, so the one above is not recent any more.
    scene.clock.advance(61 * MINUTE);
    scene.checkpoint(&mut of_a, 100);
    let began = scene.store.now().before(Duration::from_secs(1));
    scene.checkpoint(&mut of_b, 200);

    let view = scene.view();
    let progress = view.progress(b"alpha").unwrap().unwrap();

    assert_eq!(
        (progress.done, progress.total, progress.open, progress.workers),
        (600, 3_000, 1_400, 2)
    );
    assert_eq!((progress.jobs.leased, progress.jobs.cancelled, progress.jobs.all()), (2, 1, 3));
    assert_eq!(progress.share, 0.2);
    assert!(progress.last_activity > Some(early));
    assert_eq!(progress.last_activity, Some(scene.store.now()));
    let seconds = scene.store.now().since(began).as_secs_f64();
    assert_eq!(progress.rate, Some(300.0 / seconds));
    let left = Duration::from_secs_f64(1_400.0 * seconds / 300.0);
    let eta = progress.eta.unwrap();
    assert!(eta.since(scene.store.now()).abs_diff(left) < Duration::from_millis(1), "{eta}");
    let all = view.progress_all().unwrap();
    assert_eq!(all[0], progress);
    assert_eq!((&*all[1].prefix, all[1].rate, all[1].eta), (&b"other"[..], None, None));
    assert_eq!(view.progress(b"nothing").unwrap(), None);
    assert_eq!(view.progress(&[7; 300]).unwrap(), None);
}

#[test]
fn nothing_open_is_done_now() {
    let scene = Scene::new(100);
    let worker = scene.worker("pc-01");
    let mut lease = scene.lease(&worker, scene.job("alpha", 0, 100));
    scene.checkpoint(&mut lease, 100);
    scene.clock.advance(MINUTE);

    let progress = scene.view().progress(b"alpha").unwrap().unwrap();

    assert_eq!((progress.open, progress.share, progress.eta), (0, 1.0, Some(scene.store.now())));
}

#[test]
fn a_job_given_back_shows_no_holder_though_its_row_keeps_the_last_one() {
    let scene = Scene::new(100);
    let job = scene.job("alpha", 0, 100);
    scene.lease(&scene.worker("pc-01"), job).release().unwrap();

    let shown = scene.view().job(job).unwrap().unwrap();

    assert_eq!((shown.holder, shown.deadline), (None, None));
    assert_eq!(shown.token.number(), 1);
}
