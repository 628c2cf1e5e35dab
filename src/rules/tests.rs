//! Random commands on damaged rows: those that are refused leave no trace.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};

use super::apply_all;
use crate::config::{Caps, CapsChange};
use crate::error::{Error, Result};
use crate::schema::access::{self, ALL};
use crate::schema::key;
use crate::schema::meta;
use crate::schema::rows::JobRow;
use crate::schema::tables;
use crate::storage::{Engine, Flush, MemoryEngine, Order, Table};
use crate::time::Timestamp;
use crate::types::command::{Command, LeaseTerms, Reply, Stamped, Wanted};
use crate::types::{Action, LeaseCommand};
use crate::types::{Batch, Import, JobId, NewFinding, NewJob, PastBatch, WorkerId};

const HOUR: u64 = 3_600;

/// A command in small numbers, which mean something in any state.
#[derive(Debug, Clone, Copy)]
struct Step {
    kind: u8,
    job: u64,
    worker: u32,
    number: u64,
}

fn step() -> impl Strategy<Value = Step> {
    (0..24u8, 1..9u64, 1..4u32, 0..40u64).prop_map(|(kind, job, worker, number)| Step {
        kind,
        job,
        worker,
        number,
    })
}

/// Which row is damaged, counted over all tables, and how.
#[derive(Debug, Clone, Copy)]
struct Damage {
    row: usize,
    how: u8,
}

fn damage() -> impl Strategy<Value = Damage> {
    (0..1_000usize, 0..4u8).prop_map(|(row, how)| Damage { row, how })
}

type Rows = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

fn rows(engine: &MemoryEngine) -> Rows {
    let view = engine.snapshot().unwrap();
    let mut rows = Rows::new();
    for table in tables::ALL {
        view.scan(table, ALL, Order::Ascending, &mut |key, value| {
            rows.insert((table, key.to_vec()), value.to_vec());
            ControlFlow::Continue(())
        })
        .unwrap();
    }
    rows
}

/// Damages a row, but not those that every command needs. An entry without a value is removed.
fn spoil(engine: &MemoryEngine, damage: Damage) {
    let all = rows(engine);
    let others = || all.iter().filter(|((table, _), _)| *table != tables::META);
    let Some(((table, key), value)) = others().nth(damage.row % others().count()) else { return };
    let spoilt = match damage.how {
        0 => [value, &[0][..]].concat(),
        1 => value[..value.len() / 2].to_vec(),
        2 => [&[77], &value[..]].concat(),
        _ => Vec::new(),
    };
    engine
        .write(Flush::Now, &mut |txn| match value.is_empty() || damage.how == 3 {
            true => txn.delete(*table, key),
            false => txn.put(*table, key, &spoilt),
        })
        .unwrap();
}

fn copy_of(engine: &MemoryEngine) -> MemoryEngine {
    let copy = MemoryEngine::new();
    copy.write(Flush::Now, &mut |txn| {
        rows(engine).iter().try_for_each(|((table, key), value)| txn.put(*table, key, value))
    })
    .unwrap();
    copy
}

fn apply(engine: &MemoryEngine, commands: &[&Stamped]) -> Vec<Result<Reply>> {
    let mut answers = Vec::new();
    engine
        .write(Flush::Now, &mut |txn| {
            answers.clear();
            apply_all(txn, commands, &mut answers).map(|_| ())
        })
        .unwrap();
    answers
}

/// What a step means in this state.
fn command(engine: &MemoryEngine, step: Step, now: Timestamp) -> Stamped {
    let Step { kind, job: number, worker, number: n } = step;
    let (job, worker) = (JobId(number), WorkerId(worker));
    let held = |action: fn(&JobRow, u64) -> Action| {
        let view = engine.snapshot().unwrap();
        let row = access::load::<JobRow>(&*view, &key::job(job)).ok().flatten();
        row.map_or(Command::Flush, |row| {
            let action = action(&row, n);
            let (token, sequence) = (row.token, row.sequence + 1);
            Command::Held(LeaseCommand { job, token, sequence, action })
        })
    };
    let checkpoint = |row: &JobRow, n: u64| {
        let (from, to) = (row.cursor, (row.cursor + n).min(row.end));
        let batch = Batch::new(from..to, std::time::Duration::from_secs(n));
        Action::Checkpoint(batch.with_finding([n as u8], b"payload"))
    };
    let command = match kind {
        0 => Command::Register(format!("pc-{worker}").into()),
        1 => Command::Create(vec![
            NewJob::new("a", n * 10..n * 10 + 25).max_attempts(2),
            NewJob::new("b", n * 10..n * 10 + 10),
        ]),
        2 => Command::FindOrCreate(vec![NewJob::new("a", n * 10..n * 10 + 10)]),
        3..=6 => Command::Lease(LeaseTerms {
            worker,
            length_us: n * HOUR * 100_000 + 1,
            wanted: match n % 3 {
                0 => Wanted::Any,
                1 => Wanted::Prefix(b"a".to_vec()),
                _ => Wanted::Job(job),
            },
            resume: n % 2 == 0,
            spread: n % 3 == 0,
            on_demand: None,
        }),
        7..=14 => held(checkpoint),
        15 => held(|_, _| Action::Renew),
        16 => held(|row, _| {
            Action::Checkpoint(Batch::new(row.cursor..row.end, std::time::Duration::ZERO))
        }),
        17 => held(|_, n| Action::Fail { reason: n.to_string(), batch: None }),
        18 => held(|_, _| Action::Release),
        19 => match n % 3 {
            0 => Command::Cancel(job),
            1 => Command::Retry(job),
            _ => Command::Delete(job),
        },
        20 => Command::ReleaseStale {
            since: now.saturating_sub(std::time::Duration::from_secs(n * HOUR)),
            after: None,
        },
        21 => Command::Late { worker, job, finding: NewFinding::new([n as u8], b"late") },
        22 => {
            let at = now.saturating_sub(std::time::Duration::from_secs(n * n * HOUR));
            let batch = PastBatch::new(worker, 0..n, at);
            let batch = batch.with_duration(std::time::Duration::from_micros(n));
            Command::Import(Import::new(format!("{n}"), 1).history(batch))
        }
        _ => match n % 4 {
            0 => Command::SetCaps(CapsChange {
                history: Some(1 + n as u32),
                daily: Some(1 + n as u32 % 3),
                monthly: Some(1 + n as u32 % 2),
            }),
            _ => Command::Settle,
        },
    };
    Stamped::new(now, command)
}

