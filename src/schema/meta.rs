//! The meta table: the format, the control row, and the last import of each source.

use crate::config::Caps;
use crate::schema::access::{load, missing, store};
use crate::schema::codec;
use crate::schema::key;
use crate::schema::rows::{Control, Number};
use crate::schema::tables;
use crate::storage::{EngineResult, Read, Write};
use crate::types::WorkerId;

/// The format of the file: what tables there are, their keys and their records.
pub(crate) const FORMAT: u32 = 1;

const FORMAT_KEY: &[u8] = b"format";
const CONTROL_KEY: &[u8] = b"control";
const IMPORT_KEY: &[u8] = b"import/";
const COUNTERS_KEY: &[u8] = b"counters/";
/// The key of the totals of all imports.
pub(crate) const IMPORTED_KEY: &[u8] = b"imported";

/// Initializes an empty store. Does nothing if it has a format: another process may have been
/// first.
pub(crate) fn initialize(txn: &mut dyn Write, caps: Caps) -> EngineResult<()> {
    if txn.get(tables::META, FORMAT_KEY, &mut |_| ())? {
        return Ok(());
    }
    txn.put(tables::META, FORMAT_KEY, &codec::encode(&Number(FORMAT.into())))?;
    store(txn, CONTROL_KEY, &Control::new(caps))?;
    for table in tables::ALL {
        // Touching a table creates it, so that readers find it.
        txn.delete(table, b"")?;
    }
    Ok(())
}

/// The format version of a store; `None` if this is not one.
pub(crate) fn format(txn: &(impl Read + ?Sized)) -> EngineResult<Option<u64>> {
    let mut found = None;
    txn.get(tables::META, FORMAT_KEY, &mut |bytes| found = codec::decode::<Number>(bytes).ok())?;
    Ok(found.map(|number| number.0))
}

pub(crate) fn control(txn: &(impl Read + ?Sized)) -> EngineResult<Control> {
    load(txn, CONTROL_KEY)?.ok_or_else(|| missing(tables::META, CONTROL_KEY))
}

pub(crate) fn store_control(txn: &mut dyn Write, control: &Control) -> EngineResult<()> {
    store(txn, CONTROL_KEY, control)
}

/// The key of the last import of a source.
pub(crate) fn import_key(source: &str) -> Vec<u8> {
    [IMPORT_KEY, source.as_bytes()].concat()
}

/// The key of the counters that a worker last reported.
pub(crate) fn counters_key(worker: WorkerId) -> Vec<u8> {
    [COUNTERS_KEY, &key::worker(worker)].concat()
}

/// The worker of the key of counters.
pub(crate) fn counters_of(key: &[u8]) -> Option<WorkerId> {
    key::as_worker(key.strip_prefix(COUNTERS_KEY)?)
}

/// The source of the key of an import.
pub(crate) fn import_source(key: &[u8]) -> Option<&str> {
    str::from_utf8(key.strip_prefix(IMPORT_KEY)?).ok()
}
