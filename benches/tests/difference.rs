//! The same random work through milepost and through SQLite with the usual triggers: every row of
//! every tier agrees, in its key and in every sum (promises 5 to 9). Where triggers keep a running
//! mean of rates, they are wrong, and it is shown which side is right.
//!
//! The triggers are written here once more, as plainly as they can be: those of the comparison
//! have the default caps built in, and a difference is found sooner with small ones.

#![expect(clippy::unwrap_used, reason = "helpers of tests are tests as well")]

use std::time::Duration;

use milepost::{Import, ManualClock, NewJob, NewWorker, PastBatch, Store, Timestamp, WorkerId};
use rusqlite::{Connection, params};

const HISTORY: u32 = 12;
const DAYS: u32 = 4;
const MONTHS: u32 = 3;

const SCHEMA: &str = "
    CREATE TABLE history (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        worker INTEGER NOT NULL, items INTEGER NOT NULL, duration_us INTEGER NOT NULL,
        failed INTEGER NOT NULL, finished_at INTEGER NOT NULL, day INTEGER NOT NULL, month INTEGER NOT NULL
    );
    CREATE TABLE daily (
        worker INTEGER NOT NULL, day INTEGER NOT NULL, month INTEGER NOT NULL,
        batches INTEGER NOT NULL, errors INTEGER NOT NULL, items INTEGER NOT NULL, duration_us INTEGER NOT NULL,
        first_at INTEGER NOT NULL, last_at INTEGER NOT NULL, mean_rate REAL NOT NULL,
        PRIMARY KEY (worker, day)
    );
    CREATE TABLE monthly (
        worker INTEGER NOT NULL, month INTEGER NOT NULL,
        batches INTEGER NOT NULL, errors INTEGER NOT NULL, items INTEGER NOT NULL, duration_us INTEGER NOT NULL,
        first_at INTEGER NOT NULL, last_at INTEGER NOT NULL, mean_rate REAL NOT NULL,
        PRIMARY KEY (worker, month)
    );
    CREATE TABLE lifetime (
        worker INTEGER PRIMARY KEY,
        batches INTEGER NOT NULL, errors INTEGER NOT NULL, items INTEGER NOT NULL, duration_us INTEGER NOT NULL,
        first_at INTEGER NOT NULL, last_at INTEGER NOT NULL, mean_rate REAL NOT NULL
    );

    CREATE TRIGGER evict AFTER INSERT ON history
    WHEN (SELECT COUNT(*) FROM history) > 12 BEGIN
        DELETE FROM history WHERE id = (SELECT MIN(id) FROM history);
    END;
    CREATE TRIGGER fold BEFORE DELETE ON history BEGIN
        INSERT INTO lifetime VALUES (OLD.worker, 1, OLD.failed, OLD.items, OLD.duration_us,
            OLD.finished_at, OLD.finished_at, OLD.items * 1e6 / OLD.duration_us)
        ON CONFLICT DO UPDATE SET
            mean_rate = (mean_rate * batches + excluded.mean_rate) / (batches + 1),
            batches = batches + 1, errors = errors + excluded.errors, items = items + excluded.items,
            duration_us = duration_us + excluded.duration_us,
            first_at = MIN(first_at, excluded.first_at), last_at = MAX(last_at, excluded.last_at);
        INSERT INTO daily VALUES (OLD.worker, OLD.day, OLD.month, 1, OLD.failed, OLD.items, OLD.duration_us,
            OLD.finished_at, OLD.finished_at, OLD.items * 1e6 / OLD.duration_us)
        ON CONFLICT DO UPDATE SET
            mean_rate = (mean_rate * batches + excluded.mean_rate) / (batches + 1),
            batches = batches + 1, errors = errors + excluded.errors, items = items + excluded.items,
            duration_us = duration_us + excluded.duration_us,
            first_at = MIN(first_at, excluded.first_at), last_at = MAX(last_at, excluded.last_at);
        INSERT INTO monthly VALUES (OLD.worker, OLD.month, 1, OLD.failed, OLD.items, OLD.duration_us,
            OLD.finished_at, OLD.finished_at, OLD.items * 1e6 / OLD.duration_us)
        ON CONFLICT DO UPDATE SET
            mean_rate = (mean_rate * batches + excluded.mean_rate) / (batches + 1),
            batches = batches + 1, errors = errors + excluded.errors, items = items + excluded.items,
            duration_us = duration_us + excluded.duration_us,
            first_at = MIN(first_at, excluded.first_at), last_at = MAX(last_at, excluded.last_at);
    END;
    CREATE TRIGGER prune_days AFTER INSERT ON daily
    WHEN (SELECT COUNT(*) FROM daily WHERE worker = NEW.worker) > 4 BEGIN
        DELETE FROM daily WHERE worker = NEW.worker
            AND day = (SELECT MIN(day) FROM daily WHERE worker = NEW.worker);
    END;
    CREATE TRIGGER prune_months AFTER INSERT ON monthly
    WHEN (SELECT COUNT(*) FROM monthly WHERE worker = NEW.worker) > 3 BEGIN
        DELETE FROM daily WHERE worker = NEW.worker
            AND month = (SELECT MIN(month) FROM monthly WHERE worker = NEW.worker);
        DELETE FROM monthly WHERE worker = NEW.worker
            AND month = (SELECT MIN(month) FROM monthly WHERE worker = NEW.worker);
    END;";

