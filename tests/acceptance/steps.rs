//! Whichever caps are lowered, in whatever order: no commit removes more than a step beyond what it
//! adds, the law holds after each, and in the end exactly the newest rows are left.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use milepost::testing::MemoryEngine;
use milepost::{CapsChange, Day, Import, Month, PastBatch, WorkerId};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;

use crate::ledger::{Ledger, past, totals_of_day};
use crate::support::{Scene, nth_day, nth_month};

/// The most rows that one commit removes beyond what it adds.
const STEP: u64 = 256;

/// What the tiers of a worker hold to begin with: months, and after them days.
#[derive(Debug, Clone)]
struct Past {
    months: i32,
    days: i32,
    stride: i32,
}

#[derive(Debug, Clone)]
enum Op {
    /// Lowers caps to these, where they are lower.
    Lower { history: Option<u32>, daily: Option<u32>, monthly: Option<u32> },
    /// Adds records, each so many days after the one before.
    Records { count: usize, days: i32 },
    /// Commits that change nothing themselves.
    Nothing(usize),
}

fn past_of_a_worker() -> impl Strategy<Value = Past> {
    (0..20, 0..250, 1..9).prop_map(|(months, days, stride)| Past { months, days, stride })
}

fn op() -> impl Strategy<Value = Op> {
    let cap = |most: u32| option::of(prop_oneof![1..5u32, 1..most]);
    prop_oneof![
        2 => (cap(200), cap(200), cap(30))
            .prop_map(|(history, daily, monthly)| Op::Lower { history, daily, monthly }),
        2 => (1..9usize, 0..40i32).prop_map(|(count, days)| Op::Records { count, days }),
        1 => (1..4usize).prop_map(Op::Nothing),
    ]
}

/// A store, and what it should hold.
struct Run {
    scene: Scene,
    ledger: Ledger,
    workers: Vec<WorkerId>,
    months: BTreeSet<(WorkerId, Month)>,
    days: BTreeSet<(WorkerId, Day)>,
    records: Vec<PastBatch>,
    /// The day of the newest record.
    today: Day,
    caps: milepost::Caps,
    /// Rows of history and of all tiers after the last commit.
    rows: (u64, u64),
}

impl Run {
    fn new(engine: MemoryEngine) -> Run {
        let scene = Scene::on(Arc::new(engine));
        let workers = ["a", "b", "c"].map(|name| scene.pc(name).id()).into();
        let caps = scene.snapshot().expect("the store is open").caps();
        Run {
            scene,
            ledger: Ledger::default(),
            workers,
            months: BTreeSet::new(),
            days: BTreeSet::new(),
            records: Vec::new(),
            today: nth_day(3_000),
            caps,
            rows: (0, 0),
        }
    }

    fn fill(&mut self, worker: WorkerId, past: &Past) {
        for n in 0..past.months {
            let month = nth_month(n);
            let totals = totals_of_day(month.first_day(), n as u64);
            self.ledger.note_month(worker, month, totals);
            self.months.insert((worker, month));
            self.import(|import| import.monthly(worker, month, totals));
        }
        for n in 0..past.days {
            let day = nth_day(n * past.stride);
            let totals = totals_of_day(day, n as u64);
            self.ledger.note_day(worker, day, totals);
            self.days.insert((worker, day));
            self.import(|import| import.daily(worker, day, totals));
        }
    }

    fn import(&self, with: impl FnOnce(Import) -> Import) {
        let number = self.scene.snapshot().and_then(|view| view.last_import("fill"));
        let number = number.expect("the store is open").map_or(0, |last| last + 1);
        assert!(self.scene.import(with(Import::new("fill", number))).is_ok());
    }

    fn run(&mut self, op: &Op) {
        match *op {
            Op::Lower { history, daily, monthly } => {
                let lower = |to: Option<u32>, cap: &mut u32| {
                    *cap = to.unwrap_or(*cap).min(*cap);
                    to.map(|_| *cap)
                };
                let mut change = CapsChange::default();
                change.history = lower(history, &mut self.caps.history);
                change.daily = lower(daily, &mut self.caps.daily);
                change.monthly = lower(monthly, &mut self.caps.monthly);
                self.scene.set_caps(change).expect("the caps are in order");
                self.check(false);
            }
            Op::Records { count, days } => {
                for n in 0..count {
                    self.today = nth_day(self.today.number() - nth_day(0).number() + days);
                    let worker = self.workers[n % 3];
                    let at = self.today.start().saturating_add(Duration::from_secs(n as u64));
                    let batch = past(worker, at, n as u64, 1 + n as u64);
                    self.records.push(batch.clone());
                    self.ledger.import(&self.scene, batch);
                    self.check(false);
                }
            }
            Op::Nothing(count) => {
                for _ in 0..count {
                    let settling = self.is_settling();
                    self.scene.pc("a");
                    self.check(settling);
                }
            }
        }
    }