fn is_damage(answer: &Result<Reply>) -> bool {
    matches!(answer, Err(Error::Corrupted { .. } | Error::Internal { .. }))
}

/// Applies groups of commands to a damaged store, and to its twin without those that were refused
/// for the damage. Returns how many those were.
fn compare(before: &[Step], damages: &[Damage], groups: &[Vec<Step>]) -> (u64, u64) {
    let engine = MemoryEngine::new();
    let caps = Caps { history: 6, daily: 3, monthly: 2 };
    engine.write(Flush::Now, &mut |txn| meta::initialize(txn, caps)).unwrap();
    let mut now: Timestamp = "2026-02-16T12:00:00Z".parse().unwrap();
    let mut pass = || {
        now = now.saturating_add(std::time::Duration::from_secs(5 * HOUR));
        now
    };
    let first = (1..4).map(|worker| Step { kind: 0, job: 0, worker, number: 0 });
    let jobs = (0..4).map(|n| Step { kind: 1, job: 0, worker: 1, number: n * 3 });
    for step in first.chain(jobs).chain(before.iter().copied()) {
        let command = command(&engine, step, pass());
        apply(&engine, &[&command]);
    }
    damages.iter().for_each(|damage| spoil(&engine, *damage));
    let twin = copy_of(&engine);

    let (mut refused, mut applied) = (0, 0);
    for group in groups {
        let now = pass();
        let commands: Vec<Stamped> =
            group.iter().map(|step| command(&engine, *step, now)).collect();
        let answers = apply(&engine, &commands.iter().collect::<Vec<_>>());
        // Settling does what it can, and then returns what it could not do.
        let kept = |stamped: &Stamped, answer: &Result<Reply>| {
            !is_damage(answer) || matches!(stamped.command, Command::Settle)
        };
        let (rest, expected): (Vec<_>, Vec<_>) =
            commands.iter().zip(answers).filter(|(stamped, answer)| kept(stamped, answer)).unzip();
        refused += (commands.len() - rest.len()) as u64;
        applied += rest.len() as u64;

        let found = apply(&twin, &rest);

        assert_eq!(format!("{found:?}"), format!("{expected:?}"));
        assert_eq!(rows(&twin), rows(&engine), "{commands:#?}");
    }
    (refused, applied)
}

/// Promise 13.
#[test]
fn commands_that_encounter_damage_leave_no_trace() {
    let (refused, applied) = (AtomicU64::new(0), AtomicU64::new(0));
    let strategy = (vec(step(), 10..60), vec(damage(), 1..4), vec(vec(step(), 1..8), 1..12));
    TestRunner::new(Config::with_cases(300))
        .run(&strategy, |(before, damages, groups)| {
            let counts = compare(&before, &damages, &groups);
            refused.fetch_add(counts.0, Ordering::Relaxed);
            applied.fetch_add(counts.1, Ordering::Relaxed);
            Ok(())
        })
        .unwrap();

    let (refused, applied) = (refused.into_inner(), applied.into_inner());
    assert!(refused > 100 && applied > 2_000, "{refused} refused, {applied} applied");
}

/// Promise 11.
#[test]
fn a_group_must_be_synced_if_it_completes_a_job() {
    let engine = MemoryEngine::new();
    let now: Timestamp = "2026-02-16T12:00:00Z".parse().unwrap();
    engine.write(Flush::Now, &mut |txn| meta::initialize(txn, Caps::default())).unwrap();
    let length = std::time::Duration::from_secs(60);
    for command in [
        Command::Register("pc-1".into()),
        Command::Create(vec![NewJob::new("a", 0..10)]),
        Command::Lease(LeaseTerms::new(WorkerId(1), length)),
    ] {
        assert!(apply(&engine, &[&Stamped::new(now, command)])[0].is_ok());
    }
    let job = JobId(1);
    let row: JobRow = access::load(&*engine.snapshot().unwrap(), &key::job(job)).unwrap().unwrap();
    for (sequence, range, completes) in [(1, 0..5, false), (2, 5..10, true)] {
        let action = Action::Checkpoint(Batch::new(range.clone(), length));
        let command = Command::Held(LeaseCommand { job, token: row.token, sequence, action });
        let group = [Stamped::new(now, command), Stamped::new(now, Command::Flush)];
        let mut must_be_synced = None;
        engine
            .write(Flush::Now, &mut |txn| {
                let mut results = Vec::new();
                let effects = apply_all(txn, &group.each_ref(), &mut results)?;
                assert!(results.iter().all(Result::is_ok), "{results:?}");
                must_be_synced = Some(effects.must_be_synced);
                Ok(())
            })
            .unwrap();
        assert_eq!(must_be_synced, Some(completes), "{range:?}");
    }
}
