//! The acceptance criteria, one test each, by name.
//!
//! Time is fed in by a [`ManualClock`](milepost::ManualClock), and nothing sleeps: threads wait for
//! what others do. Each test cites the promises of `docs/design.md` that it holds, and every store
//! is verified when its test is over: see [`support::Scene`].

#![expect(clippy::unwrap_used, reason = "these are tests")]

mod as_data;
mod bad_input;
mod bad_leases;
mod calendar;
mod cancelling;
mod caps;
mod closures;
mod damaged_retention;
mod damaged_rows;
mod dropped;
mod engines;
mod exactly_once;
mod failures;
mod files;
mod filters;
mod findings;
mod fleets;
mod imports;
mod jobs;
mod keep_alive;
mod leases;
mod ledger;
mod lowering;
mod on_demand;
mod overtaken;
mod process;
mod recovering;
mod registering;
mod scan;
mod sharing;
mod stale;
mod steps;
mod storage;
mod support;
mod threads;
mod tiers;
mod waiting;

/// What child processes run: the task that another test has given them. By itself it checks that
/// a task arrives at such a process, and its answer here.
#[test]
fn a_process_of_its_own() {
    let Some((task, argument)) = process::task() else {
        let output = process::child("echo", "some words").output().unwrap();
        assert_eq!(process::answers(&output), ["some words"]);
        return;
    };
    match task.as_str() {
        "echo" => process::answer(argument),
        "open with caps from the environment" => caps::open_with_caps_from_env(&argument),
        "work until nothing is left" => overtaken::work_until_nothing_is_left(&argument),
        "change folders" => files::change_folders(&argument),
        "hold a file" => sharing::hold_a_file(&argument),
        "open where it may not write" => sharing::open_where_it_may_not_write(&argument),
        _ => panic!("there is no task {task:?}"),
    }
}
