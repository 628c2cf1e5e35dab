//! redb without milepost's layers: the same tables, rows and rules, written by hand for this one
//! workload. It works on a file that milepost made, and milepost verifies the file afterwards.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::Instant;

use anyhow::{Context, Result, anyhow, bail, ensure};
use bincode::{Decode, Encode};
use milepost::{Day, Month, Timestamp, Totals};
use redb::{Database, Durability, ReadableTable, TableDefinition, WriteTransaction};

use super::direct_rows::{
    CapsRow, Control, HistoryRow, JobRow, LifetimeRow, MonthlyRow, Receipt, Rolled, Status, Sums,
    Table, decode, load, store,
};
use super::ours;
use super::shared::{CACHE_BYTES, MAX_DELAY, Mode, milepost_file, number_of};
use crate::ledger::Tally;
use crate::plan::{LEASE_SECS, Scale, Step, Track};
use crate::rival::{Caller, Connections, Reader, Rival, Size};

type Definition = TableDefinition<'static, &'static [u8], &'static [u8]>;

const META: Definition = TableDefinition::new("meta");
const JOBS: Definition = TableDefinition::new("jobs");
const HISTORY: Definition = TableDefinition::new("history");
const DAILY: Definition = TableDefinition::new("daily");
const MONTHLY: Definition = TableDefinition::new("monthly");
const LIFETIME: Definition = TableDefinition::new("lifetime");

/// A redb file, and the tokens of its jobs.
pub(super) struct Opened {
    folder: PathBuf,
    scale: Scale,
    mode: Mode,
    writer: Mutex<Writer>,
    tokens: Vec<u64>,
}

struct Writer {
    /// `None` only while milepost looks at the file.
    database: Option<Database>,
    synced_at: Instant,
}

impl Opened {
    pub(super) fn new(
        folder: &Path,
        scale: &Scale,
        mode: Mode,
        tracks: &[Track],
    ) -> Result<Opened> {
        if mode == Mode::MultiWriter {
            bail!("the seam is measured in exclusive mode");
        }
        let tokens = ours::Opened::in_folder(folder, scale, Mode::Immediate, tracks)?.into_tokens();
        let database = Some(open(folder)?);
        let writer = Mutex::new(Writer { database, synced_at: Instant::now() });
        Ok(Opened { folder: folder.to_path_buf(), scale: *scale, mode, writer, tokens })
    }

    /// Has milepost look at the file, which is closed meanwhile.
    fn aside<T>(&self, look: impl FnOnce(&ours::Opened) -> Result<T>) -> Result<T> {
        let mut writer = self.writer.lock().map_err(|_| anyhow!("another caller panicked"))?;
        if let Some(database) = writer.database.take() {
            let mut last = database.begin_write()?;
            last.set_durability(Durability::Immediate)?;
            last.commit()?;
            drop(database);
        }
        let seen = look(&ours::Opened::in_folder(&self.folder, &self.scale, Mode::Immediate, &[])?);
        writer.database = Some(open(&self.folder)?);
        seen
    }

    fn commit(&self, steps: &[Step]) -> Result<()> {
        let mut writer = self.writer.lock().map_err(|_| anyhow!("another caller panicked"))?;
        let database = writer.database.as_ref().context("the file is closed")?;
        let mut txn = database.begin_write()?;
        let waits = self.mode == Mode::Relaxed && writer.synced_at.elapsed() < MAX_DELAY;
        if waits {
            txn.set_durability(Durability::None)?;
        }
        apply(&txn, &self.tokens, steps)?;
        txn.commit()?;
        if !waits {
            writer.synced_at = Instant::now();
        }
        Ok(())
    }
}

fn open(folder: &Path) -> Result<Database> {
    Ok(Database::builder().set_cache_size(CACHE_BYTES).open(milepost_file(folder))?)
}

