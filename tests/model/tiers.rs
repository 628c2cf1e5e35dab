//! The four tiers of the model: one record is moved at a time, and everything is looked at.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use milepost::{Caps, Day, Month, Timestamp, Totals};

/// A record of history.
#[derive(Debug, Clone, PartialEq)]
pub struct Record {
    pub id: u64,
    pub worker: u32,
    pub job: Option<u64>,
    pub start: u64,
    pub end: u64,
    pub items: u64,
    pub duration_us: u64,
    pub finished_at: Timestamp,
    pub completed: bool,
    pub error: Option<String>,
}

impl Record {
    pub fn totals(&self) -> Totals {
        let rate =
            (self.duration_us > 0).then(|| self.items as f64 * 1e6 / self.duration_us as f64);
        let mut totals = Totals::new(1, u128::from(self.items))
            .with_errors(u64::from(self.error.is_some()))
            .with_completed(u64::from(self.completed))
            .with_duration(Duration::from_micros(self.duration_us))
            .with_times(self.finished_at, self.finished_at);
        (totals.min_rate, totals.max_rate) = (rate, rate);
        totals
    }
}

/// Totals, and the part of them that has no finer rows.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Rolling {
    pub totals: Totals,
    pub rolled: Totals,
}

#[derive(Debug, Clone, Default)]
pub struct Tiers {
    pub history: VecDeque<Record>,
    pub added: u64,
    pub days: BTreeMap<(u32, Day), Totals>,
    pub months: BTreeMap<(u32, Month), Rolling>,
    pub lifetimes: BTreeMap<u32, Rolling>,
}

impl Tiers {
    pub fn add_record(&mut self, mut record: Record) {
        self.added += 1;
        record.id = self.added;
        self.history.push_back(record);
    }

    pub fn add_day(&mut self, worker: u32, day: Day, totals: &Totals) {
        add(self.days.entry((worker, day)).or_default(), totals);
        add(&mut self.months.entry((worker, day.month())).or_default().totals, totals);
        add(&mut self.lifetimes.entry(worker).or_default().totals, totals);
    }

    pub fn add_month(&mut self, worker: u32, month: Month, totals: &Totals) {
        let row = self.months.entry((worker, month)).or_default();
        add(&mut row.totals, totals);
        add(&mut row.rolled, totals);
        add(&mut self.lifetimes.entry(worker).or_default().totals, totals);
    }

    pub fn add_lifetime(&mut self, worker: u32, totals: &Totals) {
        let row = self.lifetimes.entry(worker).or_default();
        add(&mut row.totals, totals);
        add(&mut row.rolled, totals);
    }

    /// Lets go what is over the caps, the oldest first, one row at a time.
    pub fn prune(&mut self, caps: Caps) {
        while self.history.len() > caps.history as usize {
            let record = self.history.pop_front().unwrap();
            self.add_day(record.worker, record.finished_at.day(), &record.totals());
        }
        let workers: Vec<u32> = self.lifetimes.keys().copied().collect();
        for worker in workers {
            while let Some(day) = oldest(&self.days, worker, caps.daily) {
                let totals = self.days.remove(&(worker, day)).unwrap();
                add(&mut self.months.get_mut(&(worker, day.month())).unwrap().rolled, &totals);
            }
            while let Some(month) = oldest(&self.months, worker, caps.monthly) {
                let row = self.months.remove(&(worker, month)).unwrap();
                self.days.retain(|(owner, day), _| *owner != worker || day.month() != month);
                add(&mut self.lifetimes.get_mut(&worker).unwrap().rolled, &row.totals);
            }
        }
    }
}

/// The oldest period of a worker that has more of them than its cap.
fn oldest<P: Copy + Ord, R>(rows: &BTreeMap<(u32, P), R>, worker: u32, cap: u32) -> Option<P> {
    let periods: Vec<P> =
        rows.keys().filter(|(owner, _)| *owner == worker).map(|(_, period)| *period).collect();
    (periods.len() > cap as usize).then(|| periods[0])
}

/// Field by field, written out.
pub fn add(sum: &mut Totals, more: &Totals) {
    sum.batches += more.batches;
    sum.errors += more.errors;
    sum.completed += more.completed;
    sum.items += more.items;
    *sum = sum.with_duration(sum.duration() + more.duration());
    if let Some(rate) = more.min_rate {
        sum.min_rate = Some(sum.min_rate.map_or(rate, |least| least.min(rate)));
    }
    if let Some(rate) = more.max_rate {
        sum.max_rate = Some(sum.max_rate.map_or(rate, |most| most.max(rate)));
    }
    if let Some(at) = more.first_at {
        sum.first_at = Some(sum.first_at.map_or(at, |first| first.min(at)));
    }
    if let Some(at) = more.last_at {
        sum.last_at = Some(sum.last_at.map_or(at, |last| last.max(at)));
    }
}
