//! A disk that remembers every write, change of length and sync, and what it may look like after
//! power was lost at any of them.

use std::io::{Error, ErrorKind, Result};
use std::sync::Arc;

use fastrand::Rng;
use milepost::testing::Device;
use parking_lot::Mutex;

/// What a disk writes at once: a write may be cut between two of these.
const SECTOR: usize = 512;

#[derive(Debug, Clone)]
pub enum Op {
    Write(u64, Vec<u8>),
    SetLength(u64),
    Sync,
}

#[derive(Debug, Default)]
pub struct Disk {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    bytes: Vec<u8>,
    log: Vec<Op>,
}

impl Disk {
    /// A disk that holds these bytes.
    pub fn new(bytes: Vec<u8>) -> Arc<Disk> {
        Arc::new(Disk { state: Mutex::new(State { bytes, log: Vec::new() }) })
    }

    /// How much has happened to it so far.
    pub fn position(&self) -> usize {
        self.state.lock().log.len()
    }

    pub fn log(&self) -> Vec<Op> {
        self.state.lock().log.clone()
    }
}

impl Device for Disk {
    fn length(&self) -> Result<u64> {
        Ok(self.state.lock().bytes.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<()> {
        let state = self.state.lock();
        let found = state.bytes.get(offset as usize..offset as usize + out.len());
        out.copy_from_slice(found.ok_or_else(|| Error::from(ErrorKind::UnexpectedEof))?);
        Ok(())
    }

    fn set_length(&self, length: u64) -> Result<()> {
        let mut state = self.state.lock();
        state.bytes.resize(length as usize, 0);
        state.log.push(Op::SetLength(length));
        Ok(())
    }

    fn sync(&self) -> Result<()> {
        self.state.lock().log.push(Op::Sync);
        Ok(())
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<()> {
        let mut state = self.state.lock();
        let offset_in = offset as usize;
        state.bytes[offset_in..offset_in + data.len()].copy_from_slice(data);
        state.log.push(Op::Write(offset, data.to_vec()));
        Ok(())
    }
}

/// How a disk treats what was not synced when power was lost.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Loss {
    All,
    Nothing,
    /// Some of the writes are there.
    Some,
    /// Some are there, and later ones may lie under earlier ones.
    Reordered,
    /// Of some writes a part of the sectors is there.
    Torn,
}

impl Loss {
    pub const ALL: [Loss; 5] = [Loss::All, Loss::Nothing, Loss::Some, Loss::Reordered, Loss::Torn];
}

/// Walks through a log, and shows what the disk may hold after each operation.
pub struct Crash {
    /// What is certain: everything up to the last sync.
    durable: Vec<u8>,
    unsynced: Vec<Op>,
}

impl Crash {
    pub fn new(bytes: Vec<u8>) -> Crash {
        Crash { durable: bytes, unsynced: Vec::new() }
    }

    /// Takes in the next operation.
    pub fn pass(&mut self, op: &Op) {
        match op {
            Op::Sync => {
                for op in std::mem::take(&mut self.unsynced) {
                    apply(&mut self.durable, &op);
                }
            }
            op => self.unsynced.push(op.clone()),
        }
    }

    /// The disk after power was lost now.
    pub fn image(&self, loss: Loss, rng: &mut Rng) -> Vec<u8> {
        let mut bytes = self.durable.clone();
        let mut ops = self.unsynced.clone();
        match loss {
            Loss::All => ops.clear(),
            Loss::Nothing => {}
            Loss::Some => ops.retain(|_| rng.bool()),
            Loss::Reordered => {
                rng.shuffle(&mut ops);
                ops.retain(|_| rng.u64(..4) > 0);
            }
            Loss::Torn => ops = ops.into_iter().flat_map(|op| torn(op, rng)).collect(),
        }
        for op in &ops {
            apply(&mut bytes, op);
        }
        bytes
    }
}

fn apply(bytes: &mut Vec<u8>, op: &Op) {
    match op {
        Op::Write(offset, data) => {
            let from = *offset as usize;
            // Where a change of length was lost, a write still extends the file.
            if bytes.len() < from + data.len() {
                bytes.resize(from + data.len(), 0);
            }
            bytes[from..from + data.len()].copy_from_slice(data);
        }
        Op::SetLength(length) => bytes.resize(*length as usize, 0),
        Op::Sync => {}
    }
}

fn torn(op: Op, rng: &mut Rng) -> Vec<Op> {
    match op {
        Op::Write(offset, data) => data
            .chunks(SECTOR)
            .enumerate()
            .filter(|_| rng.bool())
            .map(|(at, sector)| Op::Write(offset + (at * SECTOR) as u64, sector.to_vec()))
            .collect(),
        op => vec![op],
    }
}