impl Rival for Opened {
    fn caller(&self, _: Connections) -> Result<Box<dyn Caller + '_>> {
        Ok(Box::new(Handle(self)))
    }

    fn tally(&self) -> Result<Tally> {
        self.aside(Rival::tally)
    }

    fn verify(&self) -> Result<()> {
        self.aside(Rival::verify)
    }

    fn size(&self) -> Result<Size> {
        Ok(Size { main: std::fs::metadata(milepost_file(&self.folder))?.len(), wal: 0 })
    }

    fn compact(&self) -> Result<()> {
        self.aside(Rival::compact)
    }

    fn reader(&self) -> Result<Box<dyn Reader + '_>> {
        bail!("redb alone answers no questions")
    }
}

struct Handle<'a>(&'a Opened);

impl Caller for Handle<'_> {
    fn alone(&mut self, step: &Step) -> Result<()> {
        self.0.commit(std::slice::from_ref(step))
    }

    fn together(&mut self, steps: &[Step]) -> Result<()> {
        self.0.commit(steps)
    }
}

/// Applies checkpoints in one transaction, and lets retention follow.
fn apply(txn: &WriteTransaction, tokens: &[u64], steps: &[Step]) -> Result<()> {
    let meta = txn.open_table(META)?;
    let control: Control = load(&meta, b"control")?.context("the store has no caps")?;
    drop(meta);
    let mut jobs = txn.open_table(JOBS)?;
    let mut history = txn.open_table(HISTORY)?;
    let number = |key: &[u8]| {
        key.try_into().map(u64::from_be_bytes).context("a key of history is no number")
    };
    let (mut first, mut next) = match history.first()?.zip(history.last()?) {
        Some((first, last)) => (number(first.0.value())?, number(last.0.value())? + 1),
        None => (1, 1),
    };

    for step in steps {
        let key = (number_of(step.job) as u64).to_be_bytes();
        let mut row: JobRow = load(&jobs, &key)?.context("a job is missing")?;
        let token = tokens[step.job];
        ensure!(
            row.token == token && row.token_live && row.status == Status::Leased,
            "the lease was lost"
        );
        ensure!(row.cursor == step.from && step.to <= row.end, "the cursor is elsewhere");
        row.sequence += 1;
        row.digest = step.from.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        row.cursor = step.to;
        row.batches += 1;
        row.items += u128::from(step.items);
        row.duration_us += u128::from(step.duration_us);
        row.checkpoint_at = Some(step.now);
        if let Some(error) = step.error {
            row.errors += 1;
            row.error_positions += step.to - step.from;
            row.last_error = Some(error.to_string());
        }
        row.deadline = step.now + LEASE_SECS as i64 * 1_000_000;
        row.receipt = Some(Receipt::Moved { cursor: row.cursor, deadline: row.deadline });
        store(&mut jobs, &key, &row)?;

        let record = HistoryRow {
            worker: number_of(step.worker) as u32,
            job: Some(number_of(step.job) as u64),
            start: step.from,
            end: step.to,
            items: step.items,
            duration_us: step.duration_us,
            finished_at: step.now,
            completed: false,
            error: step.error.map(str::to_string),
        };
        store(&mut history, &next.to_be_bytes(), &record)?;
        next += 1;
    }

    let mut folds: BTreeMap<u32, BTreeMap<Day, Totals>> = BTreeMap::new();
    while next - first > u64::from(control.caps.history) {
        let (_, value) = history.pop_first()?.context("history has a gap")?;
        let row: HistoryRow = decode(value.value())?;
        let totals = row.totals()?;
        let day = totals.last_at.map(Timestamp::day).context("a batch has a time")?;
        folds.entry(row.worker).or_default().entry(day).or_default().merge(&totals);
        first += 1;
    }
    if !folds.is_empty() {
        let mut tiers =
            (txn.open_table(DAILY)?, txn.open_table(MONTHLY)?, txn.open_table(LIFETIME)?);
        for (worker, days) in folds {
            fold(&mut tiers, &control.caps, worker, &days)?;
        }
    }
    Ok(())
}

