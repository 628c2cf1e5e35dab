//! Workers by name and number.

use crate::error::Error;
use crate::rules::outcome::Applied;
use crate::schema::access::{load, load_from, missing, store, undecodable};
use crate::schema::key;
use crate::schema::rows::{Control, Number, WorkerRow};
use crate::schema::tables;
use crate::storage::{EngineResult, Read, Write};
use crate::time::Timestamp;
use crate::types::{DEFAULT_KIND, NewWorker, WorkerId};

/// Finds a worker by name, or gives it the next number.
pub(crate) fn register(
    txn: &mut dyn Write,
    control: &mut Control,
    now: Timestamp,
    new: &NewWorker,
) -> Applied<WorkerId> {
    let NewWorker { name, kind, metadata } = new;
    let known: Option<Number> = load_from(txn, tables::WORKER_NAMES, name.as_bytes())?;
    let Some(Number(number)) = known else {
        let worker = WorkerId(control.next_worker);
        control.next_worker = control
            .next_worker
            .checked_add(1)
            .ok_or_else(|| Error::invalid("the store cannot number any more workers"))?;
        let row = WorkerRow {
            name: name.clone(),
            kind: kind.clone().unwrap_or_else(|| DEFAULT_KIND.to_string()),
            metadata: metadata.clone().unwrap_or_default(),
            first_seen: now,
            last_seen: now,
            last_prefix: None,
        };
        txn.put(
            tables::WORKER_NAMES,
            name.as_bytes(),
            &crate::schema::codec::encode(&Number(worker.0.into())),
        )?;
        store(txn, &key::worker(worker), &row)?;
        return Ok(worker);
    };
    let worker = u32::try_from(number).map(WorkerId).map_err(|_| {
        undecodable(tables::WORKER_NAMES, name.as_bytes(), "its number is too large")
    })?;
    let mut row = load_worker(txn, worker)?;
    if let Some(kind) = kind {
        row.kind.clone_from(kind);
    }
    if let Some(metadata) = metadata {
        row.metadata.clone_from(metadata);
    }
    row.last_seen = row.last_seen.max(now);
    store(txn, &key::worker(worker), &row)?;
    Ok(worker)
}

/// A worker that other rows refer to.
pub(super) fn load_worker(txn: &(impl Read + ?Sized), worker: WorkerId) -> EngineResult<WorkerRow> {
    load(txn, &key::worker(worker))?.ok_or_else(|| missing(tables::WORKERS, &key::worker(worker)))
}

/// A worker that a caller named.
pub(crate) fn known_worker(txn: &(impl Read + ?Sized), worker: WorkerId) -> Applied<WorkerRow> {
    Ok(load(txn, &key::worker(worker))?
        .ok_or_else(|| Error::UnknownWorker(format!("number {worker}")))?)
}

pub(super) fn touch_worker(
    txn: &mut dyn Write,
    worker: WorkerId,
    now: Timestamp,
) -> EngineResult<()> {
    let mut row = load_worker(txn, worker)?;
    if row.last_seen < now {
        row.last_seen = now;
        store(txn, &key::worker(worker), &row)?;
    }
    Ok(())
}
