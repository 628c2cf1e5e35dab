//! Every side stores the same, and answers alike.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests as well")]

use std::time::Duration;

use milepost_bench::dashboard::{Answer, Question};
use milepost_bench::plan::Scale;
use milepost_bench::run::{Entry, Length};
use milepost_bench::sides::{Flush, Mode, Side};

/// Every tier at its cap, with few workers, so that it is filled fast.
const SMALL: Scale = Scale { workers: 3, jobs: 8, days: 1_000, months: 1_000, history: 10_000 };

fn length(count: u64) -> Length {
    Length { count, most: Duration::from_secs(60) }
}

fn used(side: Side, scale: &Scale) -> (tempfile::TempDir, Entry) {
    let folder = tempfile::tempdir().unwrap();
    let mut entry = Entry::new(side, folder.path(), scale).unwrap();
    entry.callers(4, length(100)).unwrap();
    entry.alone(length(100)).unwrap();
    entry.together(64, length(128)).unwrap();
    (folder, entry)
}

/// Used by one caller: the order in which several get their turn is up to the side.
fn in_one_order(side: Side) -> (tempfile::TempDir, Entry) {
    let folder = tempfile::tempdir().unwrap();
    let mut entry = Entry::new(side, folder.path(), &SMALL).unwrap();
    entry.alone(length(100)).unwrap();
    entry.together(64, length(128)).unwrap();
    (folder, entry)
}

#[test]
fn every_side_with_tiers_shows_what_the_ledger_says() {
    for side in Side::ALL.into_iter().filter(|side| !matches!(side, Side::SqliteRows(_))) {
        let (_folder, entry) = used(side, &SMALL);

        entry.check().unwrap();
    }
}

#[test]
fn every_side_begins_with_an_empty_store_as_well() {
    for side in Side::ALL {
        let scale = Scale { days: 0, months: 0, history: 0, ..SMALL };
        let (_folder, entry) = used(side, &scale);

        entry.check().unwrap();
    }
}

#[test]
fn a_checkpoint_that_was_not_made_is_missed() {
    for side in Side::ALL {
        let (_folder, mut entry) = used(side, &SMALL);
        let mut track = entry.books.tracks()[0];
        let _not_made = track.next(entry.books.now());

        entry.books.note(track);

        assert!(entry.check().is_err(), "{side} shows a checkpoint it was never given");
    }
}

#[test]
fn every_side_answers_alike() {
    let (_folder, ours) = in_one_order(Side::Milepost(Mode::Immediate));
    let mut ours = ours.rival.reader().unwrap();
    for side in [Side::SqliteTriggers(Flush::Full), Side::SqliteTuned(Flush::Full)] {
        let (_folder, theirs) = in_one_order(side);
        let mut theirs = theirs.rival.reader().unwrap();

        for question in Question::ALL {
            let (ours, theirs) = (ours.ask(question).unwrap(), theirs.ask(question).unwrap());

            assert!(ours.agrees_with(&theirs), "{question:?}, {side}: {theirs:?}, not {ours:?}");
        }
    }
}

#[test]
fn answers_that_differ_do_not_agree() {
    let one = Answer::Progress(1, 2, 3.0);

    assert!(one.agrees_with(&Answer::Progress(1, 2, 3.0 + 1e-12)));
    assert!(!one.agrees_with(&Answer::Progress(1, 2, 3.1)));
    assert!(!one.agrees_with(&Answer::Progress(2, 2, 3.0)));
    assert!(!one.agrees_with(&Answer::Counts([0; 5])));
}
