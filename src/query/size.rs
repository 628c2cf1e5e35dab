//! The size of a store, and a dump of its rows.

use std::collections::BTreeMap;
#[cfg(feature = "testing")]
use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use super::Snapshot;
use crate::error::Result;
use crate::schema::access::ALL;
use crate::schema::key;
use crate::schema::rows::LifetimeRow;
use crate::schema::tables;
use crate::storage::TableSize;
#[cfg(feature = "testing")]
use crate::storage::{Order, Table};

/// How large a store is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Size {
    /// Every table by its name.
    ///
    /// The newest day and month of a worker are stored in its lifetime row. They count as rows of
    /// `daily` and `monthly`, and their bytes as bytes of `lifetime`.
    pub tables: BTreeMap<String, TableSize>,
    /// Bytes of the file.
    pub stored_bytes: u64,
    /// Bytes of the file that the tables occupy; the rest is free to be reused.
    pub used_bytes: u64,
}

impl Snapshot {
    /// How large the store is: rows and bytes of each table, and bytes of the file when the
    /// snapshot was taken. This reads every page of the tables.
    ///
    /// # Errors
    /// `Error::Storage` or `Error::Corrupted` if the database cannot be read.
    ///
    /// # Examples
    /// ```
    /// let store = milepost::Store::in_memory()?;
    /// let size = store.snapshot()?.size()?;
    /// assert_eq!(size.tables["history"].rows, 0);
    /// # Ok::<(), milepost::Error>(())
    /// ```
    pub fn size(&self) -> Result<Size> {
        // The newest days and months have no rows of their own, so the counts come from the
        // lifetimes.
        let (mut days, mut months) = (0, 0);
        self.each_row(ALL, key::as_worker, |_, life: LifetimeRow| {
            days += u64::from(life.days);
            months += u64::from(life.months);
            Ok(())
        })?;
        let mut sizes = BTreeMap::new();
        for table in tables::ALL {
            let mut size = self.txn().table_size(table)?;
            match table {
                tables::DAILY => size.rows = days,
                tables::MONTHLY => size.rows = months,
                _ => {}
            }
            sizes.insert(table.name().to_string(), size);
        }
        let used_bytes = sizes.values().map(|size| size.bytes).sum();
        Ok(Size { tables: sizes, stored_bytes: self.inner.stored_bytes, used_bytes })
    }

    #[cfg(feature = "testing")]
    /// Visits every row of every table as its key and value, in order: for comparing whole stores.
    /// The newest day and month of a worker are part of its lifetime row.
    ///
    /// # Errors
    /// `Error::Storage` or `Error::Corrupted` if the database cannot be read.
    pub fn dump(&self, mut visit: impl FnMut(Table, &[u8], &[u8])) -> Result<()> {
        for table in tables::ALL {
            self.scan(table, ALL, Order::Ascending, |key, value| {
                visit(table, key, value);
                Ok(ControlFlow::Continue(()))
            })?;
        }
        Ok(())
    }
}
