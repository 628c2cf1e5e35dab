use super::*;
use crate::error::Lost;

const NOON: Timestamp = Timestamp::EPOCH;
const MINUTE: Duration = Duration::from_secs(60);

fn id(n: u64) -> Id {
    (JobId(n), Token(1))
}

/// A schedule of so many leases of a minute, all taken at noon.
fn schedule(leases: u64) -> Schedule {
    let mut schedule = Schedule::new();
    for n in 0..leases {
        schedule.insert(id(n), MINUTE, &Arc::new(Deadline::new(NOON.saturating_add(MINUTE))));
    }
    schedule
}

fn settle(schedule: &mut Schedule, now: Timestamp, group: &[Id], answer: &Result<Reply>) {
    schedule.settle(now, group.iter().map(|id| (*id, answer.clone())));
}

fn renewed(now: Timestamp) -> Result<Reply> {
    Ok(Answer::KeptAlive { deadline: now.saturating_add(MINUTE) }.into())
}

#[test]
fn a_lease_is_due_once_a_quarter_to_a_third_of_its_length_has_passed() {
    for micros in [1_u64, 2, 999, 30_000, 60_000_000, 86_400_000_000, 316_224_000_000_000] {
        for leased in [-1, 0, 1, 1_771_243_200_000_000] {
            let leased = Timestamp::from_micros(leased).unwrap();
            let after = |micros| leased.saturating_add(Duration::from_micros(micros));
            let due = due(after(micros), Duration::from_micros(micros));
            let expected = after(micros / 4)..=after(micros.div_ceil(3));
            assert!(expected.contains(&due), "{micros} us from {leased}: {due}");
        }
    }
}

/// Those of a minute every four seconds.
#[test]
fn leases_come_due_together() {
    let due_at =
        |ms| due(NOON.saturating_add(Duration::from_millis(ms)).saturating_add(MINUTE), MINUTE);
    let times: BTreeSet<Timestamp> = (0..60_000).map(due_at).collect();

    assert!(times.len() <= 16, "{}", times.len());
}

/// Promise 14.
#[test]
fn nothing_is_left_of_a_lease_that_ended_also_while_it_was_being_renewed() {
    let mut schedule = schedule(2);
    let now = NOON.saturating_add(MINUTE / 3);
    let group = schedule.take_due(now);
    assert_eq!(group, [id(0), id(1)]);

    schedule.remove(id(0));
    settle(&mut schedule, now, &group, &renewed(now));
    schedule.remove(id(1));

    assert_eq!((schedule.leases.len(), schedule.queue.len()), (0, 0));
}

#[test]
fn what_is_due_is_taken_in_groups_and_then_not_again_for_a_quarter_of_its_length() {
    let mut schedule = schedule(GROUP as u64 + 1);
    assert!(schedule.take_due(NOON).is_empty());
    let now = NOON.saturating_add(MINUTE / 3);

    for size in [GROUP, 1, 0] {
        let group = schedule.take_due(now);
        assert_eq!(group.len(), size);
        settle(&mut schedule, now, &group, &renewed(now));
    }

    assert!(schedule.take_due(now.saturating_add(MINUTE / 4)).is_empty());
    assert_eq!(schedule.take_due(now.saturating_add(MINUTE / 3)).len(), GROUP);
}

/// Promise 13: also that of one damaged row, which must not hold up the others.
#[test]
fn a_failed_renewal_is_repeated_after_a_second_and_others_go_first() {
    let mut schedule = schedule(GROUP as u64 + 1);
    let now = NOON.saturating_add(MINUTE / 3);
    let group = schedule.take_due(now);

    settle(&mut schedule, now, &group, &Err(Error::Corrupted { what: "a row".into() }));

    assert_eq!(schedule.take_due(now), [id(GROUP as u64)]);
    assert!(schedule.take_due(now).is_empty());
    assert_eq!(schedule.take_due(now.saturating_add(LOOK_AGAIN)).len(), GROUP);
}

#[test]
fn every_lease_is_due_at_once_when_that_is_asked_for_or_the_clock_was_set_back() {
    let mut schedule = schedule(2);
    schedule.look_at_the_clock(NOON);
    schedule.renew_all = true;
    schedule.look_at_the_clock(NOON);
    let group = schedule.take_due(NOON);
    assert_eq!(group.len(), 2);
    settle(&mut schedule, NOON, &group, &renewed(NOON));

    schedule.look_at_the_clock(NOON.saturating_sub(LOOK_AGAIN));
    assert!(
        schedule.take_due(NOON.saturating_sub(LOOK_AGAIN)).is_empty(),
        "by no more than a second"
    );
    let earlier = NOON.saturating_sub(LOOK_AGAIN + Duration::from_micros(1));
    schedule.look_at_the_clock(earlier);
    let group = schedule.take_due(earlier);
    assert_eq!(group.len(), 2);
    settle(&mut schedule, earlier, &group, &renewed(earlier));

    schedule.look_at_the_clock(earlier);
    assert!(schedule.take_due(earlier).is_empty(), "it is noticed once");
}

#[test]
fn a_lost_lease_is_dropped_and_a_closed_store_stops_the_thread() {
    let mut schedule = schedule(3);
    let now = NOON.saturating_add(MINUTE / 3);
    let group = schedule.take_due(now);
    let (job, token) = id(0);

    let lost =
        Err(Error::LeaseLost { job, token, why: Lost::Superseded, holder: None, since: None });
    settle(&mut schedule, now, &group[..1], &lost);
    settle(&mut schedule, now, &group[1..2], &Err(Error::UnknownJob(id(1).0)));
    assert_eq!(schedule.leases.keys().collect::<Vec<_>>(), [&id(2)]);
    assert!(!schedule.stopped);

    settle(&mut schedule, now, &group[2..], &Err(Error::Closed));
    assert!(schedule.stopped);
}

#[test]
fn even_the_shortest_lease_is_renewed_once_a_millisecond_at_most() {
    let mut schedule = Schedule::new();
    let micro = Duration::from_micros(1);
    let now = NOON.saturating_add(micro);
    schedule.insert(id(0), micro, &Arc::new(Deadline::new(now)));
    let group = schedule.take_due(now);
    assert_eq!(group, [id(0)]);

    settle(
        &mut schedule,
        now,
        &group,
        &Ok(Answer::KeptAlive { deadline: now.saturating_add(micro) }.into()),
    );

    assert!(schedule.take_due(now.saturating_add(SHORTEST_INTERVAL - micro)).is_empty());
    assert_eq!(schedule.take_due(now.saturating_add(SHORTEST_INTERVAL)), [id(0)]);
}