/// A batch that both sides are given.
#[derive(Debug, Clone, Copy)]
struct Done {
    worker: u32,
    items: u64,
    duration_us: u64,
    failed: bool,
    finished_at: Timestamp,
}

/// A row of a tier: worker, period, batches, errors, items, duration, first and last time.
type Row = (u32, i32, [i64; 6]);

struct Sqlite(Connection);

impl Sqlite {
    fn new() -> Sqlite {
        let connection = Connection::open_in_memory().unwrap();
        connection.execute_batch(SCHEMA).unwrap();
        Sqlite(connection)
    }

    fn insert(&self, done: &Done) {
        let day = done.finished_at.day();
        let mut insert = self
            .0
            .prepare_cached("INSERT INTO history VALUES (NULL, ?1, ?2, ?3, ?4, ?5, ?6, ?7)")
            .unwrap();
        let (items, duration_us) = (done.items as i64, done.duration_us as i64);
        let at = done.finished_at.as_micros();
        let values = params![
            done.worker,
            items,
            duration_us,
            done.failed,
            at,
            day.number(),
            day.month().number()
        ];
        insert.execute(values).unwrap();
    }

    fn rows(&self, tier: &str, period: &str) -> Vec<Row> {
        let sql = format!(
            "SELECT worker, {period}, batches, errors, items, duration_us, first_at, last_at
             FROM {tier} ORDER BY 1, 2"
        );
        let mut select = self.0.prepare(&sql).unwrap();
        let row = |row: &rusqlite::Row<'_>| {
            let mut sums = [0; 6];
            for (at, sum) in sums.iter_mut().enumerate() {
                *sum = row.get(at + 2)?;
            }
            Ok((row.get(0)?, row.get(1)?, sums))
        };
        select.query_map([], row).unwrap().collect::<Result<_, _>>().unwrap()
    }

    fn mean_rate(&self, worker: u32) -> f64 {
        let sql = "SELECT mean_rate FROM lifetime WHERE worker = ?1";
        self.0.query_row(sql, [worker], |row| row.get(0)).unwrap()
    }

    fn live(&self) -> u64 {
        self.0.query_row("SELECT COUNT(*) FROM history", [], |row| row.get::<_, i64>(0)).unwrap()
            as u64
    }
}

fn sums(totals: &milepost::Totals) -> [i64; 6] {
    let micros = |at: Option<Timestamp>| at.map_or(0, Timestamp::as_micros);
    [
        totals.batches as i64,
        totals.errors as i64,
        totals.items as i64,
        totals.duration().as_micros() as i64,
        micros(totals.first_at),
        micros(totals.last_at),
    ]
}

/// The same numbers in every run.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 11) % sides
    }
}

