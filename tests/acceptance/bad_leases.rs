//! Commands under a lease that do not fit: each gets its own clear error, and changes nothing.

use milepost::{Action, Batch, Error, JobId, Lease, LeaseCommand, Lost, NewJob, Token};

use crate::support::{DAY, MINUTE, Scene, advance, dump, lease, refused};

fn command(lease: &Lease, sequence: u64, action: Action) -> LeaseCommand {
    LeaseCommand::new(lease.job(), lease.token(), sequence, action)
}

fn checkpoint(from: u64, to: u64) -> Action {
    Action::Checkpoint(Batch::new(from..to, MINUTE))
}

/// A store, and a lease of 100..1,100 whose cursor stands at 300 after two checkpoints.
fn scene() -> (Scene, Lease) {
    let scene = Scene::with(|builder| builder.history_limit(1));
    scene.create_job(NewJob::new("keys", 100..1_100)).expect("the range is free");
    let mut lease = lease(&scene.pc("w"));
    advance(&mut lease, 100);
    advance(&mut lease, 100);
    (scene, lease)
}

/// Promises 3 and 13.
#[test]
fn a_token_that_was_never_issued_is_refused() {
    let (scene, lease) = scene();
    for number in [0, 2, u64::MAX] {
        let token = Token::from(number);
        let mut foreign = command(&lease, 3, checkpoint(300, 400));
        foreign.token = token;

        let error = refused(&scene, || scene.submit(foreign));

        assert!(
            matches!(error, Error::LeaseLost { why: Lost::Superseded, token: of, .. } if of == token),
            "{error:?}"
        );
        assert!(error.to_string().contains(&format!("under token {number}")), "{error}");
    }
}

/// Promises 3 and 13.
#[test]
fn the_token_of_another_job_is_refused() {
    let (scene, first) = scene();
    let job = scene.create_job(NewJob::new("other", 0..10)).unwrap();
    let worker = scene.pc("w");
    lease(&worker).abandon();
    scene.clock.advance(DAY);
    let other = worker.request(MINUTE).of_job(job).send().unwrap().leased().unwrap();
    assert_ne!(first.token(), other.token());

    let mut foreign = command(&first, 3, Action::Release);
    foreign.token = other.token();
    let error = refused(&scene, || scene.submit(foreign));

    assert!(matches!(error, Error::LeaseLost { why: Lost::Superseded, .. }), "{error:?}");
}

/// Promises 3 and 13.
#[test]
fn every_command_under_a_stale_token_is_refused() {
    let (scene, stale) = scene();
    scene.clock.advance(DAY);
    let taken = lease(&scene.pc("other"));

    for action in [
        checkpoint(300, 400),
        // The very command that was its last, too: nothing of it is known any more.
        checkpoint(200, 300),
        Action::Renew,
        Action::Release,
        Action::Fail { reason: "no luck".into(), batch: None },
    ] {
        for sequence in [1, 2, 3] {
            let late = command(&stale, sequence, action.clone());
            let error = refused(&scene, || scene.submit(late));
            assert!(matches!(error, Error::LeaseLost { why: Lost::Superseded, .. }), "{error:?}");
        }
    }
    assert_eq!(taken.cursor(), 300);
    drop(stale);
    assert_eq!(
        scene.snapshot().unwrap().leases(None, usize::MAX).unwrap().len(),
        1,
        "nor does dropping it"
    );
}

/// Promises 3 and 13.
#[test]
fn a_handle_that_ended_its_lease_gets_an_error_that_says_so() {
    let (scene, mut lease) = scene();
    lease.release().unwrap();

    let errors = [
        refused(&scene, || lease.release()),
        refused(&scene, || lease.renew()),
        refused(&scene, || lease.fail("again")),
        refused(&scene, || lease.checkpoint(Batch::new(300..400, MINUTE))),
    ];

    for error in errors {
        assert!(matches!(error, Error::LeaseLost { why: Lost::Ended, .. }), "{error:?}");
        assert!(error.to_string().contains("already ended its lease"), "{error}");
    }
}

/// Promises 2 and 13.
#[test]
fn a_cursor_behind_or_unmoved_is_refused() {
    let (scene, lease) = scene();

    for (from, to, text) in [
        (300, 200, "to 200 does not move its cursor forward from 300"),
        (300, 300, "to 300 does not move its cursor forward from 300"),
        (300, 0, "to 0 does not move its cursor forward from 300"),
        (200, 250, "starts at 200, but its cursor is at 300"),
        (200, 400, "starts at 200, but its cursor is at 300"),
        (301, 400, "starts at 301, but its cursor is at 300"),
    ] {
        let error = refused(&scene, || scene.submit(command(&lease, 3, checkpoint(from, to))));
        assert!(
            matches!(error, Error::CursorMismatch { cursor: 300, end: 1_100, .. }),
            "{error:?}"
        );
        assert!(error.to_string().ends_with(text), "{error}");
    }
}