    fn is_settling(&self) -> bool {
        self.scene.snapshot().expect("the store is open").is_settling()
    }

    /// Looks at what the last commit did. Where it had nothing to do but settle, it got nearer.
    fn check(&mut self, settled: bool) {
        let view = self.scene.snapshot().expect("the store is open");
        view.verify().expect("the law holds after each commit");
        self.ledger.assert_conserved(&self.scene);
        let before = self.rows;
        self.rows = self.count();
        let removed = before.1.saturating_sub(self.rows.1);
        assert!(removed <= STEP, "a commit removed {removed} rows more than it added");
        let fell = self.rows.0 < before.0 || self.rows.1 < before.1;
        assert!(fell || !settled || !view.is_settling(), "{before:?} rows, then {:?}", self.rows);
    }

    /// Rows of history, and of all tiers.
    fn count(&self) -> (u64, u64) {
        let size = self.scene.snapshot().and_then(|view| view.size()).expect("the store is open");
        let [history, days, months] =
            ["history", "daily", "monthly"].map(|table| size.tables[table].rows);
        (history, history + days + months)
    }

    /// Settles the rest: exactly the newest rows are left.
    fn end(&mut self) {
        while self.is_settling() {
            self.run(&Op::Nothing(1));
        }
        let view = self.scene.snapshot().expect("the store is open").archived();
        let live = self.records.len().min(self.caps.history as usize);
        assert_eq!(self.rows.0, live as u64);
        for batch in &self.records[..self.records.len() - live] {
            self.days.insert((batch.worker, batch.finished_at.day()));
        }
        self.months.extend(self.days.iter().map(|(worker, day)| (*worker, day.month())));
        for worker in &self.workers {
            let months = newest(&self.months, *worker, self.caps.monthly);
            let mut days = newest(&self.days, *worker, self.caps.daily);
            days.retain(|day| months.contains(&day.month()));
            let stored = view.monthly(*worker, ..).expect("the store is open");
            assert_eq!(stored.iter().map(|month| month.month).collect::<BTreeSet<_>>(), months);
            let stored = view.daily(*worker, ..).expect("the store is open");
            assert_eq!(stored.iter().map(|day| day.day).collect::<BTreeSet<_>>(), days);
        }
    }
}

/// A worker's newest periods, at most so many.
fn newest<P: Copy + Ord>(all: &BTreeSet<(WorkerId, P)>, worker: WorkerId, cap: u32) -> BTreeSet<P> {
    let of_worker = all.iter().rev().filter(|(owner, _)| *owner == worker);
    of_worker.take(cap as usize).map(|(_, period)| *period).collect()
}

fn run(engine: MemoryEngine, pasts: &[Past], ops: &[Op]) {
    let mut run = Run::new(engine);
    for (worker, past) in run.workers.clone().into_iter().zip(pasts) {
        run.fill(worker, past);
    }
    run.rows = run.count();
    ops.iter().for_each(|op| run.run(op));
    run.end();
}

fn cases(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases(24))]

    /// Promises 5 to 9.
    #[test]
    fn caps_lowered_in_any_order_are_reached_in_steps(
        pasts in vec(past_of_a_worker(), 3),
        ops in vec(op(), 1..30),
    ) {
        run(MemoryEngine::new(), &pasts, &ops);
    }

    /// Promises 5 to 9: a step is of a few rows, so that months leave day by day.
    #[test]
    fn caps_lowered_in_any_order_are_reached_in_tiny_steps(
        pasts in vec(past_of_a_worker(), 3),
        ops in vec(op(), 1..30),
    ) {
        run(MemoryEngine::new().limits(64, 3 << 19), &pasts, &ops);
    }
}