fn compare(store: &Store, sqlite: &Sqlite, workers: &[WorkerId], what: &str) {
    let view = store.snapshot().unwrap();
    view.verify().unwrap();
    let archived = view.archived();
    let (mut days, mut months, mut lifetimes) = (Vec::new(), Vec::new(), Vec::new());
    for worker in workers {
        let number = worker.get();
        for day in archived.daily(*worker, ..).unwrap() {
            days.push((number, day.day.number(), sums(&day.totals)));
        }
        for month in archived.monthly(*worker, ..).unwrap() {
            months.push((number, month.month.number(), sums(&month.totals)));
        }
        let life = archived.lifetime(*worker).unwrap().totals;
        if life.batches > 0 {
            lifetimes.push((number, 0, sums(&life)));
        }
    }
    assert_eq!(days, sqlite.rows("daily", "day"), "days, {what}");
    assert_eq!(months, sqlite.rows("monthly", "month"), "months, {what}");
    assert_eq!(lifetimes, sqlite.rows("lifetime", "0"), "lifetimes, {what}");
    assert_eq!(
        view.newest_history(None, 100).unwrap().len() as u64,
        sqlite.live(),
        "history, {what}"
    );
}

/// Runs random work through both sides, comparing them as it goes.
fn run(seed: u64, steps: u32) -> (Store, Sqlite, Vec<WorkerId>) {
    let clock = ManualClock::at("2026-02-16T12:00:00Z".parse().unwrap());
    let engine = std::sync::Arc::new(milepost::testing::MemoryEngine::new());
    let store = milepost::Builder::on_engine(engine)
        .history_limit(HISTORY)
        .daily_limit(DAYS)
        .monthly_limit(MONTHS)
        .clock(clock.clone())
        .open()
        .unwrap();
    let sqlite = Sqlite::new();
    let mut dice = Dice(seed | 1);
    let mut leases = Vec::new();
    for n in 0..3u64 {
        store.create_job(NewJob::new("keys", n << 40..(n + 1) << 40)).unwrap();
        let worker = store.register_worker(NewWorker::new(format!("pc-{n}")).kind("pc")).unwrap();
        let year = Duration::from_secs(365 * 86_400);
        leases.push(worker.request(5 * year).send().unwrap().leased().unwrap());
    }
    let workers: Vec<WorkerId> = leases.iter().map(|lease| lease.worker()).collect();

    for step in 0..steps {
        let hours = [1, 1, 5, 30, 700][dice.roll(5) as usize];
        clock.advance(Duration::from_secs(dice.roll(3_600 * hours)));
        let at = dice.roll(3) as usize;
        let late = dice.roll(4) == 0;
        let done = Done {
            worker: workers[at].get(),
            items: dice.roll(1_000),
            duration_us: 1 + dice.roll(9_000_000),
            failed: dice.roll(9) == 0,
            finished_at: store.now().saturating_sub(Duration::from_secs(if late {
                dice.roll(100 * 86_400)
            } else {
                0
            })),
        };
        if late {
            let mut batch = PastBatch::new(workers[at], 0..0, done.finished_at)
                .with_items(done.items)
                .with_duration(Duration::from_micros(done.duration_us));
            if done.failed {
                batch = batch.with_error("no luck");
            }
            store.import(Import::new("late", step.into()).history(batch)).unwrap();
        } else {
            let took = Duration::from_micros(done.duration_us);
            let mut batch =
                leases[at].next_batch(10).unwrap().with_duration(took).with_items(done.items);
            if done.failed {
                batch = batch.with_error("no luck");
            }
            leases[at].checkpoint(batch).unwrap();
        }
        sqlite.insert(&done);
        compare(&store, &sqlite, &workers, &format!("seed {seed}, step {step}, {done:?}"));
    }
    leases.into_iter().for_each(milepost::Lease::abandon);
    (store, sqlite, workers)
}

#[test]
fn every_row_of_every_tier_agrees_with_the_triggers() {
    for seed in 1..=24 {
        run(seed << 40 | 0x9E37_79B9, 400);
    }
}

/// The mean of rates gives every batch the same weight, however long it took; what one wants to
/// know is how much was done in how much time.
#[test]
fn where_triggers_keep_a_running_mean_of_rates_they_are_wrong_and_totals_are_right() {
    let (store, sqlite, workers) = run(7, 400);

    let mut differ = 0;
    for worker in workers {
        let totals = store.snapshot().unwrap().archived().lifetime(worker).unwrap().totals;
        let right = totals.items as f64 * 1e6 / totals.duration().as_micros() as f64;
        assert_eq!(totals.rate(), Some(right));
        let mean = sqlite.mean_rate(worker.get());
        differ += u32::from((mean - right).abs() / right > 0.05);
    }
    assert_eq!(differ, 3, "with batches of such different lengths the means are far off");
}
