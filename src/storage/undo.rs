//! A log to undo the latest writes of a transaction.

use super::{EngineResult, Table};

/// The old values of the keys written since a savepoint. Keys and values are stored in one buffer
/// to avoid allocations, since every write of a transaction is logged here.
#[derive(Debug)]
pub(super) struct UndoLog {
    entries: Vec<Entry>,
    bytes: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
struct Entry {
    table: Table,
    key_start: usize,
    value_start: usize,
    existed: bool,
}

impl UndoLog {
    /// An empty log with capacity for the writes of a usual command.
    pub(super) fn new() -> UndoLog {
        UndoLog { entries: Vec::with_capacity(16), bytes: Vec::with_capacity(1024) }
    }

    pub(super) fn clear(&mut self) {
        self.entries.clear();
        self.bytes.clear();
    }

    /// Records the value that a key had before it was written; `None` if there was none.
    pub(super) fn push(&mut self, table: Table, key: &[u8], old: Option<&[u8]>) {
        let key_start = self.bytes.len();
        self.bytes.extend_from_slice(key);
        let value_start = self.bytes.len();
        self.bytes.extend_from_slice(old.unwrap_or_default());
        self.entries.push(Entry { table, key_start, value_start, existed: old.is_some() });
    }

    /// Passes the old values to `restore`, the latest write first, and empties the log.
    pub(super) fn replay(
        &mut self,
        mut restore: impl FnMut(Table, &[u8], Option<&[u8]>) -> EngineResult<()>,
    ) -> EngineResult<()> {
        while let Some(entry) = self.entries.pop() {
            let key = &self.bytes[entry.key_start..entry.value_start];
            let old = entry.existed.then(|| &self.bytes[entry.value_start..]);
            restore(entry.table, key, old)?;
            self.bytes.truncate(entry.key_start);
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::ops::{Bound, ControlFlow};

    use proptest::collection::vec;
    use proptest::prelude::*;

    use super::*;
    use crate::config::Sharing;
    use crate::storage::{
        Access, Engine, EngineError, Flush, MemoryEngine, Order, RedbEngine, Source, Write,
    };

    type Rows = BTreeMap<(Table, Vec<u8>), Vec<u8>>;

    const ROWS: Table = Table::new(0, "rows");
    const LAST: Table = Table::new(Table::MOST as u8 - 1, "last");
    const TABLES: [Table; 2] = [ROWS, LAST];

    #[derive(Debug, Clone)]
    enum Step {
        Put(Table, u8, usize),
        Delete(Table, u8),
        Savepoint,
        Rollback,
    }

    fn step() -> impl Strategy<Value = Step> {
        let table = || (0..TABLES.len()).prop_map(|n| TABLES[n]);
        prop_oneof![
            4 => (table(), 0..6u8, 0..2_000usize).prop_map(|(t, key, len)| Step::Put(t, key, len)),
            2 => (table(), 0..6u8).prop_map(|(t, key)| Step::Delete(t, key)),
            1 => Just(Step::Savepoint),
            1 => Just(Step::Rollback),
        ]
    }

    fn take(txn: &mut dyn Write, rows: &mut Rows, steps: &[Step]) -> EngineResult<()> {
        let mut saved = None;
        for (n, step) in steps.iter().enumerate() {
            match step {
                Step::Put(table, key, len) => {
                    let value = vec![n as u8; *len];
                    txn.put(*table, &[*key], &value)?;
                    rows.insert((*table, vec![*key]), value);
                }
                Step::Delete(table, key) => {
                    txn.delete(*table, &[*key])?;
                    rows.remove(&(*table, vec![*key]));
                }
                Step::Savepoint => {
                    txn.savepoint();
                    saved = Some(rows.clone());
                }
                Step::Rollback => {
                    txn.rollback()?;
                    *rows = saved.clone().unwrap_or_else(|| rows.clone());
                }
            }
        }
        Ok(())
    }

    fn stored(engine: &dyn Engine) -> Rows {
        let view = engine.snapshot().unwrap();
        let mut rows = Rows::new();
        for table in TABLES {
            let all = (Bound::Unbounded, Bound::Unbounded);
            view.scan(table, all, Order::Ascending, &mut |key, value| {
                rows.insert((table, key.to_vec()), value.to_vec());
                ControlFlow::Continue(())
            })
            .unwrap();
        }
        rows
    }

    fn redb(folder: &tempfile::TempDir) -> RedbEngine {
        let access = Access {
            sharing: Sharing::Exclusive,
            read_only: false,
            cache_bytes: 1 << 20,
            check_on_open: false,
        };
        let create =
            &mut |txn: &mut dyn Write| TABLES.iter().try_for_each(|table| txn.delete(*table, b""));
        RedbEngine::open(Source::File(folder.path().join("store")), access, create).unwrap()
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(64))]

        #[test]
        fn a_rollback_restores_the_savepoint_and_nothing_else(
            transactions in vec((any::<bool>(), vec(step(), 0..12)), 1..6),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let engines: [Box<dyn Engine>; 2] =
                [Box::new(MemoryEngine::new().rerun()), Box::new(redb(&folder))];
            for engine in engines {
                let mut rows = Rows::new();
                for (now, steps) in &transactions {
                    let before = std::mem::take(&mut rows);
                    let flush = if *now { Flush::Now } else { Flush::Later };
                    let written = engine.write(flush, &mut |txn| {
                        rows = before.clone();
                        take(txn, &mut rows, steps)
                    });
                    prop_assert!(written.is_ok(), "{written:?}");
                }

                prop_assert_eq!(stored(&*engine), rows);
            }
        }
    }

    #[test]
    fn what_is_rolled_back_takes_up_no_room() {
        let engine = MemoryEngine::new().limits(2, 100);

        let full = engine.write(Flush::Now, &mut |txn| {
            txn.put(ROWS, b"a", b"kept")?;
            txn.savepoint();
            txn.put(ROWS, b"b", &[0; 90])?;
            txn.rollback()?;
            assert_eq!(txn.room(), 1);
            txn.put(ROWS, b"c", &[0; 90])?;
            txn.put(ROWS, b"d", b"")
        });

        assert!(matches!(full, Err(EngineError::TooLarge)), "{full:?}");
    }

    /// A transaction that writes nothing commits nothing, so it need not be synced.
    #[test]
    fn a_transaction_whose_writes_were_all_rolled_back_commits_nothing() {
        let folder = tempfile::tempdir().unwrap();
        let engine = redb(&folder);
        let bytes = || std::fs::read(folder.path().join("store")).unwrap();
        let before = bytes();

        engine
            .write(Flush::Now, &mut |txn| {
                txn.savepoint();
                txn.put(ROWS, b"a", b"b")?;
                txn.rollback()
            })
            .unwrap();

        assert!(bytes() == before);
    }
}
