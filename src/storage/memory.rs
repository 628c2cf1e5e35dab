//! An engine over ordered maps in memory: for tests, simulations and stores that need not be
//! durable.

use std::collections::BTreeMap;
use std::ops::ControlFlow;
use std::sync::Arc;

use parking_lot::Mutex;

use super::{
    Engine, EngineError, EngineResult, EngineSnapshot, Flush, KeyRange, Order, Read, Table,
    TableSize, Visit, Write, is_empty,
};

type Map = BTreeMap<Vec<u8>, Vec<u8>>;

/// The tables, each at the index of its number.
type Maps = [Map; Table::MOST];

/// An engine in memory that can behave as the strictest engine would.
///
/// It can run each transaction twice (as an optimistic engine does after a conflict), reject
/// transactions over a limit, and fail at a chosen call. A commit while a snapshot is held copies
/// the whole store once.
#[derive(Debug, Default)]
pub struct MemoryEngine {
    tables: Mutex<Arc<Maps>>,
    faults: Mutex<Faults>,
    rerun: bool,
    max_operations: Option<usize>,
    max_bytes: Option<usize>,
}

#[derive(Debug, Default)]
struct Faults {
    next: Option<(u64, Fault)>,
}

/// A failure to inject at a chosen call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Fault {
    /// A call within a transaction fails; nothing is stored.
    Call,
    /// The commit fails, and was not stored.
    CommitLost,
    /// The commit fails, but was stored.
    CommitKept,
    /// A call within a transaction panics.
    Panic,
}

#[cfg_attr(not(feature = "testing"), expect(dead_code, reason = "only tests make it fail"))]
impl MemoryEngine {
    /// An empty store without limits.
    #[must_use]
    pub fn new() -> MemoryEngine {
        MemoryEngine::default()
    }

    /// Runs every transaction twice: the first run is rolled back, and the second one counts.
    #[must_use]
    pub fn rerun(mut self) -> MemoryEngine {
        self.rerun = true;
        self
    }

    /// Rejects transactions with more puts and deletes, or more bytes of keys and values, than
    /// this.
    #[must_use]
    pub fn limits(mut self, operations: usize, bytes: usize) -> MemoryEngine {
        self.max_operations = Some(operations);
        self.max_bytes = Some(bytes);
        self
    }

    /// Fails once, after `calls` more calls within transactions (or commits, for the faults of a
    /// commit).
    pub fn fail_after(&self, calls: u64, fault: Fault) {
        self.faults.lock().next = Some((calls, fault));
    }

    /// Whether an injected fault has not occurred yet.
    #[must_use]
    pub fn fault_is_pending(&self) -> bool {
        self.faults.lock().next.is_some()
    }

    /// Counts a call down. Returns the fault if this is the call to fail.
    fn strikes(&self, kinds: &[Fault]) -> Option<Fault> {
        let mut faults = self.faults.lock();
        match &mut faults.next {
            Some((calls, fault)) if kinds.contains(fault) => {
                if *calls == 0 {
                    return faults.next.take().map(|(_, fault)| fault);
                }
                *calls -= 1;
                None
            }
            _ => None,
        }
    }
}

impl Engine for MemoryEngine {
    fn snapshot(&self) -> EngineResult<Arc<dyn EngineSnapshot>> {
        Ok(Arc::new(MemorySnapshot(self.tables.lock().clone())))
    }

    fn write(
        &self,
        _flush: Flush,
        transaction: &mut dyn FnMut(&mut dyn Write) -> EngineResult<()>,
    ) -> EngineResult<()> {
        let mut tables = self.tables.lock();
        let runs = if self.rerun { 2 } else { 1 };
        for run in 1..=runs {
            let mut txn = MemoryWrite {
                engine: self,
                tables: Arc::make_mut(&mut tables),
                undo: Vec::new(),
                savepoint: None,
                bytes: 0,
            };
            transaction(&mut txn)?;
            if run == runs {
                match self.strikes(&[Fault::CommitLost, Fault::CommitKept]) {
                    Some(Fault::CommitLost) => return Err(uncertain()),
                    Some(_) => {
                        txn.undo.clear();
                        return Err(uncertain());
                    }
                    None => txn.undo.clear(),
                }
            }
        }
        Ok(())
    }

    fn stored_bytes(&self) -> EngineResult<u64> {
        let tables = self.tables.lock();
        Ok(tables.iter().flatten().map(|(k, v)| (k.len() + v.len()) as u64).sum())
    }

    fn reopen(&self) -> crate::Result<()> {
        Ok(())
    }

    fn close(&self) -> EngineResult<()> {
        Ok(())
    }
}

fn uncertain() -> EngineError {
    match EngineError::failed("injected failure of a commit") {
        EngineError::Failed(cause) => EngineError::Uncertain(cause),
        other => other,
    }
}

