//! A store of SQLite that was filled: leasing, checkpoints, the dashboard.

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Mutex, MutexGuard};

use anyhow::{Result, anyhow, ensure};
use rusqlite::{Connection, params};

use super::shared::number_of;
use super::sqlite_ask;
use super::sqlite_schema::{Flush, Schema, connect, file};
use crate::dashboard::{Answer, Question};
use crate::ledger::Tally;
use crate::plan::{self, LEASE_SECS, Scale, Step, Track};
use crate::rival::{Caller, Connections, Reader, Rival, Size};

/// A store and the tokens of its jobs.
pub(super) struct Opened<S> {
    folder: PathBuf,
    scale: Scale,
    flush: Flush,
    shared: Mutex<Connection>,
    tokens: Vec<i64>,
    /// The time of the latest checkpoint, for questions that ask for the present.
    now: AtomicI64,
    schema: std::marker::PhantomData<S>,
}

pub(super) fn open<S: Schema>(
    folder: &Path,
    scale: &Scale,
    flush: Flush,
    tracks: &[Track],
) -> Result<Opened<S>> {
    let mut connection = connect::<S>(folder, flush)?;
    let mut tokens = vec![0; 2 * scale.jobs];
    if S::TIERS {
        let txn = connection.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        for track in tracks {
            let now = plan::start().as_micros();
            tokens[track.job] = txn
                .prepare_cached(
                    "UPDATE jobs SET status = 'leased', worker = ?1, token = token + 1, leased_at = ?2, \
                     leased_cursor = cursor, lease_us = ?3, expires_at = ?2 + ?3 WHERE id = ?4 RETURNING token",
                )?
                .query_row(
                    params![number_of(track.worker), now, LEASE_SECS as i64 * 1_000_000, number_of(track.job)],
                    |row| row.get(0),
                )?;
        }
        txn.commit()?;
    }
    Ok(Opened {
        folder: folder.to_path_buf(),
        scale: *scale,
        flush,
        shared: Mutex::new(connection),
        tokens,
        now: AtomicI64::new(plan::start().as_micros()),
        schema: std::marker::PhantomData,
    })
}

impl<S> Opened<S> {
    fn shared(&self) -> Result<MutexGuard<'_, Connection>> {
        self.shared.lock().map_err(|_| anyhow!("another caller panicked"))
    }
}

impl<S: Schema> Rival for Opened<S> {
    fn caller(&self, connections: Connections) -> Result<Box<dyn Caller + '_>> {
        let own = match connections {
            Connections::OneForAll => None,
            Connections::OnePerThread => Some(connect::<S>(&self.folder, self.flush)?),
        };
        Ok(Box::new(Handle { opened: self, own }))
    }

    fn tally(&self) -> Result<Tally> {
        self.verify()?;
        S::tally(&*self.shared()?, &self.scale)
    }

    fn verify(&self) -> Result<()> {
        let fine: String =
            self.shared()?.query_row("PRAGMA integrity_check", [], |row| row.get(0))?;
        ensure!(fine == "ok", "integrity_check: {fine}");
        Ok(())
    }

    fn has_tiers(&self) -> bool {
        S::TIERS
    }

    fn size(&self) -> Result<Size> {
        let main = std::fs::metadata(file(&self.folder))?.len();
        let wal =
            std::fs::metadata(self.folder.join("bench.sqlite-wal")).map_or(0, |found| found.len());
        Ok(Size { main, wal })
    }

    fn compact(&self) -> Result<()> {
        self.shared()?.execute_batch("VACUUM; PRAGMA wal_checkpoint(TRUNCATE);")?;
        Ok(())
    }

    fn reader(&self) -> Result<Box<dyn Reader + '_>> {
        Ok(Box::new(Handle { opened: self, own: Some(connect::<S>(&self.folder, self.flush)?) }))
    }
}

struct Handle<'a, S> {
    opened: &'a Opened<S>,
    own: Option<Connection>,
}

impl<S: Schema> Handle<'_, S> {
    fn run<T>(&mut self, work: impl FnOnce(&Connection) -> Result<T>) -> Result<T> {
        match &self.own {
            Some(own) => work(own),
            None => work(&*self.opened.shared()?),
        }
    }
}

impl<S: Schema> Caller for Handle<'_, S> {
    fn alone(&mut self, step: &Step) -> Result<()> {
        self.together(std::slice::from_ref(step))
    }

    fn together(&mut self, steps: &[Step]) -> Result<()> {
        let tokens = &self.opened.tokens;
        if let Some(last) = steps.last() {
            self.opened.now.store(last.now, Ordering::Relaxed);
        }
        self.run(|connection| {
            connection.prepare_cached("BEGIN IMMEDIATE")?.execute([])?;
            for step in steps {
                S::checkpoint(connection, tokens[step.job], step)?;
            }
            S::settle(connection)?;
            connection.prepare_cached("COMMIT")?.execute([])?;
            Ok(())
        })
    }
}

impl<S: Schema> Reader for Handle<'_, S> {
    fn ask(&mut self, question: Question) -> Result<Answer> {
        let now = self.opened.now.load(Ordering::Relaxed);
        self.run(|connection| sqlite_ask::ask::<S>(connection, now, question))
    }
}
