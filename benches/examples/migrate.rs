//! A migration from SQLite: jobs keep their cursors, and the rows of a table with a row per batch
//! become days.
//!
//! ```sh
//! cargo run --release -p milepost-bench --example migrate
//! ```
//!
//! What it teaches: `NewJob::cursor`, and imports that can be repeated: run it again after a crash, with
//! the same file, and nothing counts twice.
#![expect(clippy::print_stdout, reason = "it is what the program is for")]

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Result;
use milepost::{Day, Import, NewJob, NewWorker, Scope, Store, Timestamp, Totals, WorkerId};
use rusqlite::Connection;

/// Rows that become one import.
const ROWS: usize = 1_000;

fn main() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let sqlite = old_database()?;
    let path = folder.path().join("scan.milepost");

    // The second time, as after a crash, everything is there already.
    for _ in 0..2 {
        let store = Store::open(&path)?;
        let (jobs, batches) = migrate(&sqlite, &store)?;
        println!("{jobs} jobs were created, {batches} batches were added");
        store.snapshot()?.verify()?;
    }

    let store = Store::open(&path)?;
    let view = store.snapshot()?;
    let items: u64 = sqlite.query_row("SELECT sum(items) FROM batches", [], |row| row.get(0))?;
    assert_eq!(view.lifetime(Scope::Fleet)?.totals.items, u128::from(items));
    for day in view.daily(Scope::Fleet, ..)?.iter().rev().take(3) {
        println!("{}  {} items", day.day, day.totals.items);
    }
    Ok(())
}

fn migrate(sqlite: &Connection, store: &Store) -> Result<(usize, usize)> {
    let mut jobs = Vec::new();
    let mut rows = sqlite.prepare("SELECT site, first, last, next FROM jobs")?;
    let mut rows = rows.query([])?;
    while let Some(row) = rows.next()? {
        let (site, next): (String, u64) = (row.get(0)?, row.get(3)?);
        // The last position belongs to the range in SQL, and not here.
        let range = row.get(1)?..row.get::<_, u64>(2)? + 1;
        jobs.push(NewJob::new(site, range).cursor(next));
    }
    let found = store.find_or_create_jobs(jobs)?;
    let created = found.iter().filter(|outcome| outcome.is_created()).count();

    let mut workers: BTreeMap<String, WorkerId> = BTreeMap::new();
    let last = store.snapshot()?.last_import("batches")?.unwrap_or(0);
    let mut rows = sqlite.prepare(
        "SELECT id, worker, items, duration_us, finished_at, error FROM batches WHERE id > ? ORDER BY id",
    )?;
    let mut rows = rows.query([last])?;
    let mut added = 0;
    loop {
        // The id of the last row is the number of the import: it only grows.
        let (mut days, mut number): (BTreeMap<(WorkerId, Day), Totals>, u64) = Default::default();
        for _ in 0..ROWS {
            let Some(row) = rows.next()? else { break };
            number = row.get(0)?;
            let name: String = row.get(1)?;
            let worker = match workers.get(&name) {
                Some(worker) => *worker,
                None => store.register_worker(NewWorker::new(&name))?.id(),
            };
            workers.insert(name, worker);
            let finished_at = Timestamp::from_secs(row.get(4)?);
            let error: Option<String> = row.get(5)?;
            let batch = Totals::new(1, row.get::<_, u64>(2)?.into())
                .with_errors(error.is_some().into())
                .with_duration(Duration::from_micros(row.get(3)?))
                .with_times(finished_at, finished_at);
            days.entry((worker, finished_at.day())).or_default().merge(&batch);
            added += 1;
        }
        if days.is_empty() {
            return Ok((created, added));
        }
        let mut import = Import::new("batches", number);
        for ((worker, day), totals) in days {
            import = import.daily(worker, day, totals);
        }
        store.import(import)?;
    }
}

/// What there was before: half-done jobs, and a row for each batch.
fn old_database() -> Result<Connection> {
    let sqlite = Connection::open_in_memory()?;
    sqlite.execute_batch(
        "CREATE TABLE jobs (site TEXT, first INTEGER, last INTEGER, next INTEGER);
         CREATE TABLE batches (id INTEGER PRIMARY KEY, worker TEXT, items INTEGER, duration_us INTEGER,
                               finished_at INTEGER, error TEXT);
         INSERT INTO jobs VALUES ('site-7', 0, 999999, 412000), ('site-8', 0, 999999, 0);
         WITH RECURSIVE n(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM n WHERE n < 5000)
         INSERT INTO batches SELECT n, 'pc-' || n % 3, 100, 2000000, 1767225600 + n * 600,
                                    CASE WHEN n % 50 = 0 THEN 'timeout' END FROM n;",
    )?;
    Ok(sqlite)
}
