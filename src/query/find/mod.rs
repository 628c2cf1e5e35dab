//! Lists by filter, in pages.
//!
//! A list is read from the index that fits its filter best; what the index does not tell is looked up
//! row by row. A page looks at a bounded number of rows, whatever the filter.

mod findings;
mod history;
mod jobs;

use std::ops::Bound;

use serde::{Deserialize, Serialize};

pub use findings::FindingFilter;
pub use history::HistoryFilter;
pub use jobs::JobFilter;

use super::Snapshot;
use crate::error::Result;
use crate::schema::key::Under;
use crate::storage::{KeyRange, Order, Table};
use crate::time::Timestamp;
use crate::types::as_text;

/// How many entries of an index one page looks at.
const MOST_LOOKED_AT: usize = 4_096;

/// A page of a list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub struct Page<T> {
    /// What was found, in the order of the list. There may be fewer than asked for, or none, though
    /// more pages follow: a page looks at no more than 4,096 rows.
    pub items: Vec<T>,
    /// Where the next page begins; `None` after the last one.
    pub next: Option<PageToken>,
}

/// A place in a list, to be passed with the same filter again. It means nothing with another filter,
/// and stays valid when the store changes: rows that come or go do not shift it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageToken {
    /// Which part of the list.
    part: u32,
    /// The last key that was looked at in the index of that part.
    #[serde(with = "as_text::hex")]
    after: Vec<u8>,
}

/// A part of a list: a range of keys in an index.
struct Part {
    table: Table,
    from: Vec<u8>,
    /// `None` for the end of the table.
    to: Option<Vec<u8>>,
}

impl Part {
    /// All entries whose keys start so.
    fn under(table: Table, start: impl Into<Vec<u8>>) -> Part {
        let under = Under::new(start);
        let to = match under.range().1 {
            Bound::Excluded(to) => Some(to.to_vec()),
            Bound::Included(_) | Bound::Unbounded => None,
        };
        Part { table, from: under_start(&under), to }
    }

    fn whole(table: Table) -> Part {
        Part { table, from: Vec::new(), to: None }
    }

    /// Its keys from a bound on; `None` if there can be none.
    fn range<'k>(&'k self, from: Bound<&'k [u8]>) -> Option<KeyRange<'k>> {
        let from = match from {
            Bound::Included(key) | Bound::Excluded(key) if key < &self.from[..] => {
                Bound::Included(&self.from[..])
            }
            Bound::Unbounded => Bound::Included(&self.from[..]),
            from => from,
        };
        let to = self.to.as_deref();
        match from {
            Bound::Included(key) | Bound::Excluded(key) if to.is_some_and(|to| to <= key) => None,
            from => Some((from, to.map_or(Bound::Unbounded, Bound::Excluded))),
        }
    }
}

fn under_start(under: &Under) -> Vec<u8> {
    match under.range().0 {
        Bound::Included(from) | Bound::Excluded(from) => from.to_vec(),
        Bound::Unbounded => Vec::new(),
    }
}

/// What becomes of an entry of an index.
enum Step<T> {
    /// It is an item of the list.
    Take(T),
    Skip,
    /// No entry before this key is one.
    SkipTo(Vec<u8>),
}

/// A half-open range of times.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Times {
    from: Timestamp,
    to: Timestamp,
}

impl Times {
    fn contain(self, at: Timestamp) -> bool {
        self.from <= at && at < self.to
    }
}

/// Whether a condition holds for a time; one that was not set always does.
fn is_within(times: Option<Times>, at: Option<Timestamp>) -> bool {
    times.is_none_or(|times| at.is_some_and(|at| times.contain(at)))
}

impl Snapshot {
    /// Reads the next page of a list, part by part.
    fn page<T>(
        &self,
        parts: &[Part],
        token: Option<&PageToken>,
        limit: usize,
        mut step: impl FnMut(Table, &[u8], &[u8]) -> Result<Step<T>>,
    ) -> Result<Page<T>> {
        let mut items = Vec::new();
        if limit == 0 {
            return Ok(Page { items, next: token.cloned() });
        }
        let mut looked_at = 0;
        let first = token.map_or(0, |token| token.part as usize);
        let mut from = token.map_or(Bound::Unbounded, |token| Bound::Excluded(token.after.clone()));
        for (n, part) in parts.iter().enumerate().skip(first) {
            while let Some(range) = part.range(from.as_ref().map(|key| &key[..])) {
                let (mut last, mut skip_to) = (None, None);
                self.scan(part.table, range, Order::Ascending, |key, value| {
                    looked_at += 1;
                    match step(part.table, key, value)? {
                        Step::Take(item) => items.push(item),
                        Step::Skip => {}
                        Step::SkipTo(next) => skip_to = Some(next),
                    }
                    if items.len() == limit || looked_at == MOST_LOOKED_AT {
                        last = Some(key.to_vec());
                    }
                    Ok(super::rows::go_on(last.is_none() && skip_to.is_none()))
                })?;
                if let Some(after) = last {
                    let next = PageToken { part: u32::try_from(n).unwrap_or(u32::MAX), after };
                    return Ok(Page { items, next: Some(next) });
                }
                let Some(next) = skip_to else { break };
                from = Bound::Included(next);
            }
            from = Bound::Unbounded;
        }
        Ok(Page { items, next: None })
    }
}