fn fold(
    (daily, monthly, lifetime): &mut (Table<'_>, Table<'_>, Table<'_>),
    caps: &CapsRow,
    worker: u32,
    days: &BTreeMap<Day, Totals>,
) -> Result<()> {
    let mut life: LifetimeRow = load(lifetime, &worker.to_be_bytes())?.unwrap_or_default();
    let mut life_rolled = life.rolled.of(&life.totals.0);
    let mut months: BTreeMap<Month, Totals> = BTreeMap::new();
    for (day, totals) in days {
        let mut row = load_period(daily, &life.day, worker, day.number())?.unwrap_or_else(|| {
            life.days += 1;
            Sums::default()
        });
        row.0.merge(totals);
        store_period(daily, &mut life.day, worker, day.number(), row)?;
        months.entry(day.month()).or_default().merge(totals);
    }
    for (month, totals) in &months {
        let number = month.number();
        let mut row = load_period(monthly, &life.month, worker, number)?.unwrap_or_else(|| {
            life.months += 1;
            MonthlyRow::default()
        });
        let rolled = row.rolled.of(&row.totals.0);
        row.totals.0.merge(totals);
        row.rolled = Rolled::new(rolled, &row.totals.0);
        store_period(monthly, &mut life.month, worker, number, row)?;
        life.totals.0.merge(totals);
    }
    while life.days > caps.daily {
        let (day, row) = pop_oldest::<Sums>(daily, worker)?;
        let number = Day::from_number(day)?.month().number();
        let month = load_period(monthly, &life.month, worker, number)?;
        let mut month: MonthlyRow = month.context("a day has no month")?;
        let mut rolled = month.rolled.of(&month.totals.0);
        rolled.merge(&row.0);
        month.rolled = Rolled::new(rolled, &month.totals.0);
        store_period(monthly, &mut life.month, worker, number, month)?;
        life.days -= 1;
    }
    while life.months > caps.monthly {
        let (month, row) = pop_oldest::<MonthlyRow>(monthly, worker)?;
        life_rolled.merge(&row.totals.0);
        let month = Month::from_number(month)?;
        for day in month.first_day().number()..=month.last_day().number() {
            if daily.remove(period_key(worker, day).as_slice())?.is_some() {
                life.days -= 1;
            }
        }
        life.months -= 1;
    }
    life.rolled = Rolled::new(life_rolled, &life.totals.0);
    store(lifetime, &worker.to_be_bytes(), &life)
}

/// A worker's row of a day or month: the newest stands in its lifetime row.
fn load_period<R: Copy + Decode<()>>(
    table: &Table<'_>,
    newest: &Option<(i32, R)>,
    worker: u32,
    number: i32,
) -> Result<Option<R>> {
    match newest {
        Some((at, row)) if *at == number => Ok(Some(*row)),
        Some((at, _)) if *at > number => load(table, &period_key(worker, number)),
        _ => Ok(None),
    }
}

fn store_period<R: Copy + Encode>(
    table: &mut Table<'_>,
    newest: &mut Option<(i32, R)>,
    worker: u32,
    number: i32,
    row: R,
) -> Result<()> {
    match newest {
        Some((at, _)) if *at > number => return store(table, &period_key(worker, number), &row),
        Some((at, held)) if *at < number => store(table, &period_key(worker, *at), held)?,
        _ => {}
    }
    *newest = Some((number, row));
    Ok(())
}

/// Takes out a worker's oldest row of a tier, with the number of its day or month.
fn pop_oldest<R: Decode<()>>(table: &mut Table<'_>, worker: u32) -> Result<(i32, R)> {
    let from = worker.to_be_bytes();
    let found = table.range::<&[u8]>(&from[..]..)?.next().context("a tier has too few rows")??;
    let (key, row) = (found.0.value().to_vec(), decode(found.1.value())?);
    drop(found);
    table.remove(key.as_slice())?;
    let number = key
        .last_chunk()
        .map(|bytes| u32::from_be_bytes(*bytes))
        .context("a key of a tier is short")?;
    Ok(((number ^ (1 << 31)) as i32, row))
}

fn period_key(worker: u32, number: i32) -> [u8; 8] {
    let mut key = [0; 8];
    key[..4].copy_from_slice(&worker.to_be_bytes());
    key[4..].copy_from_slice(&(number as u32 ^ (1 << 31)).to_be_bytes());
    key
}
