//! Every side stores the same, and answers alike.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests as well")]

use std::time::Duration;

use milepost_bench::dashboard::{Answer, Question};
use milepost_bench::plan::{self, HISTORY_LIMIT, Scale, Step, Track};
use milepost_bench::rival::{Connections, Rival};
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
fn every_side_returns_the_same() {
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
fn results_that_differ_do_not_agree() {
    let one = Answer::Progress(1, 2, 3.0);

    assert!(one.agrees_with(&Answer::Progress(1, 2, 3.0 + 1e-12)));
    assert!(!one.agrees_with(&Answer::Progress(1, 2, 3.1)));
    assert!(!one.agrees_with(&Answer::Progress(2, 2, 3.0)));
    assert!(!one.agrees_with(&Answer::Counts([0; 5])));
}

/// What two workers do, each of whom holds two jobs, on every side that is asked questions.
struct Fleet {
    /// milepost first.
    sides: Vec<(Side, Box<dyn Rival>)>,
    tracks: Vec<Track>,
    now: i64,
    _folder: tempfile::TempDir,
}

impl Fleet {
    /// Jobs 0 and 2 are held by one worker, 1 and 3 by the other; 2 and 3 are for checkpoints together.
    fn new() -> Fleet {
        let scale = Scale { workers: 2, jobs: 2, days: 0, months: 0, history: 0 };
        let folder = tempfile::tempdir().unwrap();
        let sides = [
            Side::Milepost(Mode::Immediate),
            Side::SqliteTriggers(Flush::Full),
            Side::SqliteTuned(Flush::Full),
        ];
        let open = |side: Side| {
            let folder = folder.path().join(side.to_string());
            std::fs::create_dir(&folder).unwrap();
            side.fill(&folder, &scale).unwrap();
            (side, side.open(&folder, &scale, &scale.tracks()).unwrap())
        };
        let sides = sides.map(open).into();
        Fleet { sides, tracks: scale.tracks(), now: plan::start().as_micros(), _folder: folder }
    }

    fn wait(&mut self, seconds: i64) {
        self.now += seconds * 1_000_000;
    }

    /// Reports a batch that took so long.
    fn report(&mut self, job: usize, seconds: u64) {
        let step = Step { duration_us: seconds * 1_000_000, ..self.tracks[job].next(self.now) };
        for (_, rival) in &self.sides {
            rival.caller(Connections::OneForAll).unwrap().alone(&step).unwrap();
        }
    }

    /// Reports as many batches at once as history holds, so that all others leave it.
    fn flood(&mut self, job: usize, seconds: u64) {
        let mut next =
            || Step { duration_us: seconds * 1_000_000, ..self.tracks[job].next(self.now) };
        let steps: Vec<Step> = (0..HISTORY_LIMIT).map(|_| next()).collect();
        for (_, rival) in &self.sides {
            rival.caller(Connections::OneForAll).unwrap().together(&steps).unwrap();
        }
    }

    /// Holds every side to the positions a second that the jobs move.
    fn expect(&self, per_second: f64) {
        for (side, rival) in &self.sides {
            let answer = rival.reader().unwrap().ask(Question::Progress).unwrap();
            let Answer::Progress(done, total, _) = answer else { panic!("{side}: {answer:?}") };
            let expected = Answer::Progress(done, total, per_second);
            assert!(expected.agrees_with(&answer), "{side}: {answer:?}, not {expected:?}");
        }
    }
}

#[test]
fn every_side_measures_held_jobs_by_the_same_definition() {
    let mut fleet = Fleet::new();
    fleet.expect(0.0);

    // A job that has not moved takes the rate of its holder; of the other worker nothing is known.
    fleet.wait(30);
    fleet.report(0, 25);
    fleet.expect(1_000.0 / 25.0 * 2.0);

    // Pauses count for a job's own batches, but not for those of a holder.
    fleet.wait(50);
    fleet.report(0, 25);
    fleet.expect(2_000.0 / 75.0 + 1_000.0 / 25.0);

    // After five batches, a job that has not moved for three times their length does not count.
    (0..3).for_each(|_| {
        fleet.wait(25);
        fleet.report(0, 25);
    });
    fleet.expect(5_000.0 / 150.0);

    // A batch that began before the 15 minutes counts in part, also for the job that takes its rate.
    fleet.wait(600);
    fleet.report(1, 3_600);
    fleet.expect(1_000.0 / 3_600.0 * 2.0);

    // A pause counts even if no other batch lies in the 15 minutes.
    fleet.wait(400);
    fleet.report(0, 100);
    fleet.expect(1_000.0 / 900.0 + 1_000.0 / 3_600.0 * 2.0);

    // All that was ever done of a job stands in once its batches have left history.
    fleet.flood(3, 20);
    fleet.expect(6_000.0 / 225.0 + 1_000.0 / 3_600.0 + 10_000_000.0 / 20.0);
}

#[test]
fn every_side_looks_at_sixteen_batches_of_a_holder() {
    let mut fleet = Fleet::new();
    fleet.wait(10);
    fleet.report(0, 10);

    (0..16).for_each(|_| {
        fleet.wait(1);
        fleet.report(0, 1);
    });

    fleet.expect(17_000.0 / 26.0 + 16_000.0 / 16.0);
}
