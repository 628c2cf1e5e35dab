//! A failure of one command stays with that command.

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use crate::error::{Error, Result};
use crate::rules::history::HistoryTail;
use crate::rules::outcome::{Applied, Failure};
use crate::schema::rows::Control;
use crate::storage::{EngineError, EngineResult, KeyRange, Order, Read, Table, Visit, Write};

/// State in memory that the commands of one transaction share.
#[derive(Clone)]
pub(super) struct Shared {
    pub(super) control: Control,
    pub(super) tail: HistoryTail,
}

/// Runs one command, or one step of retention. If it is refused, or encounters a row that cannot be
/// decoded, or panics, then transaction and memory are as they were before it.
///
/// # Errors
/// Returns an error of the engine, after which the transaction must be abandoned. A panic inside a
/// call of the engine is not caught, since the state of the engine is unknown after it.
pub(super) fn contained<T>(
    txn: &mut Transaction<'_>,
    shared: &mut Shared,
    run: impl FnOnce(&mut dyn Write, &mut Shared) -> Applied<T>,
) -> EngineResult<Result<T>> {
    let before = shared.clone();
    txn.savepoint();
    let refusal = match catch_unwind(AssertUnwindSafe(|| run(txn, shared))) {
        Ok(Ok(done)) => return Ok(Ok(done)),
        Ok(Err(Failure::Rejected(error))) => error,
        Ok(Err(Failure::Engine(EngineError::DamagedRow(what)))) => Error::Corrupted { what },
        Ok(Err(Failure::Engine(error))) => return Err(error),
        Err(panic) if txn.in_engine.get() => resume_unwind(panic),
        Err(panic) => Error::Internal { what: message(&*panic) },
    };
    txn.rollback()?;
    *shared = before;
    Ok(Err(refusal))
}

fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    format!("a command panicked: {}", text.unwrap_or("no message"))
}

/// A transaction that records whether a call of the engine is in progress, which tells a panic of
/// the engine from a panic of a rule.
pub(super) struct Transaction<'t> {
    txn: &'t mut dyn Write,
    in_engine: Cell<bool>,
}

impl<'t> Transaction<'t> {
    pub(super) fn new(txn: &'t mut dyn Write) -> Transaction<'t> {
        Transaction { txn, in_engine: Cell::new(false) }
    }

    fn read<T>(&self, call: impl FnOnce(&dyn Write) -> T) -> T {
        self.in_engine.set(true);
        let result = call(self.txn);
        self.in_engine.set(false);
        result
    }

    fn write<T>(&mut self, call: impl FnOnce(&mut dyn Write) -> T) -> T {
        self.in_engine.set(true);
        let result = call(self.txn);
        self.in_engine.set(false);
        result
    }
}

impl Read for Transaction<'_> {
    fn get(&self, table: Table, key: &[u8], visit: &mut dyn FnMut(&[u8])) -> EngineResult<bool> {
        self.read(|txn| txn.get(table, key, visit))
    }

    fn scan(
        &self,
        table: Table,
        range: KeyRange<'_>,
        order: Order,
        visit: Visit<'_>,
    ) -> EngineResult<()> {
        self.read(|txn| txn.scan(table, range, order, visit))
    }
}

impl Write for Transaction<'_> {
    fn put(&mut self, table: Table, key: &[u8], value: &[u8]) -> EngineResult<()> {
        self.write(|txn| txn.put(table, key, value))
    }

    fn delete(&mut self, table: Table, key: &[u8]) -> EngineResult<()> {
        self.write(|txn| txn.delete(table, key))
    }

    fn room(&self) -> usize {
        self.txn.room()
    }

    fn savepoint(&mut self) {
        self.write(|txn| txn.savepoint());
    }

    fn rollback(&mut self) -> EngineResult<()> {
        self.write(|txn| txn.rollback())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Caps;
    use crate::schema::{access, tables};
    use crate::storage::{Engine, Fault, Flush, MemoryEngine};

    /// Runs a closure by [`contained`]. Returns its result, whether the control row is changed
    /// afterwards, and whether its write was stored.
    fn run(
        engine: &MemoryEngine,
        command: fn(&mut dyn Write, &mut Shared) -> Applied<()>,
    ) -> (EngineResult<Result<()>>, bool, bool) {
        let mut shared =
            Shared { control: Control::new(Caps::default()), tail: HistoryTail::default() };
        let mut result = Ok(Ok(()));
        let written = engine.write(Flush::Now, &mut |txn| {
            result = contained(&mut Transaction::new(txn), &mut shared, command);
            result.clone().map(|_| ())
        });
        assert_eq!(written.is_ok(), result.is_ok());
        let stored = engine.snapshot().unwrap().get(tables::JOBS, b"key", &mut |_| {}).unwrap();
        (result, shared.control.next_job != 1, stored)
    }

    fn write(txn: &mut dyn Write, shared: &mut Shared) {
        shared.control.next_job += 1;
        txn.put(tables::JOBS, b"key", b"value").unwrap();
    }

    #[test]
    fn what_succeeds_is_kept() {
        let done = run(&MemoryEngine::new(), |txn, shared| {
            write(txn, shared);
            Ok(())
        });

        assert!(matches!(done, (Ok(Ok(())), true, true)), "{done:?}");
    }

    #[test]
    fn what_is_refused_after_its_first_write_is_undone() {
        let refused = run(&MemoryEngine::new(), |txn, shared| {
            write(txn, shared);
            Err(Error::invalid("as told").into())
        });
        let damaged = run(&MemoryEngine::new(), |txn, shared| {
            write(txn, shared);
            Err(access::missing(tables::JOBS, b"another").into())
        });

        assert!(matches!(refused, (Ok(Err(Error::Invalid { .. })), false, false)), "{refused:?}");
        assert!(matches!(damaged, (Ok(Err(Error::Corrupted { .. })), false, false)), "{damaged:?}");
    }

    /// Also one that a row causes which can be decoded, but holds numbers that cannot be.
    #[test]
    fn a_panic_of_a_rule_is_an_error_of_its_command() {
        let panicked = run(&MemoryEngine::new(), |txn, shared| {
            write(txn, shared);
            panic!("attempt to add with overflow")
        });

        let (Ok(Err(Error::Internal { what })), false, false) = panicked else {
            panic!("{panicked:?}")
        };
        assert_eq!(what, "a command panicked: attempt to add with overflow");
    }

    #[test]
    fn a_failure_of_the_engine_ends_the_transaction() {
        let engine = MemoryEngine::new();
        engine.fail_after(0, Fault::Call);

        let failed = run(&engine, |txn, _| Ok(txn.put(tables::JOBS, b"key", b"value")?));

        assert!(matches!(failed, (Err(EngineError::Failed(_)), _, false)), "{failed:?}");
    }

    #[test]
    #[should_panic(expected = "injected panic of the storage")]
    fn a_panic_of_the_engine_is_passed_on() {
        let engine = MemoryEngine::new();
        engine.fail_after(0, Fault::Panic);

        let _ = run(&engine, |txn, _| Ok(txn.put(tables::JOBS, b"key", b"value")?));
    }

    /// Undoing is a call of the engine as well.
    #[test]
    fn a_failure_while_undoing_ends_the_transaction() {
        let engine = MemoryEngine::new();
        engine.fail_after(1, Fault::Call);

        let failed = run(&engine, |txn, shared| {
            write(txn, shared);
            Err(Error::invalid("as told").into())
        });

        assert!(matches!(failed, (Err(EngineError::Failed(_)), _, false)), "{failed:?}");
    }
}