/// Promises 2 and 13.
#[test]
fn a_cursor_past_the_end_is_refused() {
    let (scene, mut lease) = scene();

    for to in [1_101, u64::MAX] {
        let error = refused(&scene, || lease.checkpoint(Batch::new(300..to, MINUTE)));
        assert!(matches!(error, Error::CursorMismatch { .. }), "{error:?}");
        let text = format!("to {to} lies past the end of its range, 1100");
        assert!(error.to_string().ends_with(&text), "{error}");
    }

    assert_eq!(lease.checkpoint(Batch::new(300..1_100, MINUTE)).unwrap().cursor, 1_100);
    let error = refused(&scene, || lease.checkpoint(Batch::new(0..0, MINUTE)));
    assert!(matches!(error, Error::LeaseLost { why: Lost::Ended, .. }), "{error:?}");
}

/// Promises 2, 4 and 13.
#[test]
fn a_checkpoint_repeated_under_a_new_number_is_refused() {
    let (scene, lease) = scene();

    let error = refused(&scene, || scene.submit(command(&lease, 3, checkpoint(200, 300))));

    assert!(matches!(error, Error::CursorMismatch { from: 200, cursor: 300, .. }), "{error:?}");
}

/// Promises 4 and 13.
#[test]
fn the_last_number_with_other_content_is_refused() {
    let (scene, lease) = scene();
    let other_batch = Batch::new(200..300, MINUTE + MINUTE);
    for action in
        [checkpoint(200, 301), Action::Checkpoint(other_batch), Action::Renew, Action::Release]
    {
        let error = refused(&scene, || scene.submit(command(&lease, 2, action)));

        assert!(matches!(error, Error::CommandAltered { sequence: 2, .. }), "{error:?}");
        assert!(error.to_string().contains("already applied with other content"), "{error}");
    }
}

/// Promises 4 and 13.
#[test]
fn any_other_number_is_refused_with_the_one_that_is_expected() {
    let (scene, lease) = scene();
    for sequence in [0, 1, 4, 5, u64::MAX] {
        let error =
            refused(&scene, || scene.submit(command(&lease, sequence, checkpoint(300, 400))));

        assert!(
            matches!(error, Error::OutOfSequence { expected: 3, sequence: of, .. } if of == sequence),
            "{error:?}"
        );
        assert!(error.to_string().contains("the next one is 3"), "{error}");
    }
}

/// Promise 13.
#[test]
fn a_command_for_an_unknown_job_is_refused() {
    let (scene, lease) = scene();
    let job = JobId::from(99);

    let mut unknown = command(&lease, 3, Action::Renew);
    unknown.job = job;
    let error = refused(&scene, || scene.submit(unknown));

    assert!(matches!(error, Error::UnknownJob(of) if of == job), "{error:?}");
}

/// Promises 4 and 13: commands sent together.
#[test]
fn of_commands_sent_together_those_refused_leave_no_trace_and_stop_no_others() {
    let (scene, lease) = scene();
    let (twin, twin_lease) = self::scene();
    let good = [checkpoint(300, 400), Action::Renew, checkpoint(400, 500)];
    let bad = [checkpoint(0, 100), checkpoint(310, 400), checkpoint(300, 2_000)];

    let mut sent = Vec::new();
    for (n, (good, bad)) in good.iter().zip(bad).enumerate() {
        sent.push(command(&lease, 3 + n as u64, bad));
        sent.push(command(&lease, 3 + n as u64, good.clone()));
        sent.push(command(&lease, 99, Action::Release));
    }
    let answers = scene.submit_many(sent);
    let alone = twin.submit_many(
        good.into_iter().zip(3..).map(|(action, sequence)| command(&twin_lease, sequence, action)),
    );

    let accepted: Vec<_> = answers.iter().filter_map(|answer| answer.as_ref().ok()).collect();
    assert_eq!(accepted, alone.iter().map(|answer| answer.as_ref().unwrap()).collect::<Vec<_>>());
    assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), 6);
    assert!(dump(&scene) == dump(&twin), "as if the others had never been sent");
}