struct MemorySnapshot(Arc<Maps>);

impl Read for MemorySnapshot {
    fn get(&self, table: Table, key: &[u8], visit: &mut dyn FnMut(&[u8])) -> EngineResult<bool> {
        Ok(get(&self.0[table.number()], key, visit))
    }

    fn scan(
        &self,
        table: Table,
        range: KeyRange<'_>,
        order: Order,
        visit: Visit<'_>,
    ) -> EngineResult<()> {
        scan(&self.0[table.number()], range, order, visit);
        Ok(())
    }
}

impl EngineSnapshot for MemorySnapshot {
    fn table_size(&self, table: Table) -> EngineResult<TableSize> {
        let map = &self.0[table.number()];
        Ok(TableSize {
            rows: map.len() as u64,
            bytes: map.iter().map(|(k, v)| (k.len() + v.len()) as u64).sum(),
        })
    }
}

/// A transaction that changes the maps in place, and undoes the changes unless it is committed.
struct MemoryWrite<'e> {
    engine: &'e MemoryEngine,
    tables: &'e mut Maps,
    undo: Vec<(Table, Vec<u8>, Option<Vec<u8>>)>,
    /// How much was written when the savepoint was set: entries of `undo`, and bytes.
    savepoint: Option<(usize, usize)>,
    bytes: usize,
}

impl MemoryWrite<'_> {
    fn call(&self) -> EngineResult<()> {
        match self.engine.strikes(&[Fault::Call, Fault::Panic]) {
            None => Ok(()),
            Some(Fault::Panic) => panic!("injected panic of the storage"),
            Some(_) => Err(EngineError::failed("injected failure of a call")),
        }
    }

    fn charge(&mut self, bytes: usize) -> EngineResult<()> {
        self.call()?;
        self.bytes += bytes;
        let full = self.engine.max_operations.is_some_and(|max| self.undo.len() >= max)
            || self.engine.max_bytes.is_some_and(|max| self.bytes > max);
        if full { Err(EngineError::TooLarge) } else { Ok(()) }
    }

    /// Undoes all but the first `kept` writes.
    fn undo_to(&mut self, kept: usize) {
        for (table, key, value) in self.undo.drain(kept..).rev() {
            let map = &mut self.tables[table.number()];
            match value {
                Some(value) => map.insert(key, value),
                None => map.remove(&key),
            };
        }
    }
}

impl Drop for MemoryWrite<'_> {
    fn drop(&mut self) {
        self.undo_to(0);
    }
}

impl Read for MemoryWrite<'_> {
    fn get(&self, table: Table, key: &[u8], visit: &mut dyn FnMut(&[u8])) -> EngineResult<bool> {
        self.call()?;
        Ok(get(&self.tables[table.number()], key, visit))
    }

    fn scan(
        &self,
        table: Table,
        range: KeyRange<'_>,
        order: Order,
        visit: Visit<'_>,
    ) -> EngineResult<()> {
        self.call()?;
        scan(&self.tables[table.number()], range, order, visit);
        Ok(())
    }
}

impl Write for MemoryWrite<'_> {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> EngineResult<()> {
        self.charge(key.len() + value.len())?;
        let old = self.tables[table.number()].insert(key.to_vec(), value.to_vec());
        self.undo.push((table, key.to_vec(), old));
        Ok(())
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> EngineResult<()> {
        self.charge(key.len())?;
        let old = self.tables[table.number()].remove(key);
        self.undo.push((table, key.to_vec(), old));
        Ok(())
    }

    fn room(&self) -> usize {
        self.engine.max_operations.map_or(usize::MAX, |max| max.saturating_sub(self.undo.len()))
    }

    fn savepoint(&mut self) {
        self.savepoint = Some((self.undo.len(), self.bytes));
    }

    fn rollback(&mut self) -> EngineResult<()> {
        let Some((kept, bytes)) = self.savepoint else { return Ok(()) };
        if kept < self.undo.len() {
            self.call()?;
            self.undo_to(kept);
            self.bytes = bytes;
        }
        Ok(())
    }
}

fn get(map: &Map, key: &[u8], visit: &mut dyn FnMut(&[u8])) -> bool {
    map.get(key).map(|value| visit(value)).is_some()
}

fn scan(map: &Map, range: KeyRange<'_>, order: Order, visit: Visit<'_>) {
    if is_empty(range) {
        return;
    }
    let mut entries = map.range::<[u8], _>(range);
    let mut next = || match order {
        Order::Ascending => entries.next(),
        Order::Descending => entries.next_back(),
    };
    while let Some((key, value)) = next() {
        if visit(key, value) == ControlFlow::Break(()) {
            break;
        }
    }
}
