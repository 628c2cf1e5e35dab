//! What the disk can do at best: bytes appended to a file that has its blocks already, and synced.

use std::fs::File;
use std::io::{Seek, SeekFrom, Write};
use std::path::Path;
use std::time::Instant;

use anyhow::Result;

use crate::run::{Length, Sample, latencies, nanos};

/// Bytes of the file that is written over from its start again and again.
const FILE_BYTES: u64 = 32 << 20;

/// Appends `bytes` and syncs, as often as the length allows.
///
/// # Errors
/// What the file system meets.
pub fn run(folder: &Path, bytes: usize, length: Length) -> Result<Sample> {
    let path = folder.join("floor");
    let mut file = File::create(&path)?;
    let zeroes = vec![0u8; 1 << 20];
    for _ in 0..FILE_BYTES / zeroes.len() as u64 {
        file.write_all(&zeroes)?;
    }
    file.sync_all()?;

    let record = vec![0xA5u8; bytes];
    let mut latency = latencies();
    let (mut count, mut at) = (0, FILE_BYTES);
    let began = Instant::now();
    while count < length.count && began.elapsed() < length.most {
        if at + bytes as u64 > FILE_BYTES {
            at = 0;
            file.seek(SeekFrom::Start(0))?;
        }
        let started = Instant::now();
        file.write_all(&record)?;
        file.sync_data()?;
        latency.saturating_record(nanos(started.elapsed()));
        at += bytes as u64;
        count += 1;
    }
    let took = began.elapsed();
    drop(file);
    std::fs::remove_file(&path)?;
    Ok(Sample { count, took, latency })
}
