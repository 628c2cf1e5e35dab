//! An engine in memory that counts the rows that its snapshots read.

use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::storage::{
    Engine, EngineResult, EngineSnapshot, Flush, KeyRange, MemoryEngine, Order, Read, Table,
    TableSize, Visit, Write,
};

pub(super) struct Counting {
    engine: MemoryEngine,
    rows: Arc<AtomicU64>,
}

impl Counting {
    pub(super) fn new() -> Counting {
        Counting { engine: MemoryEngine::new(), rows: Arc::default() }
    }

    /// How many rows were read since the last call.
    pub(super) fn take(&self) -> u64 {
        self.rows.swap(0, Ordering::SeqCst)
    }
}

impl Engine for Counting {
    fn snapshot(&self) -> EngineResult<Arc<dyn EngineSnapshot>> {
        Ok(Arc::new(Counted { snapshot: self.engine.snapshot()?, rows: self.rows.clone() }))
    }

    fn write(
        &self,
        flush: Flush,
        transaction: &mut dyn FnMut(&mut dyn Write) -> EngineResult<()>,
    ) -> EngineResult<()> {
        self.engine.write(flush, transaction)
    }

    fn stored_bytes(&self) -> EngineResult<u64> {
        Ok(0)
    }

    fn reopen(&self) -> crate::Result<()> {
        self.engine.reopen()
    }

    fn close(&self) -> EngineResult<()> {
        self.engine.close()
    }
}

struct Counted {
    snapshot: Arc<dyn EngineSnapshot>,
    rows: Arc<AtomicU64>,
}

impl Read for Counted {
    fn get(&self, table: Table, key: &[u8], visit: &mut dyn FnMut(&[u8])) -> EngineResult<bool> {
        self.rows.fetch_add(1, Ordering::SeqCst);
        self.snapshot.get(table, key, visit)
    }

    fn scan(
        &self,
        table: Table,
        range: KeyRange<'_>,
        order: Order,
        visit: Visit<'_>,
    ) -> EngineResult<()> {
        self.snapshot.scan(table, range, order, &mut |key, value| -> ControlFlow<()> {
            self.rows.fetch_add(1, Ordering::SeqCst);
            visit(key, value)
        })
    }
}

impl EngineSnapshot for Counted {
    fn table_size(&self, table: Table) -> EngineResult<TableSize> {
        self.snapshot.table_size(table)
    }
}
