//! Live history, added up: once for each stretch of it, and not again for each snapshot.
//!
//! Records never change once they are committed, and leave in the order of their numbers. So the
//! sums over a stretch of consecutive numbers that are all there stay right, and a store keeps
//! them. A question then only has to add up the two ends of history, record by record.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{Snapshot, rows};
use crate::error::Result;
use crate::schema::key;
use crate::schema::rows::HistoryRow;
use crate::schema::tables::history_ends;
use crate::time::{Day, Timestamp};
use crate::types::{Totals, WorkerId};

/// Live history added up by worker and day.
pub(super) type Live = BTreeMap<WorkerId, BTreeMap<Day, Totals>>;

/// How many records a stretch has.
const STRETCH: u64 = 256;

/// The sums over one stretch.
type Sums = Vec<(WorkerId, Day, Totals)>;

/// The sums over the stretches of a store that have been asked for.
///
/// They outlive a snapshot, but not the storage: a store that opens that again begins anew, since
/// commits that had not been synced may be gone, and their numbers given out again.
#[derive(Default)]
pub(crate) struct Stretches(Mutex<BTreeMap<u64, Arc<Sums>>>);

impl Stretches {
    /// The sums over one stretch, made by `add_up` if they are not known.
    fn get(&self, stretch: u64, add_up: impl FnOnce() -> Result<Sums>) -> Result<Arc<Sums>> {
        if let Some(known) = self.0.lock().get(&stretch) {
            return Ok(known.clone());
        }
        let sums = Arc::new(add_up()?);
        self.0.lock().insert(stretch, sums.clone());
        Ok(sums)
    }

    /// Drops what has left history.
    fn drop_before(&self, stretch: u64) {
        let mut known = self.0.lock();
        while known.first_key_value().is_some_and(|(oldest, _)| *oldest < stretch) {
            known.pop_first();
        }
    }
}

impl Snapshot {
    /// Adds up live history.
    pub(super) fn add_up_live(&self) -> Result<Live> {
        let mut live = Live::new();
        self.each_stretch(|_, _, sums| {
            for (worker, day, totals) in sums {
                live.entry(*worker).or_default().entry(*day).or_default().merge(totals);
            }
            Ok(())
        })?;
        Ok(live)
    }

    /// Adds up what each worker finished at or after a time, as far as it is live. Only stretches
    /// that the time falls into are read record by record.
    pub(super) fn add_up_since(&self, since: Timestamp) -> Result<HashMap<WorkerId, Totals>> {
        let mut recent: HashMap<WorkerId, Totals> = HashMap::new();
        self.each_stretch(|from, to, sums| {
            let since = Some(since);
            let is_split = |sum: &Totals| sum.first_at < since && sum.last_at >= since;
            if sums.iter().any(|(_, _, sum)| is_split(sum)) {
                return self.each_record(from, to, |row| {
                    if Some(row.finished_at) >= since {
                        recent.entry(row.worker).or_default().merge(&row.totals());
                    }
                });
            }
            for (worker, _, sum) in sums.iter().filter(|(_, _, sum)| sum.last_at >= since) {
                recent.entry(*worker).or_default().merge(sum);
            }
            Ok(())
        })?;
        Ok(recent)
    }

    /// Shows the stretches of live history: first and last record, and the sums over them. Those
    /// at the two ends may be part of a stretch.
    fn each_stretch(&self, mut visit: impl FnMut(u64, u64, &Sums) -> Result<()>) -> Result<()> {
        let Some((first, last)) = history_ends(self.txn())? else { return Ok(()) };
        let mut from = first;
        while from <= last {
            let stretch = from / STRETCH;
            let to = last.min(stretch * STRETCH + (STRETCH - 1));
            let is_whole = from == stretch * STRETCH && to - from == STRETCH - 1;
            let sums = if is_whole {
                self.stretches().get(stretch, || self.sums(from, to))?
            } else {
                Arc::new(self.sums(from, to)?)
            };
            visit(from, to, &sums)?;
            let Some(next) = to.checked_add(1) else { break };
            from = next;
        }
        self.stretches().drop_before(first / STRETCH);
        Ok(())
    }

    /// Adds up the records from one number to another.
    fn sums(&self, from: u64, to: u64) -> Result<Sums> {
        let mut sums: BTreeMap<(WorkerId, Day), Totals> = BTreeMap::new();
        let mut days = Days::default();
        self.each_record(from, to, |row| {
            let day = days.of(row.finished_at);
            sums.entry((row.worker, day)).or_default().merge(&row.totals());
        })?;
        Ok(sums.into_iter().map(|((worker, day), totals)| (worker, day, totals)).collect())
    }

    /// Shows the records from one number to another.
    fn each_record(&self, from: u64, to: u64, mut visit: impl FnMut(&HistoryRow)) -> Result<()> {
        let (from, to) = (key::number(from), key::number(to));
        let range = (Bound::Included(&from[..]), Bound::Included(&to[..]));
        self.each_row(range, rows::number, |_, row| {
            visit(&row);
            Ok(())
        })
    }
}

/// The days of instants, most of which fall on the same day as the one before.
#[derive(Default)]
struct Days(Option<(Day, Timestamp, Timestamp)>);

impl Days {
    fn of(&mut self, at: Timestamp) -> Day {
        match self.0 {
            Some((day, first, next)) if (first..next).contains(&at) => day,
            _ => {
                let day = at.day();
                let next = day.start().after(std::time::Duration::from_secs(86_400));
                self.0 = Some((day, day.start(), next));
                day
            }
        }
    }
}
