//! Totals, caps and history.

use super::{ANNE, BERT, check, scene};
use crate::query::scene::{day, month};
use crate::schema::key;
use crate::schema::rows::{DailyRow, HistoryRow, LifetimeRow, MonthlyRow, Newest, Rolled};
use crate::schema::tables;

#[test]
fn totals_that_do_not_add_up_are_named() {
    fn more(totals: &mut crate::Totals) {
        totals.items += 1;
    }
    check(&[
        (
            |scene| {
                scene.edit(&key::month(BERT, month("2026-01")), |row: &mut MonthlyRow| {
                    more(&mut row.totals)
                })
            },
            (tables::MONTHLY, "worker 2 in 2026-01", "its rolled part plus its days"),
        ),
        (
            |scene| {
                scene.edit(&key::month(BERT, month("2025-12")), |row: &mut MonthlyRow| {
                    row.rolled = Rolled::Nothing
                })
            },
            (tables::MONTHLY, "worker 2 in 2025-12", "its rolled part plus its days"),
        ),
        (
            |scene| {
                scene
                    .edit(&key::day(BERT, day("2026-01-31")), |row: &mut DailyRow| more(&mut row.0))
            },
            (tables::MONTHLY, "worker 2 in 2026-01", "its rolled part plus its days"),
        ),
        (
            |scene| {
                scene.edit(&key::day(BERT, day("2026-01-31")), |row: &mut DailyRow| {
                    row.0.min_rate = Some(0.5)
                });
            },
            (tables::MONTHLY, "worker 2 in 2026-01", "its rolled part plus its days"),
        ),
        (
            |scene| scene.delete(tables::DAILY, &key::day(BERT, day("2026-01-31"))),
            (tables::MONTHLY, "worker 2 in 2026-01", "its rolled part plus its days"),
        ),
        (
            |scene| scene.edit(&key::worker(BERT), |row: &mut LifetimeRow| more(&mut row.totals)),
            (tables::LIFETIME, "worker 2", "its rolled part plus its months"),
        ),
        (
            |scene| {
                scene.edit(&key::worker(BERT), |row: &mut LifetimeRow| row.rolled = Rolled::Nothing)
            },
            (tables::LIFETIME, "worker 2", "its rolled part plus its months"),
        ),
        (
            |scene| scene.delete(tables::MONTHLY, &key::month(BERT, month("2025-12"))),
            (tables::LIFETIME, "worker 2", "its rolled part plus its months"),
        ),
        (
            |scene| scene.delete(tables::MONTHLY, &key::month(BERT, month("2026-01"))),
            (tables::DAILY, "worker 2 on 2026-01-30", "no day outlives its month"),
        ),
        (
            |scene| scene.put(&key::day(BERT, day("2026-02-17")), &DailyRow(Default::default())),
            (tables::DAILY, "worker 2 at 2026-02-17", "older than the newest row"),
        ),
        (
            |scene| {
                scene.edit(&key::worker(BERT), |row: &mut LifetimeRow| row.month = Newest(None))
            },
            (tables::MONTHLY, "worker 2 at 2026-01", "older than the newest row"),
        ),
        (
            |scene| {
                for worker in [ANNE, BERT] {
                    scene.edit(&key::worker(worker), |row: &mut LifetimeRow| {
                        let all = crate::Totals { batches: u64::MAX, ..row.totals };
                        let part = row.rolled.of(&row.totals);
                        let rolled = u64::MAX - row.totals.batches + part.batches;
                        row.rolled = Rolled::Part(crate::Totals { batches: rolled, ..part });
                        row.totals = all;
                    });
                }
            },
            (tables::LIFETIME, "worker 2", "the sum over all workers fits"),
        ),
        (
            |scene| scene.edit(&key::worker(BERT), |row: &mut LifetimeRow| row.days += 1),
            (tables::LIFETIME, "worker 2", "counts its days, 3"),
        ),
        (
            |scene| scene.edit(&key::worker(BERT), |row: &mut LifetimeRow| row.months -= 1),
            (tables::LIFETIME, "worker 2", "counts its months, 3"),
        ),
    ]);
}

#[test]
fn tiers_over_their_caps_are_named() {
    check(&[
        (
            |scene| scene.control(|control| control.caps.history = 3),
            (tables::HISTORY, "the newest record", "4 records are within the cap of 3"),
        ),
        (
            |scene| scene.control(|control| control.caps.daily = 2),
            (tables::LIFETIME, "worker 1", "3 days are within the cap of 2"),
        ),
        (
            |scene| scene.control(|control| control.caps.monthly = 2),
            (tables::LIFETIME, "worker 2", "3 months are within the cap of 2"),
        ),
        (
            |scene| {
                scene.control(|control| {
                    control.caps.daily = 2;
                    control.workers_settling = Some(BERT);
                });
            },
            (tables::LIFETIME, "worker 1", "3 days are within the cap of 2"),
        ),
        (
            |scene| scene.control(|control| control.caps.monthly = 0),
            (tables::META, "control", "every cap is at least 1"),
        ),
    ]);
}

#[test]
fn tiers_that_are_still_being_brought_under_their_caps_are_in_order() {
    let scene = scene();

    scene.control(|control| {
        control.caps = crate::Caps { history: 1, daily: 1, monthly: 1 };
        control.history_settling = true;
        control.workers_settling = Some(ANNE);
    });

    assert!(scene.view().verify().is_ok());
}

#[test]
fn gaps_in_history_are_named() {
    check(&[
        (
            |scene| scene.delete(tables::HISTORY, &key::number(11)),
            (tables::HISTORY, "record 12", "without a gap"),
        ),
        (
            |scene| {
                scene.edit(&key::number(11), |row: &mut HistoryRow| {
                    row.batch.start = row.batch.end + 1
                })
            },
            (tables::HISTORY, "record 11", "not before its start"),
        ),
    ]);
}
