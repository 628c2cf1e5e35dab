//! Imports, as the store and as the model takes them.

use std::time::Duration;

use milepost::{Day, Import, PastBatch, Timestamp, Totals, WorkerId};

use crate::plain::Imported;
use crate::step::{Record, Tier};
use crate::tiers;

#[derive(Debug, Clone)]
pub struct Sent {
    pub source: &'static str,
    pub number: u64,
    pub import: Import,
    pub imported: Vec<Imported>,
}

impl Sent {
    /// An import without records.
    pub fn new(source: &'static str, number: u64) -> Sent {
        Sent { source, number, import: Import::new(source, number), imported: Vec::new() }
    }

    /// An import of these records, whose days are counted back from now.
    pub fn of(
        source: &'static str,
        number: u64,
        records: &[Record],
        now: Timestamp,
    ) -> milepost::Result<Sent> {
        let mut sent = Sent::new(source, number);
        for record in records {
            let day = Day::from_number(now.day().number() - record.days_ago)?;
            sent = sent.with(record, day);
        }
        Ok(sent)
    }

    fn with(self, record: &Record, day: Day) -> Sent {
        let number = u32::from(record.worker) + 1;
        let worker = WorkerId::from(number);
        let totals = totals(record, day);
        let (import, imported) = match record.tier {
            Tier::History => {
                let batch = batch(record, worker, day);
                let plain = plain(&batch);
                (self.import.history(batch), Imported::History(plain))
            }
            Tier::Daily => {
                (self.import.daily(worker, day, totals), Imported::Day(number, day, totals))
            }
            Tier::Monthly => (
                self.import.monthly(worker, day.month(), totals),
                Imported::Month(number, day.month(), totals),
            ),
            Tier::Lifetime => {
                (self.import.lifetime(worker, totals), Imported::Lifetime(number, totals))
            }
        };
        let imported = self.imported.into_iter().chain([imported]).collect();
        Sent { import, imported, ..self }
    }
}

fn finished_at(record: &Record, day: Day) -> Timestamp {
    day.start().saturating_add(Duration::from_secs(record.items))
}

fn totals(record: &Record, day: Day) -> Totals {
    let totals = Totals::new(record.batches, record.items.into())
        .with_errors(record.batches / 3)
        .with_duration(Duration::from_millis(record.millis));
    if !record.timed {
        return totals;
    }
    let rate = record.items as f64;
    totals.with_rates(rate, rate * 2.0).with_times(day.start(), finished_at(record, day))
}

fn batch(record: &Record, worker: WorkerId, day: Day) -> PastBatch {
    PastBatch::new(worker, 0..record.items, finished_at(record, day))
        .with_duration(Duration::from_millis(record.millis))
}

fn plain(batch: &PastBatch) -> tiers::Record {
    tiers::Record {
        id: 0,
        worker: batch.worker.get(),
        job: None,
        start: batch.start,
        end: batch.end,
        items: batch.items,
        duration_us: batch.duration.as_micros() as u64,
        finished_at: batch.finished_at,
        completed: false,
        error: None,
    }
}
