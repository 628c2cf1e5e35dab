//! Checks of the tiers, worker by worker.

use std::collections::BTreeMap;
use std::fmt::Display;
use std::ops::{Bound, ControlFlow};

use super::{Check, ensure};
use crate::error::Result;
use crate::query::rows;
use crate::rules::tiers::{self, Period};
use crate::schema::access::{ALL, first_key, load};
use crate::schema::key;
use crate::schema::meta;
use crate::schema::rows::{ImportedRow, LifetimeRow, Row};
use crate::schema::tables;
use crate::storage::Order;
use crate::time::{Day, Month};
use crate::types::{Totals, WorkerId};

impl Check<'_> {
    /// Checks days, months and lifetimes. Returns how many days and months there are.
    pub(super) fn tiers(&self) -> Result<(u64, u64)> {
        let (mut days, mut months) = (0, 0);
        let mut fleet = Totals::default();
        self.each_row(ALL, key::as_worker, |worker, life: LifetimeRow| {
            let name = format_args!("worker {worker}");
            self.ensure_worker(tables::LIFETIME, name, worker)?;
            let (more_days, more_months) = self.tiers_of(worker, &life)?;
            days += more_days;
            months += more_months;
            let sum = fleet.checked_add(&life.totals);
            ensure(sum.is_some(), tables::LIFETIME, name, "the sum over all workers fits")?;
            fleet = sum.unwrap_or(fleet);
            Ok(())
        })?;
        self.ensure_lifetimes::<Day>()?;
        self.ensure_lifetimes::<Month>()?;
        let imported: Option<ImportedRow> = load(self.view.txn(), meta::IMPORTED_KEY)?;
        let holds = imported.is_none_or(|ImportedRow(imported)| {
            imported.batches <= fleet.batches
                && imported.errors <= fleet.errors
                && imported.items <= fleet.items
                && imported.duration_us <= fleet.duration_us
        });
        ensure(holds, tables::META, "imported", "all lifetimes together are no less")?;
        Ok((days, months))
    }

    fn tiers_of(&self, worker: WorkerId, life: &LifetimeRow) -> Result<(u64, u64)> {
        // For each month, the first day that has a row, and the sum over its days.
        let mut sums: BTreeMap<Month, (Day, Totals)> = BTreeMap::new();
        let days = self.each_period(worker, life, |day: Day, row| {
            let (_, sum) = sums.entry(day.month()).or_insert((day, Totals::default()));
            sum.merge(&row.0);
            Ok(())
        })?;

        let mut whole = life.rolled.of(&life.totals);
        let months = self.each_period(worker, life, |month: Month, row| {
            let mut sum = row.rolled.of(&row.totals);
            sum.extend(sums.remove(&month).map(|(_, days)| days));
            whole.merge(&row.totals);
            let name = format_args!("worker {worker} in {month}");
            ensure(
                sum == row.totals,
                tables::MONTHLY,
                name,
                "its totals are its rolled part plus its days",
            )
        })?;
        if let Some((day, _)) = sums.into_values().next() {
            ensure(
                false,
                tables::DAILY,
                format_args!("worker {worker} on {day}"),
                "no day outlives its month",
            )?;
        }

        let rule = |holds: bool, rule: &dyn Display| {
            ensure(holds, tables::LIFETIME, format_args!("worker {worker}"), rule)
        };
        rule(whole == life.totals, &"its totals are its rolled part plus its months")?;
        rule(days == u64::from(life.days), &format_args!("it counts its days, {days}"))?;
        rule(months == u64::from(life.months), &format_args!("it counts its months, {months}"))?;
        let caps = self.control().caps;
        let settling = self.control().workers_settling.is_some_and(|next| worker >= next);
        let within = |rows: u64, cap: u32| rows <= cap.into() || settling;
        rule(
            within(days, caps.daily),
            &format_args!("{days} days are within the cap of {}", caps.daily),
        )?;
        let rule_of_months = format_args!("{months} months are within the cap of {}", caps.monthly);
        rule(within(months, caps.monthly), &rule_of_months)?;
        Ok((days, months))
    }

    /// Visits a worker's days or months, the oldest first, and returns how many there are.
    fn each_period<P: Period + Display>(
        &self,
        worker: WorkerId,
        life: &LifetimeRow,
        mut visit: impl FnMut(P, P::Row) -> Result<()>,
    ) -> Result<u64> {
        if let Some(period) = tiers::misplaced::<P>(self.view.txn(), worker, life)? {
            ensure(
                false,
                <P::Row as Row>::TABLE,
                format_args!("worker {worker} at {period}"),
                "it is older than the newest row, in its worker's lifetime",
            )?;
        }
        let mut seen = 0;
        tiers::each(self.view.txn(), worker, life, &.., |period, row| {
            seen += 1;
            visit(period, row).map(ControlFlow::Continue)
        })?;
        self.rows.set(self.rows.get() + seen);
        Ok(seen)
    }

    /// Checks that every worker with rows in a tier has a lifetime.
    fn ensure_lifetimes<P: Period + Display>(&self) -> Result<()> {
        let table = <P::Row as Row>::TABLE;
        let mut behind: Bound<Vec<u8>> = Bound::Unbounded;
        let after = |behind: &Bound<Vec<u8>>| {
            let range = (behind.as_ref().map(Vec::as_slice), Bound::Unbounded);
            first_key(self.view.txn(), table, range, Order::Ascending)
        };
        while let Some(key) = after(&behind)? {
            let (worker, period) = rows::parsed(table, &key, P::parse)?;
            let has_lifetime = self.has(tables::LIFETIME, &key::worker(worker))?;
            let name = format_args!("worker {worker} at {period}");
            ensure(has_lifetime, table, name, "its worker has a lifetime")?;
            behind = Bound::Excluded([&key::worker(worker)[..], &[u8::MAX; 4]].concat());
        }
        Ok(())
    }
}
